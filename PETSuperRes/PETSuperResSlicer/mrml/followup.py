"""Studies of a patient over time in the scene: one table node holds which they are, and what their comparison gave.

Node references of the table, by role: of each study its PET, CT, segmentation and result, where it has them.
Attributes: ``PETSuperRes.studies`` (their names) and ``PETSuperRes.followUp`` (the comparison's report), both JSON.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.measures import MTV
from PETSuperResLib.vendor_strings import TRACER
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.columns import fill_columns
from PETSuperResSlicer.mrml.inputs import dicom_values, header_of
from PETSuperResSlicer.mrml.segments import mask_steps
from PETSuperResSlicer.mrml.units import require_suv

TITLE = "Follow-up"
STUDIES, REPORT = "PETSuperRes.studies", "PETSuperRes.followUp"
CTS = ("PETSuperRes.FirstCT", "PETSuperRes.LaterCT")  # roles of the registered CTs
GREEN, MAGENTA = (f"vtkMRMLColorTableNode{colour}" for colour in ("Green", "Magenta"))
CT_WINDOW = (500.0, 50.0)  # HU: window and level
HEADER = {  # what a PET's header says, by its DICOM tag
    "patient": "0010,0020",
    "acquisition_first": "0008,0022",
    "series_date": "0008,0021",
    "series_uid": "0020,000e",
    "sex": "0010,0040",
    "weight_kg": "0010,1030",
    "height_m": "0010,1020",
}


@dataclass(frozen=True)
class Study:
    """The nodes of one study; without a segmentation no lesion is left in it."""

    name: str
    pet: Any
    segmentation: Any = None
    ct: Any = None
    result: Any = None


NODES = tuple(field.name for field in fields(Study))[1:]


def study_of(volume: Any, segmentation: Any = None, ct: Any = None, name: str = "") -> Study:
    """The study of a PET in SUV, or of a result, whose PET and CT are those that it was made from.

    Raises :class:`InputError` for another volume, and where a result's PET was deleted.
    """
    if volume is None:
        raise InputError("No PET is selected: choose a PET in SUV, or a result.")
    result, pet = None, volume
    if kind := provenance.kind_of(volume):
        if kind != provenance.SUPER_RESOLVED:
            raise InputError(f"'{volume.GetName()}' is a volume of the kind {kind}: choose a PET in SUV, or a result.")
        result, (pet, own) = volume, provenance.inputs_of(volume)
        ct = own or ct
        if pet is None:
            raise InputError(f"The PET of '{result.GetName()}' is no longer in the scene: load it again.")
    require_suv(pet)
    return Study(name or pet.GetName(), pet, segmentation, ct, result)


def new_table(scene: Any) -> Any:
    """A table node without studies."""
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(TITLE))
    provenance.mark(table)
    return table


def studies_of(table: Any) -> list[Study]:
    """The studies of a table; one whose PET was deleted is left out."""
    names = enumerate(names_of(table))
    found = [Study(name, *(table.GetNodeReference(_role(n, of)) for of in NODES)) for n, name in names]
    return [study for study in found if study.pet is not None]


def names_of(table: Any) -> list[str]:
    """The names of the studies of a table, also of those whose PET was deleted."""
    found: list[str] = json.loads((None if table is None else table.GetAttribute(STUDIES)) or "[]")
    return found


def compared_studies(table: Any, report: dict[str, Any]) -> list[Study]:
    """The studies of a comparison's report. Raises :class:`InputError` where the PET of one was deleted."""
    studies = studies_of(table)
    if len(studies) < len(report["visits"]):
        raise InputError("The PET of a study was deleted: load it again, add it, and compare again.")
    return studies


def set_studies(table: Any, studies: Sequence[Study]) -> None:
    """Write which studies are compared; what an earlier comparison gave is removed."""
    clear(table)
    for number in range(max(len(studies), len(names_of(table)))):
        for of in NODES:
            node = getattr(studies[number], of) if number < len(studies) else None
            table.SetNodeReferenceID(_role(number, of), None if node is None else node.GetID())
    table.SetAttribute(STUDIES, json.dumps([study.name for study in studies]))


