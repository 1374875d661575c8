"""Subcommands that make images, and their scanners: reconstruct, simulate, presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .common import Bar, change_table, device_option, read_image, region_of, seed_option, table


@click.command(short_help="Super-resolve a PET with its CT; compare lesion SUVs.")
@click.option("--pet", required=True, metavar="FILE", help="PET in SUVbw: NIfTI, NRRD, MHA or a DICOM folder.")
@click.option("--ct", required=True, metavar="FILE", help="CT of the same session, in HU, on any grid.")
@click.option("--scanner", metavar="NAME", help="Scanner that made the PET: preset or JSON file; DICOM may tell it.")
@click.option("--segmentation", metavar="FILE", help="Label map of the lesions, on any grid; MTV and TLG from SUV 2.5.")
@click.option(
    "--quality",
    type=click.Choice(["draft", "standard", "paper"]),
    default="standard",
    show_default=True,
    help="A quick look, recommended, or the paper's schedule (slow); not the --setting of simulate.",
)
@click.option(
    "--samples", type=click.IntRange(1), default=1, show_default=True, help="Above 1: std.nii.gz, their spread."
)
@click.option("--region", metavar="BOX", help="x0,x1,y0,y1,z0,z1 in LPS mm, or 'segments'.")
@click.option("--margin", type=click.FloatRange(0), default=20.0, show_default=True, help="Around the segments, in mm.")
@click.option("--spacing", type=click.FloatRange(0.5, 10), help="In-plane voxel size of the result in mm.")
@click.option(
    "--measurement", metavar="FILE", help="Sinogram of 'petsuperres simulate', in place of the PET; sets the scanner."
)
@click.option(
    "--trues-per-slice",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Effective counts of the PET, instead of an estimate from its noise and the preset; lower counts smooth more.",
)
@click.option("--prior", metavar="FILE", help="Another prior (safetensors) than the bundled one.")
@seed_option
@device_option
@click.option("--dicom-out", metavar="DIR", help="New folder for the result as a derived DICOM series as well.")
@click.option("--out", required=True, metavar="DIR", help="Where sr.nii.gz, report.json and lesions.csv go.")
def reconstruct(
    pet: str,
    ct: str,
    scanner: str | None,
    segmentation: str | None,
    quality: str,
    samples: int,
    region: str | None,
    margin: float,
    spacing: float | None,
    measurement: str | None,
    trues_per_slice: float | None,
    prior: str | None,
    seed: int,
    device: str,
    dicom_out: str | None,
    out: str,
) -> None:
    """Super-resolve a PET with its CT; with a segmentation, compare the lesions' SUVs before and after."""
    from ..errors import InputError
    from ..files import check_folder, file_hashes, to_json, write_csv, write_together
    from ..lesions import measures as ls
    from ..scanner import Scanner, guess_preset
    from ..volume import Volume

    folder = check_folder(out)
    box = region_of(region) if region else None
    wanted = Scanner.get(scanner) if scanner else None  # an unknown name is told before anything is read
    if measurement and region:
        raise InputError("--measurement is reconstructed as a whole: leave --region out.")
    if measurement and trues_per_slice:
        raise InputError("--measurement holds its own counts: leave --trues-per-slice out.")
    pet_volume, ct_volume = read_image(pet, "PT"), read_image(ct, "CT")
    if dicom_out:
        from ..dicom.write import check_target

        check_target(dicom_out)
        if "series_uid" not in pet_volume.metadata:
            raise InputError("--dicom-out needs the PET as a DICOM series: give --pet its folder.")
    known = pet_volume.metadata
    scanner = scanner or guess_preset(known.get("manufacturer"), known.get("model"))
    if scanner is None and measurement is None:
        raise InputError(
            "The PET does not say which scanner made it: add --scanner NAME; 'petsuperres presets' lists the names."
        )
    files = {"pet": pet, "ct": ct, "segmentation": segmentation, "measurement": measurement, "prior": prior}
    hashes = file_hashes(files)
    mask = Volume.read(segmentation, unit="label") if segmentation else None
    names = ls.segment_names(segmentation) if segmentation else {}
    before = ls.measure_lesions(pet_volume, mask, names=names) if mask else []
    from ..reconstruction import reconstruct as run

    used = wanted or (Scanner.get(scanner) if scanner else None)
    given: dict[str, Any] = {"scanner": used}
    if measurement:
        from ..physics.measurement import Measurement

        given["measurement"] = Measurement.read(measurement)
        made_by = given["scanner"] = given["measurement"].scanner
        if wanted and wanted.name != made_by.name:
            raise InputError(
                f"The measurement is of scanner '{made_by.name}', not '{wanted.name}': leave --scanner out."
            )
    if prior:
        given["prior"] = prior
    given |= {k: v for k, v in {"spacing": spacing, "trues_per_slice": trues_per_slice}.items() if v}
    with Bar() as bar:
        result = run(
            pet_volume,
            ct_volume,
            quality=quality,
            samples=samples,
            seed=seed,
            device=device,
            region=box(mask, margin) if box else None,
            progress=bar,
            **given,
        )
    after = ls.measure_lesions(result.volume, mask, names=names, skip_outside=box is not None) if mask else []
    changes = ls.compare(before, after)
    report = {**result.report, "files": files, "files_sha256": hashes, "lesions": changes}
    writers: dict[Path, Any] = {folder / "sr.nii.gz": result.volume.write}
    if result.std is not None and samples > 1:
        writers[folder / "std.nii.gz"] = result.std.write
    if mask:
        patient, setting = str(known.get("patient", "")), given["scanner"].name
        rows = ls.lesion_rows(before, patient, setting, "lr")
        rows += ls.lesion_rows(after, patient, setting, f"ours-{quality}")
        writers[folder / "lesions.csv"] = lambda path: write_csv(path, rows, ls.COLUMNS)
    writers[folder / "report.json"] = lambda path: path.write_text(to_json(report), encoding="utf-8")
    write_together(writers)
    if dicom_out:
        from ..dicom.write import write_derived

        files_written = write_derived(result.volume, pet, dicom_out, result.report)
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
