"""What the data say of an estimate: the same in blocks of slices as of all slices together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from PETSuperResLib import problem
from PETSuperResLib.grid import image_grid
from PETSuperResLib.physics.image_model import image_measurement
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.problem import Problem
from PETSuperResLib.residual import residual_sigma
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

SPACING, SLICES = (4.0, 4.0, 2.0), 23


def image_problem(random: np.random.Generator) -> Problem:
    pet = Volume(random.uniform(0.5, 5, (SLICES, 24, 24)).astype(np.float32), SPACING, unit="SUVbw")
    measurement = image_measurement(pet, (6.0, 9.0), ImageNoise(0.01, 5.0, 1, 4.0, 1.4, "stated"))
    grid = image_grid(pet)
    return Problem.make(measurement, grid, grid.with_array(np.zeros(grid.shape), "HU"), torch.device("cpu"))


def sinogram_problem(random: np.random.Generator) -> Problem:
    grid = Volume(np.zeros((SLICES, 24, 24), np.float32), SPACING)
    scanner = Scanner("Test", 6.0, 9.0, kernel_scale=1.0, views=12, bin_size_mm=4.0)
    shape = (SLICES, 12, 24)
    counts, survival = torch.from_numpy(random.poisson(50.0, shape)).float(), torch.rand(shape)
    measurement = Measurement(scanner, counts, torch.full(shape, 9.0), 0.2, grid, survival)
    return Problem.make(measurement, grid, grid.with_array(np.zeros(grid.shape), "HU"), torch.device("cpu"))


@pytest.mark.parametrize("make", [image_problem, sinogram_problem])
def test_blocks_of_slices_give_what_all_slices_together_give(make, monkeypatch):
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    found = make(random)
    estimate = random.uniform(0, 5, found.grid.shape).astype(np.float32)
    whole = found.residual(found.expected(estimate)) | {"factor": found.conservation(estimate)}
    monkeypatch.setattr(problem, "BLOCK", 5)
    blocks = found.residual(found.expected(estimate)) | {"factor": found.conservation(estimate)}
    assert blocks == pytest.approx(whole, rel=1e-4) and whole["factor"] != pytest.approx(1.0, rel=0.01)


def test_what_is_expected_of_an_image_holds_the_sharper_response_of_hot_regions():
    found = image_problem(np.random.default_rng(3))
    estimate = np.zeros(found.grid.shape, np.float32)
    estimate[8:14, 20:30, 20:30] = 30.0
    sharper = replace(found, measurement=replace(found.measurement, hot_part=0.5))
    more = sharper.expected(estimate) - found.expected(estimate)
    assert float(more.max()) > 0.05 * float(found.expected(estimate).max()) and float(more.min()) < 0
    assert abs(float(more.sum())) < 0.02 * float(more.abs().sum())  # counts are moved, not made


def test_lesions_are_measured_by_the_nearer_response_where_there_is_one():
    found = image_problem(np.random.default_rng(3))
    estimate = np.zeros(found.grid.shape, np.float32)
    estimate[8:14, 20:30, 20:30] = 30.0
    assert torch.equal(found.data_of(estimate).expected, found.expected(estimate))
    nearer = replace(found, measurement=replace(found.measurement, converging=(4.0, 2.0, 0.2)))
    assert torch.equal(nearer.expected(estimate), found.expected(estimate))  # as the samplers have it
    model, _, _ = nearer.part(0, SLICES)
    exact, usual = nearer.data_of(estimate).expected, found.expected(estimate)
    assert torch.allclose(exact, model.expected(torch.from_numpy(estimate)), atol=1e-3 * float(usual.max()))
    assert float((exact - usual).abs().max()) > 0.05 * float(usual.max())


@pytest.mark.parametrize("make", [image_problem, sinogram_problem])
def test_the_trues_that_the_model_expects_are_conserved(make):
    """Of a uniform estimate, which the PSF leaves as it is; an image's trues are without the weights of its voxels."""
    found = make(np.random.default_rng(1))
    estimate = np.ones(found.grid.shape, np.float32)
    model, _, _ = found.part(0, SLICES)
    expected = model.forward(torch.from_numpy(estimate)) / getattr(found.measurement, "weights", 1.0)
    factor = float(found.measurement.trues.double().sum() / expected.double().sum())
    assert found.conservation(estimate) == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize("make", [image_problem, sinogram_problem])
def test_data_drawn_anew_have_their_expectation_and_their_noise(make):
    random = np.random.default_rng(2)
    found = make(random)
    expected = found.expected(random.uniform(2, 5, found.grid.shape).astype(np.float32))
    drawn = [found.resampled(expected, seed).measurement.counts for seed in range(40)]
    assert torch.equal(drawn[3], found.resampled(expected, 3).measurement.counts)
    mean, variance = torch.stack(drawn).mean(0), torch.stack(drawn).var(0)
    assert float(((mean - expected) ** 2).mean() / variance.mean()) == pytest.approx(1 / 40, rel=0.15)
    again = found.resampled(expected, 0).residual(expected)
    assert again[min(again)] == pytest.approx(1, abs=0.15)  # chi-square, of counts or of an image's body


@pytest.mark.parametrize("make", [image_problem, sinogram_problem])
def test_the_residual_has_a_variance_of_1_and_shows_what_the_estimate_lacks(make):
    random = np.random.default_rng(3)
    found = make(random)
    estimate = np.full(found.grid.shape, 3, np.float32)
    expected, more = found.expected(estimate), estimate.copy()
    maps = [residual_sigma(found.resampled(expected, seed), expected) for seed in range(12)]
    inner = np.s_[:, :, 5:-5, 5:-5]
    assert np.stack(maps)[inner].std() == pytest.approx(1, abs=0.15)
    ends = np.s_[:, [0, -1], 5:-5, 5:-5]
    assert np.stack(maps)[ends].std() == pytest.approx(1, abs=0.3)
    more[10:13, 10:12, 14:16] += 20
    missing = replace(found, measurement=found.resampled(found.expected(more), 0).measurement)
    seen = residual_sigma(missing, expected)
    k, j, i = np.unravel_index(seen.argmax(), seen.shape)
    assert abs(k - 11) <= 1 and abs(j - 10.5) <= 1 and abs(i - 14.5) <= 1 and seen.max() > 5
