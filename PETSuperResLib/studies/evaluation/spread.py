"""Whether the spread of samples is the error that it stands for: reliability on sharp references, and its factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...device import pick_device
from ...files import to_json, write_csv, write_text
from ...physics.protocols import several
from ...physics.simulation import Simulation
from ...prior import Prior
from ...prior.denoiser import AIR_HU
from ...problem import Problem
from ...progress import Callback, Reporter
from ...reconstruction import draw, solve
from ...sampling import Sampler, Slabs
from ...spread import spread_of
from ...version import __version__
from ...volume import Volume
from ..methods import MethodCase
from ..plotting import save_figure
from ..subjects import Cohort
from .image_input import image_problem
from .metrics import body_mask
from .summary import heading

QUALITY, SAMPLES, PARTS = "standard", 4, 10
COLUMNS = ("patient", "input", "setting", "part", "voxels", "spread", "error", "ratio", "samples")


def spread_study(
    cohort: Cohort,
    out: str | Path,
    protocols: Sequence[str],
    samples: int = SAMPLES,
    progress: Callback | None = None,
    command: str = "",
) -> Path:
    """Sinograms of the standard setting and images of ``protocols`` of the cohort's sharp references.

    Writes spread.csv (a row per subject, measurement and tenth of the body's voxels by spread: root mean squares of
    spread and error, in SUV), spread.png, spread.md and spread.json, the factors: the largest ratio of error and spread
    among the tenths of every subject (anew after each). Returns spread.md.
    """
    report, prior, out = Reporter(progress), Prior.load(cohort.prior), Path(out)
    cohort = replace(cohort, references=("sharp",))
    scans = [cohort, *(replace(cohort, protocol=one, input="image") for one in several(protocols))]
    jobs = [(subject, scan) for subject in cohort.subjects() for scan in scans]
    rows: list[dict[str, Any]] = []
    for number, (subject, scan) in enumerate(jobs):
        report(f"{subject.name}, {scan.input} of {scan.setting}", number / len(jobs))
        pet, ct, _ = subject.load()
        spread, error = _spread_and_error(scan.scan(pet, ct), ct, scan, prior, samples)
        facts = {"patient": subject.name, "input": scan.input, "setting": scan.setting, "samples": samples}
        rows += [facts | row for row in _tenths(spread, error)]
        write_csv(out / "spread.csv", rows, COLUMNS)
        if scan is scans[-1]:
            write_calibration(out, rows, prior, command)
    report("done", 1.0)
    return out / "spread.md"


def write_calibration(out: Path, rows: Sequence[dict[str, Any]], prior: Prior, command: str) -> None:
    """spread.json, spread.md and spread.png of the rows of the table."""
    factors = {kind: round(factor([r for r in rows if r["input"] == kind]), 3) for kind in _different(rows, "input")}
    made = {"command": command, "version": __version__, "samples": rows[0]["samples"]}
    made |= {"subjects": _different(rows, "patient"), "settings": _different(rows, "setting")}
    calibration = {"factors": factors, "quality": QUALITY, "prior_sha256": prior.sha256, "made": made}
    write_text(out / "spread.json", to_json(calibration))
    write_text(out / "spread.md", "\n".join([*heading("Spread", command, prior), *_summary(rows, factors)]))
    _plot(out / "spread.png", rows, factors)


def _different(rows: Sequence[dict[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def factor(rows: Sequence[dict[str, Any]]) -> float:
    """The largest ratio of error and spread among the tenths of every subject's voxels."""
    return max(row["ratio"] for row in rows)


def _spread_and_error(
    simulation: Simulation, ct: Volume, cohort: Cohort, prior: Prior, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spread of the samples and error of the estimate, in the voxels of the body."""
    problem = _problem(simulation, ct, cohort, prior)
    sampler, slabs = Sampler.get(QUALITY, cohort.input), Slabs(problem, prior)
    estimate, scale = solve(slabs, sampler, cohort.seed)
    expected = problem.expected(estimate)
    drawn = [scale * draw(slabs, sampler, expected, cohort.seed + n) for n in range(1, samples + 1)]
    grid = problem.grid
    body = body_mask(ct.resample_to(grid, "linear", AIR_HU))
    truth = simulation.truth.resample_to(grid, "cubic").array
    return spread_of(drawn, estimate, grid.spacing)[body], (estimate - truth)[body]


def _problem(simulation: Simulation, ct: Volume, cohort: Cohort, prior: Prior) -> Problem:
    """As a user has it: the sinogram, or the clinic's image of which the header alone is known."""
    if cohort.input == "sinogram":
        return Problem.make(simulation.measurement, simulation.truth, ct, pick_device(cohort.device))
    return image_problem(MethodCase(simulation, ct, prior, device=cohort.device, input="image"))


def _tenths(spread: np.ndarray, error: np.ndarray) -> list[dict[str, Any]]:
    order = np.array_split(np.argsort(spread), PARTS)
    found = []
    for part, voxels in enumerate(order, 1):
        wide, wrong = (float(np.sqrt(np.mean(x[voxels].astype(np.float64) ** 2))) for x in (spread, error))
        found.append({"part": part, "voxels": len(voxels), "spread": wide, "error": wrong, "ratio": wrong / wide})
    return found


def _summary(rows: Sequence[dict[str, Any]], factors: dict[str, float]) -> list[str]:
    lines = [
        "Root mean square error of the estimate over the root mean square spread of the samples, in the tenths of the "
        "body's voxels from the least to the widest spread. The factor is the largest of all; *from "
        "the others*: the error over the spread scaled by the factor of all other subjects, the largest of the tenths "
        "(above 1: narrower than the error).",
        "",
    ]
    for kind, value in factors.items():
        mine = [row for row in rows if row["input"] == kind]
        lines += [f"## {kind.capitalize()}: factor {value:g}", ""]
        lines += [f"| subject | setting | {' | '.join(map(str, range(1, PARTS + 1)))} | from the others |"]
        lines += ["|---" * (PARTS + 3) + "|"]
        for patient, setting in dict.fromkeys((r["patient"], r["setting"]) for r in mine):
            ratios = [r["ratio"] for r in mine if (r["patient"], r["setting"]) == (patient, setting)]
            others = [r for r in mine if r["patient"] != patient]
            left = f"{max(ratios) / factor(others):.2f}" if others else ""
            lines.append(f"| {patient} | {setting} | {' | '.join(f'{x:.2f}' for x in ratios)} | {left} |")
        lines.append("")
    return lines


def _plot(path: Path, rows: Sequence[dict[str, Any]], factors: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure((5.0 * len(factors), 4.6), layout="tight")
    axes = np.ravel(figure.subplots(1, len(factors)))
    for axis, (kind, value) in zip(axes, factors.items(), strict=True):
        mine = [row for row in rows if row["input"] == kind]
        for patient, setting in dict.fromkeys((r["patient"], r["setting"]) for r in mine):
            line = [r for r in mine if (r["patient"], r["setting"]) == (patient, setting)]
            x = [value * r["spread"] for r in line]
            axis.plot(x, [r["error"] for r in line], "o-", ms=4, lw=1, label=f"{patient}, {setting}")
        ends = np.array([value * min(r["spread"] for r in mine), value * max(r["spread"] for r in mine)])
        axis.plot(ends, ends, color="0.4", lw=0.8)
        axis.set(xscale="log", yscale="log", xlabel=f"{value:g} x spread of the samples, SUV", title=kind)
        axis.set_ylabel("error of the estimate, SUV")
        axis.legend(fontsize=7)
        axis.grid(alpha=0.25)
    save_figure(figure, path)
