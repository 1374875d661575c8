"""From physical units to the prior's space and back: equation (3) for PET, two windows for CT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AsinhTransform:
    """x = asinh(z / s) / kappa (3): linear near zero uptake, logarithmic at high uptake."""

    s: float = 1.0  # SUV at which the scale turns from linear to logarithmic
    kappa: float = 0.5  # makes the standard deviation of body voxels about one

    def to_model(self, z: Tensor) -> Tensor:
        """SUV -> model space."""
        return torch.asinh(z / self.s) / self.kappa

    def to_activity(self, x: Tensor) -> Tensor:
        """Model space -> SUV, limited to the range of float32."""
        return self.s * torch.sinh((x * self.kappa).clamp(-9.0, 9.0))

    def slope(self, z: Tensor) -> Tensor:
        """dz/dx at activity z: the SUV that one unit of model space is worth there."""
        return self.kappa * torch.sqrt(self.s**2 + z**2)


def normalise_ct(hu: Tensor) -> Tensor:
    """``(B, H, W)`` HU -> ``(B, 2, H, W)``: the whole range, and a soft-tissue window (-160 to 240), each in -1..1."""
    wide = (hu / 1000.0).clamp(-1.0, 1.0)
    soft = ((hu - 40.0) / 200.0).clamp(-1.0, 1.0)
    return torch.stack([wide, soft], dim=1)
