"""The part of each cell of a grid that polygons cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LINES = 8  # scan lines per cell, besides those at the corners


def coverage(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The part (0 to 1) of each of ``(rows, columns)`` cells that lies within an odd number of polygons.

    Polygons are ``(N, 2)`` with (column, row); cell ``c`` reaches from ``c`` to ``c + 1``, and what lies outside the
    grid is cut off. A polygon within another is a hole. The sum over the cells is the exact area of what is inside,
    however small: between two corners or scan lines the sides are straight, so the line in the middle has the mean
    length.
    """
    starts = np.concatenate(polygons).astype(float)
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons]).astype(float)
    sloped = starts[:, 1] != ends[:, 1]
    (x0, y0), (x1, y1) = starts[sloped].T, ends[sloped].T
    if not len(y0):
        return np.zeros(shape, np.float32)
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    first, last = max(0.0, low.min()), min(float(shape[0]), high.max())
    lines = np.arange(np.floor(first * LINES), np.ceil(last * LINES) + 1) / LINES
    breaks = np.unique(np.concatenate([y0, y1, lines, [first, last]]).clip(first, max(first, last)))
    middle, height = (breaks[1:] + breaks[:-1]) / 2, np.diff(breaks)
    crossed = (low <= middle[:, None]) & (middle[:, None] < high)
    x = np.where(crossed, x0 + (middle[:, None] - y0) * ((x1 - x0) / (y1 - y0)), np.inf)
    x = np.sort(x, axis=1)[:, : int(crossed.sum(1).max(initial=0))]
    columns = np.arange(shape[1])
    lengths = np.zeros((len(middle), shape[1]))
    for n, crossing in enumerate(x.T):  # every second one ends an interval; those at infinity cancel
        lengths += (1 if n % 2 else -1) * (crossing[:, None] - columns).clip(0, 1)
    rows = (np.floor(middle)[None, :] == np.arange(shape[0])[:, None]) * height
    return (rows @ lengths).astype(np.float32)
