"""Sample sheets: what a prior makes of the validation slices, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...files import atomic_path
from .validation import Sight

MARGIN = 6  # pixels shown around the body


def write_sheet(path: str | Path, sights: Sequence[Sight], title: str) -> Path:
    """Write a PNG: a row per validation slice with CT, PET, LR image, draft estimate and one-step estimates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    levels = list(sights[0].denoised)
    columns = ["CT", "PET", "LR", "draft", *(f"one step from\nnoise {sigma:g}" for sigma in levels)]
    figure, axes = plt.subplots(
        len(sights),
        len(columns),
        figsize=(2.1 * len(columns), 0.5 + 1.75 * len(sights)),
        squeeze=False,
        layout="constrained",
    )
    for row, (sight, line) in enumerate(zip(sights, axes, strict=True)):
        box = _body(sight.truth)
        top = float(np.percentile(sight.truth[box], 99.5)) or 1.0
        images = [sight.ct, sight.truth, sight.lr, sight.draft, *sight.denoised.values()]
        for number, (axis, image) in enumerate(zip(line, images, strict=True)):
            axis.set_xticks([])
            axis.set_yticks([])
            if number == 0:
                axis.imshow(image[box], cmap="gray", vmin=-200, vmax=300)
            else:
                axis.imshow(image[box], cmap="gray_r", vmin=0, vmax=top)
            if row == 0:
                axis.set_title(columns[number], fontsize=9)
        line[0].set_ylabel(sight.name, fontsize=7)
        line[1].set_xlabel(f"0 to {top:.1f} SUV", fontsize=7)
        line[2].set_xlabel(f"{sight.psnr_lr:.1f} dB", fontsize=7)
        line[3].set_xlabel(f"{sight.psnr_draft:.1f} dB", fontsize=7)
    figure.suptitle(f"{title}. Research use only: not for diagnosis or treatment.", fontsize=9)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
    return Path(path)


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
