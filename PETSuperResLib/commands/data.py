"""Subcommand for training data: manifest."""

from __future__ import annotations

import click

from .common import Bar, seed_option


@click.command(short_help="List, check and divide training cases.")
@click.option("--data", required=True, metavar="DIR", help="Folder of cases: NIfTI, nnU-Net's form or DICOM studies.")
@click.option("--split", metavar="FILE", help="Keep this split; default: split.json in the data folder, or by --seed.")
@click.option(
    "--patient-pattern", metavar="REGEX", help="Its first group is the patient in a case's name; default: by layout."
)
@seed_option
@click.option("--out", required=True, metavar="FILE", help="The manifest (JSON), for --split of train and evaluate.")
def manifest(data: str, split: str | None, patient_pattern: str | None, seed: int, out: str) -> None:
    """List the PET/CT cases of a folder, check that each can be read, and divide the patients 80/10/10.

    No patient is in two parts. What cannot serve is listed with the reason.
    """
    from ..outputs import check_file
    from ..training.manifest import summary, write_manifest

    path = check_file(out)
    with Bar() as bar:
        content = write_manifest(data, path, split, seed, patient_pattern, progress=bar)
    click.echo(summary(content))
    click.echo(f"Wrote {path}.")
