"""The voxels of a reconstructed image: means over their boxes of an image on the SR grid, with the matched adjoint."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ..errors import GeometryError
from ..volume import Volume
from .layout import is_slices_last


class VoxelMeans:
    """V: ``(S, J, I)`` on the SR grid -> ``(S, rows, columns)`` on an image's voxels, each the mean over its box.

    In place of a projector where the measurement is an image. Both grids have the same slices and the same centre; no
    voxel may lie outside the SR grid. ``views`` and ``bins`` are the image's rows and columns.
    """

    def __init__(self, image: Volume, grid: Volume, device: torch.device | str = "cpu"):
        offset = np.abs(image.corners().mean(0) - grid.corners().mean(0)).max()
        if image.shape[0] != grid.shape[0] or offset > 0.01:
            raise GeometryError("The image grid must have the image's slices and be centred on it.")
        self.shape, self.device = grid.shape[1:], torch.device(device)
        self.views, self.bins = image.shape[1:]
        self._rows, self._columns = (
            torch.from_numpy(_box_means(count, mm, fine, fine_mm)).to(self.device)
            for count, mm, fine, fine_mm in zip(
                image.shape[1:], image.spacing[1::-1], grid.shape[1:], grid.spacing[1::-1], strict=True
            )
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, rows, columns)`` with the memory layout of the input."""
        return _separable(image, self._rows, self._columns)

    def adjoint(self, values: Tensor) -> Tensor:
        """``(S, rows, columns)`` -> ``(S, J, I)``: the transpose of :meth:`forward`."""
        return _separable(values, self._rows.T, self._columns.T)

    def matrix(self, rows: slice, columns: slice) -> scipy.sparse.csr_array:
        """V of a window of a slice's pixels, ``(image rows * image columns, rows * columns)``."""
        parts = (a[:, window].cpu().numpy() for a, window in ((self._rows, rows), (self._columns, columns)))
        return scipy.sparse.csr_array(scipy.sparse.kron(*map(scipy.sparse.csr_array, parts), format="csr"))

    __call__ = forward


def _separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows x columns^T`` for every slice of ``(S, *, *)``."""
    if not is_slices_last(x):
        return rows @ (x @ columns.T)
    x = x.permute(1, 2, 0)  # (J, I, S), contiguous
    x = (rows @ x.flatten(1)).unflatten(1, x.shape[1:])
    return torch.matmul(columns, x).permute(2, 0, 1)


def _box_means(count: int, mm: float, fine: int, fine_mm: float) -> np.ndarray:
    """``(count, fine)``: the share of each fine pixel in the mean over each voxel of a line with the same centre."""
    edges, fine_edges = (np.arange(n + 1) * size - n * size / 2 for n, size in ((count, mm), (fine, fine_mm)))
    low = np.maximum(edges[:-1, None], fine_edges[None, :-1])
    shares = (np.minimum(edges[1:, None], fine_edges[None, 1:]) - low).clip(0)
    covered = shares.sum(1, keepdims=True)
    if not (covered > 0).all():
        raise GeometryError("The SR grid must cover the image's voxels.")
    return np.asarray(shares / covered, np.float32)
