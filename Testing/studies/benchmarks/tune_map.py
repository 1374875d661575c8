"""How the MAP references were tuned: penalty, weight and updates on the validation patients.

    python Testing/benchmarks/tune_map.py DIR [--reference sharp] [--limit N]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients; the package must be
installed. Eight central slices of each patient; a row is the mean PSNR (dB), SSIM and NMSE over patients at
the standard setting, by which the values are chosen (best mean PSNR). Last, the chosen rows at the OOD setting.
With ``--reference sharp`` the truth is uptake painted into their CTs, and ``map-bowsher-sharp`` is what is tuned.
All four patients take about 12 minutes on one busy CPU core, ``--limit 2`` half of it.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tune_sampler import Scan, scans

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.studies.evaluation.metrics import whole_field
from PETSuperResLib.studies.methods.map import (
    MAP_BOWSHER,
    MAP_BOWSHER_SHARP,
    MAP_RDP,
    MapSettings,
    map_image,
    map_penalty,
)
from PETSuperResLib.studies.methods.penalised import penalised
from PETSuperResLib.studies.subjects import REFERENCES

UPDATES = (20, 40, 80)
BETAS = (0.1, 0.2, 0.3, 0.5)
RDP = tuple(MapSettings(beta, gamma, max(UPDATES)) for gamma in (0.0, 2.0, 10.0) for beta in BETAS)
BOWSHER = tuple(
    MapSettings(beta, 2.0, max(UPDATES), neighbours, ct_fwhm_mm=fwhm)
    for fwhm in (0.0, 8.0, 12.0)
    for neighbours in (7, 13, 20)
    for beta in (0.1, 0.15, 0.3)
)
SHARP = tuple(
    MapSettings(beta, 2.0, max(UPDATES), neighbours, ct_fwhm_mm=fwhm)
    for fwhm in (0.0, 2.0, 4.0)
    for neighbours in (9, 13, 16, 20)
    for beta in (0.05, 0.07, 0.1, 0.15, 0.25)
)


def show(name: str, scored: list[tuple[Scan, np.ndarray]]) -> float:
    """Print the means over scans; returns the mean PSNR."""
    scores = [whole_field(scan.truth.array, image) for scan, image in scored]
    psnr, ssim, nmse = (float(np.mean([s[key] for s in scores])) for key in ("psnr", "ssim", "nmse"))
    print(f"{name:75s} | {psnr:7.2f} {ssim:7.4f} {nmse:7.4f}", flush=True)
    return psnr


def named(settings: MapSettings) -> str:
    """The values that vary, in words."""
    name = f"beta {settings.beta:g}, gamma {settings.gamma:g}"
    if settings.neighbours:
        name += f", {settings.neighbours} neighbours, CT at {settings.ct_fwhm_mm:g} mm"
    return name


def iterates(scan: Scan, settings: MapSettings) -> dict[int, np.ndarray]:
    """The image after each of :data:`UPDATES`; the last one for those after convergence."""
    kept: dict[int, np.ndarray] = {}

    def keep(number: int, z: torch.Tensor, _: float) -> None:
        if number in UPDATES:
            kept[number] = z.numpy()

    penalty = map_penalty(settings, scan.model.spacing, scan.ct)
    last = penalised(scan.model, scan.counts, penalty, settings.beta, max(UPDATES), callback=keep).numpy()
    return {number: kept.get(number, last) for number in UPDATES}


def search(title: str, on: list[Scan], choices: tuple[MapSettings, ...]) -> None:
    """Print a row for each choice and number of updates, and the best of them."""
    rows: list[tuple[float, str]] = []
    for settings in choices:
        images = [iterates(scan, settings) for scan in on]
        for number in UPDATES:
            name = f"{title}, {named(settings)}, {number} updates"
            rows.append((show(name, [(scan, i[number]) for scan, i in zip(on, images, strict=True)]), name))
    print(f"best: {max(rows)[1]}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N validation patients")
    parser.add_argument("--reference", choices=REFERENCES, default="real", help="own PET, or sharp painted uptake")
    arguments = parser.parse_args()
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be 1 or more, not {arguments.limit}.")
    try:
        made = scans(arguments.data, arguments.limit, arguments.reference)
    except PETSuperResError as error:
        parser.error(str(error))
    standard, ood = ([s for s in made if s.setting == setting] for setting in ("standard", "ood"))
    print(f"{'':75s} |    PSNR    SSIM    NMSE")
    for number in (24, 45):
        show(f"psf-osem, {number} updates", [(s, s.iterates[number]) for s in standard])
    chosen = {"map-rdp": MAP_RDP, "map-bowsher": MAP_BOWSHER}
    if arguments.reference == "sharp":
        chosen = {"map-bowsher-sharp": MAP_BOWSHER_SHARP}
        search("map-bowsher-sharp", standard, SHARP)
    else:
        search("map-rdp", standard, RDP)
        search("map-bowsher", standard, BOWSHER)
    show("at OOD: psf-osem, 24 updates", [(s, s.iterates[24]) for s in ood])
    for name, settings in chosen.items():
        images = [(s, map_image(settings, s.model, s.counts, s.ct).numpy()) for s in ood]
        show(f"at OOD: {name}, {named(settings)}, {settings.iterations} updates", images)


if __name__ == "__main__":
    main()
