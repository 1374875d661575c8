"""Progress of long work: one event type and one reporter for every consumer.

The same :class:`Event` feeds the terminal's progress bar, the worker's JSON lines and the module's
preview. A callback that raises :class:`~PETSuperResLib.errors.Cancelled` stops the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .volume import Volume


@dataclass(frozen=True)
class Event:
    """One step of a running job.

    ``fraction`` runs from 0 to 1 over the whole job, ``remaining_s`` is the estimated time left in
    seconds (None until it can be estimated) and ``preview`` the current estimate on the result's grid
    (None when there is nothing to show). ``warnings`` are what the inputs alone tell, each in one event, before the
    long work; the report has them too.
    """

    stage: str
    fraction: float
    message: str = ""
    remaining_s: float | None = None
    preview: Volume | None = None
    warnings: tuple[str, ...] = ()


Callback = Callable[[Event], None]
T = TypeVar("T")


def at_once(steps: Generator[None, None, T]) -> T:
    """The return value of a generator that does long work in steps, all run at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class Reporter:
    """Turns ``report(stage, fraction, ...)`` calls into events with an estimate of the time left.

    >>> events = []
    >>> Reporter(events.append)("sampling", 0.5)
    >>> events[0].stage, events[0].fraction
    ('sampling', 0.5)
    """

    def __init__(self, callback: Callback | None, start: float = 0.0, end: float = 1.0):
        self.callback = callback
        self.start, self.end = start, end
        self.began, self.offset = time.monotonic(), start  # when, and at which part of the whole job

    def __call__(
        self,
        stage: str,
        fraction: float,
        message: str = "",
        preview: Volume | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Report ``fraction`` (0 to 1) of this reporter's share of the job."""
        if self.callback is None:
            return
        whole = self.start + (self.end - self.start) * fraction
        done = whole - self.offset
        elapsed = time.monotonic() - self.began
        remaining = elapsed * (1 - whole) / done if done > 0.02 * (1 - self.offset) else None
        self.callback(Event(stage, whole, message, remaining, preview, tuple(warnings)))

    def part(self, start: float, end: float) -> Reporter:
        """A reporter for the share ``start..end`` (0 to 1) of this one; its time left is that of the whole job."""
        width = self.end - self.start
        part = Reporter(self.callback, self.start + width * start, self.start + width * end)
        part.began, part.offset = self.began, self.offset
        return part

    def start_clock(self, fraction: float) -> None:
        """Estimate the time left from now on, at ``fraction`` of this reporter; the time before is left out."""
        self.began, self.offset = time.monotonic(), self.start + (self.end - self.start) * fraction
