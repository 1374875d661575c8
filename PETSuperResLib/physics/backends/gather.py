"""The projector's matrix on a CPU: weighted sums of rows, vectorised along the slices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from .symmetries import Backend, Symmetries

RUN = 6400  # pixels that are projected back together: their sums stay in a core's cache
TILE = 32  # pixels per side whose rows stay in a core's cache while all lines take what they need of them
COLUMNS = 16  # float32 numbers in a vector register: slices are counted in these
MOST, MOST_OF_LARGE = 5, 3  # registers of slices that are projected together, and of large slices
TABLE_BYTES = 20e6  # of so many slices, from which on they are large


@dataclass(frozen=True)
class SegmentSum:
    """Weighted sums of a table's rows: row ``index[n]`` has weight ``weights[n]`` (None: 1) in its sum."""

    index: Tensor
    starts: Tensor  # of each sum in ``index``, and the end
    weights: Tensor | None = None

    @classmethod
    def of(cls, matrix: scipy.sparse.csr_array) -> SegmentSum:
        """One sum for each row of a matrix."""
        index, starts = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
        return cls(*map(torch.from_numpy, (index, starts, matrix.data.astype(np.float32))))

    def part(self, sums: slice) -> SegmentSum:
        """Some of the sums."""
        starts = self.starts[sums.start : sums.stop + 1]
        index = slice(int(starts[0]), int(starts[-1]))
        return SegmentSum(self.index[index], starts - starts[0], None if self.weights is None else self.weights[index])

    def __call__(self, table: Tensor) -> Tensor:
        """``(rows, slices)``, contiguous -> ``(sums, slices)``."""
        return F.embedding_bag(
            self.index, table, self.starts, mode="sum", per_sample_weights=self.weights, include_last_offset=True
        )


@dataclass(frozen=True)
class PixelWindow:
    """A part of the slice, and in which order a product's rows fill it."""

    order: Tensor
    rows: slice
    columns: slice

    @classmethod
    def of(cls, pixels: np.ndarray, shape: tuple[int, int], variant: int, count: int) -> PixelWindow:
        """The window of these pixels, which are variant ``variant`` of ``count`` in each row of a product."""
        row, column = np.divmod(pixels, shape[1])
        order = (np.argsort(pixels) * count + variant).astype(np.int32)
        first, last = (row.min(), column.min()), (row.max() + 1, column.max() + 1)
        return cls(torch.from_numpy(order), *(slice(int(a), int(b)) for a, b in zip(first, last, strict=True)))


@dataclass(frozen=True)
class VariantTables:
    """Which rows go where if ``count`` variants are columns of one product, ``(element, variant)`` in a flat row."""

    count: int
    pixels: list[Tensor]  # for each product, the pixel at every place, ``(P * count,)``
    lines: Tensor  # the row of all products that is each line
    entries: list[Tensor]  # for each product, the line that is each row (one past the last: none)
    windows: list[list[list[PixelWindow]]]  # for each product, run of places and variant: its position in the slice

    @classmethod
    def of(
        cls, symmetries: Symmetries, rows: int, count: int, shape: tuple[int, int], runs: list[slice]
    ) -> VariantTables:
        """``count`` divides the number of variants; ``runs`` of places are whole rows of a slice of ``shape``."""
        firsts = range(0, len(symmetries.pixels), count)
        variant, row = np.divmod(symmetries.lines, rows)
        lines = (variant // count * rows + row) * count + variant % count
        entries = symmetries.entries(rows)

        def tensor(x: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x, np.int32))

        return cls(
            count,
            [tensor(symmetries.pixels[n : n + count].T.ravel()) for n in firsts],
            tensor(lines),
            [tensor(entries[n : n + count].T.ravel()) for n in firsts],
            [
                [[PixelWindow.of(symmetries.pixels[n + v][run], shape, v, count) for v in range(count)] for run in runs]
                for n in firsts
            ],
        )


