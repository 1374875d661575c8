"""Sample sheets: a prior's results on the validation slices, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...version import NOTICE
from ..plotting import save_figure
from .validation import SheetRow

MARGIN = 6  # pixels shown around the body


def write_sheet(path: str | Path, rows: Sequence[SheetRow], sheet: str) -> Path:
    """Write a PNG: a row per validation slice with CT, PET, LR image, draft estimate and one-step estimates."""
    from matplotlib.figure import Figure

    columns = ["CT", "PET", "LR", "draft", *(f"one step from\nnoise {sigma:g}" for sigma in rows[0].denoised)]
    figure = Figure((2.1 * len(columns), 0.5 + 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        box = _body(row.truth)
        top = float(np.percentile(row.truth[box], 99.5)) or 1.0
        for axis, image in zip(axes, (row.ct, row.truth, row.lr, row.draft, *row.denoised.values()), strict=True):
            colours = ("gray", -200, 300) if image is row.ct else ("gray_r", 0, top)
            axis.imshow(image[box], **dict(zip(("cmap", "vmin", "vmax"), colours, strict=True)))
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel(row.name, fontsize=7)
        for axis, text in zip(
            axes[1:], (f"0 to {top:.1f} SUV", f"{row.psnr_lr:.1f} dB", f"{row.psnr_draft:.1f} dB"), strict=False
        ):
            axis.set_xlabel(text, fontsize=7)
    for axis, title in zip(grid[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    figure.suptitle(f"{sheet}. {NOTICE}", fontsize=9)
    return save_figure(figure, path)


def _body(truth: np.ndarray) -> tuple[slice, slice]:
    """The box of what takes up activity, with a margin; the whole slice if nothing does."""
    inside = truth > 0.1
    if not inside.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - MARGIN), int(rows[-1]) + MARGIN + 1),
        slice(max(0, int(columns[0]) - MARGIN), int(columns[-1]) + MARGIN + 1),
    )
