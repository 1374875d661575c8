"""One page that shows a case: CT, LR, SR, reference and difference, lesion zooms, profiles and SUVs with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from PETSuperResLib.files import atomic_path
from PETSuperResLib.lesions.measures import Lesion
from PETSuperResLib.volume import Volume

INK, MUTED, SR_BLUE, LR_GREY, TRUTH = "#1f2933", "#66727f", "#1769aa", "#b4bcc5", "#1f2933"
CONTOUR = "#d9480f"
SERIES = {"low resolution": LR_GREY, "super-resolved": SR_BLUE, "recovered": "#2a7f6f", "reference": "white"}
RESEARCH_USE = "For research use only; not for diagnosis. Generated phantom, simulated measurement."


@dataclass(frozen=True)
class Case:
    """What the page shows: images in SUV (CT in HU), lesions as a label map, and their SUVs per image."""

    ct: Volume
    lr: Volume
    sr: Volume
    reference: Volume
    labels: Volume
    lesions: dict[str, Sequence[Lesion]]  # "LR", "SR" with what was recovered, "reference"
    scores: dict[str, str]  # a line under the title of "LR" and "SR"
    title: str
    subtitle: str


def write_report(case: Case, path: str | Path) -> Path:
    """Draw the page as PNG, whole or not at all."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK})
    figure = plt.figure(figsize=(13, 8.6), facecolor="white")
    rows = figure.add_gridspec(
        3, 1, height_ratios=[0.86, 0.72, 0.86], hspace=0.36, left=0.05, right=0.97, top=0.872, bottom=0.095
    )
    figure.text(0.05, 0.958, case.title, fontsize=16, fontweight="bold")
    figure.text(0.05, 0.93, case.subtitle, fontsize=10.5, color=MUTED)
    figure.text(0.05, 0.02, RESEARCH_USE, fontsize=9, color=MUTED)
    chosen = _slice(case.labels)
    limit = _window(case)
    _overview(figure, rows[0].subgridspec(1, 5, wspace=0.06), case, chosen, limit)
    _zooms(figure, rows[1].subgridspec(1, 2, wspace=0.07), case, limit)
    _charts(figure, rows[2].subgridspec(1, 3, wspace=0.2, width_ratios=[2.1, 1, 1]), case)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    plt.close(figure)
    return Path(path)


# -- rows -----------------------------------------------------------------------------------------
def _overview(figure: Any, grid: Any, case: Case, z: float, limit: float) -> None:
    difference = case.sr.with_array(case.sr.array - case.reference.resample_to(case.sr).array)
    span = 0.5 * limit
    pet = {"cmap": "gray_r", "vmin": 0.0, "vmax": limit}
    panels = [
        ("CT", "", case.ct, {"cmap": "gray", "vmin": -160, "vmax": 240}, "HU"),
        ("Low-resolution PET", case.scores["LR"], case.lr, pet, "SUV (g/mL)"),
        ("Super-resolved PET", case.scores["SR"], case.sr, pet, "SUV (g/mL)"),
        ("Reference", "the phantom's known uptake", case.reference, pet, "SUV (g/mL)"),
        ("SR - reference", "", difference, {"cmap": "RdBu_r", "vmin": -span, "vmax": span}, "SUV (g/mL)"),
    ]
    for n, (title, note, volume, style, unit) in enumerate(panels):
        axes = figure.add_subplot(grid[n])
        image = _show(axes, volume, z, style)
        _contours(axes, case.labels, z, 0.9)
        axes.set_title(title, fontsize=11, fontweight="bold", pad=17, loc="left")
        axes.text(0, 1.025, note, transform=axes.transAxes, fontsize=8.3, color=MUTED)
        bar = figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.05, pad=0.03, aspect=32)
        bar.set_label(unit, fontsize=8, labelpad=1)
        bar.ax.tick_params(labelsize=7.5, length=2)
        bar.outline.set_visible(False)
        if n == 0:
            _scale_bar(axes, 50, "white", 0.86)


