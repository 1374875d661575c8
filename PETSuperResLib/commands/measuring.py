"""Subcommands that measure: suv, lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .common import (
    MTV,
    Decimal,
    change_table,
    instead,
    lesion_headings,
    recovered_table,
    request_options,
    table,
    with_option,
)

if TYPE_CHECKING:
    from ..lesions.measures import Lesion
    from ..lesions.segments import Segment
    from ..volume import Volume


AFTER, REFERENCE = "after", "reference"  # beside the PET in the column ``method``
LIKE_PERCENT = 20.0  # a threshold from which a number was probably meant as a percentage


@click.command(short_help="Body-weight SUV of a DICOM PET series.")
@click.argument("dicom_dir")
@click.option("--weight", "weight_kg", type=Decimal(), metavar="KG", help="Instead of the header's patient weight.")
@click.option(
    *("--dose", "dose_bq"),
    type=Decimal(),
    metavar="MBQ",
    callback=lambda context, option, mbq: None if mbq is None else 1e6 * mbq,
    help="Instead of the header's injected activity.",
)
@click.option("--injection-time", metavar="TIME", help="Instead of the header's: 2025-01-31T10:00:00 or 10:00:00.")
@click.option("--half-life", "half_life_s", type=Decimal(), metavar="S", help="Instead of the header's, in seconds.")
@request_options("series")
@click.option("--out", required=True, metavar="FILE", help="NIfTI, NRRD or MHA to write.")
def suv(dicom_dir: str, out: str, **stated: Any) -> None:
    """Body-weight SUV of a DICOM PET series, with the evidence it rests on."""
    from ..dicom.read import suv_volume
    from ..files import to_json
    from ..outputs import check_file, marked
    from ..suv.volumes import told
    from ..volume import WRITABLE

    note = "PETSuperRes SUVbw"
    before = check_file(out, WRITABLE, marked(note), [dicom_dir]).exists()
    volume = suv_volume(dicom_dir, **stated)
    volume.write(out, note)
    click.echo(to_json(volume.metadata.get("suv", {})), nl=False)
    for warning in told(volume):
        click.echo(f"Note: {warning}")
    click.echo(f"Wrote {out}{instead(before)}: SUVbw {volume.array.min():.2f} to {volume.array.max():.2f}.")


@click.command(short_help="SUVmax, SUVmean, SUVpeak, MTV and TLG of every segment.")
@click.option("--pet", required=True, metavar="FILE", help="PET in SUVbw.")
@click.option("--segmentation", required=True, metavar="FILE", help="Label map, .seg.nrrd, DICOM SEG or RTSTRUCT.")
@click.option("--after", metavar="FILE", help="A second image (the super-resolved one) to compare with the PET.")
@click.option("--reference", metavar="FILE", help="The truth: adds its own rows, deltas and lesion NMSE.")
@click.option(
    "--threshold",
    default=f"{MTV:g}",
    show_default=True,
    help="For MTV and TLG: an SUV, or 41%, the share of the segment's SUVmax in each volume by itself.",
)
@click.option(
    "--recover/--no-recover",
    default=None,
    help="Also what the PET alone holds of each segment beyond its blur; by default where its resolution is known.",
)
@request_options("scanner", "fwhm", "post_filter", "psf_modelled", "noise", "series")
@click.option("--split", is_flag=True, help="Measure every connected part by itself.")
@click.option("--out", metavar="FILE", help="CSV to write.")
def lesions(
    pet: str,
    segmentation: str,
    after: str | None,
    reference: str | None,
    threshold: str,
    recover: bool | None,
    noise: float | None,
    series: str | None,
    split: bool,
    out: str | None,
    **resolution: Any,
) -> None:
    """SUVmax, SUVmean, SUVpeak, MTV and TLG of every segment, and what is recovered of its uptake."""
    from ..files import write_csv
    from ..inputs import read_image
    from ..lesions import measures as ls
    from ..lesions.read import read_segmentation
    from ..lesions.segments import SHARE_TOLD, connected_parts
    from ..lesions.tables import wide_rows
    from ..outputs import begins, check_file
    from ..suv.volumes import check_suv

    _, relative = ls.check_threshold(threshold)
    before = False
    for note in ls.about_threshold(threshold):
        click.echo(f"Note: {note}")
    if out:
        own = begins(ls.COLUMNS, method=(ls.INPUT, AFTER, REFERENCE))  # others' tables of lesions have a result's
        before = check_file(out, (".csv",), own, [pet, segmentation, after, reference]).exists()
    volume = read_image(pet, "PT", series=series)
    drawn = read_segmentation(segmentation, volume)
    for warning in drawn.notes:
        click.echo(f"Note: {warning}")
    segments = connected_parts(drawn.segments) if split else drawn.segments
    truth = read_image(reference, "PT", "--reference") if reference else None
    volumes = {ls.INPUT: volume}
    if after:
        volumes[AFTER] = read_image(after, "PT", "--after")
    for one in (*volumes.values(), *([truth] if truth else [])):
        for warning in check_suv(one):
            click.echo(f"Note: {warning}")
    if after and min(volumes[AFTER].spacing[:2]) > 1.01 * min(volume.spacing[:2]):
        click.echo(
            "Note: the image after has larger pixels than the PET, which no result has: if their order is swapped, "
            "give the PET as --pet and the result as --after."
        )
    headings = lesion_headings(threshold)
    found = {name: ls.measure_lesions(v, segments, truth, threshold=threshold) for name, v in volumes.items()}
    for segment in segments if after else ():
        share = segment.share_within(volumes[AFTER]) / (segment.share_within(volume) or 1.0)
        if share < 1 - SHARE_TOLD:
            click.echo(
                f"Note: the image after holds {100 * share:.0f} % of segment '{segment.name}' only: compare no volumes "
                "or means of it; give a result of the whole lesion."
            )
    told = ""
    if recover is not False:
        told, found[ls.INPUT] = _recovered(found[ls.INPUT], volume, segments, resolution, noise, bool(recover))
    if truth:
        headings |= {"delta_suvmax_percent": "dSUVmax %", "delta_suvmean_percent": "dSUVmean %", "nmse": "NMSE"}
        found[REFERENCE] = ls.measure_lesions(truth, segments, threshold=threshold)
    patient = str(volume.metadata.get("patient", ""))
    rows = [row for name, measured in found.items() for row in ls.lesion_rows(measured, patient, method=name)]
    if after or truth:
        headings = {"lesion": headings.pop("lesion"), "method": "image", **headings}
    shown = {ls.INPUT: "PET"}
    click.echo(table([row | {"method": shown.get(row["method"], row["method"])} for row in rows], headings))
    if not relative and all(row["mtv_ml"] == 0 for row in rows):
        proposed = f"{float(threshold):g}%" if LIKE_PERCENT <= float(threshold) <= 100 else "41%"
        click.echo(f"Note: nothing reaches an SUV of {threshold}; for a share of each SUVmax give '{proposed}'.")
    if told:
        click.echo(f"\n{told}\n{recovered_table(ls.lesion_rows(found[ls.INPUT]))}")
    if after:
        click.echo("\n" + change_table(wide_rows(pet=found[ls.INPUT], sr=found[AFTER]), threshold))
    if out:
        write_csv(out, rows, ls.COLUMNS)
        click.echo(f"Wrote {out}{instead(before)}.")


def _recovered(
    lesions: Sequence[Lesion],
    pet: Volume,
    segments: Sequence[Segment],
    stated: Mapping[str, Any],
    noise: float | None,
    asked: bool,
) -> tuple[str, list[Lesion]]:
    """The heading of what is recovered from a PET alone, and the lesions with it; empty where it cannot be, and why."""
    from ..errors import InputError
    from ..inputs import noise_of_pet, resolution_of_pet
    from ..pet_alone import with_recovered_of_pet

    try:
        scanner, resolution = resolution_of_pet(pet, **stated)
    except InputError as error:
        if asked or any(value is not None for value in stated.values()):
            raise
        told = with_option(str(error), error.option, click.get_current_context().command)
        click.echo(f"Note: nothing is recovered. {told}")
        return "", list(lesions)
    taken, of_noise = noise_of_pet(pet, resolution, noise)
    for warning in (*resolution.warnings, *of_noise):
        click.echo(f"Note: {warning}")
    known = "" if scanner is None else f"{scanner.name}; "
    told = f"Recovered from the PET alone ({known}{resolution.words()}):"
    return told, with_recovered_of_pet(lesions, pet, segments, resolution, taken)
