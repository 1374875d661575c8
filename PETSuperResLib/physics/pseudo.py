"""A pseudo-measurement from a reconstructed PET: what the scanner would have counted.

A clinic keeps images, not sinograms. The image is projected with the scanner's geometry and scaled to
the counts that would give its noise, so that G(H z) + b can be compared with it: the PSF then asks for
an image that, blurred, is the one at hand.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

from ..scanner import Scanner
from ..volume import Volume
from .measurement import Measurement
from .model import scanner_projector
from .projector import ParallelProjector

COUNT_LIMITS = (2e4, 2e7)  # trues per slice outside which an estimate is not believed


def pseudo_measurement(
    image: Volume,
    scanner: Scanner,
    trues_per_slice: float,
    device: torch.device | str = "cpu",
    projector: ParallelProjector | None = None,
) -> Measurement:
    """Counts ``scale x G z_lr + b`` of an SUV image on the reconstruction grid, without further noise.

    ``trues_per_slice`` is the effective count level (mean over slices); b is the scanner's background
    fraction, uniform in each slice.
    """
    projector = projector or scanner_projector(scanner, image.shape[1:], image.spacing[0], device)
    lines = projector.forward(torch.from_numpy(image.array.clip(0)).to(projector.device)).cpu()
    scale = trues_per_slice * len(lines) / max(float(lines.double().sum()), 1e-12)
    trues = lines * scale
    background = (trues.mean((1, 2), keepdim=True) * scanner.background_fraction).expand_as(trues)
    background = background.clamp_min(1e-6 + 1e-3 * float(trues.mean()))
    return Measurement(scanner, trues + background, background.contiguous(), scale, image, None, "image")


def effective_trues(pet: Volume, scanner: Scanner) -> tuple[float, str]:
    """Effective trues per slice of an image, and how they were found.

    The noise is the median absolute deviation of second differences along rows and columns in the brighter
    half of the body, relative to the local mean and corrected for the image's resolution. Budinger's relation
    ``relative noise = 1.2 cells^(3/4) / counts^(1/2)`` (J Comput Assist Tomogr 1977, 1:131), cells
    being the body's resolution elements in a slice, then gives the counts.
    """
    values = pet.array
    body = values > 0.1
    if body.sum() < 1000 or min(values.shape) < 3:
        return scanner.trues_per_slice * scanner.dose_fraction, "the preset (too few voxels to measure noise)"
    mean = ndimage.uniform_filter(values, 3)
    # structure is smooth over three voxels, noise is not: second differences along rows and columns
    rough = ndimage.convolve1d(ndimage.convolve1d(values, [-1, 2, -1], axis=1), [-1, 2, -1], axis=2)
    uniform = body & (mean > np.median(values[body]))
    fwhm = max(scanner.fwhm_transaxial_mm, 1e-3)
    gain = _difference_gain(fwhm, pet.spacing[0]) * _difference_gain(fwhm, pet.spacing[1])
    noise = 1.4826 * float(np.median(np.abs(rough[uniform] / mean[uniform]))) / max(gain, 1e-3)
    area = body.sum() / values.shape[0] * pet.spacing[0] * pet.spacing[1]
    cells = area / fwhm**2
    trues = (1.2 * cells**0.75 / max(noise, 1e-4)) ** 2
    return float(
        np.clip(trues, *COUNT_LIMITS)
    ), f"image noise ({100 * noise:.1f} % over resolution elements of {fwhm:.1f} mm)"


def _difference_gain(fwhm: float, pixel: float) -> float:
    """Standard deviation of the second difference of noise with a Gaussian point spread, over the noise's own."""
    sigma = fwhm / (2 * math.sqrt(2 * math.log(2)))

    def correlation(distance: float) -> float:
        return math.exp(-(distance**2) / (4 * sigma**2))

    return math.sqrt(6 - 8 * correlation(pixel) + 2 * correlation(2 * pixel))
