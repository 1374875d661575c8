"""What is recovered of a segmentation's lesions in a result of the module, by the PET that the result was made from."""

from __future__ import annotations

from typing import Any

import slicer

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.segments import Segment
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import mask_of_segment


def recovered_lesions(result: Any, segmentation: Any) -> dict[str, Any]:
    """The :class:`~PETSuperResLib.lesions.measures.Lesion` of every drawn segment within the result, by segment's ID.

    Raises :class:`InputError` for a volume that is no result, or whose PET or report is not there.
    """
    from PETSuperResLib.remeasure import remeasured

    pet = _pet_of(result)
    if pet is None:
        raise InputError(
            f"'{result.GetName()}' is no result of this module with its PET in the scene: only of such a one, the "
            "uptake can be recovered."
        )
    names = segmentation.GetSegmentation().GetSegmentIDs()
    masks = {name: mask for name in names if (mask := mask_of_segment(segmentation, name)) is not None}
    segments = [Segment(label, name, mask) for label, (name, mask) in enumerate(masks.items(), 1)]
    volumes = (mrml.voxels_of_node(node, "SUVbw").volume() for node in (result, pet))
    return {lesion.name: lesion for lesion in remeasured(*volumes, provenance.report_of(result), segments)}


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
