"""The time that a run may take: its preparation, steps and validation together."""

from __future__ import annotations

import math
import time

from ...errors import InputError

PREPARATION = 0.3  # of the time, at most, goes to making slices; one source of each kind is always made
SHORTEST_S = 60.0  # seconds of a stage before the last one; one that would get less is left out
STEPS = 30  # that fit into the time of a stage, with a smaller batch where they must
VALIDATION = 0.2  # of the time, at most, goes to the validation at the end; without that much there is none


class Limit:
    """A time limit that begins now, perhaps as a part of a ``whole`` one; ``minutes`` None: without end."""

    def __init__(self, minutes: float | None = None, whole: Limit | None = None):
        self.minutes, self.whole = minutes, whole or self
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
        return Limit(None if self.minutes is None else share * self.left_s / 60, self.whole)

    def check(self) -> None:
        """Raise :class:`InputError` where no time of the whole is left to train."""
        if not self.whole.left_s:
            raise InputError(
                f"The preparation took longer than the {self.whole.minutes:.2g} minutes of this run: allow more time, "
                "or keep the slices in a cache.",
                "limit_minutes",
            )
