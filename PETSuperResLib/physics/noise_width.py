"""The width of a reconstructed image's noise, by which a filter shows that no header names.

A filter after the reconstruction makes the noise smooth: noise behind a Gaussian of standard deviation sigma has the
correlation exp(-d^2 / (4 sigma^2)) at the distance d. Differences of high order show it: they hold noise alone, because
organs are smooth over a few millimetres, and the smoother the noise, the less of it is left in those of the sixth order
over those of the fourth. Their ratio is that of the noise wherever it is stronger or weaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage, optimize

from ..volume import Volume
from ..widths import without_box
from .gaussian import gaussian_matrix

SECOND, FOURTH = (-1.0, 2.0, -1.0), (1.0, -4.0, 6.0, -4.0, 1.0)  # weights of differences of these orders
SIXTH = (-1.0, 6.0, -15.0, 20.0, -15.0, 6.0, -1.0)
LAG_MM = 4.0  # of the differences: far enough for noise that a filter correlates, too near for organs
BODY_SUV = 0.2  # local mean from which a voxel counts as body
LEAST_VOXELS = 500  # to measure in
MOST_VOXELS = 2_000_000  # to measure in, those of the slices in the middle of the body: in half a second
WIDEST_MM = 16.0  # FWHM of the filter
STRUCTURE_MM = 10.0  # FWHM across slices from which it is structure that they have in common, and not noise


def noise_widths(pet: Volume) -> tuple[float, float] | None:
    """FWHM in mm, in the slice and axially, of the Gaussian that correlates the noise of a PET (SUV, axial slices).

    In the slice by the median absolute differences of the sixth and the fourth order, both over about :data:`LAG_MM`
    along rows and columns; a width of less than half of that does not show and is 0. Axially by the correlation that
    the fourth differences of neighbouring slices have. None where the noise cannot be told: few voxels of body, a
    single slice, voxels that are no numbers, no noise, or structure that hides it, which neighbouring slices have in
    common more than noise.
    """
    pixel, step = pet.spacing[0], pet.spacing[2]
    lag = max(1, round(LAG_MM / pixel))
    margin = lag * (len(SIXTH) // 2)
    image = _middle(pet.array, margin)
    if len(image) < 2 or not np.isfinite(image).all():
        return None
    mean = ndimage.uniform_filter(image, 3)
    body = np.zeros(image.shape, bool)
    body[:, margin:-margin, margin:-margin] = (mean > BODY_SUV)[:, margin:-margin, margin:-margin]
    if body.sum() < LEAST_VOXELS:
        return None
    fourth, sixth = (differences(image, order, lag) / np.sqrt(np.maximum(mean, BODY_SUV)) for order in (FOURTH, SIXTH))
    square = _square(fourth[body])
    if square == 0:
        return None
    ratio, shared = _square(sixth[body]) / square, _shared(fourth, body, square)

    def excess(fwhm: float) -> float:
        sixth, fourth = (difference_variance(order, fwhm, pixel, lag) for order in (SIXTH, FOURTH))
        return (sixth / fourth) ** 2 - ratio

    along = _where_zero(lambda fwhm: shared - _correlation(fwhm, step, 1)[1], step / 2)
    return None if along > STRUCTURE_MM else (_where_zero(excess, lag * pixel / 2), along)


def differences(image: np.ndarray, order: Sequence[float], lag: int) -> np.ndarray:
    """Differences of an order over ``lag`` voxels along rows and columns of ``(S, J, I)``."""
    kernel = np.zeros((len(order) - 1) * lag + 1)
    kernel[::lag] = order
    return np.asarray(ndimage.convolve1d(ndimage.convolve1d(image, kernel, axis=1), kernel, axis=2))


def difference_variance(order: Sequence[float], fwhm_mm: float, pixel_mm: float, lag: int) -> float:
    """Variance of a difference of filtered white noise along one axis, over the noise's variance.

    ``order`` are the difference's weights, ``lag`` pixels apart. The filter has the variance of its FWHM: what
    :func:`.gaussian_matrix` adds by the pixels' extent is taken off.
    """
    correlation = _correlation(fwhm_mm, pixel_mm, (len(order) - 1) * lag)[::lag]
    weights = np.correlate(order, order, "full")[len(order) - 1 :]
    return float(2 * weights @ correlation - weights[0])


def _correlation(fwhm_mm: float, pixel_mm: float, most: int) -> np.ndarray:
    """Of filtered white noise, of pixels 0 to ``most`` apart along one axis."""
    reach = most + math.ceil(2 * fwhm_mm / pixel_mm)
    kernel = gaussian_matrix(4 * reach + 1, pixel_mm, without_box(fwhm_mm, pixel_mm))[2 * reach]
    return np.asarray(np.correlate(kernel, kernel, "full")[4 * reach :][: most + 1] / (kernel @ kernel))


def _where_zero(falling: Callable[[float], float], least: float) -> float:
    """The FWHM from ``least`` to the widest at which a falling function is zero; 0 where it is not above zero."""
    if falling(least) <= 0:
        return 0.0
    return WIDEST_MM if falling(WIDEST_MM) >= 0 else float(optimize.brentq(falling, least, WIDEST_MM, xtol=1e-3))


def about_body(image: np.ndarray, margin: int) -> np.ndarray:
    """The rows and columns of ``(S, rows, columns)`` in SUV that hold the body, and ``margin`` voxels about them."""
    body = image > BODY_SUV
    if not body.any():
        return image[:0]
    rows, columns = (_ends(np.any(body, axes)) for axes in ((0, 2), (0, 1)))
    (top, bottom), (left, right) = ((max(0, low - margin), high + margin) for low, high in (rows, columns))
    return image[:, top:bottom, left:right]


def _middle(image: np.ndarray, margin: int) -> np.ndarray:
    """The part that holds the body and ``margin`` voxels about it in the slice; of many slices those in the middle."""
    image = about_body(image, margin)
    if not len(image):
        return image
    first, last = _ends(np.any(image > BODY_SUV, (1, 2)))
    spare = max(0, last - first - max(2, MOST_VOXELS // image[0].size)) // 2
    return image[first + spare : last - spare]


def _ends(filled: Any) -> tuple[int, int]:
    """The first place that is filled, and the one after the last."""
    places = np.flatnonzero(filled)
    return int(places[0]), int(places[-1]) + 1


def _square(values: np.ndarray) -> float:
    """The mean square of noise but for a factor, by its median absolute value."""
    return float(np.median(np.abs(values))) ** 2


def _shared(values: np.ndarray, body: np.ndarray, square: float) -> float:
    """Correlation of the values of neighbouring slices, whose :func:`_square` is ``square``."""
    both = body[1:] & body[:-1]
    return 1 - _square(np.diff(values, axis=0)[both]) / (2 * square) if both.any() else 0.0
