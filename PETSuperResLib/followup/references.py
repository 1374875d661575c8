"""Reference regions of a study: a sphere of 3 cm in the liver's right lobe, a cylinder of 1 x 2 cm in the aorta.

They are placed by rules on the CT, and on the PET where it is not uniform there. Liver: the part below the right lung
whose surroundings are soft tissue farthest around. Aorta: the round soft structure left of the spine, in front of or
beside it, that stands out from lung and fat over several slices (descending thoracic aorta).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from ..lesions.segments import Segment
from ..phantoms.ct_landmarks import around
from ..volume import Volume
from .registration import body_of

GRID_MM = 3.0
LIVER_MM, AORTA_MM, AORTA_LONG_MM = 30.0, 10.0, 20.0  # diameters, and the cylinder's length
AWAY_MM = 10.0  # least distance from a lesion
LUNG_HU = -500.0
LUNG_ML = 150.0  # least volume of a part of the lungs
LIVER_HU = (0.0, 220.0)  # of the smoothed CT: fatty to well perfused
SMOOTH_MM = 5.0  # standard deviation of the smoothing for the liver
EDGE_MM = 5.0  # between the sphere and the liver's border
DEEP = 0.7  # of the greatest depth, from which on the PET's uniformity decides
AORTA_RADII_MM = (9.0, 11.0, 13.0, 15.0)
AORTA_HU = (-200.0, 150.0)  # values are clipped to these
BONE_HU = 500.0  # no voxel of the disc is bone or calcified
SPINE_MM = 45.0  # from the middle of the lungs, at most
BESIDE_MM = (5.0, 50.0)  # of the spine's middle, to the left
BEFORE_MM = (-50.0, 12.0)  # of the spine's middle, backwards positive
UNIFORM = 1.5  # weight of the standard deviation in the disc against its contrast
ALONG_MM = 10.0  # standard deviation of the smoothing along the body
CLEAR_HU = 85.0  # least of that score
STEP_MM = 1.0  # voxels of a region's mask


@dataclass(frozen=True)
class Reference:
    """A region ``liver`` or ``blood``: its ``centre`` in LPS mm, and where that is from (placed, or stated)."""

    name: str
    centre: tuple[float, float, float]
    source: str = "placed"

    def segment(self) -> Segment:
        """The region as a mask of voxels of 1 mm."""
        wide, long = (LIVER_MM, LIVER_MM) if self.name == "liver" else (AORTA_MM, AORTA_LONG_MM)
        half = [int(length / 2 / STEP_MM) for length in (wide, wide, long)]
        x, y, z = (np.arange(-n, n + 1) * STEP_MM for n in half)
        across = x[None, None, :] ** 2 + y[None, :, None] ** 2
        if self.name == "liver":
            inside = across + z[:, None, None] ** 2 <= (wide / 2) ** 2
        else:
            inside = np.broadcast_to(across <= (wide / 2) ** 2, (len(z), len(y), len(x)))
        low = np.subtract(self.centre, np.multiply(half, STEP_MM))
        return Segment(1, self.name, Volume(inside, (STEP_MM,) * 3, tuple(low), unit="label"))

    def measure(self, pet: Volume) -> dict[str, float] | None:
        """Mean, standard deviation and maximum in a PET; None where the region is not wholly in it."""
        segment = self.segment()
        if segment.share_within(pet) < 1:
            return None
        weights, block = segment.weights(pet)
        values = pet.array[block].astype(np.float64)
        mean = float(np.average(values, weights=weights))
        sd = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
        return {"mean": mean, "sd": sd, "max": float(values[weights >= min(0.5, weights.max())].max())}

    def to_dict(self) -> dict:
        """For the report."""
        return asdict(self)


@dataclass(frozen=True)
class _Chest:
    """A CT on axial voxels of 3 mm (i to the left, j backwards, k up) with its body, lungs and middle."""

    ct: Volume
    body: np.ndarray
    lungs: np.ndarray
    middle: float  # x in mm

    @classmethod
    def of(cls, ct: Volume) -> _Chest:
        axial = upright(ct, GRID_MM, -1000.0)
        body = body_of(axial).array > 0
        air = body & (axial.array < LUNG_HU)
        parts, count = ndimage.label(air)
        sizes = np.bincount(parts.ravel(), minlength=count + 1) * axial.voxel_ml
        sizes[0] = 0
        x = axial.origin[0] + GRID_MM * np.flatnonzero(body.any((0, 1)))
        lungs = (sizes >= LUNG_ML)[parts]
        seen = np.flatnonzero(lungs.any((0, 1))) if lungs.any() else np.array([])
        middle = axial.origin[0] + GRID_MM * 0.5 * (seen[0] + seen[-1]) if len(seen) else float(x.mean())
        return cls(axial, body, lungs, float(middle))

    def place(self, index: Sequence[int]) -> tuple[float, float, float]:
        """LPS mm of a voxel (k, j, i)."""
        k, j, i = (float(n) for n in index)
        x, y, z = (self.ct.ijk_to_lps @ [i, j, k, 1.0])[:3]
        return float(x), float(y), float(z)

    @property
    def x(self) -> np.ndarray:
        """(1, 1, I) mm left of the middle."""
        return (self.ct.origin[0] + GRID_MM * np.arange(self.ct.shape[2]) - self.middle)[None, None]

    @property
    def y(self) -> np.ndarray:
        """(1, J, 1) mm, backwards."""
        return (self.ct.origin[1] + GRID_MM * np.arange(self.ct.shape[1]))[None, :, None]


def upright(volume: Volume, spacing_mm: float, outside: float = 0.0) -> Volume:
    """A volume on voxels of one size along the patient's axes: i to the left, j backwards, k up."""
    low, high = volume.corners().min(0), volume.corners().max(0)
    size = np.ceil((high - low) / spacing_mm).astype(int)
    grid = Volume(np.zeros(size[::-1], np.float32), (spacing_mm,) * 3, tuple(low + spacing_mm / 2))
    return volume.resample_to(grid, "linear", outside)


