"""Subcommands that write DICOM: dicom, report."""

from __future__ import annotations

from typing import Any

import click

from .common import request_options


def _series_options(command: Any) -> Any:
    """The options of both: the result, the series it was made from, and where the new one goes."""
    for add in (
        click.option("--out", required=True, metavar="DIR", help="New folder for the series."),
        click.option(
            "--report", metavar="FILE", help="report.json of the reconstruction; default: the one beside the volume."
        ),
        request_options("series"),
        click.option("--source", required=True, metavar="DICOM_DIR", help="The PET series that it was made from."),
        click.option("--volume", required=True, metavar="FILE", help="The super-resolved PET in SUVbw, as sr.nii.gz."),
    ):
        command = add(command)
    return command


@click.command("dicom", short_help="Write a super-resolved PET as a derived DICOM series.")
@_series_options
def dicom(volume: str, source: str, series: str | None, report: str | None, out: str) -> None:
    """Write a super-resolved PET as a derived DICOM series: same patient, study, tracer and SUVs as its source."""
    from ..dicom.write import write_derived

    image, facts = _result(volume, report, out)
    files = write_derived(image, source, out, facts, series=series)
    click.echo(f"Wrote {len(files)} images to {out}.")


@click.command("report", short_help="A super-resolved PET and its lesions' SUVs as DICOM: series, SEG, report.")
@_series_options
@click.option("--segmentation", required=True, metavar="FILE", help="The lesions, as given to reconstruct.")
def report(volume: str, source: str, series: str | None, report: str | None, out: str, segmentation: str) -> None:
    """Write a super-resolved PET as a derived DICOM series, with its lesions as DICOM SEG and structured report.

    The report has the SUVs of the lesion table beside the volume, in the PET and in the result; they are measured
    where reconstruct had no segmentation.
    """
    from ..dicom.write import write_derived
    from ..inputs import read_image
    from ..lesions.dicom_report import beside, measured_rows
    from ..lesions.read import ct_of_report, read_segmentation
    from ..results import lesions_of

    image, facts = _result(volume, report, out)
    pet = read_image(source, "PT", series=series)
    drawn = read_segmentation(segmentation, pet, ct_of_report(facts))
    for warning in drawn.notes:
        click.echo(f"Note: {warning}")
    rows = lesions_of(volume, facts) or measured_rows(drawn.segments, pet, image, facts)
    files = write_derived(image, source, out, facts, series=series, beside=beside(drawn.segments, rows, facts))
    click.echo(f"Wrote {len(files)} files to {out}, {', '.join(file.name for file in files if file.name[:2] != 'PT')}.")


def _result(volume: str, report: str | None, out: str) -> tuple[Any, dict[str, Any]]:
    """A super-resolved PET and its report; raises :class:`OutputError` where ``out`` cannot take a series."""
    from ..dicom.write import check_target
    from ..results import report_of
    from ..suv.volumes import check_suv
    from ..volume import Volume

    check_target(out)
    facts = report_of(volume, report)
    image = Volume.read(volume, unit="SUVbw")
    for warning in check_suv(image):
        click.echo(f"Note: {warning}")
    return image, facts
