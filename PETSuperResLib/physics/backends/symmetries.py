"""The projector's matrix by a part of its rows, and what multiplies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


@dataclass(frozen=True)
class Symmetries:
    """Images of a slice that see its other lines through the stored part of the matrix.

    ``pixels`` ``(variants, P)``: the pixel at each place of a variant. ``lines`` ``(L,)``: the entry of
    ``(variants, rows)``, flat, that is each line of the sinogram.
    """

    pixels: np.ndarray
    lines: np.ndarray

    def places(self) -> np.ndarray:
        """The inverse of ``pixels``: the place of each pixel in every variant, ``(variants, P)``."""
        places = np.empty_like(self.pixels)
        for place, pixel in zip(places, self.pixels, strict=True):
            place[pixel] = np.arange(len(pixel), dtype=np.int32)
        return places

    def entries(self, rows: int) -> np.ndarray:
        """The inverse of ``lines``, ``(variants, rows)``; for an entry that is no line, one past the last line."""
        entries = np.full(len(self.pixels) * rows, len(self.lines), np.int32)
        entries[self.lines] = np.arange(len(self.lines))
        return entries.reshape(-1, rows)


class Backend(Protocol):
    """A way to multiply: ``matrix`` ``(rows, P)`` for slices of ``shape``, its other rows by ``symmetries``."""

    def __init__(
        self, matrix: scipy.sparse.csr_array, shape: tuple[int, int], symmetries: Symmetries, device: torch.device
    ): ...

    @property
    def megabytes(self) -> float:
        """Memory kept."""
        ...

    def blocks(self, slices: int) -> list[int]:
        """How many slices to take together, block by block."""
        ...

    def forward(self, pixels: Tensor) -> Tensor:
        """``(P, slices)`` -> ``(L, slices)``, contiguous."""
        ...

    def adjoint(self, lines: Tensor) -> Tensor:
        """``(L, slices)`` -> ``(P, slices)``, contiguous: the transpose of :meth:`forward`."""
        ...


def even_blocks(slices: int, size: int) -> list[int]:
    """``slices`` in blocks of ``size``, the last one with what is left."""
    return [min(size, slices - first) for first in range(0, slices, size)]
