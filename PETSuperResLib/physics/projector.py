"""Parallel-beam projector: exact strip integrals, all slices at once, with its matched adjoint.

A bin's value is the mean line integral over its width (and over the views summed into it). For a
square pixel the shadow at angle theta is a trapezoid, the convolution of two boxes of width
``w |cos theta|`` and ``w |sin theta|``; its part inside a bin is exact, so counts are conserved and
wide (radially rebinned) bins need no approximation.

Only the views in (0, 45] degrees and half of the bins are stored, as a sparse matrix. The others
follow from the symmetries of the square (mirror, transpose, half turn), which become further columns
of the same matrix product: one stored weight serves eight images of every slice. A slice that is not
square has no transpose; its matrix holds views up to 90 degrees and serves four.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

SLICES_AT_ONCE = 16  # columns per product = 8 x this: large enough for SIMD, small enough for the cache


def _ramp2(u: np.ndarray) -> np.ndarray:
    return 0.5 * np.square(np.maximum(u, 0.0))


def _shadow(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Share of a pixel's shadow (boxes of width a and b, convolved) that lies below u; 0 to 1."""
    big, small = (a + b) / 2, (a - b) / 2
    return (_ramp2(u + big) - _ramp2(u + small) - _ramp2(u - small) + _ramp2(u - big)) / (a * b)


def _base_matrix(
    shape: tuple[int, int], pixel: float, views: int, base: int, bins: int, bin_mm: float, sub: int
) -> scipy.sparse.csr_array:
    """Strip integrals of views 0..base-1 and bins 0..ceil(bins/2)-1: (base * half, J * I), in mm."""
    half = (bins + 1) // 2
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel for n in shape)
    x, y = np.meshgrid(x, y)
    pixels = np.arange(x.size, dtype=np.int32)
    blocks = []
    for view in range(base):
        rows, columns, weights = [], [], []
        for m in range(sub):
            theta = (view * sub + m + 0.5) * math.pi / (views * sub)
            b, a = sorted((pixel * abs(math.cos(theta)), pixel * math.sin(theta)))
            b = max(b, 1e-6 * pixel)
            centre = (x * math.cos(theta) + y * math.sin(theta)).ravel()
            first = np.floor((centre - (a + b) / 2) / bin_mm + bins / 2).astype(np.int32)
            below = _shadow((first - bins / 2) * bin_mm - centre, a, b)
            for step in range(int(math.ceil((a + b) / bin_mm)) + 1):
                h = first + step
                upto = _shadow((h + 1 - bins / 2) * bin_mm - centre, a, b)
                weight, below = (upto - below) * pixel * pixel / (bin_mm * sub), upto
                keep = (h >= 0) & (h < half) & (weight > 1e-7 * pixel)
                rows.append(h[keep])
                columns.append(pixels[keep])
                weights.append(weight[keep])
        entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        blocks.append(scipy.sparse.csr_array(entries, shape=(half, x.size)))
    matrix = scipy.sparse.csr_array(scipy.sparse.vstack(blocks, format="csr"))
    matrix.sum_duplicates()
    return matrix


def _to_torch(matrix: scipy.sparse.csr_array, device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR layout "beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
        )


def covering_bins(shape: tuple[int, int], pixel_mm: float, bin_mm: float) -> int:
    """Number of bins that cover a slice's diagonal."""
    return int(math.ceil(math.hypot(*shape) * pixel_mm / bin_mm)) + 1


@dataclass(frozen=True)
class _Symmetry:
    """Image variant ``variant`` seen from stored view ``base[n]`` is the slice seen from ``views[n]``."""

    variant: int
    base: list[int]
    views: list[int]


