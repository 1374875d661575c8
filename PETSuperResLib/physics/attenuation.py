"""Attenuation at 511 keV from CT numbers."""

from __future__ import annotations

import numpy as np

MU_PER_HU_SOFT = 9.6e-6  # 1/mm per (HU + 1000), air to soft tissue
MU_PER_HU_BONE, MU_OFFSET_BONE = 5.10e-6, 4.71e-3  # above the break at 47 HU, 120 kVp
# (Carney, Townsend, Rappoport, Bendriem: Med Phys 2006, 33:976-983)


def hu_to_mu(hu: np.ndarray) -> np.ndarray:
    """Linear attenuation in 1/mm at 511 keV from HU, bilinear with a break at 47 HU."""
    above_air = np.clip(hu, -1000.0, 3000.0) + 1000.0
    soft, bone = MU_PER_HU_SOFT * above_air, MU_PER_HU_BONE * above_air + MU_OFFSET_BONE
    return np.minimum(soft, bone).astype(np.float32)
