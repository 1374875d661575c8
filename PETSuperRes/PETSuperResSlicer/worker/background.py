"""Work that would hold up the GUI, in a thread; its answer comes back on the main thread by a timer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from PETSuperResSlicer.worker.turns import atWork, pollWhile


class Background:
    """One piece of work at a time. A newer one replaces it: the answer of the older is then dropped.

    The work must not touch Qt or MRML; ``done(value)`` and ``failed(exception)`` are called on the main
    thread and may.
    """

    def __init__(self) -> None:
        self._current: dict[str, Any] | None = None

    @property
    def running(self) -> bool:
        """Whether an answer is still to come."""
        return self._current is not None

    def run(self, work: Callable[[], Any], done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        """Start ``work`` in a thread."""
        job: dict[str, Any] = {"done": done, "failed": failed}

        def target() -> None:
            try:
                with atWork():
                    job["value"] = work()
            except Exception as error:  # whatever it is, the main thread shows it
                job["error"] = error

        job["thread"] = threading.Thread(target=target, daemon=True)
        self._current = job
        job["thread"].start()
        pollWhile(lambda: self._current is job, lambda: self._deliver(job))

    def drop(self) -> None:
        """Forget the running work; its answer is not delivered."""
        self._current = None

    def _deliver(self, job: dict[str, Any]) -> None:
        if job is not self._current or job["thread"].is_alive():
            return
        self.drop()
        if "error" in job:
            job["failed"](job["error"])
        else:
            job["done"](job.get("value"))
