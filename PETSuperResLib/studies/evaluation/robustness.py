"""The effect of a wrong scanner, wrong counts, no CT or another patient's CT on the result and on its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...device import pick_device
from ...dispersion import with_measured_dispersion
from ...errors import InputError
from ...files import write_csv, write_text
from ...physics.measurement import Measurement
from ...prior import Prior
from ...prior.denoiser import AIR_HU
from ...problem import Problem
from ...progress import Callback, Reporter
from ...reconstruction import solve
from ...sampling import Sampler, Slabs
from ...volume import Volume
from ..methods import MethodCase
from ..subjects import Cohort, Subject, fresh_torsos, middle
from . import blob_evidence
from .false_lesions import FALSE, SPOT_MM, false_lesions
from .image_input import effective_fwhm, image_problem
from .metrics import body_mask, whole_field, within_body
from .summary import heading, markdown
from .tables import Cell, Table

COLUMNS = (
    *("patient", "reference", "setting", "counts", "variant", "psnr", "ssim", "nmse", "psnr_body", "change_db"),
    *("false_lesions", "false_contrast", "slices", "input"),
)
HEADING = (
    *("Variant", "PSNR dB", "SSIM", "NMSE", "mean change dB", "worst change dB"),
    *("false lesions", "highest false contrast"),
)
BLOBS = "robustness_blobs"
FURTHER_TABLES = {BLOBS: blob_evidence.COLUMNS}


@dataclass(frozen=True)
class Variant:
    """A departure from what is so: the changes of resolution, counts, noise or CT given to the method."""

    name: str
    fwhm: float = 1.0  # factor of the PSF's width
    counts: float = 1.0  # factor of the effective counts that the image is taken to have
    believed: bool = False  # the counts are taken as they are stated, whatever their dispersion
    noise: float = 1.0  # factor of the noise that is measured in the image
    told: str = "header"  # what is known of the image's resolution, of TOLD
    ct: str = "own"  # "own", "withheld", "another"


NO_CT, OTHER_CT = "CT withheld", "another patient's CT"
WRONG_MODEL = ("narrow", "wide", "assumed", "stated")  # how the names of the others end
MODEL_DB, CT_DB = 0.5, 0.3  # aims: loss of PSNR at most, in the mean
COMMON = (
    Variant("as it is"),
    Variant("FWHM 20 % too narrow", fwhm=0.8),
    Variant("FWHM 20 % too wide", fwhm=1.2),
    Variant(NO_CT, ct="withheld"),
    Variant(OTHER_CT, ct="another"),
)
VARIANTS = {
    "sinogram": (
        *COMMON,
        Variant("half the counts assumed", counts=0.5),
        Variant("twice the counts assumed", counts=2.0),
        Variant("twice the counts, their dispersion not measured", counts=2.0, believed=True),
    ),
    "image": (
        *COMMON,
        Variant("the FWHM told that fits the truth", told="truth"),
        Variant("half the noise stated", noise=0.5),
        Variant("twice the noise stated", noise=2.0),
    ),
}


def robustness_study(
    cohort: Cohort,
    out: str | Path,
    quality: str = "standard",
    torsos: int = 0,
    progress: Callback | None = None,
    command: str = "",
) -> Path:
    """Run every variant on the cohort's subjects, and on so many ``torsos`` that no other study uses.

    Writes robustness.csv, robustness_blobs.csv (a row per hot blob), robustness.png and robustness.md, and returns
    the last.
    """
    report, prior, out = Reporter(progress), Prior.load(cohort.prior), Path(out)
    chosen = cohort.subjects()
    chosen += [s if cohort.slices is None else middle(s, cohort.slices) for s in fresh_torsos(torsos)]
    rows: list[dict[str, Any]] = []
    blobs: list[dict[str, Any]] = []
    for number, subject in enumerate(chosen):
        other = _another(chosen, number)
        report(f"{subject.name} ({subject.reference})", number / len(chosen))
        found, seen = _one(subject, other, cohort, quality, prior)
        rows, blobs = rows + found, blobs + seen
        write_csv(out / "robustness.csv", rows, COLUMNS)
        write_csv(out / f"{BLOBS}.csv", blobs, blob_evidence.COLUMNS)
        progressed = f"{number + 1} of {len(chosen)} subjects."
        write_robustness(out, rows, blobs, [*heading("Robustness", command, prior), progressed, ""], quality)
    report("done", 1.0)
    return out / "robustness.md"


def _another(chosen: Sequence[Subject], number: int) -> Subject:
    """The next subject of another anatomy: own PET and painted uptake of a patient have the same CT."""
    others = [one for one in (*chosen[number + 1 :], *chosen[:number]) if one.name != chosen[number].name]
    if not others:
        raise InputError("Another patient's CT is tried, too: choose two patients or more, or a torso.", "limit")
    return others[0]


def _one(
    subject: Subject, other: Subject, cohort: Cohort, quality: str, prior: Prior
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the variants, and those of their blobs."""
    pet, ct, mask = subject.load()
    simulation = cohort.scan(pet, ct)
    truth, own = simulation.truth, ct.resample_to(simulation.truth, "linear", AIR_HU)
    body = body_mask(own)
    lesions = None if mask is None else mask.resample_to(truth, "nearest").array > 0
    rows: list[dict[str, Any]] = []
    blobs: list[dict[str, Any]] = []
    case = MethodCase(simulation, ct, prior, cohort.seed, cohort.device, cohort.input)
    sampler = Sampler.get(quality, cohort.input)
    for variant in VARIANTS[cohort.input]:
        problem = _problem(case, variant, _guide(variant, own, other))
        estimate, _ = solve(Slabs(problem, prior), sampler, cohort.seed)
        volume = case.on_grid(problem.grid.with_array(estimate, "SUVbw"))
        scores = whole_field(truth, volume) | within_body(truth, volume, body)
        first = rows[0]["psnr"] if rows else scores["psnr"]
        facts = {"patient": subject.name, "reference": subject.reference, "setting": cohort.setting}
        facts |= {"counts": cohort.counts, "variant": variant.name, "input": cohort.input}
        spots = false_lesions(truth.array, volume.array, body, lesions, (truth.spacing[1], truth.spacing[0]))
        found = dict(zip(("false_lesions", "false_contrast", "slices"), spots, strict=True))
        rows.append(facts | scores | {"change_db": scores["psnr"] - first} | found)
        reference = truth.resample_to(problem.grid, "cubic").array
        blobs += blob_evidence.blob_rows(problem, estimate, reference, facts)
    return rows, blobs


