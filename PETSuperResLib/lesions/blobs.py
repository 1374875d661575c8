"""Hot blobs of an image: local maxima above their surroundings, each with the uptake that it adds to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy import ndimage
from scipy.sparse.linalg import cg

from .segments import Block

CONTRAST = 1.3  # of a maximum over the highest saddle on the way to a higher one
LEAST_SUV = 1.0  # of a maximum above its surroundings
FLOOR_SUV = 0.2  # added to maximum and saddle: in air and lung a higher ratio is asked for
REACH_MM = 15.0  # from the maximum: hot regions beyond it are organs
PRECISION = 1e-9  # of the continuation, relative


@dataclass(frozen=True)
class Blob:
    """One hot blob of an image.

    Parameters
    ----------
    peak : (k, j, i) of its highest voxel.
    block : of the volume, around the blob.
    inside : voxels of the block that belong to it.
    excess : SUV of the block above its surroundings, 0 outside the blob.
    suvmax : of the blob.
    surroundings : SUV that continues the surroundings, at the peak.
    """

    peak: tuple[int, int, int]
    block: Block
    inside: np.ndarray
    excess: np.ndarray
    suvmax: float
    surroundings: float


def find_blobs(
    image: np.ndarray, spacing: Sequence[float], contrast: float = CONTRAST, least_suv: float = LEAST_SUV
) -> list[Blob]:
    """The hot blobs of an image ``(K, J, I)`` in SUV with voxels of ``spacing`` (i, j, k) mm, the hottest first.

    A maximum counts that lies ``contrast`` times above the highest saddle that leads to a higher one (both plus
    :data:`FLOOR_SUV`; an h-maximum of the logarithm, Soille 2003, chapter 6) and ``least_suv`` above its surroundings.
    Its blob is the connected part around it above the mean of the maximum and the median at the rim of its watershed
    basin, and one voxel more.
    """
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    height = np.log(np.maximum(image, 0) + FLOOR_SUV).astype(np.float64)
    step = math.log(contrast)
    dome = height - reconstruction(height - step, height)
    markers, count = ndimage.label(dome >= step * (1 - 1e-6), np.ones((3, 3, 3)))
    numbers = range(1, count + 1)
    basins = watershed(-height, markers)
    peaks = ndimage.maximum_position(image, markers, numbers)
    high = [(number, peak) for number, peak in zip(numbers, peaks, strict=True) if image[peak] >= least_suv]
    found = [_blob(image, basins, number, peak, spacing) for number, peak in high]
    hot = [blob for blob in found if blob is not None and blob.suvmax - blob.surroundings >= least_suv]
    return sorted(hot, key=lambda blob: -blob.suvmax)


def smooth_inside(values: np.ndarray, inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """``values`` ``(K, J, I)`` with a harmonic continuation of what surrounds ``inside`` in it (Laplace's equation).

    ``spacing`` is (i, j, k) in mm. Beyond the ends of the array there is nothing to continue.
    """
    rows = _laplacian(inside.shape, spacing)[inside.ravel()]
    filled = values.astype(np.float64)
    matrix, known = rows[:, inside.ravel()], -rows[:, ~inside.ravel()] @ filled[~inside]
    filled[inside], _ = cg(matrix, known, rtol=PRECISION)  # a factorisation takes many times as long in a large lesion
    return filled


def _blob(
    image: np.ndarray, basins: np.ndarray, number: int, peak: tuple[int, ...], spacing: Sequence[float]
) -> Blob | None:
    """The blob of a maximum, or None where its basin, of those ``basins`` with the ``number``, has no surroundings."""
    block = _around(peak, image.shape, spacing)
    values = image[block]
    centre = tuple(p - s.start for p, s in zip(peak, block, strict=True))
    away = np.ones(values.shape, bool)
    away[centre] = False
    basin = (basins[block] == number) & (ndimage.distance_transform_edt(away, spacing[::-1]) <= REACH_MM)
    rim = basin & ~ndimage.binary_erosion(basin, border_value=1)
    if not rim.any():
        return None
    high, _ = ndimage.label(basin & (values >= (values[centre] + np.median(values[rim])) / 2))
    inside = ndimage.binary_dilation(high == high[centre])
    filled = smooth_inside(values, inside, spacing)
    excess = np.where(inside, values - filled, 0).astype(np.float32)
    k, j, i = map(int, peak)
    return Blob((k, j, i), block, inside, excess, float(values[centre]), float(filled[centre]))


def _around(place: Sequence[int], shape: Sequence[int], spacing: Sequence[float]) -> Block:
    """The block of a volume within :data:`REACH_MM` of a voxel (k, j, i) along every axis, and two voxels more."""
    reach = [math.ceil(REACH_MM / mm) + 2 for mm in spacing[::-1]]
    k, j, i = (slice(max(0, p - r), min(n, p + r + 1)) for p, r, n in zip(place, reach, shape, strict=True))
    return k, j, i


def _laplacian(shape: Sequence[int], spacing: Sequence[float]) -> scipy.sparse.csr_array:
    """The negative Laplacian of an array in flat order, without flux through its ends."""
    total = scipy.sparse.csr_array((math.prod(shape),) * 2)
    for axis, mm in enumerate(spacing[::-1]):
        steps = scipy.sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(shape[axis] - 1, shape[axis]))
        before, after = (scipy.sparse.eye_array(math.prod(n)) for n in (shape[:axis], shape[axis + 1 :]))
        total += scipy.sparse.kron(scipy.sparse.kron(before, steps.T @ steps / mm**2), after)
    return scipy.sparse.csr_array(total)
