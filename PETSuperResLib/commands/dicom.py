"""The subcommand that writes DICOM: dicom."""

from __future__ import annotations

import click

from .common import request_options


@click.command("dicom", short_help="Write a super-resolved PET as a derived DICOM series.")
@click.option("--volume", required=True, metavar="FILE", help="The super-resolved PET in SUVbw, as sr.nii.gz.")
@click.option("--source", required=True, metavar="DICOM_DIR", help="The PET series that it was made from.")
@request_options("series")
@click.option("--report", metavar="FILE", help="report.json of the reconstruction, for the description.")
@click.option("--out", required=True, metavar="DIR", help="New folder for the series.")
def dicom(volume: str, source: str, series: str | None, report: str | None, out: str) -> None:
    """Write a super-resolved PET as a derived DICOM series: same patient, study, tracer and SUVs as its source."""
    import json
    from pathlib import Path

    from ..dicom.write import write_derived
    from ..errors import InputError
    from ..suv.volumes import check_suv
    from ..volume import Volume

    image = Volume.read(volume, unit="SUVbw")
    for warning in check_suv(image):
        click.echo(f"Note: {warning}")
    facts = {}
    if report:
        try:
            facts = json.loads(Path(report).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{report} is not the report.json of a reconstruction: leave --report out.") from error
    files = write_derived(image, source, out, facts, series=series)
    click.echo(f"Wrote {len(files)} images to {out}.")
