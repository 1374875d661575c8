"""How much of a few templates a measurement holds: amplitudes by maximum likelihood, and what each is worth.

The templates are small parts of an estimate, such as a lesion, and all else is held. So the expected data are linear in
few amplitudes, theta: ``base + sum theta_k A t_k``, and only the bins that the templates reach matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..volume import Volume
from .gaussian import gaussian_matrix
from .image_model import ImageMeasurement
from .likelihood import Fit
from .measurement import Measurement
from .model import Lines
from .psf import GaussianPSF

TOGETHER = 256  # slices of templates that are projected together
REACHED = 1e-3  # of the axial blur's highest weight: slices that a template reaches


@dataclass(frozen=True)
class Template:
    """Activity in SUV: ``values`` ``(s, J, I)`` in the slices from ``first`` on, 0 in all others."""

    first: int
    values: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, block: tuple[slice, slice, slice], shape: tuple[int, ...]) -> Template:
        """A small ``image`` in a ``block`` of a volume of ``shape`` (K, J, I)."""
        values = np.zeros((image.shape[0], *shape[1:]), np.float32)
        values[:, block[1], block[2]] = image
        return cls(block[0].start, values)


@dataclass(frozen=True)
class Projection:
    """The expected data ``(s, views, bins)`` of a template in the slices from ``first`` on, without background."""

    first: int
    values: Tensor

    @property
    def last(self) -> int:
        return self.first + len(self.values)


class Data:
    """A measurement beside its expectation ``(K, views, bins)`` of an estimate on ``grid``.

    ``fwhm_mm``: of the measurement's model, (transaxial, axial).
    """

    def __init__(self, measurement: Measurement | ImageMeasurement, grid: Volume, projector: Lines, expected: Tensor):
        self.measurement, self.grid, self.projector = measurement, grid, projector
        self.counts, self.expected = measurement.counts, expected
        self.fwhm_mm = across, along = measurement.model_fwhm_mm
        self._in_slices = GaussianPSF((1, *grid.shape[1:]), grid.spacing, (across, 0.0), projector.device)
        self._axial = gaussian_matrix(grid.shape[0], grid.spacing[2], along).astype(np.float32)

    def project(self, templates: Sequence[Template]) -> list[Projection]:
        """A t of each template."""
        if len(templates) > 1 and sum(len(t.values) for t in templates) > TOGETHER:
            half = len(templates) // 2
            return [*self.project(templates[:half]), *self.project(templates[half:])]
        blurred = [self._across_slices(template) for template in templates]
        stack = torch.from_numpy(np.concatenate([values for _, values in blurred])).to(self.projector.device)
        lines = self.projector.forward(self._in_slices(stack)).cpu()
        parts = lines.split([len(values) for _, values in blurred])
        found = []
        for (first, _), part in zip(blurred, parts, strict=True):
            found.append(Projection(first, part * self.measurement.part(first, first + len(part)).factors))
        return found

    def fit(self, removed: Projection | None, added: Sequence[Projection], start: Sequence[float]) -> Fit:
        """Amplitudes of what is ``added`` after ``removed`` is taken out of the estimate; ``start``: to begin with."""
        every = [*added, *([removed] if removed else [])]
        first, last = min(p.first for p in every), max(p.last for p in every)
        lines = torch.zeros(len(every), last - first, *self.counts.shape[1:])
        for row, p in zip(lines, every, strict=True):
            row[p.first - first : p.last - first] = p.values
        base = self.expected[first:last] - lines[len(added) :].sum(0)
        tensors = (self.counts[first:last], base, lines[: len(added)])
        counts, held, columns = (x.double().numpy() for x in tensors)
        return self.measurement.part(first, last).fit(counts, held, columns, np.asarray(start, np.float64))

    def _across_slices(self, template: Template) -> tuple[int, np.ndarray]:
        """A template after the axial blur of the model, and its first slice."""
        weights = self._axial[:, template.first : template.first + len(template.values)]
        reached = np.flatnonzero(weights.max(1) > REACHED * weights.max())
        first, last = int(reached[0]), int(reached[-1]) + 1
        return first, np.tensordot(weights[first:last], template.values, 1)
