"""The package's version, and the notice on its results."""

__version__ = "0.1.0"
NOTICE = "Research use only: not for diagnosis or treatment."
