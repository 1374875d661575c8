"""Injection time of the tracer, and the time to which a PET was decay-corrected.

Reference time of a series corrected to START: a header time (DecayCorrectionDateTime, GE's or Siemens'
private date-time, SeriesDate and SeriesTime) is used if it is not later than the earliest acquisition.
It must agree with the time computed back from AcquisitionTime, FrameReferenceTime and
ActualFrameDuration where these exist (1 % of SUV). Without a usable header time the computed one is used.
Sources: the SUV manual of Vacha et al., QIBA's order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom.dataset import Dataset

from ..dicom.header import numbers, one_of, one_text, private, tag_name, text
from ..dicom.time import parse_da, parse_dt, parse_offset, parse_tm
from ..errors import UnitsError
from .evidence import Evidence, Overrides, tracer_datasets

AGREEMENT = 0.01  # two times agree if the SUV changes by less than this
BEFORE_INJECTION_S = 600.0  # a dynamic scan may start this long before the injection
HALF_LIVES_AT_MOST = 10.0  # later, no activity is left to image
UNCHECKED_S = 1800.0  # an unconfirmed reference time this long before the first slice gives a warning
DATELESS_HALF_LIFE_S = 12 * 3600.0  # longer-lived tracers are imaged days later: a time without a date is ambiguous
DAY = timedelta(days=1)


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
    """Acquisition start of every slice, and its duration and reference time in s (nan where missing)."""

    start: list[datetime]
    duration_s: np.ndarray
    reference_s: np.ndarray
    decay_factor: np.ndarray
    zone: timedelta | None

    @property
    def first(self) -> datetime:
        return min(self.start)

    def seconds(self, moment: datetime) -> np.ndarray:
        """Seconds from ``moment`` to the start of every slice."""
        return np.array([(s - moment).total_seconds() for s in self.start])


def _acquisition(dataset: Dataset, zone: timedelta | None) -> datetime:
    time = text(dataset, "AcquisitionTime")
    if not time:
        stamp = text(dataset, "AcquisitionDateTime")
        if stamp:
            return parse_dt(stamp, tag_name("AcquisitionDateTime"), zone)
        raise UnitsError(
            f"The PET header has no {tag_name('AcquisitionTime')}, so its decay correction cannot be undone: "
            "use the scanner's original export."
        )
    moment = parse_tm(time, tag_name("AcquisitionTime"))
    date = text(dataset, "AcquisitionDate")
    if date:
        return parse_da(date, tag_name("AcquisitionDate")) + moment
    series = _series(dataset)
    if series is None:
        raise UnitsError(f"The PET header has no {tag_name('AcquisitionDate')}: use the scanner's original export.")
    start = series.replace(hour=0, minute=0, second=0, microsecond=0) + moment
    return start + DAY if series - start > DAY / 2 else start


def _series(dataset: Dataset) -> datetime | None:
    date, time = text(dataset, "SeriesDate"), text(dataset, "SeriesTime")
    if not date or not time:
        return None
    return parse_da(date, tag_name("SeriesDate")) + parse_tm(time, tag_name("SeriesTime"))


def frame_times(datasets: Sequence[Dataset]) -> FrameTimes:
    """The timing of every slice."""
    zone = parse_offset(one_text(datasets, "TimezoneOffsetFromUTC"), tag_name("TimezoneOffsetFromUTC"))

    return FrameTimes(
        [_acquisition(d, zone) for d in datasets],
        _column(datasets, "ActualFrameDuration", 1e-3, positive=True),
        _column(datasets, "FrameReferenceTime", 1e-3),
        _column(datasets, "DecayFactor", 1.0, positive=True),
        zone,
    )


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


def _header_times(datasets: Sequence[Dataset], zone: timedelta | None) -> list[tuple[str, datetime]]:
    """The header's reference times in order of rank, as (tag, time)."""
    rows = {tag_name((0x18, 0x9701)): [text(d, "DecayCorrectionDateTime") for d in datasets]}
    rows["GE PET scan date-time (0009,100D)"] = [private(d, 0x09, 0x0D, "GEMS_PETD") for d in datasets]
    siemens = [private(d, 0x71, 0x22, "SIEMENS MED PT") for d in datasets]
    rows["Siemens decay correction date-time (0071,1022)"] = siemens
    found = []
    for where, values in rows.items():
        stated = [parse_dt(v, where, zone) for v in values if v]
        if stated:
            found.append((where, min(stated)))
    series = [s for s in (_series(d) for d in datasets) if s is not None]
    if series:
        found.append((f"{tag_name('SeriesDate')} and {tag_name('SeriesTime')}", min(series)))
    return found


