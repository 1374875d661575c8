"""The module's package: a name of its own, since all extensions are installed into one folder."""
