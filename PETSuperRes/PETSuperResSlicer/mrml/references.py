"""The reference regions of a follow-up as markups that a user may move, and their figures in each study's PET."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer

from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.followup import Study, names_of

SIZES_MM = {"liver": 30.0, "blood": 10.0}  # across
COLOURS = {"liver": (0.2, 0.8, 0.9), "blood": (0.95, 0.35, 0.3)}


def place(table: Any, studies: Sequence[Study], found: Sequence[Mapping[str, Any]]) -> None:
    """A point list for every region that was found, of the region's size; one that is there stays where it is.

    ``found``: of each study the regions of a report, with their ``centre`` in LPS mm.
    """
    scene = table.GetScene()
    for number, (study, regions) in enumerate(zip(studies, found, strict=True)):
        for name, about in regions.items():
            if table.GetNodeReference(_role(number, name)) is not None:
                continue
            x, y, z = about["centre"]
            node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{name} {study.name}")
            provenance.mark(node)
            node.AddControlPoint(-x, -y, z)
            node.SetNthControlPointLabel(0, f"{name} {study.name}")
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            display.SetUseGlyphScale(False)
            display.SetGlyphType(display.Sphere3D)
            display.SetGlyphSize(SIZES_MM[name])
            display.SetOpacity(0.5)
            for colour in (display.SetColor, display.SetSelectedColor):
                colour(*COLOURS[name])
            table.SetNodeReferenceID(_role(number, name), node.GetID())
            mrml.place_beside(node, study.pet, scene)


def markups(table: Any, count: int) -> list[dict[str, Any]]:
    """Of each of ``count`` studies the markups by region; one that was deleted is none."""
    found = [{name: table.GetNodeReference(_role(number, name)) for name in SIZES_MM} for number in range(count)]
    return [{name: node for name, node in of.items() if node is not None} for of in found]


def remove(table: Any) -> None:
    """Take the markups of all studies out of the scene."""
    for number, regions in enumerate(markups(table, len(names_of(table)))):
        for name, node in regions.items():
            table.SetNodeReferenceID(_role(number, name), None)
            table.GetScene().RemoveNode(node)


def uptake(table: Any, studies: Sequence[Study]) -> list[dict[str, dict[str, float]]]:
    """Of each study the figures in SUVbw of the regions where their markups are; one outside the PET has none."""
    from PETSuperResLib.followup.references import Reference

    found = []
    for study, regions in zip(studies, markups(table, len(studies)), strict=True):
        pet, figures = mrml.voxels_of_node(study.pet, "SUVbw").volume(), {}
        for name, node in regions.items():
            if node.GetNumberOfControlPoints():
                x, y, z = slicer.util.arrayFromMarkupsControlPoints(node, world=True)[0].tolist()
                measured = Reference(name, (-x, -y, z), "stated").measure(pet)
                figures |= {name: measured} if measured is not None else {}
        found.append(figures)
    return found


def _role(number: int, region: str) -> str:
    return f"PETSuperRes.Study{number + 1}.{region}Region"
