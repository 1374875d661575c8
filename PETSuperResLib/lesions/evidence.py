"""What the measurement says for a hot blob or a lesion: the log-likelihood that it gains over its surroundings.

The blob is taken out of the result, its surroundings are continued smoothly, and two amplitudes are fitted to the
measurement: the blob's and that of its surroundings. Twice the log-likelihood gained by the blob is chi-square with one
degree of freedom where there is no blob (Wilks), so its signed root is in sigma of a normal variable.

The evidence of a blob is no more than what it shows is worth: its uptake over the standard deviation that the data
leave of it. The prior holds noise back, so that the data demand more of a blob of noise than the result shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..physics.amplitudes import Data, Template
from ..physics.likelihood import Fit
from ..volume import Volume
from .blobs import Blob, smooth_inside
from .measures import Lesion
from .segments import Block, Segment

SUPPORTED = 3.0  # sigma: below it the data do not support a blob
SPILL_MM = 4.0  # beyond a segment: what the estimate shows there is the segment's own uptake, blurred
NEAR_MM, FAR_MM = 4.0, 12.0  # distance from a blob up to which its surroundings are fitted whole, and not at all


def blob_evidence(data: Data, estimate: np.ndarray, blobs: Sequence[Blob]) -> list[float]:
    """Sigma of every blob of an estimate ``(K, J, I)`` in SUV."""
    found = []
    for blob in blobs:
        fit = _fit(data, estimate, blob.block, blob.inside, blob.excess)
        found.append(min(fit.sigma, 1 / math.sqrt(fit.covariance[0, 0])))  # an amplitude of 1 is what it shows
    return found


def lesion_evidence(data: Data, estimate: np.ndarray, segments: Sequence[Segment]) -> list[float | None]:
    """Sigma of uniform uptake in each segment above its surroundings; None of one outside the estimate's grid."""
    found: list[float | None] = []
    for segment in segments:
        weights, block = segment.weights(data.grid)
        reached = weights.size > 0 and bool(weights.any())
        found.append(_fit(data, estimate, block, weights > 0, weights, SPILL_MM).sigma if reached else None)
    return found


def with_evidence(
    lesions: Sequence[Lesion], data: Data, estimate: np.ndarray, segments: Sequence[Segment]
) -> list[Lesion]:
    """Lesions with the evidence of their segments, to two digits after the point."""
    sigmas = dict(zip((s.label for s in segments), lesion_evidence(data, estimate, segments), strict=True))
    found = {label: None if sigma is None else round(sigma, 2) for label, sigma in sigmas.items()}
    return [replace(lesion, evidence_sigma=found[lesion.label]) for lesion in lesions]


def _fit(
    data: Data, estimate: np.ndarray, block: Block, inside: np.ndarray, shape: np.ndarray, spill_mm: float = 0.0
) -> Fit:
    """Amplitude of a ``shape`` in place of what the estimate has in the voxels ``inside`` a block.

    What surrounds them is continued from ``spill_mm`` beyond.
    """
    grid = data.grid
    near, (inside, shape) = _widened(block, (inside, shape), grid)
    values = estimate[near]
    distance = ndimage.distance_transform_edt(~inside, grid.spacing[::-1])
    smooth = smooth_inside(values, distance <= spill_mm, grid.spacing)
    window = np.clip((FAR_MM - distance) / (FAR_MM - NEAR_MM), 0, 1)
    excess = values - smooth
    images = [excess, shape, window * smooth]
    removed, *added = data.project([Template.of(image, near, grid.shape) for image in images])
    amplitude = float((excess * shape).sum() / (shape * shape).sum())
    return data.fit(removed, added, [max(amplitude, 0.0), 0.0])


def _widened(block: Block, arrays: Sequence[np.ndarray], grid: Volume) -> tuple[Block, list[np.ndarray]]:
    """A block with :data:`FAR_MM` around it, and arrays of the block in it."""
    reach = [math.ceil(FAR_MM / mm) for mm in grid.spacing[::-1]]
    k, j, i = (slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(block, reach, grid.shape, strict=True))
    own = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(block, (k, j, i), strict=True))
    wide = [np.zeros([s.stop - s.start for s in (k, j, i)], array.dtype) for array in arrays]
    for target, array in zip(wide, arrays, strict=True):
        target[own] = array
    return (k, j, i), wide
