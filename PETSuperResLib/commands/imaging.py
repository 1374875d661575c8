"""Subcommands that make images, and their scanners: reconstruct, simulate, presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import Bar, change_table, device_option, read_image, request_options, seed_option, table


@click.command(short_help="Super-resolve a PET with its CT; compare lesion SUVs.")
@request_options()
@click.option("--dicom-out", metavar="DIR", help="New folder for the result as a derived DICOM series as well.")
@click.option("--out", required=True, metavar="DIR", help="Where sr.nii.gz, report.json and lesions.csv go.")
def reconstruct(dicom_out: str | None, out: str, **given: Any) -> None:
    """Super-resolve a PET with its CT; with a segmentation, compare the lesions' SUVs before and after."""
    from ..errors import InputError
    from ..files import check_folder, file_hashes, to_json, write_csv, write_together
    from ..lesions import measures as ls
    from ..request import SEGMENTS, Request
    from ..scanner import scanner_of
    from ..volume import Volume

    folder = check_folder(out)
    request = Request(**given)
    pet_volume, ct_volume = read_image(str(request.pet), "PT"), read_image(str(request.ct), "CT")
    if dicom_out:
        from ..dicom.write import check_target

        check_target(dicom_out)
        if "series_uid" not in pet_volume.metadata:
            raise InputError("--dicom-out needs the PET as a DICOM series: give --pet its folder.")
    known = pet_volume.metadata
    names = ("pet", "ct", "segmentation", "measurement", "prior")
    files = {name: request.files().get(name) for name in names}
    hashes = file_hashes(files)
    segmentation = files["segmentation"]
    segments = (
        ls.segments_of(Volume.read(segmentation, unit="label"), ls.segment_names(segmentation)) if segmentation else []
    )
    before = ls.measure_lesions(pet_volume, segments)
    from ..reconstruction import reconstruct as run

    options: dict[str, Any] = {k: v for k, v in given.items() if k not in (*names[:4], "margin") and v is not None}
    if files["measurement"]:
        from ..physics.measurement import Measurement

        options["measurement"] = Measurement.read(files["measurement"])
        made_by = options["measurement"].scanner
        if request.scanner and request.scanner.name != made_by.name:  # type: ignore[union-attr]
            raise InputError(f"The measurement is of scanner '{made_by.name}': leave the scanner out.", "scanner")
        options["scanner"] = made_by
    else:
        options["scanner"] = scanner_of(request.scanner, known)  # type: ignore[arg-type]
    around = request.region == SEGMENTS
    options["region"] = ls.region_around(segments, request.margin) if around else request.region
    with Bar() as bar:
        result = run(pet_volume, ct_volume, progress=bar, **options)
    after = ls.measure_lesions(result.volume, segments, skip_outside=request.region is not None)
    changes = ls.compare(before, after)
    report = {**result.report, "files": files, "files_sha256": hashes, "lesions": changes}
    writers: dict[Path, Any] = {folder / "sr.nii.gz": result.volume.write}
    if result.std is not None and request.samples > 1:
        writers[folder / "std.nii.gz"] = result.std.write
    if segments:
        patient, setting = str(known.get("patient", "")), options["scanner"].name
        rows = ls.lesion_rows(before, patient, setting, "lr")
        rows += ls.lesion_rows(after, patient, setting, f"ours-{request.quality}")
        writers[folder / "lesions.csv"] = lambda path: write_csv(path, rows, ls.COLUMNS)
    writers[folder / "report.json"] = lambda path: path.write_text(to_json(report), encoding="utf-8")
    write_together(writers)
    if dicom_out:
        from ..dicom.write import write_derived

        files_written = write_derived(result.volume, str(request.pet), dicom_out, result.report)
    for warning in result.report.get("warnings", ()):
        click.echo(f"Note: {warning}")
    if changes:
        click.echo(change_table(changes))
    click.echo(f"Wrote {', '.join(p.name for p in writers)} to {folder}.")
    if dicom_out:
        click.echo(f"Wrote {len(files_written)} DICOM images to {dicom_out}.")


@click.command(short_help="Simulate a low-resolution scan of a PET.")
@click.option("--pet", required=True, metavar="FILE", help="High-resolution PET in SUVbw.")
@click.option("--ct", metavar="FILE", help="CT of the same session, in HU; used with --attenuation only.")
@click.option(
    "--setting", required=True, metavar="NAME", help="What to simulate: standard or ood (Table 1), or a preset."
)
@click.option(
    "--counts",
    type=click.Choice(["realistic", "high"]),
    default="realistic",
    show_default=True,
    help="As of a clinical scan, or 10 times.",
)
@click.option("--attenuation", is_flag=True, help="Model the attenuation of the CT.")
@seed_option
@device_option
@click.option("--out", required=True, metavar="DIR", help="Where the LR image, the sinogram and the truth go.")
def simulate(
    pet: str, ct: str | None, setting: str, counts: str, attenuation: bool, seed: int, device: str, out: str
) -> None:
    """Simulate a low-resolution scan of a PET: its sinogram and the image a clinic would make of it."""
    from ..files import check_folder, write_together
    from ..scanner import setting as find_setting

    folder = check_folder(out)
    scanner = find_setting(setting)
    pet_volume = read_image(pet, "PT")
    ct_volume = read_image(ct, "CT") if ct else None
    from ..physics.simulation import simulate as run

    with Bar() as bar:
        done = run(pet_volume, ct_volume, scanner, counts, attenuation, seed=seed, device=device, progress=bar)
    writers = {
        folder / "truth.nii.gz": done.truth.write,
        folder / "lr.nii.gz": done.lr.write,
        folder / "measurement.safetensors": done.measurement.write,
    }
    write_together(writers)
    click.echo(f"Wrote {', '.join(p.name for p in writers)} to {folder}.")


@click.command(short_help="List the scanner presets, or print one as JSON.")
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the scanner presets, or print one as JSON, to be changed and given as --scanner FILE.json."""
    from .. import scanner as sc
    from ..files import to_json

    if name:
        click.echo(to_json(sc.Scanner.get(sc.SETTINGS.get(name.lower(), name)).to_dict()), nl=False)
        return
    rows = [
        {
            "name": s.name,
            "transaxial": s.fwhm_transaxial_mm,
            "axial": s.fwhm_axial_mm,
            "kernel": s.kernel_scale,
            "views": s.views,
            "bin": s.bin_size_mm,
            "resolution": "not found" if "fwhm_transaxial_mm" in s.unverified else "published",
        }
        for s in sc.presets().values()
    ]
    columns = {
        "name": "scanner",
        "transaxial": "FWHM mm",
        "axial": "axial mm",
        "kernel": "kernel",
        "views": "views",
        "bin": "bin mm",
        "resolution": "source of FWHM",
    }
    click.echo(table(rows, columns))