def _symmetries(views: int, square: bool) -> tuple[list[_Symmetry], int]:
    """The pairings that cover every view once, and the number of views to store."""
    quarter = square and views % 2 == 0
    base = (views // 2 + 1) // 2 if quarter else (views + 1) // 2
    maps = [lambda b: b, lambda b: views - 1 - b]  # theta; 180 - theta, mirrored
    if quarter:
        maps += [lambda b: views // 2 - 1 - b, lambda b: views // 2 + b]  # 90 - theta, transposed; 90 + theta
    seen: set[int] = set()
    pairings = []
    for variant, view_of in enumerate(maps):
        fresh = [b for b in range(base) if view_of(b) not in seen]
        seen.update(view_of(b) for b in fresh)
        pairings.append(_Symmetry(variant, fresh, [view_of(b) for b in fresh]))
    return pairings, base


class ParallelProjector:
    """Forward projector G and its adjoint for slices of square pixels.

    Parameters
    ----------
    shape : (J, I) of a slice; the axis of rotation is the centre of this grid.
    pixel_mm : pixel size in mm.
    views : number of views over 180 degrees, after angular rebinning; view v looks along
        (v + 1/2) * 180 / views degrees.
    bins : number of radial bins, centred on the image; 0 takes as many as cover it.
    bin_mm : bin width in mm, after radial rebinning.
    sub_views : views of the finer acquisition averaged into each view (angular rebinning).
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel_mm: float,
        views: int,
        bins: int = 0,
        bin_mm: float = 2.0,
        sub_views: int = 1,
        device: torch.device | str = "cpu",
    ):
        self.shape = (int(shape[0]), int(shape[1]))
        self.views = int(views)
        self.bins = int(bins) or covering_bins(self.shape, pixel_mm, bin_mm)
        self.device = torch.device(device)
        self.pairings, self.base = _symmetries(self.views, self.shape[0] == self.shape[1])
        self.half = (self.bins + 1) // 2
        matrix = _base_matrix(self.shape, pixel_mm, self.views, self.base, self.bins, bin_mm, sub_views)
        self.matrix = _to_torch(matrix, self.device)
        self.transposed = _to_torch(scipy.sparse.csr_array(matrix.T.tocsr()), self.device)

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` activity -> ``(S, views, bins)`` mean line integrals (activity x mm)."""
        out = image.new_empty(image.shape[0], self.views, self.bins)
        for block in torch.arange(image.shape[0]).split(SLICES_AT_ONCE):
            part = slice(int(block[0]), int(block[-1]) + 1)
            out[part] = self._forward(image[part])
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """``(S, views, bins)`` -> ``(S, J, I)``: the transpose of :meth:`forward`, weight for weight."""
        out = sinogram.new_empty(sinogram.shape[0], *self.shape)
        for block in torch.arange(sinogram.shape[0]).split(SLICES_AT_ONCE):
            part = slice(int(block[0]), int(block[-1]) + 1)
            out[part] = self._adjoint(sinogram[part])
        return out

    __call__ = forward

    def _forward(self, image: Tensor) -> Tensor:
        slices, count = image.shape[0], len(self.pairings)
        plain = image.permute(1, 2, 0)
        mirrored = plain.flip(1)
        images = image.new_empty(*self.shape, 2 * count, slices)
        for p in self.pairings:
            variant = mirrored if p.variant % 2 else plain
            variant = variant.transpose(0, 1) if p.variant > 1 else variant
            images[:, :, p.variant] = variant
            images[:, :, p.variant + count] = variant.flip(0, 1)
        values = self.matrix @ images.view(-1, 2 * count * slices)
        values = values.view(self.base, self.half, 2 * count, slices)
        out = image.new_empty(self.views, self.bins, slices)
        for p in self.pairings:
            out[p.views, : self.half] = values[p.base, :, p.variant]
            out[p.views, self.half :] = values[p.base, : self.bins // 2, p.variant + count].flip(1)
        return out.permute(2, 0, 1)

    def _adjoint(self, sinogram: Tensor) -> Tensor:
        slices, count = sinogram.shape[0], len(self.pairings)
        columns = sinogram.permute(1, 2, 0)
        values = sinogram.new_zeros(self.base, self.half, 2 * count, slices)
        for p in self.pairings:
            values[p.base, :, p.variant] = columns[p.views, : self.half]
            values[p.base, : self.bins // 2, p.variant + count] = columns[p.views, self.half :].flip(1)
        images = self.transposed @ values.view(-1, 2 * count * slices)
        images = images.view(*self.shape, 2 * count, slices)
        variants = images[:, :, :count] + images[:, :, count:].flip(0, 1)
        plain, mirrored = variants[:, :, 0], variants[:, :, 1]
        if count == 4:
            plain = plain + variants[:, :, 2].transpose(0, 1)
            mirrored = mirrored + variants[:, :, 3].transpose(0, 1)
        return (plain + mirrored.flip(1)).permute(2, 0, 1)
