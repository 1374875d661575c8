"""Random faults of headers and files: the right SUV, a warning or one sentence; never a traceback or a silent error."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import Scan, pet_slices, rescaled, suv_pattern, tracer, write_series
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from PETSuperResLib.dicom.files import quiet_pydicom
from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.suv.activity import check_activity
from PETSuperResLib.suv.suvbw import suv_factors
from PETSuperResLib.suv.volumes import told

hypothesis = pytest.importorskip("hypothesis", reason="needs the package hypothesis (pip install '.[test]')")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

SERIES = (
    *("PatientWeight", "PatientSize", "PatientSex", "Units", "SUVType", "DecayCorrection", "CorrectedImage"),
    *("RescaleSlope", "RescaleIntercept", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "FrameReferenceTime", "ActualFrameDuration", "DecayFactor", "NumberOfSlices"),
    *("TimezoneOffsetFromUTC", "DecayCorrectionDateTime", "StudyDate", "Manufacturer", "DoseCalibrationFactor"),
    *("SliceThickness", "PixelSpacing", "LongitudinalTemporalInformationModified"),
)
TRACER = (
    *("RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime", "Radiopharmaceutical"),
    *("RadiopharmaceuticalStartDateTime", "RadionuclideCodeSequence"),
)
NONSENSE = [
    *(
        "",
        " ",
        "abc",
        "7,5",
        "1\\2",
        "nan",
        "inf",
        "1e999",
        "-",
        "0",
        "-5",
        "1_0",
        "70 kg",
        "\u00b5",
        "0x10",
        "--",
        "1.2.3",
    ),
    *("25:61", "9999", "20251341", "+9900", "ANON", "None", "\\", "\\\\", "1e-300", "[70.0]"),
]
SCANS = [
    Scan(), Scan(decay="ADMIN"), Scan(decay="NONE"), Scan(units="GML"), Scan(beds=1), Scan(beds=3),
    Scan(injected=datetime(2025, 1, 1, 23, 20), started=datetime(2025, 1, 2, 0, 25)),
]  # fmt: skip

keywords = st.sampled_from([(True, k) for k in TRACER] + [(False, k) for k in SERIES])
contents = st.one_of(
    st.sampled_from(NONSENSE), st.text(alphabet=st.characters(codec="ascii", categories=["L", "P", "Zs"]), max_size=12)
)
#: (of the tracer, attribute), its content (None: removed), and whether in every slice
faults = st.lists(st.tuples(keywords, st.one_of(st.none(), contents), st.booleans()), min_size=1, max_size=4)


def put(dataset: Dataset, keyword: str, content: str | None) -> None:
    """An attribute as a file may hold it, whatever its type."""
    if content is None:
        if keyword in dataset:
            delattr(dataset, keyword)
        return
    tag, raw = Tag(tag_for_keyword(keyword)), content.encode("utf-8")
    raw += b" " * (len(raw) % 2)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)


def spoil(datasets: list[Dataset], chosen: list) -> None:
    for (of_tracer, keyword), content, everywhere in chosen:
        places = tracer(datasets) if of_tracer else datasets
        for dataset in places if everywhere else places[1:2]:
            put(dataset, keyword, content)


def check_header(scan: Scan, chosen: list) -> None:
    datasets = pet_slices(scan)
    stored = np.stack([rescaled(d) for d in datasets])
    spoil(datasets, chosen)
    with quiet_pydicom():
        try:
            factors, evidence = suv_factors(datasets)
            slopes = [float(d.RescaleSlope) for d in datasets]
            suv = stored * factors[:, None, None]
            warnings = evidence["warnings"] + check_activity(suv, 0.06, scan.weight_kg)
        except PETSuperResError as error:
            assert str(error).strip() and "\n" not in str(error)
            return
    assert len(slopes) == len(suv)
    assert warnings or np.abs(suv / suv_pattern() - 1).max() < 0.012, evidence


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SCANS), faults)
def test_random_headers_give_the_right_suv_a_warning_or_one_sentence(scan, chosen):
    check_header(scan, chosen)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SCANS), faults)
def test_2000_random_headers(scan, chosen):
    check_header(scan, chosen)


# -- files ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def series(tmp_path_factory) -> list[bytes]:
    folder = write_series(pet_slices(), tmp_path_factory.mktemp("series"))
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def check_file(folder: Path, series: list[bytes], number: int, place: int, content: bytes, cut: bool) -> None:
    """One file with some bytes replaced, or cut off, beside the others."""
    raw = series[number]
    place %= len(raw)
    spoiled = raw[:place] if cut else raw[:place] + content + raw[place + len(content) :]
    for n, data in enumerate(series):
        (folder / f"PT{n:04d}.dcm").write_bytes(spoiled if n == number else data)
    try:
        volume = read_series(folder)
    except PETSuperResError as error:
        assert "\n" not in str(error)
        return
    assert volume.shape == (6, 5, 4) or told(volume)


FILES = (st.integers(0, 5), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=6), st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(*FILES)
def test_a_file_with_random_damage_is_read_whole_or_refused(tmp_path_factory, series, number, place, content, cut):
    check_file(tmp_path_factory.mktemp("d"), series, number, place, content, cut)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(*FILES)
def test_1000_files_with_random_damage(tmp_path_factory, series, number, place, content, cut):
    check_file(tmp_path_factory.mktemp("d"), series, number, place, content, cut)
