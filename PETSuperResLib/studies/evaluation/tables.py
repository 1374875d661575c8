"""Tables of an evaluation as structured cells, which summary.md and report.html render each in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import wilcoxon

from ..subjects import is_torso

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

COLUMNS = (("psnr", "PSNR dB", 2, True), ("ssim", "SSIM", 3, True), ("nmse", "NMSE", 4, False))
BODY = (("psnr_body", "PSNR body", 2, True), ("ssim_body", "SSIM body", 3, True), ("nmse_body", "NMSE body", 4, False))
SIZES = (("below 1 mL", 0.0, 1.0), ("1 to 10 mL", 1.0, 10.0), ("10 mL and more", 10.0, np.inf))  # 12 and 27 mm across
LESION_HEADING = (
    *("Method", "median abs delta SUVmax %", "median abs delta SUVmean %", "mean delta SUVmax %", "lesion NMSE"),
    *("from 1 mL: median abs delta SUVmax %", "median abs delta SUVmean %"),
)
GAIN_HEADING = (
    *("Method", "gain dB", "worst case dB", "SSIM better", "noise %"),
    *("from 1 mL: median abs delta SUVmean %", "of the image's", "median delta SUVmax %"),
)
MARGIN_HEADING = ("Method", "gain dB", "worst case dB", "PSNR better", "SSIM better", "1 - SSIM, of the method's")
MARGIN_GROUPS = ("painted CTs: gain dB", "torsos: gain dB")
BASELINE = "interpolated"  # the clinic's image on the SR grid
FAVOURITE = "ours-standard"
MEASURABLE_ML = 1.0  # lesions of which more than a hint is asked
TITLES = {"cts": "Painted torso CT"}  # of references
TESTED_CASES = 6  # with fewer, the paired test cannot reach p < 0.05
WORDS = ("patient", "lesion", "method", "reference", "setting", "counts", "input", "told")  # no numbers


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
    lines: tuple[str, ...] = ()  # before the table


@dataclass(frozen=True)
class Condition:
    """What a subject is measured against, how it is scanned, and what the methods get.

    Parameters
    ----------
    reference : of :data:`~PETSuperResLib.studies.subjects.REFERENCES`, or ``cts``.
    setting : name of the paper's setting, or of the protocol.
    input : ``"sinogram"`` or ``"image"``.
    told : of an image, what the methods know of its resolution (:data:`.image_input.TOLD`); empty for a sinogram.
    """

    reference: str
    setting: str
    counts: str
    input: str = "sinogram"
    told: str = ""

    @classmethod
    def of(cls, row: Row) -> Condition:
        """Of a row of metrics or lesions."""
        return cls(*(str(row[name]) for name in ("reference", "setting", "counts", "input", "told")))

    @property
    def title(self) -> str:
        """In words, for headings."""
        what = f"setting {self.setting}" if self.input == "sinogram" else f"images of {self.setting}"
        told = ", true FWHM told" if self.told == "truth" else ""
        reference = TITLES.get(self.reference, self.reference.capitalize())
        return f"{reference} references, {what}, {self.counts} counts{told}"

    def case(self, patient: str) -> str:
        """Name of a patient's files."""
        parts = (patient, self.reference, self.setting, self.counts, *((self.input, self.told) if self.told else ()))
        return "_".join(parts)


