"""Interrupts of the command line by SIGINT or SIGTERM; while libraries are loaded, an exception would crash some."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the exit code, as shells have it
interrupted: list[int] = []  # signals to stop that the running command has had


def on_interrupt(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call ``handler`` with the signal's number and the interrupted frame, in place of an earlier handler."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Handler that ends the process at once, without an exception, before anything is written."""
    os.write(2, b"petsuperres: Cancelled; nothing was written.\n")
    os._exit(INTERRUPTED)


def loading(frame: FrameType | None) -> bool:
    """Whether a module is being loaded at a frame."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
