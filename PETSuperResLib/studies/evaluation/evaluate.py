"""Every method on every patient, setting and count level: tables, figures, a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...cohort.cts import split_cts
from ...cohort.distributed import Team, team_on
from ...cohort.manifest import split_cases
from ...errors import InputError
from ...files import write_csv
from ...lesions.measures import COLUMNS
from ...outputs import begins, marked, next_to
from ...physics.protocols import Protocol, several
from ...physics.simulation import COUNT_LEVELS
from ...prior import Prior
from ...progress import Callback, Reporter
from ..methods import INPUTS, METHODS, FitOptions, Method, named
from ..plotting import MADE_BY
from ..subjects import CTS, REFERENCES, Subject, painted_cts, subjects, training_subjects
from ..training.cache import cache_folder
from .expectations import write_expectations
from .figures import method_figure
from .image_input import TOLD
from .report import write_report
from .summary import MADE, write_summary
from .tables import BASELINE, Condition
from .trials import Results, Trial, run_trial

METRIC_COLUMNS = (
    *("patient", "setting", "method", "psnr", "ssim", "nmse"),
    *("counts", "reference", "psnr_body", "ssim_body", "nmse_body", "seconds"),
    *("input", "told", "noise_percent", "fwhm_mm"),
)
FILES = {  # of an evaluation, with how an earlier one is recognised
    "metrics.csv": begins(METRIC_COLUMNS),
    "lesions.csv": next_to("metrics.csv", begins(METRIC_COLUMNS), begins(COLUMNS)),
    "summary.md": marked(*MADE),
    "report.html": marked(*MADE),
    "protocols.md": marked(*MADE),
    "protocols.png": marked(MADE_BY),
}
DEFAULT_METHODS = {
    "sinogram": ("lr", "osem", "psf-osem", "ours-draft", "ours-standard"),
    "image": (BASELINE, "ours-draft", "ours-standard"),
}
QUICK_PATIENTS, QUICK_SLICES, QUICK_TRAINING, QUICK_MINUTES = 2, 6, 3, 0.5


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
    quick: bool = False,
    slices: int | None = None,
    command: str = "",
    input: str = "sinogram",
    protocols: Sequence[str | Protocol] = (),
    told: str = "header",
    cts: str | Path | None = None,
) -> Path:
    """Run ``methods`` on the ``part`` patients of ``data`` and write tables and figures into ``out``.

    ``methods`` are names of :data:`..methods.METHODS` or of its groups (table2, table3, table3-standard, images, all);
    None takes :data:`DEFAULT_METHODS`. ``protocols`` take the place of ``settings``. All methods of a patient get the
    same simulated counts or, with ``input="image"``, only the image of them, and of its resolution what is ``told``
    (:data:`.image_input.TOLD`); then the interpolated image is always among the methods, as the baseline. Those that
    learn are first trained on the ``train`` patients, each for at most ``fit_minutes`` and once for every count level;
    ``cts`` is the folder of torso CTs for the reference ``cts``; ``cache`` (or the environment's PETSUPERRES_CACHE,
    else ``out/trained``) keeps what they learnt, ``out/cases`` the results, and an equal call continues a stopped one.
    ``quick`` shows that it works rather than how well: few patients, slices, training images and minutes. Under
    torchrun the processes share the scans. ``command`` is at the head of ``summary.md``, whose path is returned.
    """
    names = _methods(methods, input)
    settings, counts, references = (tuple(dict.fromkeys(chosen)) for chosen in (settings, counts, references))
    if missing := [package for package in ("pandas", "jinja2") if find_spec(package) is None]:
        raise InputError(
            f"Evaluating needs {' and '.join(missing)}: install them (pip install 'PETSuperResLib[evaluate]')."
        )
    for what, chosen, known in (
        ("count level", counts, COUNT_LEVELS),
        ("reference", references, (*REFERENCES, CTS)),
        ("value of told", [told], TOLD),
    ):
        for value in chosen:
            if value not in known:
                raise InputError(f"The {what} '{value}' is not in this version: use {', '.join(known)}.")
    if (cts is None) != (CTS not in references):
        raise InputError("Painted torso CTs need both: --reference cts and the folder --cts.")
    if quick:
        limit, fit_minutes, slices = limit or QUICK_PATIENTS, fit_minutes or QUICK_MINUTES, slices or QUICK_SLICES
    patients = split_cases(data, part, split)[:limit]
    of_patients = [reference for reference in references if reference != CTS]
    chosen_subjects = [subject for reference in of_patients for subject in subjects(patients, reference, slices, part)]
    if cts is not None:
        chosen_subjects += painted_cts(split_cts(cts, part, split)[:limit], slices)
    scans: list[tuple[str, Protocol | None]] = [(one.name, one) for one in several(protocols)]
    scans = scans or [(setting, None) for setting in settings]
    told = told if input == "image" else ""
    loaded, out = Prior.load(prior), Path(out)
    folder = cache_folder(cache) or out / "trained"
    with team_on(device, 0) as team:
        device = str(team.device)
        trials = [
            Trial(subject, Condition(subject.reference, setting, level, input, told), seed, device, protocol)
            for subject in chosen_subjects
            for setting, protocol in scans
            for level in counts
        ]
        ready: dict[str, dict[str, Method]] = {}
        learning = any(METHODS[name].fit for name in names)
        training = training_subjects(data, split, QUICK_TRAINING if quick else None) if learning else []
        for level in counts:
            options = FitOptions(folder, level, seed, device, fit_minutes, progress=progress)
            ready[level] = team.first_then_others(partial(_fitted, names, training, options))
        fit = {"minutes": fit_minutes, "images": [subject.decides for subject in training]}
        _run(trials, ready, loaded, fit, out, team, progress, command)
    return out / "summary.md"


def _methods(methods: Sequence[str] | None, input: str) -> tuple[str, ...]:
    """Names of methods, all of which take the input; the baseline of images among them."""
    if input not in INPUTS:
        raise InputError(f"The input '{input}' is not in this version: use {' or '.join(INPUTS)}.")
    names = named(methods or DEFAULT_METHODS[input])
    if wrong := [name for name in names if input not in METHODS[name].inputs]:
        raise InputError(f"These methods do not take the input '{input}': {', '.join(wrong)}. Leave them out.")
    return names if input != "image" or BASELINE in names else (BASELINE, *names)


def _fitted(names: Sequence[str], training: Sequence[Subject], options: FitOptions) -> dict[str, Method]:
    """Methods by name, those that learn trained (or read from the options' folder)."""
    methods = {name: METHODS[name] for name in names}
    return {name: method if method.fit is None else method.fit(training, options) for name, method in methods.items()}


def _run(
    trials: Sequence[Trial],
    methods: dict[str, dict[str, Method]],
    prior: Prior,
    fit: dict[str, Any],
    out: Path,
    team: Team,
    progress: Callback | None,
    command: str,
) -> None:
    """This process's share of the trials; the first one then waits for the others and writes the tables of all."""
    report = Reporter(progress)
    report.start_clock(0.0)
    folder = out / "cases"
    own = trials[team.rank :: team.size]
    for number, trial in enumerate(own):
        chosen = methods[trial.condition.counts]
        report(f"{trial.subject.name}: {trial.condition.title}", number / len(own))
        results = run_trial(trial, chosen, prior, fit, folder)
        slices = results.of(list(chosen))
        method_figure(out / "figures" / f"{trial.name}.png", slices, results.spacing, results.lesion)
        if team.first:
            _tables(trials, methods, prior, fit, out)
    team.agree(0)
    if team.first:
        metrics, lesions, refused = _tables(trials, methods, prior, fit, out)
        report("summary", 1.0)
        write_summary(out / "summary.md", metrics, lesions, prior, command, refused)
        write_report(out, metrics, lesions, prior)
        write_expectations(out, [row for row in metrics if row["input"] == "image"], lesions, prior, command)


def _tables(
    trials: Sequence[Trial], methods: dict[str, dict[str, Method]], prior: Prior, fit: dict[str, Any], out: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Write metrics.csv and lesions.csv of the finished scans; returns their rows, and which method refused a case.

    What an earlier run with other options has left of a scan is no result of this one.
    """
    metrics: list[dict[str, Any]] = []
    lesions: list[dict[str, Any]] = []
    refused: list[str] = []
    for trial in trials:
        results = Results.read(out / "cases", trial.name)
        for name in methods[trial.condition.counts]:
            if results.keys.get(name) != trial.key(name, prior, fit):
                continue
            if name in results.metrics:
                metrics.append(results.metrics[name])
                lesions += results.lesions[name]
            elif name in results.refused:
                refused.append(
                    f"{name} refused {trial.subject.name} ({trial.condition.title}): {results.refused[name]}"
                )
    write_csv(out / "metrics.csv", metrics, METRIC_COLUMNS)
    if lesions:
        write_csv(out / "lesions.csv", lesions, (*COLUMNS, "counts", "reference", "input", "told"))
    else:
        (out / "lesions.csv").unlink(missing_ok=True)
    return metrics, lesions, refused
