"""The point spread function H: a separable Gaussian, exactly self-adjoint."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .gaussian import gaussian_matrix
from .layout import is_slices_last

BLOCK = 32  # rows of a blur's matrix multiplied together: few enough to skip most of its zeros


class Blur:
    """A :func:`.gaussian_matrix` along one dimension, in blocks of :data:`BLOCK` rows and their nonzero columns.

    On a GPU, and for a wide blur, one block.
    """

    def __init__(self, matrix: np.ndarray, device: torch.device):
        size, weights = len(matrix), torch.from_numpy(matrix.astype(np.float32))
        reach = int(np.abs(np.subtract(*np.nonzero(matrix))).max())
        whole = device.type != "cpu" or BLOCK + 2 * reach > size / 2
        self.blocks: list[tuple[slice, slice, Tensor]] = []  # rows, their nonzero columns, weights
        for first in range(0, size, size if whole else BLOCK):
            last = size if whole else min(first + BLOCK, size)
            columns = slice(max(0, first - reach), min(size, last + reach))
            self.blocks.append((slice(first, last), columns, weights[first:last, columns].contiguous().to(device)))

    def __call__(self, x: Tensor, dim: int) -> Tensor:
        """``x`` ``(A, B, C)``, contiguous, blurred along ``dim``."""
        out = torch.empty_like(x)
        for rows, columns, weights in self.blocks:
            if dim == 0:
                torch.mm(weights, x[columns].flatten(1), out=out[rows].flatten(1))
            elif dim == 1:
                out[:, rows] = torch.matmul(weights, x[:, columns])
            else:
                torch.mm(x.flatten(0, 1)[:, columns], weights.T, out=out.flatten(0, 1)[:, rows])
        return out


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
        def blur(size: int, pixel: float, fwhm: float) -> Blur | None:
            return Blur(gaussian_matrix(size, pixel, fwhm), torch.device(device)) if fwhm > 0 and size > 1 else None

        self.shape = shape
        self.blurs = (
            blur(shape[0], spacing[2], fwhm_mm[1]),
            blur(shape[1], spacing[1], fwhm_mm[0]),
            blur(shape[2], spacing[0], fwhm_mm[0]),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, J, I)``, with the memory layout of the input (contiguous, or slices innermost)."""
        order = (1, 2, 0) if is_slices_last(image) else (0, 1, 2)
        x = image.permute(order).contiguous()
        for dim, axis in enumerate(order):
            blur = self.blurs[axis]
            if blur is not None:
                x = blur(x, dim)
        return x.permute(tuple(order.index(axis) for axis in range(3)))

    adjoint = forward  # the three matrices are symmetric and commute
    __call__ = forward
