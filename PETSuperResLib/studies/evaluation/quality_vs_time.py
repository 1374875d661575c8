"""Quality against time: variants of the sampler on a few slices, network evaluations and seconds beside PSNR."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...device import pick_device
from ...files import write_csv
from ...prior import Denoiser, Prior
from ...problem import Problem
from ...progress import Callback, Reporter
from ...sampling import PROFILES, Sampler
from ..plotting import save_figure
from ..subjects import Cohort
from .metrics import whole_field

SLICES = 8
STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
COLUMNS = ("sampler", "change", "reference", "psnr", "ssim", "nmse", "evaluations", "updates", "seconds")


def quality_vs_time(cohort: Cohort, out: str | Path, progress: Callback | None = None) -> Path:
    """The profiles, and ``standard`` with other numbers of steps; writes quality_vs_time.csv and .png.

    Means over the middle slices of the cohort's subjects. ``evaluations`` are of the network, ``updates`` of
    the forward model, both per slice; ``seconds`` per slice on this machine.
    """
    report, loaded, chosen, out = Reporter(progress), Prior.load(cohort.prior), pick_device(cohort.device), Path(out)
    loaded.to(chosen)
    scans = []
    for subject in cohort.subjects():
        report(f"simulating {subject.name} ({subject.reference})", 0.0)
        pet, ct, _ = subject.load()
        scan = cohort.scan(pet, ct)
        scans.append((subject.reference, Problem.make(scan.measurement, scan.truth, ct, chosen)))
    rows: list[dict[str, Any]] = []
    jobs = _variants()
    for number, (name, change, sampler) in enumerate(jobs):
        report(f"{name} {change}", number / len(jobs))
        rows += _measure(name, change, sampler, scans, loaded, cohort.seed)
        write_csv(out / "quality_vs_time.csv", rows, COLUMNS)
    _plot(out / "quality_vs_time.png", rows)
    report("done", 1.0)
    return out / "quality_vs_time.csv"


def _variants() -> list[tuple[str, str, Sampler]]:
    """(profile, changed field, sampler); the published profile last, as it takes longest."""
    standard = Sampler.get("standard")
    made = [(name, "", sampler) for name, sampler in PROFILES.items() if name != "paper"]
    for steps in STEPS:
        if steps != standard.steps:
            made.append(("standard", json.dumps({"steps": steps}), replace(standard, steps=steps)))
    return [*made, ("paper", "", Sampler.get("paper"))]


def _measure(
    name: str, change: str, sampler: Sampler, scans: Sequence[tuple[str, Problem]], prior: Prior, seed: int
) -> list[dict[str, Any]]:
    scores: dict[str, list[dict[str, float]]] = {}
    for reference, problem in scans:
        depth = len(problem.ct)
        first = max(0, depth // 2 - SLICES // 2)
        last = min(depth, first + SLICES)
        model, counts, ct = problem.part(first, last)
        model.sensitivity  # noqa: B018  made once, not part of the sampler's time
        began = time.perf_counter()
        denoiser = Denoiser(prior, ct, problem.grid.spacing[2])
        image = sampler.sample(denoiser, model, counts, sampler, seed).cpu().numpy()
        seconds = (time.perf_counter() - began) / len(image)
        found = whole_field(problem.grid.array[first:last], image)
        scores.setdefault(reference, []).append(found | {"seconds": seconds})
    work = {"evaluations": sampler.steps * sampler.evaluations, "updates": sum(sampler.updates)}
    return [
        {"sampler": name, "change": change, "reference": reference}
        | {key: float(np.mean([s[key] for s in found])) for key in found[0]}
        | work
        for reference, found in scores.items()
    ]


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    references = list(dict.fromkeys(r["reference"] for r in rows))
    figure = Figure((5.2 * len(references), 4.0), layout="tight")
    axes = figure.subplots(1, len(references), squeeze=False)
    for axis, reference in zip(axes[0], references, strict=True):
        mine = [r for r in rows if r["reference"] == reference]
        steps = sorted((r for r in mine if r["sampler"] == "standard"), key=lambda r: r["seconds"])
        axis.plot([r["seconds"] for r in steps], [r["psnr"] for r in steps], "o-", color="0.6", ms=4, lw=1)
        for r in mine:
            place: dict[str, Any] = {"xy": (r["seconds"], r["psnr"]), "textcoords": "offset points"}
            if r["sampler"] == "standard":
                axis.annotate(str(r["evaluations"]), xytext=(3, -9), fontsize=7, **place)
            if not r["change"]:
                axis.plot(r["seconds"], r["psnr"], "s", ms=7)
                axis.annotate(r["sampler"], xytext=(-6, 10), fontsize=9, **place)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.08, y=0.12)
        axis.set(xlabel="seconds per slice", ylabel="PSNR, dB")
        axis.set_title(f"{reference} references", fontsize=10)
        axis.grid(alpha=0.25)
    figure.suptitle("Numbers: network evaluations of 'standard' with other steps. Research use only.", fontsize=8)
    save_figure(figure, path)
