"""Tables and picture of recovered lesion uptake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...lesions.intervals import LEVEL, MEASURES, PET_ALONE, STRATA_ML, calibration
from ..plotting import save_figure
from .summary import markdown
from .tables import Cell, Table

NAMES = {"suvmean": "SUVmean", "suvpeak": "SUVpeak", "suvmax": "SUVmax", "tlg": "TLG"}
WIDTHS = ("suvmean", "suvpeak")  # measures whose intervals' widths are told
TITLES = {"sinogram": "from sinograms", "image": "from images", PET_ALONE: "from images, without a result"}
Row = dict[str, Any]


def lesions_lines(rows: Sequence[Row]) -> list[str]:
    """Errors and coverage by input and volume, by condition, by what the header says, and by mask."""
    every = [row for row in rows if row.get("suvmean_low") is not None]
    told = [row for row in every if row["header"]]
    true = [row for row in told if row["mask"] == "true"]
    untold = sum(row["mask"] == "true" and row["header"] for row in rows) - len(true)
    lines = [
        "Painted lesions in anatomies that nothing was tuned on. Errors are of SUVmean within the mask as it is drawn, "
        "in per cent of the truth there: median without sign, and for what was recovered also signed. Coverage is the "
        f"share of lesions whose true value lies in the interval ({100 * LEVEL:.0f} % are aimed at); width is the "
        "median of the interval over the recovered value. *Sinogram* and *image* are recovered with a "
        f"super-resolved result, *{PET_ALONE}* from the same images without one. Where the data do not determine the "
        f"SUVmean it is not told; such lesions ({untold} with the true mask) are left out.",
        "",
        "## By volume",
        "",
        *_table(true, "volume", _stratum),
        "",
        "## By condition",
        "",
        *_table(true, "condition", lambda row: row["condition"]),
        "",
    ]
    aside = calibration().made.get("left_out", ())
    if any(row["condition"] in aside for row in true):
        known = [row for row in true if row["input"] != "sinogram"]
        name = {True: "left out of the calibration", False: "in the calibration"}
        lines += ["## By protocol", "", *_table(known, "protocol", lambda row: name[row["condition"] in aside]), ""]
    images = [row for row in every if row["mask"] == "true" and row["input"] != "sinogram"]
    if any(not row["header"] for row in images):
        lines += [
            "## By what is known of an image",
            "",
            "In all other tables images have their headers. Here the same images are also without, that is, with the "
            "scanner alone.",
            "",
            *_table(images, "known", _known),
            "",
        ]
    moved = [row for row in told if row["seed"] in {other["seed"] for other in told if other["mask"] != "true"}]
    if moved:
        lines += ["## By mask", "", *_table(moved, "mask", lambda row: row["mask"]), ""]
    return lines


def faint_lines(rows: Sequence[Row], contrast: float) -> list[str]:
    """What was left out as its recovered SUVmean is below ``contrast`` times the surroundings, though some is hotter.

    ``rows`` are of such segments; the values that they have are told all the same, with a note.
    """
    heads = ("Input", "segments", f"true contrast of {contrast:g} or more", "of these told", "SUVmean covered")
    true, body = [row for row in rows if row["mask"] == "true"], []
    for kind in dict.fromkeys(row["input"] for row in true):
        mine = [row for row in true if row["input"] == kind]
        hot = [row for row in mine if row["true_suvmean"] >= contrast * row["background"]]
        told = [row for row in hot if row.get("suvmean_low") is not None]
        held = sum(row["suvmean_low"] <= row["true_suvmean"] <= row["suvmean_high"] for row in told)
        body.append(tuple(Cell(str(cell)) for cell in (kind, len(mine), len(hot), len(told), held)))
    if not body:
        return []
    text = (
        f"Not in the tables above: their recovered SUVmean is below {contrast:g} times the surroundings (true masks). "
        "Those that are told have a note that such contrast is outside the calibration."
    )
    return ["## Left out", "", text, "", *markdown(Table(heads, tuple(body))), ""]


def _table(rows: Sequence[Row], title: str, group: Callable[[Row], str]) -> list[str]:
    heads = ("Input", title, "lesions", "anatomies", "PET", "result", "recovered", "signed")
    intervals = [*(f"{NAMES[m]} width %" for m in WIDTHS), *(f"{NAMES[m]} covered %" for m in MEASURES)]
    body = []
    for kind in dict.fromkeys(row["input"] for row in rows):
        of_kind = [row for row in rows if row["input"] == kind]
        for name in sorted({group(row) for row in of_kind}, key=_order):
            mine = [row for row in of_kind if group(row) == name]
            signed = np.median([100 * (row["suvmean"] / row["true_suvmean"] - 1) for row in mine])
            covered = ["-" if np.isnan(share) else f"{share:.0f}" for share in (coverage(mine, m) for m in MEASURES)]
            cells = [kind, name, str(len(mine)), str(len({row["patient"] for row in mine}))]
            cells += [*(_error(mine, known) for known in _COMPARED), f"{signed:+.1f}"]
            cells += [*(_width(mine, measure) for measure in WIDTHS), *covered]
            body.append(tuple(map(Cell, cells)))
    return markdown(Table((*heads, *intervals), tuple(body)))


_COMPARED = ("pet_suvmean", "image_suvmean", "suvmean")


def _error(rows: Iterable[Row], measure: str) -> str:
    """Median without sign, in per cent of the true SUVmean; ``-`` of an image that is not there."""
    values = [100 * abs(row[measure] / row["true_suvmean"] - 1) for row in rows if row.get(measure) is not None]
    return f"{np.median(values):.1f}" if values else "-"


def _stratum(row: Row) -> str:
    low, high = next((a, b) for a, b in zip(STRATA_ML[:-1], STRATA_ML[1:], strict=True) if a <= row["volume_ml"] < b)
    return f"from {low:g} mL" if high == np.inf else f"{low:g} to {high:g} mL"


def _known(row: Row) -> str:
    """What is known of a row's image, in words."""
    if not row["header"]:
        return "the scanner alone"
    return "scanner, PSF and filter" if row["described"] else "a header without PSF or filter"