def place_references(
    ct: Volume, pet: Volume | None = None, lesions: Sequence[Segment] = ()
) -> tuple[dict[str, Reference], dict[str, str]]:
    """The regions that were found, and what to tell of those that were not, both by name (``liver``, ``blood``).

    The CT is in HU, on any grid; the PET in SUVbw.
    """
    chest = _Chest.of(ct)
    free = _free(chest, lesions)
    uptake = None if pet is None else pet.resample_to(chest.ct, "linear").array
    found, notes = {}, {}
    for name, index in (("liver", _liver(chest, free, uptake)), ("blood", _aorta(chest, free))):
        if index is None:
            what = "right lobe of the liver" if name == "liver" else "descending aorta"
            notes[name] = (
                f"the {what} was not found on the CT: what is compared with it is left out, unless its centre x,y,z in "
                "LPS mm is stated."
            )
        else:
            found[name] = Reference(name, chest.place(index))
    return found, notes


def _free(chest: _Chest, lesions: Sequence[Segment]) -> np.ndarray:
    """Distance in mm from the nearest lesion."""
    mask = np.zeros(chest.ct.shape, bool)
    for lesion in lesions:
        weights, block = lesion.weights(chest.ct)
        if weights.size:
            mask[block] |= weights > 0
    return ndimage.distance_transform_edt(~mask) * GRID_MM if mask.any() else np.full(mask.shape, np.inf)


def _liver(chest: _Chest, free: np.ndarray, uptake: np.ndarray | None) -> tuple[int, ...] | None:
    """The voxel (k, j, i) about which the sphere lies."""
    right = chest.lungs & (chest.x < 0)
    above = np.cumsum(right[::-1], 0)[::-1] > 0  # a voxel of the right lung lies above
    below = np.cumsum(right, 0) > 0
    smooth = ndimage.gaussian_filter(chest.ct.array, SMOOTH_MM / GRID_MM)
    soft = (smooth > LIVER_HU[0]) & (smooth < LIVER_HU[1]) & chest.body & (chest.x < 0)
    depth = ndimage.distance_transform_edt(np.pad(soft, 1))[1:-1, 1:-1, 1:-1] * GRID_MM
    fits = above & ~below & (depth >= LIVER_MM / 2 + EDGE_MM) & (free >= LIVER_MM / 2 + AWAY_MM)
    if not fits.any():
        return None
    fits &= depth >= DEEP * depth[fits].max()
    image = chest.ct.array if uptake is None else uptake
    box = round(LIVER_MM / GRID_MM)
    mean = ndimage.uniform_filter(image.astype(np.float64), box)
    variance = ndimage.uniform_filter(image.astype(np.float64) ** 2, box) - mean**2
    uneven = variance if uptake is None else variance / np.maximum(mean, 1e-6) ** 2
    return _best(np.where(fits, -uneven, -np.inf))


