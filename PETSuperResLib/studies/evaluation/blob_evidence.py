"""Whether the evidence of a result's hot blobs separates those that the reference has from those that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage, stats

from ...lesions.blobs import Blob, find_blobs
from ...lesions.evidence import SUPPORTED, blob_evidence
from ...problem import Problem
from ..plotting import save_figure
from .summary import markdown
from .tables import Cell, Table

COLUMNS = (
    *("patient", "reference", "setting", "counts", "input", "variant", "k", "j", "i"),
    *("suvmax", "surroundings", "volume_ml", "evidence_sigma", "lacking", "false"),
)
FALSE = 0.5  # share of a blob's uptake above its surroundings that the reference lacks
CLEAR = 0.75  # share from which a false blob is no exaggeration of what the reference has
SHELL_MM = 8.0  # about a blob, in which the result's offset from the reference is measured


def lacking(blob: Blob, result: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Share of a blob's uptake above its surroundings that a reference ``(K, J, I)`` in SUV lacks.

    The part of ``result - reference`` that has the blob's shape (least squares), after its median in the shell of 8 mm
    around the blob is taken off. 0 for a blob that the reference has as it is, 1 where it has none, below 0 where it
    has more. The blob is false from 1/2 on: so a small organ or vessel that the result shows too hot is true up to
    twice its contrast, and noise at the edge of an organ is false. ``spacing`` is (i, j, k) in mm.
    """
    error = (result - reference)[blob.block]
    distance = ndimage.distance_transform_edt(~blob.inside, spacing[::-1])
    error = error - np.median(error[(distance > 0) & (distance <= SHELL_MM)])
    return float((blob.excess * error).sum() / (blob.excess**2).sum())


def blob_rows(
    problem: Problem, estimate: np.ndarray, reference: np.ndarray, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row per hot blob of an estimate ``(K, J, I)`` in SUV, the reference on the same grid."""
    grid = problem.grid
    blobs = find_blobs(estimate, grid.spacing)
    sigmas = blob_evidence(problem.data(problem.expected(estimate)), estimate, blobs)
    rows = []
    for blob, sigma in zip(blobs, sigmas, strict=True):
        share = lacking(blob, estimate, reference, grid.spacing)
        place = dict(zip("kji", blob.peak, strict=True))
        found = {"suvmax": blob.suvmax, "surroundings": blob.surroundings, "evidence_sigma": sigma, "lacking": share}
        rows.append(facts | place | found | {"volume_ml": blob.inside.sum() * grid.voxel_ml, "false": share >= FALSE})
    return rows


def roc_area(true: np.ndarray, false: np.ndarray) -> float:
    """Area under the ROC curve of the evidence of true and false blobs (Mann and Whitney's U); NaN without either."""
    if not len(true) or not len(false):
        return float("nan")
    return float(stats.mannwhitneyu(true, false, method="asymptotic").statistic / (len(true) * len(false)))


def evidence_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The section of the document: a table of the variants."""
    columns = (
        *("Variant", "true blobs", "false blobs", "area under the ROC curve", "90 % interval", "clearly false", "area"),
        *(f"true, below {SUPPORTED:g} sigma", f"false, {SUPPORTED:g} sigma and more"),
    )
    told = (
        "All references together. A blob is false where the reference lacks half or more of its uptake above the "
        f"surroundings, and clearly false from {CLEAR:.0%} on: between them lie blobs that exaggerate something small. "
        f"Those below {SUPPORTED:g} sigma are flagged as not supported by the data. Interval: bootstrap over subjects."
    )
    body = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        true, false = _sigmas(mine)
        low, high = _interval(mine)
        clear = np.array([row["evidence_sigma"] for row in mine if row["lacking"] >= CLEAR])
        interval = "" if np.isnan(low) else f"{low:.2f} to {high:.2f}"
        cells = [variant, len(true), len(false), _shown(roc_area(true, false)), interval]
        cells += [len(clear), _shown(roc_area(true, clear))]
        cells += [(true < SUPPORTED).sum(), (false >= SUPPORTED).sum()]
        body.append(tuple(Cell(str(cell)) for cell in cells))
    return ["## Evidence of hot blobs", "", *markdown(Table(columns, tuple(body), (told,))), ""]


def plot_evidence(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """ROC curves of the variants, and the evidence of all true and all false blobs."""
    from matplotlib.figure import Figure

    figure = Figure((9.5, 4.4), layout="tight")
    curves, bars = figure.subplots(1, 2)
    for variant in dict.fromkeys(row["variant"] for row in rows):
        true, false = _sigmas([row for row in rows if row["variant"] == variant])
        if len(true) and len(false):
            limits = np.sort([*true, *false, np.inf])[::-1]
            parts = ([np.mean(sigmas >= limit) for limit in limits] for sigmas in (false, true))
            curves.plot(*parts, drawstyle="steps-post", lw=1.2, label=f"{variant}: {roc_area(true, false):.2f}")
    curves.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    curves.set(xlabel="share of the false blobs above a limit", ylabel="share of the true blobs", title="ROC curves")
    curves.legend(fontsize=7, loc="lower right")
    true, false = _sigmas(rows)
    bins = np.geomspace(1, max(100.0, *true, *false), 25)
    bars.hist([true.clip(1), false.clip(1)], bins, label=[f"{len(true)} true", f"{len(false)} false"])
    bars.axvline(SUPPORTED, color="0.3", lw=0.8, ls="--")
    bars.set(xscale="log", xlabel="evidence, sigma (1 and less: 1)", ylabel="blobs of all variants")
    bars.legend()
    save_figure(figure, path)


def _shown(area: float) -> str:
    """Two digits, or nothing where there is none."""
    return "" if np.isnan(area) else f"{area:.2f}"


def _sigmas(rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of the true and of the false blobs."""
    true, false = ([row["evidence_sigma"] for row in rows if row["false"] == wrong] for wrong in (False, True))
    return np.array(true), np.array(false)


def _interval(rows: Sequence[dict[str, Any]], draws: int = 200) -> tuple[float, float]:
    """5th and 95th percentile of the area over subjects drawn anew; those without a false blob count as well."""
    names = [(row["patient"], row["reference"]) for row in rows]
    groups = [[row for row, n in zip(rows, names, strict=True) if n == name] for name in dict.fromkeys(names)]
    random = np.random.default_rng(0)
    areas = []
    for _ in range(draws):
        drawn = [row for n in random.integers(0, len(groups), len(groups)) for row in groups[n]]
        areas.append(roc_area(*_sigmas(drawn)))
    if np.isnan(areas).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(areas, [5, 95])
    return float(low), float(high)
