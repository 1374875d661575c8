"""A measurement made from a reconstructed PET: the counts that the scanner would have measured.

A clinic keeps images, not sinograms. The image is projected with the scanner's geometry and scaled to
the counts that would give its noise, so that G(H z) + b can be compared with it: the estimate is then
an image that, blurred, is the one at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ..scanner import Scanner
from ..volume import Volume
from .measurement import Measurement
from .model import scanner_projector

COUNT_LIMITS = (2e4, 2e7)  # trues per slice to which an estimate is limited
CONTRADICTION = 4.0  # estimate from noise over nominal counts, or the reverse, from which the user is warned


@dataclass(frozen=True)
class EffectiveCounts:
    """The count level (trues per slice, mean over slices) of an image: the value used, and its origin.

    Both the estimate from noise and the scanner's nominal counts are uncertain by about a factor of 3, so their
    geometric mean is used unless the user states the counts.
    """

    nominal: float  # of the scanner description: trues_per_slice x dose_fraction
    from_noise: float | None = None  # None: no noise could be measured
    noise: str = ""  # the noise that was found, in words
    stated: float | None = None  # by the user

    @property
    def used(self) -> float:
        """Trues per slice for the pseudo-measurement."""
        if self.stated is not None:
            return self.stated
        return self.nominal if self.from_noise is None else math.sqrt(self.nominal * self.from_noise)

    @property
    def source(self) -> str:
        """Where :attr:`used` comes from."""
        if self.stated is not None:
            return "the caller"
        if self.from_noise is None:
            return "the preset (no noise could be measured in the PET)"
        return f"geometric mean of the preset's counts and the estimate from {self.noise}"

    @property
    def warnings(self) -> list[str]:
        """A sentence where the two contradict each other and nothing was stated."""
        if self.stated is not None or self.from_noise is None:
            return []
        ratio = max(self.from_noise / self.nominal, self.nominal / self.from_noise)
        if ratio <= CONTRADICTION:
            return []
        return [
            f"The counts estimated from {self.noise}, {_thousands(self.from_noise)} trues per slice, differ from the "
            f"preset's {_thousands(self.nominal)} by a factor of {ratio:.0f}, and {_thousands(self.used)} are used: "
            "check the preset (its FWHM enters the estimate), or state the counts (trues per slice); lower "
            "counts smooth more."
        ]

    def to_dict(self) -> dict[str, float | str | None]:
        """For the report."""
        return {
            "trues_per_slice_from": self.source,
            "trues_per_slice_from_noise": None if self.from_noise is None else round(self.from_noise),
            "trues_per_slice_nominal": round(self.nominal),
        }


def pseudo_measurement(
    image: Volume,
    scanner: Scanner,
    trues_per_slice: float,
    device: torch.device | str = "cpu",
) -> Measurement:
    """Counts ``scale x G z_lr + b`` of an SUV image on the reconstruction grid, without further noise.

    ``trues_per_slice`` is the effective count level (mean over slices); b is the scanner's background
    fraction, uniform in each slice.
    """
    projector = scanner_projector(scanner, image.shape[1:], image.spacing[0], device)
    lines = projector.forward(torch.from_numpy(image.array.clip(0)).to(projector.device)).cpu()
    scale = trues_per_slice * len(lines) / max(float(lines.sum(dtype=torch.float64)), 1e-12)
    counts = lines.mul_(scale)
    background = counts.mean((1, 2), keepdim=True) * scanner.background_fraction
    background = background.clamp_min_(1e-6 + 1e-3 * float(counts.mean()))
    counts += background
    return Measurement(scanner, counts, background.expand_as(counts), scale, image, None, "image")


def effective_counts(pet: Volume, scanner: Scanner, stated: float | None = None) -> EffectiveCounts:
    """The count level of an image, from its noise and the scanner's nominal counts, or as ``stated``."""
    found = noise_counts(pet, scanner)
    trues, noise = found if found else (None, "")
    return EffectiveCounts(scanner.trues_per_slice * scanner.dose_fraction, trues, noise, stated)


def noise_counts(pet: Volume, scanner: Scanner) -> tuple[float, str] | None:
    """Trues per slice that would give an image its noise, and the noise in words; None if there is none to measure.

    The noise is the median absolute deviation of second differences along rows and columns in the brighter
    half of the body, relative to the local mean and corrected for the image's resolution. Budinger's relation
    ``relative noise = 1.2 cells^(3/4) / counts^(1/2)`` (J Comput Assist Tomogr 1977, 1:131), cells
    being the body's resolution elements in a slice, then gives the counts. The FWHM enters twice: a wider one
    makes the same differences between pixels mean more noise, hence fewer counts.
    """
    values = pet.array
    body = values > 0.1
    if body.sum() < 1000 or min(values.shape) < 3:
        return None
    mean = ndimage.uniform_filter(values, 3)
    # structure is smooth over three voxels, noise is not: second differences along rows and columns
    rough = ndimage.convolve1d(ndimage.convolve1d(values, [-1, 2, -1], axis=1), [-1, 2, -1], axis=2)
    uniform = body & (mean > np.median(values[body]))
    if not rough[uniform].any():  # too few voxels, or an image without noise
        return None
    fwhm = max(scanner.fwhm_transaxial_mm, 1e-3)
    gain = _difference_gain(fwhm, pet.spacing[0]) * _difference_gain(fwhm, pet.spacing[1])
    noise = 1.4826 * float(np.median(np.abs(rough[uniform] / mean[uniform]))) / max(gain, 1e-3)
    area = body.sum() / values.shape[0] * pet.spacing[0] * pet.spacing[1]
    cells = area / fwhm**2
    trues = (1.2 * cells**0.75 / max(noise, 1e-4)) ** 2
    words = f"image noise ({100 * noise:.1f} % over resolution elements of {fwhm:.1f} mm)"
    return float(np.clip(trues, *COUNT_LIMITS)), words


def _thousands(counts: float) -> str:
    """``59 k`` or ``1.5 M``, as precisely as it is known."""
    return f"{counts / 1e6:.2g} M" if counts >= 1e6 else f"{float(f'{counts / 1e3:.2g}'):g} k"


def _difference_gain(fwhm: float, pixel: float) -> float:
    """Standard deviation of the second difference of noise with a Gaussian point spread, over the noise's own."""
    sigma = fwhm / (2 * math.sqrt(2 * math.log(2)))

    def correlation(distance: float) -> float:
        return math.exp(-(distance**2) / (4 * sigma**2))

    return math.sqrt(6 - 8 * correlation(pixel) + 2 * correlation(2 * pixel))
