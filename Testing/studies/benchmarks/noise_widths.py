"""The width of the noise of the simulated protocols' images, and of real PETs, and the filter that it shows.

    python Testing/studies/benchmarks/noise_widths.py [DATA]

The package must be installed. A generated torso is scanned by each protocol; printed are the widths that the noise
has (transaxial, axial), the filter that is read from them where the header says whether the PSF was modelled, and the
protocol's own. With ``DATA``, the folder of case folders, the widths of the noise of every PET_SUV.nii.gz in it follow,
by the size of the voxels: the least, quantiles of 10, 50 and 90 %, and the greatest.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics.noise_width import noise_widths
from PETSuperResLib.physics.protocols import Protocol, protocols
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.resolution import filter_of_noise
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

SEED, SHAPE, PIXEL_MM = 11, (24, 128, 176), 2.0


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA")
    data = parser.parse_args().data
    print(f"{'FWHM (mm)':22s} {'noise':>12s} {'filter read':>12s} {'filter':>12s}")
    for protocol in protocols().values():
        if protocol.reconstruction != "penalised":  # which has no filter
            print(f"{protocol.name:22s}", *(f"{across:6.2f}/{along:.2f}".rjust(12) for across, along in row(protocol)))
    for voxel, widths in sorted(real(data).items() if data else ()):
        found = [np.quantile(side, (0, 0.1, 0.5, 0.9, 1)) for side in zip(*widths, strict=True)]
        told = " / ".join(" ".join(f"{width:.1f}" for width in side) for side in found)
        print(f"{len(widths)} PETs of voxels of {voxel:g} mm: noise {told}")


def row(protocol: Protocol) -> list[tuple[float, float]]:
    """Widths of the noise, the filter that is read from them, and the protocol's."""
    torso = torso_phantom(SEED, SHAPE, (PIXEL_MM, PIXEL_MM, protocol.slice_mm), 6).pet
    widths = noise_widths(simulate(torso, None, protocol=protocol, seed=SEED).lr)
    if widths is None:
        raise SystemExit(f"The noise of an image of {protocol.name} cannot be told.")
    scanner, voxel_mm = Scanner.get(protocol.scanner), (protocol.voxel_mm, protocol.slice_mm)
    own = scanner.fwhm_transaxial_mm, scanner.fwhm_axial_mm
    read = filter_of_noise(own, widths, voxel_mm, protocol.reconstruction == "psf-osem")
    return [widths, read, protocol.filter_fwhm_mm]


def real(data: Path) -> dict[float, list[tuple[float, float]]]:
    """Widths of the noise of every case's PET, by the size of its voxels in mm; without those that tell none."""
    found = defaultdict(list)
    for file in sorted(data.glob("*/PET_SUV.nii.gz")):
        pet = Volume.read(file, "SUVbw")
        widths = noise_widths(pet)
        if widths is not None:
            found[round(pet.spacing[0], 2)].append(widths)
    return found


if __name__ == "__main__":
    main()
