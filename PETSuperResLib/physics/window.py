"""A measurement as seen from a small box of the image: what many templates there are expected to give."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ..widths import FWHM_PER_SIGMA
from .amplitudes import Data
from .gaussian import gaussian_matrix

Block = tuple[slice, slice, slice]
WIDEST = 1.1  # times the FWHM of the model that a window leaves room for
PSF_ENDS = 4.0  # sigma
LEAST_COUNTS = 1e-3


class Window:
    """The data that a ``block`` (K, J, I) of the image's grid contributes to, in the block's slices.

    ``residual`` is counts less expectation of the image as it is, ``precision`` the inverse of the variance,
    both ``(slices x lines,)``; ``lines``: numbers of those that see the block, all others are left out.
    """

    def __init__(self, data: Data, block: Block):
        self.data, self.block = data, block
        grid = data.grid
        reach = math.ceil(PSF_ENDS * WIDEST * data.fwhm_mm[0] / FWHM_PER_SIGMA / grid.spacing[0])
        self._seen = tuple(
            slice(max(0, s.start - reach), min(n, s.stop + reach))
            for s, n in zip(block[1:], grid.shape[1:], strict=True)
        )
        matrix = data.projector.matrix(*self._seen)
        self.lines = np.flatnonzero(np.diff(matrix.indptr))
        self._matrix = matrix[self.lines].astype(np.float32)

        def of_lines(values: Tensor) -> np.ndarray:
            return np.asarray(values.flatten(1).numpy()[:, self.lines])

        expected, counts = of_lines(data.expected[block[0]]), of_lines(data.counts[block[0]])
        factors = data.measurement.part(block[0].start, block[0].stop).factors
        self._factors = of_lines(factors) if isinstance(factors, Tensor) else np.full((1, 1), factors, np.float32)
        self.residual = (counts - expected).ravel()
        self.precision = 1 / np.maximum(expected, LEAST_COUNTS).ravel()

    def project(self, values: np.ndarray, wider: float = 1.0) -> np.ndarray:
        """What images ``(n, K, J, I)`` in SUV in the block are expected to give, ``(n, slices x lines)``.

        ``wider``: the FWHM over that of the model, at most :data:`WIDEST`.
        """
        across, along = (wider * fwhm for fwhm in self.data.fwhm_mm)
        shape, spacing = self.data.grid.shape, self.data.grid.spacing[::-1]
        targets = (self.block[0], *self._seen)
        blurs = [
            gaussian_matrix(size, mm, fwhm)[to, own].astype(np.float32)
            for size, mm, fwhm, to, own in zip(
                shape, spacing, (along, across, across), targets, self.block, strict=True
            )
        ]
        blurred = np.einsum("lk,nkji->lnji", blurs[0], values.astype(np.float32), optimize=True)
        blurred = blurs[1] @ blurred @ blurs[2].T
        slices, count = blurred.shape[:2]
        lines = self._matrix @ blurred.reshape(slices * count, -1).T  # (lines, slices x n)
        lines = lines.T.reshape(slices, count, -1).swapaxes(0, 1) * self._factors
        return np.ascontiguousarray(lines).reshape(count, -1)
