"""What is recovered of lesions in a result of the module, in this process, from the data that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.measures import MTV, Lesion
from PETSuperResLib.lesions.segments import Segment
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import mask_of_segment


def recovered(result: Any, data: dict[str, Any], segments: Sequence[Segment], threshold: float | str) -> list[Lesion]:
    """The lesions that a result holds, with what is recovered of them from its ``data`` (:func:`.provenance.data_of`).

    Raises the library's errors.
    """
    from PETSuperResLib import remeasure
    from PETSuperResLib.physics.measurement import Measurement

    volume = mrml.voxels_of_node(result, "SUVbw").volume()
    if "pet" in data:
        pet = mrml.voxels_of_node(data["pet"], "SUVbw").volume()
        return remeasure.remeasured(volume, pet, provenance.report_of(result), segments, threshold)
    sinogram = data["measurement"]
    sinogram = sinogram if isinstance(sinogram, Measurement) else Measurement.read(sinogram)
    return remeasure.Remeasurement(volume, sinogram).lesions(segments, threshold)


def recovered_lesions(result: Any, segmentation: Any) -> dict[str, Any]:
    """The :class:`~PETSuperResLib.lesions.measures.Lesion` of every drawn segment within the result, by segment's ID.

    Raises :class:`InputError` for a volume that is no result, or whose PET or report is not there.
    """
    pet = _pet_of(result)
    if pet is None:
        raise InputError(
            f"'{result.GetName()}' is no result of this module with its PET in the scene: only of such a one, the "
            "uptake can be recovered."
        )
    names = segmentation.GetSegmentation().GetSegmentIDs()
    masks = {name: mask for name in names if (mask := mask_of_segment(segmentation, name)) is not None}
    segments = [Segment(label, name, mask) for label, (name, mask) in enumerate(masks.items(), 1)]
    return {lesion.name: lesion for lesion in recovered(result, {"pet": pet}, segments, MTV)}


def state_of(result: Any, segmentation: Any) -> tuple[Any, ...]:
    """What changes when the images or the segments do."""
    labelmap = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segments = segmentation.GetSegmentation()
    drawn = [segments.GetSegment(name).GetRepresentation(labelmap) for name in segments.GetSegmentIDs()]
    images = [node.GetImageData() for node in (result, _pet_of(result)) if node is not None]
    seen = [None if image is None else image.GetMTime() for image in (*images, *drawn)]
    return (result.GetID(), segmentation.GetID(), *segments.GetSegmentIDs(), *seen)


def _pet_of(result: Any) -> Any:
    return provenance.inputs_of(result)[0] if provenance.kind_of(result) == provenance.SUPER_RESOLVED else None
