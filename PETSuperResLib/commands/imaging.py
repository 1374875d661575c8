"""Subcommands that make images, and their scanners: reconstruct, simulate, presets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..progress import Event
from .common import Bar, change_table, instead, level_option, recovered_table, request_options, table

if TYPE_CHECKING:
    from ..physics.protocols import Protocol


@click.command(short_help="Super-resolve a PET with its CT; compare lesion SUVs.")
@request_options()
@click.option(
    "--dicom-out", metavar="DIR", help="New folder for the result as DICOM too: series, SEG and report of lesions."
)
@click.option("--out", required=True, metavar="DIR", help="Where sr.nii.gz, report.json and lesions.csv go.")
def reconstruct(dicom_out: str | None, out: str, **given: Any) -> None:
    """Super-resolve a PET with its CT; with a segmentation, compare the lesions' SUVs before and after."""
    from ..errors import Cancelled, InputError, OutputError, PETSuperResError
    from ..request import Request
    from ..results import check_results, place_for, state

    request = Request(**given)
    asked = check_results(out, request)
    before = state(asked)
    if dicom_out:
        from ..dicom.write import check_target, source_slices, write_derived
        from ..lesions.dicom_report import beside

        check_target(dicom_out)
    with Bar("reading") as bar:
        from ..inputs import Inputs

        inputs = Inputs.of(request, bar, lambda words: bar.echo(f"{words}."))
        bar(Event("loading the libraries", 0.0))
        if dicom_out and "series_uid" not in inputs.pet.metadata:
            raise InputError("--dicom-out needs the PET as a DICOM series: give --pet its folder.")
        if dicom_out:
            source_slices(given["pet"], inputs.pet.metadata["series_uid"])  # refused before the work
        from ..reconstruction import run

        result = run(inputs, bar)
    folder = place_for(asked, before)
    earlier = instead(before and folder == asked)
    files = result.write(folder, str(inputs.pet.metadata.get("patient", "")))
    for warning in result.report.get("warnings", ()):
        if warning not in bar.told:
            click.echo(f"Note: {warning}")
    if lesions := result.report.get("lesions"):
        click.echo(change_table(lesions, request.threshold))
        if any(lesion["recovered_from"] or lesion["doubts"] for lesion in lesions):
            click.echo("\n" + recovered_table(lesions))
    if evidence := result.report.get("evidence"):
        click.echo(_blobs(evidence))
    saved = ", ".join(path.name for path in files.values())
    click.echo(f"Wrote {saved} to {folder}{earlier}.")
    if dicom_out:
        try:
            facts, uid = dict(result.report), inputs.pet.metadata["series_uid"]
            objects = beside(inputs.segments, result.rows(), facts)
            series = write_derived(result.volume, given["pet"], dicom_out, facts, series=uid, beside=objects)
        except PETSuperResError as error:
            raise OutputError(f"{saved} are saved in {folder}, but not the DICOM series: {error}") from error
        except KeyboardInterrupt as stop:
            raise Cancelled(f"Cancelled; {saved} are saved in {folder}, the DICOM series is not.") from stop
        click.echo(f"Wrote {len(series)} DICOM files to {dicom_out}.")
    if folder != asked:
        raise OutputError(
            f"Another run has written its result to {asked} meanwhile, which stays: this one is in {folder}; give each "
            "run a place of its own.",
            "out",
        )


def _blobs(evidence: Mapping[str, Any]) -> str:
    """How many hot blobs a result has, and how many the data do not support, by its report."""
    from ..lesions.evidence import SUPPORTED

    count = len(evidence["blobs"])
    below = f", {evidence['not_supported']} below {SUPPORTED:g} sigma" if count else ""
    return f"{count or 'No'} hot blob{'s' if count != 1 else ''}{below}: see report.json."


