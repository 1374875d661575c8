"""How far a patient's own PET, with its noise, can be recovered at all: PSF-OSEM against an oracle's Wiener filter.

    python Testing/studies/benchmarks/attainable.py DIR [--limit N]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients; the package must be installed. For
eight slices of each patient, about the hottest lesion, at the standard setting and both count levels a row gives the
PSNR (dB) of PSF-OSEM with its best updates and Gaussian filter, and with its best updates and the filter that
minimises the squared error among all that weigh frequencies by their radius in and across the slices: a Wiener filter
made from the truth itself. What both leave is noise of the reference that the counts do not show. Only knowledge of
this very place, where edges are and which texture is noise, can pass the second figure.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from PETSuperResLib.physics.model import osem
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.studies.evaluation.metrics import psnr
from PETSuperResLib.studies.subjects import Cohort
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

SLICES = 8
UPDATES = (12, 18, 24, 34, 50, 75, 110, 160)
FILTERS_MM = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
RADII = 48  # rings of in-slice frequency


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N validation patients")
    arguments = parser.parse_args()
    print(f"{'patient':12s} {'counts':10s} {'Gaussian':>9s} {'Wiener':>9s}")
    gains: dict[str, list[float]] = {}
    for subject in Cohort(arguments.data, references=["real"], limit=arguments.limit, slices=SLICES).subjects():
        pet, _, _ = subject.load()
        for counts in ("realistic", "high"):
            gaussian, wiener = limits(pet, counts)
            gains.setdefault(counts, []).append(wiener - gaussian)
            print(f"{subject.name:12s} {counts:10s} {gaussian:9.2f} {wiener:9.2f}", flush=True)
    for counts, found in gains.items():
        print(f"{counts} counts: the Wiener filter gains {np.mean(found):.2f} dB on the mean of {len(found)} patients")


def limits(pet: Volume, counts: str) -> tuple[float, float]:
    """PSNR (dB) of PSF-OSEM with the best Gaussian filter, and with the best filter of all."""
    scan = simulate(pet, None, "standard", counts)
    target = scan.truth.array
    iterates: dict[int, np.ndarray] = {}

    def keep(number: int, image: torch.Tensor) -> None:
        if number in UPDATES:
            iterates[number] = image.numpy()

    osem(scan.measurement.model(scan.truth), scan.measurement.counts, max(UPDATES), callback=keep)
    sigmas = [[f / FWHM_PER_SIGMA / v for v in scan.truth.spacing[::-1]] for f in FILTERS_MM]
    smooth = [gaussian_filter(z, sigma, mode="nearest") for z in iterates.values() for sigma in sigmas]
    best = [idctn(_wiener(dctn(z, norm="ortho"), dctn(target, norm="ortho")), norm="ortho") for z in iterates.values()]
    return max(psnr(target, z) for z in smooth), max(psnr(target, z) for z in best)


def _wiener(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cosine coefficients of ``image``, each ring weighed so that the squared error to ``target`` is least."""
    across, rows, columns = (np.arange(n) / n for n in image.shape)
    radius = np.minimum(np.hypot(rows[:, None], columns) * RADII, RADII - 1).astype(int)
    ring = radius + RADII * np.round(across * len(across)).astype(int)[:, None, None]
    overlap = np.bincount(ring.ravel(), (image * target).ravel())
    power = np.bincount(ring.ravel(), (image * image).ravel())
    return image * (overlap / np.maximum(power, 1e-12))[ring]


if __name__ == "__main__":
    main()
