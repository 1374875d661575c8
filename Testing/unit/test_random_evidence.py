"""Random contradictions among the evidence of an SUV: the right SUV, a note, or one sentence; never a silent error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
from dicom_factory import Scan, pet_slices, rescaled, set_private, suv_pattern, tracer
from pydicom.dataset import Dataset

from PETSuperResLib.dicom.files import quiet_pydicom
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.suv.activity import check_activity
from PETSuperResLib.suv.evidence import NUCLIDES
from PETSuperResLib.suv.suvbw import suv_factors

hypothesis = pytest.importorskip("hypothesis", reason="needs the package hypothesis (pip install '.[test]')")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

TRACERS = ("F-18", "C-11", "Ga-68", "Cu-64", "Zr-89")
# of SUV, by the number of faults: times agree within 1 %, and what two of them are off by adds up (the wrong time of a
# bed and that of the injection, of a long-lived nuclide, each within its 1 %)
RIGHT = (0.002, 0.012, 0.021)
Fault = Callable[[list[Dataset], float], None]


def moved(content: str, seconds: float) -> str:
    """A DICOM time or date-time some seconds later."""
    form = "%Y%m%d%H%M%S.%f" if len(content) > 16 else "%H%M%S.%f"
    return (datetime.strptime(content, form) + timedelta(seconds=seconds)).strftime(form)


def move(*keywords: str) -> Fault:
    """Times of the slices or of the tracer, some seconds later."""

    def fault(datasets: list[Dataset], seconds: float) -> None:
        for place in (*datasets, *tracer(datasets)):
            for keyword in keywords:
                if keyword in place:
                    setattr(place, keyword, moved(getattr(place, keyword), seconds))

    return fault


def move_frames(datasets: list[Dataset], seconds: float) -> None:
    for dataset in datasets:
        dataset.FrameReferenceTime = float(dataset.FrameReferenceTime) + 1000 * seconds


def move_one_bed(datasets: list[Dataset], seconds: float) -> None:
    """Of several: a part of a single one would look like a second bed."""
    if len({dataset.AcquisitionTime for dataset in datasets}) > 1:
        move("AcquisitionTime")(datasets[-2:], seconds)


def ge_time(datasets: list[Dataset], seconds: float) -> None:
    """GE's own scan time is right, and SeriesTime is not."""
    for dataset in datasets:
        stamp = f"{dataset.SeriesDate}{dataset.SeriesTime}"
        set_private(dataset, 0x09, "GEMS_PETD_01", 0x0D, "DT", stamp)
    move("SeriesTime")(datasets, seconds)


def wrong_ge_time(datasets: list[Dataset], seconds: float) -> None:
    for dataset in datasets:
        stamp = moved(f"{dataset.SeriesDate}{dataset.SeriesTime}", seconds)
        set_private(dataset, 0x09, "GEMS_PETD_01", 0x0D, "DT", stamp)


def half_life(datasets: list[Dataset], seconds: float) -> None:
    """The half-life of another nuclide beside the code of the true one."""
    other = TRACERS[int(abs(seconds)) % len(TRACERS)]
    for item in tracer(datasets):
        item.RadionuclideHalfLife = NUCLIDES[other][0]


def dose(datasets: list[Dataset], seconds: float) -> None:
    """A dose in mCi, kBq or GBq."""
    unit = (1 / 37e6, 1e-3, 1e-9)[int(abs(seconds)) % 3]
    for item in tracer(datasets):
        item.RadionuclideTotalDose = float(item.RadionuclideTotalDose) * unit


def weight(datasets: list[Dataset], seconds: float) -> None:
    """A weight in g, or in t."""
    for dataset in datasets:
        dataset.PatientWeight = float(dataset.PatientWeight) * (1e3, 1e-3)[int(abs(seconds)) % 2]


def values(datasets: list[Dataset], seconds: float) -> None:
    """Values in kBq/mL or MBq/mL."""
    for dataset in datasets:
        dataset.RescaleSlope = float(dataset.RescaleSlope) * (1e-3, 1e-6)[int(abs(seconds)) % 2]


