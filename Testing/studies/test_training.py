"""Training: a few steps that learn, and a run that goes on to the bit where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CONFIG
from training_factory import SETTINGS, same, table, weights

from PETSuperResLib import cli
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.cohort.distributed import Team
from PETSuperResLib.cohort.manifest import read_split
from PETSuperResLib.errors import Cancelled, CheckpointError, InputError
from PETSuperResLib.prior import Denoiser, NetworkConfig, NoiseNetwork, Prior
from PETSuperResLib.studies.training.config import RECIPES, read_recipe
from PETSuperResLib.studies.training.learner import PriorLearner
from PETSuperResLib.studies.training.loop import Loop
from PETSuperResLib.studies.training.train import train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    train(None, out, SETTINGS, device="cpu")
    return out


@pytest.mark.parametrize("stop", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_in_the_weights_of_an_uninterrupted_one(whole, tmp_path, monkeypatch, stop):
    update = Loop.update

    def until(loop, *arguments):
        if loop.step == stop:
            raise RuntimeError("the power fails")
        return update(loop, *arguments)

    monkeypatch.setattr(Loop, "update", until)
    with pytest.raises(RuntimeError, match="power"):
        train(None, tmp_path, SETTINGS, device="cpu")
    monkeypatch.undo()
    assert any(tmp_path.glob("state.safetensors"))
    train(None, tmp_path, SETTINGS, device="cpu")
    assert same(whole, tmp_path)
    assert [row["loss"] for row in table(tmp_path / "log.csv")] == [row["loss"] for row in table(whole / "log.csv")]
    assert not list(tmp_path.glob(".part-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_a_signal_to_stop_and_a_caller_that_cancels_save_the_step(whole, tmp_path, number):
    def stop(event):
        if event.message.startswith("step 3 "):
            if number is None:
                raise Cancelled
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt if number else Cancelled):
        train(None, tmp_path, SETTINGS, device="cpu", progress=stop)
    assert Prior.load(tmp_path / "prior.safetensors").info["steps"] == 3
    if number is not None:
        assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
        return
    train(None, tmp_path, SETTINGS, device="cpu")
    assert same(whole, tmp_path)


def test_a_finished_run_stays_as_it_is(whole):
    before = weights(whole)
    train(None, whole, SETTINGS, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in weights(whole).items())


def test_a_run_of_another_network_or_a_damaged_one_is_not_continued(whole, tmp_path):
    other = replace(SETTINGS, network=NetworkConfig((32, 32, 32), heads=2))
    state = tmp_path / "state.safetensors"
    state.write_bytes((whole / "state.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="another folder"):
        train(None, tmp_path, other, device="cpu")
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged"):
        train(None, tmp_path, SETTINGS, device="cpu")


def test_another_seed_gives_other_weights(whole, tmp_path):
    train(None, tmp_path, replace(SETTINGS, seed=1), device="cpu")
    assert any(not torch.equal(v, weights(whole)[k]) for k, v in weights(tmp_path).items())


def test_it_writes_a_prior_that_says_what_it_was_trained_on(whole):
    prior = Prior.load(whole / "prior.safetensors")
    assert prior.network.config == CONFIG and prior.pixel_mm == 4.0
    assert prior.info["steps"] == 6 and "6 phantom slices" in prior.info["trained_on"]
    assert json.loads((whole / "config.json").read_text())["batch"] == 2


@pytest.mark.slow
def test_the_loss_falls(tmp_path):
    settings = replace(
        SETTINGS, steps=75, batch=4, learning_rate=3e-3, phantom_slices=2, checkpoint_every=1000, log_every=25
    )
    train(None, tmp_path, settings, device="cpu")
    losses = [float(row["loss"]) for row in table(tmp_path / "log.csv")]
    assert len(losses) == 3 and losses[-1] < 0.92 * losses[0]


def test_a_run_starts_from_the_weights_of_a_prior(whole, tmp_path):
    first = whole / "prior.safetensors"
    path = train(None, tmp_path, replace(SETTINGS, steps=0, start_from=str(first)), device="cpu")
    expected, got = Prior.load(first).network.state_dict(), Prior.load(path).network.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_run_that_sees_neighbours_starts_where_a_2d_prior_ended(whole, tmp_path):
    first = whole / "prior.safetensors"
    network = replace(CONFIG, neighbours=1)
    path = train(None, tmp_path, replace(SETTINGS, steps=0, start_from=str(first), network=network), device="cpu")
    flat, deep = Prior.load(first), Prior.load(path)
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected, got = (Denoiser(prior, torch.zeros(2, 32, 32), 5.0).epsilon(x, 400) for prior in (flat, deep))
    assert torch.allclose(got, expected, atol=2e-2)


@pytest.mark.parametrize("conditioning", ["concat", "none"])
def test_an_ablation_starts_from_what_it_shares_with_the_prior(whole, tmp_path, conditioning):
    first = whole / "prior.safetensors"
    network = replace(CONFIG, conditioning=conditioning)
    path = train(None, tmp_path, replace(SETTINGS, steps=0, start_from=str(first), network=network), device="cpu")
    guided, other = Prior.load(first), Prior.load(path)
    theirs, ours = guided.network.state_dict(), other.network.state_dict()
    assert not any("attention" in name or "ct_encoder" in name for name in ours)
    for name in set(ours) - {"enter.weight"}:
        assert torch.equal(ours[name], theirs[name]), name
    images = theirs["enter.weight"].shape[1]
    assert torch.equal(ours["enter.weight"][:, :images], theirs["enter.weight"])
    assert not ours["enter.weight"][:, images:].any()  # a CT that is concatenated is not heeded yet


def test_a_run_cannot_start_from_another_networks_prior(whole, tmp_path):
    settings = replace(SETTINGS, start_from=str(whole / "prior.safetensors"), network=NetworkConfig())
    with pytest.raises(InputError, match="another network"):
        train(None, tmp_path, settings, device="cpu")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"speed": 9}',
        "[1]",
        '{"network": {"conditioning": "?"}}',
        '{"network": {"widths": [24, 24, 24]}}',
        '{"size": 90}',
        '{"batch": 0}',
        '{"learning_rate": -1}',
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match="training configuration"):
        read_recipe(path)


def test_a_configuration_that_is_nowhere_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(InputError, match="large"):
        read_recipe("enormous")


def test_the_recipes_that_come_along_are_read():
    assert all(stage.steps > 0 for name in RECIPES for stage in read_recipe(name))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow][: n != "bundled"]) for n in RECIPES])
def test_the_recipes_that_come_along_train(name, tmp_path):
    config = read_recipe(name)[-1]
    millions = sum(p.numel() for p in NoiseNetwork(config.network).parameters()) / 1e6
    low, high = {"bundled": (5, 8), "torso": (5, 8), "large": (20, 30), "huge": (50, 70)}[name]
    assert low < millions < high
    small = replace(config, steps=2, batch=2, size=16, pixel_mm=8.0, phantom_slices=2, log_every=1, validate_every=0)
    train(None, tmp_path, small, device="cpu")
    assert [float(row["loss"]) > 0 for row in table(tmp_path / "log.csv")] == [True, True]
    assert Prior.load(tmp_path / "prior.safetensors").network.config == config.network


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    settings = replace(SETTINGS, batch=4, mixed_precision=False, checkpoint_every=6)
    stages = settings, replace(settings, steps=2)
    train(None, tmp_path / "one", stages, device="cpu", cache=tmp_path / "cache")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "PETSuperResLib", "train", "--config", str(tmp_path / "one" / "config.json"), "--device", "cpu"]
    command += ["--cache", str(tmp_path / "cache")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "two")], capture_output=True, text=True, env=environment, timeout=240
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.count("Wrote ") == 1
    assert Prior.load(tmp_path / "two" / "prior.safetensors").info["steps"] == 2
    one, two = (tmp_path / name / "stage_1" for name in ("one", "two"))
    losses = [[float(row["loss"]) for row in table(folder / "log.csv")] for folder in (one, two)]
    assert len(losses[0]) == len(losses[1]) == 6 and np.allclose(*losses, atol=1e-4, rtol=0)
    expected, got = weights(one), weights(two)
    for name in NoiseNetwork(CONFIG).state_dict():
        name = f"learner.network.{name}"
        assert torch.allclose(got[name], expected[name], atol=1e-4), name


def test_processes_that_cannot_share_the_batch_equally_are_refused(tmp_path, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="batch of 3 .* 2 processes"):
        train(None, tmp_path / "run", replace(SETTINGS, batch=3), device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_network_that_sees_neighbours_learns_from_stacks(tmp_path):
    settings = replace(SETTINGS, network=replace(CONFIG, neighbours=1), learning_rate=3e-3)
    loop = Loop(PriorLearner(settings), settings, Team(torch.device("cpu")))
    random = torch.Generator().manual_seed(0)
    batch = 3 * torch.rand(2, 3, 32, 32, generator=random), torch.zeros(2, 32, 32), torch.tensor([3.0, 5.0])
    before = loop.learner.network.enter.weight.detach().clone()
    for _ in range(3):  # the last layer begins at zero
        assert 0 < float(loop.update(batch, 0.0)) < 10
    changed = (loop.learner.network.enter.weight.detach() - before).abs().amax((0, 2, 3))
    assert changed.shape == (12,) and float(changed.min()) > 0  # every slice matters


def test_missing_data_cases_and_splits_are_refused(tmp_path):
    with pytest.raises(InputError, match="No data folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(InputError, match="No case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="split"):
        read_split(tmp_path, "train")


# Recipes of several stages

STAGES = {
    "batch": 2, "size": 32, "pixel_mm": 4.0, "warmup": 2, "phantom_slices": 8, "log_every": 1, "checkpoint_every": 2,
    "validate_every": 0, "network": {"widths": [16, 16, 16], "heads": 2},
    "stages": [
        {"steps": 3},
        {"steps": 3, "learning_rate": 2e-3, "network": {"neighbours": 1}},
        {"steps": 4, "batch": 4, "stated_share": 0.8, "blurred_share": 0.5, "network": {"neighbours": 1}},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_text(json.dumps(STAGES))
    return path


@pytest.fixture(scope="module")
def staged(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("staged")
    train(None, out, recipe, device="cpu")
    return out


def test_a_recipe_of_stages_makes_a_prior_like_the_bundled_one(staged):
    prior, bundled = Prior.load(staged / "prior.safetensors"), Prior.load()
    assert prior.info.keys() == bundled.info.keys() | {"patches"} and prior.info["resolution_mm"] == 2.0
    assert prior.network.config == replace(CONFIG, neighbours=1) and prior.info["batch"] == 4
    assert prior.network.state_dict().keys() == NoiseNetwork(replace(CONFIG, neighbours=1)).state_dict().keys()
    last = read_recipe("bundled")[-1]
    assert last.network == bundled.network.config
    assert [bundled.info[name] for name in ("steps", "batch", "pixel_mm", "resolution_mm")] == [
        *(last.steps, last.batch, last.pixel_mm, last.resolution_mm)
    ]


# Steps of all stages together.
@pytest.mark.parametrize("stop", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8))])
def test_a_recipe_goes_on_in_the_stage_in_which_it_stopped(recipe, staged, tmp_path, monkeypatch, stop):
    update, taken = Loop.update, []

    def until(loop, *arguments):
        taken.append(loop.config.steps)
        if len(taken) > stop:
            raise RuntimeError("the power fails")
        return update(loop, *arguments)

    monkeypatch.setattr(Loop, "update", until)
    with pytest.raises(RuntimeError, match="power"):
        train(None, tmp_path, recipe, device="cpu")
    monkeypatch.undo()
    done = [folder.name for folder in tmp_path.glob("stage_*") if (folder / "prior.safetensors").exists()]
    assert "prior.safetensors" not in [p.name for p in tmp_path.iterdir()] or stop > 6
    train(None, tmp_path, recipe, device="cpu")
    assert same(staged, tmp_path) and done


def test_each_stage_starts_from_the_weights_of_the_one_before(staged):
    flat = load_file(staged / "stage_1" / "state.safetensors")
    still = replace(read_recipe(staged / "config.json")[1], start_from=str(staged / "stage_1" / "prior.safetensors"))
    deep = PriorLearner(still).network.state_dict()
    name = "down1.blocks.0.conv1.weight"
    assert torch.allclose(deep[name], flat[f"average.network.{name}"], rtol=1e-2)  # a checkpoint is bfloat16


def test_a_runs_config_json_is_its_recipe(recipe, staged):
    assert read_recipe(staged / "config.json") == read_recipe(recipe)


def test_the_stated_resolution_matters_and_is_a_bias_of_the_prior(staged):
    config = read_recipe(staged / "config.json")[-1]
    learner = PriorLearner(config)
    learner.load_state_dict(
        {k.removeprefix("average."): v for k, v in weights(staged).items() if k.startswith("average.")}
    )
    assert learner.resolution.abs().max() > 0
    sharp, blunt = (replace(config, resolution_mm=mm) for mm in (2.0, 8.0))
    images = []
    for learner.config in (sharp, blunt):
        network = learner.prior("", 0).network
        images.append(network.embed[0].bias.detach().clone())
    expected = np.log(4.0) * learner.resolution.detach()
    assert torch.allclose(images[1] - images[0], expected, atol=1e-6)


def test_a_time_limit_is_shared_by_the_stages(tmp_path, monkeypatch):
    monkeypatch.setattr("PETSuperResLib.studies.training.train.SHORTEST_S", 0.1)
    common = {name: value for name, value in STAGES.items() if name != "stages"}
    (tmp_path / "long.json").write_text(json.dumps(common | {"stages": [{"steps": 10**5}, {"steps": 10**5}]}))
    train(None, tmp_path / "run", tmp_path / "long.json", limit_minutes=0.06, device="cpu")
    steps = [Prior.load(tmp_path / "run" / name / "prior.safetensors").info["steps"] for name in ("stage_1", ".")]
    assert all(0 < n < 10**5 for n in steps)


def test_a_short_time_limit_trains_the_last_stage_with_a_batch_that_it_has_time_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("PETSuperResLib.studies.training.train.patch_s", lambda *arguments: 0.1)
    recipe = tmp_path / "large.json"
    recipe.write_text(json.dumps(STAGES | {"stages": [{"steps": 1}, {"steps": 1}, {"steps": 1, "batch": 4096}]}))
    words = ["train", "--config", str(recipe), "--limit-minutes", "1", "--device", "cpu", "--out"]
    assert cli.run([*words, str(tmp_path / "run")]) == 0
    batch = Prior.load(tmp_path / "run" / "prior.safetensors").info["batch"]
    assert 4 < batch <= 60 * 0.8 / 30 / 0.1 and not list((tmp_path / "run").glob("stage_*"))
    assert f"stages 1, 2 of 3 left out, a batch of {batch} in place of 4096" in capsys.readouterr().out


def test_a_stage_of_which_the_recipe_went_on_is_not_trained_later(recipe, staged, tmp_path):
    """Stages that a time limit left out stay so when the run goes on without one."""
    shutil.copy(staged / "state.safetensors", tmp_path)
    state = tmp_path / "state.safetensors"
    save_file(load_file(state), state, {"step": "3", "finished": "False"})
    train(None, tmp_path, recipe, device="cpu")
    assert not list(tmp_path.glob("stage_*")) and same(staged, tmp_path)
