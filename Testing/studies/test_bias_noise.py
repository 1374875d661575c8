"""Bias against noise: known errors are measured as they are, and EM's curves run as theory has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import table

from PETSuperResLib.cli import run
from PETSuperResLib.errors import InputError
from PETSuperResLib.phantoms.codes import CODE
from PETSuperResLib.phantoms.torso import Phantom
from PETSuperResLib.physics.model import osem
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.studies.evaluation import bias_noise
from PETSuperResLib.studies.evaluation.bias_noise import BiasNoise, scene_of, snapshots
from PETSuperResLib.studies.methods.map import MAP_RDP, map_image
from PETSuperResLib.volume import Volume

LESION, LIVER = 6.0, 2.0


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A body of 1 SUV with a liver of 2, two rods and a speck of 6; slices 0 and 1 hold no lesion."""
    grid = Volume(np.zeros((6, 60, 80), np.float32), (4.0, 4.0, 4.0), (-158.0, -118.0, 0.0), unit="SUVbw")
    k, j, i = np.indices(grid.shape)
    x, y = 4.0 * i - 158, 4.0 * j - 118
    pet = ((x / 140) ** 2 + (y / 100) ** 2 < 1).astype(np.float32)
    liver = ((x + 60) / 50) ** 2 + (y / 60) ** 2 < 1
    labels = np.zeros(grid.shape, np.float32)
    for label, (cx, cy, radius) in enumerate(((60, 30, 12), (50, -40, 18), (-60, 40, 3)), 1):
        labels[(np.hypot(x - cx, y - cy) < radius) & (k >= (2 if label < 3 else 5))] = label
    pet[liver] = LIVER
    pet[labels > 0] = LESION
    organs = np.where(liver, CODE["liver"], CODE["other"]).astype(np.float32)
    hu = np.where(pet > 0, 0.0, -1000.0).astype(np.float32)
    return Phantom(
        *(grid.with_array(array, unit) for array, unit in ((pet, "SUVbw"), (hu, "HU"))),
        *(grid.with_array(array, "label") for array in (labels, organs)),
    )


@pytest.fixture(scope="module")
def scene(phantom):
    return scene_of(phantom, 3)


@pytest.fixture(scope="module")
def curves(scene):
    """Measures of OSEM and PSF-OSEM by updates, over three scans."""
    tallies: dict[tuple[str, int], BiasNoise] = {}
    projector = None
    for seed in range(3):
        scan = simulate(scene.pet, scene.ct, "standard", "realistic", spacing_mm=4.0, seed=seed, device="cpu")
        model = scan.measurement.model(scan.truth, "cpu", projector)
        projector = model.projector
        for psf, name in ((False, "osem"), (True, "psf-osem")):
            for n, image in snapshots(model, scan.measurement.counts, {3, 10, 30, 100}, psf).items():
                tallies.setdefault((name, n), BiasNoise(scene)).add(image.numpy())
    return {key: estimator.measures() for key, estimator in tallies.items()}


def test_slices_lesions_and_the_uniform_region_are_chosen(phantom, scene):
    assert scene.pet.shape[0] == 3 and all((scene.labels.array[k] > 0).any() for k in range(3))
    assert set(np.unique(scene.labels.array)) == {0, 1, 2}  # the speck is left out ...
    assert (scene.pet.array[scene.uniform] == LIVER).all()  # ... yet noise is not measured near it
    other = np.argwhere((phantom.labels.array[3:] > 0) | (phantom.organs.array[3:] != CODE["liver"]))
    gaps = [np.linalg.norm(4.0 * (other - voxel), axis=1).min() for voxel in np.argwhere(scene.uniform)]
    assert len(gaps) > 300 and min(gaps) >= bias_noise.CLEAR_MM


def test_a_phantom_without_lesions_or_liver_is_refused(phantom):
    with pytest.raises(InputError, match="No lesion"):
        scene_of(replace(phantom, labels=phantom.labels.with_array(np.zeros(phantom.pet.shape))), 3)
    with pytest.raises(InputError, match="voxels of liver"):
        scene_of(replace(phantom, organs=phantom.organs.with_array(np.zeros(phantom.pet.shape))), 3)


