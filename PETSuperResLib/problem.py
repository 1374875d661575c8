"""The inverse problem of a reconstruction: data, CT and forward model on one grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .physics.amplitudes import Data
from .physics.image_model import ImageMeasurement
from .physics.measurement import Measurement
from .physics.model import ForwardModel, Lines
from .volume import Volume

UNKNOWN_HU = -2000.0  # of voxels that the CT does not cover
BLOCK = 64  # slices that are projected together
HALO_FWHM = 2.0  # axial FWHM beyond a block that its expectation depends on: the PSF ends at 4 sigma


@dataclass(frozen=True)
class Problem:
    """Find z >= 0 with y ~ Poisson(A z + b) (1), given a CT.

    Parameters
    ----------
    grid : the SR grid, of the measurement's slices; its values are not used.
    measurement : y, background b, and the geometry of A: a sinogram, or a reconstructed image.
    ct : ``(K, J, I)`` in HU on the grid, on the CPU; :data:`UNKNOWN_HU` where there is none.
    projector : G (or V of an image) on a slice of the grid, on ``device``.
    device : where the models of :meth:`part` compute.
    facts : the count level or the noise, and where they come from, for the report.
    warnings : for the user.
    """

    grid: Volume
    measurement: Measurement | ImageMeasurement
    ct: Tensor
    projector: Lines
    device: torch.device
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, measurement: Measurement | ImageMeasurement, grid: Volume, ct: Volume, device: torch.device
    ) -> Problem:
        """The problem of a measurement on a grid; ``ct`` (HU) is resampled to it. Nothing is checked."""
        hu = torch.from_numpy(ct.resample_to(grid, "linear", UNKNOWN_HU).array)
        return cls(grid, measurement, hu, measurement.projector(grid, device), device)

    def part(self, low: int, high: int) -> tuple[ForwardModel, Tensor, Tensor]:
        """Model, counts ``(S, views, bins)`` and CT ``(S, J, I)`` of the slices ``low`` to ``high`` (exclusive)."""
        part = self.measurement.part(low, high)
        model = part.model(self.grid.slices(low, high), self.device, self.projector)
        return model, part.counts.to(self.device), self.ct[low:high].to(self.device)

    def on(self, device: torch.device) -> Problem:
        """The same problem, computed elsewhere."""
        return replace(self, projector=self.measurement.projector(self.grid, device), device=device)

    def conservation(self, estimate: np.ndarray) -> float:
        """The factor on an estimate ``(K, J, I)`` with which its expected trues are the measured ones."""
        expected = measured = 0.0
        for first in range(0, len(estimate), BLOCK):
            part = self.measurement.part(first, min(first + BLOCK, len(estimate)))
            image = torch.from_numpy(estimate[first : first + BLOCK]).to(self.projector.device)
            lines = self.projector.forward(image).cpu()
            expected += float(part.expected_trues(lines).sum(dtype=torch.float64))
            measured += float(part.trues.sum(dtype=torch.float64))
        return measured / expected if expected > 0 and measured > 0 else 1.0

    def expected(self, estimate: np.ndarray, exact: bool = False) -> Tensor:
        """A z + b, and the excess, of an estimate ``(K, J, I)`` in SUV: counts ``(K, views, bins)``, on the CPU.

        ``exact``: by the best known response, in place of the one by which the samplers work
        (:meth:`.ForwardModel.expected`).
        """
        count, means = len(estimate), []
        halo = math.ceil(HALO_FWHM * self.measurement.model_fwhm_mm[1] / self.grid.spacing[2])
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            low, high = max(0, first - halo), min(count, last + halo)
            model, _, _ = self.part(low, high)
            z = torch.from_numpy(estimate[low:high]).to(self.device)
            mean = model.expected(z) if exact else model.mean(z) + model.excess(z)
            means.append(mean[first - low : last - low].cpu())
        return torch.cat(means)

    def data(self, expected: Tensor) -> Data:
        """The measurement beside what is :meth:`expected` of an estimate, for fits of a few amplitudes."""
        return Data(self.measurement, self.grid, self.projector, expected)

    def data_of(self, estimate: np.ndarray) -> Data:
        """The measurement beside what is exactly expected of an estimate ``(K, J, I)``: to measure its lesions by."""
        return self.data(self.expected(estimate, exact=True))

    def residual(self, expected: Tensor) -> dict[str, float]:
        """How the data's distance from their expectation compares with their noise: about 1 for a good fit."""
        return self.measurement.chi_square(self.measurement.counts, expected)

    def resampled(self, expected: Tensor, seed: int) -> Problem:
        """The same problem with data drawn anew about their expectation (parametric bootstrap, Efron 1979)."""
        return replace(self, measurement=self.measurement.resampled(expected, seed))
