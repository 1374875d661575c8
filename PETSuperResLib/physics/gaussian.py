"""The Gaussian blur of a line of pixels, without torch: what widths are measured by before it is there."""

from __future__ import annotations

import math

import numpy as np

from ..widths import FWHM_PER_SIGMA


def gaussian_matrix(size: int, pixel_mm: float, fwhm_mm: float) -> np.ndarray:
    """Symmetric ``(size, size)`` matrix that blurs a line of pixels by a Gaussian of ``fwhm_mm``.

    Each weight is the Gaussian's mass over the receiving pixel, cut at 4 sigma. Mass beyond an end
    is reflected at it, so rows and columns sum to one: activity is conserved, also in stacks of few slices and in
    regions.
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
