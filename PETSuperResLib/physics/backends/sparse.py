"""The projector's matrix on any device: torch's sparse product."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from .symmetries import Backend, Symmetries, even_blocks

GPU_SLICES = 32  # that are taken together


class SparseBackend(Backend):
    """The matrix in torch's CSR layout; the symmetric images are further columns of the same product."""

    def __init__(
        self, matrix: scipy.sparse.csr_array, shape: tuple[int, int], symmetries: Symmetries, device: torch.device
    ):
        self.matrix, self.transposed = to_csr(matrix, device), to_csr(scipy.sparse.csr_array(matrix.T.tocsr()), device)
        self.rows, self.variants = matrix.shape[0], len(symmetries.pixels)
        variant, row = np.divmod(symmetries.lines, self.rows)
        offset = np.arange(self.variants, dtype=np.int32)
        tables = (
            symmetries.pixels.T.ravel(),  # (place, variant) -> pixel
            row * self.variants + variant,  # line -> (row, variant)
            symmetries.entries(self.rows).T.ravel(),  # (row, variant) -> line
            symmetries.places().T * self.variants + offset,  # pixel -> its (place, variant)
        )
        self.pixels, self.lines, self.entries, self.places = (
            torch.from_numpy(np.ascontiguousarray(table, np.int32)).to(device) for table in tables
        )

    @property
    def megabytes(self) -> float:
        return 16e-6 * self.matrix.values().numel()

    def blocks(self, slices: int) -> list[int]:
        return even_blocks(slices, GPU_SLICES)

    def forward(self, pixels: Tensor) -> Tensor:
        slices = pixels.shape[1]
        values = self.matrix @ pixels.index_select(0, self.pixels).view(-1, self.variants * slices)
        return values.view(-1, slices).index_select(0, self.lines)

    def adjoint(self, lines: Tensor) -> Tensor:
        slices = lines.shape[1]
        lines = torch.cat([lines, lines.new_zeros(1, slices)])
        values = lines.index_select(0, self.entries).view(-1, self.variants * slices)
        images = (self.transposed @ values).view(-1, slices)
        return F.embedding_bag(self.places, images, mode="sum")


def to_csr(matrix: scipy.sparse.csr_array, device: torch.device) -> Tensor:
    """A scipy matrix as a float32 tensor in torch's CSR layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR layout "beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
        )
