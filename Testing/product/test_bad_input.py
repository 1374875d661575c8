"""Bad input to the whole path, by shell and in a MRML scene: one clear sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from geometry import data_dir
from tiny import small_phantom, tiny_prior, without_progress

from PETSuperResLib.cli import main, run
from PETSuperResLib.commands import imaging
from PETSuperResLib.errors import Cancelled, GeometryError, InputError, PETSuperResError, UnitsError
from PETSuperResLib.volume import Volume

PET, CT, LABELS = small_phantom().pet, small_phantom().ct, small_phantom().labels


def moved(volume: Volume, x: float) -> Volume:
    return Volume(volume.array, volume.spacing, (volume.origin[0] + x, *volume.origin[1:]), unit=volume.unit)


def changed(volume: Volume, change: Callable[[np.ndarray], None]) -> Volume:
    array = volume.array.copy()
    change(array)
    return volume.with_array(array)


def set_nan(array: np.ndarray) -> None:
    array[1, 20, 20:23] = np.nan


#: name: (which input, the volume in its place, error, words that the sentence must hold)
VOLUMES: dict[str, tuple[str, Volume, type[PETSuperResError], str]] = {
    "a CT as PET": ("pet", CT, UnitsError, "CT"),
    "a PET as CT": ("ct", PET, InputError, "not a CT in HU"),
    "empty PET": ("pet", PET.with_array(0 * PET.array), InputError, "empty"),
    "constant PET": ("pet", PET.with_array(0 * PET.array + 3), InputError, "same value"),
    "empty CT": ("ct", CT.with_array(0 * CT.array), InputError, "same value"),
    "NaN in the PET": ("pet", changed(PET, set_nan), InputError, "not finite"),
    "NaN in the CT": ("ct", changed(CT, set_nan), InputError, "not finite"),
    "negative PET": ("pet", PET.with_array(-PET.array), UnitsError, "negative"),
    "a single slice": ("pet", PET.crop((0, 0, 1), (96, 64, 2)), InputError, "single slice"),
    "a CT of a single slice": ("ct", CT.crop((0, 0, 1), (96, 64, 2)), InputError, "single slice"),
    "Bq/mL": ("pet", PET.with_array(8000 * PET.array), UnitsError, "Bq/mL"),
    "a CT elsewhere": ("ct", moved(CT, 3000), GeometryError, "covers only 0.0 %"),
    "a CT half beside": ("ct", moved(CT, 250), GeometryError, "covers only"),
    "another body": ("ct", changed(CT, lambda a: a.__setitem__((..., slice(20, 76)), -1000)), GeometryError, "body"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The phantom as files and an untrained prior."""
    folder = tmp_path_factory.mktemp("bad")
    tiny_prior(folder)
    for name, volume in {"pet.nii.gz": PET, "ct.nii.gz": CT, "seg.nii.gz": LABELS}.items():
        volume.write(folder / name)
    return folder


@pytest.fixture
def shell(folder, tmp_path, capfd) -> Callable[..., tuple[int, str]]:
    """Runs ``petsuperres reconstruct`` with some options replaced: (exit code, the one line on standard error)."""

    def call(**replaced: object) -> tuple[int, str]:
        code = run(arguments(folder, **{"out": tmp_path / "out", **replaced}))
        said = without_progress(capfd.readouterr().err)
        assert "Traceback" not in said and said.count("\n") == (code != 0), said
        assert code in (0, 2) and (code == 0 or said.startswith("petsuperres: ")), said
        if code and "out" not in replaced:
            assert not (tmp_path / "out").exists()
        return code, said

    return call


def arguments(folder: Path, out: Path, **replaced: object) -> list[str]:
    options = {
        "pet": folder / "pet.nii.gz",
        "ct": folder / "ct.nii.gz",
        "prior": folder / "cross-attention.safetensors",
        "scanner": "GE Discovery ST",
        "quality": "draft",
        "spacing": 4,
        "device": "cpu",
        "out": out,
        **replaced,
    }
    return ["reconstruct", *(word for key, value in options.items() for word in (f"--{key}", str(value)))]


