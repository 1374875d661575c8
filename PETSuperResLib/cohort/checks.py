"""Check whether a PET/CT case is fit for training: units by the values, and a CT that covers the PET."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GeometryError, UnitsError
from ..suv.volumes import check_suv
from ..volume import Volume
from .cases import Case

BODY_HU = -300.0  # a CT has more than this in the body, except in the lungs
MEAN_SUV = (0.05, 15.0)  # of the body in the field of view; by definition about 1 in a whole patient
COVERED = 0.9  # of the PET's uptake lies within the CT's field of view, give or take a voxel of the PET
NEVER_EMPTY_HU = -50.0  # the least value of a CT in HU is below this, as every one has fat or air
STEP = 3  # one voxel in three along each axis suffices


def check_case(case: Case) -> dict[str, Any]:
    """Properties of a case's volumes (shape, voxels in mm, mean SUV of the body, CT coverage, warnings).

    Reads PET and CT completely. Raises the errors of reading, :class:`UnitsError` for a PET that is not in SUV
    or a CT not in HU, and :class:`GeometryError` if the CT does not cover the PET.
    """
    pet = case.pet()
    warnings = check_suv(pet, "The PET")
    ct = case.ct()
    if float(ct.array.min()) > NEVER_EMPTY_HU:
        raise UnitsError(
            f"The CT is not in HU (its least value is {ct.array.min():.0f}): export it with its intercept."
        )
    hu = _at(ct, pet)
    k, j, i = (_thinned(n) for n in pet.shape)
    uptake = pet.array[np.ix_(k, j, i)].clip(0)
    seen = np.isfinite(hu)
    share = float(uptake[seen].sum() / max(float(uptake.sum()), 1e-9))
    if share < COVERED:
        raise GeometryError(f"The CT covers {100 * share:.0f} % of the PET's uptake: give the CT of the same study.")
    body = seen & (np.nan_to_num(hu, nan=-1000.0) > BODY_HU)
    if not body.any():
        raise UnitsError("The CT shows no body where the PET is: give the CT of the same study in HU.")
    mean = float(uptake[body].mean())
    if not MEAN_SUV[0] <= mean <= MEAN_SUV[1]:
        raise UnitsError(f"The PET's mean in the body is {mean:.3g}, which no SUV is: convert it to SUVbw.")
    warnings += case.segmentation(pet, ct).notes
    return {
        "shape": list(pet.shape),
        "spacing_mm": [round(s, 4) for s in pet.spacing],
        "ct_spacing_mm": [round(s, 4) for s in ct.spacing],
        "mean_suv": round(mean, 3),
        "ct_covers": round(share, 3),
        "warnings": warnings,
    }


def _thinned(n: int) -> np.ndarray:
    return np.arange(min(1, n - 1), n, STEP)


def _at(ct: Volume, pet: Volume) -> np.ndarray:
    """The CT (nearest) at every :data:`STEP`-th voxel of the PET, NaN more than one voxel of the PET outside it."""
    k, j, i = (_thinned(n) for n in pet.shape)
    matrix = np.linalg.inv(ct.ijk_to_lps) @ pet.ijk_to_lps
    places = [
        matrix[axis, 0] * i[None, None, :] + matrix[axis, 1] * j[None, :, None] + matrix[axis, 2] * k[:, None, None]
        + matrix[axis, 3]
        for axis in range(3)
    ]  # fmt: skip
    inside = np.ones(places[0].shape, bool)
    index = []
    for place, n, old, new in zip(places, ct.shape[::-1], pet.spacing, ct.spacing, strict=True):
        inside &= (place >= -0.5 - old / new) & (place <= n - 0.5 + old / new)
        index.append(np.rint(place).clip(0, n - 1).astype(np.int64))
    return np.where(inside, ct.array[index[2], index[1], index[0]], np.nan)
