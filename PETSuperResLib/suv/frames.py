"""When every slice of a PET was acquired, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from ..errors import UnitsError
from ..headers.attributes import numbers, one_text, tag_name, text
from ..headers.time import parse_da, parse_dt, parse_offset, parse_tm

DAY = timedelta(days=1)
NO_DATE = datetime(1900, 1, 1)  # stands for the day of a series whose dates were removed
FIRST_YEAR = 1950  # an earlier date stands for a removed one


def average_time_s(duration_s: float, decay_constant: float) -> float:
    """Time from frame start at which the count rate equals the frame's average, ``ln(x / (1 - e^-x)) / lambda``.

    ``x = lambda T``. About half the frame's duration T for a long-lived nuclide.
    """
    x = decay_constant * duration_s
    if x < 1e-9:
        return duration_s / 2
    return math.log(x / -math.expm1(-x)) / decay_constant


@dataclass(frozen=True)
class FrameTimes:
    """Acquisition start of every slice, and its duration and reference time in s (nan where missing).

    ``dated``: whether the header has dates; without them the day is :data:`NO_DATE`. ``shared``: AcquisitionTime is
    that of the whole scan, and the starts are it plus the differences of FrameReferenceTime.
    """

    start: list[datetime]
    duration_s: np.ndarray
    reference_s: np.ndarray
    decay_factor: np.ndarray
    zone: timedelta | None
    dated: bool = True
    shared: bool = False

    @property
    def first(self) -> datetime:
        return min(self.start)

    def seconds(self, moment: datetime) -> np.ndarray:
        """Seconds from ``moment`` to the start of every slice."""
        return np.array([(s - moment).total_seconds() for s in self.start])

    def near(self, moment: datetime) -> datetime:
        """The time of day of ``moment`` on the day on which it is nearest to the first acquisition."""
        apart = (moment - self.first).total_seconds()
        return moment - round(apart / DAY.total_seconds()) * DAY


def frame_times(datasets: Sequence[Dataset]) -> FrameTimes:
    """The timing of every slice."""
    zone = parse_offset(one_text(datasets, "TimezoneOffsetFromUTC"), tag_name("TimezoneOffsetFromUTC"))
    reference = _column(datasets, "FrameReferenceTime", 1e-3)
    day = _day(datasets)
    start = [_acquisition(d, zone, day or NO_DATE) for d in datasets]
    if max(start) - min(start) > DAY / 2 and not any(text(d, "AcquisitionDate") for d in datasets):
        noon = min(start).replace(hour=12, minute=0, second=0, microsecond=0)
        start = [s + DAY if s < noon else s for s in start]  # across midnight
    shared = len(set(start)) == 1 and bool(np.isfinite(reference).all()) and float(np.ptp(reference)) > 0
    if shared:
        start = [s + timedelta(seconds=float(r - reference.min())) for s, r in zip(start, reference, strict=True)]
    durations = _column(datasets, "ActualFrameDuration", 1e-3, positive=True)
    factors = _column(datasets, "DecayFactor", 1.0, positive=True)
    return FrameTimes(start, durations, reference, factors, zone, day is not None, shared)


def _day(datasets: Sequence[Dataset]) -> datetime | None:
    """The day of the scan for slices without AcquisitionDate; None where the header has no date at all."""
    for keyword in ("AcquisitionDate", "SeriesDate", "AcquisitionDateTime", "StudyDate"):
        for date in sorted({text(d, keyword)[:8] for d in datasets} - {""}):
            if (day := parse_da(date, tag_name(keyword))).year >= FIRST_YEAR:
                return day
    return None


def _acquisition(dataset: Dataset, zone: timedelta | None, day: datetime) -> datetime:
    """Start of a slice's acquisition; without a date of its own on ``day``, or the next one if SeriesTime is later."""
    time, stamp = text(dataset, "AcquisitionTime"), text(dataset, "AcquisitionDateTime")
    if not time and stamp:
        moment = parse_dt(stamp, tag_name("AcquisitionDateTime"), zone)
        return moment if moment.year >= FIRST_YEAR else on_day(day, moment - _midnight(moment))
    if not time:
        raise UnitsError(
            f"The PET header has no {tag_name('AcquisitionTime')}, so its decay correction cannot be undone: "
            "use the scanner's original export."
        )
    of_day = parse_tm(time, tag_name("AcquisitionTime"))
    date = text(dataset, "AcquisitionDate")
    if date and (known := parse_da(date, tag_name("AcquisitionDate"))).year >= FIRST_YEAR:
        return known + of_day
    series = text(dataset, "SeriesTime")
    late = bool(series) and parse_tm(series, tag_name("SeriesTime")) - of_day > DAY / 2
    return on_day(day, of_day) + (DAY if late else timedelta())


def on_day(day: datetime, of_day: timedelta) -> datetime:
    return _midnight(day) + of_day


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def frame_durations_s(datasets: Sequence[Dataset]) -> np.ndarray:
    """Duration of every slice's frame in s; raises where one is missing."""
    durations = _column(datasets, "ActualFrameDuration", 1e-3, positive=True)
    if not np.isfinite(durations).all():
        raise UnitsError(
            f"The PET header has no usable {tag_name('ActualFrameDuration')}, which its values need: "
            "use the scanner's original export."
        )
    return durations


def _column(datasets: Sequence[Dataset], keyword: str, scale: float, positive: bool = False) -> np.ndarray:
    """One number per slice, nan where it is missing (or, if it must be ``positive``, is not)."""
    values = numbers(datasets, keyword)
    return np.array([math.nan if v is None or (positive and v <= 0) else v * scale for v in values])
