"""The lesions of a result measured again: what is recovered of segments that were drawn or changed after it was made.

The measurement and the expectation of the result are kept, so that a changed segment takes neither another
reconstruction nor another projection of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .dispersion import with_measured_dispersion
from .errors import InputError
from .grid import axial, crop_to_region
from .lesions.evidence import with_evidence
from .lesions.intervals import with_recovered
from .lesions.measures import MTV, Lesion, measure_lesions
from .lesions.recovery import recover
from .lesions.segments import Segment
from .physics.image_model import ImageMeasurement, image_measurement
from .physics.image_noise import ImageNoise
from .physics.measurement import Measurement
from .problem import Problem
from .resolution import ImageResolution
from .volume import Volume

HALO_MM = 60.0  # axially around segments, beyond which nothing enters what is recovered of them


class Remeasurement:
    """The data of one result, from which the SUVs of its segments are recovered as often as they change.

    Parameters
    ----------
    volume : the result, SUVbw, as it was written.
    measurement : what it was made from: a sinogram, or the PET as an image (:func:`measurement_of`).
    """

    def __init__(self, volume: Volume, measurement: Measurement | ImageMeasurement):
        self.volume, device = axial(volume), torch.device("cpu")
        no_ct = torch.zeros(1).expand(self.volume.shape)  # which the data do not depend on
        projector = measurement.projector(self.volume, device)
        problem = Problem(self.volume, measurement, no_ct, projector, device)
        problem = problem if measurement.kind == "image" else with_measured_dispersion(problem)
        self.data = problem.data(problem.expected(np.ascontiguousarray(self.volume.array, np.float32)))

    def lesions(self, segments: Sequence[Segment], threshold: float | str = MTV) -> list[Lesion]:
        """The SUVs of every segment that the result holds, with what is recovered of it, interval and evidence."""
        return lesions_of_result(self.data, self.volume, segments, threshold)


def remeasured(
    volume: Volume, pet: Volume, report: Mapping[str, Any], segments: Sequence[Segment], threshold: float | str = MTV
) -> list[Lesion]:
    """The same as :meth:`Remeasurement.lesions` gives, once: only the slices that the segments depend on are projected.

    ``pet`` (SUVbw) and ``report`` are those of the result ``volume``; errors as of :func:`measurement_of`.
    """
    measurement, result = measurement_of(pet, report), axial(volume)
    slices = [block[0] for _, block in (segment.weights(result) for segment in segments) if block[0].stop]
    if not slices:
        return []
    halo = math.ceil(HALO_MM / result.spacing[2])
    low, high = max(0, min(s.start for s in slices) - halo), min(len(result.array), max(s.stop for s in slices) + halo)
    return Remeasurement(result.slices(low, high), measurement.part(low, high)).lesions(segments, threshold)


def lesions_of_result(
    data: Any, volume: Volume, segments: Sequence[Segment], threshold: float | str = MTV
) -> list[Lesion]:
    """The SUVs of every segment within a result ``volume`` whose :meth:`~.problem.Problem.data` are given."""
    lesions = measure_lesions(volume, segments, threshold=threshold, skip_outside=True)
    held = {lesion.label for lesion in lesions}
    inside = [segment for segment in segments if segment.label in held]
    lesions = with_recovered(lesions, recover(data, volume, inside), data.measurement.kind)
    return with_evidence(lesions, data, volume.array, inside)


def measurement_of(pet: Volume, report: Mapping[str, Any]) -> ImageMeasurement:
    """The PET (SUVbw) of a result as the image measurement that its report describes.

    Raises :class:`InputError` for a report without it: of a result from a sinogram, or of an earlier version.
    """
    try:
        resolution = ImageResolution.from_dict(report["resolution"])
        noise = ImageNoise.from_dict(report["noise"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "The result's report does not describe the PET's resolution and noise: run the reconstruction again."
        ) from error
    image = axial(pet)
    if report.get("region"):
        image = crop_to_region(image, report["region"])
    image = image.with_array(image.array.clip(0), "SUVbw")
    return image_measurement(image, resolution.fwhm_mm, noise, resolution.hot_part)
