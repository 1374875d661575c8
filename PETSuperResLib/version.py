"""The package's version, and the notice on its results."""

__version__ = "0.2.0.dev0"
NOTICE = "Research use only: not for diagnosis or treatment."
