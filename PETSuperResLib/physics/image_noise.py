"""The noise of a reconstructed image, measured in the image itself.

In the image of an iterative reconstruction the variance of the noise is nearly proportional to the local mean
(Wilson et al., Phys Med Biol 1994, 39:833): one ratio describes it. Second differences show it: over a few millimetres
structure is smooth and noise is not. A filter makes the noise smooth as well, so what they show is divided by what a
filter of known width leaves of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor

from ..volume import Volume
from ..widths import without_box
from .gaussian import gaussian_matrix
from .noise_width import BODY_SUV, LAG_MM, LEAST_VOXELS, SECOND, difference_variance, differences

NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution
CONTRADICTS = 1.5  # times the measured noise, or its inverse, from which a statement is doubted
# times the measured noise, or its inverse, that a stated one may be: where the measured one is sure, and where a guess
HELD, HELD_TO_GUESS = 1.25, 3.0
LEAST_RATIO = 1e-5  # in SUV: an image without noise
HOT_SHARE = 0.01  # of the body of the whole image: what is hotter than the rest
SLICE_VOXELS = 30  # of the body beside hot regions, from which a slice tells its noise


@dataclass(frozen=True)
class ImageNoise:
    """Noise of an image in SUV.

    Parameters
    ----------
    variance_ratio : variance over mean of a voxel, in SUV.
    fwhm_mm : of the Gaussian filter that correlates the noise in the slice; 0 for none.
    lag : voxels over which the second differences are taken.
    pixel_mm : size of the voxels in the slice.
    exponent : above 1 SUV the variance is ``variance_ratio`` x mean^exponent.
    origin : where the ratio comes from, in words.
    """

    variance_ratio: float
    fwhm_mm: float
    lag: int
    pixel_mm: float
    exponent: float
    origin: str

    def variance(self, mean: np.ndarray) -> np.ndarray:
        """Of a voxel of an expected SUV."""
        return self.variance_ratio * mean * np.maximum(mean, 1.0) ** (self.exponent - 1)

    def correlate(self, values: np.ndarray, transposed: bool = False) -> np.ndarray:
        """White noise ``(S, rows, columns)`` of variance 1 correlated as the image's, slice by slice.

        That is a root of the correlation matrix times ``values``; ``transposed``: the root's transpose.
        """
        rows, columns = (_unit_rows(size, self.pixel_mm, self.fwhm_mm) for size in values.shape[1:])
        return np.asarray(rows.T @ values @ columns if transposed else rows @ values @ columns.T)

    def percent(self, suv: float = 1.0) -> float:
        """Standard deviation over mean of a voxel of ``suv``, in per cent."""
        return 100 * math.sqrt(self.variance_ratio / suv)

    def chi_square(self, image: Tensor, mean: Tensor, hot: float = math.inf) -> dict[str, float]:
        """Second differences of ``image - mean`` over those of the noise: mean squares in the body and in hot regions.

        Both ``(S, rows, columns)`` in SUV; hot is what is expected above ``hot`` SUV, and at least the upper hundredth
        of the body. About 1 where the expectation of a result explains the image but for its noise; NaN where there is
        no such voxel. In slices with more noise than most, as at the ends of a scanner's field, hot regions count over
        that: its spikes are hot. ``hot_from_suv`` is the SUV from which voxels counted as hot.
        """
        expected = mean.numpy()
        rough = differences(image.numpy() - expected, SECOND, self.lag)
        body = _inner(expected > BODY_SUV, self.lag)
        gain = difference_variance(SECOND, self.fwhm_mm, self.pixel_mm, self.lag)
        scaled = rough**2 / (self.variance(np.maximum(expected, BODY_SUV)) * gain**2)
        level = min(hot, _hottest(expected[body]))
        found, above = {"chi_square_body": _mean(scaled[body])}, body & (expected >= level)
        scaled /= _noisier(scaled, body & ~above)[:, None, None]
        return found | {"chi_square_hot": _mean(scaled[above]), "hot_from_suv": level}

    def or_stated(self, percent: float | None, sure: bool = True) -> tuple[ImageNoise, list[str]]:
        """The noise to take where a user states another than this measured one, and what to tell the user.

        ``percent``: standard deviation over mean of a voxel of SUV 1; None leaves the measured noise. ``sure``: the
        measured one is no guess, as the noise's correlation is known. A statement then counts up to :data:`HELD` times
        it, and down to the inverse, because half or twice the noise would cost decibels (docs/validation.md); where it
        is a guess, up to :data:`HELD_TO_GUESS` times. Where none could be measured the statement counts as it is.
        """
        if percent is None:
            return self, []
        stated = replace(self, variance_ratio=(percent / 100) ** 2, origin="stated")
        times = math.sqrt(stated.variance_ratio / self.variance_ratio)
        doubtful, limit = (HELD, HELD) if sure else (CONTRADICTS, HELD_TO_GUESS)
        if self.variance_ratio <= LEAST_RATIO or 1 / doubtful <= times <= doubtful:
            return stated, []
        shown = f"{times:.2g} times the {self.percent():.3g} % that the image shows"
        told = f"The stated noise of {percent:.3g} % is {shown}"
        if 1 / limit <= times <= limit:
            return stated, [f"{told}, and is taken: leave the statement out unless it comes from a phantom."]
        bound = limit if times > 1 else 1 / limit
        held = replace(self, variance_ratio=self.variance_ratio * bound**2, origin="stated, held to what is measured")
        reach = f"as a statement counts up to {limit:g} times what the image shows, and down to the inverse"
        return held, [f"{told}: {held.percent():.3g} % is taken, {reach}."]

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self) | {"percent_at_suv_1": round(self.percent(), 2)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageNoise:
        """Inverse of :meth:`to_dict`; raises KeyError for anything else."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def image_noise(pet: Volume, fwhm_mm: float, exponent: float = 1.0) -> ImageNoise:
    """The noise of a PET in SUV whose filter in the slice and exponent in hot regions are known.

    An image in which none can be measured (few voxels of body, or no noise) counts as free of noise.
    """
    lag, pixel = max(1, round(LAG_MM / pet.spacing[0])), pet.spacing[0]
    mean = ndimage.uniform_filter(pet.array, 3)
    body = _inner(mean > BODY_SUV, lag)
    ratio, origin = 0.0, "none could be measured"
    if body.sum() >= LEAST_VOXELS:
        rough = differences(pet.array, SECOND, lag)[body] / np.sqrt(mean[body])
        gain = difference_variance(SECOND, fwhm_mm, pixel, lag)
        ratio, origin = (NORMAL_MAD * float(np.median(np.abs(rough))) / gain) ** 2, "measured in the image"
    return ImageNoise(max(ratio, LEAST_RATIO), fwhm_mm, lag, pixel, exponent, origin)


