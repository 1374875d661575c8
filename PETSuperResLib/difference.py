"""The difference of two volumes on the grid of the first one."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from .volume import Volume

BLOCK = 500_000  # voxels


def difference_steps(after: Volume, before: Volume, block: int = BLOCK) -> Generator[None, None, Volume]:
    """``after - before`` on the grid of ``after`` and in its unit; ``before`` interpolated linearly, 0 outside it.

    Yields after about ``block`` voxels each time, so that a program can do other things meanwhile; the volume is the
    generator's return value.
    """
    out = np.empty_like(after.array)
    slices, rows, columns = after.shape
    step = max(1, block // (rows * columns))
    size = np.array(before.shape[::-1])
    for first in range(0, slices, step):
        last = min(first + step, slices)
        part = after.crop((0, 0, first), (columns, rows, last))
        corners = (np.c_[part.corners(), np.ones(8)] @ np.linalg.inv(before.ijk_to_lps).T)[:, :3]
        low = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, size - 1)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 3, low + 1, size)
        np.subtract(part.array, before.crop(low, high).resample_to(part, "linear", 0.0).array, out=out[first:last])
        yield
    return after.with_array(out, after.unit)
