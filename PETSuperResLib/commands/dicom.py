"""The subcommand that writes DICOM: dicom."""

from __future__ import annotations

import click

from .common import request_options


@click.command("dicom", short_help="Write a super-resolved PET as a derived DICOM series.")
@click.option("--volume", required=True, metavar="FILE", help="The super-resolved PET in SUVbw, as sr.nii.gz.")
@click.option("--source", required=True, metavar="DICOM_DIR", help="The PET series that it was made from.")
@request_options("series")
@click.option("--report", metavar="FILE", help="report.json of the reconstruction; default: the one beside the volume.")
@click.option("--out", required=True, metavar="DIR", help="New folder for the series.")
def dicom(volume: str, source: str, series: str | None, report: str | None, out: str) -> None:
    """Write a super-resolved PET as a derived DICOM series: same patient, study, tracer and SUVs as its source."""
    from ..dicom.write import check_target, write_derived
    from ..results import report_of
    from ..suv.volumes import check_suv
    from ..volume import Volume

    check_target(out)
    facts = report_of(volume, report)
    image = Volume.read(volume, unit="SUVbw")
    for warning in check_suv(image):
        click.echo(f"Note: {warning}")
    files = write_derived(image, source, out, facts, series=series)
    click.echo(f"Wrote {len(files)} images to {out}.")
