"""What the data demand and an estimate lacks, in sigma at every voxel."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .physics.amplitudes import Template
from .physics.gaussian import gaussian_matrix
from .physics.psf import GaussianPSF
from .problem import BLOCK, Problem

LESION_MM = 10.0  # FWHM of what is looked for


def residual_sigma(problem: Problem, expected: Tensor, fwhm_mm: float = LESION_MM) -> np.ndarray:
    """Sigma of a Gaussian of ``fwhm_mm`` more (or less) uptake at each voxel, ``(K, J, I)``.

    ``expected`` are the data of the estimate. The score of such a template t over its standard deviation,
    t^T A^T W r / sqrt(t^T A^T W C W A t), with r the residual, C the covariance of its noise and W the inverse of its
    variances. A t is a Gaussian at all views, and its square another that is narrower by sqrt(2): so the variance of
    all voxels is one blur of the back-projected information, with a constant that one template gives.
    """
    grid, measurement = problem.grid, problem.measurement
    across, along = (math.hypot(fwhm_mm, own) for own in measurement.model_fwhm_mm)
    lines, information = measurement.score(expected)
    axial = gaussian_matrix(grid.shape[0], grid.spacing[2], along)
    score = np.tensordot(axial, _blurred(problem, lines, across), 1)
    narrow = math.hypot(across, measurement.noise_fwhm_mm) / math.sqrt(2)
    variance = np.tensordot(axial**2, _blurred(problem, information, narrow), 1)
    place = tuple(n // 2 for n in grid.shape)
    variance *= _variance_of_one(problem, expected, information, place, fwhm_mm) / variance[place]
    known = variance > 1e-6 * variance.max()
    return np.where(known, score / np.sqrt(np.where(known, variance, 1.0)), 0.0).astype(np.float32)


def _blurred(problem: Problem, lines: Tensor, fwhm_mm: float) -> np.ndarray:
    """``(K, views, bins)`` back-projected and blurred within the slices."""
    parts = []
    for part in lines.split(BLOCK):
        image = problem.projector.adjoint(part.to(problem.device))
        blur = GaussianPSF((len(part), *problem.grid.shape[1:]), problem.grid.spacing, (fwhm_mm, 0.0), problem.device)
        parts.append(blur(image).cpu().numpy())
    return np.concatenate(parts)


def _variance_of_one(
    problem: Problem, expected: Tensor, information: Tensor, place: tuple[int, ...], fwhm_mm: float
) -> float:
    """Of the score of the template at one voxel, as its amplitude is fitted."""
    grid = problem.grid
    point = np.zeros(grid.shape, np.float32)
    point[place] = 1
    blur = GaussianPSF(grid.shape, grid.spacing, (fwhm_mm, fwhm_mm))
    data = problem.data(expected)
    (seen,) = data.project([Template(0, blur(torch.from_numpy(point)).numpy())])
    part = slice(seen.first, seen.last)
    shares = seen.values / problem.measurement.part(seen.first, seen.last).factors
    curvature = float((shares.double() ** 2 * information[part]).sum())
    return curvature**2 * float(data.fit(None, [seen], [0.0]).covariance[0, 0])
