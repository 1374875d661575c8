"""The paper's Tables 2 and 3 as data, and our numbers beside them.

The paper's patients (10 of FDG-PET-CT-Lesions), counts and projector are others than ours. So values do not
compare; the order of the methods and the margins between them do, with care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .labels import label
from .tables import Cell, Row, Table, by_method, groups, mean_sd

INTRODUCTION = (
    "Paper: Yang et al., Tables 2 and 3. Its patients (10 of FDG-PET-CT-Lesions) and counts are others than "
    "here, so the values cannot be compared: only the order of the methods and the margins between them can."
)
METRICS = (("psnr", "PSNR dB", 2), ("ssim", "SSIM", 3), ("nmse", "NMSE", 4))


@dataclass(frozen=True)
class Published:
    """A row of the paper: its name, our names of it, and (mean, SD) of PSNR in dB, SSIM and NMSE."""

    name: str
    methods: tuple[str, ...]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    nmse: tuple[float, float]
    digits: int = 2  # of NMSE as printed

    def printed(self, metric: str) -> str:
        """A metric as in the paper."""
        mean, sd = getattr(self, metric)
        digits, sd_digits = {"psnr": (2, 2), "ssim": (3, 2), "nmse": (self.digits, 2)}[metric]
        return f"{mean:.{digits}f} +- {sd:.{sd_digits}f}"


OURS = ("ours-paper", "ours-standard", "ours-draft")

TABLE_2 = {
    "standard": (
        Published("LR", ("lr",), (36.63, 4.56), (0.887, 0.04), (0.09, 0.05)),
        Published("DeepSR", ("deepsr",), (42.49, 3.70), (0.957, 0.02), (0.03, 0.03)),
        Published("UNet", ("unet",), (39.50, 4.55), (0.929, 0.05), (0.06, 0.07)),
        Published("SRCNN", ("srcnn",), (42.75, 3.70), (0.960, 0.02), (0.03, 0.03)),
        Published("SRDPM", ("srdpm",), (40.30, 3.29), (0.923, 0.03), (0.04, 0.05)),
        Published("PETDM", ("petdm",), (41.32, 3.27), (0.924, 0.03), (0.04, 0.05)),
        Published("ScorePET", ("scorepet",), (43.97, 3.84), (0.970, 0.02), (0.02, 0.02)),
        Published("Ours", OURS, (46.84, 3.08), (0.980, 0.01), (0.01, 0.01)),
    ),
    "ood": (
        Published("LR", ("lr",), (34.98, 3.75), (0.849, 0.05), (0.09, 0.05)),
        Published("DeepSR", ("deepsr",), (37.27, 3.31), (0.896, 0.04), (0.06, 0.05)),
        Published("UNet", ("unet",), (36.35, 3.81), (0.877, 0.07), (0.09, 0.10)),
        Published("SRCNN", ("srcnn",), (37.33, 3.32), (0.899, 0.04), (0.06, 0.05)),
        Published("SRDPM", ("srdpm",), (36.74, 3.08), (0.877, 0.05), (0.08, 0.05)),
        Published("PETDM", ("petdm",), (36.84, 3.13), (0.879, 0.05), (0.08, 0.05)),
        Published("ScorePET", ("scorepet",), (37.85, 3.35), (0.912, 0.04), (0.05, 0.04)),
        Published("Ours", OURS, (40.66, 2.86), (0.945, 0.03), (0.03, 0.03)),
    ),
}

TABLE_3 = {
    "standard": (
        Published("w/o DC", ("no-dc",), (43.92, 3.45), (0.962, 0.02), (0.018, 0.02), 3),
        Published("w/o PSF", ("no-psf",), (45.11, 3.26), (0.971, 0.02), (0.014, 0.01), 3),
        Published("w/o PPCR", ("no-ppcr",), (45.78, 3.18), (0.975, 0.01), (0.012, 0.01), 3),
        Published("CT Concat", ("ct-concat",), (45.94, 3.15), (0.976, 0.01), (0.011, 0.01), 3),
        Published("Ours", ("ours-paper",), (46.84, 3.08), (0.980, 0.01), (0.010, 0.01), 3),
    ),
}


def beside_paper(metrics: Sequence[Row]) -> list[tuple[str, Table]]:
    """A title and a table for every group of rows that the paper has methods of (two or more in common).

    Table 2's margins are to LR, Table 3's to the full method. They are left empty where that was not run.
    """
    found = []
    for group in groups(metrics, ()):
        for table, published, anchor in ((2, TABLE_2, "lr"), (3, TABLE_3, "ours-paper")):
            pairs = [(p, m) for p in published.get(group.setting.lower(), ()) for m in p.methods]
            run = by_method(group.metrics)
            pairs = [(p, m) for p, m in pairs if m in run]
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
    base = next((p.psnr[0] for p, m in pairs if m == anchor), None)
    measured = by_method(rows)
    mine = {m: float(measured[m]["psnr"].mean()) for _, m in pairs}
    body = []
    for published, method in pairs:
        cells = [Cell(method)]
        for metric, _, digits in METRICS:
            cells += [Cell(published.printed(metric)), Cell(mean_sd(measured[method][metric], digits))]
        for value, zero in ((published.psnr[0], base), (mine[method], mine.get(anchor))):
            cells.append(Cell("" if zero is None or method == anchor else f"{round(value - zero, 2) + 0.0:+.2f}"))
        body.append(tuple(cells))
    return Table(("Method", *heading), tuple(body), (_orders(pairs, mine),))


def _orders(pairs: Sequence[tuple[Published, str]], mine: dict[str, float]) -> str:
    """The methods from best to worst PSNR, in the paper and here."""
    paper = sorted({p.name: p.psnr[0] for p, _ in pairs}.items(), key=lambda item: -item[1])
    here = sorted(mine, key=lambda m: -mine[m])
    return f"By PSNR, in the paper: {' > '.join(n for n, _ in paper)}; here: {' > '.join(label(m) for m in here)}."
