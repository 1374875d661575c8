"""Volumes and sinograms laid out in memory with the slices innermost, and the parts of them that fit a cache.

The projector, the blur and the ties between voxels do the same to every slice, so that numbers of neighbouring slices
side by side are what a processor computes together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PART = 1 << 16  # numbers of a volume that stay in a core's cache together with the others of their voxels


def slices_last(x: Tensor) -> Tensor:
    """``(S, *, *)`` with the slices innermost in memory; ``x`` itself where it is laid out so."""
    return x.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def is_slices_last(x: Tensor) -> bool:
    """Whether the slices of ``(S, *, *)`` are innermost in memory (one slice counts as contiguous)."""
    return len(x) > 1 and x.stride(0) == 1


def as_rows(x: Tensor) -> Tensor:
    """``(S, *, *)`` as ``(elements, S)``: a view, of one block of memory if ``x`` is so by :func:`slices_last`."""
    return x.permute(1, 2, 0).flatten(0, 1)


def parts(rows: Tensor) -> Iterator[slice]:
    """Runs of rows in which a processor's caches are used best; a GPU takes all at once."""
    step = len(rows)
    if rows.device.type == "cpu":
        step = max(1, PART * torch.get_num_threads() * len(rows) // max(1, rows.numel()))
    for first in range(0, len(rows), max(1, step)):
        yield slice(first, min(first + step, len(rows)))
