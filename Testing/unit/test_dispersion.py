"""Counts that are not Poisson: their dispersion is measured, whatever the model lacks, and gives their weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from PETSuperResLib.dispersion import dispersion, with_measured_dispersion
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.problem import Problem
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

GRID = Volume(np.zeros((6, 48, 48), np.float32), (4.0, 4.0, 4.0))
SCANNER = Scanner("Test", 8.0, 8.0, kernel_scale=1.0, views=48, bin_size_mm=4.0)


def problem_of(factor: float = 1.0, fwhm: float = 8.0, seed: int = 0) -> Problem:
    """Poisson counts of a body with a hot sphere, times a factor with all that belongs to them; a FWHM as stated."""
    k, j, i = np.ogrid[:6, :48, :48]
    body = ndimage.gaussian_filter(((j - 24) ** 2 + (i - 24) ** 2 < 400).astype(np.float32), (0, 1, 1))
    activity = torch.from_numpy(body + 8 * ((k - 3) ** 2 + (j - 20) ** 2 + (i - 30) ** 2 < 9)).float()
    empty = torch.zeros(6, 48, 68)
    mean = Measurement(SCANNER, empty, empty + 1, 0.2, GRID).model(GRID).mean(activity)
    counts = torch.poisson(mean, torch.Generator().manual_seed(seed))
    stated = replace(SCANNER, fwhm_transaxial_mm=fwhm)
    measurement = Measurement(stated, factor * counts, factor * (empty + 1), factor * 0.2, GRID)
    return Problem.make(measurement, GRID, GRID, torch.device("cpu"))


@pytest.mark.parametrize("factor", [0.02, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("fwhm", [6.0, 8.0, 10.0])
def test_the_dispersion_is_the_factor_on_the_counts_even_with_a_wrong_resolution(factor, fwhm):
    assert dispersion(problem_of(factor, fwhm)) == pytest.approx(factor, rel=0.08)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_counts_that_were_scaled_get_the_weight_of_what_was_measured_and_the_user_is_told(factor):
    right, found = problem_of(), with_measured_dispersion(problem_of(factor))
    for name in ("counts", "background", "scale"):
        value, wanted = (torch.as_tensor(getattr(p.measurement, name)) for p in (found, right))
        assert torch.allclose(value, wanted, rtol=0.08)
    assert found.facts["count_dispersion"] == pytest.approx(factor, rel=0.08)
    (warning,) = found.warnings
    assert "times as much as Poisson counts" in warning


def test_poisson_counts_stay_as_they_are():
    right = problem_of()
    found = with_measured_dispersion(right)
    assert found.measurement is right.measurement and not found.warnings
