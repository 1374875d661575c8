"""Whether the values of a PET volume can be SUVs, and what reading it found to tell."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, UnitsError
from ..volume import Volume
from .activity import check_activity


def told(volume: Volume) -> list[str]:
    """What reading a volume found to tell: the choice of the series, missing slices, doubts about its SUVs."""
    found = volume.metadata.get("suv", {}).get("warnings", ())
    return [*volume.metadata.get("notes", ()), *(f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in found)]


def check_suv(volume: Volume, name: str = "PET") -> list[str]:
    """Check whether values can be SUVs: returns warnings, raises for impossible values.

    Includes what reading a volume found to tell. :class:`InputError`: NaN or infinite, empty, constant or a mask (0 and
    one whole number).
    :class:`UnitsError`: another unit is known, or the values look like a CT or like Bq/mL.
    """
    values, name = volume.array, str(volume.metadata.get("file") or name)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(f"{name} has {bad} voxels that are not finite numbers: export the PET again.")
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if high == low:
        raise InputError(f"{name} is empty (every voxel has the same value): choose the PET volume.")
    if low == high % 1 == 0 and bool(((values == low) | (values == high)).all()):
        raise InputError(f"{name} is a mask (every voxel is 0 or {high:g}), no PET: choose the PET volume.")
    if volume.unit not in ("", "SUVbw"):
        raise UnitsError(f"{name} is in {volume.unit}, not SUV: give the PET as SUVbw, or as its DICOM series.")
    positive, negative = values[values > 0], values[values < 0]
    if negative.size and (float(np.mean(values < -100)) > 0.01 or -float(negative.sum()) > float(positive.sum())):
        raise UnitsError(
            f"{name} looks like a CT (or a difference): {100 * negative.size / values.size:.0f} % of its voxels are "
            f"negative, down to {values.min():.0f}; give the PET as SUVbw (PET and CT may be swapped)."
        )
    most = float(np.percentile(positive, 95))
    if most > 200:
        raise UnitsError(
            f"{name} is not SUV: the 95th percentile of its positive voxels is {most:.0f}, as in Bq/mL; "
            "give the DICOM series or convert it with patient weight and dose first."
        )
    warnings = told(volume)
    if "suv" not in volume.metadata:  # otherwise checked when it was read
        warnings += check_activity(values.clip(0), volume.voxel_ml)
    if negative.size:
        warnings.append(
            f"{name} has {negative.size} negative voxels (down to {values.min():.3g}), which are taken as 0."
        )
    return warnings
