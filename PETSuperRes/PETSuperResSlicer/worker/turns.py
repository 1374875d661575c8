"""The timer that looks after work in threads and processes, and the turns that it gives the threads.

Slicer's event loop, which is C++, keeps Python's lock (the GIL), so a Python thread gets on only where Python code of
the main thread lets go of it: without the turns a second's work takes a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INTERVAL_MS = 50  # between two looks
TURN_S = 0.03  # of them at most, so that the GUI has the rest and a click waits for less than 0.1 s
GLANCE_S = 0.001  # in which a thread that waited for something can say that it has come


@contextmanager
def atWork() -> Iterator[None]:
    """What a thread does within is given turns; nothing within may wait for the main thread."""
    with _lock:
        _working.append(threading.current_thread())
        _idle.clear()
    try:
        yield
    finally:
        with _lock:
            _working.remove(threading.current_thread())
            if not _working:
                _idle.set()


def giveTurn(longest: float = TURN_S) -> None:
    """Let go of Python's lock until no thread is at work any more, for ``longest`` seconds at most."""
    time.sleep(GLANCE_S)
    _idle.wait(max(0.0, longest))


def pollWhile(wanted: Callable[[], bool], poll: Callable[[], None]) -> None:
    """Call ``poll`` from a timer of Slicer's event loop as long as it is ``wanted``; without Qt, nothing."""
    try:
        import qt
    except ImportError:
        return
    # one timer for all: what a timer calls stays in memory with it
    if not _timer:
        _timer.append(qt.QTimer())
        _timer[0].setInterval(INTERVAL_MS)
        _timer[0].connect("timeout()", _tick)
    _polled.append((wanted, poll))
    _timer[0].start()


def _tick() -> None:
    began = time.perf_counter()
    for entry in list(_polled):
        wanted, poll = entry
        poll()
        if not wanted() and entry in _polled:
            _polled.remove(entry)
    if _polled or _working:
        giveTurn(TURN_S - (time.perf_counter() - began))
    else:
        _timer[0].stop()


_lock = threading.Lock()
_working: list[threading.Thread] = []
_idle = threading.Event()
_idle.set()
_polled: list[tuple[Callable[[], bool], Callable[[], None]]] = []
_timer: list[Any] = []
