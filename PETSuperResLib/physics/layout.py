"""Memory layout with the slices innermost, and parts of volumes and sinograms that fit a cache.

Projector, blur and penalty do the same to every slice, so a processor computes neighbouring slices together if their
numbers are side by side in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PART = 1 << 16  # numbers of a volume that fit a core's cache with the other quantities of their voxels


def slices_last(x: Tensor) -> Tensor:
    """``(S, *, *)`` with the slices innermost in memory; ``x`` itself if it has this layout."""
    return x.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def is_slices_last(x: Tensor) -> bool:
    """Whether the slices of ``(S, *, *)`` are innermost in memory (one slice counts as contiguous)."""
    return len(x) > 1 and x.stride(0) == 1


def as_rows(x: Tensor) -> Tensor:
    """``(S, *, *)`` as ``(elements, S)``: a view, contiguous if ``x`` has the layout of :func:`slices_last`."""
    return x.permute(1, 2, 0).flatten(0, 1)


def parts(rows: Tensor) -> Iterator[slice]:
    """Runs of rows that suit a processor's cache; all at once on a GPU."""
    step = len(rows)
    if rows.device.type == "cpu":
        step = max(1, PART * torch.get_num_threads() * len(rows) // max(1, rows.numel()))
    for first in range(0, len(rows), max(1, step)):
        yield slice(first, min(first + step, len(rows)))