# -- volumes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VOLUMES)
def test_a_volume_that_cannot_be_used_is_told_in_the_shell(shell, tmp_path, case):
    which, volume, _, told = VOLUMES[case]
    file = volume.write(tmp_path / "strange.nrrd")
    code, said = shell(**{which: file})
    assert code == 2 and told in said
    assert file.name in said or "PET" in said


@pytest.mark.parametrize("case", VOLUMES)
def test_a_volume_that_cannot_be_used_is_told_in_the_scene_and_adds_nothing(logic, case):
    which, volume, error, told = VOLUMES[case]
    with pytest.raises(error, match=told):
        logic(**{which: volume})


def test_a_few_negative_voxels_are_taken_as_zero_and_noted(folder, tmp_path, capsys):
    pet = changed(PET, lambda a: a.__setitem__((slice(None), slice(None, None, 9)), -0.05))
    pet.write(tmp_path / "noisy.nii.gz")
    assert run(arguments(folder, tmp_path / "out", pet=tmp_path / "noisy.nii.gz")) == 0
    assert "Note: noisy.nii.gz has" in capsys.readouterr().out
    assert Volume.read(tmp_path / "out" / "sr.nii.gz").array.min() >= 0
    assert "negative" in json.loads((tmp_path / "out" / "report.json").read_text())["warnings"][0]


