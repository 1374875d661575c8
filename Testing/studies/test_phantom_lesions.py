"""What the spheres of a phantom hold, and which intervals hold that."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from PETSuperResLib.volume import Volume

SCRIPT = Path(__file__).parent / "benchmarks" / "phantom_lesions.py"
SPACING, SHAPE = (2.0, 2.0, 3.0), (30, 60, 60)
SPHERES = [{"diameter_mm": 37.0, "centre_lps_mm": [60.0, 60.0, 45.0]}]


@pytest.fixture
def files(tmp_path):
    """PET of 8 in a sphere over 1, blurred by nothing but its voxels, the sphere's file and its segment."""
    k, j, i = np.indices(SHAPE)
    distance = np.sqrt((2 * i - 60.0) ** 2 + (2 * j - 60.0) ** 2 + (3 * k - 45.0) ** 2)
    grid = Volume((1 + 7 * (distance <= 18.5)).astype(np.float32), SPACING, (0.0, 0.0, 0.0), unit="SUVbw")
    grid.write(tmp_path / "pet.nii.gz")
    grid.with_array((distance <= 18.5).astype(np.float32), "label").write(tmp_path / "label.nii.gz")
    (tmp_path / "spheres.json").write_text(json.dumps(SPHERES))
    return tmp_path


def script(files, monkeypatch, *out):
    named = [str(files / name) for name in ("pet.nii.gz", "spheres.json", "label.nii.gz")]
    monkeypatch.setattr(sys, "argv", ["phantom_lesions.py", *named, *map(str, out)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def printed(files, low, monkeypatch, capsys):
    head = "lesion,suvmean_recovered,suvmean_low,suvmean_high,suvpeak_recovered,suvpeak_low,suvpeak_high\n"
    (files / "lesions.csv").write_text(f"{head}Lesion 1,,,,,,\nLesion 1,7.6,{low},8.2,8.1,7.7,8.3\n")
    script(files, monkeypatch, files)
    return capsys.readouterr().out


def test_without_results_the_segmentation_is_written_where_the_pet_shows_the_spheres(files, monkeypatch):
    stated = [SPHERES[0] | {"centre_lps_mm": [61.0, 58.0, 43.0]}]
    (files / "spheres.json").write_text(json.dumps(stated))
    drawn = Volume.read(files / "label.nii.gz", "label").array
    (files / "label.nii.gz").unlink()
    script(files, monkeypatch)
    assert np.mean(Volume.read(files / "label.nii.gz", "label").array != drawn) < 0.001


def test_the_truth_is_the_activity_in_the_middle_within_sharp_spheres(files, monkeypatch, capsys):
    text = printed(files, 7.0, monkeypatch, capsys)
    assert "Activity 8.00, background 1.00" in text
    row = next(line for line in text.splitlines() if line.startswith("| 37 |"))
    mean, peak = (float(row.split("|")[n]) for n in (2, 4))
    assert peak == pytest.approx(8.0) and 7.5 < mean < 7.8  # the segment's outer voxels are filled in part
    assert row.endswith("| 7.60 (7.00 to 8.20) | 8.00 | 8.10 (7.70 to 8.30) |")


def test_an_interval_that_does_not_hold_the_truth_has_a_star(files, monkeypatch, capsys):
    assert "7.60 (7.90 to 8.20) * | 8.00 | 8.10 (7.70 to 8.30) |" in printed(files, 7.9, monkeypatch, capsys)
