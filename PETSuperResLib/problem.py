"""The inverse problem of a reconstruction: counts, CT and forward model on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .physics.measurement import Measurement
from .physics.model import ForwardModel, scanner_projector
from .physics.projector import ParallelProjector
from .volume import Volume

UNKNOWN_HU = -2000.0  # of voxels that the CT does not cover
BLOCK = 64  # slices that are projected together


@dataclass(frozen=True)
class Problem:
    """Find z >= 0 with y ~ Poisson(A z + b) (1), given a CT.

    Parameters
    ----------
    grid : the SR grid, of the measurement's slices; its values are not used.
    measurement : counts y, background b, and the geometry of A.
    ct : ``(K, J, I)`` in HU on the grid, on the CPU; :data:`UNKNOWN_HU` where there is none.
    projector : G on a slice of the grid, on ``device``.
    device : where the models of :meth:`part` compute.
    counts : the count level and where it comes from, for the report.
    warnings : for the user.
    """

    grid: Volume
    measurement: Measurement
    ct: Tensor
    projector: ParallelProjector
    device: torch.device
    counts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def make(cls, measurement: Measurement, grid: Volume, ct: Volume, device: torch.device) -> Problem:
        """The problem of a measurement on a grid; ``ct`` (HU) is resampled to it. Nothing is checked."""
        hu = torch.from_numpy(ct.resample_to(grid, "linear", UNKNOWN_HU).array)
        return cls(grid, measurement, hu, _projector(measurement, grid, device), device)

    def part(self, low: int, high: int) -> tuple[ForwardModel, Tensor, Tensor]:
        """Model, counts ``(S, views, bins)`` and CT ``(S, J, I)`` of the slices ``low`` to ``high`` (exclusive)."""
        part = self.measurement.part(low, high)
        model = part.model(self.grid.slices(low, high), self.device, self.projector)
        return model, part.counts.to(self.device), self.ct[low:high].to(self.device)

    def on(self, device: torch.device) -> Problem:
        """The same problem, computed elsewhere."""
        return replace(self, projector=_projector(self.measurement, self.grid, device), device=device)

    def conservation(self, estimate: np.ndarray) -> float:
        """The factor on an estimate ``(K, J, I)`` with which its expected trues are the measured ones."""
        expected = measured = 0.0
        for first in range(0, len(estimate), BLOCK):
            part = self.measurement.part(first, min(first + BLOCK, len(estimate)))
            image = torch.from_numpy(estimate[first : first + BLOCK]).to(self.projector.device)
            lines = self.projector.forward(image).cpu()
            if part.attenuation is not None:
                lines *= part.attenuation
            expected += float(lines.sum(dtype=torch.float64)) * self.measurement.scale
            measured += float((part.counts - part.background).sum(dtype=torch.float64))
        return measured / expected if expected > 0 and measured > 0 else 1.0

    def residual(self, estimate: np.ndarray) -> dict[str, float]:
        """Chi-square per bin of the counts under the estimate: 1 when the fit is as good as Poisson noise allows."""
        model, y, _ = self.part(0, len(estimate))
        mean = model.mean(torch.from_numpy(estimate).to(self.device))
        return {"chi_square_per_bin": float(((y - mean) ** 2 / mean.clamp_min(1e-3)).mean())}


def _projector(measurement: Measurement, grid: Volume, device: torch.device) -> ParallelProjector:
    bins = measurement.counts.shape[2]
    return scanner_projector(measurement.scanner, grid.shape[1:], grid.spacing[0], device, bins)
