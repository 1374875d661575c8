"""Spherical VOIs placed by a click: the centres are a point list, the spheres a model that follows it.

A point's label is the sphere's name, its description the diameter in mm, so that Slicer saves both with the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from PETSuperResLib.lesions.measures import PEAK_RADIUS_MM
from PETSuperResLib.lesions.sphere import ML_MM, Sphere, SphereFigures
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml

COLOUR = (0.20, 0.85, 0.95)
FINE = 48  # edges of a drawn circle


@dataclass(frozen=True)
class Placed:
    """A sphere of the list: its name, centre (RAS mm) and diameter."""

    name: str
    centre: tuple[float, float, float]
    diameter_mm: float


def figures(node: Any, centre: tuple[float, float, float], diameter_mm: float = ML_MM) -> SphereFigures | None:
    """SUVs of a sphere (centre in RAS mm) in a volume node, by the voxels near it; None where it lies outside.

    Raises the library's errors for a volume that cannot be measured.
    """
    x, y, z = centre
    sphere = Sphere((-x, -y, z), diameter_mm)
    voxels = mrml.voxels_of_node(node)
    margin = PEAK_RADIUS_MM + 2 * max(voxels.geometry["spacing"])  # what SUVpeak needs about the sphere
    near = voxels.around(sphere.centre, diameter_mm / 2 + margin)
    return None if near is None else sphere.measure(near.volume())


class SphereList(VTKObservationMixin):
    """The spheres of a point list; ``changed()`` is called when one is placed, moved, renamed or removed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.node: Any = None
        self._model: Any = None
        self._changed, self._diameter = changed, ML_MM
        self._updating = False

    def follow(self, node: Any) -> None:
        """Take another point list; None ends it."""
        if node is self.node:
            return
        self.removeObservers()
        if self._model is not None and self._model.GetScene() is not None:
            self._model.GetScene().RemoveNode(self._model.GetDisplayNode())
            self._model.GetScene().RemoveNode(self._model)
        self.node, self._model = node, None
        if node is not None:
            events = ("PointModifiedEvent", "PointPositionDefinedEvent", "PointRemovedEvent")
            for event in events:
                self.addObserver(node, getattr(slicer.vtkMRMLMarkupsNode, event), self._update)
            self.addObserver(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._update)
            self._update()

    def place(self, diameter_mm: float) -> None:
        """Let the user place a sphere by the next click in a view."""
        self._diameter = diameter_mm
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(self.node)
        logic.StartPlaceMode(False)

    def placed(self) -> list[Placed]:
        """The spheres, in order; one that still follows the mouse to be placed is not among them."""
        return [
            Placed(
                self.node.GetNthControlPointLabel(index),
                tuple(self.node.GetNthControlPointPositionWorld(index)),
                float(self.node.GetNthControlPointDescription(index)),
            )
            for index in self._defined()
        ]

    def rename(self, number: int, name: str) -> None:
        """Name a sphere by its place in :meth:`placed`."""
        self.node.SetNthControlPointLabel(self._defined()[number], name)

    def remove(self, number: int) -> None:
        """Take a sphere out of the list."""
        self.node.RemoveNthControlPoint(self._defined()[number])

    def _defined(self) -> list[int]:
        """Indices of the points that were placed."""
        node = self.node
        count = 0 if node is None else node.GetNumberOfControlPoints()
        return [n for n in range(count) if node.GetNthControlPointPositionStatus(n) == node.PositionDefined]

    def _update(self, *_unused: Any) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for index in self._defined():
                if not self.node.GetNthControlPointDescription(index):  # a new one
                    self.node.SetNthControlPointDescription(index, f"{self._diameter:g}")
            self._draw()
        finally:
            self._updating = False
        self._changed()

    def _draw(self) -> None:
        """The model: the spheres' surfaces, of which slice views show the section as a circle."""
        if self._model is None or self._model.GetScene() is None:
            self._model = new_model(self.node)
        together = vtk.vtkAppendPolyData()
        together.AddInputData(vtk.vtkPolyData())
        for sphere in self.placed():
            source = vtk.vtkSphereSource()
            source.SetCenter(*sphere.centre)
            source.SetRadius(sphere.diameter_mm / 2)
            source.SetPhiResolution(FINE)
            source.SetThetaResolution(FINE)
            together.AddInputConnection(source.GetOutputPort())
        together.Update()
        self._model.SetAndObservePolyData(together.GetOutput())


def new_list(scene: Any) -> Any:
    """An empty point list for spheres."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName("SUV spheres"))
    node.SetControlPointLabelFormat("S%d")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*COLOUR)
    display.SetSelectedColor(*COLOUR)
    display.SetSnapMode(display.SnapModeUnconstrained)  # in 3D views, not on to the sphere itself
    provenance.mark(node)
    return node


def new_model(points: Any) -> Any:
    """The model that shows the spheres of a point list; it is made anew with each scene."""
    node = points.GetScene().AddNewNodeByClass("vtkMRMLModelNode", f"{points.GetName()} (surfaces)")
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(*COLOUR)
    display.SetOpacity(0.3)  # in 3D views
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(2)
    return node
