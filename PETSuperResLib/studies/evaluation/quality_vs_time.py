"""Quality against time: variants of the sampler on a few slices, network evaluations and seconds beside PSNR."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...device import pick_device
from ...files import atomic_path, write_csv
from ...physics.measurement import Measurement
from ...physics.simulation import Simulation
from ...prior import Denoiser, Prior
from ...problem import UNKNOWN_HU
from ...progress import Callback, Reporter
from ...sampling import PROFILES, Sampler
from ...volume import Volume
from ..subjects import Cohort
from .metrics import whole_field

SLICES = 8
STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
COLUMNS = ("sampler", "change", "reference", "psnr", "ssim", "nmse", "evaluations", "updates", "seconds")


def quality_front(cohort: Cohort, out: str | Path, progress: Callback | None = None) -> Path:
    """The profiles, and ``standard`` with other numbers of steps and starts; writes front.csv and front.png.

    Means over the middle slices of the cohort's subjects. ``evaluations`` are of the network, ``updates`` of
    the forward model, both per slice; ``seconds`` per slice on this machine.
    """
    report, loaded, chosen, out = Reporter(progress), Prior.load(cohort.prior), pick_device(cohort.device), Path(out)
    loaded.to(chosen)
    scans = []
    for subject in cohort.subjects():
        report(f"simulating {subject.name} ({subject.reference})", 0.0)
        pet, ct, _ = subject.load()
        scans.append((subject.reference, *_middle(cohort.scan(pet, ct), ct)))
    rows: list[dict[str, Any]] = []
    jobs = _variants()
    for number, (name, change, sampler) in enumerate(jobs):
        report(f"{name} {change}", number / len(jobs))
        rows += _measure(name, change, sampler, scans, loaded, chosen)
        write_csv(out / "front.csv", rows, COLUMNS)
    _plot(out / "front.png", rows)
    report("done", 1.0)
    return out / "front.csv"


def _variants() -> list[tuple[str, str, Sampler]]:
    """(profile, what is changed, sampler); the published profile last, as it takes longest."""
    standard = Sampler.get("standard")
    made = [(name, "", sampler) for name, sampler in PROFILES.items() if name != "paper"]
    for steps in STEPS:
        if steps != standard.steps:
            made.append(("standard", json.dumps({"steps": steps}), replace(standard, steps=steps)))
    return [*made, ("paper", "", Sampler.get("paper"))]


def _middle(simulation: Simulation, ct: Volume) -> tuple[Volume, Measurement, torch.Tensor]:
    """Truth, measurement and CT of the middle slices."""
    depth, j, i = simulation.truth.shape
    first = max(0, depth // 2 - SLICES // 2)
    last = min(depth, first + SLICES)
    truth = simulation.truth.crop((0, 0, first), (i, j, last))
    guide = torch.from_numpy(ct.resample_to(truth, "linear", UNKNOWN_HU).array)
    return truth, simulation.measurement.part(first, last), guide


def _measure(
    name: str,
    change: str,
    sampler: Sampler,
    scans: Sequence[tuple[str, Volume, Measurement, torch.Tensor]],
    prior: Prior,
    device: torch.device,
) -> list[dict[str, Any]]:
    scores: dict[str, list[dict[str, float]]] = {}
    for reference, truth, measurement, ct in scans:
        model = measurement.model(truth, device)
        model.sensitivity  # noqa: B018  made once, not part of the sampler's time
        began = time.perf_counter()
        denoiser = Denoiser(prior, ct.to(device), truth.spacing[2])
        image = sampler.sample(denoiser, model, measurement.counts.to(device), sampler).cpu().numpy()
        seconds = (time.perf_counter() - began) / len(image)
        scores.setdefault(reference, []).append(whole_field(truth.array, image) | {"seconds": seconds})
    work = {"evaluations": sampler.steps * sampler.evaluations, "updates": sum(sampler.updates)}
    return [
        {"sampler": name, "change": change, "reference": reference}
        | {key: float(np.mean([s[key] for s in found])) for key in found[0]}
        | work
        for reference, found in scores.items()
    ]


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    references = list(dict.fromkeys(r["reference"] for r in rows))
    figure, axes = plt.subplots(1, len(references), figsize=(5.2 * len(references), 4.0), squeeze=False)
    for axis, reference in zip(axes[0], references, strict=True):
        mine = [r for r in rows if r["reference"] == reference]
        steps = sorted((r for r in mine if r["sampler"] == "standard"), key=lambda r: r["seconds"])
        axis.plot([r["seconds"] for r in steps], [r["psnr"] for r in steps], "o-", color="0.6", ms=4, lw=1)
        for r in steps:
            axis.annotate(
                str(r["evaluations"]), (r["seconds"], r["psnr"]), fontsize=7, xytext=(3, -9), textcoords="offset points"
            )
        for r in mine:
            if not r["change"]:
                axis.plot(r["seconds"], r["psnr"], "s", ms=7)
                axis.annotate(
                    r["sampler"], (r["seconds"], r["psnr"]), fontsize=9, xytext=(-6, 10), textcoords="offset points"
                )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.08, y=0.12)
        axis.set_xlabel("seconds per slice")
        axis.set_ylabel("PSNR, dB")
        axis.set_title(f"{reference} references", fontsize=10)
        axis.grid(alpha=0.25)
    figure.suptitle("Numbers: network evaluations of 'standard' with other steps. Research use only.", fontsize=8)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
