"""The demo: what it leaves in its folder can be opened again, and lies where the phantom was."""

from __future__ import annotations

import csv
import shutil
from types import SimpleNamespace

import mrml_demo
import mrml_scene
import numpy as np
import pytest
import slicer
from matplotlib import image

import PETSuperResLib
from PETSuperResLib.errors import InputError, OutputError
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.volume import Volume


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small demo whose reconstruction is an interpolation, so that it takes seconds."""

    def reconstruct(pet, *_others, measurement, **_settings):
        values = pet.resample_to(measurement.grid, "linear").array.clip(0)
        volume = measurement.grid.with_array(values, "SUVbw")
        report = {"method": "interpolation", "scanner": measurement.scanner.to_dict()}
        return SimpleNamespace(volume=volume, maps={}, report=report)

    mrml_scene.start().Clear(0)
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(PETSuperResLib), "reconstruct", reconstruct)
        patch.setattr(mrml_demo, "SHAPE", (8, 64, 96))
        patch.setattr(mrml_demo, "SPACING", (3.0, 3.0, 3.0))
        patch.setattr(mrml_demo, "LESIONS", 3)
        files = mrml_demo.main(folder, quality="draft", seed=4)
    return SimpleNamespace(folder=folder, files=files, phantom=torso_phantom(4, (8, 64, 96), (3.0, 3.0, 3.0), 3))


def test_every_promised_file_is_there_and_nothing_else_is_left_behind(run):
    assert all(path.stat().st_size > 200 for path in run.files.values())
    volumes = {f"{name}.nii.gz" for name in ("ct", "pet", "sr", "reference")}
    assert {path.name for path in run.files.values()} >= volumes | {"scene.mrml", "lesions.csv", "report.png"}
    assert not [path.name for path in run.folder.iterdir() if path.name.startswith(".part-")]


def test_a_saved_volume_read_without_slicer_lies_where_the_phantom_was(run):
    ct = Volume.read(run.files["ct"])
    assert ct.same_grid(run.phantom.ct, 1e-3)
    np.testing.assert_allclose(ct.array, run.phantom.ct.array, atol=1e-3)


def test_the_scene_opens_again_from_another_folder_with_its_volumes(run, tmp_path):
    moved = shutil.copytree(run.folder, tmp_path / "moved")
    scene = mrml_scene.start()
    scene.Clear(0)
    scene.SetURL(str(moved / "scene.mrml"))
    scene.Connect()
    node = scene.GetFirstNodeByName("PET SR (Paper standard)")
    assert node.GetImageData() is not None
    assert str(moved) in str(node.GetStorageNode().GetFullNameFromFileName())
    assert node.GetAttribute("PETSuperRes.quality") == "draft"
    assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), Volume.read(run.files["sr"]).array, atol=1e-4)


def test_the_lesion_table_has_a_row_for_every_lesion(run):
    with run.files["table"].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.phantom.lesions)
    for row, number in zip(rows, range(1, 1 + len(rows)), strict=True):
        assert row["lesion"].startswith(str(number))
        assert float(row["reference_suvmax"]) == pytest.approx(
            run.phantom.pet.array[run.phantom.labels.array == number].max(), rel=0.35
        )


@pytest.mark.slow
def test_what_is_recovered_of_the_demo_is_nearer_to_its_reference_and_held_by_the_intervals(tmp_path):
    """SUVmean of every lesion; SUVpeak of all but the weak one in the lung, whose PET is right by chance."""
    mrml_scene.start().Clear(0)
    with mrml_demo.main(tmp_path / "demo")["table"].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    nearer = {"suvmean": 0, "suvpeak": 0}
    for row in rows:
        for measure in nearer:
            names = (f"pet_{measure}", f"{measure}_recovered", f"{measure}_low", f"{measure}_high")
            pet, recovered, low, high = (float(row[name]) for name in names)
            reference = float(row[f"reference_{measure}"])
            assert low < reference < high, (row["lesion"], measure)
            nearer[measure] += abs(recovered - reference) <= abs(pet - reference)
    assert nearer["suvmean"] == 6 and nearer["suvpeak"] >= 5, nearer


def test_the_picture_is_a_page_with_ink_on_it(run):
    page = image.imread(run.files["report"])
    assert page.shape[1] > 1400 and page.shape[0] > 900
    assert 0.05 < (page[..., :3].min(-1) < 0.95).mean() < 0.8


def test_without_slicer_core_the_demo_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(mrml_scene, "available", lambda: False)
    with pytest.raises(InputError, match="pip install"):
        mrml_demo.main(tmp_path)


def test_a_disk_that_fills_leaves_nothing_and_names_the_file(monkeypatch, tmp_path):
    scene = mrml_scene.start()
    scene.Clear(0)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.float32))
    monkeypatch.setattr(mrml_demo, "_write", lambda node, path: path.write_bytes(b"cut") < 0)
    with pytest.raises(OutputError, match=r"out/pet.nii.gz could not be written"):
        mrml_demo._save(scene, {"pet": node}, tmp_path / "out", lambda path: None)
    assert not (tmp_path / "out").exists()