def test_a_pet_with_a_wider_field_of_view_than_the_ct_serves(shell, tmp_path):
    """As on most scanners: 70 or 80 cm for PET, 50 cm for CT."""
    k, j, i = PET.shape
    wide = np.pad(PET.array, ((0, 0), (j // 4, j // 4), (i // 4, i // 4)))
    origin = (PET.origin[0] - i // 4 * PET.spacing[0], PET.origin[1] - j // 4 * PET.spacing[1], PET.origin[2])
    code, said = shell(pet=Volume(wide, PET.spacing, origin).write(tmp_path / "wide.nii.gz"))
    assert code == 0, said
    warnings = json.loads((tmp_path / "out" / "report.json").read_text())["warnings"]
    assert not [w for w in warnings if "CT" in w]


# -- files ------------------------------------------------------------------------------------------
def test_a_missing_file_is_named(shell, tmp_path):
    for which in ("pet", "ct", "segmentation", "prior", "measurement"):
        code, said = shell(**{which: tmp_path / "nowhere.nii.gz"})
        assert code == 2 and "nowhere.nii.gz" in said


# -- segmentation -------------------------------------------------------------------------------------


def test_a_segmentation_on_another_grid_serves(shell, tmp_path):
    grid = LABELS.grid((3.0, 3.0, 5.0))
    other = grid.with_array(LABELS.resample_to(grid, "nearest").array, "label")
    assert shell(segmentation=other.write(tmp_path / "other.nii.gz"))[0] == 0
    assert (tmp_path / "out" / "lesions.csv").is_file()


# -- names --------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_on_a_machine_without_it_is_refused(shell):
    code, said = shell(device="cuda")
    assert code == 2 and "use auto or cpu" in said


# -- prior --------------------------------------------------------------------------------------------
@pytest.fixture
def damaged(folder, tmp_path) -> Path:
    """A prior that is cut; test_prior.py has every other damage."""
    content = (folder / "cross-attention.safetensors").read_bytes()
    (tmp_path / "odd.safetensors").write_bytes(content[: len(content) // 2])
    return tmp_path / "odd.safetensors"


def test_a_damaged_prior_is_refused(shell, damaged):
    code, said = shell(prior=damaged)
    assert code == 2 and "odd.safetensors" in said


# -- output -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("limit", [0, 30_000])
@pytest.mark.parametrize("command", ["reconstruct", "simulate"])
def test_a_full_disk_is_told_and_leaves_nothing(folder, tmp_path, capsys, command, limit):
    import resource

    words = arguments(folder, tmp_path / "out")
    if command == "simulate":
        words = ["simulate", "--pet", str(folder / "pet.nii.gz"), "--setting", "standard", "--out", words[-1]]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # writing beyond fails, as on a full disk
    try:
        code = run(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = without_progress(capsys.readouterr().err)
    assert code == 2 and said.count("\n") == said.count("could not be written") == 1 and ".part-" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_half_way_says_so_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, number):
    class Interrupting(imaging.Bar):
        def __call__(self, event) -> None:
            if "step 3 of" in event.message:
                signal.raise_signal(number)

    monkeypatch.setattr(imaging, "Bar", Interrupting)
    words = arguments(folder, tmp_path / "out", quality="paper", samples=50)
    monkeypatch.setattr(sys, "argv", ["petsuperres", *words])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert end.value.code == 130 and not (tmp_path / "out").exists()
    assert without_progress(capsys.readouterr().err) == "petsuperres: Cancelled; nothing was written.\n"


# -- in a MRML scene ------------------------------------------------------------------------------------
@pytest.fixture
def logic(folder, monkeypatch) -> Callable[..., object]:
    """The module's ``process`` on the phantom's nodes with some replaced; fails if an error leaves a node behind."""
    pytest.importorskip("slicer", reason="needs the package slicer-core (pip install '.[mrml]')")
    import mrml_scene

    from PETSuperResLib.prior import checkpoint

    monkeypatch.setattr(checkpoint, "BUNDLED", folder / "cross-attention.safetensors")
    monkeypatch.setattr(checkpoint, "BUNDLED_SHA256", folder / "none.sha256")
    scene, module = mrml_scene.start(), mrml_scene.load_module()
    scene.Clear(0)
    from PETSuperResSlicer.mrml import volumes as mrml

    def process(pet: Volume = PET, ct: Volume = CT, **options: object) -> object:
        unmarked = [Volume(v.array, v.spacing, v.origin, v.direction) for v in (pet, ct)]
        nodes = [mrml.node_from_volume(v, name, scene) for v, name in zip(unmarked, ("strange PET", "CT"), strict=True)]
        mrml.mark_unit(nodes[0], "SUVbw")  # as its user says
        before = scene.GetNumberOfNodes()
        try:
            settings = {"preset": "GE Discovery ST", "quality": "draft", "device": "cpu", **options}
            return module.PETSuperResLogic().process(*nodes, **settings)
        except PETSuperResError:
            assert scene.GetNumberOfNodes() == before
            raise

    return process


def test_a_pet_of_unknown_units_is_asked_about_in_the_scene(logic, monkeypatch):
    from PETSuperResSlicer.mrml import volumes as mrml

    monkeypatch.setattr(mrml, "mark_unit", lambda *_: None)
    with pytest.raises(UnitsError, match="units unknown.*PETSuperResSlicer.mrml.units.confirm"):
        logic()


def test_the_scene_takes_the_phantom_itself(logic):
    assert logic().GetName() == "strange PET SR (GE Discovery ST)"


def test_a_cancel_half_way_leaves_the_scene_as_it_was(logic):
    def stop(event) -> None:
        if event.fraction > 0.3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        logic(progress=stop)


def test_a_damaged_bundled_prior_is_told_in_the_scene(logic, damaged, monkeypatch):
    from PETSuperResLib.prior import checkpoint

    monkeypatch.setattr(checkpoint, "BUNDLED", damaged)
    with pytest.raises(PETSuperResError, match="prior"):
        logic()


# -- real patients --------------------------------------------------------------------------------------
@pytest.mark.data
def test_the_ct_of_another_patient_is_refused(folder, tmp_path, capsys):
    """By its place for volumes; DICOM tells the patient besides."""
    sts = data_dir("sts")
    words = arguments(folder, tmp_path / "out", pet=sts / "STS_001/PET_SUV.nii.gz", ct=sts / "STS_005/CT_HU.nii.gz")
    assert run(words) == 2
    assert "choose the CT of this PET" in capsys.readouterr().err
