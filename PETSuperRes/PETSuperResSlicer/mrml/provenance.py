"""The attributes ``PETSuperRes.*`` of the module's nodes, written and read here only.

Attributes: ``kind`` (of every volume that the module derived from a PET), ``note``, ``preset``, the settings and the
names of the inputs, ``sourceInstanceUIDs``, ``suv`` and ``report.*`` (JSON). Node references: a result's inputs, and
what belongs to it.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import slicer

from PETSuperResLib.errors import InputError

RESEARCH_USE = "For research use only; not for diagnosis."
SUPER_RESOLVED, DIFFERENCE_IMAGE, DEVIATION_IMAGE = "super-resolved PET", "difference", "standard deviation"  # kinds
PET, CT, SPREAD, DIFFERENCE, LESIONS = (  # roles of node references of a result
    f"PETSuperRes.{role}" for role in ("PET", "CT", "StandardDeviation", "Difference", "Lesions")
)


class Map(NamedTuple):
    """A volume beside a result: its role as a node reference, its kind, and its title in the panel."""

    role: str
    kind: str
    title: str


MAPS = {  # by their names in a result of the library
    "std": Map(SPREAD, DEVIATION_IMAGE, "Spread of the samples (SUV)"),
    "evidence": Map("PETSuperRes.Evidence", "evidence in sigma", "Evidence (sigma)"),
    "residual": Map("PETSuperRes.Residual", "residual in sigma", "Residual (sigma)"),
    "ct_effect": Map("PETSuperRes.CTEffect", "effect of the CT", "Effect of the CT (SUV)"),
}
REPORT = "PETSuperRes.report."
KIND, PET_VOXELS = "PETSuperRes.kind", "PETSuperRes.PETvoxels"


def mark(node: Any, kind: str = "") -> None:
    """Note that a node is for research, and what kind of image it is if it is one that the module made."""
    node.SetAttribute("PETSuperRes.note", RESEARCH_USE)
    if kind:
        node.SetAttribute(KIND, kind)


def kind_of(node: Any) -> str:
    """The kind of a node made by the module (``super-resolved PET``, ``difference``, ...); empty for any other node."""
    return node.GetAttribute(KIND) or ""


def record(node: Any, pet: Any, ct: Any, settings: dict[str, Any], report: dict[str, Any]) -> None:
    """Write how a volume of the scene was made: the inputs' names and DICOM instances, the settings and the report.

    Inputs that are still in the node's scene are referred to as well.
    """
    for key, value in {**settings, "PET": pet.GetName(), "CT": ct.GetName()}.items():
        node.SetAttribute(f"PETSuperRes.{key}", str(value))
    for key, value in report.items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        node.SetAttribute(f"{REPORT}{key}", text)
    uids = pet.GetAttribute("DICOM.instanceUIDs")
    if uids:
        node.SetAttribute("PETSuperRes.sourceInstanceUIDs", uids)
    for role, source in ((PET, pet), (CT, ct)):
        if source.GetScene() is not None and source.GetScene() is node.GetScene():  # not deleted meanwhile
            node.SetNodeReferenceID(role, source.GetID())


def report_of(node: Any) -> dict[str, Any]:
    """The report of a result, as it was written."""
    report = {}
    for name in node.GetAttributeNames() or ():
        if name.startswith(REPORT):
            text = node.GetAttribute(name)
            try:
                report[name[len(REPORT) :]] = json.loads(text)
            except ValueError:
                report[name[len(REPORT) :]] = text
    return report


def source_files(node: Any) -> list[str]:
    """The DICOM files of the PET series that a result was made from; :class:`InputError` where they are not known."""
    uids = (node.GetAttribute("PETSuperRes.sourceInstanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not files or not all(files):
        raise InputError(
            "The DICOM series of the PET is not in Slicer's DICOM database: import it and load the PET from "
            "there, or name the series' folder."
        )
    return files


def set_preset(node: Any, name: str) -> None:
    """Write the scanner of a PET or result."""
    node.SetAttribute("PETSuperRes.preset", name)


def preset_of(node: Any) -> str:
    """The scanner that the module wrote into a node, or an empty string."""
    return node.GetAttribute("PETSuperRes.preset") or ""


def set_suv_evidence(node: Any, evidence: dict[str, Any]) -> None:
    """Write by which evidence a volume was converted to SUV."""
    node.SetAttribute("PETSuperRes.suv", json.dumps(evidence, default=str))


def suv_evidence(node: Any) -> dict[str, Any]:
    """By which evidence a volume was converted to SUV; empty for one that was not converted."""
    return dict(json.loads(node.GetAttribute("PETSuperRes.suv") or "{}"))


def set_voxels_of_pet(node: Any, checksum: str) -> None:
    """Write the checksum of the PET's voxels that a result was made from."""
    node.SetAttribute(PET_VOXELS, checksum)


def voxels_of_pet(node: Any) -> str:
    """The checksum of the PET's voxels that a result was made from; empty where it is not known."""
    return node.GetAttribute(PET_VOXELS) or ""


def inputs_of(result: Any) -> tuple[Any, Any]:
    """(PET, CT) of a result; None where one was deleted."""
    return result.GetNodeReference(PET), result.GetNodeReference(CT)


def data_of(result: Any, sinogram: Any = None) -> dict[str, Any]:
    """What the lesions of a result are recovered from: ``pet``, the node, or ``measurement``, a sinogram or its file.

    ``sinogram`` is the one that it was made from, where it is at hand. Raises :class:`InputError` where nothing is.
    """
    report, pet = report_of(result), inputs_of(result)[0]
    if report.get("measurement") == "sinogram":
        sinogram = sinogram or (report.get("files") or {}).get("measurement")
        if sinogram is None:
            raise InputError("The sinogram of this result is not at hand: run it again to recover uptake from it.")
        return {"measurement": sinogram}
    if pet is None or "noise" not in report or "resolution" not in report:
        raise InputError("This result does not say how its PET was modelled: run it again to recover uptake from it.")
    return {"pet": pet}


def scanner_name(result: Any) -> str:
    """The scanner in the report of a result, or an empty string."""
    return str((report_of(result).get("scanner") or {}).get("name", ""))
