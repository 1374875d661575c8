"""``petsuperres`` and ``python -m PETSuperResLib``: the command line; an interrupt ends it also while it is loaded."""

from __future__ import annotations

import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"petsuperres: Cancelled; nothing was written.\n")
    os._exit(130)


def main() -> None:
    """Entry point of the console script."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
