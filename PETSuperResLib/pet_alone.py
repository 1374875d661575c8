"""What is recovered of the lesions of a PET that has no result: the PET, as an image, is the measurement.

The rest of the image is estimated about the segments by maximum likelihood, without a prior: EM updates of the
measurement's model (Richardson-Lucy) from the PET itself, stopped early. No CT is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .grid import axial, image_grid
from .image_resolution import ImageResolution
from .inputs import noise_of_pet, pet_measurement
from .lesions.intervals import PET_ALONE, Conditions
from .lesions.measures import MTV, Lesion, measure_lesions
from .lesions.recovery import Recovered, recover
from .lesions.segments import Segment, region_around
from .physics.amplitudes import Data
from .physics.image_noise import ImageNoise
from .physics.model import osem
from .problem import Problem
from .remeasure import neighbourhoods, supported
from .volume import Volume

UPDATES = 10
PIXEL_MM = 2.0  # of the estimate, but never coarser than the PET's
MARGIN_MM = 44.0  # around segments: what they depend on, and the EM updates' edge
LEAST_SUV = 1e-3  # of the estimate to begin with, as EM keeps zeros


@dataclass(frozen=True)
class Part:
    """A neighbourhood of segments in a PET: the ``data`` there beside an ``estimate`` (SUVbw) of the image."""

    segments: list[Segment]
    estimate: Volume
    data: Data

    @property
    def conditions(self) -> Conditions:
        """Of the intervals."""
        return Conditions.of(self.data, PET_ALONE)

    def recovered(self) -> list[Recovered]:
        """The recovered SUVs of every segment."""
        return recover(self.data, self.estimate, self.segments)


def lesions_of_pet(
    pet: Volume,
    segments: Sequence[Segment],
    resolution: ImageResolution,
    noise: ImageNoise | None = None,
    threshold: float | str = MTV,
) -> list[Lesion]:
    """The SUVs of every segment that a PET (SUVbw) holds, with what is recovered of it, interval and evidence.

    ``resolution`` is that of :func:`~.inputs.resolution_of_pet`, ``noise`` that of :func:`~.inputs.noise_of_pet`; None
    measures it. The labels of the segments must differ.
    """
    lesions = measure_lesions(pet, segments, threshold=threshold, skip_outside=True)
    return with_recovered_of_pet(lesions, pet, segments, resolution, noise)


def with_recovered_of_pet(
    lesions: Sequence[Lesion],
    pet: Volume,
    segments: Sequence[Segment],
    resolution: ImageResolution,
    noise: ImageNoise | None = None,
) -> list[Lesion]:
    """Lesions measured in a PET with what :func:`lesions_of_pet` adds."""
    known = {lesion.label: lesion for lesion in lesions}
    inside = [segment for segment in segments if segment.label in known]
    for part in parts(pet, inside, resolution, noise):
        own = [known[segment.label] for segment in part.segments]
        found = supported(own, part.data, part.estimate, part.segments, part.conditions)
        known |= {lesion.label: lesion for lesion in found}
    return list(known.values())


def parts(
    pet: Volume, segments: Sequence[Segment], resolution: ImageResolution, noise: ImageNoise | None = None
) -> Iterator[Part]:
    """The neighbourhoods of segments that a PET holds; ``noise`` as in :func:`lesions_of_pet`."""
    pet = axial(pet)
    known = noise or noise_of_pet(pet, resolution)[0]
    for group in neighbourhoods(segments, max(pet.spacing)):
        measurement = pet_measurement(pet, region_around(group, 0.0), resolution, known, MARGIN_MM)
        grid = image_grid(measurement.image, min(PIXEL_MM, *pet.spacing[:2]))
        no_ct = torch.zeros(1).expand(grid.shape)  # which the data do not depend on
        device = torch.device("cpu")
        problem = Problem(grid, measurement, no_ct, measurement.projector(grid, device), device)
        model, counts, _ = problem.part(0, grid.shape[0])
        start = torch.from_numpy(measurement.image.resample_to(grid, "linear").array).clamp_min(LEAST_SUV)
        estimate = osem(model, counts, UPDATES, start=start).numpy()
        yield Part(group, grid.with_array(estimate, "SUVbw"), problem.data_of(estimate))
