"""The lesions of a result measured again: what is recovered of segments that were drawn or changed after it was made.

The measurement and the expectation of the result are kept, so that a changed segment takes neither another
reconstruction nor another projection of the whole image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .dispersion import with_measured_dispersion
from .errors import InputError
from .grid import axial
from .image_resolution import ImageResolution
from .inputs import pet_measurement
from .lesions.doubts import with_doubts, with_share
from .lesions.evidence import with_evidence
from .lesions.intervals import Conditions, with_recovered
from .lesions.measures import MTV, Lesion, measure_lesions
from .lesions.recovery import REACH_MM, groups_of_boxes, recover
from .lesions.segments import Segment
from .physics.amplitudes import Data
from .physics.image_model import ImageMeasurement
from .physics.image_noise import ImageNoise
from .physics.measurement import Measurement
from .problem import Problem
from .progress import Reporter
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
        self.data = problem.data_of(np.ascontiguousarray(self.volume.array, np.float32))
        self._known: dict[tuple[str, ...], list[Lesion]] = {}  # by the masks of a neighbourhood

    def lesions(self, segments: Sequence[Segment], threshold: float | str = MTV) -> list[Lesion]:
        """The SUVs of every segment that the result holds, with what is recovered of it, interval and evidence.

        Only neighbourhoods in which a segment has changed since the last call are fitted again.
        """
        known, found = self._known, {}
        self._known = {}
        for group in neighbourhoods(segments, max(self.volume.spacing)):
            key = (str(threshold), *map(_digest, group))
            if key not in known:
                numbered = [replace(segment, label=number) for number, segment in enumerate(group)]
                known[key] = lesions_of_result(self.data, self.volume, numbered, threshold)
            self._known[key] = known[key]
            for lesion in known[key]:
                segment = group[lesion.label]
                found[segment.label] = replace(lesion, label=segment.label, name=segment.name)
        return [found[segment.label] for segment in segments if segment.label in found]


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
    data: Data,
    volume: Volume,
    segments: Sequence[Segment],
    threshold: float | str = MTV,
    report: Reporter | None = None,
) -> list[Lesion]:
    """The SUVs of every segment within a result ``volume`` whose ``data`` are given, with what supports them.

    Of a lesion smaller than the resolution no SUVmax is recovered (:func:`~.lesions.doubts.with_doubts`), and of one
    that the volume holds in part no TLG.
    """
    lesions = measure_lesions(volume, segments, threshold=threshold, skip_outside=True)
    held = {lesion.label for lesion in lesions}
    inside = [segment for segment in segments if segment.label in held]
    found = supported(lesions, data, volume, inside, Conditions.of(data), report)
    return [with_share(lesion, segment.share_within(volume)) for lesion, segment in zip(found, inside, strict=True)]


def supported(
    lesions: Sequence[Lesion],
    data: Data,
    image: Volume,
    segments: Sequence[Segment],
    conditions: Conditions,
    report: Reporter | None = None,
) -> list[Lesion]:
    """Lesions with what is recovered of their segments, intervals, evidence and doubts; ``data`` are the image's."""
    lesions = with_recovered(lesions, recover(data, image, segments, report), conditions)
    lesions = with_evidence(lesions, data, image.array, segments)
    return [with_doubts(lesion, data.measurement.fwhm_mm[0]) for lesion in lesions]


def neighbourhoods(segments: Sequence[Segment], voxel_mm: float) -> list[list[Segment]]:
    """Segments in groups whose boxes lie so close that one may matter for what is recovered of another."""
    if not segments:
        return []
    corners = np.stack([segment.mask.corners() for segment in segments])
    low, high = corners.min(1), corners.max(1)
    return [[segments[n] for n in group] for group in groups_of_boxes(low, high, 2 * (REACH_MM + voxel_mm))]


def _digest(segment: Segment) -> str:
    """What tells a mask from another one."""
    mask = segment.mask
    digest = hashlib.sha256(mask.array.tobytes())
    digest.update(repr((mask.shape, mask.spacing, mask.origin, mask.direction)).encode())
    return digest.hexdigest()


def measurement_of(pet: Volume, report: Mapping[str, Any]) -> ImageMeasurement:
    """The PET (SUVbw) of a result as the image measurement that its report describes.

    Raises :class:`InputError` for a report without it: of a result from a sinogram, or of an earlier version.
    """
    if report.get("measurement") == "sinogram":
        raise InputError(
            "The result was made from a sinogram, which is not kept with it: run the reconstruction again, with the "
            "segmentation."
        )
    try:
        resolution = ImageResolution.from_dict(report["resolution"])
        noise = ImageNoise.from_dict(report["noise"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "The result's report does not describe the PET's resolution and noise: run the reconstruction again."
        ) from error
    return pet_measurement(axial(pet), report.get("region"), resolution, noise)
