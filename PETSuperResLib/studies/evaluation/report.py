"""report.html: an evaluation in one file that opens without the rest: tables, lesion errors, pictures, times."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ...files import write_text
from ...prior import Prior
from ...version import __version__
from ..methods import METHODS
from .figures import lesion_figure, method_figure, seconds_figure
from .labels import counts_in_words, label
from .paper_tables import INTRODUCTION, beside_paper
from .tables import TESTED_CASES, Group, by_method, groups
from .trials import Results

LIMITS = (
    "The scans are simulated: blur, counts, scatter and randoms come from a model, and the reconstructions use "
    "the same blur width. A real scanner differs from its model in ways that no row here shows.",
    "A real reference is a patient's own PET, itself noisy and blurred. No method can restore noise that it has not "
    "seen, and a method that copies the reference's noise texture would score better than one that is right. A sharp "
    "reference has no noise, but its uptake is painted and not a patient's.",
    "PSNR, SSIM and NMSE over the whole field count much air and say little about small lesions; the body columns and "
    "the lesion tables say more. None of them shows whether a reader would find or grade a lesion better.",
    "SUVmax errors are relative to the maximum of the reference, which noise raises. Contours come with the data. "
    "Lesions of one patient are not independent, and the lesion tables have no test.",
    "The stars are paired tests against the best of each column, without correction for their number. A missing star "
    "does not mean equal.",
    "Means do not show structure that a diffusion prior adds: look at the error maps, and at single patients.",
    "Seconds are of this machine, perhaps beside other programs, and without the training of methods that learn.",
)


PICTURES = (
    "The axial slice with the highest uptake of the truth; below it the framed part around the lesion (outlined), or "
    "around the hottest point; below that the signed error to the truth, on one scale for all methods. The rms error "
    "is over the whole slice, in SUV."
)


def write_report(
    out: str | Path, metrics: Sequence[dict[str, Any]], lesions: Sequence[dict[str, Any]], prior: Prior
) -> Path:
    """Write ``out/report.html`` with the tables of ``metrics`` and ``lesions`` and every picture inside.

    The slices that ``out/cases`` keeps become ``out/figures/*.png`` where these are missing or older; the
    lesion and time figures are written there too. Returns the report's path.
    """
    from jinja2 import Environment, PackageLoader

    out, found, names = Path(out), groups(metrics, lesions), list(by_method(metrics))
    sections = [
        ("about", "What was run", _about(found, prior)),
        *((f"tables-{n}", group.title, group) for n, group in enumerate(found, 1)),
        ("lesions", "Errors of each lesion", _lesions(out, lesions, names)),
        ("paper", "Beside the paper", beside_paper(metrics)),
        ("pictures", "Methods side by side", _pictures(out, found)),
        ("seconds", "Time", _seconds(out, metrics)),
        ("methods", "What each method follows", [_method(name) for name in names]),
        ("limits", "What the numbers do not show", LIMITS),
    ]
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True)
    environment.globals |= {"label": label, "base64": _base64, "note": _note, "introduction": INTRODUCTION}
    text = environment.get_template("report.html.jinja").render(sections=[s for s in sections if s[2]])
    return write_text(out / "report.html", text)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _about(found: Sequence[Group], prior: Prior) -> dict[str, str]:
    patients = list(dict.fromkeys(patient for group in found for patient in group.patients))
    scans = dict.fromkeys(counts_in_words(group.condition.setting, group.condition.counts) for group in found)
    return {
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Version": f"PETSuperRes {__version__}",
        "Prior": f"SHA-256 {prior.sha256}",
        "Prior trained on": str(prior.info.get("trained_on", "unknown data")),
        "Counts": "; ".join(scans),
        f"Cases ({len(patients)})": ", ".join(patients),
    }


def _method(name: str) -> tuple[str, ...]:
    """Label, name, needs and source of a method; of one that this version does not have, label and name."""
    if name not in METHODS:
        return label(name), name, "", ""
    method = METHODS[name]
    needs = [text for text, needed in (("CT", method.needs_ct), ("training pairs", method.needs_pairs)) if needed]
    return label(name), name, ", ".join(needs), method.description


def _note(group: Group) -> str:
    """How a group's tables are to be read."""
    count = len(group.patients)
    note = "Mean \N{PLUS-MINUS SIGN} standard deviation over cases. Bold: best; underlined: second; "
    if count < TESTED_CASES:
        return note + f"with {count} cases there is no test (it takes {TESTED_CASES})."
    return note + f"*: differs from the best (paired Wilcoxon, p < 0.05; the least possible p is {2 / 2**count:.2g})."


def _lesions(out: Path, lesions: Sequence[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    pictures = []
    for reference, counts in dict.fromkeys((r["reference"], r["counts"]) for r in lesions):
        rows = [r for r in lesions if (r["reference"], r["counts"]) == (reference, counts)]
        measured = by_method(rows)
        path = out / "figures" / f"lesions_{reference}_{counts}.png"
        lesion_figure(path, rows, [name for name in order if name in measured])
        pictures.append((path, f"Errors of each lesion by method, {reference} references, {counts} counts."))
    return {"pictures": pictures} if pictures else {}


def _pictures(out: Path, found: Sequence[Group]) -> dict[str, Any]:
    pictures, missing = [], []
    for group in found:
        for patient in group.patients:
            name = group.condition.case(patient)
            path = out / "figures" / f"{name}.png"
            if _drawn(out / "cases", name, path, list(by_method(group.metrics))):
                pictures.append((path, f"{patient}: {group.condition.title}."))
            else:
                missing.append(name)
    return {"note": PICTURES if pictures else "", "pictures": pictures, "missing": missing} if found else {}


def _drawn(folder: Path, name: str, picture: Path, methods: list[str]) -> bool:
    """Make sure of a picture that is as new as the slices; False if there are neither."""
    slices = folder / f"{name}.safetensors"
    if picture.is_file() and (not slices.is_file() or picture.stat().st_mtime >= slices.stat().st_mtime):
        return True
    results = Results.read(folder, name)
    if results.slices:
        method_figure(picture, results.of(methods), results.spacing, results.lesion)
    return bool(results.slices)


def _seconds(out: Path, metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not metrics:
        return {}
    path = seconds_figure(out / "figures" / "seconds.png", metrics)
    return {"pictures": [(path, "Mean seconds per case by method, over all references, settings and counts.")]}
