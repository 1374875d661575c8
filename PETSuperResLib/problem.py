"""The inverse problem of a reconstruction: counts, CT and forward model on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .physics.measurement import Measurement
from .physics.model import ForwardModel, scanner_projector
from .physics.projector import ParallelProjector
from .volume import Volume

UNKNOWN_HU = -2000.0  # of voxels that the CT does not cover


@dataclass(frozen=True)
class Problem:
    """Find z >= 0 with y ~ Poisson(A z + b) (1), given a CT.

    Parameters
    ----------
    grid : the SR grid, of the measurement's slices; its values are not used.
    measurement : counts y, background b, and what A needs.
    ct : ``(K, J, I)`` in HU on the grid, on the CPU; :data:`UNKNOWN_HU` where there is none.
    projector : G on a slice of the grid, on ``device``.
    device : where the models of :meth:`part` compute.
    """

    grid: Volume
    measurement: Measurement
    ct: Tensor
    projector: ParallelProjector
    device: torch.device

    @classmethod
    def make(cls, measurement: Measurement, grid: Volume, ct: Volume, device: torch.device) -> Problem:
        """The problem of a measurement on a grid; ``ct`` (HU) is resampled to it."""
        hu = torch.from_numpy(ct.resample_to(grid, "linear", UNKNOWN_HU).array)
        return cls(grid, measurement, hu, _projector(measurement, grid, device), device)

    def part(self, low: int, high: int) -> tuple[ForwardModel, Tensor, Tensor]:
        """Model, counts ``(S, views, bins)`` and CT ``(S, J, I)`` of the slices ``low`` to ``high`` (exclusive)."""
        j, i = self.grid.shape[1:]
        part = self.measurement.part(low, high)
        model = part.model(self.grid.crop((0, 0, low), (i, j, high)), self.device, self.projector)
        return model, part.counts.to(self.device), self.ct[low:high].to(self.device)

    def on(self, device: torch.device) -> Problem:
        """The same problem, computed elsewhere."""
        return replace(self, projector=_projector(self.measurement, self.grid, device), device=device)


def _projector(measurement: Measurement, grid: Volume, device: torch.device) -> ParallelProjector:
    bins = measurement.counts.shape[2]
    return scanner_projector(measurement.scanner, grid.shape[1:], grid.spacing[0], device, bins)
