"""A picture of uptake painted into torso CTs, beside real PET: what a prior learns from, for a critical look.

python Testing/studies/benchmarks/painted_figure.py DATA CTS OUT.png

Twelve painted slices of training CTs, axial and coronal, blurred to 6 mm as a scanner would show them; six of them as
sharp as they are painted; slices of training patients' own PET. All from SUV 0 (white) to 6.
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from PETSuperResLib.cohort.cts import split_cts
from PETSuperResLib.cohort.manifest import split_cases
from PETSuperResLib.phantoms.painting import paint
from PETSuperResLib.studies.subjects import CT_SLICE_MM, PIXEL_MM, ct_anatomy
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

FWHM_MM, MAX_SUV = 6.0, 6.0
AXIAL, CORONAL, REAL = (0.15, 0.4, 0.7), (0.45,), 6


def blurred(pet: Volume) -> Volume:
    """As a scanner of :data:`FWHM_MM` shows it, without noise."""
    sigma = [FWHM_MM / FWHM_PER_SIGMA / s for s in pet.spacing[::-1]]
    return pet.with_array(ndimage.gaussian_filter(pet.array, sigma))


def slices_of(pet: Volume) -> list[tuple[np.ndarray, float]]:
    """Axial and coronal slices of a painting, with their aspect."""
    depth, height, _ = pet.shape
    axial = [(pet.array[int(share * depth)], 1.0) for share in AXIAL]
    return axial + [(pet.array[::-1, int(share * height)], pet.spacing[2] / pet.spacing[0]) for share in CORONAL]


def main(data: str, cts: str, out: str) -> None:
    """Draw the picture."""
    painted, sharp = [], []
    for n, ct in enumerate(split_cts(cts, "train")[:3]):
        pet = paint(ct_anatomy(ct.volume(), PIXEL_MM, CT_SLICE_MM, n), 11 + n).pet
        painted += slices_of(blurred(pet))
        sharp += slices_of(pet)[1::2]
    real = []
    for case in split_cases(data, "train")[1 : 1 + REAL]:
        pet = case.pet()
        real.append((pet.array[pet.shape[0] // 2], 1.0))
    rows = ((painted[:6], "painted, 6 mm"), (painted[6:], "painted, 6 mm"), (sharp, "as painted"), (real, "real"))
    figure, axes = plt.subplots(len(rows), 6, figsize=(12, 7.6), facecolor="white")
    for line, (images, title) in zip(axes, rows, strict=True):
        for place in line:
            place.axis("off")
        for place, (image, aspect) in zip(line, images, strict=True):
            place.imshow(image, cmap="gray_r", vmin=0, vmax=MAX_SUV, aspect=aspect)
        line[0].set_title(title, loc="left", fontsize=9)
    figure.tight_layout(pad=0.3)
    figure.savefig(out, dpi=75)


if __name__ == "__main__":
    main(*sys.argv[1:])
