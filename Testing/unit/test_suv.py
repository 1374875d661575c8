"""SUVbw from PET headers: every variant of the SUV manual comes out as the physics put in, or is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import Scan, pet_slices, rescaled, set_private, suv_pattern, tracer, write_series
from geometry import data_dir
from pydicom.dataset import Dataset

from PETSuperResLib.dicom.read import suv_volume
from PETSuperResLib.errors import InputError, UnitsError
from PETSuperResLib.suv.evidence import Overrides, nuclide_in
from PETSuperResLib.suv.stated import Stated
from PETSuperResLib.suv.suvbw import suv_factors
from PETSuperResLib.suv.volumes import check_suv, told
from PETSuperResLib.volume import Volume

Edit = Callable[[list[Dataset]], object]
GA68, RB82, ZR89 = 4062.6, 75.45, 282276.0


def suv_of(datasets: Sequence[Dataset], **stated: object) -> np.ndarray:
    factors, _ = suv_factors(datasets, Overrides(**stated))
    return np.stack([rescaled(d) * f for d, f in zip(datasets, factors, strict=True)])


def evidence(datasets: Sequence[Dataset], **stated: object) -> dict:
    return suv_factors(datasets, Overrides(**stated))[1]


def each(datasets: Sequence[Dataset], **attributes: object) -> None:
    """Set (or, with None, delete) attributes of every slice."""
    for dataset in datasets:
        for keyword, value in attributes.items():
            if value is None:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)


def nuclide(datasets: Sequence[Dataset], value: str, meaning: str, name: str, half_life: float | None) -> None:
    for item in tracer(datasets):
        item.RadionuclideCodeSequence[0].CodeValue, item.RadionuclideCodeSequence[0].CodeMeaning = value, meaning
    each(tracer(datasets), Radiopharmaceutical=name, RadionuclideHalfLife=half_life)


def late_series(datasets: list[Dataset]) -> None:
    each(datasets, SeriesTime="143000")


def no_reference_frames(datasets: list[Dataset]) -> None:
    each(datasets, FrameReferenceTime=None)


def private(datasets: Sequence[Dataset], *attribute: object) -> None:
    """Set a private attribute of every slice: group, creator, element, VR and value."""
    for dataset in datasets:
        set_private(dataset, *attribute)


GE, SIEMENS, PHILIPS = (0x0009, "GEMS_PETD_01"), (0x0071, "SIEMENS MED PT"), (0x7053, "Philips PET Private Group")


# -- the right SUV, whatever the header's way ------------------------------------------------------
MIDNIGHT = Scan(injected=datetime(2025, 1, 1, 23, 20), started=datetime(2025, 1, 2, 0, 25))
ACROSS = Scan(injected=datetime(2025, 1, 1, 22, 50), started=datetime(2025, 1, 1, 23, 58))


def _only_time(d: list[Dataset]) -> None:
    each(tracer(d), RadiopharmaceuticalStartDateTime=None)


def _only_date_time(d: list[Dataset]) -> None:
    each(tracer(d), RadiopharmaceuticalStartTime=None)


def _with_zone(d: list[Dataset]) -> None:
    each(d, TimezoneOffsetFromUTC="+0100")
    each(tracer(d), RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime="20250101040000.000-0500")


def _own_zone_only(d: list[Dataset]) -> None:
    each(tracer(d), RadiopharmaceuticalStartDateTime="20250101100000+0900")


def only_reference(change: Edit) -> Edit:
    """The reference time stands in nothing but what ``change`` sets."""
    return lambda d: [late_series(d), no_reference_frames(d), change(d)]


def _frame_start_habit(d: list[Dataset]) -> None:  # FrameReferenceTime counted to the frame's start
    late_series(d)
    for k, item in enumerate(d):
        item.FrameReferenceTime = 1000 * 200 * (k * 2 // len(d))


def _decay_factor(d: list[Dataset]) -> None:
    late_series(d)
    rate = np.log(2) / 6586.2
    for item in d:
        item.DecayFactor = round(float(np.exp(rate * item.FrameReferenceTime / 1000)), 7)
        item.FrameReferenceTime = 0


def _first_bed_missing(d: list[Dataset]) -> None:
    late_series(d)
    del d[: len(d) // 2]


GE_SCAN_TIME = only_reference(lambda d: private(d, *GE, 0x0D, "DT", "20250101110000.00"))

RIGHT: dict[str, tuple[Scan, Edit | None]] = {
    "bqml, start": (Scan(), None),
    "admin": (Scan(decay="ADMIN"), None),
    "admin without any time": (
        Scan(decay="ADMIN"),
        lambda d: [each(d, AcquisitionTime=None, SeriesTime=None), _only_time(d), _only_date_time(d)],
    ),
    "none, frames at several times": (Scan(decay="NONE", beds=3), None),
    "none, short-lived, long frames": (
        Scan(decay="NONE", half_life_s=122.24, bed_s=300, started=datetime(2025, 1, 1, 10, 1)),
        lambda d: nuclide(d, "C-B1038", "^15^Oxygen", "Water", 122.24),
    ),
    "dose in MBq": (Scan(), lambda d: each(tracer(d), RadionuclideTotalDose=350.0)),
    "weight in g": (Scan(), lambda d: each(d, PatientWeight=70000)),
    "series time after acquisition": (Scan(), late_series),
    "series time after acquisition, first bed cropped": (Scan(), _first_bed_missing),
    "series time missing": (Scan(), lambda d: each(d, SeriesTime=None)),
    "frame reference missing": (Scan(), no_reference_frames),
    "ge scan date-time": (Scan(), GE_SCAN_TIME),
    "ge scan date-time, creator lost": (
        Scan(),
        only_reference(lambda d: [x.add_new(0x0009100D, "UN", b"20250101110000.00 ") for x in d]),
    ),
    "siemens decay date-time": (
        Scan(),
        only_reference(lambda d: private(d, *SIEMENS, 0x22, "DT", "20250101110000.000000")),
    ),
    "decay correction date-time": (
        Scan(),
        only_reference(lambda d: each(d, DecayCorrectionDateTime="20250101110000")),
    ),
    "frame reference counts to the frame's start": (Scan(), _frame_start_habit),
    "decay factor": (Scan(), _decay_factor),
    "earliest acquisition of a complete series": (Scan(), only_reference(lambda d: None)),
    "only start date-time": (Scan(), _only_date_time),
    "only start time": (Scan(), _only_time),
    "start date-time in another time zone": (Scan(), _with_zone),
    "start date-time with a zone, series without": (Scan(), _own_zone_only),
    "ge injection date-time": (
        Scan(),
        lambda d: [_only_time(d), _only_date_time(d), private(d, *GE, 0x3B, "DT", "20250101100000.00")],
    ),
    "time of seconds' fractions cut": (
        Scan(),
        lambda d: [_only_time(d), each(tracer(d), RadiopharmaceuticalStartTime="1000")],
    ),
    "injection before midnight, time only": (MIDNIGHT, _only_time),
    "injection before midnight, date-time": (MIDNIGHT, None),
    "scan across midnight, time only": (ACROSS, _only_time),
    "scan across midnight, not corrected": (
        Scan(injected=ACROSS.injected, started=ACROSS.started, decay="NONE"),
        _only_time,
    ),
    "scan across midnight without acquisition date": (ACROSS, lambda d: each(d, AcquisitionDate=None)),
    "ga-68": (
        Scan(half_life_s=GA68),
        lambda d: nuclide(d, "C-131A3", "^68^Gallium", "DOTATATE", GA68),
    ),
    "ga-68 half-life missing": (
        Scan(half_life_s=GA68),
        lambda d: nuclide(d, "C-131A3", "^68^Gallium", "DOTATATE", None),
    ),
    "ga-68 by SCT code": (Scan(half_life_s=GA68), lambda d: nuclide(d, "35337001", "", "DOTATATE", None)),
    "f-18 by radiopharmaceutical only": (
        Scan(),
        lambda d: each(tracer(d), RadionuclideHalfLife=None, RadionuclideCodeSequence=None),
    ),
    "rb-82": (
        Scan(half_life_s=RB82, started=datetime(2025, 1, 1, 10, 2)),
        lambda d: nuclide(d, "C-159A2", "^82^Rubidium", "", RB82),
    ),
    "zr-89, days later": (
        Scan(half_life_s=ZR89, started=datetime(2025, 1, 6, 9)),
        lambda d: nuclide(d, "C-168A4", "^89^Zirconium", "", ZR89),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_suv_is_what_the_physics_put_in(name: str) -> None:
    scan, edit = RIGHT[name]
    suv, datasets = suv_pattern(), pet_slices(scan)
    for k, item in enumerate(datasets):
        item.InstanceNumber = k
    if edit:
        edit(datasets)
    kept = suv[[d.InstanceNumber for d in datasets]]
    assert suv_of(datasets) == pytest.approx(kept, rel=2e-3, abs=2e-4)


NORMALISED = [  # 70 kg, 175 cm, worked out by hand
    ("LBM", "M", 57.8), ("LBM", "F", 51.22), ("LBM", "O", 54.51),
    ("LBMJAMES128", "M", 56.52), ("LBMJAMES128", "F", 51.22), ("LBMJAMES128", "O", 53.87),
    ("LBMJANMA", "M", 55.857), ("LBMJANMA", "F", 45.197), ("LBMJANMA", "O", 50.527),
    ("IBW", "M", 72.38), ("IBW", "F", 66.43), ("IBW", "O", 69.405),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sex", "mass"), NORMALISED)
def test_other_suv_types_become_body_weight_suv(kind: str, sex: str, mass: float) -> None:
    datasets = pet_slices(Scan(units="GML", scale=mass / 70))
    each(datasets, SUVType=kind, PatientSex=sex)
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


@pytest.mark.parametrize("kind", ["BSA", None])
def test_body_surface_suv_becomes_body_weight_suv(kind: str | None) -> None:
    datasets = pet_slices(Scan(units="CM2ML", scale=1.84818e4 / 70e3))
    each(datasets, SUVType=kind)
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


@pytest.mark.parametrize("kind", ["BW", "", None])
def test_body_weight_suv_needs_nothing_but_the_slopes(kind: str | None) -> None:
    datasets = pet_slices(Scan(units="GML"))
    each(datasets, SUVType=kind, PatientWeight=None, DecayCorrection=None, RadiopharmaceuticalInformationSequence=None)
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


def test_height_in_cm_is_recognised_and_said() -> None:
    datasets = pet_slices(Scan(units="GML", scale=57.8 / 70))
    each(datasets, SUVType="LBM", PatientSex="M", PatientSize=175)
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)
    assert "read as cm" in evidence(datasets)["used"]["height"]["rule"]


VOXEL_ML = 4.0 * 3.0 * 5.0 / 1000


def test_philips_suv_factor() -> None:
    datasets = pet_slices(Scan(units="CNTS", scale=2.0))
    activity_per_suv = 5000 * 2 ** (-3600 / 6586.2)
    private(datasets, *PHILIPS, 0x00, "DS", f"{1 / (2 * activity_per_suv):.9g}")
    private(datasets, *PHILIPS, 0x09, "DS", "0.5")
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)
    each(datasets, PatientWeight=None)  # the factor needs no patient
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


@pytest.mark.parametrize("creator", [True, False])
def test_philips_activity_factor_when_the_suv_factor_is_zero(creator: bool) -> None:
    datasets = pet_slices(Scan(units="CNTS", scale=2.0))
    if creator:
        private(datasets, *PHILIPS, 0x00, "DS", "0.0")
        private(datasets, *PHILIPS, 0x09, "DS", "0.5")
    else:
        for item in datasets:
            item.add_new(0x70531009, "UN", b"0.5 ")
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


def test_contradicting_philips_factors_are_refused() -> None:
    datasets = pet_slices(Scan(units="CNTS", scale=2.0))
    private(datasets, *PHILIPS, 0x00, "DS", "0.0005")
    private(datasets, *PHILIPS, 0x09, "DS", "0.5")
    with pytest.raises(UnitsError, match="Philips' SUV factor and its activity factor"):
        suv_factors(datasets)


@pytest.mark.parametrize("units", ["CPS", "CNTS"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_counts_and_count_rates(units: str, calibrated: bool) -> None:
    per_becquerel = VOXEL_ML / (1.0 if calibrated else 164.0) * (180.0 if units == "CNTS" else 1.0)
    datasets = pet_slices(Scan(units=units, scale=per_becquerel))
    each(datasets, DoseCalibrationFactor=164.0)
    if calibrated:
        each(datasets, CorrectedImage=[*datasets[0].CorrectedImage, "DCAL"])
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=1e-3)


# -- what was used is said -------------------------------------------------------------------------
def test_evidence_names_tags_and_rules() -> None:
    datasets = pet_slices(Scan())
    each(tracer(datasets), RadionuclideTotalDose=350.0)
    said = evidence(datasets)
    assert "read as MBq" in said["used"]["dose"]["rule"] and "(0018,1074)" in said["used"]["dose"]["source"]
    assert "(0008,0031)" in said["used"]["reference_time"]["source"]
    assert said["used"]["injection_time"]["value"] == "2025-01-01T10:00:00"
    assert said["factor_min"] == said["factor_max"] == pytest.approx(70e3 / (350e6 * 2 ** (-3600 / 6586.2)))


def test_reference_method_is_named() -> None:
    datasets = pet_slices()
    late_series(datasets)
    said = evidence(datasets)
    assert "FrameReferenceTime" in said["used"]["reference_time"]["source"]
    assert any("after the earliest acquisition" in w for w in said["warnings"])
    GE_SCAN_TIME(datasets)
    assert "GE" in evidence(datasets)["used"]["reference_time"]["source"]


@pytest.mark.parametrize(
    "stated",
    ["2025-01-01T10:00:00", "20250101100000", "20250101100000.0+0100", "10:00", "100000", datetime(2025, 1, 1, 10)],
)
def test_stated_values_replace_missing_ones(stated: str | datetime) -> None:
    datasets = pet_slices()
    each(datasets, PatientWeight=None)
    nuclide(datasets, "", "", "", None)
    each(
        tracer(datasets),
        RadionuclideTotalDose=None, RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None,
    )  # fmt: skip
    values = {"weight_kg": 70, "dose_bq": 350e6, "injection_time": stated, "half_life_s": 6586.2}
    assert suv_of(datasets, **values) == pytest.approx(suv_pattern(), rel=1e-3)
    assert evidence(datasets, **values)["used"]["weight"]["source"] == "your weight_kg"


def test_a_stated_value_without_effect_is_said() -> None:
    assert "weight_kg is not used" in evidence(pet_slices(Scan(units="GML")), weight_kg=80)["warnings"][0]
    assert evidence(pet_slices(), weight_kg=80)["warnings"] == []


# -- refusals, never a guess -----------------------------------------------------------------------
REFUSED: dict[str, tuple[Scan, Edit, str]] = {
    "intercept": (Scan(), lambda d: each(d[1:2], RescaleIntercept=3), r"RescaleIntercept \(0028,1052\) is 3"),
    "slope missing": (Scan(), lambda d: each(d, RescaleSlope=None), "RescaleSlope .* is missing"),
    "units missing": (Scan(), lambda d: each(d, Units=None), r"Units \(0054,1001\) is missing"),
    "units proportional": (Scan(), lambda d: each(d, Units="PROPCNTS"), "PROPCNTS"),
    "units proportional rate": (Scan(), lambda d: each(d, Units="PROPCPS"), "PROPCPS"),
    "units of a mu map": (Scan(), lambda d: each(d, Units="1CM"), "1CM"),
    "units differ": (Scan(), lambda d: each(d[:1], Units="GML"), "contradict each other in Units"),
    "gml of body surface": (Scan(units="GML"), lambda d: each(d, SUVType="BSA"), "BSA does not go with Units GML"),
    "cm2ml of lean mass": (Scan(units="CM2ML"), lambda d: each(d, SUVType="LBM"), "LBM does not go with Units CM2ML"),
    "lean mass without height": (
        Scan(units="GML"), lambda d: each(d, SUVType="LBM", PatientSize=None), "PatientSize .* missing",
    ),
    "lean mass without sex": (
        Scan(units="GML"), lambda d: each(d, SUVType="LBM", PatientSex=""), "PatientSex .* missing",
    ),
    "height impossible": (Scan(units="CM2ML"), lambda d: each(d, PatientSize=17.5), "PatientSize .* 17.5"),
    "weight zero": (Scan(), lambda d: each(d, PatientWeight=0), "weight in kg"),
    "weight missing": (Scan(), lambda d: each(d, PatientWeight=None), "weight in kg"),
    "weight entered as height": (Scan(), lambda d: each(d, PatientWeight=None, PatientSize=70), "entered there"),
    "weight and height exchanged": (Scan(), lambda d: each(d, PatientWeight=1.75, PatientSize=70), "exchanged"),
    "weights differ": (Scan(), lambda d: each(d[:2], PatientWeight=80), "contradict each other in PatientWeight"),
    "dose missing": (Scan(), lambda d: each(tracer(d), RadionuclideTotalDose=None), "state the administered dose"),
    "dose zero": (Scan(), lambda d: each(tracer(d), RadionuclideTotalDose=0), "state the administered dose"),
    "dose of no unit": (Scan(), lambda d: each(tracer(d), RadionuclideTotalDose=350e3), "too much for MBq"),
    "two tracers": (
        Scan(),
        lambda d: [x.RadiopharmaceuticalInformationSequence.append(tracer(d)[0]) for x in d],
        "2 radiopharmaceuticals",
    ),
    "code against its meaning, no half-life": (
        Scan(), lambda d: nuclide(d, "C-111A1", "^68^Gallium", "", None), "contradicts itself .* state the half-life",
    ),
    "half-life unknown": (Scan(), lambda d: nuclide(d, "", "", "X-7", None), "state the half-life"),
    "decay correction missing": (Scan(), lambda d: each(d, DecayCorrection=None), "DecayCorrection .* missing"),
    "decay corrected or not": (
        Scan(decay="NONE"), lambda d: each(d, CorrectedImage=["ATTN", "DECY"], DecayFactor=1.3), "NONE but",
    ),
    "not attenuation-corrected": (Scan(), lambda d: each(d, CorrectedImage=["NORM", "DECY"]), "lacks ATTN"),
    "counts without corrections": (
        Scan(units="CPS"), lambda d: each(d, CorrectedImage=["ATTN", "DECY"]), "lacks NORM, DTIM, SCAT, RAN",
    ),
    "counts without calibration": (Scan(units="CPS"), lambda d: None, "DoseCalibrationFactor .* missing"),
    "counts without duration": (Scan(units="CNTS"), lambda d: each(d, ActualFrameDuration=None), "ActualFrameDuration"),
    "frames without duration": (Scan(decay="NONE"), lambda d: each(d, ActualFrameDuration=None), "ActualFrameDuration"),
    "injection unknown": (Scan(), lambda d: [_only_time(d), _only_date_time(d)], "state the injection time"),
    "injection after the scan": (
        Scan(injected=datetime(2025, 1, 1, 13)), lambda d: None, "impossible for a half-life",
    ),
    "injection time after the scan": (
        Scan(injected=datetime(2025, 1, 1, 13)), _only_time, "impossible for a half-life",
    ),
    "injection last year": (Scan(injected=datetime(2024, 1, 1, 10)), lambda d: None, "impossible for a half-life"),
    "injection times differ": (
        Scan(), lambda d: each(tracer(d), RadiopharmaceuticalStartTime="101500"), "differ by 900 s",
    ),
    "long-lived tracer without date": (
        Scan(half_life_s=ZR89),
        lambda d: [nuclide(d, "C-168A4", "^89^Zirconium", "", ZR89), _only_time(d)],
        "has no date",
    ),
    "series time against frames": (Scan(), lambda d: each(d, SeriesTime="103000"), "reference time contradicts itself"),
    "frames against each other": (
        Scan(beds=6), lambda d: each(d, FrameReferenceTime=89000.0), "slices contradict each other",
    ),
    "no reference time, maybe cropped": (
        Scan(),
        only_reference(lambda d: each(d, NumberOfSlices=99)),
        "not known to be complete",
    ),
    "nonsense time": (Scan(), lambda d: each(d, AcquisitionTime="2561"), "not a DICOM time"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own remark on a nonsense value
def test_missing_or_contradictory_evidence_is_refused(name: str) -> None:
    scan, edit, message = REFUSED[name]
    datasets = pet_slices(scan)
    edit(datasets)
    with pytest.raises(UnitsError, match=message):
        suv_factors(datasets)


REST = {"FrameReferenceTime": None, "DecayFactor": None}


def philips(datasets: list[Dataset], reference_s: list[float], **attributes: object) -> None:
    """AcquisitionTime 1 s after the start of the scan in every bed; FrameReferenceTime counts from there."""
    each(datasets, Manufacturer="Philips Medical Systems", AcquisitionTime="110001", **attributes)
    for k, dataset in enumerate(datasets):
        dataset.FrameReferenceTime = 1000 * reference_s[k * len(reference_s) // len(datasets)]


def dates(datasets: list[Dataset], scan: str | None, injection: str | None, **attributes: object) -> None:
    """Put these dates in place of the true ones, or none."""
    each(datasets, SeriesDate=scan, AcquisitionDate=scan, StudyDate=scan, **attributes)
    stamp = f"{injection}100000" if injection else None
    each(tracer(datasets), RadiopharmaceuticalStartDateTime=stamp)


TOLD: dict[str, tuple[Scan, Edit, str]] = {
    "ge's scan time against series time and frames": (
        Scan(), lambda d: [private(d, *GE, 0x0D, "DT", "20250101110000"), each(d, SeriesTime="103000")],
        "SeriesTime .* another reference time",
    ),
    "ge's scan time of another day than the shifted dates": (
        Scan(), lambda d: [private(d, *GE, 0x0D, "DT", "20190807110000"), each(d, FrameReferenceTime=9e5)],
        "contradict each other",
    ),
    "ge's scan time against the acquisition, without frames": (
        Scan(), lambda d: [private(d, *GE, 0x0D, "DT", "20250101110000"), each(d, AcquisitionTime="114000", **REST)],
        "earliest AcquisitionTime .* another reference time .2400 s apart",
    ),
    "a bed that begins late, without frames": (
        Scan(beds=3), lambda d: [each(d, **REST), each(d[-2:], AcquisitionTime="122640")],
        "bed that begins at 12:26:40 does not follow .* .5000 s after its start",
    ),
    "the second of two beds, without frames": (
        Scan(), lambda d: [each(d, **REST), each(d[-3:], AcquisitionTime="111000")], "begins at 11:10:00",
    ),
    "a bed within another, without frames": (
        Scan(), lambda d: [each(d, **REST), each(d[-1:], AcquisitionTime="110340")], "begins at 11:03:40",
    ),
    "philips, beds at one time": (Scan(), lambda d: philips(d, [1.0, 201.0]), "start of the whole scan"),
    "philips, one bed of several": (
        Scan(), lambda d: philips(d, [1328.7], SeriesTime="110000"), "start of Philips' whole scan",
    ),
    "philips, beds at one time, not corrected": (
        Scan(decay="NONE"), lambda d: philips(d, [1.0, 201.0]), "",
    ),
    "series time against frames, not corrected": (
        Scan(decay="NONE"), lambda d: each(d, SeriesTime="103000"), "apart from the start of the scan",
    ),
    "a time zone of the injection alone": (
        Scan(), lambda d: [_own_zone_only(d), _only_date_time(d)], "has a time zone",
    ),
    "a time zone of the injection alone, of a long-lived nuclide": (
        Scan(half_life_s=282276.0), lambda d: [_own_zone_only(d), _only_date_time(d)], "has a time zone",
    ),
    "dates of the series removed": (Scan(), lambda d: dates(d, None, "20250101"), "dates were removed"),
    "dates of the series replaced": (Scan(), lambda d: dates(d, "19000101", "20250101"), "dates were removed"),
    "all dates removed": (Scan(), lambda d: dates(d, None, None), ""),
    "all dates removed, across midnight": (ACROSS, lambda d: dates(d, None, None), ""),
    "dates shifted but for the injection's": (
        Scan(), lambda d: dates(d, "20250101", "20190807", LongitudinalTemporalInformationModified="MODIFIED"),
        "dates were removed or changed",
    ),
    "weight in g": (Scan(), lambda d: each(d, PatientWeight=70000), "weight 70000 read as g .* 70 kg"),
    "half-life against the code": (Scan(half_life_s=GA68), lambda d: None, "says F-18"),
    "code against its meaning": (
        Scan(), lambda d: nuclide(d, "C-111A1", "^68^Gallium", "", 6586.2), "contradicts itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_evidence_of_lower_rank_that_disagrees_is_told_and_not_used(name: str) -> None:
    scan, edit, message = TOLD[name]
    datasets = pet_slices(scan)
    edit(datasets)
    assert suv_of(datasets) == pytest.approx(suv_pattern(), rel=2e-3, abs=2e-4)
    assert not message or any(re.search(message, told) for told in evidence(datasets)["warnings"])


@pytest.mark.parametrize("decay", ["START", "NONE"])
@pytest.mark.parametrize(("beds", "between_s"), [(1, 200.0), (2, 230.0), (3, 200.0), (3, 420.0), (3, 60.0)])
def test_beds_that_follow_one_another_alike_are_not_told(decay: str, beds: int, between_s: float) -> None:
    """Also with a pause after each, as for a transmission scan, and where they overlap, as the bed moves on."""
    datasets = pet_slices(Scan(decay=decay, beds=beds, between_s=between_s))
    each(datasets, **REST)
    assert not evidence(datasets)["warnings"]


def test_a_bed_whose_time_makes_the_suv_wrong_is_told() -> None:
    datasets = pet_slices(Scan(decay="NONE", beds=3))
    each(datasets, **REST)
    each(datasets[-2:], AcquisitionTime="111640")  # 10 min late
    assert suv_of(datasets)[-1].max() > 1.05 * suv_pattern()[-1].max()
    assert any("begins at 11:16:40 does not follow" in told for told in evidence(datasets)["warnings"])


@pytest.mark.parametrize("stated", [{"weight_kg": 0}, {"dose_bq": -1.0}, {"half_life_s": float("nan")}])
def test_stated_nonsense_is_refused(stated: dict[str, float]) -> None:
    with pytest.raises(UnitsError, match="not a positive number"):
        Overrides(**stated)


NO_TIMES = [
    *("yesterday", "noon", "", "2025-01-01", "20250101", "25:00:00", "12:61:00", "12:00:61", "2460", "10", "2:30 pm"),
    *("2025-01-31T25:00:00", "2025-13-01T10:00:00", "20251301100000", "20250131256100", "20250131100000+9900"),
]


@pytest.mark.parametrize("stated", NO_TIMES)
def test_a_stated_time_that_no_clock_shows_is_refused_as_other_stated_nonsense_is(stated: str) -> None:
    """Also where the series does not need it: the statement is wrong, whatever it would be used for."""
    with pytest.raises(UnitsError, match="is not a time: state a time of day as 10:00:00, or a date with it") as caught:
        Overrides(injection_time=stated)
    assert f"injection_time={stated!r}" in str(caught.value) and caught.value.option == "injection_time"
    assert "header" not in str(caught.value)


def test_an_hour_of_one_digit_is_a_time() -> None:
    assert Overrides(injection_time=" 9:05").injected() == timedelta(hours=9, minutes=5)


def test_dynamic_scan_may_start_shortly_before_the_injection() -> None:
    scan = Scan(injected=datetime(2025, 1, 1, 11, 0, 30), beds=1)
    assert suv_of(pet_slices(scan)) == pytest.approx(suv_pattern(), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("^18^Fluorine", "F-18"), ("18F", "F-18"), ("Fluorine F^18^", "F-18"), ("[68Ga]Ga-PSMA-11", "Ga-68"),
        ("Rb82 chloride", "Rb-82"), ("11C-choline", "C-11"), ("N-13 ammonia", "N-13"), ("^124^Iodine", "I-124"),
        ("PSMA-11", None), ("AC-118", None), ("", None),
    ],
)  # fmt: skip
def test_nuclides_are_read_from_names(text: str, expected: str | None) -> None:
    assert nuclide_in(text) == expected


# -- the digital reference objects and files -------------------------------------------------------
OBJECTS = ["0_0", "1_0", "2_0", "2_3", "2_4", "3_1", "3_2", "4_0"]


@pytest.mark.parametrize("name", OBJECTS)
def test_digital_reference_objects(name: str) -> None:
    folder = data_dir("suv_dro")
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "DRO_mask.nii.gz"))) > 0
    volume = suv_volume(folder / f"DRO_{name}")
    values = volume.array[mask]
    found = [float(values.min()), float(np.median(values)), float(values.max())]
    # DRO 2_3 stores whole hundredths of its unit, cut off: its step is 0.038 SUV, the closest it can be.
    tolerance = 0.01 * volume.metadata["suv"]["factor_max"] if name == "2_3" else 0.005
    assert np.abs(np.subtract(found, [0.2, 1.0, 4.0])).max() <= tolerance


def test_suv_volume_from_files(tmp_path) -> None:
    slices = pet_slices()
    for dataset in slices:
        dataset.ManufacturerModelName = "Ring 1"
    volume = suv_volume(write_series(slices, tmp_path / "pet"))
    assert volume.unit == "SUVbw"
    assert volume.array == pytest.approx(suv_pattern(), rel=1e-3)
    assert volume.metadata["suv"]["units"] == "BQML"
    series = {"description": "factory PT", "uid": slices[0].SeriesInstanceUID, "slices": 6}
    assert volume.metadata["suv"]["series"] == series
    assert volume.metadata["suv"]["scanner"] == {"manufacturer": "Factory", "model": "Ring 1"}
    heavier = suv_volume(tmp_path / "pet", weight_kg=140)
    assert heavier.array == pytest.approx(2 * volume.array, rel=1e-5)


# -- volumes without a header ----------------------------------------------------------------------
def _noise(scale: float, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(0).gamma(1.0, scale, (8, 16, 16)) + shift).astype(np.float32)


def test_plausible_suv_passes_without_a_word() -> None:
    assert check_suv(Volume(_noise(1.0))) == []


def test_slightly_negative_suv_is_warned_of() -> None:
    assert "negative voxels" in check_suv(Volume(_noise(1.0, -0.05)))[0]


@pytest.mark.parametrize(("inside", "around", "refused"), [(1, 0, True), (3, 0, True), (1.5, 0, False), (8, 1, False)])
def test_a_mask_is_no_pet(inside: float, around: float, refused: bool) -> None:
    volume = Volume(np.where(_noise(1.0) > 2, np.float32(inside), np.float32(around)), metadata={"file": "GTV.nii.gz"})
    if not refused:
        check_suv(volume)
        return
    with pytest.raises(InputError, match=rf"GTV.nii.gz is a mask \(every voxel is 0 or {inside}\)"):
        check_suv(volume)


@pytest.mark.parametrize(("mean", "told"), [(0.08, True), (0.12, False), (4.5, False), (5.5, True)])
def test_a_body_with_a_mean_outside_0_1_to_5_is_warned_of(mean: float, told: bool) -> None:
    body = np.zeros((8, 16, 16), np.float32)
    body[:, 4:-4, 4:-4] = mean * np.random.default_rng(0).uniform(0.8, 1.2, (8, 8, 8))
    assert [f"mean SUV is {mean:.2g}" in w for w in check_suv(Volume(body))] == [True] * told


@pytest.mark.parametrize(("mean", "refused"), [(1e-6, True), (0.008, True), (0.012, False)])
def test_a_body_with_hardly_any_of_the_injected_activity_is_refused(mean: float, refused: bool) -> None:
    body = Volume(np.pad(np.full((8, 8, 8), mean), 4) * np.random.default_rng(0).uniform(0.8, 1.2, (16, 16, 16)))
    if not refused:
        assert any("WRONG SUV?" in line for line in check_suv(body))
        return
    with pytest.raises(UnitsError, match=r"mean SUV is .*: check dose.* \(a dose in Bq for MBq, kBq/mL for Bq/mL\)"):
        check_suv(body)


def a_body(**scan: object) -> list[Dataset]:
    """20 L of SUV 1: with 70 kg, 29 % of the injected activity."""
    return pet_slices(Scan(spacing=(20.0, 20.0, 20.0), **scan), np.ones((25, 10, 10)))


@pytest.mark.parametrize(
    ("weight", "size", "told"),
    [
        (7, 1.7, "index of 2 kg/m2"),
        (80, 67, "0.67 m give a body mass index of 178"),
        (300000, 1.5, "weight 300000, read as g because > 1000, and height 1.5 m give a body mass index of 133"),
        (3.5, 0.5, ""),
        (70, 3.0, ""),
    ],
)
def test_a_weight_that_the_height_contradicts_is_told(weight: float, size: float, told: str) -> None:
    datasets = pet_slices(Scan())
    each(datasets, PatientWeight=weight, PatientSize=size)
    found = [line for line in evidence(datasets)["warnings"] if "body mass index" in line]
    assert len(found) == bool(told) and all(told in line for line in found)


@pytest.mark.parametrize(
    ("units", "kind"), [("GML", "LBM"), ("GML", "LBMJAMES128"), ("GML", "LBMJANMA"), ("GML", "IBW"), ("CM2ML", "BSA")]
)
@pytest.mark.parametrize(
    ("weight", "size", "told"),
    [
        (70, 1.75, []),
        (20, 1.7, ["the weight 20 kg and height 1.7 m give a body mass index of 7 kg/m2.* taken to have 20 kg"]),
        (70000, 1.75, ["the weight 70000 read as g because > 1000: the patient is taken to have 70 kg"]),
        (70, 175, ["the height 175 read as cm because no patient is 175 m tall"]),
    ],
)
def test_weight_and_height_of_another_suv_are_told_too(units, kind, weight, size, told):
    datasets = pet_slices(Scan())
    each(datasets, Units=units, SUVType=kind, PatientWeight=weight, PatientSize=size, PatientSex="M")
    found = [line for line in evidence(datasets)["warnings"] if line.startswith(("the weight", "the height"))]
    assert len(found) == len(told) and all(map(re.match, told, found))


def wrong(change: Edit, tmp_path: Path) -> list[str]:
    """What is told of a series of :func:`a_body` with a fault in its header."""
    datasets = a_body()
    change(datasets)
    return told(suv_volume(write_series(datasets, tmp_path)))


HEADER_FAULTS: dict[str, Edit] = {
    "dose in mCi": lambda d: each(tracer(d), RadionuclideTotalDose=9.46),
    "injection of a 12-hour clock": lambda d: _shift_injection(d, "20241231230000"),
    "values in kBq/mL": lambda d: each(d, RescaleSlope=float(d[0].RescaleSlope) / 1000),
    "values in MBq/mL": lambda d: each(d, RescaleSlope=float(d[0].RescaleSlope) / 1e6),
    "weight ten times too high": lambda d: each(d, PatientWeight=700),
}


def _shift_injection(datasets: list[Dataset], stamp: str) -> None:
    each(tracer(datasets), RadiopharmaceuticalStartDateTime=stamp, RadiopharmaceuticalStartTime=None)


@pytest.mark.parametrize("name", HEADER_FAULTS)
def test_a_body_that_would_hold_too_much_or_too_little_is_refused_or_told(name: str, tmp_path: Path) -> None:
    try:
        assert any("mean SUV" in line for line in wrong(HEADER_FAULTS[name], tmp_path))
    except UnitsError as error:
        assert re.search("times the injected activity|mean SUV is .* where about 1 is possible", str(error))


def test_a_body_may_not_hold_more_than_was_injected(tmp_path: Path) -> None:
    """20 L of SUV 1 in 18.5 kg hold 1.08 times the dose, in 17.8 kg 1.12 times."""
    for weight, refused in ((18.5, False), (17.8, True)):
        datasets = a_body(weight_kg=weight)
        each(datasets, PatientSize=1.1)
        folder = write_series(datasets, tmp_path / str(weight))
        if refused:
            with pytest.raises(UnitsError, match=r"1\.12 times the injected activity"):
                suv_volume(folder)
        else:
            assert told(suv_volume(folder)) == []


def test_a_series_without_fault_tells_nothing(tmp_path: Path) -> None:
    assert wrong(lambda d: None, tmp_path) == []


def test_an_unchecked_series_time_is_told_from_1_percent(tmp_path: Path) -> None:
    """F-18 decays by 1 % in 95 s."""
    for seconds, told_of in ((80, False), (110, True)):
        datasets = pet_slices(Scan(beds=1))
        earlier = (datetime(2025, 1, 1, 11) - timedelta(seconds=seconds)).strftime("%H%M%S")
        each(datasets, SeriesTime=earlier, **REST)
        assert any("cannot be checked" in line for line in evidence(datasets)["warnings"]) == told_of


def test_a_series_time_that_agrees_with_the_frames_in_one_convention_only_is_told() -> None:
    """The mean count rate of a frame of 10 min is 298 s after its start, 3 % of SUV."""
    for time, told_of in (("110000", False), ("105502", True)):
        datasets = pet_slices(Scan(beds=1, bed_s=600.0))
        each(datasets, SeriesTime=time)
        assert any("only if that counts" in line for line in evidence(datasets)["warnings"]) == told_of


def test_an_injection_more_than_5_half_lives_ago_is_told() -> None:
    for hours, told_of in ((9, False), (10, True)):
        scan = Scan(injected=datetime(2025, 1, 1, 11) - timedelta(hours=hours))
        assert any("half-lives" in line for line in evidence(pet_slices(scan))["warnings"]) == told_of


def test_a_known_other_unit_is_refused_by_name() -> None:
    with pytest.raises(UnitsError, match=r"pet\.nii is in Bq/mL"):
        check_suv(Volume(_noise(1.0), unit="Bq/mL", metadata={"file": "pet.nii"}))


def test_stated_values_follow_the_definition_of_suv():
    """SUV = C W / (D 2^(-t/T)): after one half-life of F-18, 100 MBq are 50 MBq."""
    stated = Stated(80.0, 100e6, "10:00", "11:49:46", "F-18")  # 6586 s later
    factor, evidence = stated.factor()
    assert factor == pytest.approx(80e3 / 50e6, rel=1e-4)
    assert evidence["source"] == "stated by the user"


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ((None, 1e8, "10:00", "11:00"), "weight"),
        ((80.0, None, "10:00", "11:00"), "dose"),
        ((80.0, 1e8, "", "11:00"), "time of injection"),
        ((80.0, 1e8, "10:00", "25:00"), "start of the scan"),
        ((80.0, 1e8, "11:00", "10:00"), "before the injection"),
    ],
)
def test_what_is_not_stated_is_asked_for(stated, what):
    with pytest.raises(UnitsError, match=what):
        Stated(*stated).factor()