def own_zone(datasets: list[Dataset], seconds: float) -> None:
    """The injection on the clock of another time zone than the scan's, which states none."""
    hours = int(seconds / 3600)
    for item in tracer(datasets):
        item.RadiopharmaceuticalStartDateTime = (
            f"{moved(item.RadiopharmaceuticalStartDateTime, 3600 * hours)}{hours:+03d}00"
        )
        del item.RadiopharmaceuticalStartTime


FAULTS: dict[str, Fault] = {
    "series time": move("SeriesTime"),
    "acquisition times": move("AcquisitionTime"),
    "acquisition times of one bed": move_one_bed,
    "frame reference times": move_frames,
    "injection time beside its date-time": move("RadiopharmaceuticalStartTime"),
    "injection date-time beside its time": move("RadiopharmaceuticalStartDateTime"),
    "ge's time beside a wrong series time": ge_time,
    "ge's time wrong": wrong_ge_time,
    "half-life": half_life, "dose": dose, "weight": weight, "values": values, "zone": own_zone,
}  # fmt: skip
# pairs that make up one moment: moved alike, or the other way, they agree and nothing else in the header tells it
ONE_MOMENT = {
    frozenset({"series time", "acquisition times"}): 1,
    frozenset({"acquisition times", "frame reference times"}): 1,
    frozenset({"series time", "frame reference times"}): -1,
    frozenset({"injection time beside its date-time", "injection date-time beside its time"}): 1,
}
REMOVED = ("FrameReferenceTime", "ActualFrameDuration", "NumberOfSlices", "AcquisitionDate", "DecayFactor", "StudyDate")
scans = st.builds(
    Scan,
    half_life_s=st.sampled_from([NUCLIDES[name][0] for name in TRACERS]),
    decay=st.sampled_from(["START", "START", "ADMIN", "NONE"]),
    beds=st.integers(1, 3),
    started=st.sampled_from([datetime(2025, 1, 1, 11), datetime(2025, 1, 1, 10, 20), datetime(2025, 1, 1, 10, 45)]),
)


def can_be_noticed(drawn: tuple[Scan, list[tuple[str, float]], set[str]]) -> bool:
    """Unless two faults agree, to the 1 % of SUV within which times do."""
    scan, faults, _ = drawn
    sign = ONE_MOMENT.get(frozenset(name for name, _ in faults))
    if sign is None:
        return True
    (_, first), (_, second) = faults
    return abs(first - sign * second) * np.log(2) / scan.half_life_s > 0.011


EVIDENCE = st.tuples(
    scans,
    st.lists(
        st.tuples(st.sampled_from(sorted(FAULTS)), st.floats(-7200, 7200)), max_size=2, unique_by=lambda pair: pair[0]
    ),
    st.sets(st.sampled_from(REMOVED), max_size=2),
).filter(can_be_noticed)


def check_evidence(scan: Scan, faults: list[tuple[str, float]], removed: set[str]) -> None:
    datasets = pet_slices(scan)
    for item in tracer(datasets):
        name = next(name for name in TRACERS if NUCLIDES[name][0] == scan.half_life_s)
        code = item.RadionuclideCodeSequence[0]
        code.CodeValue, code.CodeMeaning, item.Radiopharmaceutical = NUCLIDES[name][1][0], "", ""
    for name, seconds in sorted(faults):  # the time zone last
        FAULTS[name](datasets, seconds)
    for dataset in datasets:
        for keyword in removed:
            delattr(dataset, keyword)
    with quiet_pydicom():
        try:
            factors, evidence = suv_factors(datasets)
            suv = np.stack([rescaled(d) for d in datasets]) * factors[:, None, None]
            told = evidence["warnings"] + check_activity(suv, 0.06, float(datasets[0].PatientWeight))
        except PETSuperResError as error:
            assert str(error).strip() and "\n" not in str(error)
            return
    assert told or np.abs(suv / suv_pattern() - 1).max() < RIGHT[len(faults)], evidence
    assert faults or removed or not told, told


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(EVIDENCE)
def test_contradictions_give_the_right_suv_a_warning_or_one_sentence(drawn):
    check_evidence(*drawn)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(EVIDENCE)
def test_2000_contradictions(drawn):
    check_evidence(*drawn)