def _zooms(figure: Any, grid: Any, case: Case, limit: float) -> None:
    """Two lesions, each in LR, SR and reference in a 56 mm square, with a profile through the middle."""
    for n, lesion in enumerate(_two_lesions(case)):
        inner = grid[n].subgridspec(1, 4, wspace=0.07, width_ratios=[1, 1, 1, 1.35])
        centre = _centre(case.labels, lesion.label)
        top = max(limit, 1.02 * lesion.suvmax)
        for m, (title, volume) in enumerate((("LR", case.lr), ("SR", case.sr), ("Reference", case.reference))):
            axes = figure.add_subplot(inner[m])
            _show(axes, volume, centre[2], {"cmap": "gray_r", "vmin": 0.0, "vmax": top})
            _contours(axes, case.labels, centre[2], 0.8)
            axes.axhline(centre[1], color=MUTED, lw=0.6, ls=(0, (4, 4)))
            axes.set_xlim(centre[0] - 28, centre[0] + 28)
            axes.set_ylim(centre[1] + 28, centre[1] - 28)
            axes.set_title(f"{lesion.name}\n{title}" if m == 0 else title, fontsize=9.5, loc="left", pad=4)
            if m == 0:
                _scale_bar(axes, 10, INK)
        axes = figure.add_subplot(inner[3])
        _profile(axes, case, centre)
        axes.set_box_aspect(1 / 1.35)
        axes.set_title("SUV along the dashed line", fontsize=9.5, loc="left", pad=4)


def _profile(axes: Any, case: Case, centre: np.ndarray) -> None:
    line = Volume(np.zeros((1, 1, 113), np.float32), (0.5, 1, 1), (centre[0] - 28, centre[1], centre[2]))
    reach = np.arange(113) * 0.5 - 28
    styles = (("LR", case.lr, LR_GREY, "-"), ("reference", case.reference, TRUTH, "--"), ("SR", case.sr, SR_BLUE, "-"))
    for title, volume, colour, dash in styles:
        values = volume.resample_to(line, "nearest" if title == "LR" else "linear").array[0, 0]
        axes.plot(reach, values, dash, color=colour, lw=2.0 if title != "reference" else 1.3, label=title)
    axes.set_xlim(-28, 28)
    axes.set_ylim(0, 1.3 * max(float(lines.get_ydata().max()) for lines in axes.lines))
    axes.set_xlabel("mm", fontsize=8, labelpad=1)
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7.5)
    axes.legend(frameon=False, fontsize=7.5, loc="upper center", ncols=3, handlelength=1.2, columnspacing=0.8)
    _plain(axes)


def _charts(figure: Any, grid: Any, case: Case) -> None:
    """SUVmean of every lesion with what was recovered and its interval, and the errors against the reference."""
    names = [lesion.name for lesion in case.lesions["reference"]]
    places = np.arange(len(names))
    axes = figure.add_subplot(grid[0])
    for m, (title, colour) in enumerate(SERIES.items()):
        values = _figures(case, title, "suvmean")
        edge = TRUTH if title == "reference" else colour
        label = "recovered, 90 % interval" if title == "recovered" else title
        bars = axes.bar(places + 0.21 * (m - 1.5), values, 0.2, color=colour, edgecolor=edge, lw=1.0, label=label)
        if title != "recovered":
            axes.bar_label(bars, fmt="%.1f", fontsize=7, color=MUTED, padding=1)
            continue
        ends = np.array([(one.suvmean_low, one.suvmean_high) for one in case.lesions["SR"]], float)
        axes.errorbar(
            places + 0.21 * (m - 1.5), values, abs(ends.T - values), fmt="none", ecolor=INK, capsize=3, lw=1.2
        )
    axes.set_xticks(places, [name.replace(", ", "\n") for name in names], fontsize=8.5)
    axes.set_ylabel("SUV (g/mL)", fontsize=9)
    axes.set_title("SUVmean", fontsize=12, fontweight="bold", loc="left")
    axes.margins(y=0.13)
    legend = {"ncols": 4, "loc": "lower right", "bbox_to_anchor": (1.01, 0.985), "columnspacing": 0.7}
    axes.legend(frameon=False, fontsize=7.2, handlelength=1.1, handletextpad=0.5, **legend)
    _plain(axes)
    for n, (measure, title) in enumerate((("suvmean", "SUVmean error"), ("suvpeak", "SUVpeak error")), 1):
        axes = figure.add_subplot(grid[n])
        truth = _figures(case, "reference", measure)
        for m, (series, colour) in enumerate(list(SERIES.items())[:3]):
            axes.bar(places + 0.27 * (m - 1), 100 * (_figures(case, series, measure) / truth - 1), 0.25, color=colour)
        axes.axhline(0, color=TRUTH, lw=1.0)
        axes.set_xticks(places, [name.split(" ")[0] for name in names], fontsize=8.5)
        axes.set_ylabel("% of the reference", fontsize=9, labelpad=1)
        axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
        axes.margins(y=0.1)
        _plain(axes)


