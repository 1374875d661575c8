"""The time that a run may take: its preparation, steps and validation together."""

from __future__ import annotations

import math
import time

from ...errors import InputError

PREPARATION = 0.3  # of the time, at most, goes to making slices; one source of each kind is always made
VALIDATION = 0.2  # of the time, at most, goes to the validation at the end; without that much there is none


class Limit:
    """A time limit that begins now; ``minutes`` None: without end."""

    def __init__(self, minutes: float | None = None):
        self.minutes = minutes
        self.began = time.monotonic()
        self.end = math.inf if minutes is None else self.began + 60 * minutes

    @property
    def left_s(self) -> float:
        """Seconds until its end; never below 0."""
        return max(0.0, self.end - time.monotonic())

    @property
    def prepared_by(self) -> float:
        """The time, by :func:`time.monotonic`, at which no further slices are made."""
        return self.began + PREPARATION * (self.end - self.began)

    def part(self, share: float) -> Limit:
        """A limit for the next part of the work, a ``share`` (0 to 1) of the time that is left."""
        return Limit(None if self.minutes is None else share * self.left_s / 60)

    def check(self) -> None:
        """Raise :class:`InputError` where no time is left to train."""
        if self.minutes is not None and not self.left_s:
            raise InputError(
                f"The preparation took longer than the {self.minutes:.2g} minutes of this run: allow more time, or "
                "keep the slices in a cache.",
                "limit_minutes",
            )
