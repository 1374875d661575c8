"""nema.md and nema.png: recovery of the phantom's spheres beside EARL's limits, and the background's noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..plotting import save_figure
from .labels import label
from .spheres import EARL, EARL_MM
from .summary import markdown
from .tables import Cell, Table

Row = dict[str, Any]
MEASURES = (
    ("contrast_recovery_percent", "contrast recovery, %"),
    ("rc_a50", "RC of the mean (A50)"),
    ("rc_max", "RC of the maximum"),
    ("background_variability_percent", "background variability, %"),
)
BANDS = {1: "tab:green", 2: "tab:orange"}  # colour by EARL's standard


def nema_lines(rows: Sequence[Row]) -> list[str]:
    """A table of recoveries by sphere for each scan: which EARL standard holds each value, and the noise."""
    lines = [
        "Recovery of the mean over the 50 % contour (A50) and of the maximum, by the sphere's diameter in mm.",
        "(1), (2), (1, 2): within the limits of EARL's standard 1, 2 or both, which are for a fill of about 10 to 1.",
        "COV: of single voxels in the background.",
        "",
    ]
    for scan in _scans(rows):
        mine = [row for row in rows if _scan(row) == scan]
        lines += [f"## {scan[0]}, {scan[1]} counts, from the {scan[2]}", "", *markdown(_table(mine)), ""]
    return lines


def earl_standards(measure: str, diameter_mm: float, value: float) -> list[int]:
    """EARL's standards whose limits hold a recovery ``measure`` (``rc_a50``, ``rc_max``)."""
    n = EARL_MM.index(diameter_mm)
    return [standard for standard in BANDS if EARL[standard, measure][0][n] <= value <= EARL[standard, measure][1][n]]


def _table(rows: Sequence[Row]) -> Table:
    heading = [
        "Method",
        *(f"{name} {mm:g}" for name in ("A50", "max") for mm in EARL_MM),
        "variability 10 mm %",
        "COV %",
    ]
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {row["diameter_mm"]: row for row in rows if row["method"] == method}
        cells = [method]
        for measure in ("rc_a50", "rc_max"):
            for mm in EARL_MM:
                value = mine[mm][measure]
                held = ", ".join(map(str, earl_standards(measure, mm, value)))
                cells.append(f"{value:.2f}{f' ({held})' if held else ''}")
        smallest = mine[EARL_MM[-1]]
        cells += [f"{smallest[name]:.1f}" for name in ("background_variability_percent", "cov_percent")]
        body.append(tuple(map(Cell, cells)))
    return Table(tuple(heading), tuple(body))


def nema_figure(path: str | Path, rows: Sequence[Row]) -> Path:
    """Draw every measure against the sphere's diameter, a column for each scan; returns the path."""
    from matplotlib.figure import Figure

    scans = _scans(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure((3.4 * len(scans), 3.1 * len(MEASURES)), layout="tight")
    axes = figure.subplots(len(MEASURES), len(scans), sharex=True, sharey="row", squeeze=False)
    for column, scan in zip(axes.T, scans, strict=True):
        for axis, (key, title) in zip(column, MEASURES, strict=True):
            for standard, colour in BANDS.items():
                if (standard, key) in EARL:
                    low, high = EARL[standard, key]
                    axis.fill_between(EARL_MM, low, high, color=colour, alpha=0.2, lw=0, label=f"EARL {standard}")
            for method in methods:
                mine = [row for row in rows if _scan(row) == scan and row["method"] == method]
                style: dict[str, Any] = {"lw": 2.2, "zorder": 3} if method.startswith("ours") else {"lw": 1.2}
                style |= {"color": "0.4", "ls": "--"} if method == "truth" else {}
                points = [row["diameter_mm"] for row in mine], [row[key] for row in mine]
                axis.plot(*points, marker="o", ms=3, label=label(method), **style)
            axis.grid(alpha=0.25)
            if axis in axes[:, 0]:
                axis.set_ylabel(title)
        column[0].set_title(f"{scan[0]}, {scan[1]} counts", fontsize=10)
        column[-1].set_xlabel("sphere diameter, mm")
    axes[1, 0].legend(fontsize=7)
    figure.suptitle("Simulated NEMA image-quality phantom. Research use only.", fontsize=9)
    return save_figure(figure, path)


def _scan(row: Row) -> tuple[str, str, str]:
    return row["setting"], row["counts"], row["input"]


def _scans(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(map(_scan, rows)))
