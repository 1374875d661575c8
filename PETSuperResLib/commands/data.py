"""Subcommands for folders of cases: manifest, batch."""

from __future__ import annotations

import os
from typing import Any

import click

from .common import Bar, instead, request_options


@click.command(short_help="List, check and divide training cases.")
@click.option("--data", required=True, metavar="DIR", help="Folder of cases: NIfTI, nnU-Net's form or DICOM studies.")
@click.option("--split", metavar="FILE", help="Keep this split; default: split.json in the data folder, or by --seed.")
@click.option(
    "--patient-pattern", metavar="REGEX", help="Its first group is the patient in a case's name; default: by layout."
)
@request_options("seed")
@click.option("--out", required=True, metavar="FILE", help="The manifest (JSON), for --split of train and evaluate.")
def manifest(data: str, split: str | None, patient_pattern: str | None, seed: int, out: str) -> None:
    """List the PET/CT cases of a folder, check that each can be read, and divide the patients 80/10/10.

    No patient is in two parts. Unfit cases are listed with the reason.
    """
    from pathlib import Path

    from ..cohort.manifest import FORMAT, summary, write_manifest
    from ..outputs import check_file, marked

    path = check_file(out, (".json",), marked(FORMAT), [split or Path(data, "split.json")])
    before = path.exists()
    with Bar() as bar:
        content = write_manifest(data, path, split, seed, patient_pattern, progress=bar)
    click.echo(summary(content))
    click.echo(f"Wrote {path}{instead(before)}.")


@click.command(short_help="Super-resolve every case of a folder.")
@click.option("--data", required=True, metavar="DIR", help="Folder of cases: NIfTI, nnU-Net's form or DICOM studies.")
@click.option("--split", metavar="FILE", help="With --part: a manifest or split.json; default: the data folder's.")
@click.option("--part", metavar="NAME", help="Only these cases of the split.  [default: every case]")
@request_options(shared=True)
@click.option(
    "--dicom-out",
    metavar="DIR",
    help="The results of DICOM studies as DICOM too, a folder each: series, SEG, report; other cases are told.",
)
@click.option("--out", required=True, metavar="DIR", help="A folder for each case, tables of all, index.html.")
def batch(data: str, split: str | None, part: str | None, out: str, **common: Any) -> None:
    """Super-resolve every case of a folder, and compare the lesions of those with contours.

    The same command continues a stopped run; cases that fail and folders that are no case are listed in cases.csv.
    On several GPUs or machines: torchrun --nproc-per-node 4 -m PETSuperResLib batch ...
    """
    from ..cohort.batch import TABLES, reconstruct_cases
    from ..cohort.cases import data_folder, find_cases, search
    from ..cohort.manifest import split_cases
    from ..errors import InputError
    from ..outputs import check_folder

    folder = check_folder(out, TABLES)
    if split and not part:
        raise InputError("--split needs --part, the name of the cases in it: train, validation or test.")
    skipped: dict[str, str] = {}
    with Bar("looking for cases") as bar:
        if part:
            cases = split_cases(data, part, split)
        else:
            found = search(data_folder(data))
            cases, skipped = list(found.cases.values()) or find_cases(data), found.skipped
        outcome = reconstruct_cases(cases, folder, progress=bar, skipped=skipped, **common)
    if os.environ.get("RANK", "0") != "0":
        return
    for warning, named in outcome.warnings().items():
        click.echo(f"Note: {', '.join(named)}: {warning}")
    for row in outcome.rows:
        if row["message"]:
            kind = "Note" if row["result"] == "sr.nii.gz" else row["result"].capitalize()
            click.echo(f"{kind}: {row['case']}: {row['message']}")
    if outcome.replaced:
        click.echo(f"Note: earlier results were replaced, of {', '.join(outcome.replaced)}.")
    if outcome.removed:
        click.echo(f"Note: earlier results were removed, of {', '.join(outcome.removed)}: there is no new one.")
    if outcome.left:
        click.echo(f"Note: the results of other cases of an earlier run stay: {', '.join(outcome.left)}.")
    made, kept, failed = (outcome.of(*which) for which in (("sr.nii.gz", "now"), ("sr.nii.gz", "earlier"), ("failed",)))
    before = f" and kept {len(kept)} of an earlier run" if kept else ""
    tables = f"{', '.join(outcome.tables)} in {folder}"
    click.echo(f"Wrote {len(made)} of {len(cases)} cases{before}; {tables} list them.")
    if failed:
        first = failed[0]
        count = f"{len(failed)} of {len(cases)} cases failed, see cases.csv"
        raise InputError(f"{count}; the first, {first['case']}: {first['message']}", first["option"])