def _problem(case: MethodCase, variant: Variant, ct: Volume) -> Problem:
    """As a user has it of the sinogram or the clinic's image, but for the variant's statements and CT."""
    if case.input == "sinogram":
        measurement = _mismatched(case.simulation.measurement, variant)
        problem = Problem.make(measurement, case.simulation.truth, ct, pick_device(case.device))
        return problem if variant.believed else with_measured_dispersion(problem)
    stated = {}
    if variant.told == "truth":
        stated["fwhm"] = effective_fwhm(case.simulation)
    if variant.fwhm != 1:
        stated["fwhm"] = variant.fwhm * case.resolution.fwhm_mm[0]
    if variant.noise != 1:
        stated["noise"] = variant.noise * image_problem(case).facts["noise"]["percent_at_suv_1"]
    return image_problem(case, ct, **stated)


def _guide(variant: Variant, own: Volume, other: Subject) -> Volume:
    """The CT that the method is given, on the grid of the truth, as the patient's own is."""
    if variant.ct == "withheld":
        return own.with_array(np.full_like(own.array, AIR_HU), "HU")
    if variant.ct == "another":
        ct = other.load()[1]
        return own.with_array(_centred(ct.resample_to(ct.grid(own.spacing), "linear", AIR_HU).array, own), "HU")
    return own


