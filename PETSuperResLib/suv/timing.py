"""The time to which a PET was decay-corrected.

Reference time of a series corrected to START: GE's private scan date-time where it is present. Else a header time
(DecayCorrectionDateTime, Siemens' private date-time, SeriesDate and SeriesTime) is used if it is not later than the
earliest acquisition; it must agree with the time computed back from AcquisitionTime, FrameReferenceTime and
ActualFrameDuration where these exist (1 % of SUV). Without a usable header time the computed one is used.
Sources: the SUV manual of Vacha et al., QIBA's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from ..errors import UnitsError
from ..headers.attributes import numbers, private, tag_name, text
from ..headers.time import parse_da, parse_dt, parse_tm
from .evidence import Evidence
from .frames import FIRST_YEAR, NO_DATE, FrameTimes, average_time_s, on_day

AGREEMENT = 0.01  # two times agree if the SUV changes by less than this
PHILIPS_S = 60.0  # AcquisitionTime within this from SeriesTime may be the start of Philips' whole scan
BETWEEN_S = 60.0  # from the end of a bed to the start of the next one, at most, where there are but two
LONGEST_BED_S = 900.0  # of one bed, where its duration is not known
GE_TIME = "GE PET scan date-time (0009,100D)"
SERIES_TIME = f"{tag_name('SeriesDate')} and {tag_name('SeriesTime')}"


def _series(dataset: Dataset, times: FrameTimes) -> datetime | None:
    """SeriesDate and SeriesTime; without a date on the day nearest to the acquisition."""
    date, time = text(dataset, "SeriesDate"), text(dataset, "SeriesTime")
    if not time:
        return None
    of_day = parse_tm(time, tag_name("SeriesTime"))
    day = parse_da(date, tag_name("SeriesDate")) if date else NO_DATE
    return day + of_day if day.year >= FIRST_YEAR else times.near(on_day(times.first, of_day))


def _header_times(datasets: Sequence[Dataset], times: FrameTimes) -> list[tuple[str, datetime]]:
    """The header's reference times in order of rank, as (tag, time); GE's in the day of the scan."""
    rows = {GE_TIME: [private(d, 0x09, 0x0D, "GEMS_PETD") for d in datasets]}
    rows[tag_name((0x18, 0x9701))] = [text(d, "DecayCorrectionDateTime") for d in datasets]
    siemens = [private(d, 0x71, 0x22, "SIEMENS MED PT") for d in datasets]
    rows["Siemens decay correction date-time (0071,1022)"] = siemens
    found = []
    for where, values in rows.items():
        stated = [parse_dt(v, where, times.zone) for v in values if v]
        if stated:
            moment = min(stated)
            found.append((where, times.near(moment) if where == GE_TIME or not times.dated else moment))
    series = [s for s in (_series(d, times) for d in datasets) if s is not None]
    if series:
        found.append((SERIES_TIME, min(series)))
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
    stated = _header_times(datasets, times)
    if stated and stated[0][0] == GE_TIME:
        return _by_ge(stated, times, decay_constant, warnings)
    computed = _back_computed(times, decay_constant)
    warnings += [] if computed else _uneven_beds(times, decay_constant)
    usable: tuple[str, datetime] | None = None
    for where, moment in stated:
        late = (moment - times.first).total_seconds()
        if late > 1.0:
            warnings.append(
                f"{where} is {late:.0f} s after the earliest acquisition (changed later), so it is not used"
            )
        elif usable is None:
            usable = (where, moment)
    if times.shared:
        warnings.append(
            f"{tag_name('AcquisitionTime')} is the same in all slices though {tag_name('FrameReferenceTime')} differs, "
            "so it is taken as the start of the whole scan"
        )
    if usable:
        where, moment = usable
        offset = (moment - times.first).total_seconds()
        if computed is None:
            if (changed := math.expm1(-decay_constant * offset)) > AGREEMENT:
                warnings.append(
                    f"{where} is {-offset / 60:.0f} min before the earliest acquisition and cannot be checked: if it "
                    f"is not the time of decay correction, SUVs are wrong by {100 * changed:.0f} %"
                )
            return Evidence(moment, "", where, "not later than the earliest acquisition; nothing to check it with")
        if -math.expm1(-decay_constant * min(abs(offset - c) for c in computed[1])) > AGREEMENT:
            apart = abs(offset - computed[1][0])
            if _of_philips(datasets) and offset >= -PHILIPS_S:
                warnings.append(
                    f"{where} is used and {tag_name('AcquisitionTime')} taken as the start of Philips' whole scan, as "
                    f"{tag_name('FrameReferenceTime')} is {float(np.median(times.reference_s)):.0f} s: check the SUVs"
                )
                return Evidence(moment, "", where, "Philips: AcquisitionTime is the start of the scan")
            raise UnitsError(
                f"The PET's reference time contradicts itself: {where} and {computed[0]} differ by {apart:.0f} s "
                f"({100 * math.expm1(decay_constant * apart):.1f} % of SUV); convert the scanner's original export."
            )
        changed = math.expm1(decay_constant * abs(offset - computed[1][0]))
        if changed > AGREEMENT:
            warnings.append(
                f"{where} agrees with {tag_name('FrameReferenceTime')} only if that counts to the start of a frame: "
                f"otherwise SUVs are wrong by {100 * changed:.1f} %"
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


def check_uncorrected(datasets: Sequence[Dataset], times: FrameTimes, half_life_s: float, warnings: list[str]) -> None:
    """Tell what contradicts AcquisitionTime, from which the frames of a series without decay correction are corrected.

    FrameReferenceTime counts from the header's time of the series; without it that is the earliest acquisition.
    """
    decay_constant = math.log(2) / half_life_s
    try:
        computed = _back_computed(times, decay_constant)
    except UnitsError:
        computed = None
        warnings.append("acquisition and frame reference times contradict each other; the acquisition times are used")
    warnings += [] if computed else _uneven_beds(times, decay_constant)
    for where, moment in _header_times(datasets, times):
        offset = (moment - times.first).total_seconds()
        apart = abs(offset - (computed[1][0] if computed else 0.0))
        if math.expm1(min(decay_constant * apart, 50.0)) > AGREEMENT:
            warnings.append(
                f"{where} is {apart:.0f} s apart from the start of the scan by {tag_name('AcquisitionTime')}, which is "
                "used to correct the decay"
            )


def _uneven_beds(times: FrameTimes, decay_constant: float) -> list[str]:
    """A warning where beds do not follow one another alike, so that the time of one of them may be wrong.

    The time from a bed's end to the next one's start is the same for all, and between two beds short.
    """
    starts = times.seconds(times.first)
    beds = np.unique(starts)
    longest = [np.max(times.duration_s[starts == bed]) for bed in beds[:-1]]  # nan where one is missing
    waits = np.diff(beds) - np.nan_to_num(longest)
    if len(waits) == 0:
        return []
    if len(waits) > 1:
        apart = float(np.ptp(waits))
    else:
        apart = max(float(waits[0]) - (BETWEEN_S if np.isfinite(longest[0]) else LONGEST_BED_S), -float(waits[0]))
    if math.expm1(min(decay_constant * apart, 50.0)) <= AGREEMENT:
        return []
    late = int(np.argmax(np.abs(waits - np.median(waits)) if len(waits) > 2 else np.abs(waits))) + 1
    begins, after = times.first + timedelta(seconds=float(beds[late])), beds[late] - beds[late - 1]
    return [
        f"the bed that begins at {begins:%H:%M:%S} does not follow the one before as beds do ({after:.0f} s after its "
        f"start), so {tag_name('AcquisitionTime')} may be wrong there"
    ]


def _by_ge(
    stated: Sequence[tuple[str, datetime]], times: FrameTimes, decay_constant: float, warnings: list[str]
) -> Evidence:
    """GE's own scan time, which ranks above all others (SUV manual); what disagrees with it is told."""
    moment = stated[0][1]
    others = [(where, other) for where, other in stated[1:]]
    try:
        computed = _back_computed(times, decay_constant)
    except UnitsError:
        computed = None
        warnings.append(f"acquisition and frame reference times contradict each other, so {GE_TIME} cannot be checked")
    if computed:
        by = min(computed[1], key=lambda c: abs(c - (moment - times.first).total_seconds()))
        others.append((computed[0], times.first + timedelta(seconds=by)))
    else:
        others.append((f"the earliest {tag_name('AcquisitionTime')}", times.first))
    for where, other in others:
        apart = abs((other - moment).total_seconds())
        if math.expm1(min(decay_constant * apart, 50.0)) > AGREEMENT:
            warnings.append(f"{where} gives another reference time ({apart:.0f} s apart) than {GE_TIME}, which is used")
    return Evidence(moment, "", GE_TIME, "ranks above SeriesTime and AcquisitionTime")


def _of_philips(datasets: Sequence[Dataset]) -> bool:
    return text(datasets[0], "Manufacturer").lower().startswith("philips")
