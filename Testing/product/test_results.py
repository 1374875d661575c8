"""What docs/method.md says of samples, slabs, counts, grids and the report, with priors whose estimate is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from known_prior import PRIOR_ONLY, STILL, as_it_is, body, known_prior, person, run, unscaled
from tiny import small_phantom

from PETSuperResLib import __version__
from PETSuperResLib.inputs import Inputs
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.request import Request
from PETSuperResLib.sampling import slabs
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume


def test_samples_of_standard_leave_the_estimate_as_it_is_and_take_its_factor():
    alone, several = (run(as_it_is, changes=STILL, samples=n) for n in (1, 3))
    np.testing.assert_array_equal(several.volume.array, alone.volume.array)
    noise = [np.arcsinh(s.array / several.report["conservation_factor"]) / 0.5 for s in several.samples]
    estimate = np.arcsinh(unscaled(alone)) / 0.5
    inside = estimate > 2  # where nothing is cut off at 0
    spread = [(n - estimate)[inside].std() for n in noise]
    assert spread == pytest.approx([3.0] * 3, rel=0.5)  # the first step's noise over signal, cut off at 0
    assert np.abs(np.corrcoef([(n - estimate)[inside] for n in noise]) - np.eye(3)).max() < 0.3
    painted = run(lambda noisy, hu: (hu > -500)[:, None].float(), changes=STILL, samples=2)
    for drawn in painted.samples:
        np.testing.assert_allclose(drawn.array, painted.volume.array, rtol=1e-5, atol=1e-5)


def test_samples_differ_by_the_noise_of_the_measurement():
    """The prior's estimate is the same whatever it is shown, so what differs comes from the data."""
    changes = {**STILL, "inner_first": 8, "inner_last": 8, "tissue_beta": 0.0}
    result = run(lambda noisy, hu: (hu > -500)[:, None].float(), changes=changes, samples=2)
    inside = result.volume.array > 0.5
    assert np.std(result.samples[0].array[inside] - result.samples[1].array[inside]) > 0.02


def test_an_image_of_stated_fwhm_needs_no_scanner(tmp_path):
    pet = person()[0]
    labels = pet.with_array((pet.array > 4).astype(np.float32), "label")
    result = run(as_it_is, changes=STILL, scanner=None, fwhm=6.0, segmentation=labels)
    report = result.report
    assert (report["scanner"], report["scanner_from"], report["resolution"]["fwhm_mm"]) == (None, "none", (6.0, 6.0))
    assert result.write(tmp_path)["lesions"].is_file()


def test_the_result_of_paper_is_the_mean_of_its_samples():
    result = run(as_it_is, "paper", {"steps": 2, **PRIOR_ONLY}, samples=3)
    np.testing.assert_allclose(result.volume.array, np.mean([s.array for s in result.samples], 0), rtol=1e-5)


