"""Rules that say which voxels of a segment are metabolically active: the thresholds of MTV and TLG."""

from __future__ import annotations

import numpy as np

from ..volume import Volume
from .segments import HALF, Segment

SPHERE_MM = 30.0  # diameter of the liver reference
DEEP_MM = 12.0  # least depth of its centre in the liver
FACTOR, DEVIATIONS = 1.5, 2.0


def percist_threshold(pet: Volume, liver: Segment) -> float | None:
    """PERCIST's threshold, 1.5 times the mean plus 2 standard deviations of a sphere of 3 cm in the right lobe, in SUV.

    ``liver`` is the liver or a sphere drawn in it. The sphere lies where the right half of the segment is deepest, and
    only its voxels within the segment count. None where no part is 12 mm deep. A factor of the SUVs (lean body mass)
    changes nothing. Wahl et al., J Nucl Med 2009;50 Suppl 1:122S-150S.
    """
    from scipy import ndimage

    weights, block = liver.weights(pet)
    inside = weights >= HALF
    if not inside.any():
        return None
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=pet.spacing[::-1])[1:-1, 1:-1, 1:-1]
    k, j, i = np.indices(inside.shape)
    first = [part.start for part in block[::-1]]
    ijk = np.stack([i + first[0], j + first[1], k + first[2], np.ones_like(i)], axis=-1)
    places = (ijk @ pet.ijk_to_lps.T)[..., :3]
    x = places[..., 0]
    right = inside & (x <= 0.5 * (x[inside].min() + x[inside].max()))
    deepest = np.unravel_index(np.argmax(np.where(right, depth, 0)), depth.shape)
    if depth[deepest] < DEEP_MM:
        return None
    apart = np.linalg.norm(places - places[deepest], axis=-1)
    values = pet.array[block][inside & (apart <= SPHERE_MM / 2)].astype(np.float64)
    return float(FACTOR * values.mean() + DEVIATIONS * values.std())
