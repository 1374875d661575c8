"""Subcommands for development and measuring: demo, train, evaluate, benchmark, worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
)


@click.command(short_help="The whole path on a generated phantom (source tree only).")
@click.option("--out", default="demo_output", show_default=True, metavar="DIR", help="Where its files go.")
def demo(out: str) -> None:
    """The whole path on a generated PET/CT phantom, in a real MRML scene: volumes, table, scene, picture."""
    from runpy import run_path

    from ..errors import InputError

    script = Path(__file__).resolve().parents[2] / "Testing" / "demo" / "mrml_demo.py"
    if not script.is_file():
        raise InputError("The demo is not part of the installed package: run it in a source tree with 'make demo'.")
    run_path(str(script))["main"](out)


@click.command(short_help="Train a prior on high-quality PET/CT.")
@click.option("--data", metavar="DIR", help="Folder of case folders; without it, phantoms alone.")
@click.option("--cts", metavar="DIR", help="Folder of torso CTs to paint uptake into (recipes with a torso_share).")
@click.option("--split", metavar="FILE", help="JSON with train, validation and test patients.")
@click.option(
    *("--config",),
    default="bundled",
    show_default=True,
    metavar="FILE|NAME",
    help="JSON with training settings (see any run's config.json), or bundled, torso, large or huge.",
)
@click.option(
    "--conditioning",
    type=click.Choice(["cross-attention", "concat", "none"]),
    help="How the CT guides, instead of the configuration's; none: not at all.",
)
@click.option("--cache", metavar="DIR", help="Keep the slices here, for the next run and for several processes.")
@click.option("--limit-minutes", type=Number(0.1), help="Anneal to the end within this time.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the configuration's.")
@request_options("device")
@click.option("--out", required=True, metavar="DIR", help="The run; a stopped run in it is continued.")
def train(out: str, config: str, conditioning: str | None, seed: int | None, **given: Any) -> None:
    """Train a prior on high-quality PET/CT (no degraded pairs needed).

    On several GPUs or machines: torchrun --nproc-per-node 4 -m PETSuperResLib train ... (docs/training.md).
    """
    import os
    from dataclasses import replace

    from ..errors import Cancelled
    from ..outputs import check_folder
    from ..studies.training.config import read_recipe, recipe_json, with_conditioning

    stages = read_recipe(config)
    if seed is not None:
        stages = tuple(replace(stage, seed=seed) for stage in stages)
    if conditioning is not None:
        stages = with_conditioning(stages, conditioning)
    with Bar("loading libraries") as bar:
        from ..studies.training.loop import STATE
        from ..studies.training.train import FILES, is_finished, shortened
        from ..studies.training.train import train as run

        read = [config, given["data"], given["cts"], given["split"], *(stage.start_from for stage in stages)]
        folder = check_folder(out, FILES, read)
        if is_finished(folder, recipe_json(stages)):
            bar.echo(f"{folder} holds this run, trained to its end: choose another folder to train anew.")
            return
        try:
            checkpoint = run(out=folder, config=stages, progress=bar, **given)
        except KeyboardInterrupt as stop:
            if any(folder.rglob(STATE)):
                raise Cancelled("Cancelled; the same command continues from the state in --out.") from stop
            raise Cancelled("Cancelled before the first step was kept; nothing was trained.") from stop
    if os.environ.get("RANK", "0") == "0":
        if less := shortened(folder, stages):
            click.echo(f"Note: the time did not suffice for the whole recipe: {less}.")
        click.echo(f"Wrote {checkpoint}.")


@click.command(cls=VariadicCommand, short_help="Compare methods on simulated scans of test patients.")
@click.option("--data", required=True, metavar="DIR", help="Folder of case folders.")
@click.option("--split", metavar="FILE", help="JSON with the test patients; default: split.json in the data folder.")
@level_option("setting", "standard", "ood", many=True, help="One or both.")
@protocols_option
@level_option("input", "sinogram", help="What methods get: the counts, or only the clinic's image of them.")
@level_option("told", "header", help="What methods know of an image: its header, or also the FWHM that fits the truth.")
@level_option("counts", "realistic", many=True)
@level_option("reference", "real", many=True, help="cts: uptake painted into torso CTs.")
@click.option("--cts", metavar="DIR", help="Folder of torso CTs for --reference cts.")
@click.option(
    *("--methods",),
    multiple=True,
    metavar="NAME...",
    help="Or table2, table3, table3-standard, images, all.  "
    "[default: lr osem psf-osem ours-draft ours-standard; of images interpolated ours-draft ours-standard]",
)
@click.option("--part", default="test", show_default=True, metavar="NAME", help="Patients of the split to run on.")
@limit_option
@slices_option
@request_options("prior")
@click.option("--cache", metavar="DIR", help="Keeps what methods learnt; default: $PETSUPERRES_CACHE or OUT/trained.")
@click.option("--fit-minutes", type=Number(0.1), help="Train each method that learns within this time.")
@click.option("--quick", is_flag=True, help="A trial run: few patients, slices and training images, short training.")
@request_options("seed", "device")
@click.option(
    "--out", required=True, metavar="DIR", help="Tables, figures and report; a stopped run in it is continued."
)
def evaluate(out: str, **given: Any) -> None:
    """Compare methods on simulated scans of test patients: report.html, summary.md, metrics.csv, lesions.csv, figures.

    Methods that learn (srcnn, unet, deepsr, supervised, supervised-any, srdpm, petdm) are first trained on the split's
    train patients. Options that name several things take them in a row: --setting standard ood --methods lr osem.
    On several GPUs or machines: torchrun --nproc-per-node 4 -m PETSuperResLib evaluate ...
    """
    import os

    from ..outputs import check_folder

    with Bar("loading libraries") as bar:
        from ..studies.evaluation import evaluate as run  # type: ignore[attr-defined]
        from ..studies.evaluation.evaluate import FILES

        folder = check_folder(out, FILES)
        before = (folder / "summary.md").exists()  # tables without it are of a stopped run, which is continued
        run(out=folder, progress=bar, command=command_line(), **given)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"Wrote report.html, summary.md, metrics.csv and lesions.csv to {folder}{instead(before)}.")


@click.command(short_help="Time projector, network and a whole run.")
@click.option("--quick", is_flag=True, help="Leave the larger projector geometry out.")
@request_options("device")
@click.option("--out", metavar="DIR", help="Also write the figures here, as benchmark.json.")
def benchmark(quick: bool, device: str, out: str | None) -> None:
    """Time projector, network and a whole run on this machine, beside their peers."""
    from ..studies.benchmarks.benchmark import FILE
    from ..studies.benchmarks.benchmark import benchmark as run

    before = out is not None and Path(out, FILE).exists()
    with Bar() as bar:
        run(out, quick, progress=bar, show=bar.echo, device=device)
    if out is not None:
        click.echo(f"Wrote {Path(out, FILE)}{instead(before)}.")


@click.command(short_help="Take jobs as JSON lines on standard input.")
def worker() -> None:
    """Take jobs as JSON lines on standard input and answer on standard output."""
    from ..worker.serve import main

    sys.exit(main())
