"""How the projector's matrix is multiplied on a GPU: one Triton kernel for both directions, without copies.

Every row of a result is a sum over *streams*, the rows of the stored matrix that hold its weights in a variant of
:class:`~.symmetries.Symmetries`: one stream for a line, one per variant for a pixel. A program takes a tile of
neighbours (bins of a view, or a patch of pixels), which need much the same rows of the operand, so that its cache
serves most of them. Sums are in a fixed order: results are the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
import triton
import triton.language as tl
from torch import Tensor

from .symmetries import Backend, Symmetries, even_blocks

SLICES = 128  # that are taken together
CACHE_LINE = 32  # float32 numbers: so many slices of a row are read at once


@dataclass(frozen=True)
class Tiles:
    """Work of one program of the kernel: ``outputs`` rows of the result, ``terms`` of their sums at a time.

    ``slices`` at most; with fewer there are more terms. All are powers of two.
    """

    outputs: int = 16
    terms: int = 8
    slices: int = CACHE_LINE
    warps: int = 8


@triton.jit(do_not_specialize=["rows", "columns", "count"])
def _sums(
    result,  # (count of outputs, slices), contiguous
    table,  # (count, slices), rows ``stride`` apart
    starts,  # of each row of the matrix in ``index`` and ``weights``, and the end
    index,
    weights,
    outputs,  # (tiles, OUTPUTS): the row of the result; below 0 for none
    streams,  # (tiles, OUTPUTS, STREAMS): variant * rows + row of the matrix
    sources,  # (variants, columns): the row of the table that is each column of the matrix; ``count`` for none
    rows,
    columns,
    count,
    slices,
    stride,
    OUTPUTS: tl.constexpr,
    STREAMS: tl.constexpr,
    STEP: tl.constexpr,  # terms of each stream at a time
    BLOCK: tl.constexpr,  # slices
):
    s = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    lane = tl.arange(0, STREAMS * STEP)
    stream = tl.load(streams + place[:, None] * STREAMS + (lane // STEP)[None, :])
    row = stream % rows
    source = sources + stream // rows * columns
    at = tl.load(starts + row) + (lane % STEP)[None, :]
    end = tl.load(starts + row + 1)
    steps = tl.cdiv(tl.max(tl.max(end - at, 1), 0), STEP)
    total = tl.zeros((OUTPUTS, STREAMS * STEP, BLOCK), tl.float32)
    for _ in range(steps):
        inside = at < end
        weight = tl.load(weights + at, mask=inside, other=0.0)
        column = tl.load(index + at, mask=inside, other=0)
        taken = tl.load(source + column, mask=inside, other=count)
        read = (taken < count)[:, :, None] & (s < slices)[None, None, :]
        values = tl.load(table + taken.to(tl.int64)[:, :, None] * stride + s[None, None, :], mask=read, other=0.0)
        total += weight[:, :, None] * values
        at += STEP
    output = tl.load(outputs + place)
    written = (output >= 0)[:, None] & (s < slices)[None, :]
    tl.store(result + output.to(tl.int64)[:, None] * slices + s[None, :], tl.sum(total, 1), mask=written)


class _Sums:
    """One direction of the product: a matrix, the streams of each row of the result and the sources of its columns."""

    def __init__(
        self,
        matrix: scipy.sparse.csr_array,
        streams: np.ndarray,
        sources: np.ndarray,
        count: int,
        order: np.ndarray,
        tiles: Tiles,
        device: torch.device,
    ):
        """``streams`` ``(outputs, streams)``; ``count`` sources; ``order`` of outputs by tiles, below 0 for none."""

        def tensor(x: np.ndarray, kind: type = np.int32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x, kind)).to(device)

        self.outputs, self.streams = streams.shape
        self.sizes = (matrix.shape[0], matrix.shape[1], count)
        self.tiles = tiles
        self.weights = tensor(matrix.data, np.float32)
        self.tables = [tensor(x) for x in (matrix.indptr, matrix.indices, order, streams[order], sources)]

    @property
    def megabytes(self) -> float:
        """Memory kept."""
        return sum(t.numel() * t.element_size() for t in (self.weights, *self.tables)) / 1e6

    def __call__(self, table: Tensor) -> Tensor:
        """``(count, slices)`` -> ``(outputs, slices)``, contiguous."""
        slices = table.shape[1]
        if slices > 1 and table.stride(1) != 1:
            table = table.contiguous()
        result = torch.empty(self.outputs, slices, dtype=torch.float32, device=table.device)
        if not slices:
            return result
        starts, index, order, streams, sources = self.tables
        block = min(self.tiles.slices, triton.next_power_of_2(slices))
        step = max(1, self.tiles.terms // self.streams) * min(16, self.tiles.slices // block)
        with torch.cuda.device_of(table):
            grid = (len(order) // self.tiles.outputs, triton.cdiv(slices, block))
            _sums[grid](
                *(result, table, starts, index, self.weights, order, streams, sources),
                *(*self.sizes, slices, table.stride(0)),
                OUTPUTS=self.tiles.outputs,
                STREAMS=self.streams,
                STEP=step,
                BLOCK=block,
                num_warps=self.tiles.warps,
            )
        return result


class TritonBackend(Backend):
    """The matrix and its transpose, each as sums of rows of the operand by the kernel of this module."""

    FORWARD = Tiles()
    ADJOINT = Tiles()

    def __init__(
        self, matrix: scipy.sparse.csr_array, shape: tuple[int, int], symmetries: Symmetries, device: torch.device
    ):
        rows, pixels = matrix.shape
        variants = len(symmetries.pixels)
        lines = len(symmetries.lines)
        places = symmetries.places() + np.arange(variants, dtype=np.int32)[:, None] * pixels
        self._forward = _Sums(
            matrix,
            symmetries.lines[:, None],
            symmetries.pixels,
            pixels,
            _padded(np.arange(lines), self.FORWARD.outputs),
            self.FORWARD,
            device,
        )
        self._adjoint = _Sums(
            scipy.sparse.csr_array(matrix.T.tocsr()),
            places.T,
            symmetries.entries(rows),
            lines,
            patches(shape, self.ADJOINT.outputs),
            self.ADJOINT,
            device,
        )

    @property
    def megabytes(self) -> float:
        return self._forward.megabytes + self._adjoint.megabytes

    def blocks(self, slices: int) -> list[int]:
        return even_blocks(slices, SLICES)

    def forward(self, pixels: Tensor) -> Tensor:
        return self._forward(pixels)

    def adjoint(self, lines: Tensor) -> Tensor:
        return self._adjoint(lines)


def _padded(order: np.ndarray, tile: int) -> np.ndarray:
    """Followed by -1 up to a multiple of ``tile``."""
    return np.pad(order, (0, -len(order) % tile), constant_values=-1)


def patches(shape: tuple[int, int], count: int) -> np.ndarray:
    """The pixels of a slice in patches of ``count``, a power of two, as square as can be; -1 beyond the slice."""
    height = 1 << (count.bit_length() - 1) // 2
    width = count // height
    pixels: np.ndarray = np.arange(shape[0] * shape[1]).reshape(shape)
    pixels = np.pad(pixels, ((0, -shape[0] % height), (0, -shape[1] % width)), constant_values=-1)
    return pixels.reshape(-1, height, pixels.shape[1] // width, width).swapaxes(1, 2).ravel()


def works(device: torch.device) -> bool:
    """Whether a tiny product can be compiled and is right on ``device``; raises nothing."""
    stored = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]], np.float32)
    symmetries = Symmetries(np.array([[0, 1, 2], [2, 1, 0]] * 4, np.int32), np.array([0, 1, 2], np.int32))
    whole = stored[[0, 1, 0]]
    whole[2] = stored[0][::-1]
    x = np.arange(3 * CACHE_LINE, dtype=np.float32).reshape(3, -1)  # as wide as cases are: compiled for them too
    try:
        backend = TritonBackend(scipy.sparse.csr_array(stored), (1, 3), symmetries, device)
        forward, adjoint = (f(torch.from_numpy(x).to(device)).cpu() for f in (backend.forward, backend.adjoint))
    except Exception:  # Triton cannot compile or run here: no compiler, an old GPU or driver
        return False
    return np.array_equal(forward.numpy(), whole @ x) and np.array_equal(adjoint.numpy(), whole.T @ x)