def hot_suv(pet: Volume) -> float:
    """SUV from which a PET in SUV is hot: above it lies :data:`HOT_SHARE` of its body; infinite without a body."""
    mean = ndimage.uniform_filter(pet.array, 3)
    return _hottest(mean[mean > BODY_SUV])


def _unit_rows(size: int, pixel_mm: float, fwhm_mm: float) -> np.ndarray:
    """A blur along ``size`` pixels whose rows have a norm of 1: white noise keeps its variance."""
    matrix = gaussian_matrix(size, pixel_mm, without_box(fwhm_mm, pixel_mm))
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def _hottest(body: np.ndarray) -> float:
    """The value that :data:`HOT_SHARE` of them exceed; infinite where there is none."""
    return float(np.quantile(body, 1 - HOT_SHARE)) if body.size else math.inf


def _noisier(squares: np.ndarray, part: np.ndarray) -> np.ndarray:
    """How many times the variance of most slices those with more have, ``(S,)``, by what they have in a ``part``."""
    medians = np.full(len(squares), math.nan)
    for number in np.flatnonzero(part.sum((1, 2)) >= SLICE_VOXELS):
        medians[number] = np.median(squares[number][part[number]])
    most = 0.0 if np.isnan(medians).all() else np.nanmedian(medians)
    return np.fmax(medians / (most or math.nan), 1.0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def _inner(mask: np.ndarray, lag: int) -> np.ndarray:
    """A mask without the voxels at the slice's border, whose second differences reach beyond it."""
    inner = np.zeros_like(mask)
    inner[:, lag:-lag, lag:-lag] = mask[:, lag:-lag, lag:-lag]
    return inner
