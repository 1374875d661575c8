"""Figures of an evaluation: a patient's methods side by side, lesion errors by method, running times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..plotting import save_figure
from .labels import label, setting_in_words
from .slice_figure import MethodFigure
from .tables import by_method, groups

LESION_COLUMNS = (
    ("delta_suvmax_percent", "\N{GREEK CAPITAL LETTER DELTA} SUVmax, %"),
    ("delta_suvmean_percent", "\N{GREEK CAPITAL LETTER DELTA} SUVmean, %"),
    ("nmse", "lesion NMSE"),
)


def method_figure(
    path: str | Path,
    slices: Mapping[str, np.ndarray],
    spacing: Sequence[float] = (2.0, 2.0),
    lesion: np.ndarray | None = None,
) -> Path:
    """Write the paper's Figure 3 as a PNG: one slice by every method, a zoom below it, the error below that.

    Parameters
    ----------
    slices : "CT" in HU, "truth" in SUV and the methods' slices in SUV by name, each ``(H, W)``; drawn in that
        order, in several bands of columns where there are many.
    spacing : of rows and columns in mm.
    lesion : mask ``(H, W)``; the zoom shows its hottest part. Without one, the hottest point.

    Returns the path. All errors share one scale, and "rms" is over the whole slice.
    """
    return save_figure(MethodFigure(slices, spacing, lesion).draw(), path, tight=True)


def lesion_figure(path: str | Path, lesions: Sequence[dict[str, Any]], methods: Sequence[str] | None = None) -> Path:
    """Write the paper's Figure 4 as a PNG: each method's signed errors of SUVmax and SUVmean, and lesion NMSE.

    ``lesions`` are lesion rows; a point is a lesion, a bar the quartiles, its mark the median. Every setting (and
    reference and count level, if they differ) has a row of panels. ``methods`` gives the order, else the rows do.
    Returns the path.
    """
    from matplotlib.figure import Figure

    names, found = list(methods or by_method(lesions)), groups(lesions, lesions)
    plot, between, above, below = 0.25 * len(names) + 0.1, 0.85, 0.6, 0.5  # inches
    wide, high = 11.0, max(1, len(found)) * (plot + between) - between + above + below
    figure = Figure((wide, high))
    axes = figure.subplots(max(1, len(found)), len(LESION_COLUMNS), squeeze=False)
    figure.subplots_adjust(1.5 / wide, below / high, 1 - 0.1 / wide, 1 - above / high, 0.08, between / plot)
    for line, group in zip(axes, found, strict=False):
        mine = by_method(group.lesions)
        for axis, (column, title) in zip(line, LESION_COLUMNS, strict=True):
            values = [mine[name][column].to_numpy(float) if name in mine else np.empty(0) for name in names]
            _spread(axis, values, column == "nmse")
            axis.set_xlabel(title, fontsize=9)
            axis.set_yticks(range(len(names)), [label(n) for n in names] if axis is line[0] else [], fontsize=9)
            axis.set_ylim(len(names) - 0.4, -0.6)
        count = len({(r["patient"], r["lesion"]) for r in group.lesions})
        noun = "lesion" if count == 1 else "lesions"
        setting, condition = setting_in_words(group.condition.setting), group.condition
        title = f"{setting}, {condition.reference} references, {condition.counts} counts: {count} {noun}"
        line[0].set_title(title, fontsize=10, loc="left")
    note = "Point: a lesion. Bar: quartiles, with the median. Triangle: beyond the axis. Research use only."
    figure.text(1 - 0.1 / wide, 1.0, note, fontsize=8, ha="right", va="top")
    return save_figure(figure, path, tight=True)


def _spread(axis: Any, values: Sequence[np.ndarray], logarithmic: bool) -> None:
    """A row of points per method with quartiles and median; ``values`` may hold NaN."""
    finite = [v[np.isfinite(v) & (v > 0)] if logarithmic else v[np.isfinite(v)] for v in values]
    together = np.concatenate(finite) if finite else np.empty(0)
    if logarithmic:
        axis.set_xscale("log")
        low, high = (together.min() / 1.3, together.max() * 1.3) if len(together) else (0.001, 1.0)
    else:
        axis.axvline(0.0, color="0.2", lw=1.0, zorder=1)
        high = min(abs(together).max(), 2.0 * np.percentile(abs(together), 97)) * 1.08 if len(together) else 1.0
        high = float(high) or 1.0
        low = -high
    axis.set_xlim(low, high)
    for y, points in enumerate(finite):
        if not len(points):
            axis.annotate("none", (0.02, y), xycoords=("axes fraction", "data"), fontsize=8, color="0.5", va="center")
            continue
        inside = (points >= low) & (points <= high)
        where = y + 0.22 * np.linspace(-1.0, 1.0, len(points)) if len(points) > 1 else np.array([float(y)])
        axis.plot(points[inside], where[inside], "o", ms=3.5, mfc="none", mec="tab:blue", mew=0.8, zorder=3)
        for edge, beyond, mark in ((low, points < low, "<"), (high, points > high, ">")):
            axis.plot(np.full(beyond.sum(), edge), where[beyond], mark, ms=5, color="tab:red", clip_on=False, zorder=5)
        first, median, third = np.clip(np.percentile(points, (25, 50, 75)), low, high)
        axis.plot((first, third), (y, y), color="0.35", lw=5, alpha=0.45, solid_capstyle="butt", zorder=2)
        axis.plot((median, median), (y - 0.32, y + 0.32), color="k", lw=1.8, zorder=4)
    axis.grid(axis="x", alpha=0.25)
    axis.tick_params(axis="x", labelsize=8)


def seconds_figure(path: str | Path, metrics: Sequence[dict[str, Any]]) -> Path:
    """Write a bar for every method's mean seconds per case, all settings together, as a PNG; returns the path."""
    from matplotlib.figure import Figure

    means = {name: float(mine["seconds"].mean()) for name, mine in by_method(metrics).items()}
    names = list(means)
    figure = Figure((8.0, 0.27 * len(names) + 0.9), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh(range(len(names)), list(means.values()), color="tab:blue", height=0.7)
    axis.bar_label(bars, [f" {mean:#.2g} s" if mean < 10 else f" {mean:,.0f} s" for mean in means.values()], fontsize=8)
    axis.set_yticks(range(len(names)), [label(name) for name in names], fontsize=9)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0.0, (max(means.values(), default=0.0) or 1.0) * 1.12)
    axis.set_xlabel("mean seconds per case", fontsize=9)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.25)
    axis.set_axisbelow(True)
    return save_figure(figure, path, tight=True)
