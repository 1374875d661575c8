"""Parallel-beam projector: exact strip integrals, all slices at once, with its matched adjoint.

A bin's value is the mean line integral over its width (and over the views summed into it). For a
square pixel the shadow at angle theta is a trapezoid, the convolution of two boxes of width
``w |cos theta|`` and ``w |sin theta|``; its part inside a bin is exact, so counts are conserved and
wide (radially rebinned) bins need no approximation.

Only the views in (0, 45] degrees and half of the bins are stored, as a sparse matrix. The others
follow from the symmetries of the square (mirror, transpose, half turn): one stored weight serves eight
images of every slice. If a slice is not square, or the number of views is odd, there is no transpose;
the matrix then has the views up to 90 degrees, and a weight serves four. ``backends`` multiplies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .backends import Backend, Symmetries, backend_for
from .layout import as_rows, is_slices_last


def _ramp2(u: np.ndarray) -> np.ndarray:
    return 0.5 * np.square(np.maximum(u, 0.0))


def _shadow(u: np.ndarray, a: float, b: float) -> np.ndarray:
    """Share of a pixel's shadow (boxes of width a and b, convolved) below u; 0 to 1."""
    big, small = (a + b) / 2, (a - b) / 2
    return (_ramp2(u + big) - _ramp2(u + small) - _ramp2(u - small) + _ramp2(u - big)) / (a * b)


def _strip_integrals(
    x: np.ndarray, y: np.ndarray, pixel: float, views: int, base: int, bins: int, half: int, bin_mm: float, sub: int
) -> scipy.sparse.csr_array:
    """Of pixels at ``x`` and ``y`` (mm), for views 0..base-1 and bins 0..half-1: (base * half, pixels), in mm."""
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


def _centres(shape: tuple[int, int], pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels of a slice, ``(J, I)`` in mm."""
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_mm for n in shape)
    x, y = np.meshgrid(x, y)
    return x, y


def covering_bins(shape: tuple[int, int], pixel_mm: float, bin_mm: float) -> int:
    """Number of bins that cover a slice's diagonal."""
    return int(math.ceil(math.hypot(*shape) * pixel_mm / bin_mm)) + 1


@dataclass(frozen=True)
class _Symmetry:
    """Stored view ``base[n]`` of image variant ``variant`` is view ``views[n]`` of the slice."""

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
    return _strip_integrals(*_centres(shape, pixel_mm), pixel_mm, views, views, bins, bins, bin_mm, 1)


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
    backend : how to multiply; None chooses by the device.
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
        backend: type[Backend] | None = None,
    ):
        self.shape = (int(shape[0]), int(shape[1]))
        self.views = int(views)
        self.bins = int(bins) or covering_bins(self.shape, pixel_mm, bin_mm)
        self.device = torch.device(device)
        self.pairings, self.base = _symmetries(self.views, self.shape[0] == self.shape[1])
        self.half = (self.bins + 1) // 2
        self.widths = pixel_mm, bin_mm, sub_views
        matrix = self._matrix(*_centres(self.shape, pixel_mm), self.base, self.half)
        self.backend: Backend = (backend or backend_for(self.device))(matrix, self.shape, self._tables(), self.device)

    def matrix(self, rows: slice, columns: slice) -> scipy.sparse.csr_array:
        """G of a window of a slice's pixels, ``(views * bins, rows * columns)``."""
        x, y = (values[rows, columns] for values in _centres(self.shape, self.widths[0]))
        return self._matrix(x, y, self.views, self.bins)

    def _matrix(self, x: np.ndarray, y: np.ndarray, base: int, half: int) -> scipy.sparse.csr_array:
        pixel, bin_mm, sub = self.widths
        return _strip_integrals(x, y, pixel, self.views, base, self.bins, half, bin_mm, sub)

    def _tables(self) -> Symmetries:
        """The pixel or bin of each column or row of the matrix, in every variant."""
        count = len(self.pairings)
        pixel = np.arange(self.shape[0] * self.shape[1], dtype=np.int32).reshape(self.shape)
        pixels = np.empty((2 * count, pixel.size), np.int32)
        rows = np.arange(2 * count * self.base * self.half, dtype=np.int32).reshape(2 * count, self.base, self.half)
        lines = np.empty((self.views, self.bins), np.int32)
        for p in self.pairings:
            variant = pixel[:, ::-1] if p.variant % 2 else pixel
            variant = variant.T if p.variant > 1 else variant
            pixels[p.variant], pixels[p.variant + count] = variant.ravel(), variant[::-1, ::-1].ravel()
            lines[p.views, : self.half] = rows[p.variant, p.base]
            lines[p.views, self.half :] = rows[p.variant + count, p.base, : self.bins // 2][:, ::-1]
        return Symmetries(pixels, lines.ravel())

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` activity -> ``(S, views, bins)`` mean line integrals (activity x mm).

        The sinogram has the image's memory layout: contiguous, or that of :func:`~.layout.slices_last`, which is
        faster.
        """
        return self._by_blocks(self.backend.forward, image, (self.views, self.bins))

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """``(S, views, bins)`` -> ``(S, J, I)``: the transpose of :meth:`forward`, weight for weight."""
        return self._by_blocks(self.backend.adjoint, sinogram, self.shape)

    __call__ = forward

    def _by_blocks(self, work: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, int]) -> Tensor:
        """``work`` on ``(elements, slices)``, some slices at a time; ``(S, *)`` -> ``(S, *shape)``."""
        slices, turned, columns = len(x), is_slices_last(x), as_rows(x)
        blocks = self.backend.blocks(slices)
        if turned and len(blocks) == 1:
            return work(columns).unflatten(0, shape).permute(2, 0, 1)
        elements = shape[0] * shape[1]
        out = x.new_empty(elements, slices).T if turned else x.new_empty(slices, elements)
        first = 0
        for count in blocks:
            out[first : first + count] = work(columns[:, first : first + count]).T
            first += count
        return out.unflatten(1, shape)
