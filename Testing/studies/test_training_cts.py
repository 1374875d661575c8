"""Torso CTs without PET as training data: found, divided, painted, kept on disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from study_factory import body, write_case, write_study

from PETSuperResLib.cli import run
from PETSuperResLib.cohort.cts import find_cts, split_cts
from PETSuperResLib.errors import InputError
from PETSuperResLib.progress import Reporter
from PETSuperResLib.studies.subjects import ct_anatomy
from PETSuperResLib.studies.training import sources
from PETSuperResLib.studies.training.config import TrainingConfig
from PETSuperResLib.studies.training.sources import training_slices
from PETSuperResLib.studies.training.train import train
from PETSuperResLib.volume import Volume

QUIET = Reporter(None)
CONFIG = TrainingConfig(
    **{"size": 32, "pixel_mm": 4.0, "paintings": 1, "ct_paintings": 2, "phantom_slices": 3},
    **{"phantom_share": 0.2, "painted_share": 0.2, "torso_share": 0.4},
)


@pytest.fixture
def cts(tmp_path):
    for n in range(4):
        body(n, (12, 24, 24))[1].write(tmp_path / "cts" / f"CT_{n}" / "CT_HU.nii.gz")
    return tmp_path / "cts"


@pytest.fixture
def data(tmp_path):
    write_case(tmp_path / "data" / "A")
    (tmp_path / "data" / "split.json").write_text('{"train": ["A"]}')
    return tmp_path / "data"


def names(cts, part, split=None) -> list[str]:
    return [ct.name for ct in split_cts(cts, part, split)]


def test_cts_are_files_folders_and_dicom_series(tmp_path, cts):
    for name in ("1.2.840.nii.gz", "1.2.841.nii.gz", "plain.nrrd"):
        body()[1].write(cts / name)
    write_study(tmp_path / "study")
    (tmp_path / "study" / "2-CT").rename(cts / "dicom")
    found = {ct.name: ct.volume() for ct in find_cts(cts)}
    assert list(found) == ["1.2.840", "1.2.841", "CT_0", "CT_1", "CT_2", "CT_3", "dicom", "plain"]
    assert all(volume.unit == "HU" and volume.array.min() < -800 for volume in found.values())


def test_every_third_ct_is_kept_unless_a_split_divides_them(tmp_path, cts):
    assert [names(cts, part) for part in ("train", "validation", "test")] == [["CT_0", "CT_2", "CT_3"], [], ["CT_1"]]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["A"], "cts": {"train": ["CT_3"], "test": ["CT_0"]}}))
    assert [names(cts, part, split) for part in ("train", "validation", "test")] == [["CT_3"], [], ["CT_0"]]
    (cts / "split.json").write_text(json.dumps({"train": ["CT_2"]}))
    assert names(cts, "train") == ["CT_2"] and names(cts, "train", split) == ["CT_3"]
    split.write_text(json.dumps({"cts": {"train": ["CT_9"]}}))
    with pytest.raises(InputError, match="CT_9"):
        names(cts, "train", split)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="No CT"):
        find_cts(tmp_path / "empty")


def test_patches_of_torso_cts_have_their_share(data, cts):
    batches, described = training_slices(data, None, CONFIG, QUIET, cts=cts)
    np.testing.assert_allclose(batches.shares, [0.2, 0.2, 0.4, 0.2])
    assert "and 72 slices painted into 3 torso CTs and" in described  # two paintings of 12 slices each
    without, described = training_slices(data, None, CONFIG, QUIET)
    np.testing.assert_allclose(without.shares, [1 / 3, 1 / 3, 1 / 3])
    assert "torso" not in described
    alone, _ = training_slices(None, None, CONFIG, QUIET, cts=cts)
    np.testing.assert_allclose(alone.shares, [0.4, 0.6])


def test_paintings_are_kept_and_the_same_again(data, cts, tmp_path, monkeypatch):
    config = replace(CONFIG, network=replace(CONFIG.network, neighbours=1))
    first, _ = training_slices(data, None, config, QUIET, tmp_path / "cache", cts=cts)
    plain, _ = training_slices(data, None, config, QUIET, cts=cts)
    monkeypatch.setattr(sources.SliceSource, "stack", None)
    again, _ = training_slices(data, None, config, QUIET, tmp_path / "cache", cts=cts)
    for one, two, three in zip(first.batch(0, 8), again.batch(0, 8), plain.batch(0, 8), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    assert len(list((tmp_path / "cache").glob("CT_*-torso-*"))) == 6  # two slice spacings of each of three


def test_a_ct_is_painted_on_axial_slices_whatever_its_axes():
    ct = body(0, (12, 24, 20))[1]
    turned = replace(ct, array=ct.array[:, ::-1, ::-1], direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1), origin=(95, 115, 0))
    one, two = (ct_anatomy(volume, 5.0, 5.0, 0) for volume in (ct, turned))
    assert np.allclose(one.ct.array, two.ct.array) and one.ct.same_grid(two.ct)


def test_painted_slices_are_no_nearer_than_those_of_the_ct():
    ct = replace(body(0, (12, 24, 20))[1], spacing=(4.0, 4.0, 6.0))
    sagittal = Volume.from_sitk(sitk.PermuteAxes(ct.to_sitk(), [1, 2, 0]), "HU")
    assert sagittal.spacing == (4.0, 6.0, 4.0)
    assert [ct_anatomy(volume, 5.0, 3.0, 0).ct.spacing[2] for volume in (ct, sagittal)] == [6.0, 6.0]
    assert ct_anatomy(sagittal, 5.0, 8.0, 0).ct.spacing[2] == 8.0


def test_cts_for_a_configuration_without_them_are_refused(data, cts, tmp_path, capsys):
    with pytest.raises(InputError, match="torso_share"):
        train(data, tmp_path / "run", replace(CONFIG, torso_share=0.0), cts=cts)
    assert (
        run(["train", "--data", str(data), "--cts", str(cts), "--config", "large", "--out", str(tmp_path / "o")]) == 2
    )
    assert "torso_share" in capsys.readouterr().err
