"""What is recovered of lesions in this process: with a result of the module from its data, or from a PET alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import slicer

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.measures import INPUT, MTV, Lesion, lesion_rows
from PETSuperResLib.lesions.segments import Segment
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.columns import fill_columns
from PETSuperResSlicer.mrml.inputs import guess_preset, header_of
from PETSuperResSlicer.mrml.segments import mask_of_segment, masks_from_node


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


def recovered_lesions(
    volume: Any, segmentation: Any, stated: Mapping[str, Any] | None = None
) -> tuple[dict[str, Lesion], str]:
    """Every drawn segment within a result or a PET, by segment's ID, with what is recovered; and from what, in words.

    ``stated`` is what is known of a PET besides its header: the arguments of
    :func:`PETSuperResLib.inputs.resolution_of_pet`, and ``noise``. Raises :class:`InputError` where nothing can be
    recovered: another volume, a result whose PET or report is not there, or a PET of unknown resolution.
    """
    names = segmentation.GetSegmentation().GetSegmentIDs()
    masks = {name: mask for name in names if (mask := mask_of_segment(segmentation, name)) is not None}
    segments = [Segment(label, name, mask) for label, (name, mask) in enumerate(masks.items(), 1)]
    kind = provenance.kind_of(volume)
    if not kind:
        lesions, told = lesions_of_pet(volume, segments, stated or {})
    elif kind == provenance.SUPER_RESOLVED:
        pet = _pet_of(volume)
        if pet is None:
            raise InputError(f"The PET that '{volume.GetName()}' was made from is not in the scene: load it.")
        mrml.require_unchanged(volume, pet)
        lesions, told = recovered(volume, {"pet": pet}, segments, MTV), f"'{pet.GetName()}' and its result"
    else:
        raise InputError(f"'{volume.GetName()}' ({kind}) is no PET: choose the PET or its result.")
    return {lesion.name: lesion for lesion in lesions}, told


def table_of_pet(pet: Any, segmentation: Any, threshold: float | str, stated: Mapping[str, Any]) -> Any:
    """A new table beside a PET, of the lesions of :func:`lesions_of_pet`, with the columns that have a value."""
    segments = [Segment(n, name, mask) for n, (name, mask) in enumerate(masks_from_node(segmentation), 1)]
    lesions, _told = lesions_of_pet(pet, segments, stated, threshold)
    scene = pet.GetScene() or slicer.mrmlScene
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{pet.GetName()} lesions"))
    provenance.mark(table)
    fill_columns(table, lesion_rows(lesions, method=INPUT))
    mrml.place_beside(table, pet, scene)
    return table


def lesions_of_pet(
    node: Any, segments: Sequence[Segment], stated: Mapping[str, Any], threshold: float | str = MTV
) -> tuple[list[Lesion], str]:
    """The lesions of a PET with what is recovered from it alone, and its resolution in words.

    ``stated`` as in :func:`recovered_lesions`.
    """
    from PETSuperResLib import pet_alone
    from PETSuperResLib.inputs import noise_of_pet, resolution_of_pet

    pet = mrml.voxels_of_node(node, "SUVbw").volume()
    pet = replace(pet, metadata={**header_of(node), **pet.metadata})
    known = {"scanner": guess_preset(node), **stated}
    noise = known.pop("noise", None)
    try:
        _scanner, resolution = resolution_of_pet(pet, **known)
    except InputError as error:
        raise InputError(f"{error} Choose this PET in the module PET Super-Resolution and say it there.") from error
    taken, of_noise = noise_of_pet(pet, resolution, noise)
    told = " ".join([f"the PET alone, {resolution.words()}.", *resolution.warnings, *of_noise])
    return pet_alone.lesions_of_pet(pet, segments, resolution, taken, threshold), told


def state_of(volume: Any, segmentation: Any, stated: Mapping[str, Any]) -> tuple[Any, ...]:
    """What changes when the images, the segments or what is stated of the PET do."""
    labelmap = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segments = segmentation.GetSegmentation()
    drawn = [segments.GetSegment(name).GetRepresentation(labelmap) for name in segments.GetSegmentIDs()]
    images = [node.GetImageData() for node in (volume, _pet_of(volume)) if node is not None]
    seen = [None if image is None else image.GetMTime() for image in (*images, *drawn)]
    return (volume.GetID(), segmentation.GetID(), repr(stated), *segments.GetSegmentIDs(), *seen)


def _pet_of(result: Any) -> Any:
    return provenance.inputs_of(result)[0] if provenance.kind_of(result) == provenance.SUPER_RESOLVED else None