def _order(name: str) -> tuple[bool, str]:
    return name.startswith("from"), name


def coverage(rows: Iterable[Row], measure: str) -> float:
    """Per cent of the intervals of a measure that hold the truth; NaN without intervals."""
    held = [
        row[f"{measure}_low"] <= row[f"true_{measure}"] <= row[f"{measure}_high"]
        for row in rows
        if row.get(f"{measure}_low") is not None
    ]
    return 100 * float(np.mean(held)) if held else float("nan")


def _width(rows: Iterable[Row], measure: str) -> str:
    low, high = f"{measure}_low", f"{measure}_high"
    widths = [(row[high] - row[low]) / row[measure] for row in rows if row.get(low) is not None]
    return f"{100 * np.median(widths):.0f}" if widths else ""


def lesions_figure(path: Path, rows: Sequence[Row]) -> Path:
    """Draw recovered over true SUVmean against the volume, with intervals, and the same read off the result."""
    from matplotlib.figure import Figure

    true = [row for row in rows if row["mask"] == "true" and row["header"]]
    kinds = list(dict.fromkeys(row["input"] for row in true))
    figure = Figure((5.5 * max(1, len(kinds)), 4.6), layout="tight")
    for axis, kind in zip(figure.subplots(1, max(1, len(kinds)), squeeze=False, sharey=True)[0], kinds, strict=False):
        mine = [row for row in true if row["input"] == kind]
        volumes = [row["volume_ml"] for row in mine]
        shown = "pet_suvmean" if kind == PET_ALONE else "image_suvmean"
        ratios = {k: np.array([row[k] / row["true_suvmean"] for row in mine]) for k in (shown, "suvmean")}
        axis.plot(volumes, ratios[shown], "x", color="0.6", ms=4, label="read off the result, or the PET alone")
        ends = [
            [(row.get(f"suvmean_{e}") or row["suvmean"]) / row["true_suvmean"] for row in mine] for e in ("low", "high")
        ]
        spread = np.abs(np.array(ends) - ratios["suvmean"])
        axis.errorbar(volumes, ratios["suvmean"], spread, fmt="o", color="tab:green", ms=3, lw=0.6, label="recovered")
        axis.axhline(1, color="0.3", lw=0.8)
        axis.set(xscale="log", ylim=(0, 2), xlabel="volume, mL", title=TITLES[kind])
        axis.grid(alpha=0.25)
    figure.axes[0].set_ylabel("SUVmean over the true one")
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(f"Painted lesions with {100 * LEVEL:.0f} % intervals. Research use only.", fontsize=9)
    return save_figure(figure, path)
