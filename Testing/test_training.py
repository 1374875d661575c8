"""Training: a few steps that learn, and a run that goes on to the bit where it stopped."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import CONFIG

from PETSuperResLib.errors import CheckpointError, InputError
from PETSuperResLib.prior import NetworkConfig, Prior
from PETSuperResLib.training import train as training
from PETSuperResLib.training.config import TrainingConfig, with_conditioning
from PETSuperResLib.training.data import SliceBatches, find_cases, read_split
from PETSuperResLib.training.train import train
from PETSuperResLib.volume import Volume

SETTINGS = TrainingConfig(
    steps=6, batch=2, size=32, pixel_mm=4.0, warmup=2, phantom_slices=6, checkpoint_every=2, network=CONFIG
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    train(None, out, SETTINGS, device="cpu")
    return out


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "state.safetensors")


@pytest.mark.parametrize("stop", [3, 4])
def test_an_interrupted_run_ends_in_the_weights_of_an_uninterrupted_one(whole, tmp_path, monkeypatch, stop):
    update = training._Run.update

    def until(run, batches, done):
        if run.step == stop:
            raise KeyboardInterrupt
        return update(run, batches, done)

    monkeypatch.setattr(training._Run, "update", until)
    with pytest.raises(KeyboardInterrupt):
        train(None, tmp_path, SETTINGS, device="cpu")
    monkeypatch.undo()
    assert any(tmp_path.glob("state.safetensors"))
    train(None, tmp_path, SETTINGS, device="cpu")
    expected, got = weights(whole), weights(tmp_path)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not list(tmp_path.glob(".part-*"))


def test_a_finished_run_stays_as_it_is(whole):
    before = weights(whole)
    train(None, whole, SETTINGS, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in weights(whole).items())


def test_a_run_of_another_network_or_a_damaged_one_is_not_continued(whole, tmp_path):
    other = replace(SETTINGS, network=NetworkConfig((32, 32, 32), heads=2))
    state = tmp_path / "state.safetensors"
    state.write_bytes((whole / "state.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="another --out"):
        train(None, tmp_path, other, device="cpu")
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged"):
        train(None, tmp_path, SETTINGS, device="cpu")


def test_progress_of_training_never_goes_back_and_reaches_the_end(tmp_path):
    seen = []
    train(None, tmp_path, replace(SETTINGS, steps=26), device="cpu", progress=lambda e: seen.append(e.fraction))
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 2


def test_another_seed_gives_other_weights(whole, tmp_path):
    train(None, tmp_path, replace(SETTINGS, seed=1), device="cpu")
    assert any(not torch.equal(v, weights(whole)[k]) for k, v in weights(tmp_path).items())


def test_it_writes_a_prior_that_says_what_it_was_trained_on(whole):
    prior = Prior.load(whole / "prior.safetensors")
    assert prior.network.config == CONFIG and prior.pixel_mm == 4.0
    assert prior.info["steps"] == 6 and "6 phantom slices" in prior.info["trained_on"]
    assert json.loads((whole / "config.json").read_text())["batch"] == 2


def test_the_loss_falls(tmp_path):
    settings = replace(SETTINGS, steps=75, batch=4, learning_rate=3e-3, phantom_slices=2, checkpoint_every=1000)
    train(None, tmp_path, settings, device="cpu")
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3 and losses[-1] < 0.92 * losses[0]


def test_a_time_limit_ends_the_run_with_a_checkpoint(tmp_path):
    train(None, tmp_path, replace(SETTINGS, steps=100000), limit_minutes=0.02, device="cpu")
    assert 0 < Prior.load(tmp_path / "prior.safetensors").info["steps"] < 100000


def test_it_trains_on_case_folders_of_a_split(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        folder = tmp_path / "data" / name
        grid = Volume(np.zeros((2, 40, 40)), (4.0, 4.0, 4.0))
        grid.with_array(random.random((2, 40, 40)).astype(np.float32)).write(folder / "PET_SUV.nii.gz")
        grid.with_array(random.normal(0, 300, (2, 40, 40)).astype(np.float32)).write(folder / "CT_HU.nii.gz")
    (tmp_path / "data" / "split.json").write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    assert [c.name for c in find_cases(tmp_path / "data")] == ["a", "b"]
    assert read_split(tmp_path / "data", "test") == ["b"]
    settings = replace(SETTINGS, steps=1, phantom_share=0.0, paintings=3)
    prior = Prior.load(train(tmp_path / "data", tmp_path / "out", settings))
    assert prior.info["trained_on"] == "2 slices of 1 patients in data and 6 slices painted into their CTs"


def test_a_run_starts_from_the_weights_of_a_prior(whole, tmp_path):
    first = whole / "prior.safetensors"
    path = train(None, tmp_path, replace(SETTINGS, steps=0, start_from=str(first)), device="cpu")
    expected, got = Prior.load(first).network.state_dict(), Prior.load(path).network.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_run_cannot_start_from_another_networks_prior(whole, tmp_path):
    settings = replace(SETTINGS, start_from=str(whole / "prior.safetensors"), network=NetworkConfig())
    with pytest.raises(InputError, match="another network"):
        train(None, tmp_path, settings, device="cpu")


@pytest.mark.parametrize(
    "content",
    ["{", '{"speed": 9}', "[1]", '{"network": {"conditioning": "?"}}', '{"network": {"widths": [24, 24, 24]}}'],
)
def test_a_wrong_configuration_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match="training configuration"):
        TrainingConfig.read(path)


def test_missing_data_cases_and_splits_are_refused(tmp_path):
    with pytest.raises(InputError, match="No data folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(InputError, match="No case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="split"):
        read_split(tmp_path, "train")


def test_conditioning_can_be_changed_for_ablations():
    assert with_conditioning(SETTINGS, "none").network.conditioning == "none"


def test_batches_are_fixed_by_seed_and_step_and_keep_their_units():
    pet, ct = np.full((40, 40), 2.0, np.float16), np.full((40, 40), 50.0, np.float16)
    batches = SliceBatches([[(pet, ct)]], [1.0], 32, 0)
    one, same, other = batches.batch(3, 4), batches.batch(3, 4), batches.batch(4, 4)
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])
    assert one[0].shape == (4, 32, 32) and float(one[0].min()) >= 0
    assert float(one[1].min()) >= -1000.0 - 1e-3 and float(one[1].max()) <= 50.0 + 1e-3  # air around, tissue inside
