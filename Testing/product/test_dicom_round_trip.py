"""From DICOM to DICOM by the shell: a PET series and contours in, PET, SEG and report out; others read them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from contour_factory import disc, rtstruct, write
from dciodvfy import errors_of, needs_dciodvfy
from report_reader import values_of
from tiny import small_phantom, table

from PETSuperResLib.cli import run
from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.dicom.simulated import write_simulated
from PETSuperResLib.lesions.measures import INTERVALS, MEASURES, ON_GRID, RECOVERED
from PETSuperResLib.physics.protocols import Protocol

ENDS = tuple(name for name in INTERVALS if name != "interval_note")
OTHERS = ("evidence_sigma", "volume_ml", "without_ct")


@pytest.fixture(scope="module")
def made(prior_file, tmp_path_factory) -> Path:
    """A folder with the PET series ``pet``, contours ``rtstruct.dcm``, the result ``out`` and its series ``dicom``."""
    folder = tmp_path_factory.mktemp("round_trip")
    phantom = small_phantom()
    write_simulated(replace(phantom.pet, metadata=Protocol.get("mct-earl2").header), folder / "pet")
    phantom.ct.write(folder / "ct.nii.gz")
    contours = {}
    for label in (1, 2):
        k, j, i = np.nonzero(phantom.labels.array == label)
        radius = 0.5 * (np.ptp(i) + 1) * phantom.pet.spacing[0]
        places = [(phantom.pet.ijk_to_lps @ [i.mean(), j.mean(), one, 1])[:3] for one in np.unique(k)]
        contours[f"Tumour {label}"] = [disc(radius, place) for place in places]
    frame = read_series(folder / "pet").metadata["frame_of_reference"]
    write(rtstruct(contours, frame=frame), folder / "rtstruct.dcm")
    words = ["reconstruct", "--pet", folder / "pet", "--ct", folder / "ct.nii.gz", "--prior", prior_file]
    words += ["--segmentation", folder / "rtstruct.dcm", "--quality", "draft", "--evidence"]
    assert run([*map(str, words), "--out", str(folder / "out"), "--dicom-out", str(folder / "dicom")]) == 0
    return folder


def test_the_report_has_every_figure_of_the_table_to_four_digits(made):
    """What was measured in both images, what was recovered with the ends of its interval, and the evidence."""
    found = values_of(hd.sr.srread(made / "dicom" / "SR.dcm"), "ours-draft")
    assert {lesion for _, lesion, _ in found} == {"Tumour 1", "Tumour 2"}
    wanted = {
        (row["method"], row["lesion"], name): float(row[name])
        for row in table(made / "out" / "lesions.csv")
        for name in (*MEASURES, *RECOVERED, *ENDS, *OTHERS)
        if row[name] and row["method"] != ON_GRID
    }
    assert found.keys() == wanted.keys()
    assert {name for _, _, name in wanted} >= {"suvmax", "suvmean_recovered", *ENDS, *OTHERS}
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=5e-5, abs=1e-9), key


def test_the_segments_measure_as_the_contours_do(made, capsys):
    """RTSTRUCT in, SEG out: names and sizes are kept, within the edge's voxels."""
    seg = pydicom.dcmread(made / "dicom" / "SEG.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Tumour 1", "Tumour 2"]
    words = ["lesions", "--pet", str(made / "out" / "sr.nii.gz"), "--out", str(made / "again.csv")]
    assert run([*words, "--segmentation", str(made / "dicom" / "SEG.dcm")]) == 0
    before = [row for row in table(made / "out" / "lesions.csv") if row["method"] == "ours-draft"]
    for row, again in zip(before, table(made / "again.csv"), strict=True):
        assert again["lesion"] == row["lesion"]
        assert float(again["suvmax"]) == pytest.approx(float(row["suvmax"]), rel=1e-3)
        assert float(again["suvmean"]) == pytest.approx(float(row["suvmean"]), rel=0.05)


@needs_dciodvfy
@pytest.mark.parametrize("name", ["PT0001.dcm", "SEG.dcm", "SR.dcm"])
def test_the_objects_are_valid(made, name):
    assert not errors_of(made / "dicom" / name)
