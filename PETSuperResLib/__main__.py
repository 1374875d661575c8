"""``petsuperres`` and ``python -m PETSuperResLib``: the command line; an interrupt ends it also while it is loaded."""

from __future__ import annotations

from .interrupt import leave, on_interrupt


def main() -> None:
    """Entry point of the console script."""
    on_interrupt(leave)
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