def _figures(case: Case, series: str, measure: str) -> np.ndarray:
    """A measure of every lesion in a series; NaN where nothing was recovered."""
    image = {"low resolution": "LR", "reference": "reference"}.get(series, "SR")
    name = f"{measure}_recovered" if series == "recovered" else measure
    return np.array([getattr(lesion, name) for lesion in case.lesions[image]], float)


# -- pieces ---------------------------------------------------------------------------------------
def _slice(labels: Volume) -> float:
    """z in mm of the slice that cuts the most lesions, and of those the most lesion area."""
    counts = [(len(np.unique(layer)), int((layer > 0).sum())) for layer in labels.array]
    return labels.origin[2] + labels.spacing[2] * max(range(len(counts)), key=counts.__getitem__)


def _window(case: Case) -> float:
    """Upper end of the SUV window: shows the lesions, whole numbers."""
    inside = case.reference.array[case.labels.resample_to(case.reference, "nearest").array > 0]
    return float(np.clip(np.ceil(np.percentile(inside, 80)), 5, 15))


def _two_lesions(case: Case) -> list[Lesion]:
    """The hottest lesion, and of the others the smallest that SUVpeak still resolves."""
    hottest, *others = sorted(case.lesions["reference"], key=lambda lesion: -lesion.suvmax)
    others.sort(key=lambda lesion: lesion.voxels)
    return [hottest, *[x for x in others if x.voxels >= 30][:1]]


def _centre(labels: Volume, label: int) -> np.ndarray:
    k, j, i = (np.argwhere(np.rint(labels.array) == label)).mean(0)
    return (labels.ijk_to_lps @ [i, j, round(k), 1.0])[:3]


def _extent(volume: Volume) -> tuple[float, float, float, float]:
    (x, y, _), (dx, dy, _), (_, rows, columns) = volume.origin, volume.spacing, volume.shape
    return x - dx / 2, x + (columns - 0.5) * dx, y + (rows - 0.5) * dy, y - dy / 2


def _show(axes: Any, volume: Volume, z: float, style: dict[str, Any]) -> Any:
    layer = int(np.clip(round((z - volume.origin[2]) / volume.spacing[2]), 0, volume.shape[0] - 1))
    image = axes.imshow(volume.array[layer], extent=_extent(volume), interpolation="nearest", **style)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#d5dae0")
    return image


def _contours(axes: Any, labels: Volume, z: float, width: float) -> None:
    layer = labels.array[int(round((z - labels.origin[2]) / labels.spacing[2]))]
    x = labels.origin[0] + np.arange(labels.shape[2]) * labels.spacing[0]
    y = labels.origin[1] + np.arange(labels.shape[1]) * labels.spacing[1]
    for label in np.unique(layer[layer > 0]):
        axes.contour(x, y, layer == label, [0.5], colors=CONTOUR, linewidths=width)


def _scale_bar(axes: Any, length: float, colour: str, height: float = 0.06) -> None:
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    x, y = x0 + 0.05 * (x1 - x0), y0 + height * (y1 - y0)
    axes.plot([x, x + length], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
    place = {"ha": "center", "va": "bottom", "fontsize": 7.5}
    axes.text(x + length / 2, y + 0.025 * (y1 - y0), f"{length:g} mm", color=colour, **place)
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)


def _plain(axes: Any) -> None:
    for side in ("top", "left" if axes.yaxis.get_label_position() == "right" else "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#e6e9ed", lw=0.7)
    axes.set_axisbelow(True)