def _back_computed(times: FrameTimes, decay_constant: float) -> tuple[str, list[float]] | None:
    """(method, candidate reference times in s after the earliest acquisition), or None when it cannot be done.

    FrameReferenceTime counts from the reference to the frame's average-count-rate time (DICOM), or, as
    some scanners write it, to the frame's start: a reference later than the first acquisition is
    impossible for START, which identifies the second convention.
    """
    if not np.isfinite(times.duration_s).all():
        return None
    start = times.seconds(times.first)
    average = np.array([average_time_s(t, decay_constant) for t in times.duration_s])
    if np.isfinite(times.reference_s).all() and not (np.ptp(start) > 0 and not times.reference_s.any()):
        by_average, by_start = start + average - times.reference_s, start - times.reference_s
        late = by_average.min() > 0.25 * average.min()
        both = [by_start] if late else [by_average, by_start]
        name = "AcquisitionTime - FrameReferenceTime" + ("" if late else " + average count-rate time")
        if decay_constant * min(np.ptp(b) for b in both) > AGREEMENT:
            raise UnitsError(
                "The PET slices contradict each other: acquisition times, frame reference times and durations give "
                f"reference times {np.ptp(both[0]):.0f} s apart; convert the scanner's original export."
            )
        return name, [float(np.median(b)) for b in both]
    if np.isfinite(times.decay_factor).all() and (times.decay_factor > 1.0001).all():
        reference = start + average - np.log(times.decay_factor) / decay_constant
        if decay_constant * np.ptp(reference) <= AGREEMENT:
            return "AcquisitionTime + average count-rate time - ln(DecayFactor)/lambda", [float(np.median(reference))]
    return None


def reference_time(datasets: Sequence[Dataset], times: FrameTimes, half_life_s: float, warnings: list[str]) -> Evidence:
    """The moment to which a series with DecayCorrection START was corrected, and the method that found it."""
    decay_constant = math.log(2) / half_life_s
    computed = _back_computed(times, decay_constant)
    usable: tuple[str, datetime] | None = None
    for where, moment in _header_times(datasets, times.zone):
        late = (moment - times.first).total_seconds()
        if late > 1.0:
            warnings.append(
                f"{where} is {late:.0f} s after the earliest acquisition (changed later), so it is not used"
            )
        elif usable is None:
            usable = (where, moment)
    if usable:
        where, moment = usable
        offset = (moment - times.first).total_seconds()
        if computed is None:
            if -offset > UNCHECKED_S:
                warnings.append(
                    f"{where} is {-offset / 60:.0f} min before the earliest acquisition and cannot be checked"
                )
            return Evidence(moment, "", where, "not later than the earliest acquisition; nothing to check it with")
        if -math.expm1(-decay_constant * min(abs(offset - c) for c in computed[1])) > AGREEMENT:
            apart = abs(offset - computed[1][0])
            raise UnitsError(
                f"The PET's reference time contradicts itself: {where} and {computed[0]} differ by {apart:.0f} s "
                f"({100 * math.expm1(decay_constant * apart):.1f} % of SUV); convert the scanner's original export."
            )
        return Evidence(moment, "", where, f"not later than the earliest acquisition; agrees with {computed[0]}")
    if computed:
        moment = times.first + timedelta(seconds=computed[1][0])
        return Evidence(moment, "", computed[0], "computed back, because no header time is usable")
    if numbers(datasets, "NumberOfSlices")[0] != len(datasets):
        raise UnitsError(
            "The PET's reference time is unknown: SeriesTime is missing or later than the acquisition, "
            "FrameReferenceTime or ActualFrameDuration are missing, and the series is not known to be complete; "
            "convert the scanner's original export."
        )
    return Evidence(times.first, "", tag_name("AcquisitionTime"), "earliest acquisition of a complete series")