@dataclass(frozen=True)
class Group:
    """What belongs into one set of tables: the rows of a condition."""

    condition: Condition
    metrics: tuple[Row, ...]
    lesions: tuple[Row, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """The cases, in the order of the rows."""
        return tuple(dict.fromkeys(str(r["patient"]) for r in self.metrics))

    @property
    def title(self) -> str:
        """Heading of the tables."""
        return f"{self.condition.title}, {len(self.patients)} cases"

    def tables(self) -> list[Table]:
        """Of the metrics, of the gains over the clinic's image where that was run, and of our own over the others."""
        found = (metric_table(self.metrics), gain_table(self.metrics, self.lesions), margin_table(self.metrics))
        return [table for table in found if table is not None]

    def lesion_tables(self) -> list[Table]:
        """Of the lesions, where any are measured."""
        found = (lesion_table(self.lesions), size_table(self.lesions))
        return [table for table in found if table is not None]


def groups(metrics: Sequence[Row], lesions: Sequence[Row]) -> list[Group]:
    """The rows by condition, in the order in which these first occur."""

    def of(rows: Sequence[Row], one: Condition) -> tuple[Row, ...]:
        return tuple(row for row in rows if Condition.of(row) == one)

    return [Group(one, of(metrics, one), of(lesions, one)) for one in dict.fromkeys(map(Condition.of, metrics))]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a data frame whose measures are numbers, NaN where a cell is empty."""
    import pandas as pd

    table = pd.DataFrame(list(rows))
    measures = table.columns.difference(WORDS)
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in measures})


def by_method(rows: Iterable[Row]) -> dict[str, pd.DataFrame]:
    """The rows of each method, in the order in which the methods first occur."""
    table = frame(rows)
    return {str(name): mine for name, mine in table.groupby("method", sort=False)} if len(table) else {}


def of_both(rows: Iterable[Row], one: str, other: str) -> list[Row]:
    """The rows of two methods, of the patients that both have a row of."""
    mine = [row for row in rows if row["method"] in (one, other)]
    shared = set.intersection(*({row["patient"] for row in mine if row["method"] == name} for name in (one, other)))
    return [row for row in mine if row["patient"] in shared]


def mean_sd(values: Iterable[float], digits: int) -> str:
    """``mean +- standard deviation`` (of the sample) with that many digits."""
    array = np.array(list(values))
    return f"{array.mean():.{digits}f} +- {array.std(ddof=1) if len(array) > 1 else 0:.{digits}f}"


def metric_table(rows: Sequence[Row]) -> Table:
    """Mean and standard deviation of every metric over the patients of one group, and mean seconds.

    Best and second are by the mean. A star: the method differs from the best one (paired Wilcoxon
    over the patients that both have, p < 0.05, from six patients on).
    """
    methods = by_method(rows)
    columns = COLUMNS + BODY
    ranked = [_ranked(methods, *column) for column in columns]
    body = tuple(
        (Cell(name), *(cells[name] for cells in ranked), Cell(f"{mine['seconds'].mean():.1f}"))
        for name, mine in methods.items()
    )
    count = len({r["patient"] for r in rows})
    short = ", ".join(f"{name} has {len(mine)}" for name, mine in methods.items() if mine["patient"].nunique() < count)
    warning = (f"Not every method has all {count} cases ({short}): their means are over others.",) if short else ()
    return Table(("Method", *(title for _, title, *_ in columns), "seconds"), body, warning)


def _ranked(methods: dict[str, pd.DataFrame], key: str, _: str, digits: int, up: bool) -> dict[str, Cell]:
    values = {name: mine.set_index("patient")[key] for name, mine in methods.items()}
    means = {name: float(column.mean(skipna=False)) for name, column in values.items()}
    order = sorted((name for name in methods if np.isfinite(means[name])), key=lambda name: means[name], reverse=up)
    return {
        name: Cell(
            mean_sd(values[name], digits),
            order.index(name) + 1 if name in order[:2] else 0,
            bool(order) and name != order[0] and _differs(values[name], values[order[0]]),
        )
        for name in methods
    }


def _differs(mine: pd.Series, best: pd.Series) -> bool:
    """Of cases that are equal the test knows nothing: without them it is exact in every version of scipy."""
    one, other = mine.align(best, join="inner")
    difference = (one - other).dropna()
    difference = difference[difference != 0]
    return len(difference) >= TESTED_CASES and bool(wilcoxon(difference).pvalue < 0.05)


def gain_table(metrics: Sequence[Row], lesions: Sequence[Row]) -> Table | None:
    """What each method changes of the clinic's image, for the cases that both have; None where that was not run.

    Gain in PSNR (mean, and of the worst case), cases of higher SSIM, noise; of the lesions of :data:`MEASURABLE_ML` or
    more the median SUVmean error, without sign and as a share of the clinic's image's, and the median SUVmax error.
    """
    names, body = list(by_method(metrics)), []
    if BASELINE not in names:
        return None
    for name in names:
        pair, margin = by_method(of_both(metrics, name, BASELINE)), Margin.of(metrics, name, BASELINE)
        if margin is None:
            body.append(tuple(map(Cell, [name, *[""] * (len(GAIN_HEADING) - 1)])))
            continue
        measured = {n: _large(mine) for n, mine in by_method(of_both(lesions, name, BASELINE)).items()}
        changes = ("", "", "") if name == BASELINE else (
            f"{margin.gain:+.2f}", f"{margin.worst:+.2f}", f"{margin.ssim} of {margin.cases}"
        )  # fmt: skip
        cells = [name, *changes, f"{pair[name]['noise_percent'].mean():.1f}"]
        if all(len(measured.get(n, ())) for n in (name, BASELINE)):
            error, other = (measured[n]["delta_suvmean_percent"].abs().median() for n in (name, BASELINE))
            top = measured[name]["delta_suvmax_percent"].median()
            cells += [f"{error:.1f}", f"{error / other:.2f}" if other else "", f"{top:+.1f}"]
        body.append(tuple(map(Cell, [*cells, *[""] * (len(GAIN_HEADING) - len(cells))])))
    return Table(GAIN_HEADING, tuple(body), (f"Against the clinic's image ({BASELINE}):",))


@dataclass(frozen=True)
class Margin:
    """How much better one method is than another, over the cases that both have.

    Parameters
    ----------
    gain, worst : in PSNR, the mean and that of the worst case, in dB.
    painted, torsos : the mean in cases that are none, and in generated torsos; NaN without any.
    psnr, ssim : cases in which it is better.
    ratio : its mean of 1 - SSIM over the other's.
    """

    cases: int
    gain: float
    worst: float
    painted: float
    torsos: float
    psnr: int
    ssim: int
    ratio: float

    @classmethod
    def of(cls, metrics: Sequence[Row], one: str, other: str) -> Margin | None:
        """From the rows of a group; None without a case that both have."""
        pair = by_method(of_both(metrics, one, other))
        if not pair:
            return None
        mine, base = (pair[name].set_index("patient") for name in (one, other))
        base = base.reindex(mine.index)
        gain, torso = mine["psnr"] - base["psnr"], np.array([is_torso(str(name)) for name in mine.index])
        return cls(
            *(len(mine), float(gain.mean()), float(gain.min())),
            *(float(gain[~torso].mean()), float(gain[torso].mean())),
            *(int((gain > 0).sum()), int((mine["ssim"] > base["ssim"]).sum())),
            float((1 - mine["ssim"]).mean() / (1 - base["ssim"]).mean()),
        )

    def cells(self) -> tuple[str, ...]:
        """Texts of :data:`MARGIN_HEADING` after the method's name."""
        better = (f"{count} of {self.cases}" for count in (self.psnr, self.ssim))
        return (f"{self.gain:+.2f}", f"{self.worst:+.2f}", *better, f"{self.ratio:.2f}")


def best_oracle(metrics: Sequence[Row]) -> str:
    """The oracle of the highest mean PSNR of a group's cases; empty where none was run."""
    means = {name: float(mine["psnr"].mean()) for name, mine in by_method(metrics).items() if name.endswith("-oracle")}
    return max(means, key=lambda name: means[name], default="")


def margin_table(metrics: Sequence[Row]) -> Table | None:
    """What :data:`FAVOURITE` gains over each other method, by :class:`Margin`; None where it was not run."""
    names = [name for name in by_method(metrics) if name != FAVOURITE]
    margins = {name: found for name in names if (found := Margin.of(metrics, FAVOURITE, name))}
    if not margins:
        return None
    mixed = all(np.isfinite((found.painted, found.torsos)).all() for found in margins.values())
    body = []
    for name, found in margins.items():
        groups = (f"{found.painted:+.2f}", f"{found.torsos:+.2f}") if mixed else ()
        body.append(tuple(map(Cell, (name, *found.cells(), *groups))))
    heading = (*MARGIN_HEADING, *(MARGIN_GROUPS if mixed else ()))
    return Table(heading, tuple(body), (f"{FAVOURITE} against each other method, over the cases that both have:",))


def _large(lesions: pd.DataFrame) -> pd.DataFrame:
    """The lesions of :data:`MEASURABLE_ML` or more; none where no volume is known."""
    return lesions[lesions["volume_ml"] >= MEASURABLE_ML] if "volume_ml" in lesions else lesions[:0]


def lesion_table(rows: Sequence[Row]) -> Table | None:
    """SUV errors over the lesions of one group; None where no lesion was measured."""
    body = []
    for name, mine in by_method(rows).items():
        top, mean, error = (mine[key] for key in ("delta_suvmax_percent", "delta_suvmean_percent", "nmse"))
        texts = [f"{top.abs().median():.1f}", f"{mean.abs().median():.1f}", f"{top.mean():+.1f}", f"{error.mean():.4f}"]
        large = _large(mine)
        texts += [f"{large[key].abs().median():.1f}" if len(large) else "" for key in (top.name, mean.name)]
        body.append(tuple(map(Cell, (name, *texts))))
    count = len({(r["patient"], r["lesion"]) for r in rows})
    line = f"Lesions ({count}), against the reference in the same mask:"
    return Table(LESION_HEADING, tuple(body), (line,)) if rows else None


def size_table(rows: Sequence[Row]) -> Table | None:
    """Bias +- spread over lesions of the SUV errors, by the size of the lesion; None where no size is known."""
    table = frame(rows)
    if "volume_ml" not in table or not table["volume_ml"].notna().any():
        return None
    heading, body = ["Method"], {str(name): [Cell(str(name))] for name in table["method"].unique()}
    for title, low, high in SIZES:
        mine = table[(table["volume_ml"] >= low) & (table["volume_ml"] < high)]
        if not len(mine):
            continue
        heading += [f"{title} ({len(mine.drop_duplicates(['patient', 'lesion']))}): SUVmax %", "SUVmean %"]
        for name, cells in body.items():
            for key in ("delta_suvmax_percent", "delta_suvmean_percent"):
                errors = mine.loc[mine["method"] == name, key].dropna()
                cells.append(Cell(f"{errors.mean():+.1f} +- {errors.std(ddof=0):.1f}" if len(errors) else ""))
    lines = ("By the lesion's volume within the slices, mean +- standard deviation of the errors:",)
    return Table(tuple(heading), tuple(map(tuple, body.values())), lines)