@click.command(short_help="Simulate a low-resolution scan of a PET.")
@click.option("--pet", required=True, metavar="FILE", help="High-resolution PET in SUVbw.")
@click.option("--ct", metavar="FILE", help="CT of the same session, in HU; used with --attenuation only.")
@click.option("--setting", metavar="NAME", help="What to simulate: standard or ood (Table 1), or a preset.")
@click.option("--scanner", metavar="NAME|FILE", help="Instead of it, a preset or JSON file alone.")
@click.option(
    "--protocol", metavar="NAME|FILE", help="Or a hospital's image, of its scanner: 'presets --protocols' lists them."
)
@level_option("counts", "realistic", help="As of a clinical scan, or 10 times.")
@click.option("--attenuation", is_flag=True, help="Model the attenuation of the CT.")
@request_options("series", "seed", "device")
@click.option("--dicom-out", metavar="DIR", help="New folder for the LR image as the scanner's DICOM series as well.")
@click.option("--out", required=True, metavar="DIR", help="Where the LR image, the sinogram and the truth go.")
def simulate(
    pet: str,
    ct: str | None,
    setting: str | None,
    scanner: str | None,
    protocol: str | None,
    counts: str,
    attenuation: bool,
    series: str | None,
    seed: int,
    device: str,
    dicom_out: str | None,
    out: str,
) -> None:
    """Simulate a low-resolution scan of a PET: its sinogram and the image a clinic would make of it."""
    from ..checks import check_ct
    from ..errors import InputError
    from ..inputs import read_image
    from ..outputs import check_folder
    from ..physics.protocols import Protocol
    from ..physics.simulation import FILES
    from ..physics.simulation import simulate as run
    from ..scanner import Scanner
    from ..scanner import setting as find_setting
    from ..suv.volumes import check_suv

    if (setting is not None) + (scanner is not None or protocol is not None) != 1:
        raise InputError("Give either --setting, the paper's, or --scanner, a preset, or --protocol, a hospital's.")
    folder = check_folder(out, FILES, [pet, ct])
    chosen = None if protocol is None else Protocol.get(protocol)
    named = scanner or (chosen.scanner if chosen else None)
    known = Scanner.get(named) if named else find_setting(setting or "")
    if chosen is not None and known != Scanner.get(chosen.scanner):
        raise InputError(f"Protocol '{chosen.name}' is of scanner '{chosen.scanner}': leave --scanner out.")
    if dicom_out:
        from ..dicom.write import check_target

        check_target(dicom_out)
    pet_volume = read_image(pet, "PT", series=series)
    for warning in (*known.notes, *check_suv(pet_volume)):
        click.echo(f"Note: {warning}")
    ct_volume = read_image(ct, "CT") if ct else None
    if ct_volume is not None:
        check_ct(ct_volume)
        if not attenuation:
            click.echo("Note: the CT is not used without --attenuation.")
    with Bar() as bar:
        scan = partial(run, pet_volume, ct_volume, known, counts, attenuation, seed=seed, device=device)
        done = scan(progress=bar, protocol=chosen)
    before = any((folder / name).exists() for name in FILES)
    click.echo(f"Wrote {', '.join(done.write(folder))} to {folder}{instead(before)}.")
    if chosen is not None:
        click.echo(_to_reconstruct(chosen))
    if dicom_out:
        from ..dicom.simulated import write_simulated

        click.echo(f"Wrote {len(write_simulated(done.lr, dicom_out))} DICOM images to {dicom_out}.")


def _to_reconstruct(protocol: Protocol) -> str:
    """The options by which reconstruct knows of a protocol's image what its NIfTI file does not say."""
    psf = "--no-psf-modelled" if protocol.reconstruction == "osem" else "--psf-modelled"
    options = f"--scanner {shlex.quote(protocol.scanner)} {psf} --post-filter {protocol.filter_fwhm_mm[0]:g}"
    penalty = "; that it is penalised, its DICOM series alone tells (--dicom-out)"
    return f"To reconstruct lr.nii.gz, give {options}{penalty if protocol.reconstruction == 'penalised' else ''}."


@click.command(short_help="List the scanner presets or the protocols, or print one as JSON.")
@click.argument("name", required=False)
@click.option("--protocols", "listed", is_flag=True, help="The hospitals' protocols of simulate instead.")
def presets(name: str | None, listed: bool) -> None:
    """List the scanner presets, or print one as JSON, to be changed and given as --scanner FILE.json.

    With --protocols the same for protocols, to be given to simulate as --protocol FILE.json.
    """
    from .. import scanner as sc
    from ..files import to_json

    if listed:
        from ..physics.protocols import Protocol, protocols

        if name:
            click.echo(to_json(Protocol.get(name).to_dict()), nl=False)
            return
        lines = [
            {"name": p.name, "scanner": p.scanner, "reconstruction": p.reconstruction, "method": p.method}
            | {"updates": f"{p.iterations} x {p.subsets}", "voxel": f"{p.voxel_mm:.2f} x {p.slice_mm:g}"}
            | {"filter": " x ".join(f"{v:g}" for v in p.filter_fwhm_mm)}
            for p in protocols().values()
        ]
        headings = {"name": "protocol", "scanner": "scanner", "reconstruction": "reconstruction", "method": "header"}
        headings |= {"updates": "updates", "voxel": "voxel mm", "filter": "filter mm"}
        click.echo(table(lines, headings))
        return
    if name:
        click.echo(to_json(sc.Scanner.get(sc.SETTINGS.get(name.lower(), name)).to_dict()), nl=False)
        return
    rows = [
        s.to_dict() | {"resolution": "not found" if "fwhm_transaxial_mm" in s.unverified else "published"}
        for s in sc.presets().values()
    ]
    columns = {"name": "scanner", "fwhm_transaxial_mm": "FWHM mm", "fwhm_axial_mm": "axial mm"}
    columns |= {"kernel_scale": "kernel", "views": "views", "bin_size_mm": "bin mm", "resolution": "source of FWHM"}
    click.echo(table(rows, columns))
