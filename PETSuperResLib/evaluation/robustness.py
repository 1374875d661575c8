"""What a wrong scanner, wrong counts, no CT or another patient's CT does to the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..lesions import write_csv
from ..metrics import body_mask, whole_field, within_body
from ..physics.simulation import Simulation, simulate
from ..prior import Prior
from ..progress import Callback, Reporter
from ..reconstruction import sample_measurement
from ..training.data import find_cases, read_split
from ..volume import Volume, atomic_path
from .references import Subject, subjects

COLUMNS = ("patient", "reference", "setting", "counts", "variant", "psnr", "ssim", "nmse", "psnr_body", "change_db")


@dataclass(frozen=True)
class Variant:
    """A departure from what is true: how the scanner, the counts or the CT that the method sees are changed."""

    name: str
    fwhm: float = 1.0  # factor of the PSF's width
    counts: float = 1.0  # factor of the effective counts that the image is taken to have
    ct: str = "own"  # "own", "withheld", "another"


VARIANTS = (
    Variant("as it is"),
    Variant("FWHM 20 % too narrow", fwhm=0.8),
    Variant("FWHM 20 % too wide", fwhm=1.2),
    Variant("half the counts assumed", counts=0.5),
    Variant("twice the counts assumed", counts=2.0),
    Variant("CT withheld", ct="withheld"),
    Variant("another patient's CT", ct="another"),
)


def robustness_study(
    data: str | Path,
    out: str | Path,
    part: str = "validation",
    references: Sequence[str] = ("real", "sharp"),
    counts: str = "realistic",
    quality: str = "standard",
    split: str | Path | None = None,
    limit: int | None = None,
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
) -> Path:
    """Run every variant on the ``part`` patients at the standard setting; writes robustness.csv and robustness.md."""
    cases = find_cases(data, read_split(data, part, split))[:limit]
    report, loaded, out = Reporter(progress), Prior.load(prior), Path(out)
    chosen = [subject for reference in references for subject in subjects(cases, reference)]
    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(chosen):
        other = chosen[(number + 1) % len(chosen)]
        report(f"{subject.name} ({subject.reference})", number / len(chosen))
        rows += _one(subject, other, counts, quality, loaded, seed, device)
        write_csv(out / "robustness.csv", rows, COLUMNS)
    _summary(out / "robustness.md", rows, quality, counts)
    report("done", 1.0)
    return out / "robustness.md"


def _one(
    subject: Subject, other: Subject, counts: str, quality: str, prior: Prior, seed: int, device: str
) -> list[dict[str, Any]]:
    pet, ct, _ = subject.load()
    simulation = simulate(pet, ct, "standard", counts, seed=seed, device=device)
    body = body_mask(ct.resample_to(simulation.truth, "linear", -1000.0))
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        volume = _restore(
            simulation, _guide(variant, ct, other, simulation.truth), variant, quality, prior, seed, device
        )
        scores = whole_field(simulation.truth, volume) | within_body(simulation.truth, volume, body)
        first = rows[0]["psnr"] if rows else scores["psnr"]
        facts = {"patient": subject.name, "reference": subject.reference, "setting": "standard", "counts": counts}
        rows.append(facts | {"variant": variant.name} | scores | {"change_db": scores["psnr"] - first})
    return rows


def _guide(variant: Variant, ct: Volume, other: Subject, grid: Volume) -> Volume:
    """The CT that the method is given, on the grid of the truth."""
    own = ct.resample_to(grid, "linear", -1000.0)
    if variant.ct == "withheld":
        return own.with_array(np.full_like(own.array, -1000.0), "HU")
    if variant.ct == "another":
        foreign = other.load()[1]
        return own.with_array(
            _centred(foreign.resample_to(foreign.grid(grid.spacing), "linear", -1000.0).array, grid), "HU"
        )
    return own


def _centred(array: np.ndarray, grid: Volume) -> np.ndarray:
    """An array cut or padded with air about its middle to a grid's shape."""
    for axis, wanted in enumerate(grid.shape):
        have = array.shape[axis]
        if have < wanted:
            before = (wanted - have) // 2
            widths = [(0, 0)] * 3
            widths[axis] = (before, wanted - have - before)
            array = np.pad(array, widths, constant_values=-1000.0)
        else:
            first = (have - wanted) // 2
            array = np.take(array, range(first, first + wanted), axis)
    return np.ascontiguousarray(array, np.float32)


def _restore(
    simulation: Simulation, ct: Volume, variant: Variant, quality: str, prior: Prior, seed: int, device: str
) -> Volume:
    """The result of a method that believes the variant."""
    measurement, factor = simulation.measurement, variant.counts
    scanner = replace(measurement.scanner, fwhm_transaxial_mm=variant.fwhm * measurement.scanner.fwhm_transaxial_mm)
    # the same image, taken for one of more or fewer counts
    believed = replace(
        measurement,
        scanner=scanner,
        counts=factor * measurement.counts,
        background=factor * measurement.background,
        scale=factor * measurement.scale,
    )
    return sample_measurement(believed, simulation.truth, ct, prior, quality, seed, device)


def _summary(path: Path, rows: list[dict[str, Any]], quality: str, counts: str) -> None:
    lines = ["# Robustness", "", f"Quality {quality}, standard setting, {counts} counts. Research use only.", ""]
    for reference in dict.fromkeys(r["reference"] for r in rows):
        mine = [r for r in rows if r["reference"] == reference]
        cases = len({r["patient"] for r in mine})
        lines += [f"## {reference.capitalize()} references, {cases} cases", ""]
        lines += ["| Variant | PSNR dB | SSIM | NMSE | mean change dB | worst change dB |", "|---|---|---|---|---|---|"]
        for variant in dict.fromkeys(r["variant"] for r in mine):
            found = [r for r in mine if r["variant"] == variant]
            mean = {key: np.mean([r[key] for r in found]) for key in ("psnr", "ssim", "nmse", "change_db")}
            worst = min(r["change_db"] for r in found)
            lines.append(
                f"| {variant} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['nmse']:.4f} "
                f"| {mean['change_db']:+.2f} | {worst:+.2f} |"
            )
        lines.append("")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
