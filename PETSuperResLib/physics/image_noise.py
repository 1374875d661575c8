"""The noise of a reconstructed image, measured in the image itself.

In the image of an iterative reconstruction the variance of the noise is nearly proportional to the local mean
(Wilson et al., Phys Med Biol 1994, 39:833): one ratio describes it. Second differences show it: over a few millimetres
structure is smooth and noise is not. A filter makes the noise smooth as well, so what they show is divided by what a
filter of known width leaves of them.

Not all slices have the same ratio: a scanner sees fewer counts at the ends of its field, and so where the beds of a
whole-body scan meet. Fourth differences, which see structure least, show how many times the variance of the others a
slice has.
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
from .noise_width import (
    BODY_SUV,
    FOURTH,
    LAG_MM,
    LEAST_VOXELS,
    SECOND,
    about_body,
    difference_variance,
    differences,
)

NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution
CONTRADICTS = 1.5  # times the measured noise, or its inverse, from which a statement is doubted
# times the measured noise, or its inverse, that a stated one may be: where the measured one is sure, and where a guess
HELD, HELD_TO_GUESS = 1.25, 3.0
LEAST_RATIO = 1e-5  # in SUV: an image without noise
HOT_SHARE = 0.01  # of the body of the whole image: what is hotter than the rest
SLICE_VOXELS = 100  # of the body, from which a slice tells its noise
NEIGHBOURS = (0.25, 0.5, 0.25)  # of the logarithms of neighbouring slices' variances, the weights of their mean
BY_CHANCE = 0.1  # least standard deviation by chance of the logarithm of a slice's variance
LEAST_SHARE = 0.5  # of the variance of most slices that one may have: an empty one is not free of noise


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
    shares : of each slice, its variance over that of most; empty where all have the same.
    """

    variance_ratio: float
    fwhm_mm: float
    lag: int
    pixel_mm: float
    exponent: float
    origin: str
    shares: tuple[float, ...] = ()

    @property
    def by_slice(self) -> np.ndarray:
        """``shares`` beside volumes ``(S, rows, columns)``: ``(S, 1, 1)``, or ``(1, 1, 1)`` where all are the same."""
        return np.reshape(self.shares or (1.0,), (-1, 1, 1))

    def part(self, first: int, last: int) -> ImageNoise:
        """Of the slices ``first`` up to but not including ``last``."""
        return replace(self, shares=self.shares[first:last])

    def variance(self, mean: np.ndarray) -> np.ndarray:
        """Of the voxels of expected SUVs, ``(S, rows, columns)``."""
        return self.by_slice * self.variance_ratio * mean * np.maximum(mean, 1.0) ** (self.exponent - 1)

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
        no such voxel. ``hot_from_suv`` is the SUV from which voxels counted as hot.
        """
        expected = mean.numpy()
        rough = differences(image.numpy() - expected, SECOND, self.lag)
        body = _inner(expected > BODY_SUV, self.lag)
        gain = difference_variance(SECOND, self.fwhm_mm, self.pixel_mm, self.lag)
        scaled = rough**2 / (self.variance(np.maximum(expected, BODY_SUV)) * gain**2)
        level = min(hot, _hottest(expected[body]))
        above = body & (expected >= level)
        return {"chi_square_body": _mean(scaled[body]), "chi_square_hot": _mean(scaled[above]), "hot_from_suv": level}

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
        told = {"shares": (), **values}  # which reports of former versions lack
        return cls(**{field.name: told[field.name] for field in fields(cls)} | {"shares": tuple(told["shares"])})


def image_noise(pet: Volume, fwhm_mm: float, exponent: float = 1.0) -> ImageNoise:
    """The noise of a PET in SUV whose filter in the slice and exponent in hot regions are known.

    An image in which none can be measured (few voxels of body, or no noise) counts as free of noise.
    """
    lag, pixel = max(1, round(LAG_MM / pet.spacing[0])), pet.spacing[0]
    image = about_body(pet.array, 2 * lag + 1)
    mean = ndimage.uniform_filter(image, 3)
    body = _inner(mean > BODY_SUV, lag)
    ratio, origin, shares = 0.0, "none could be measured", np.ones(len(image))
    if body.sum() >= LEAST_VOXELS:
        shares = _shares(image, body, lag)
        variance = np.maximum(mean, BODY_SUV) * shares[:, None, None]
        rough = (differences(image, SECOND, lag) / np.sqrt(variance))[body]
        gain = difference_variance(SECOND, fwhm_mm, pixel, lag)
        ratio, origin = (NORMAL_MAD * float(np.median(np.abs(rough))) / gain) ** 2, "measured in the image"
    known = tuple(shares.tolist()) if ratio > LEAST_RATIO and (shares != 1).any() else ()
    return ImageNoise(max(ratio, LEAST_RATIO), fwhm_mm, lag, pixel, exponent, origin, known)


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


def _shares(image: np.ndarray, body: np.ndarray, lag: int) -> np.ndarray:
    """Of each slice of ``(S, rows, columns)`` in SUV, its variance over that of most, ``(S,)``, by fourth differences.

    The logarithms are averaged with those of the next slices. What may be chance is taken as 1 and what exceeds it is
    drawn towards 1 (the positive part of James and Stein's estimator, at two standard deviations); chance is known by
    how much slices differ from the next ones. A slice without noise, or with little body, has what the nearest other
    one has.
    """
    mean = ndimage.uniform_filter(image, (0, 3, 3))
    values = differences(image, FOURTH, lag) / np.sqrt(np.maximum(mean, BODY_SUV))
    body = _inner(body, 2 * lag)
    squares = np.zeros(len(values))
    for number in np.flatnonzero(body.sum((1, 2)) >= SLICE_VOXELS):
        squares[number] = np.median(np.abs(values[number][body[number]])) ** 2
    measured = np.flatnonzero(squares)
    if len(measured) < 2:
        return np.ones(len(values))
    known = np.log(squares[measured] / np.median(squares[measured]))
    chance = NORMAL_MAD * float(np.median(np.abs(np.diff(known)))) / math.sqrt(2)
    logs = ndimage.correlate1d(np.interp(np.arange(len(values)), measured, known), NEIGHBOURS, mode="nearest")
    beyond = (2 * float(np.linalg.norm(NEIGHBOURS)) * max(chance, BY_CHANCE)) ** 2
    logs *= 1 - beyond / np.maximum(logs**2, beyond)
    return np.asarray(np.exp(logs).clip(LEAST_SHARE).round(3))


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def _inner(mask: np.ndarray, lag: int) -> np.ndarray:
    """A mask without the voxels at the slice's border, whose second differences reach beyond it."""
    inner = np.zeros_like(mask)
    inner[:, lag:-lag, lag:-lag] = mask[:, lag:-lag, lag:-lag]
    return inner
