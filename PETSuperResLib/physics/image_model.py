"""A reconstructed image as a measurement: y = V B z + n on the image's own voxels.

A clinic keeps images, not sinograms. B is a Gaussian of the image's effective resolution (scanner, reconstruction and
filter), V the mean over the image's voxels, and n noise whose variance is proportional to the mean, as that of counts:
so the Poisson likelihood (5) serves with an effective number of counts per SUV. No projector is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..volume import Volume
from ..widths import FWHM_PER_SIGMA, without_box
from .image_noise import ImageNoise
from .likelihood import Fit, normal_fit
from .model import ForwardModel, Lines
from .voxels import VoxelMeans

BACKGROUND_SUV = 0.05  # expected everywhere: an empty part of the image is not free of noise
LEAST_FWHM_MM = 1.0
SURROUNDINGS_MM = 6.0  # FWHM
# Volume to which the variance of a voxel refers: neighbours are correlated, and the prior averages as well. The value
# of best PSNR on the validation patients and sharp references, over protocols and counts (docs/method.md).
CELL_MM3 = 180.0


@dataclass(frozen=True)
class ImageMeasurement:
    """An image in SUV as counts y with expectation A z + b, A = scale x V B.

    Parameters
    ----------
    image : SUVbw, not negative, on the voxels of the reconstruction.
    fwhm_mm : effective FWHM of the image (transaxial, axial), its voxels' extent included.
    scale : effective counts per SUV in a voxel.
    noise : of the image.
    weights : of the voxels, ``(S, rows, columns)``: below 1 where the noise grows faster than the mean.
    """

    image: Volume
    fwhm_mm: tuple[float, float]
    scale: float
    noise: ImageNoise
    weights: Tensor

    kind = "image"

    @property
    def grid(self) -> Volume:
        """The image's grid."""
        return self.image

    @property
    def counts(self) -> Tensor:
        """y, ``(S, rows, columns)``."""
        return self.trues * self.weights + self.background

    @property
    def factors(self) -> Tensor:
        """Effective counts per SUV, ``(S, rows, columns)``."""
        return self.scale * self.weights

    @property
    def trues(self) -> Tensor:
        """``scale`` x image, ``(S, rows, columns)``."""
        return torch.from_numpy(np.ascontiguousarray(self.image.array, np.float32)) * self.scale

    @property
    def background(self) -> float:
        """b, expected counts of every voxel."""
        return BACKGROUND_SUV * self.scale

    @property
    def model_fwhm_mm(self) -> tuple[float, float]:
        """FWHM of B: the image's, without the variance of the box that V is the mean over; never below 1 mm."""
        across, along = self.fwhm_mm
        return without_box(across, self.image.spacing[0], LEAST_FWHM_MM), along

    def part(self, first: int, last: int) -> ImageMeasurement:
        """Slices ``first`` up to but not including ``last``."""
        return replace(self, image=self.image.slices(first, last), weights=self.weights[first:last])

    def expected_trues(self, lines: Tensor) -> Tensor:
        """``scale`` x the means over voxels ``(S, rows, columns)`` in SUV."""
        return lines * self.scale

    def chi_square(self, y: Tensor, mean: Tensor) -> dict[str, float]:
        """Of counts and their expectation, by :meth:`.ImageNoise.chi_square`."""
        return self.noise.chi_square(*((x - self.background) / self.factors for x in (y, mean)))

    def resampled(self, expected: Tensor, seed: int) -> ImageMeasurement:
        """The image of expected counts ``(S, rows, columns)`` with noise drawn anew; not negative, as the image is."""
        suv = ((expected - self.background) / self.factors).double().numpy()
        white = np.random.default_rng(seed).standard_normal(suv.shape)
        values = suv + np.sqrt(self._variance(suv)) * self.noise.correlate(white)
        return replace(self, image=self.image.with_array(values.clip(0).astype(np.float32), "SUVbw"))

    def fit(self, counts: np.ndarray, base: np.ndarray, lines: np.ndarray, start: np.ndarray) -> Fit:
        """Amplitudes of expected counts ``lines`` ``(T, S, rows, columns)`` added to ``base``.

        The variance of the noise is that of the amplitudes ``start``.
        """
        per_suv = self.factors.numpy()
        variance = self._variance((base + np.tensordot(start, lines, 1) - self.background) / per_suv)
        smooth = partial(self.noise.correlate, transposed=True)
        return normal_fit((counts - base) / per_suv, variance, lines / per_suv, smooth)

    def _variance(self, suv: np.ndarray) -> np.ndarray:
        """Of voxels of an expected SUV; an empty part is not free of noise."""
        return self.noise.variance(np.maximum(suv, 0) + BACKGROUND_SUV)

    def projector(self, grid: Volume, device: torch.device | str = "cpu") -> VoxelMeans:
        """V from a grid with the image's slices and centre, in the place of G."""
        return VoxelMeans(self.image, grid, device)

    def model(self, grid: Volume, device: torch.device | str = "cpu", projector: Lines | None = None) -> ForwardModel:
        """The forward model on an image grid with the same slices and centre."""
        projector = projector or self.projector(grid, device)
        weights = self.weights.to(device)
        return ForwardModel(self, grid.shape, grid.spacing, self.scale, weights, self.background, device, projector)


def image_measurement(image: Volume, fwhm_mm: tuple[float, float], noise: ImageNoise) -> ImageMeasurement:
    """An image (not negative) as a measurement with as many counts as its noise says.

    A voxel has its volume / (:data:`CELL_MM3` x variance ratio) counts per SUV, and a weight of mean^(1 - exponent) in
    hot regions, the mean taken over its surroundings.
    """
    i, j, k = image.spacing
    mean = ndimage.gaussian_filter(image.array, [SURROUNDINGS_MM / FWHM_PER_SIGMA / mm for mm in (k, j, i)])
    weights = torch.from_numpy(np.maximum(mean, 1.0).astype(np.float32)) ** (1 - noise.exponent)
    scale = math.prod(image.spacing) / (CELL_MM3 * noise.variance_ratio)
    return ImageMeasurement(image, fwhm_mm, scale, noise, weights)