def test_known_bias_and_noise_are_found(scene):
    random, estimator = np.random.default_rng(0), BiasNoise(scene)
    biased = scene.pet.array * np.where(scene.labels.array > 0, 0.9, 1.0) + 0.1 * (scene.labels.array == 0)
    for _ in range(40):
        estimator.add(biased + random.normal(0, 0.25, biased.shape))
    found = estimator.measures()
    assert found["lesion_bias_percent"] == pytest.approx(-10, abs=3 * found["lesion_bias_error_percent"] + 0.01)
    assert 0 < found["lesion_bias_error_percent"] < 0.5
    assert found["noise_percent"] == pytest.approx(100 * 0.25 / (LIVER + 0.1), rel=0.02)
    body = estimator.body
    true = 100 * np.sqrt(((biased - estimator.truth)[body] ** 2).mean()) / estimator.truth[body].mean()
    assert found["body_rms_bias_percent"] == pytest.approx(true, rel=0.03)


def test_noise_of_few_realisations_is_not_taken_for_bias(scene):
    random, estimator = np.random.default_rng(1), BiasNoise(scene)
    for _ in range(4):
        estimator.add(scene.pet.array + random.normal(0, 0.5, scene.pet.shape))
    raw = 100 * 0.5 / np.sqrt(4) / estimator.truth[estimator.body].mean()
    assert estimator.measures()["body_rms_bias_percent"] < 0.3 * raw


def test_updates_buy_bias_with_noise_and_the_psf_goes_further(curves):
    for name in ("osem", "psf-osem"):
        found = [curves[name, n] for n in (3, 10, 30, 100)]
        noise = [f["noise_percent"] for f in found]
        bias = [abs(f["lesion_bias_percent"]) for f in found]
        assert noise == sorted(noise) and noise[-1] > 4 * noise[0]
        assert bias == sorted(bias, reverse=True)
    limit = {name: curves[name, 100]["lesion_bias_percent"] for name in ("osem", "psf-osem")}
    assert limit["osem"] < -10 and abs(limit["psf-osem"]) < 0.75 * abs(limit["osem"])


def test_one_run_gives_what_runs_of_their_own_would(scene, monkeypatch, prior_file):
    scan = simulate(scene.pet, scene.ct, "standard", "realistic", spacing_mm=4.0, device="cpu")
    model, y = scan.measurement.model(scan.truth), scan.measurement.counts
    for psf in (False, True):
        assert torch.equal(snapshots(model, y, {2, 5}, psf)[2], osem(model, y, 2, psf))
    settings = replace(MAP_RDP, iterations=3)
    monkeypatch.setattr(bias_noise, "MAP_RDP", settings)
    restored = bias_noise.restorations(
        scan, scene.ct, bias_noise.Prior.load(prior_file), 0, "cpu", bias_noise.Reporter(None)
    )
    image = next(image for point, image in restored if point.method == "map-rdp" and point.in_evaluate)
    assert np.allclose(image, map_image(settings, model, y).numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_command_makes_table_and_plot(scene, prior_file, tmp_path, monkeypatch, capsys):
    short = {"UPDATES": (2,), "BETAS": (1.0,), "STEPS": (1,), "MAP_RDP": replace(MAP_RDP, iterations=2)}
    for name, value in (short | {"torso_scene": lambda slices: scene}).items():
        monkeypatch.setattr(bias_noise, name, value)
    words = ["study", "bias-noise", "--prior", str(prior_file), "--out", str(tmp_path), "--realisations", "2"]
    assert run(words) == 0
    found = table(tmp_path / "bias_noise.csv")
    used = {r["method"] for r in found if r["in_evaluate"] == "True"}
    assert used == {"osem", "psf-osem", "map-rdp", "ours-draft", "ours-standard"} and len(found) == 9
    assert all(float(r["noise_percent"]) > 0 and r["realisations"] == "2" for r in found)
    assert (tmp_path / "bias_noise.png").stat().st_size > 10_000
    assert "psf-osem" in capsys.readouterr().out
    assert run([*words[:-1], "1"]) == 2
