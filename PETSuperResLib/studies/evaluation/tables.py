"""Tables of an evaluation as structured cells, which summary.md and report.html render each in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

Row = dict[str, Any]

COLUMNS = (("psnr", "PSNR dB", 2, True), ("ssim", "SSIM", 3, True), ("nmse", "NMSE", 4, False))
BODY = (("psnr_body", "PSNR body", 2, True), ("ssim_body", "SSIM body", 3, True), ("nmse_body", "NMSE body", 4, False))
SIZES = (("below 1 mL", 0.0, 1.0), ("1 to 10 mL", 1.0, 10.0), ("10 mL and more", 10.0, np.inf))  # 12 and 27 mm across
LESION_HEADING = (
    "Method",
    "median abs delta SUVmax %",
    "median abs delta SUVmean %",
    "mean delta SUVmax %",
    "lesion NMSE",
)
TESTED_CASES = 6  # with fewer, the paired test cannot reach p < 0.05


@dataclass(frozen=True)
class Cell:
    """A cell's text, its ``rank`` in the column (1 best, 2 second, else 0), and whether it differs from the best."""

    text: str
    rank: int = 0
    star: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells; the first cell of a row is the method's name."""

    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    lines: tuple[str, ...] = ()  # what the reader should know before the table


@dataclass(frozen=True)
class Group:
    """What belongs into one pair of tables: the rows of a reference, a setting and a count level."""

    reference: str
    setting: str
    counts: str
    metrics: tuple[Row, ...]
    lesions: tuple[Row, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """The cases, in the order of the rows."""
        return tuple(dict.fromkeys(str(r["patient"]) for r in self.metrics))

    @property
    def title(self) -> str:
        """Heading of the tables."""
        condition = f"setting {self.setting}, {self.counts} counts, {len(self.patients)} cases"
        return f"{self.reference.capitalize()} references, {condition}"


def key_of(row: Row) -> tuple[str, str, str]:
    """Reference, setting and count level of a row of either table."""
    return row["reference"], row["setting"], row["counts"]


def groups(metrics: Sequence[Row], lesions: Sequence[Row]) -> list[Group]:
    """The rows by reference, setting and count level, in the order in which these first occur."""
    return [
        Group(*key, tuple(r for r in metrics if key_of(r) == key), tuple(r for r in lesions if key_of(r) == key))
        for key in dict.fromkeys(key_of(r) for r in metrics)
    ]


def methods_of(rows: Iterable[Row]) -> list[str]:
    """The methods' names, in the order in which they first occur."""
    return list(dict.fromkeys(r["method"] for r in rows))


def number(value: Any) -> float:
    """A cell of a row as a number; NaN for an empty one."""
    return float("nan") if value is None or value == "" else float(value)


def by_patient(rows: Iterable[Row], method: str, column: str) -> dict[str, float]:
    """A method's values of a column, by patient."""
    return {r["patient"]: number(r[column]) for r in rows if r["method"] == method}


def mean_sd(values: Iterable[float], digits: int) -> str:
    """``mean +- standard deviation`` (of the sample) with that many digits."""
    array = np.array(list(values))
    return f"{array.mean():.{digits}f} +- {array.std(ddof=1) if len(array) > 1 else 0:.{digits}f}"


def metric_table(rows: Sequence[Row]) -> Table:
    """Mean and standard deviation of every metric over the patients of one group, and mean seconds.

    Best and second are by the mean. A star says that a method differs from the best one (paired Wilcoxon
    over the patients that both have, p < 0.05, from six patients on).
    """
    methods = methods_of(rows)
    columns = COLUMNS + BODY
    ranked = [_ranked(rows, methods, *column) for column in columns]
    body = []
    for method in methods:
        seconds = np.mean([number(r["seconds"]) for r in rows if r["method"] == method])
        body.append((Cell(method), *(cells[method] for cells in ranked), Cell(f"{seconds:.1f}")))
    heading = ("Method", *(title for _, title, *_ in columns), "seconds")
    return Table(heading, tuple(body), _incomplete(rows, methods))


def _incomplete(rows: Sequence[Row], methods: Sequence[str]) -> tuple[str, ...]:
    """A warning where not every method has every patient, so that means cannot be compared."""
    everybody = len({r["patient"] for r in rows})
    short = [(m, len({r["patient"] for r in rows if r["method"] == m})) for m in methods]
    missing = ", ".join(f"{m} has {n}" for m, n in short if n < everybody)
    return (f"Not every method has all {everybody} cases ({missing}): their means are over others.",) if missing else ()


def _ranked(rows: Sequence[Row], methods: Sequence[str], key: str, _: str, digits: int, up: bool) -> dict[str, Cell]:
    values = {m: by_patient(rows, m, key) for m in methods}
    means = {m: float(np.mean(list(found.values()))) for m, found in values.items()}
    order = sorted((m for m in methods if np.isfinite(means[m])), key=lambda m: means[m], reverse=up)
    return {
        m: Cell(
            mean_sd(values[m].values(), digits),
            order.index(m) + 1 if m in order[:2] else 0,
            bool(order) and m != order[0] and _differs(values[m], values[order[0]]),
        )
        for m in methods
    }


def _differs(mine: dict[str, float], best: dict[str, float]) -> bool:
    both = [p for p in mine if p in best]
    one, other = (np.array([values[p] for p in both]) for values in (mine, best))
    return len(both) >= TESTED_CASES and bool((one != other).any()) and bool(wilcoxon(one, other).pvalue < 0.05)


def lesion_table(rows: Sequence[Row]) -> Table | None:
    """SUV errors over the lesions of one group; None where no lesion was measured."""
    if not rows:
        return None
    body = []
    for method in methods_of(rows):
        mine = [r for r in rows if r["method"] == method]
        top, mean, error = (
            np.array([number(r[k]) for r in mine]) for k in ("delta_suvmax_percent", "delta_suvmean_percent", "nmse")
        )
        texts = (
            method,
            f"{np.nanmedian(abs(top)):.1f}",
            f"{np.nanmedian(abs(mean)):.1f}",
            f"{np.nanmean(top):+.1f}",
            f"{np.nanmean(error):.4f}",
        )
        body.append(tuple(Cell(text) for text in texts))
    count = len({(r["patient"], r["lesion"]) for r in rows})
    return Table(LESION_HEADING, tuple(body), (f"Lesions ({count}), against the reference in the same mask:",))


def size_table(rows: Sequence[Row]) -> Table | None:
    """Bias +- spread over lesions of the SUV errors, by the size of the lesion; None where no size is known."""
    sizes = [number(r.get("volume_ml")) for r in rows]
    bins = [(title, [low <= size < high for size in sizes]) for title, low, high in SIZES]
    bins = [(title, chosen) for title, chosen in bins if any(chosen)]
    if not bins:
        return None
    heading, body = ["Method"], []
    for title, chosen in bins:
        count = len({(r["patient"], r["lesion"]) for r, here in zip(rows, chosen, strict=True) if here})
        heading += [f"{title} ({count}): SUVmax %", "SUVmean %"]
    for method in methods_of(rows):
        texts = [method]
        for _, chosen in bins:
            mine = [r for r, here in zip(rows, chosen, strict=True) if here and r["method"] == method]
            for key in ("delta_suvmax_percent", "delta_suvmean_percent"):
                errors = np.array([number(r[key]) for r in mine])
                errors = errors[np.isfinite(errors)]
                texts.append(f"{errors.mean():+.1f} +- {errors.std():.1f}" if len(errors) else "")
        body.append(tuple(Cell(text) for text in texts))
    return Table(tuple(heading), tuple(body), ("By the lesion's size, mean +- standard deviation of the errors:",))
