"""The command line's subcommands; heavy imports stay inside the functions, so that ``--help`` is quick."""
