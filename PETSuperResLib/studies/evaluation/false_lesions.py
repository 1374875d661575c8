"""False lesions: bright spots that a result shows and its reference doesn't."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

SPOT_MM = 4.0  # radius of the disc that a spot fills
RING_MM = (8.0, 16.0)  # inner and outer radius of its surroundings
FALSE = 1.3  # times the contrast that the reference has there
LOWEST_SUV = 0.2  # surroundings below it are air, or as good as
HALF = 0.5  # share of the ring that must lie in the body


def contrast(image: np.ndarray, body: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Mean over a disc about each voxel, over the mean of the ring around it, in the slice; ``(K, J, I)``.

    ``image`` is in SUV, ``spacing`` the (row, column) size of its voxels in mm. Only voxels of ``body`` count, in the
    disc and in the ring; the result is 0 outside, where too little of the ring lies in the body and where the ring's
    mean is below :data:`LOWEST_SUV`.
    """
    reach = [int(np.ceil(RING_MM[1] / s)) for s in spacing]
    rows, columns = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    distance = np.hypot(rows * spacing[0], columns * spacing[1])
    disc, ring = distance <= SPOT_MM, (distance >= RING_MM[0]) & (distance <= RING_MM[1])
    inside = body.astype(np.float64)
    activity = image * inside

    def total(of: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        return signal.fftconvolve(of, footprint[None].astype(np.float64), mode="same", axes=(1, 2))

    voxels = np.maximum(total(inside, disc), 1), np.maximum(total(inside, ring), 1)
    spot, around = total(activity, disc) / voxels[0], total(activity, ring) / voxels[1]
    valid = body & (voxels[1] >= HALF * ring.sum()) & (around >= LOWEST_SUV)
    return np.where(valid, spot / np.maximum(around, LOWEST_SUV), 0.0)


def false_lesions(
    truth: np.ndarray, result: np.ndarray, body: np.ndarray, lesions: np.ndarray | None, spacing: tuple[float, float]
) -> tuple[int, float, int]:
    """Spots whose contrast the result exaggerates by :data:`FALSE` or more, in slices without a lesion.

    Compared is each voxel's contrast in the result with that in the truth, or with 1 where the truth is darker than
    its surroundings. All arrays are ``(K, J, I)``; ``lesions`` are the contours (None: no slice has any). Returns the
    number of spots that are above 1.3 in the result and 1.3 times the truth's, the highest such ratio anywhere
    (0 without a slice), and the number of slices.
    """
    free = np.ones(len(truth), bool) if lesions is None else ~lesions.any((1, 2))
    if not free.any():
        return 0, 0.0, 0
    shown = contrast(result[free], body[free], spacing)
    there = contrast(truth[free], body[free], spacing)
    ratio = np.zeros(truth.shape)  # 0 in slices with a lesion, which part the spots on either side
    ratio[free] = np.where(there > 0, shown / np.maximum(there, 1.0), 0.0)
    return int(ndimage.label(ratio >= FALSE)[1]), float(ratio.max()), int(free.sum())
