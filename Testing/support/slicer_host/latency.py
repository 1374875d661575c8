"""How long the event loop keeps an event waiting, and running it for a while."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PySide6
import shiboken6
from PySide6 import QtCore

PERIOD_MS = 5
EXEC = "_ZN10QEventLoop4execE6QFlagsINS_17ProcessEventsFlagEE"  # QEventLoop::exec, as compilers on Linux name it


def spin(seconds: float, until: Callable[[], Any] | None = None) -> bool:
    """Run the event loop for so long, or until a condition holds; whether it came to hold."""
    return _run(QtCore.QEventLoop.exec, PERIOD_MS, seconds, until)


def hold(seconds: float, until: Callable[[], Any] | None = None) -> bool:
    """The same as Slicer runs it: its event loop, which is C++, never lets another Python thread have a turn.

    PySide6 releases Python's lock (the GIL) while it waits for events; PythonQt, as Slicer starts it, does not, so
    that threads run only where a receiver of a signal lets them. The condition is looked at but ten times a second,
    since that is such a place, too.
    """
    library = Path(PySide6.__file__).parent / "Qt" / "lib" / "libQt6Core.so.6"
    run = getattr(ctypes.PyDLL(str(library)), EXEC)
    run.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return _run(lambda loop: run(shiboken6.getCppPointer(loop)[0], 0), 100, seconds, until)


def _run(execute: Callable[[Any], Any], period_ms: int, seconds: float, until: Callable[[], Any] | None) -> bool:
    """``execute`` an event loop that looks at the condition and the time every ``period_ms``."""
    loop, timer = QtCore.QEventLoop(), QtCore.QTimer()
    deadline = time.perf_counter() + seconds
    reached = [False]

    def look() -> None:
        reached[0] = bool(until()) if until is not None else False
        if reached[0] or time.perf_counter() >= deadline:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(period_ms)
    execute(loop)
    timer.stop()
    return reached[0]


def can_hold() -> bool:
    """Whether :func:`hold` works here: Linux, with the Qt that PySide6 brings."""
    return sys.platform == "linux" and (Path(PySide6.__file__).parent / "Qt" / "lib" / "libQt6Core.so.6").is_file()


class Latency:
    """A timer of 5 ms; the gaps between its ticks are what a click would have waited.

    ``p99`` is the wait in seconds that 99 % of events coming at random times do not exceed, so one gap of
    300 ms within a second counts with its length, not as one of some hundred ticks; ``longest`` is the
    longest gap. ``own`` is ``p99`` without the time in which this thread was ready to go on but other
    programs (the worker with its low priority is one) had the processors, where the system counts it
    (Linux): a busy machine does not count. What a test session holds in memory is kept out of the garbage
    collections meanwhile: going through it takes longer than anything a module does.
    """

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.own_gaps: list[float] = []
        self._last = self._delayed = 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now, delayed = time.perf_counter(), run_delay()
        gap = now - self._last
        self.gaps.append(gap)
        self.own_gaps.append(max(0.0, gap - (delayed - self._delayed)))
        self._last, self._delayed = now, delayed

    def __enter__(self) -> Latency:
        gc.collect()
        gc.freeze()
        self._last, self._delayed = time.perf_counter(), run_delay()
        self._timer.start()
        return self

    def __exit__(self, *_unused: Any) -> None:
        self._timer.stop()
        self._tick()
        gc.unfreeze()

    @property
    def longest(self) -> float:
        """The longest gap in seconds."""
        return max(self.gaps)

    @property
    def p99(self) -> float:
        """Wait in seconds that 99 % of randomly timed events do not exceed."""
        return self.percentile(99.0)

    @property
    def own(self) -> float:
        """The same, of what this process does itself."""
        return self.percentile(99.0, self.own_gaps)

    def percentile(self, percent: float, gaps: list[float] | None = None) -> float:
        """The same for any percentage: an event in a gap g waits longer than t with probability (g - t) / g."""
        gaps = self.gaps if gaps is None else gaps
        total = sum(gaps)
        low, high = 0.0, max(gaps)
        for _ in range(50):
            middle = (low + high) / 2
            beyond = sum(gap - middle for gap in gaps if gap > middle)
            low, high = (middle, high) if beyond > total * (1 - percent / 100) else (low, middle)
        return high


def run_delay(process: int | None = None) -> float:
    """Seconds in which this thread, or the main one of another process, could have run but had no processor.

    0 where the system does not count it.
    """
    try:
        with open(f"/proc/{process or 'thread-self'}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