def _aorta(chest: _Chest, free: np.ndarray) -> tuple[int, ...] | None:
    """The voxel (k, j, i) about which the cylinder lies."""
    areas = [(chest.lungs & side).sum((1, 2)) for side in (chest.x < 0, chest.x > 0)]
    if min(area.max() for area in areas) == 0:
        return None
    slices = np.all([area > 0.3 * area.max() for area in areas], axis=0)
    ends = round(AORTA_LONG_MM / GRID_MM)
    slices[:ends], slices[len(slices) - ends :] = False, False
    spine = _spine(chest, slices) if slices.any() else None
    if spine is None:
        return None
    x, y = chest.x - spine[0], chest.y - spine[1]
    beside = (x > BESIDE_MM[0]) & (x < BESIDE_MM[1]) & (y > BEFORE_MM[0]) & (y < BEFORE_MM[1])
    if not beside.any():
        return None
    wide = round(AORTA_RADII_MM[0] / GRID_MM)
    bone = ndimage.maximum_filter(chest.ct.array, (ends, 2 * wide + 1, 2 * wide + 1)) > BONE_HU
    fits = beside & ~bone & slices[:, None, None] & (free >= AORTA_LONG_MM / 2 + AWAY_MM)
    score = _aorta_score(ndimage.gaussian_filter(chest.ct.array, 0.7), beside[0])
    best = _best(np.where(fits, score, -np.inf))
    return best if score[best] >= CLEAR_HU else None


def _spine(chest: _Chest, slices: np.ndarray) -> tuple[float, float] | None:
    """(x from the middle, y) in mm of the vertebral bodies: where bone is most frequent in the rear of the body."""
    rows = np.flatnonzero(chest.body[slices].any((0, 2)))
    rear = chest.y > chest.y.ravel()[(rows[0] + rows[-1]) // 2]
    bone = ((chest.ct.array > 180) & chest.body & rear & (abs(chest.x) < SPINE_MM))[slices].mean(0)
    if not bone.any():
        return None
    column = int(np.argmax(ndimage.gaussian_filter1d(bone.mean(0), 15.0 / GRID_MM)))
    near = bone[:, max(0, column - 5) : column + 6].mean(1)
    row = int(np.argmax(ndimage.gaussian_filter1d(near, 8.0 / GRID_MM)))
    return float(chest.x.ravel()[column]), float(chest.y.ravel()[row])


def _aorta_score(hu: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How round and uniform the surroundings are at the best of the aorta's radii, smoothed along the body.

    Of the voxels ``where`` (J, I) of every slice; elsewhere it is of no use.
    """
    box = (slice(None), *around(where, _reach(max(AORTA_RADII_MM) / GRID_MM)))
    score = np.full(hu.shape, -np.inf, hu.dtype)
    best = np.max([_round_score(hu[box], radius / GRID_MM) for radius in AORTA_RADII_MM], axis=0)
    score[box] = ndimage.gaussian_filter1d(best, ALONG_MM / GRID_MM, axis=0)
    return score


def _reach(radius: float) -> int:
    """How far the ring around a disc reaches, in voxels."""
    return int(np.ceil(radius + 2))


def _round_score(hu: np.ndarray, radius: float) -> np.ndarray:
    """Mean in a disc, less that in the ring around it and the weighted standard deviation in it, by slice.

    The means are of clipped HU; the standard deviation is not, as vertebrae are less uniform than blood.
    """
    reach = _reach(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(x, y)
    disc, ring = distance <= radius - 0.5, (distance > radius + 0.5) & (distance <= radius + 2)
    flat = hu.clip(*AORTA_HU)
    inside, around, mean, square = (
        ndimage.convolve(values, (mask / mask.sum())[None].astype(np.float32), mode="nearest")
        for values, mask in ((flat, disc), (flat, ring), (hu, disc), (hu**2, disc))
    )
    return inside - around - UNIFORM * np.sqrt(np.maximum(square - mean**2, 0))


def _best(score: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(int(np.argmax(score)), score.shape))
