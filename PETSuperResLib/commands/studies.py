"""Subcommand study: the experiments behind docs/validation.md beside the tables of ``evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import (
    Bar,
    Number,
    VariadicCommand,
    command_line,
    instead,
    level_option,
    limit_option,
    protocols_option,
    request_options,
    slices_option,
    table,
)

if TYPE_CHECKING:
    from ..studies.subjects import Cohort


@click.group(
    short_help="Experiments: nema, phantom, protocols, robustness, spread, lesions, changes, quality-vs-time, "
    "bias-noise, scaling."
)
def study() -> None:
    """Experiments on simulated scans and a real phantom: quality, wrong models, quality against time, bias, noise."""


_out = click.option("--out", required=True, metavar="DIR", help="Where tables and pictures go.")
_seed = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Decides the noise of the scans and of the samples; what is scanned stays the same.",
)


def _place(out: str, study: str, room: str = "evaluation") -> tuple[Path, str]:
    """The folder of a study, checked for its table, picture and document, and :func:`instead` of those there."""
    from importlib import import_module

    from ..outputs import begins, check_folder, marked
    from ..studies.evaluation.summary import MADE
    from ..studies.plotting import MADE_BY

    module = import_module(f"..studies.{room}.{study}", __package__)
    tables = {study: module.COLUMNS, **getattr(module, "FURTHER_TABLES", {})}
    own = {f"{study}.png": marked(MADE_BY), f"{study}.md": marked(*MADE)}
    own[f"{study}.json"] = marked(f"petsuperres study {study}")
    own |= {f"{name}.csv": begins(columns) for name, columns in tables.items()}
    folder = check_folder(out, own)
    return folder, instead(any((folder / name).exists() for name in own))


def _on_patients(run: Callable[..., Path]) -> Callable[..., None]:
    """The options of a study on patients; ``run`` gets them as a cohort, and its own; it returns the file it wrote."""

    @wraps(run)
    def command(out: str, **chosen: Any) -> None:
        from dataclasses import fields

        from ..studies.subjects import Cohort

        (folder, earlier), of_cohort = _place(out, run.__name__), {f.name for f in fields(Cohort)}
        own = {name: value for name, value in chosen.items() if name not in of_cohort}
        cohort = Cohort(**{name: value for name, value in chosen.items() if name in of_cohort})
        with Bar() as bar:
            path = run(cohort, folder, bar, **own)
        click.echo(f"Wrote {path}{earlier}.")

    options = (
        click.option("--data", required=True, metavar="DIR", help="Folder of case folders."),
        click.option("--part", default="validation", show_default=True, metavar="NAME", help="Patients of the split."),
        *(level_option("counts", "realistic"), limit_option, slices_option, request_options("prior"), _seed),
        *(request_options("device"), _out),
    )
    for option in reversed(options):
        command = option(command)
    return command


@study.command(cls=VariadicCommand, short_help="Contrast recovery and background noise of the NEMA phantom.")
@click.option(
    *("--methods",),
    multiple=True,
    metavar="NAME...",
    help="[default: lr psf-osem ours-draft ours-standard; of images interpolated ours-draft ours-standard]",
)
@level_option("setting", "standard", "ood", many=True)
@protocols_option
@click.option("--scanner", "scanners", multiple=True, metavar="NAME...", help="Presets in place of the settings.")
@level_option("input", "sinogram", help="What methods get: the counts, or only the clinic's image of them.")
@level_option("counts", "realistic", "high", many=True)
@click.option(
    "--ratio",
    default=4.0,
    show_default=True,
    type=Number(1, 100, above=True),
    help="Activity of the spheres over the background's: 4 in NEMA NU 2; EARL's limits are for about 10.",
)
@request_options("prior")
@_seed
@request_options("device")
@_out
def nema(out: str, methods: tuple[str, ...], **chosen: Any) -> None:
    """Scan the NEMA image-quality phantom by simulation: nema.csv, nema.md, nema.png."""
    from ..studies.evaluation.nema import NEMA_METHODS, nema_study

    (folder, earlier), methods = _place(out, "nema"), methods or NEMA_METHODS[chosen["input"]]
    with Bar() as bar:
        path = nema_study(folder, methods, progress=bar, command=command_line(), **chosen)
    click.echo(f"Wrote {path}, nema.md and nema.png{earlier}.")


@study.command(cls=VariadicCommand, short_help="A real scan of a phantom with hot spheres.")
@request_options("pet", "ct")
@click.option("--spheres", required=True, metavar="FILE", help="JSON: diameter_mm and centre_lps_mm of each sphere.")
@click.option("--methods", multiple=True, metavar="NAME...", help="[default: interpolated rl ours-draft ours-standard]")
@request_options("scanner", "fwhm", "post_filter", "psf_modelled", "noise", "prior", "seed", "device")
@_out
def phantom(out: str, **chosen: Any) -> None:
    """Restore a real scan of spheres of one activity: phantom.csv, phantom.md (with the bars), phantom.png."""
    from ..studies.evaluation.phantom import phantom_study

    folder, earlier = _place(out, "phantom")
    with Bar() as bar:
        path = phantom_study(folder, progress=bar, command=command_line(), **chosen)
    click.echo(f"Wrote {path}, phantom.csv and phantom.png{earlier}.")


@study.command("protocols", cls=VariadicCommand, short_help="Resolution and noise of the clinical protocols' images.")
@click.option(*("--protocol", "names"), multiple=True, metavar="NAME...", help="Only these (or JSON files).")
@request_options("seed", "device")
@_out
def protocols(out: str, **chosen: Any) -> None:
    """Measure the images of simulate --protocol in a warm body: protocols.csv, protocols.md, protocols.png."""
    from ..studies.evaluation.protocols import protocols_study

    folder, earlier = _place(out, "protocols")
    with Bar() as bar:
        rows = protocols_study(folder, progress=bar, command=command_line(), **chosen)
    headings = {"protocol": "protocol", "updates": "updates", "filter_mm": "filter mm", "noise_percent": "noise %"}
    headings |= {"fwhm_faint_mm": "FWHM faint mm", "fwhm_hot_mm": "hot mm", "axial_hot_mm": "hot, axial mm"}
    click.echo(table(rows, headings))
    click.echo(f"Wrote {folder / 'protocols.csv'}, protocols.md and protocols.png{earlier}.")


@study.command(short_help="Wrong FWHM, wrong counts, no CT, another patient's CT.")
@click.option("--protocol", metavar="NAME", help="Clinical protocol (or a JSON file) in place of the standard setting.")
@level_option("input", "sinogram", help="What is reconstructed: the counts, or only the clinic's image of them.")
@click.option("--torsos", default=0, show_default=True, type=click.IntRange(0), help="Further torsos, of new seeds.")
@_on_patients
def robustness(cohort: Cohort, out: Path, progress: Bar, torsos: int) -> Path:
    """The cost of a wrong model or CT, and the worth of evidence: robustness.csv, robustness.md."""
    from ..studies.evaluation.robustness import robustness_study

    return robustness_study(cohort, out, torsos=torsos, progress=progress, command=command_line())


@study.command(cls=VariadicCommand, short_help="Spread of samples against the error that it stands for.")
@click.option(
    *("--protocol", "protocols"),
    multiple=True,
    default=("mct-osem", "dmi-qclear"),
    show_default=True,
    metavar="NAME...",
    help="Clinical protocols (or JSON files) of the images.",
)
@click.option("--samples", default=4, show_default=True, type=click.IntRange(2), help="Of each subject.")
@_on_patients
def spread(cohort: Cohort, out: Path, progress: Bar, **chosen: Any) -> Path:
    """The calibration of the std map on sharp references: spread.csv, spread.md, spread.png, spread.json."""
    from ..studies.evaluation.spread import spread_study

    return spread_study(cohort, out, progress=progress, command=command_line(), **chosen)


@study.command("quality-vs-time", short_help="Quality against time of the profiles and of other numbers of steps.")
@_on_patients
def quality_vs_time(cohort: Cohort, out: Path, progress: Bar) -> Path:
    """Quality against time: quality_vs_time.csv, quality_vs_time.png."""
    from ..studies.evaluation.quality_vs_time import quality_vs_time as run

    return run(cohort, out, progress=progress)


@study.command("bias-noise", short_help="Lesion bias against noise over realisations of one scan.")
@level_option("setting", "standard")
@level_option("counts", "realistic")
@click.option("--realisations", default=5, show_default=True, type=click.IntRange(2), help="Scans of the torso.")
@click.option("--slices", default=8, show_default=True, type=click.IntRange(2, 24), help="3 mm each, through lesions.")
@request_options("seed", "prior", "device")
@_out
def bias_noise(out: str, **chosen: Any) -> None:
    """Scan one torso again and again, each method along its parameter: bias_noise.csv, bias_noise.png."""
    from ..studies.evaluation.bias_noise import bias_noise_study

    folder, earlier = _place(out, "bias_noise")
    with Bar() as bar:
        rows = bias_noise_study(folder, progress=bar, **chosen)
    headings = {"method": "method", "at": "at", "lesion_bias_percent": "lesion bias %"}
    headings |= {"lesion_bias_error_percent": "+-", "body_rms_bias_percent": "body RMS bias %"}
    headings["noise_percent"] = "noise %"
    click.echo(table([row | {"at": f"{row['value']:g} {row['parameter']}"} for row in rows], headings))
    click.echo(f"Wrote {folder / 'bias_noise.csv'} and bias_noise.png{earlier}.")


def _on_lesions(run: Callable[..., Path]) -> Callable[..., None]:
    """The options of a study on painted lesions; ``run`` gets a folder, a progress bar and the options."""

    @wraps(run)
    def command(out: str, **chosen: Any) -> None:
        folder, earlier = _place(out, run.__name__)
        with Bar() as bar:
            path = run(folder, progress=bar, command=command_line(), **chosen)
        click.echo(f"Wrote {path}{earlier}.")

    options = (
        click.option("--data", required=True, metavar="DIR", help="Folder of case folders with a split."),
        click.option("--cts", metavar="DIR", help="Folder of folders with CT_HU.nii.gz: further anatomies."),
        click.option("--quality", default="draft", show_default=True, type=click.Choice(["draft", "standard"])),
        click.option("--limit", type=click.IntRange(1), help="Only so many scans (of each visit)."),
        *(request_options("prior"), _seed, request_options("device"), _out),
    )
    for option in reversed(options):
        command = option(command)
    return command


@study.command(cls=VariadicCommand, short_help="Recovered lesion uptake and its intervals against painted lesions.")
@click.option(
    *("--protocol", "protocols"),
    multiple=True,
    metavar="NAME...",
    help="Scan every anatomy by each of these, and by no other.",
)
@click.option("--calibrate", is_flag=True, help="Make the table of the intervals, of the validation anatomies.")
@_on_lesions
def lesions(out: Path, **chosen: Any) -> Path:
    """Recover painted lesions of other anatomies: lesions.csv, lesions.md, lesions.png; or calibrate: lesions.json."""
    from ..studies.evaluation.lesions import lesions_study

    return lesions_study(out, **chosen)


@study.command(short_help="Changes between two visits and their intervals against known ones.")
@click.option("--draws", default=1, show_default=True, type=click.IntRange(1), help="Of the noise of each anatomy.")
@click.option("--calibrate", is_flag=True, help="Make the table of the intervals, of the validation anatomies.")
@_on_lesions
def changes(out: Path, **chosen: Any) -> Path:
    """Compare two visits of lesions that change: changes.csv, changes.md, changes.png; or calibrate: changes.json."""
    from ..studies.evaluation.changes import changes_study

    return changes_study(out, **chosen)


@study.command("scaling", cls=VariadicCommand, short_help="Time and memory against the size of the case.")
@click.option(
    *("--vary", "axes"),
    multiple=True,
    default=("slices", "size", "views", "processes"),
    show_default=True,
    type=click.Choice(["slices", "size", "views", "processes", "whole-body"]),
    help="What is varied; whole-body: 326 slices of 400 x 400.",
)
@click.option("--repeats", default=1, show_default=True, type=click.IntRange(1), help="Runs; the median counts.")
@click.option("--quality", default="draft", show_default=True, type=click.Choice(["draft", "standard", "paper"]))
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda or cuda:1.")
@_out
def scaling(axes: tuple[str, ...], repeats: int, quality: str, device: str, out: str) -> None:
    """Time and peak memory of a profile on this machine's CPU or GPU: scaling.csv, scaling.png."""
    from dataclasses import replace

    from ..device import pick_device
    from ..studies.benchmarks.scaling import LOADS, WHOLE_BODY, scaling

    where = str(pick_device(device))
    loads = [replace(load, quality=quality, device=where) for load in (*LOADS, WHOLE_BODY) if load.axis in axes]
    folder, earlier = _place(out, "scaling", room="benchmarks")
    with Bar() as bar:
        rows = scaling(folder, loads, repeats, bar)
    figures = ("seconds", "cpu_seconds", "cases_per_hour")
    rounded = [row | {k: f"{row[k]:.1f}" for k in (*figures, "peak_mb", "base_mb")} for row in rows]
    headings = {name: name for name in ("axis", "slices", "size", "views", "processes", *figures)}
    headings |= {"peak_mb": "peak MiB", "base_mb": "MiB before"}
    if any(row["gpu_peak_mb"] is not None for row in rows):
        headings["gpu_peak_mb"] = "GPU peak MiB"
    click.echo(table(rounded, headings))
    click.echo(f"Wrote {folder / 'scaling.csv'} and scaling.png{earlier}.")
