"""Checks of the panel's inputs before a job: scanner, region, missing choices."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import numpy as np
import slicer

from PETSuperResLib import scanner
from PETSuperResLib.errors import GeometryError, InputError, PETSuperResError
from PETSuperResLib.lesions.segments import region_around
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml.segments import masks_from_node
from PETSuperResSlicer.mrml.volumes import ras_bounds, unit_of_node, voxels_of_node


def dicom_values(node: Any, *tags: str) -> list[str]:
    """Values of DICOM tags (``"0008,0070"``) of a volume loaded from the DICOM database; empty where unknown."""
    path = dicom_file(node)
    if not path:
        return [""] * len(tags)
    return [(slicer.dicomDatabase.fileValue(path, tag) or "").strip() for tag in tags]


def dicom_file(node: Any) -> str:
    """A DICOM file of the volume's series, or an empty string."""
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split() if node is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    path = database.fileForInstance(uids[0]) if uids and database is not None else ""
    return path if path and os.path.isfile(path) else ""


def header_of(node: Any) -> dict[str, Any]:
    """What the DICOM header of a PET says of its scanner and reconstruction (:mod:`PETSuperResLib.vendor_strings`)."""
    path = dicom_file(node)
    if path:
        from PETSuperResLib.dicom.reconstruction import reconstruction_header

        with suppress(PETSuperResError):  # the file was damaged since it was loaded
            return reconstruction_header(path)
    names = {"manufacturer": "Manufacturer", "model": "ManufacturerModelName"}
    found = {} if node is None else {key: node.GetAttribute(f"DICOM.{name}") for key, name in names.items()}
    return {key: value for key, value in found.items() if value}


def guess_preset(node: Any) -> str | None:
    """The preset of the scanner that made a PET, by DICOM or node attributes; None without evidence.

    Read are ``PETSuperRes.preset`` (this module's own volumes), DICOM Manufacturer and model name, and
    node attributes of the same names (``DICOM.Manufacturer``, ``DICOM.ManufacturerModelName``).
    """
    if node is None:
        return None
    own = provenance.preset_of(node)
    if own in scanner.presets():
        return own
    maker, model = dicom_values(node, "0008,0070", "0008,1090")
    attributes = [node.GetAttribute(f"DICOM.{name}") for name in ("Manufacturer", "ManufacturerModelName")]
    return scanner.guess_preset(maker, model) or scanner.guess_preset(*attributes)


def region_of(roi: Any) -> tuple[float, float, float, float, float, float] | None:
    """The box (x0, x1, y0, y1, z0, z1) in LPS mm around a markups ROI; None without one.

    Raises :class:`InputError` for a ROI that was not placed.
    """
    if roi is None:
        return None
    low, high = ras_bounds(roi)
    if (high - low < 1.0).any():
        raise InputError(
            f"Region '{roi.GetName()}' is empty: place the ROI around the part to reconstruct, or clear it."
        )
    (left, back, bottom), (right, front, top) = low.tolist(), high.tolist()
    return -right, -left, -front, -back, bottom, top


def place_region(roi: Any, params: Any) -> None:
    """Put a ROI that is not yet placed around the lesions (margin 20 mm), else around the middle half of the PET.

    Never beyond the PET; without a PET, or for a ROI that has a place, nothing changes.
    """
    if (np.ptp(ras_bounds(roi), axis=0) >= 1.0).all() or params is None or params.pet is None:
        return
    low, high = ras_bounds(params.pet)
    centre, radius = (low + high) / 2, (high - low) / 4
    try:
        boxes = [region_around(mask) for _name, mask in masks_from_node(params.segmentation)]
    except PETSuperResError:  # none is chosen, or nothing is drawn in it
        boxes = []
    if boxes:
        corners = np.array(boxes).reshape(-1, 3, 2)
        around = np.array([corners[..., 0].min(0), corners[..., 1].max(0)])
        around[:, :2] = -around[::-1, :2]  # LPS to RAS
        first, last = np.maximum(around[0], low), np.minimum(around[1], high)
        if (last - first >= 1.0).all():
            centre, radius = (first + last) / 2, (last - first) / 2
    roi.SetXYZ(centre.tolist())
    roi.SetRadiusXYZ(radius.tolist())


def suggest(params: Any, scene: Any) -> None:
    """Choose a PET and a CT where nothing is chosen and the scene holds exactly one that is marked as such."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
    volumes = [v for v in volumes if not provenance.kind_of(v) and not v.IsA("vtkMRMLLabelMapVolumeNode")]
    for name, unit in (("pet", "SUVbw"), ("ct", "HU")):
        found = [v for v in volumes if unit_of_node(v) == unit]
        if getattr(params, name) is None and len(found) == 1:
            setattr(params, name, found[0])
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    if params.segmentation is None and params.result is None and len(segmentations) == 1:
        params.segmentation = segmentations[0]


def obstacle(params: Any, units: Any) -> str:
    """What has to be chosen or changed before a job can start; empty when nothing is known against it.

    ``units`` is what :func:`PETSuperResSlicer.mrml.units.recognise` found for the PET.
    """
    lacking = missing(params.pet, params.ct)
    if lacking:
        return lacking
    try:
        check_nodes(params.pet, params.ct)
    except PETSuperResError as error:
        return str(error)
    if not units.usable:
        return f"{units.refusal(params.pet.GetName())}."
    return "" if params.preset or params.fwhm > 0 else "Choose the scanner that made the PET."


def missing(pet: Any, ct: Any) -> str:
    """Which of PET and CT has to be chosen; empty where both are."""
    wanted = [name for name, node in (("PET", pet), ("CT", ct)) if node is None]
    if wanted:
        return f"Choose the {' and the '.join(wanted)}."
    return f"'{pet.GetName()}' is chosen as PET and as CT: choose the CT of this PET." if pet is ct else ""


def check_nodes(pet: Any, ct: Any) -> None:
    """Refuse, before anything is computed, what cannot belong together; raises the library's errors."""
    lacking = missing(pet, ct)
    if lacking:
        raise InputError(lacking)
    for node in (ct, pet):
        voxels_of_node(node)
    other = _other_than_ct(ct)
    if other:
        raise InputError(f"'{ct.GetName()}' is {other}, not a CT: choose the CT of this PET.")
    for named in (_patient_id, _patient_item):
        patients = [named(node) for node in (pet, ct)]
        if all(patients) and patients[0] != patients[1]:
            raise GeometryError(
                f"'{pet.GetName()}' and '{ct.GetName()}' are of different patients: choose the CT of this PET."
            )


def _other_than_ct(node: Any) -> str:
    """The kind of a volume by its stored units or DICOM modality, if that is not a CT; empty without evidence."""
    if provenance.kind_of(node):
        return "a result of this module"
    modality = dicom_values(node, "0008,0060")[0]
    if unit_of_node(node) in ("SUVbw", "Bq/mL") or modality == "PT":
        return "a PET"
    return f"of DICOM modality {modality}" if modality not in ("", "CT") else ""


def _patient_id(node: Any) -> str:
    return dicom_values(node, "0010,0020")[0]


def _patient_item(node: Any) -> int:
    """The volume's patient in the subject hierarchy; 0 where it is under none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return int(hierarchy.GetItemAncestorAtLevel(item, "Patient")) if item else 0
