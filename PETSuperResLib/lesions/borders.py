"""Where the border of a drawn segment may truly lie: its signed distance, and shapes with a shifted border."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..volume import Volume
from .segments import HALF, Segment, union

FINE_MM = 1.5  # most of a voxel in which distances are measured
BORDER_MM = 3.0  # over which the uptake falls: a voxel's border, rounded to voxels by the mask
KNOWN_MM = 15.0  # from a segment along every axis, within which distances are measured: all that is asked of them
FAR_MM = 1e3  # stands for the distance beyond
LEAST_PART = 1e-6  # of a voxel of a segment


class Shape:
    """A segment in a box of the image, in voxels fine enough to move its border by parts of the image's.

    ``inside``: the fine voxels that belong to it; ``distance``: to its border in mm, negative inside, :data:`FAR_MM`
    beyond :data:`KNOWN_MM`; ``in_slice``: the same within every slice, :data:`FAR_MM` in slices without it.
    """

    def __init__(self, segment: Segment, box: Volume):
        self.parts = [math.ceil(mm / FINE_MM - 1e-6) for mm in box.spacing[::-1]]
        fine = box.grid([mm / n for mm, n in zip(box.spacing, self.parts[::-1], strict=True)])
        contour = not np.isin(segment.mask.array, (0, 1)).all()  # parts of voxels tell where it passes through them
        mask = segment.mask.resample_to(fine, "linear" if contour else "nearest").array
        self.inside = mask >= max(min(HALF, float(mask.max())), LEAST_PART)
        if not self.inside.any():  # it lies between the centres of the fine voxels
            self.inside = union([segment], fine).array > 0
        self.distance, self.in_slice = (np.full(fine.shape, FAR_MM, np.float32) for _ in range(2))
        reach = [math.ceil(KNOWN_MM / mm) for mm in fine.spacing[::-1]]
        (own,) = ndimage.find_objects(self.inside.view(np.int8))
        near = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(own, reach, strict=True))
        inside = self.inside[near]
        self.distance[near] = _signed_distance(inside, fine.spacing[::-1])
        for plane, found in zip(inside, self.in_slice[near], strict=True):
            if plane.any():
                found[:] = _signed_distance(plane, fine.spacing[1::-1])

    def cover(self, shift_mm: float) -> np.ndarray:
        """The part of each fine voxel that a lesion fills whose border lies ``shift_mm`` outside the drawn one.

        It falls over :data:`BORDER_MM`. The border is shifted within the slices: masks are drawn there, and slices are
        thicker than the uncertainty of a border.
        """
        return np.clip(0.5 - (self.in_slice - shift_mm) / BORDER_MM, 0, 1)

    def mean(self, fine: np.ndarray) -> float:
        """Mean of fine voxels within the segment as it is drawn."""
        return float(fine[self.inside].mean())

    def coarse(self, fine: np.ndarray) -> np.ndarray:
        """Means of fine voxels over the voxels of the box, ``(K, J, I)``."""
        means = fine.astype(np.float32)
        for axis, parts in enumerate(self.parts):  # strided views: far faster than a mean over three axes
            turned = means.swapaxes(0, axis)
            means = np.asarray(sum(turned[n::parts] for n in range(parts))).swapaxes(0, axis)
        return np.ascontiguousarray(means / np.float32(math.prod(self.parts)))


def _signed_distance(inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """To the border between voxels inside and outside, in mm, negative inside."""
    half = 0.5 * min(spacing)
    within, beyond = (ndimage.distance_transform_edt(x, spacing) for x in (inside, ~inside))
    return np.where(inside, half - within, beyond - half).astype(np.float32)
