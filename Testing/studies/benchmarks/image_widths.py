"""The FWHM of the simulated protocols' images: fitted to them, and as their headers give it.

    python Testing/studies/benchmarks/image_widths.py [PROTOCOL ...]

The package must be installed. A generated torso without noise is scanned by each protocol. Fitted is the Gaussian
(transaxial, axial) that, followed by the mean over the voxels, brings the sharp truth nearest to the image (least
squares); its FWHM is printed with the variance of the voxels added in the slice, as
:attr:`~PETSuperResLib.image_resolution.ImageResolution.fwhm_mm` has it. The outer slices are left out, as the fit's
blur lacks what is beyond them.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy import optimize

from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics.protocols import Protocol, protocols
from PETSuperResLib.physics.psf import GaussianPSF
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.physics.voxels import VoxelMeans
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import BOX_FWHM

SEED, SHAPE, SPACING = 11, (40, 128, 176), (2.0, 2.0, 1.5)
EDGE = 4  # slices at either end that are not compared


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help="only these (or JSON files)")
    chosen = parser.parse_args().protocols or list(protocols())
    torso = torso_phantom(SEED, SHAPE, SPACING, 6).pet
    print(f"{'FWHM (mm)':22s} {'fitted':>12s} {'by header':>12s}")
    for name in chosen:
        protocol = Protocol.get(name)
        scan = simulate(torso, None, protocol=protocol, noise=False)
        voxel = (protocol.voxel_mm, protocol.slice_mm)
        stated = resolution_of(Scanner.get(protocol.scanner), protocol.header, voxel).fwhm_mm
        widths = (fitted(scan.truth, scan.lr), stated)
        print(f"{protocol.name:22s}", *(f"{across:6.2f}/{along:.2f}".rjust(12) for across, along in widths), flush=True)


def fitted(truth: Volume, image: Volume) -> tuple[float, float]:
    """FWHM (transaxial, axial) in mm of the Gaussian that brings ``truth`` nearest to ``image``."""
    sharp, voxels = torch.from_numpy(truth.array), VoxelMeans(image, truth)

    def misfit(fwhm: np.ndarray) -> float:
        psf = GaussianPSF(truth.shape, truth.spacing, (float(fwhm[0]), float(fwhm[1])))
        difference = voxels(psf(sharp)).numpy() - image.array
        return float((difference[EDGE:-EDGE] ** 2).mean(dtype=np.float64))

    bounds = [(0.5, 15.0)] * 2
    best = optimize.minimize(misfit, [5.0, 4.0], method="Nelder-Mead", bounds=bounds, options={"xatol": 0.01}).x
    return float(np.hypot(best[0], BOX_FWHM * image.spacing[0])), float(best[1])


if __name__ == "__main__":
    main()
