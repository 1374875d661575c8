"""The point spread function H: a separable Gaussian, exactly self-adjoint."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def gaussian_matrix(size: int, pixel_mm: float, fwhm_mm: float) -> np.ndarray:
    """Symmetric ``(size, size)`` matrix that blurs a line of pixels by a Gaussian of ``fwhm_mm``.

    Each weight is the Gaussian's mass over the receiving pixel, cut at 4 sigma. What would leave an end
    is reflected at it, as if the patient went on beyond the end as before it: rows and columns sum to
    one, so that activity is conserved in stacks of few slices and in regions too.
    """
    if fwhm_mm <= 0:
        return np.eye(size)
    sigma = fwhm_mm / FWHM_PER_SIGMA
    reach = max(1, math.ceil(4 * sigma / pixel_mm))
    edges = (np.arange(-reach, reach + 2) - 0.5) * pixel_mm / (sigma * math.sqrt(2.0))
    kernel = 0.5 * np.diff([math.erf(e) for e in edges])
    kernel /= kernel.sum()
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in zip(range(-reach, reach + 1), kernel, strict=True):
        place = (rows + offset) % (2 * size)
        np.add.at(matrix, (rows, np.minimum(place, 2 * size - 1 - place)), weight)
    return matrix


class GaussianPSF:
    """H z: Gaussian blur within slices (``fwhm_mm[0]``) and across them (``fwhm_mm[1]``; 0 for none).

    Parameters
    ----------
    shape : (S, J, I) of the volume.
    spacing : (i, j, k) voxel size in mm.
    fwhm_mm : (transaxial, axial).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        fwhm_mm: tuple[float, float],
        device: torch.device | str = "cpu",
    ):
        def matrix(size: int, pixel: float, fwhm: float) -> Tensor | None:
            if fwhm <= 0 or size < 2:
                return None
            return torch.from_numpy(gaussian_matrix(size, pixel, fwhm).astype(np.float32)).to(device)

        self.shape = shape
        self.rows = matrix(shape[1], spacing[1], fwhm_mm[0])
        self.columns = matrix(shape[2], spacing[0], fwhm_mm[0])
        self.slices = matrix(shape[0], spacing[2], fwhm_mm[1])

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, J, I)``."""
        if self.columns is not None:
            image = image @ self.columns
        if self.rows is not None:
            image = torch.matmul(self.rows, image)
        if self.slices is not None:
            image = (self.slices @ image.reshape(image.shape[0], -1)).view(image.shape)
        return image

    adjoint = forward  # the three matrices are symmetric and commute
    __call__ = forward
