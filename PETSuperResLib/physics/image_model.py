"""A reconstructed image as a measurement: y = V B z + n on the image's own voxels.

A clinic keeps images, not sinograms. B is a Gaussian of the image's effective resolution (scanner, reconstruction and
filter), V the mean over the image's voxels, and n noise whose variance is proportional to the mean, as that of counts:
so the Poisson likelihood (5) serves with an effective number of counts per SUV, fewer in slices with more noise. No
projector is needed.

A reconstruction that models the PSF restores more of the detail of hot regions than of cool ones, as they converge
sooner. So the response to hot regions is narrower than B (:class:`ImageModel`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..vendor_strings import TRACER
from ..volume import Volume
from ..widths import FWHM_PER_SIGMA, without_box
from .convergence import ConvergingResponse
from .image_noise import ImageNoise
from .likelihood import Fit, normal_fit
from .model import ForwardModel, Lines
from .psf import GaussianPSF
from .voxels import VoxelMeans

BACKGROUND_SUV = 0.05  # expected everywhere: an empty part of the image is not free of noise
LEAST_FWHM_MM = 1.0
SURROUNDINGS_MM = 6.0  # FWHM
# Volume to which the variance of a voxel refers: neighbours are correlated, and the prior averages as well. The value
# of best PSNR on the validation patients and sharp references, over protocols and counts (docs/method.md).
CELL_MM3 = 130.0
# Mean over HOT_FWHM_MM of which a region has half of the hot response; of the best PSNR in the same way.
HOT_SUV, HOT_FWHM_MM = 12.0, 5.0


@dataclass(frozen=True)
class ImageMeasurement:
    """An image in SUV as counts y with expectation A z + b, A = scale x V B.

    Parameters
    ----------
    image : SUVbw, not negative, on the voxels of the reconstruction.
    fwhm_mm : effective FWHM of the image (transaxial, axial), its voxels' extent included.
    scale : effective counts per SUV in a voxel.
    noise : of the image.
    weights : of the voxels, ``(S, rows, columns)``: below 1 where the noise grows faster than the mean, and in slices
        with more noise than most.
    hot_part : FWHM of the response to hot regions over ``model_fwhm_mm``; 1 where all regions have the same.
    converging : of a reconstruction that models the PSF the FWHM in the slice of this and of the filter, and k over
        the local SUV (:mod:`.convergence`); None for others.
    described : whether scanner, PSF and filter are known, and none of them a guess.
    hot_suv : from which the whole image is hot, of which this may be a part (:func:`.image_noise.hot_suv`).
    """

    image: Volume
    fwhm_mm: tuple[float, float]
    scale: float
    noise: ImageNoise
    weights: Tensor
    hot_part: float = 1.0
    converging: tuple[float, float, float] | None = None
    described: bool = True
    hot_suv: float = math.inf

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
        image, noise = self.image.slices(first, last), self.noise.part(first, last)
        return replace(self, image=image, noise=noise, weights=self.weights[first:last])

    def expected_trues(self, lines: Tensor) -> Tensor:
        """``scale`` x the means over voxels ``(S, rows, columns)`` in SUV."""
        return lines * self.scale

    def chi_square(self, y: Tensor, mean: Tensor) -> dict[str, float]:
        """Of counts and their expectation, by :meth:`.ImageNoise.chi_square`."""
        image, expected = ((x - self.background) / self.factors for x in (y, mean))
        return self.noise.chi_square(image, expected, self.hot_suv)

    @property
    def noise_fwhm_mm(self) -> float:
        """Of the filter that correlates the noise in the slice."""
        return self.noise.fwhm_mm

    @property
    def tracer(self) -> str | None:
        """As the image's header names it, in lower case; None where it does not."""
        return self.image.metadata.get(TRACER) or None

    @property
    def noise_level(self) -> float:
        """Standard deviation over mean of a voxel of 1 SUV."""
        return math.sqrt(self.noise.variance_ratio)

    def score(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """The residual over its variance, and the inverse of the variance, ``(S, rows, columns)`` in SUV."""
        suv = (expected - self.background) / self.factors
        precision = 1 / torch.from_numpy(self._variance(suv.numpy())).float()
        return (self.counts - expected) / self.factors * precision, precision

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

    def model(self, grid: Volume, device: torch.device | str = "cpu", projector: Lines | None = None) -> ImageModel:
        """The forward model on an image grid with the same slices and centre."""
        projector = projector or self.projector(grid, device)
        weights = self.weights.to(device)
        known = (self, grid.shape, grid.spacing, self.scale, weights, self.background, device, projector)
        return ImageModel(*known, measurement=self)


class ImageModel(ForwardModel):
    """The forward model of an image; see there. ``measurement`` is the image as one.

    The expectation is scale x V (B z + (B' - B) h z) + b. B' is the response to hot regions, and h = m^2 / (m^2 +
    HOT_SUV^2) with m the local mean of z. The second term is held at an estimate while B z is fitted.

    ``exact``, where there is one, is a response nearer to the image's, by which lesions are measured; the samplers'
    values belong to the Gaussians.
    """

    def __init__(self, *known: Any, measurement: ImageMeasurement):
        super().__init__(*known)
        self.hot_part, self._measurement = measurement.hot_part, measurement

    @cached_property
    def exact(self) -> ConvergingResponse | None:
        if self._measurement.converging is None:
            return None
        psf, post, per_suv = self._measurement.converging
        pixel, device = self._measurement.image.spacing[0], self.projector.device
        return ConvergingResponse(self.shape, self.spacing, psf, post, pixel, self.fwhm_mm[1], per_suv, device)

    def expected(self, z: Tensor) -> Tensor:
        if self.exact is None:
            return super().expected(z)
        return self.projector.forward(self.exact(z)) * self.factors + self.background

    def excess(self, z: Tensor) -> Tensor | float:
        """What the narrower response to hot regions of ``z`` adds, ``(S, rows, columns)`` in counts."""
        if self.hot_part == 1:
            return 0.0
        hot, surroundings = self._hot
        squares = surroundings(z).square()
        part = z * squares / (squares + HOT_SUV**2)
        return self.projector.forward(hot(part) - self.psf(part)) * self.factors

    @cached_property
    def _hot(self) -> tuple[GaussianPSF, GaussianPSF]:
        """B' and the mean over the surroundings."""
        widths = [self.hot_part * width for width in self.fwhm_mm], [HOT_FWHM_MM] * 2
        hot, mean = (GaussianPSF(self.shape, self.spacing, (a, b), self.projector.device) for a, b in widths)
        return hot, mean


def image_measurement(
    image: Volume,
    fwhm_mm: tuple[float, float],
    noise: ImageNoise,
    hot_part: float = 1.0,
    converging: tuple[float, float, float] | None = None,
    described: bool = True,
) -> ImageMeasurement:
    """An image (not negative) as a measurement with as many counts as its noise says.

    A voxel has its volume / (:data:`CELL_MM3` x variance ratio) counts per SUV, over its slice's share of noise, and a
    weight of mean^(1 - exponent) in hot regions, the mean taken over its surroundings. ``noise`` is of these slices.
    """
    i, j, k = image.spacing
    mean = ndimage.gaussian_filter(image.array, [SURROUNDINGS_MM / FWHM_PER_SIGMA / mm for mm in (k, j, i)])
    weights = torch.from_numpy(np.maximum(mean, 1.0).astype(np.float32)) ** (1 - noise.exponent)
    weights /= torch.from_numpy(noise.by_slice.astype(np.float32))
    scale = math.prod(image.spacing) / (CELL_MM3 * noise.variance_ratio)
    return ImageMeasurement(image, fwhm_mm, scale, noise, weights, hot_part, converging, described)
