"""How the projector's matrix is multiplied: on a CPU as sums of rows, elsewhere as a sparse matrix or by Triton.

All take ``(pixels, slices)`` to ``(lines, slices)`` and back by a part of the matrix's rows and :class:`Symmetries`.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from .gather import GatherBackend
from .sparse import SparseBackend
from .symmetries import Backend as Backend
from .symmetries import Symmetries as Symmetries


@lru_cache
def backend_for(device: torch.device) -> type[Backend]:
    """The backend for a device: on CUDA Triton's, where a trial of it works."""
    if device.type == "cpu":
        return GatherBackend
    if device.type == "cuda":
        try:
            from .triton_kernel import TritonBackend, works
        except Exception:  # no Triton for this system, or one that does not fit its Python or torch
            return SparseBackend
        if works(device):
            return TritonBackend
    return SparseBackend
