"""Partial volume correction by regions: iterative Yang and RBV, with the contoured lesions and their surroundings.

Both take regions as uniform to find what the resolution moves between them, and keep the image's texture:
``z = y s / H s`` with s the regions' means painted into their voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ...lesions.segments import segments_of
from ...physics.psf import GaussianPSF
from ...volume import Volume

FLOOR = 1e-6  # SUV; keeps the factor finite where there is no activity
SHELL_MM = 8.0
LEAST_VOXELS = 0.5  # a region that fills less of the grid is left out


def lesion_regions(labels: Volume | None, grid: Volume) -> list[Tensor]:
    """The part (0 to 1) of each voxel of ``grid`` in each region, ``(S, J, I)``; over all regions they sum to one.

    Regions are each lesion, what lies within :data:`SHELL_MM` of it and nearer to it than to others, and the rest.
    """
    lesions = []
    for segment in segments_of(labels) if labels is not None and labels.array.any() else []:
        weights, block = segment.weights(grid)
        if weights.sum() > LEAST_VOXELS:
            lesions.append(np.zeros(grid.shape, np.float32))
            lesions[-1][block] = weights
    rest = np.ones(grid.shape, np.float32) - sum(lesions)
    shells = []
    if lesions:
        distances = [ndimage.distance_transform_edt(part < part.max(), grid.spacing[::-1]) for part in lesions]
        nearest = np.argmin(distances, 0)
        near = np.min(distances, 0) < SHELL_MM
        shells = [rest * (near & (nearest == n)) for n in range(len(lesions))]
        rest = rest * ~near
    return [torch.from_numpy(part) for part in (*lesions, *shells, rest) if part.sum() > LEAST_VOXELS]


def iterative_yang(y: Tensor, psf: GaussianPSF, regions: Sequence[Tensor], iterations: int = 10) -> Tensor:
    """``z = y s / H s`` with s from the means of z itself, from ``z = y`` on (Erlandsson et al. 2012).

    ``y`` is ``(S, J, I)``; ``regions`` are parts (0 to 1) of each voxel that sum to one.
    """
    z = y
    for _ in range(iterations):
        z = _corrected(y, psf, regions, [float((z * region).sum() / region.sum()) for region in regions])
    return z


def region_based_voxelwise(y: Tensor, psf: GaussianPSF, regions: Sequence[Tensor]) -> Tensor:
    """``z = y s / H s`` with s from the geometric transfer matrix: RBV (Thomas et al. 2011; Rousset et al. 1998).

    The true means T solve ``sum_j omega_ij T_j = t_i``, t being the means of y, and omega_ij that of H p_j in region i.
    """
    spread = [psf(region) for region in regions]
    matrix = torch.stack([torch.stack([(s * r).sum() / r.sum() for s in spread]) for r in regions]).double()
    observed = torch.stack([(y * r).sum() / r.sum() for r in regions]).double()
    means = torch.linalg.solve(matrix, observed)
    return _corrected(y, psf, regions, means.clamp_min(0).tolist())


def _corrected(y: Tensor, psf: GaussianPSF, regions: Sequence[Tensor], means: Sequence[float]) -> Tensor:
    painted = sum((mean * region for mean, region in zip(means, regions, strict=True)), torch.zeros_like(y))
    return y * (painted + FLOOR) / (psf(painted) + FLOOR)