class GatherBackend(Backend):
    """The matrix as weighted sums of rows of ``slices`` numbers: torch's embedding bags, vectorised along the slices.

    Forward, the sums are taken tile by tile of the image, each tile while it is in the cache, and then over the tiles.
    The symmetric images are copies with their rows in another order; if there are few slices, several of them side by
    side make rows as long.
    """

    def __init__(
        self, matrix: scipy.sparse.csr_array, shape: tuple[int, int], symmetries: Symmetries, device: torch.device
    ):
        self.rows, self.symmetries, self.shape = matrix.shape[0], symmetries, shape
        transposed = scipy.sparse.csr_array(matrix.T.tocsr())
        step = max(1, RUN // shape[1]) * shape[1]
        self.runs = [slice(n, min(n + step, matrix.shape[1])) for n in range(0, matrix.shape[1], step)]
        self.back = list(map(SegmentSum.of(transposed).part, self.runs))
        self.tiles, self.sums = _tiled(transposed, shape)
        self.limit = MOST if 4 * MOST * COLUMNS * matrix.shape[1] <= TABLE_BYTES else MOST_OF_LARGE
        self._kept: dict[str, Tensor] = {}
        self._tables: dict[int, VariantTables] = {}

    @property
    def megabytes(self) -> float:
        """Memory kept, including the tables of one variant at a time."""
        sums = (t for b in (*self.back, self.tiles, self.sums) for t in (b.index, b.starts, b.weights) if t is not None)
        tables = self.symmetries.pixels.nbytes * 2 + self.symmetries.lines.nbytes * 2
        return (sum(t.numel() * t.element_size() for t in sums) + tables) / 1e6

    def blocks(self, slices: int) -> list[int]:
        """Evenly, in whole registers."""
        groups = -(-slices // COLUMNS)
        each = -(-groups // -(-groups // self.limit)) * COLUMNS if groups else 1
        return [min(each, slices - first) for first in range(0, slices, each)]

    def together(self, slices: int) -> VariantTables:
        """The tables for as many variants at a time as fill the rows of a product with so few slices."""
        count = len(self.symmetries.pixels)  # 4 or 8, or 2
        while count > 1 and count * slices > self.limit * COLUMNS:
            count //= 2
        if count not in self._tables:
            self._tables[count] = VariantTables.of(self.symmetries, self.rows, count, self.shape, self.runs)
        return self._tables[count]

    def forward(self, pixels: Tensor) -> Tensor:
        slices = pixels.shape[1]
        tables = self.together(slices)
        wide = tables.count * slices
        with (
            self._buffer("pixels", len(pixels), 0 if pixels.is_contiguous() else slices, pixels) as copied,
            self._buffer("images", len(pixels), wide, pixels) as moved,
            self._buffer("all rows", len(tables.pixels) * self.rows, wide, pixels) as rows,
        ):
            if not pixels.is_contiguous():
                pixels = copied.copy_(pixels)
            for n, order in enumerate(tables.pixels):
                table = pixels
                if n or tables.count > 1:
                    torch.index_select(pixels, 0, order, out=moved.view(-1, slices))
                    table = moved
                rows[n * self.rows : (n + 1) * self.rows] = self.sums(self.tiles(table))
            return rows.view(-1, slices).index_select(0, tables.lines)

    def adjoint(self, lines: Tensor) -> Tensor:
        slices = lines.shape[1]
        tables = self.together(slices)
        total = lines.new_zeros(*self.shape, slices)
        with (
            self._buffer("lines", len(lines) + 1, slices, lines) as padded,
            self._buffer("rows", self.rows, tables.count * slices, lines) as rows,
        ):
            padded[:-1], padded[-1] = lines, 0
            for entries, runs in zip(tables.entries, tables.windows, strict=True):
                torch.index_select(padded, 0, entries, out=rows.view(-1, slices))
                for back, windows in zip(self.back, runs, strict=True):  # each run of pixels stays in the cache
                    images = back(rows).view(-1, slices)
                    for window in windows:
                        place = total[window.rows, window.columns]
                        place += images.index_select(0, window.order).view_as(place)
        return total.view(-1, slices)

    @contextmanager
    def _buffer(self, name: str, rows: int, columns: int, like: Tensor) -> Iterator[Tensor]:
        """Memory that is kept for the next call, as new memory costs as much time as filling it."""
        kept = self._kept.pop(name, None)
        shape = rows, columns
        if kept is None or kept.shape != shape or kept.dtype != like.dtype:
            with torch.inference_mode(False):  # an ordinary tensor, which may be written to anywhere
                kept = torch.empty(shape, dtype=like.dtype)
        yield kept
        self._kept[name] = kept


def _tiled(transposed: scipy.sparse.csr_array, shape: tuple[int, int]) -> tuple[SegmentSum, SegmentSum]:
    """The product with a matrix, given its transpose ``(P, rows)``, as sums within tiles and sums of those."""
    pixel = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape)
    index, lengths, weights, rows = [], [], [], []
    for j in range(0, shape[0], TILE):
        for i in range(0, shape[1], TILE):
            tile = pixel[j : j + TILE, i : i + TILE].ravel()
            part = scipy.sparse.csr_array(transposed[tile].T.tocsr())
            seen = np.flatnonzero(np.diff(part.indptr))
            index.append(tile[part.indices])
            lengths.append(np.diff(part.indptr)[seen])
            weights.append(part.data.astype(np.float32))
            rows.append(seen)
    starts = np.concatenate([[0], np.concatenate(lengths).cumsum()]).astype(np.int32)
    parts = SegmentSum(*map(torch.from_numpy, (np.concatenate(index), starts, np.concatenate(weights))))
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable").astype(np.int32)
    starts = np.concatenate([[0], np.bincount(row, minlength=transposed.shape[1]).cumsum()]).astype(np.int32)
    return parts, SegmentSum(torch.from_numpy(order), torch.from_numpy(starts))
