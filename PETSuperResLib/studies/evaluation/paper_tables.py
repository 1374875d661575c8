"""The paper's Tables 2 and 3 as data, and our numbers beside them.

The paper's patients (10 of FDG-PET-CT-Lesions), counts and projector are others than ours. So values do not
compare; the order of the methods and the margins between them do, with care.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .labels import label
from .tables import Cell, Row, Table, by_method, groups, mean_sd

INTRODUCTION = (
    "Paper: Yang et al., Tables 2 and 3. Its patients (10 of FDG-PET-CT-Lesions) and counts are others than "
    "here, so the values cannot be compared: only the order of the methods and the margins between them can."
)
METRICS = (("psnr", "PSNR dB", 2), ("ssim", "SSIM", 3), ("nmse", "NMSE", 4))


@dataclass(frozen=True)
class Published:
    """A row of the paper: its table, its name, our names of it, and PSNR in dB, SSIM and NMSE as printed."""

    table: int
    setting: str
    name: str
    methods: tuple[str, ...]
    psnr: str  # "mean +- standard deviation", as the others
    ssim: str
    nmse: str

    def mean(self, metric: str) -> float:
        """Of a metric."""
        return float(getattr(self, metric).split(" ")[0])


@cache
def published() -> tuple[Published, ...]:
    """The paper's rows, in its order."""
    rows = csv.DictReader(Path(__file__).with_suffix(".csv").read_text(encoding="utf-8").splitlines())
    return tuple(
        Published(int(table), setting, name, tuple(methods.split()), *metrics)
        for table, setting, name, methods, *metrics in (row.values() for row in rows)
    )


def beside_paper(metrics: Sequence[Row]) -> list[tuple[str, Table]]:
    """A title and a table for every group of rows that the paper has methods of (two or more in common).

    Table 2's margins are to LR, Table 3's to the full method. They are left empty where that was not run.
    """
    found = []
    for group in groups(metrics, ()):
        run = by_method(group.metrics)
        for table, anchor in ((2, "lr"), (3, "ours-paper")):
            mine = [p for p in published() if (p.table, p.setting) == (table, group.condition.setting.lower())]
            pairs = [(p, m) for p in mine for m in p.methods if m in run]
            if len({p.name for p, _ in pairs}) > 1:
                found.append((f"Table {table}: {group.title}", side_by_side(pairs, group.metrics, anchor)))
    return found


def side_by_side(pairs: Sequence[tuple[Published, str]], rows: Sequence[Row], anchor: str) -> Table:
    """Every metric as published and as measured here, then the margin in PSNR to the method ``anchor``, both ways.

    ``pairs`` are rows of the paper with the method of ours that they belong to; ``rows`` are the metric rows of
    one group.
    """
    margin = f"dB over {label(anchor)}"
    heading = [f"{title}, {where}" for title in (*(t for _, t, _ in METRICS), margin) for where in ("paper", "here")]
    base = next((p.mean("psnr") for p, m in pairs if m == anchor), None)
    measured = by_method(rows)
    mine = {m: float(measured[m]["psnr"].mean()) for _, m in pairs}
    body = []
    for row, method in pairs:
        cells = [Cell(method)]
        for metric, _, digits in METRICS:
            cells += [Cell(getattr(row, metric)), Cell(mean_sd(measured[method][metric], digits))]
        for value, zero in ((row.mean("psnr"), base), (mine[method], mine.get(anchor))):
            cells.append(Cell("" if zero is None or method == anchor else f"{round(value - zero, 2) + 0.0:+.2f}"))
        body.append(tuple(cells))
    return Table(("Method", *heading), tuple(body), (_orders(pairs, mine),))


def _orders(pairs: Sequence[tuple[Published, str]], mine: dict[str, float]) -> str:
    """The methods from best to worst PSNR, in the paper and here."""
    paper = sorted({p.name: p.mean("psnr") for p, _ in pairs}.items(), key=lambda item: -item[1])
    here = sorted(mine, key=lambda m: -mine[m])
    return f"By PSNR, in the paper: {' > '.join(n for n, _ in paper)}; here: {' > '.join(label(m) for m in here)}."
