"""Work on the main thread in small steps, so that the event loop runs between them.

Slicer's event loop keeps Python's lock (the GIL), so a Python thread does not run there. What needs the main thread's
data and takes less than a process would cost is a generator instead, which yields often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import qt

BUDGET_S = 0.02  # of work between two looks at the events


class Steps:
    """Runs one generator at a time; a newer one replaces it. The generator's return value goes to ``done``."""

    def __init__(self) -> None:
        self._current: tuple[Generator[None, None, Any], Callable[[Any], None], Callable[[Exception], None]] | None
        self._current = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._go)

    @property
    def running(self) -> bool:
        """Whether a generator has not ended yet."""
        return self._current is not None

    def run(
        self,
        steps: Generator[None, None, Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run ``steps`` from the event loop, then call ``done(value)`` or ``failed(exception)``."""
        self.drop()
        self._current = steps, done, failed
        self._timer.start()

    def drop(self) -> None:
        """End the running generator; nothing is called."""
        current, self._current = self._current, None
        self._timer.stop()
        if current is not None and not current[0].gi_running:
            current[0].close()

    def _go(self) -> None:
        current = self._current
        if current is None:
            return
        steps, done, failed = current
        ends = time.perf_counter() + BUDGET_S
        try:
            while time.perf_counter() < ends:
                next(steps)
                if self._current is not current:
                    return
        except StopIteration as end:
            self.drop()
            done(end.value)
        except Exception as error:
            self.drop()
            failed(error)
