"""The other model of an image: its projection as a sinogram, in place of the image's own voxels."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...errors import InputError
from ...grid import image_grid
from ...physics.measurement import Measurement
from ...physics.model import scanner_projector
from ...reconstruction import sample_measurement
from ...scanner import Scanner
from ...volume import Volume
from .interface import Method, MethodCase


def projected_measurement(image: Volume, scanner: Scanner, trues_per_slice: float) -> Measurement:
    """Counts ``scale x G image + b`` of an SUV image with square pixels, without further noise.

    ``trues_per_slice`` is the mean over slices; b is the scanner's background fraction, uniform in each slice.
    """
    projector = scanner_projector(scanner, image.shape[1:], image.spacing[0])
    lines = projector.forward(torch.from_numpy(image.array.clip(0)))
    scale = trues_per_slice * len(lines) / max(float(lines.sum(dtype=torch.float64)), 1e-12)
    counts = lines.mul_(scale)
    background = counts.mean((1, 2), keepdim=True) * scanner.background_fraction
    background = background.clamp_min_(1e-6 + 1e-3 * float(counts.mean()))
    counts += background
    return Measurement(scanner, counts, background.expand_as(counts), scale, image)


def _standard_projected(case: MethodCase) -> Volume:
    lr, scanner = case.simulation.lr, case.scanner
    if scanner is None:
        raise InputError("The projection of an image needs a scanner's geometry: name the scanner.", "scanner")
    image = lr.resample_to(image_grid(lr, case.simulation.truth.spacing[0]), "cubic")
    across, along = case.resolution.fwhm_mm
    kernel = replace(scanner, fwhm_transaxial_mm=across, fwhm_axial_mm=along, kernel_scale=1.0)
    trues = scanner.trues_per_slice * scanner.dose_fraction
    measurement = projected_measurement(image, kernel, trues)
    found = sample_measurement(measurement, image, case.ct, case.prior, "standard", case.seed, case.device)
    return case.on_grid(found)


PROJECTED = Method(
    "standard-projected",
    _standard_projected,
    "profile standard on the projection of the image, with Poisson weights and the sampler's values for sinograms.",
    "nominal counts of the preset; the image's FWHM as the kernel.",
    needs_ct=True,
    inputs=("image",),
)