def clear(table: Any) -> None:
    """Remove what a comparison has made."""
    for role in CTS:
        for number in reversed(range(table.GetNumberOfNodeReferences(role))):
            mrml.remove_volume(table.GetNthNodeReference(role, number))
        table.RemoveNodeReferenceIDs(role)
    table.RemoveAttribute(REPORT)
    table.RemoveAllColumns()


def _role(number: int, of: str) -> str:
    return f"PETSuperRes.Study{number + 1}.{of}"


def job_steps(
    studies: Sequence[Study], threshold: float | str = MTV, pairs: Sequence[int] = ()
) -> Generator[None, None, dict[str, Any]]:
    """The worker's job for studies, as a generator that stops after each segment.

    ``pairs``: the lesion of every segment, in the order of a report's ``links``. Raises :class:`InputError` for a CT at
    some of the studies only, and the errors of nodes that cannot be read.
    """
    if len(studies) < 2:
        raise InputError("A comparison needs two or more studies: add each with its PET and lesions.")
    with_ct = [study for study in studies if study.ct is not None]
    if with_ct and len(with_ct) < len(studies):
        lacking = next(study.name for study in studies if study.ct is None)
        raise InputError(f"Study '{lacking}' has no CT, others have one: give one for each, or for none.")
    about, masks = [], []
    for study in studies:
        drawn = [] if study.segmentation is None else (yield from mask_steps(study.segmentation))
        masks += [mask for _name, mask in drawn]
        report = {} if study.result is None else {"report": provenance.report_of(study.result)}
        header = {**_header(study.pet), "file": study.pet.GetName()}
        about.append({"name": study.name, "about": header, "masks": [name for name, _mask in drawn], **report})
    return {
        "type": "followup",
        "studies": about,
        "pets": [mrml.voxels_of_node(study.pet, "SUVbw") for study in studies],
        "cts": [mrml.voxels_of_node(study.ct, "HU") for study in with_ct],
        "results": [mrml.voxels_of_node(study.result, "SUVbw") for study in studies if study.result is not None],
        "masks": masks,
        "pairs": list(pairs),
        "threshold": threshold,
    }


def _header(pet: Any) -> dict[str, Any]:
    """What is known of a PET by its DICOM header, the tracer with it, and of its SUVs by their evidence."""
    values: dict[str, Any] = dict(zip(HEADER, dicom_values(pet, *HEADER.values()), strict=True))
    for name in ("weight_kg", "height_m"):
        text, values[name] = values[name], None
        with suppress(ValueError):
            values[name] = float(text) or None
    return values | {TRACER: header_of(pet).get(TRACER, ""), "suv": provenance.suv_evidence(pet)}


def take(table: Any, volumes: dict[str, Any], report: dict[str, Any]) -> Any:
    """Put the outcome of a comparison into the table, with the registered CTs as volumes beside it; returns it.

    Raises :class:`InputError` where the PET of a study was deleted meanwhile.
    """
    studies, scene = compared_studies(table, report), table.GetScene()
    clear(table)
    table.SetAttribute(REPORT, json.dumps(report))
    names = {"first": studies[0].name} | {f"later{n}": s.name for n, s in enumerate(studies[1:], 2)}
    for key, name in names.items():
        if key in volumes:
            kind, title = ("first CT", name) if key == "first" else ("registered CT", f"{name} on {studies[0].name}")
            node = mrml.add_derived(volumes[key], f"{title} CT", kind, studies[0].pet, scene, CT_WINDOW)
            node.GetDisplayNode().SetAndObserveColorNodeID(MAGENTA if key == "first" else GREEN)
            table.AddNodeReferenceID(CTS[key != "first"], node.GetID())
    fill_columns(table, report["rows"])
    mrml.place_beside(table, studies[0].pet, scene)
    return table


def report_of(table: Any) -> dict[str, Any]:
    """The report of the comparison; empty before there is one."""
    found: dict[str, Any] = json.loads((None if table is None else table.GetAttribute(REPORT)) or "{}")
    return found
