"""What the data say of an estimate: the same in blocks of slices as of all slices together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PETSuperResLib import problem
from PETSuperResLib.grid import image_grid
from PETSuperResLib.physics.image_model import image_measurement
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.problem import Problem
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
    scanner = Scanner("", 6.0, 9.0, kernel_scale=1.0, views=12, bin_size_mm=4.0)
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
