"""Whether a body can hold the activity that SUVs say: the check of dose, weight, times and units together.

The sum of SUV times mL over an image is the share of the injected activity in it times the body weight in g, so it
cannot exceed the weight; the mean SUV of a body is near 1 by definition.
"""

from __future__ import annotations

import numpy as np

from ..errors import UnitsError

EXCESS = 1.1  # of the injected activity; noise and scatter outside the body may add to what is in it
MEAN_SUV = (0.1, 5.0)  # of the body in the field of view
NO_MEAN_SUV = 0.01  # below it no body is in which the injected activity is
HEAVIEST_KG = 300.0  # where the weight is not known


def check_activity(array: np.ndarray, voxel_ml: float, weight_kg: float | None = None) -> list[str]:
    """Warnings about SUVs whose mean in the body no patient has.

    Raises :class:`UnitsError` where the image holds more than 1.1 times the injected activity, and where the body's
    mean is less than a hundredth of the 1 that an even distribution would have.
    """
    remedy = "check dose, injection time, weight and units"
    often = f"{remedy} (a dose in mCi, a 12-hour clock, kBq/mL, g for kg)"
    held = float(array.sum(dtype=np.float64)) * voxel_ml / 1000 / (weight_kg or HEAVIEST_KG)
    if held > EXCESS:
        whose = f"of {weight_kg:g} kg" if weight_kg else f"of up to {HEAVIEST_KG:g} kg"
        raise UnitsError(
            f"The PET's SUVs add up to {held:.3g} times the injected activity, in a body {whose}: {often}."
        )
    mean = body_mean(array)
    if mean is None or MEAN_SUV[0] <= mean <= MEAN_SUV[1]:
        return []
    told = f"The body's mean SUV is {mean:.3g}, where about 1 is possible"
    if mean < NO_MEAN_SUV:
        raise UnitsError(f"{told}: {remedy} (a dose in Bq for MBq, kBq/mL for Bq/mL).")
    return [f"WRONG SUV? {told}: {often}."]


def body_mean(array: np.ndarray) -> float | None:
    """Mean SUV of the body by the PET alone; None for an image without positive values.

    The body is what exceeds a third of the median of the voxels above 2 % of the high (99th percentile) ones.
    """
    positive = array[array > 0]
    if positive.size == 0:
        return None
    active = positive[positive > 0.02 * np.percentile(positive, 99)]
    return float(positive[positive > np.median(active) / 3].mean(dtype=np.float64))
