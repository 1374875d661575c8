"""How long the event loop keeps an event waiting, and running it for a while."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

PERIOD_MS = 5


def spin(seconds: float, until: Callable[[], Any] | None = None) -> bool:
    """Run the event loop for so long, or until a condition holds; whether it came to hold."""
    loop, timer = QtCore.QEventLoop(), QtCore.QTimer()
    deadline = time.perf_counter() + seconds
    reached = [False]

    def look() -> None:
        reached[0] = bool(until()) if until is not None else False
        if reached[0] or time.perf_counter() >= deadline:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(PERIOD_MS)
    loop.exec()
    timer.stop()
    return reached[0]


class Latency:
    """A timer of 5 ms; the gaps between its ticks are what a click would have waited.

    ``p99`` is the wait in seconds that 99 % of events coming at random times do not exceed, so one gap of
    300 ms within a second counts with its length, not as one of some hundred ticks; ``longest`` is the
    longest gap. What a test session holds in memory is kept out of the garbage collections meanwhile: going
    through it takes longer than anything a module does.
    """

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now

    def __enter__(self) -> Latency:
        gc.collect()
        gc.freeze()
        self._last = time.perf_counter()
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

    def percentile(self, percent: float) -> float:
        """The same for any percentage: an event in a gap g waits longer than t with probability (g - t) / g."""
        total = sum(self.gaps)
        low, high = 0.0, self.longest
        for _ in range(50):
            middle = (low + high) / 2
            beyond = sum(gap - middle for gap in self.gaps if gap > middle)
            low, high = (middle, high) if beyond > total * (1 - percent / 100) else (low, middle)
        return high
