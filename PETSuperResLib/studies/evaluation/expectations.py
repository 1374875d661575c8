"""What a user may expect from an image of which protocol: one table and one picture of an evaluation of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_text
from ...prior import Prior
from ..plotting import save_figure
from .summary import heading, markdown
from .tables import (
    BASELINE,
    FAVOURITE,
    MARGIN_HEADING,
    MEASURABLE_ML,
    Cell,
    Group,
    Margin,
    Row,
    Table,
    best_oracle,
    by_method,
    groups,
    of_both,
)

ABOUT = (
    "From the clinic's image (interpolated) to the result, means over cases and medians over lesions. Lesion errors "
    "are against the reference in the same mask: SUVmean without sign, SUVmax signed. Noise is the local standard "
    "deviation of the error in uniform parts, and includes the noise of an own PET."
)


@dataclass(frozen=True)
class Change:
    """A figure of the clinic's image and of the result."""

    before: float
    after: float

    def text(self, digits: int, signed: bool = False) -> str:
        """``before -> after``; empty where there is none."""
        sign = "+" if signed else ""
        return "" if np.isnan(self.after) else f"{self.before:{sign}.{digits}f} -> {self.after:{sign}.{digits}f}"


@dataclass(frozen=True)
class Expectation:
    """What the result changes of the images of one condition."""

    group: Group
    cases: int  # that have both
    fwhm_mm: float
    psnr: Change
    ssim: Change
    noise: Change
    mean: Change  # median SUVmean error without sign, of lesions from MEASURABLE_ML on
    top: Change  # median SUVmax error with sign, of the same
    small: Change  # as mean, of smaller lesions

    @classmethod
    def of(cls, group: Group, method: str) -> Expectation:
        """From the rows of a group that holds the baseline and the method, of the cases that both have."""
        pair = (BASELINE, method)
        metrics, lesions = (by_method(of_both(rows, *pair)) for rows in (group.metrics, group.lesions))

        def metric(key: str) -> Change:
            return Change(*(float(metrics[name][key].mean()) for name in pair))

        def errors(key: str, large: bool, signed: bool = False) -> Change:
            values = []
            for name in pair:
                if name not in lesions:
                    values.append(np.nan)
                    continue
                rows = lesions[name]
                mine = rows.loc[(rows["volume_ml"] >= MEASURABLE_ML) == large, key]
                values.append(float((mine if signed else mine.abs()).median()))
            return Change(*values)

        return cls(
            group,
            len(metrics[method]),
            float(metrics[method]["fwhm_mm"].mean()),
            metric("psnr"),
            metric("ssim"),
            metric("noise_percent"),
            errors("delta_suvmean_percent", True),
            errors("delta_suvmax_percent", True, True),
            errors("delta_suvmean_percent", False),
        )

    def cells(self) -> tuple[Cell, ...]:
        """The row of the table."""
        condition = self.group.condition
        texts = (
            *(condition.setting, condition.reference, str(self.cases), f"{self.fwhm_mm:.1f}"),
            *(self.psnr.text(1), f"{self.psnr.after - self.psnr.before:+.2f}", self.ssim.text(3), self.noise.text(1)),
            *(self.mean.text(0), self.top.text(0, True), self.small.text(0)),
        )
        return tuple(map(Cell, texts))


def expectations(metrics: Sequence[Row], lesions: Sequence[Row]) -> list[Expectation]:
    """Of every condition that has the clinic's image and one of our profiles (:data:`FAVOURITE`, else the last)."""
    found = []
    for group in groups(metrics, lesions):
        names = list(by_method(group.metrics))
        ours = [name for name in names if name.startswith("ours-")]
        chosen = FAVOURITE if FAVOURITE in ours else ours[-1] if ours else ""
        if of_both(group.metrics, BASELINE, chosen):
            found.append(Expectation.of(group, chosen))
    return found


def oracle_lines(metrics: Sequence[Row]) -> list[str]:
    """Each condition's best oracle, and what :data:`FAVOURITE` gains over it; none where neither was run."""
    body = []
    for group in groups(metrics, ()):
        other = best_oracle(group.metrics)
        if other and (found := Margin.of(group.metrics, FAVOURITE, other)):
            texts = (group.condition.setting, group.condition.reference, other, *found.cells())
            body.append(tuple(map(Cell, texts)))
    if not body:
        return []
    text = (
        f"{FAVOURITE} against the oracle of the highest mean PSNR, which is tuned for each case by the truth itself "
        "and chosen for each row by the truth once more: no clinic can know either."
    )
    head = ("Protocol", "Reference", "best oracle", *MARGIN_HEADING[1:-1], "1 - SSIM, of the oracle's")
    return ["## Against oracles", "", text, "", *markdown(Table(head, tuple(body))), ""]


def write_expectations(
    out: Path, metrics: Sequence[Row], lesions: Sequence[Row], prior: Prior, command: str = ""
) -> list[Path]:
    """Write protocols.md and protocols.png into ``out``; returns their paths.

    Where nothing compares there are none, and those of an earlier evaluation are removed.
    """
    found = expectations(metrics, lesions)
    if not found:
        for name in ("protocols.md", "protocols.png"):
            (out / name).unlink(missing_ok=True)
        return []
    sizes = (f"from {MEASURABLE_ML:g} mL", f"below {MEASURABLE_ML:g} mL")
    head = (
        *("Protocol", "Reference", "cases", "FWHM mm", "PSNR dB", "gain dB", "SSIM", "noise %"),
        *(f"SUVmean error {sizes[0]} %", f"SUVmax error {sizes[0]} %", f"SUVmean error {sizes[1]} %"),
    )
    lines = [*heading("Images by protocol", command, prior), ABOUT, ""]
    lines += [*markdown(Table(head, tuple(one.cells() for one in found))), "", *oracle_lines(metrics)]
    picture = expectation_figure(out / "protocols.png", found)
    return [write_text(out / "protocols.md", "\n".join(lines)), picture]


def expectation_figure(path: Path, found: Sequence[Expectation]) -> Path:
    """Draw every protocol's step from the clinic's image to the result, in four figures; returns the path."""
    from matplotlib.figure import Figure

    panels: tuple[tuple[str, str], ...] = (
        ("psnr", "PSNR, dB"),
        ("noise", "noise, %"),
        ("mean", f"SUVmean error from {MEASURABLE_ML:g} mL, %"),
        ("top", f"SUVmax error from {MEASURABLE_ML:g} mL, %"),
    )
    figure = Figure((11.0, 0.34 * len(found) + 1.4), layout="constrained")
    axes: Any = figure.subplots(1, len(panels), sharey=True)
    for axis, (key, title) in zip(axes, panels, strict=True):
        for y, one in enumerate(found):
            change, colour = getattr(one, key), {"real": "tab:blue"}.get(one.group.condition.reference, "tab:orange")
            axis.annotate("", (change.after, y), (change.before, y), arrowprops={"arrowstyle": "->", "color": colour})
            axis.plot([change.before], [y], "o", ms=4, color="0.5")
            axis.plot([change.after], [y], "o", ms=5, color=colour)
        axis.set_xlabel(title, fontsize=9)
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(labelsize=8)
        if key != "psnr":
            axis.axvline(0.0, color="0.2", lw=0.8)
    names = [f"{one.group.condition.setting}, {one.group.condition.reference}" for one in found]
    axes[0].set_yticks(range(len(found)), names, fontsize=8)
    axes[0].set_ylim(len(found) - 0.5, -0.5)
    figure.suptitle("From the clinic's image (grey) to the result. Research use only.", fontsize=9)
    return save_figure(figure, path)