def test_every_slab_draws_noise_of_its_own(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", 4)
    result = run(as_it_is, changes={**STILL, "noise": 1.0, "start_sigma": 0.3}, slices=8)
    x = np.arcsinh(unscaled(result)) / 0.5
    inside = body() == 1
    inside[14:21, 12:20] = False  # the lesion
    same = np.corrcoef([x[k][inside] for k in range(8)])
    assert np.abs(same - np.eye(8)).max() < 0.3


def test_more_than_64_slices_go_in_slabs_that_compute_the_axial_fwhm_beyond_their_end(monkeypatch):
    assert [len(slabs.slabs_of(count, 3)) for count in (64, 65)] == [1, 2]
    monkeypatch.setattr(slabs, "SLAB", 14)
    prior = known_prior(as_it_is)
    run(prior, changes=STILL, slices=16, scanner=Scanner.get("Paper standard", fwhm_axial_mm=24.0))
    assert len(prior.network.seen[0][1]) == 2 + 6  # slabs of 2 that with 6 slices on either side fill 14


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_the_result_has_the_measured_counts_whatever_the_prior_gives(factor):
    def scaled(noisy, hu):
        return torch.asinh(factor * torch.sinh(noisy * 0.5)) / 0.5

    pet, ct = person()
    result = run(scaled, changes={**STILL, "start_iterations": 12})
    assert float(result.volume.array.sum()) == pytest.approx(float(pet.array.sum()), rel=2e-3)
    assert result.report["conservation_factor"] == pytest.approx(1 / factor, rel=0.02)
    scan = simulate(pet, ct, Scanner.get("Paper standard"), attenuation=True, spacing_mm=4.0, seed=0)
    result = run(scaled, changes=STILL, pet=scan.lr, ct=ct, measurement=scan.measurement)
    lines = scan.measurement.model(result.volume).forward(torch.from_numpy(result.volume.array), psf=False)
    assert float(lines.sum()) == pytest.approx(scan.measurement.trues_per_slice * 4, rel=1e-4)


def test_more_noise_smooths_more():
    pet, _ = person()
    grain = np.random.default_rng(0).normal(0, 0.2, pet.shape) * (pet.array > 0.5)
    quiet, loud = (
        run(as_it_is, pet=pet.with_array(pet.array + grain), noise=percent).volume.array for percent in (5.0, 50.0)
    )
    assert np.abs(np.diff(quiet)).sum() > 1.2 * np.abs(np.diff(loud)).sum()


def test_negative_values_of_the_pet_count_as_zero():
    pet, _ = person()
    below = pet.with_array(np.where(pet.array > 0, pet.array, np.float32(-0.02)))
    one, other = (run(as_it_is, changes=STILL, pet=v).volume.array for v in (pet, below))
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_a_stated_noise_that_the_image_contradicts_is_told():
    phantom = small_phantom()
    random = np.random.default_rng(0).normal(0, 0.1, phantom.pet.shape)
    noise = random * np.sqrt(phantom.pet.array)
    pet = phantom.pet.with_array((phantom.pet.array + noise).clip(0).astype(np.float32), "SUVbw")
    for percent in (None, 12.0, 30.0):
        problem = Inputs.of(Request(pet, phantom.ct, "Paper standard", noise=percent)).problem(4.0, torch.device("cpu"))
        assert any("stated noise" in warning for warning in problem.warnings) == (percent == 30)


def test_pet_and_ct_meet_on_the_grid_by_physical_coordinates():
    """A spot of the SR grid, blurred and averaged over the PET's voxels, lies where it lay."""
    inside = np.zeros((4, 33, 37), np.float32)
    inside[:, 4:-4, 4:-4] = 1.5
    pet = Volume(inside, (5.0, 6.0, 4.0), (-90.0, -96.0, 0.0), unit="SUVbw")
    ct = pet.with_array(np.where(inside > 0, np.where(np.arange(37) < 9, 400.0, 0.0), -1000.0), "HU")
    problem = Inputs.of(Request(pet, ct, "Paper standard", noise=10.0)).problem(4.0, torch.device("cpu"))
    spot = np.zeros(problem.grid.shape, np.float32)
    spot[:, 30, 12] = 1
    seen = problem.measurement.model(problem.grid).forward(torch.from_numpy(spot)).numpy()[1]
    place = problem.grid.ijk_to_lps @ (12, 30, 1, 1)
    j, i = np.indices(seen.shape)
    weights = (i * seen).sum() / seen.sum(), (j * seen).sum() / seen.sum()
    np.testing.assert_allclose((pet.ijk_to_lps @ (*weights, 1, 1))[:2], place[:2], atol=0.3)
    sharp = pet.with_array(np.where(np.arange(37) < 18, 100.0, 0.0) - 50 + 0 * pet.array, "HU")
    hu = problem.make(problem.measurement, problem.grid, sharp, problem.device).ct[1, 20, 2:-2]
    assert hu.min() == -50 and hu.max() == 50 and ((hu > -45) & (hu < 45)).any()  # linear across the border


def test_the_report_says_what_was_used():
    result = run(as_it_is, changes=STILL, scanner="GE Discovery ST", seed=7)
    report = json.loads(json.dumps(result.report, allow_nan=False))
    assert report["version"] == __version__ and datetime.fromisoformat(report["date"]).utcoffset() == timedelta(0)
    assert "Research use only" in report["notice"] and report["measurement"] == "image"
    assert report["scanner"]["name"] == "GE Discovery ST" and "sha256" in report["prior"]
    assert report["scanner"]["unverified"] and report["seed"] == 7 and report["samples"] == 1
    assert report["sampler"]["start_sigma"] == 3.0 and report["sampler"]["steps"] == 1
    assert report["noise"]["percent_at_suv_1"] == 10 and report["residual"]["chi_square_body"] >= 0
    assert report["grid"] == {"shape": [4, 40, 48], "spacing_mm": [4.0, 4.0, 4.0]}


def test_the_report_names_the_files_with_their_hashes_and_the_region(tmp_path):
    paths = [volume.write(tmp_path / name) for volume, name in zip(person(), ("pet.nii.gz", "ct.nii.gz"), strict=True)]
    report = run(as_it_is, changes=STILL, pet=paths[0], ct=paths[1], region=(60, 120, 50, 100, 0, 12)).report
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert [report["files_sha256"][name] for name in ("pet", "ct")] == hashes
    assert report["region"] == [60, 120, 50, 100, 0, 12] and report["files"]["pet"] == str(paths[0])
    assert "series_uids" not in report


def test_the_report_names_the_dicom_series():
    pet, ct = person()
    pet = replace(pet, metadata={**pet.metadata, "series_uid": "1.2.3", "frame_of_reference": "1.2.4"})
    ct = replace(ct, metadata={**ct.metadata, "frame_of_reference": "1.2.5"})
    report = run(as_it_is, changes=STILL, pet=pet, ct=ct).report
    assert report["series_uids"] == {"pet": "1.2.3", "ct": None}
    assert report["frames_of_reference"] == {"pet": "1.2.4", "ct": "1.2.5"}


@pytest.mark.parametrize(("spacing", "warned"), [(4.8, False), (5.2, True)])
def test_pixels_more_than_25_percent_off_the_prior_s_are_warned_of(spacing, warned):
    warnings = run(as_it_is, changes=STILL, spacing=spacing).report["warnings"]
    assert any("trained at 4 mm" in w for w in warnings) == warned
