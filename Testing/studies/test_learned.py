"""The methods that learn: pairs, the training loop and its cache, every network on tiny scans, through evaluate."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import relative, small_phantom, tiny_prior

from PETSuperResLib.errors import Cancelled, InputError
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.progress import Reporter
from PETSuperResLib.studies.evaluation.evaluate import evaluate
from PETSuperResLib.studies.methods import METHODS, FitOptions, MethodCase, pairs, petdm, srdpm
from PETSuperResLib.studies.methods.conditioning import conditioned_prior
from PETSuperResLib.studies.methods.learned import RestorerConfig, fit_restorer, restore_with
from PETSuperResLib.studies.methods.networks import TRANSFORM, ImageRestorer, UNet, srcnn, vdsr
from PETSuperResLib.studies.methods.pairs import Pairs
from PETSuperResLib.studies.methods.petdm import ENCODER_SHARE, LatentDiffusion
from PETSuperResLib.studies.methods.srdpm import ConditionalDiffusion, ConditionalNetwork
from PETSuperResLib.studies.methods.supervised import DEEPSR, SRCNN, STRONGEST, UNET
from PETSuperResLib.studies.subjects import Subject, training_subjects
from PETSuperResLib.studies.training.loop import Loop

CONFIGS = {r.name: r for r in (SRCNN, UNET, DEEPSR, STRONGEST, srdpm.CONFIG, petdm.CONFIG)}
ALIKE = (DEEPSR.name,)  # another network of the kind that SRCNN and UNET are


def phantom_case(seed: int) -> Subject:
    def load():
        phantom = torso_phantom(seed, (4, 48, 64), (4.0, 4.0, 4.0), 2, "abdomen")
        return phantom.pet, phantom.ct, phantom.labels

    return Subject(f"phantom {seed}", {"seed": seed}, load)


CASES = [phantom_case(10), phantom_case(11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    pet, ct, _ = phantom_case(12).load()
    simulation = simulate(pet, ct, "standard", spacing_mm=4.0)
    return MethodCase(simulation, ct, tiny_prior(tmp_path_factory.mktemp("prior")), seed=3)


@pytest.fixture(scope="module")
def scans(folder):
    return Pairs.make(CASES, FitOptions(folder), Reporter(None))


def small(name: str, **changes: object) -> RestorerConfig:
    """A UNet that learns in seconds."""
    values = {"steps": 120, "batch": 4, "size": 64, "warmup": 10, "ema": 0.95, "learning_rate": 6e-3, **changes}
    return RestorerConfig(name=name, build=lambda: ImageRestorer(UNet(1, (8, 16, 32))), **values)


# Pairs


def test_a_pair_holds_one_scan_and_its_images_lie_on_each_other(scans):
    batch = scans.batch(0, 0, 6, 64, ("lr", "em24", "ct"))
    assert {name: tuple(value.shape) for name, value in batch.items()} == dict.fromkeys(
        ("truth", "lr", "em24", "ct"), (6, 1, 64, 64)
    )
    for name in ("lr", "em24"):
        assert relative(batch[name], batch["truth"]) < 0.6 < relative(batch[name].flip(-1), batch["truth"])
    body = batch["ct"] > -300
    assert batch["truth"][body].mean() > 20 * batch["truth"][batch["ct"] < -900].mean()


def test_patches_are_fixed_by_seed_and_step_and_neighbours_are_the_slices_beside(scans):
    one, again, other = (scans.batch(0, step, 4, 48, ("lr",), 1) for step in (5, 5, 6))
    assert torch.equal(one["truth"], again["truth"]) and not torch.equal(one["truth"], other["truth"])
    alone = scans.batch(0, 5, 4, 48, ("lr",))
    assert torch.equal(one["lr"][:, 1:2], alone["lr"])
    assert not torch.equal(one["lr"][:, 0], one["lr"][:, 2])


def test_a_patch_larger_than_the_slice_is_air_beyond_it(scans):
    batch = scans.batch(0, 0, 2, 160, ("ct",))
    beyond = 160 * 160 - 96 * 128
    for ct, truth in zip(batch["ct"], batch["truth"], strict=True):
        assert beyond <= int((ct == pairs.AIR_HU).sum()) < beyond + 96 * 128 / 2
        assert int((truth == 0).sum()) >= beyond


def test_scans_are_kept_for_every_method_and_made_again_only_when_what_decides_them_changes(folder, scans, monkeypatch):
    made = []
    monkeypatch.setattr(pairs, "_write", lambda path, *rest: made.append(path.name))
    again = Pairs.make(CASES, FitOptions(folder), Reporter(None))
    assert again.paths == scans.paths and not made
    for options in (FitOptions(folder, counts="high"), FitOptions(folder, seed=1)):
        with pytest.raises((OSError, InputError)):
            Pairs.make(CASES, options, Reporter(None))  # nothing is written, so there is nothing to read
    assert len(set(made)) == 2 * len(CASES)


def test_no_training_cases_and_one_that_cannot_serve_are_named(folder):
    with pytest.raises(InputError, match="no training patients"):
        Pairs.make([], FitOptions(folder), Reporter(None))
    phantom = small_phantom()
    cold = phantom.pet.with_array(np.zeros_like(phantom.pet.array))
    broken = Subject("patient 7", {"seed": "cold"}, lambda: (cold, phantom.ct, None))
    with pytest.raises(InputError, match="patient 7.*no positive voxel"):
        Pairs.make([broken], FitOptions(folder), Reporter(None))


# Training


@pytest.fixture(scope="module")
def trained(folder):
    return fit_restorer(small("small"), CASES, FitOptions(folder))


def test_training_lowers_the_error_on_a_scan_that_it_has_not_seen(trained, case):
    pet, ct, _ = phantom_case(12).load()
    case = replace(case, simulation=simulate(pet, ct, "standard"))  # on the voxels that it is trained on
    truth = case.simulation.truth.array
    restored = restore_with(trained, case)
    assert restored.array.shape == truth.shape and restored.array.min() >= 0 and restored.unit == "SUVbw"
    untrained = restore_with(small("small").build(), case)  # a residual network starts as the LR image
    assert relative(restored.array, truth) < 0.98 * relative(untrained.array, truth)


def test_a_second_fit_reads_what_the_first_kept_and_gives_the_same_image(trained, folder, case, monkeypatch):
    monkeypatch.setattr(Pairs, "make", lambda *_: pytest.fail("trained again"))
    again = fit_restorer(small("small"), CASES, FitOptions(folder))
    assert np.array_equal(restore_with(again, case).array, restore_with(trained, case).array)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"counts": "high"}, {"steps": 119}, {"limit_minutes": 9.0}, {"config": 1e-4}, {"cases": 1}]
)
def test_whatever_decides_the_weights_trains_anew(trained, folder, change, monkeypatch):
    def stop(*_):
        raise Cancelled

    monkeypatch.setattr(Pairs, "make", stop)
    config = small("small", learning_rate=change.pop("config")) if "config" in change else small("small")
    cases = CASES[: change.pop("cases", 2)]
    with pytest.raises(Cancelled):
        fit_restorer(config, cases, FitOptions(folder, **change))


def test_damaged_weights_are_made_again(folder, case):
    config, options = small("damaged", steps=3), FitOptions(folder)
    first = fit_restorer(config, CASES, options)
    (path,) = folder.glob("damaged-*.safetensors")
    whole = path.read_bytes()
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes(damaged)
    second = fit_restorer(config, CASES, options)
    assert path.read_bytes() != damaged
    assert np.array_equal(restore_with(first, case).array, restore_with(second, case).array)


def test_an_interrupted_fit_ends_in_the_weights_of_an_uninterrupted_one(folder, case, monkeypatch):
    config, options, update = small("stopped", steps=4, checkpoint_every=2), FitOptions(folder), Loop.update
    whole = fit_restorer(replace(config, name="whole"), CASES, options)

    def until(loop, *arguments):
        if loop.step == 3:
            raise RuntimeError("the power fails")
        return update(loop, *arguments)

    monkeypatch.setattr(Loop, "update", until)
    with pytest.raises(RuntimeError, match="power"):
        fit_restorer(config, CASES, options)
    monkeypatch.undo()
    assert list(folder.glob("stopped-*.part/state.safetensors"))
    assert np.array_equal(
        restore_with(fit_restorer(config, CASES, options), case).array, restore_with(whole, case).array
    )
    assert not list(folder.glob("stopped-*.part"))


def test_a_time_limit_ends_training_and_progress_tells_of_it(folder):
    events = []
    options = FitOptions(folder, limit_minutes=0.02, progress=events.append)
    fit_restorer(small("limited", steps=10**6), CASES, options)
    assert events[-1].fraction == 1.0 and "limited" in events[-1].stage
    assert int(events[-1].message.split()[1]) < 10**6


def test_a_network_that_diverges_is_refused_and_not_kept(folder):
    config = small("wild", steps=3)

    class Wild(ImageRestorer):
        def loss(self, batch, random, done):
            return super().loss(batch, random, done) * float("nan")

    with pytest.raises(InputError, match="'wild' diverged"):
        fit_restorer(replace(config, build=lambda: Wild(UNet(1, (8, 16)))), CASES, FitOptions(folder))
    assert not list(folder.glob("wild-*"))


@pytest.mark.parametrize("wrong", [{"limit_minutes": 0.0}, {"steps": 0}])
def test_impossible_options_are_refused(folder, wrong):
    with pytest.raises(InputError, match="must be above 0|1 training step"):
        FitOptions(folder, **wrong)


# The networks


def test_the_methods_that_learn_are_those_with_a_recipe_and_say_that_they_are_not_trained(case):
    learning = {name for name, method in METHODS.items() if method.fit is not None}
    assert learning == {*CONFIGS, "supervised-any", "ct-concat", "standard-ct-concat", "standard-unconditional"}
    for name in learning:
        with pytest.raises(InputError, match=f"'{name}' is not trained"):
            METHODS[name].restore(case)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow][: n in ALIKE]) for n in CONFIGS])
def test_every_method_that_learns_restores_after_its_fit_and_reads_only_what_it_says(name, case, folder, monkeypatch):
    monkeypatch.setattr(srdpm, "STEPS", 3)
    method = METHODS[name]
    brief = replace(CONFIGS[name], batch=2, size=32, warmup=1, steps=20 if name == "petdm" else 2)
    fitted = brief.method("", "", method.needs_ct).fit(CASES, FitOptions(folder))
    volume = fitted.restore(case)
    assert volume.array.shape == case.simulation.truth.array.shape and np.isfinite(volume.array).all()
    assert np.array_equal(volume.array, fitted.restore(case).array)
    unseen = case.simulation.truth.with_array(case.simulation.truth.array[:, ::-1].copy())
    assert np.array_equal(volume.array, fitted.restore(_with(case, truth=unseen)).array)
    turned = case.ct.with_array(case.ct.array[:, ::-1, ::-1].copy())
    assert np.array_equal(volume.array, fitted.restore(replace(case, ct=turned)).array) != method.needs_ct
    brighter = case.simulation.lr.with_array(2 * case.simulation.lr.array)
    assert not np.array_equal(volume.array, fitted.restore(_with(case, lr=brighter)).array)


def _with(case: MethodCase, **changes: object) -> MethodCase:
    return replace(case, simulation=replace(case.simulation, **changes))


def test_srcnn_and_vdsr_have_the_published_layers():
    assert [layer.kernel_size[0] for layer in srcnn() if hasattr(layer, "kernel_size")] == [9, 1, 5]
    assert sum(hasattr(layer, "kernel_size") for layer in vdsr()) == 20


def test_the_weight_of_the_loss_leaves_its_minimum_at_the_mean_in_suv():
    model = ImageRestorer(torch.nn.Conv2d(1, 1, 1, bias=True), residual=False)
    torch.nn.init.zeros_(model.network.weight)
    truth = torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)  # two truths of one and the same input
    batch = {"lr": torch.full((2, 1, 1, 1), 4.0), "truth": truth}

    def loss(z: float) -> float:
        torch.nn.init.constant_(model.network.bias, float(TRANSFORM.to_model(torch.tensor(z))))
        return float(model.loss(batch, torch.Generator(), 0.0).detach())

    assert loss(5.0) < min(loss(4.8), loss(5.2))


# The diffusion models


@pytest.mark.slow
@pytest.mark.parametrize("build", [lambda: ConditionalDiffusion(ConditionalNetwork((16, 16, 16), 2)), LatentDiffusion])
def test_a_diffusion_model_learns_and_its_samples_follow_the_seed(build, scans):
    torch.manual_seed(0)
    model = build()
    batch = scans.batch(0, 0, 2, 32, model.inputs)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)

    def loss(done: float) -> torch.Tensor:
        return model.loss(batch, torch.Generator().manual_seed(1), done)

    for done in (0.0, 1.0):
        before = float(loss(done).detach())
        for _ in range(25):
            optimiser.zero_grad()
            loss(done).backward()
            optimiser.step()
        assert float(loss(done).detach()) < 0.9 * before
    images = {name: batch[name] for name in model.inputs}
    with torch.no_grad():
        one, again, other = (model.restore(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("done", [0.0, ENCODER_SHARE])
def test_petdm_sees_no_lr_image_in_training(done, scans):
    model, batch = LatentDiffusion(), scans.batch(0, 0, 2, 64, ("lr", "ct"))
    losses = [
        float(model.loss(b, torch.Generator().manual_seed(0), done).detach())
        for b in (batch, batch | {"lr": batch["lr"].flip(-1) + 1})
    ]
    assert losses[0] == losses[1]
    assert not METHODS["petdm"].needs_pairs and METHODS["srdpm"].needs_pairs


# Through evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    for seed, name in enumerate(("one", "two")):
        phantom = torso_phantom(seed, (4, 48, 64), (4.0, 4.0, 4.0), 2, "abdomen")
        phantom.pet.write(folder / name / "PET_SUV.nii.gz")
        phantom.ct.write(folder / name / "CT_HU.nii.gz")
    (folder / "split.json").write_text(json.dumps({"train": ["one"], "test": ["two"]}))
    return folder


def test_training_images_are_the_training_patients_own_and_painted(data):
    cases = training_subjects(data)
    assert [c.name for c in cases] == ["one-real", "one-sharp"]
    (real, *_), (painted, ct, _) = (c.load() for c in cases)
    assert painted.spacing[0] == 2.0 and painted.shape == ct.shape and real.spacing[0] == 4.0
    assert cases[0].decides != cases[1].decides
    json.dumps([c.decides for c in cases])


@pytest.mark.slow
def test_evaluate_trains_what_learns_once_and_keeps_it(data, tmp_path, monkeypatch):
    prior = tmp_path / "prior"
    prior.mkdir()
    tiny_prior(prior)
    monkeypatch.setitem(METHODS, "unet", small("unet", steps=2).method("nobody", ""))
    options = {"settings": ["standard"], "methods": ["lr", "unet"], "prior": next(prior.glob("*.safetensors"))}
    evaluate(data, tmp_path / "out", **options, cache=tmp_path / "cache")
    first = (tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8")
    assert first.count(",unet,") == 1 and len(list((tmp_path / "cache").glob("unet-*.safetensors"))) == 1
    monkeypatch.setattr(Pairs, "make", lambda *_: pytest.fail("trained again"))
    evaluate(data, tmp_path / "again", **options, cache=tmp_path / "cache")


def test_evaluate_without_training_patients_says_so(data, tmp_path):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": [], "test": ["two"]}))
    with pytest.raises(InputError, match="no case to train"):
        evaluate(data, tmp_path / "out", split=split, methods=["unet"])


# --- Our prior with the CT as channels (Table 3), and without CT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "conditioning"), [("standard-ct-concat", "concat"), ("standard-unconditional", "none")]
)
def test_a_prior_of_another_conditioning_starts_from_the_bundled_one_and_is_kept(name, conditioning, case, tmp_path):
    options = FitOptions(tmp_path, steps=1)
    method = METHODS[name]
    with pytest.raises(InputError, match="not trained"):
        method.restore(case)
    prior = conditioned_prior(conditioning, CASES, options)
    assert prior.network.config.conditioning == conditioning and prior.info["steps"] == 1
    (folder,) = tmp_path.iterdir()  # kept whole: no folder of a run under way is left
    changed = (folder / "prior.safetensors").stat().st_mtime_ns
    restored = method.fit(CASES, options).restore(case)
    assert (folder / "prior.safetensors").stat().st_mtime_ns == changed  # read, not trained again
    assert relative(restored.array, case.simulation.truth.array) < 0.6


@pytest.mark.parametrize("conditioning", ["concat", "none"])
def test_another_conditioning_without_training_patients_is_refused(conditioning, tmp_path):
    with pytest.raises(InputError, match="no training patients"):
        conditioned_prior(conditioning, [], FitOptions(tmp_path, steps=1))