def injection_time(
    datasets: Sequence[Dataset], reference: datetime, half_life_s: float, zone: timedelta | None, overrides: Overrides
) -> Evidence:
    """Time of the injection on the series' clock; refused if implausible against ``reference``."""
    evidence = _stated_injection(datasets, reference, half_life_s, zone, overrides)
    uptake = (reference - evidence.value).total_seconds()
    if not -BEFORE_INJECTION_S <= uptake <= HALF_LIVES_AT_MOST * half_life_s:
        raise UnitsError(
            f"The injection ({evidence.value:%Y-%m-%d %H:%M:%S}, {evidence.source}) and the PET's reference time "
            f"({reference:%Y-%m-%d %H:%M:%S}) are {uptake / 60:.0f} min apart, impossible for a half-life of "
            f"{half_life_s / 60:.1f} min: state the true injection time (injection_time)."
        )
    return evidence


def _stated_injection(
    datasets: Sequence[Dataset], reference: datetime, half_life_s: float, zone: timedelta | None, overrides: Overrides
) -> Evidence:
    stated = overrides.injection_time
    if stated is not None:
        return _own_injection(stated, reference, half_life_s, zone)
    tracers = tracer_datasets(datasets)
    keywords = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")
    (stamp, where), (time, where_time) = ((one_text(tracers, keyword), tag_name(keyword)) for keyword in keywords)
    if not stamp:
        stamp = one_of({private(d, 0x09, 0x3B, "GEMS_PETD") for d in datasets}, "(0009,103B)")
        where = "GE administration date-time (0009,103B)"
    if stamp:
        moment = parse_dt(stamp, where, zone)
        if time:
            of_day = timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second)
            apart = abs((of_day - parse_tm(time, where_time)).total_seconds())
            apart = min(apart, 86400 - apart)
            if apart > 1 and math.expm1(math.log(2) * apart / half_life_s) > AGREEMENT:
                raise UnitsError(
                    f"{where} ({stamp}) and {where_time} ({time}) differ by {apart:.0f} s: "
                    "state the true injection time (injection_time)."
                )
        return Evidence(moment, "", where, "date and time")
    if not time:
        raise UnitsError(
            f"The PET header has neither {where_time} nor {tag_name('RadiopharmaceuticalStartDateTime')}: "
            "state the injection time (injection_time)."
        )
    return _dated(parse_tm(time, where_time), where_time, reference, half_life_s)


def _own_injection(stated: str | datetime, reference: datetime, half_life: float, zone: timedelta | None) -> Evidence:
    where = "your injection_time"
    if isinstance(stated, str):
        words = stated.strip()
        if re.fullmatch(r"\d{2}(:?\d{2}){1,2}(\.\d+)?", words):
            return _dated(parse_tm(words, where), where, reference, half_life)
        if re.fullmatch(r"\d{10,14}(\.\d+)?([+-]\d{4})?", words):
            return Evidence(parse_dt(words, where, zone), "", where, "date and time")
        try:
            stated = datetime.fromisoformat(words if len(words) > 10 else "")
        except ValueError:
            raise UnitsError(f"{where} {words!r} is not a date with a time: give it as 2025-01-31T10:00:00.") from None
    if stated.tzinfo is not None:
        if zone is not None:
            stated = stated.astimezone(timezone(zone))
        stated = stated.replace(tzinfo=None)
    return Evidence(stated, "", where, "date and time")


def _dated(of_day: timedelta, where: str, reference: datetime, half_life_s: float) -> Evidence:
    """A time of day on the scan's date, or on the day before if the scan is past midnight."""
    if half_life_s > DATELESS_HALF_LIFE_S:
        raise UnitsError(
            f"{where} has no date, and a tracer with a half-life of {half_life_s / 3600:.0f} h may be days older than "
            "the scan: state date and time of the injection (injection_time)."
        )
    moment = reference.replace(hour=0, minute=0, second=0, microsecond=0) + of_day
    if (reference - moment).total_seconds() < -BEFORE_INJECTION_S:
        return Evidence(moment - DAY, "", where, "time only, put on the day before because the scan is past midnight")
    return Evidence(moment, "", where, "time only, put on the day of the scan")