def _centred(array: np.ndarray, grid: Volume) -> np.ndarray:
    """An array cut or padded with air about its middle to a grid's shape."""
    spare = [have - wanted for have, wanted in zip(array.shape, grid.shape, strict=True)]
    array = array[
        tuple(slice(max(0, n) // 2, max(0, n) // 2 + size) for n, size in zip(spare, grid.shape, strict=True))
    ]
    widths = [(max(0, -n) // 2, max(0, -n) - max(0, -n) // 2) for n in spare]
    return np.ascontiguousarray(np.pad(array, widths, constant_values=AIR_HU), np.float32)


def _mismatched(measurement: Measurement, variant: Variant) -> Measurement:
    """The measurement with the variant's scanner and counts: the same image, of more or fewer counts."""
    scanner, factor = measurement.scanner, variant.counts
    return replace(
        measurement,
        scanner=replace(scanner, fwhm_transaxial_mm=variant.fwhm * scanner.fwhm_transaxial_mm),
        counts=factor * measurement.counts,
        background=factor * measurement.background,
        scale=factor * measurement.scale,
    )


def write_robustness(
    out: Path, rows: Sequence[dict[str, Any]], blobs: Sequence[dict[str, Any]], lines: list[str], quality: str
) -> None:
    """robustness.md, which begins with ``lines``, and robustness.png of the rows of the two tables."""
    first = rows[0]
    what = "Images" if first["input"] == "image" else "Sinograms"
    lines = [*lines, f"{what} of {first['setting']}, {first['counts']} counts, {quality}.", ""]
    for reference in dict.fromkeys(r["reference"] for r in rows):
        mine = [r for r in rows if r["reference"] == reference]
        cases = len({r["patient"] for r in mine})
        lines += [f"## {reference.capitalize()} references, {cases} cases", ""]
        body = []
        for variant in dict.fromkeys(r["variant"] for r in mine):
            found = [r for r in mine if r["variant"] == variant]
            mean = {key: np.mean([r[key] for r in found]) for key in ("psnr", "ssim", "nmse", "change_db")}
            worst = min(r["change_db"] for r in found)
            cells = [variant, f"{mean['psnr']:.2f}", f"{mean['ssim']:.3f}", f"{mean['nmse']:.4f}"]
            cells += [f"{mean['change_db']:+.2f}", f"{worst:+.2f}", str(sum(r["false_lesions"] for r in found))]
            body.append(tuple(map(Cell, [*cells, f"{max(r['false_contrast'] for r in found):.2f}"])))
        slices = sum(r["slices"] for r in mine if r["variant"] == COMMON[0].name)
        lines += [
            *markdown(Table(HEADING, tuple(body))),
            "",
            f"False lesions: spots of {2 * SPOT_MM:g} mm whose contrast to their surroundings is {FALSE} times the "
            f"reference's or more (or {FALSE}, where the reference has none), in the {slices} slices without a lesion.",
            "",
        ]
    write_text(out / "robustness.md", "\n".join([*lines, *_aims(rows, blobs), *blob_evidence.evidence_lines(blobs)]))
    blob_evidence.plot_evidence(out / "robustness.png", blobs)


def _aims(rows: Sequence[dict[str, Any]], blobs: Sequence[dict[str, Any]]) -> list[str]:
    """What was aimed at, and by how much each kind of reference misses it."""
    lines = ["## Aims", ""]
    for reference in dict.fromkeys(r["reference"] for r in rows):
        mine = [r for r in rows if r["reference"] == reference]
        names = dict.fromkeys(r["variant"] for r in mine)
        loss = {n: -float(np.mean([r["change_db"] for r in mine if r["variant"] == n])) for n in names}
        seen = [b["variant"] for b in blobs if b["reference"] == reference and b["false"]]
        wrong = {n: value for n, value in loss.items() if n.endswith(WRONG_MODEL)}
        worst = max(wrong, key=lambda n: wrong[n])
        aims = {
            f"a wrong FWHM, counts or noise costs at most {MODEL_DB:g} dB: {wrong[worst]:.2f} dB ({worst})": wrong[
                worst
            ]
            <= MODEL_DB,
            f"another patient's CT costs at most {CT_DB:g} dB: {loss[OTHER_CT]:.2f} dB": loss[OTHER_CT] <= CT_DB,
            f"it makes no more false blobs than no CT: {seen.count(OTHER_CT)} and {seen.count(NO_CT)}": (
                seen.count(OTHER_CT) <= seen.count(NO_CT)
            ),
        }
        lines += [f"{reference.capitalize()} references:", ""]
        lines += [f"- {text}: {'reached' if reached else '**missed**'}." for text, reached in aims.items()]
        lines.append("")
    return lines
