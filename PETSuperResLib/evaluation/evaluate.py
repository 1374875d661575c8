"""Every method on every patient, setting and count level: metrics.csv, lesions.csv, summary.md, figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..lesions import COLUMNS, lesion_rows, measure_lesions, write_csv
from ..methods import METHODS, FitOptions, Method, MethodCase
from ..metrics import body_mask, whole_field, within_body
from ..physics.simulation import COUNT_LEVELS, simulate
from ..prior import Prior
from ..progress import Callback, Reporter
from ..training.cache import cache_folder
from ..training.data import find_cases, read_split
from ..volume import Volume
from .figures import case_figure
from .references import REFERENCES, Subject, subjects
from .summary import write_summary
from .training_set import fitted

METRIC_COLUMNS = (
    *("patient", "setting", "method", "psnr", "ssim", "nmse"),
    *("counts", "reference", "psnr_body", "ssim_body", "nmse_body", "seconds"),
)
DEFAULT_METHODS = ("lr", "osem", "psf-osem", "ours-draft", "ours-standard")


def evaluate(
    data: str | Path,
    out: str | Path,
    split: str | Path | None = None,
    settings: Sequence[str] = ("standard", "ood"),
    counts: Sequence[str] = ("realistic",),
    references: Sequence[str] = ("real",),
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    prior: str | Path | None = None,
    part: str = "test",
    cache: str | Path | None = None,
    fit_minutes: float | None = None,
) -> Path:
    """Run ``methods`` on the ``part`` patients of ``data`` and write tables and figures into ``out``.

    ``methods`` None takes :data:`DEFAULT_METHODS`. Every method of a patient sees
    the same simulated counts. Those that learn are first trained on the ``train`` patients, each for at most
    ``fit_minutes`` and once for every count level; ``cache`` (or the environment's PETSUPERRES_CACHE, else
    ``out/trained``) keeps what they learnt. Returns the path of ``summary.md``.
    """
    methods = methods or DEFAULT_METHODS
    for name, chosen, known in (
        ("method", methods, METHODS),
        ("count level", counts, COUNT_LEVELS),
        ("reference", references, REFERENCES),
    ):
        for value in chosen:
            if value not in known:
                raise InputError(f"The {name} '{value}' is not in this version: use {', '.join(known)}.")
    cases = find_cases(data, read_split(data, part, split))[:limit]
    loaded, out = Prior.load(prior), Path(out)
    report = Reporter(progress)
    folder = cache_folder(cache) or out / "trained"
    ready = {
        level: fitted(methods, data, split, FitOptions(folder, level, seed, device, fit_minutes, progress=progress))
        for level in counts
    }
    report.start_clock(0.0)
    metrics: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    chosen_subjects = [subject for reference in references for subject in subjects(cases, reference)]
    jobs = [(subject, setting, level) for subject in chosen_subjects for setting in settings for level in counts]
    for number, (subject, setting, level) in enumerate(jobs):
        report(f"{subject.name} ({subject.reference}), {setting}, {level} counts", number / len(jobs))
        new_metrics, new_lesions, volumes = _one(subject, setting, level, ready[level], loaded, seed, device)
        metrics += new_metrics
        lesions += new_lesions
        case_figure(out / "figures" / f"{subject.name}_{subject.reference}_{setting}_{level}.png", volumes)
        write_csv(out / "metrics.csv", metrics, METRIC_COLUMNS)
        if lesions:
            write_csv(out / "lesions.csv", lesions, (*COLUMNS, "counts", "reference"))
    report("summary", 1.0)
    return write_summary(out / "summary.md", metrics, lesions, loaded)


def _one(
    subject: Subject, setting: str, level: str, methods: dict[str, Method], prior: Prior, seed: int, device: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Volume]]:
    """All methods on one simulated acquisition: metric rows, lesion rows, and volumes for the figure."""
    pet, ct, mask = subject.load()
    simulation = simulate(pet, ct, setting, level, seed=seed, device=device)
    truth = simulation.truth
    on_grid = ct.resample_to(truth, "linear", -1000.0)
    body = body_mask(on_grid)
    volumes = {"CT": on_grid, "truth": truth}
    metrics, lesions = [], []
    for name, method in methods.items():
        began = time.monotonic()
        volume = method.restore(MethodCase(simulation, ct, prior, seed, device))
        seconds = time.monotonic() - began
        row = {"patient": subject.name, "setting": setting, "method": name, "counts": level}
        row["reference"] = subject.reference
        scores = whole_field(truth, volume) | within_body(truth, volume, body)
        metrics.append(row | scores | {"seconds": round(seconds, 2)})
        if mask is not None:
            found = measure_lesions(volume, mask, truth, skip_outside=True)
            extra = {"counts": level, "reference": subject.reference}
            lesions += [r | extra for r in lesion_rows(found, subject.name, setting, name)]
        volumes[name] = volume
    return metrics, lesions, volumes
