"""Parallel-beam projector: exact strip integrals, all slices at once, with its matched adjoint.

A bin's value is the mean line integral over its width (and over the views summed into it). For a
square pixel the shadow at angle theta is a trapezoid, the convolution of two boxes of width
``w |cos theta|`` and ``w |sin theta|``; its part inside a bin is exact, so counts are conserved and
wide (radially rebinned) bins need no approximation.

Only the views in (0, 45] degrees and half of the bins are stored, as a sparse matrix. The others
follow from the symmetries of the square (mirror, transpose, half turn), which become further columns
of the same matrix product: one stored weight serves eight images of every slice. A slice that is not
square has no transpose, nor an odd number of views one among them; the matrix then holds views up to
90 degrees and serves four.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

# Sizes that keep a processor's cache: slices per product (columns are 8 x these), and rows of pixels whose lines
# are summed before the next rows' are.
FORWARD_SLICES, ADJOINT_SLICES, BAND_ROWS = 8, 4, 16
GPU_SLICES = 32


def _ramp2(u: np.ndarray) -> np.ndarray:
    return 0.5 * np.square(np.maximum(u, 0.0))


def _shadow(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Share of a pixel's shadow (boxes of width a and b, convolved) that lies below u; 0 to 1."""
    big, small = (a + b) / 2, (a - b) / 2
    return (_ramp2(u + big) - _ramp2(u + small) - _ramp2(u - small) + _ramp2(u - big)) / (a * b)


def _base_matrix(
    shape: tuple[int, int], pixel: float, views: int, base: int, bins: int, half: int, bin_mm: float, sub: int
) -> scipy.sparse.csr_array:
    """Strip integrals of views 0..base-1 and bins 0..half-1: (base * half, J * I), in mm."""
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


def plain_matrix(
    shape: tuple[int, int], pixel_mm: float, views: int, bins: int, bin_mm: float
) -> scipy.sparse.csr_array:
    """G without symmetries, ``(views * bins, J * I)``: for comparisons."""
    return _base_matrix(shape, pixel_mm, views, views, bins, bins, bin_mm, 1)


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
        cpu = self.device.type == "cpu"
        self.blocks = (FORWARD_SLICES, ADJOINT_SLICES) if cpu else (GPU_SLICES, GPU_SLICES)
        self.pairings, self.base = _symmetries(self.views, self.shape[0] == self.shape[1])
        self.half = (self.bins + 1) // 2
        matrix = _base_matrix(self.shape, pixel_mm, self.views, self.base, self.bins, self.half, bin_mm, sub_views)
        step = BAND_ROWS * self.shape[1] if cpu else matrix.shape[1]
        firsts = range(0, matrix.shape[1], step)
        self.bands = [(n, _to_torch(scipy.sparse.csr_array(matrix[:, n : n + step]), self.device)) for n in firsts]
        self.transposed = _to_torch(scipy.sparse.csr_array(matrix.T.tocsr()), self.device)
        self._tabulate()

    def _tabulate(self) -> None:
        """Which pixel or bin stands in which row and column of the matrix products, as flat indices."""
        count = len(self.pairings)
        pixel = np.arange(self.shape[0] * self.shape[1], dtype=np.int32).reshape(self.shape)
        images = np.empty((*self.shape, 2 * count), np.int32)  # (row of the product, variant) -> pixel
        rows = np.arange(self.base * self.half * 2 * count, dtype=np.int32).reshape(self.base, self.half, -1)
        lines = np.empty((self.views, self.bins), np.int32)  # (view, bin) -> entry of the product
        for p in self.pairings:
            variant = pixel[:, ::-1] if p.variant % 2 else pixel
            variant = variant.T if p.variant > 1 else variant
            images[:, :, p.variant], images[:, :, p.variant + count] = variant, variant[::-1, ::-1]
            lines[p.views, : self.half] = rows[p.base, :, p.variant]
            lines[p.views, self.half :] = rows[p.base, : self.bins // 2, p.variant + count][:, ::-1]
        entries = np.full(rows.size, lines.size, np.int32)  # inverse of lines; entries no bin needs point past its end
        entries[lines.ravel()] = np.arange(lines.size)
        sources = images.reshape(-1, 2 * count)
        places = np.empty_like(sources)  # its inverse, for every variant
        for n in range(2 * count):
            places[sources[:, n], n] = np.arange(len(sources), dtype=np.int32) * 2 * count + n
        self.columns = 2 * count
        self.image_index, self.line_index, self.entry_index, self.place_index = (
            torch.from_numpy(table).to(self.device) for table in (sources.ravel(), lines.ravel(), entries, places)
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` activity -> ``(S, views, bins)`` mean line integrals (activity x mm)."""
        out = image.new_empty(image.shape[0], self.views, self.bins)
        for block in torch.arange(image.shape[0]).split(self.blocks[0]):
            part = slice(int(block[0]), int(block[-1]) + 1)
            out[part] = self._forward(image[part])
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """``(S, views, bins)`` -> ``(S, J, I)``: the transpose of :meth:`forward`, weight for weight."""
        out = sinogram.new_empty(sinogram.shape[0], *self.shape)
        for block in torch.arange(sinogram.shape[0]).split(self.blocks[1]):
            part = slice(int(block[0]), int(block[-1]) + 1)
            out[part] = self._adjoint(sinogram[part])
        return out

    __call__ = forward

    def _forward(self, image: Tensor) -> Tensor:
        slices = image.shape[0]
        pixels = image.reshape(slices, -1).T.contiguous()
        images = pixels.index_select(0, self.image_index).view(-1, self.columns * slices)
        values = images.new_zeros(self.base * self.half, self.columns * slices)
        for first, band in self.bands:
            torch.addmm(values, band, images[first : first + band.shape[1]], out=values)
        values = values.view(-1, slices)
        return values.index_select(0, self.line_index).T.view(slices, self.views, self.bins)

    def _adjoint(self, sinogram: Tensor) -> Tensor:
        slices = sinogram.shape[0]
        lines = sinogram.new_zeros(self.views * self.bins + 1, slices)
        lines[:-1] = sinogram.reshape(slices, -1).T
        values = lines.index_select(0, self.entry_index).view(-1, self.columns * slices)
        images = (self.transposed @ values).view(-1, slices)
        return F.embedding_bag(self.place_index, images, mode="sum").T.view(slices, *self.shape)
