"""Maximum intensity projection of a PET in the 3D views, black on white as PET readers are used to it."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from PETSuperResSlicer.mrml.changes import Changes
from PETSuperResSlicer.mrml.volumes import display_of

FROM_ANTERIOR = 3  # axis of qMRMLThreeDView.rotateToViewAxis: -X, +X, -Y, +Y, -Z, +Z
WHITE = (1.0, 1.0, 1.0)
GPU = "vtkMRMLGPURayCastVolumeRenderingDisplayNode"  # Slicer's method where none was chosen in the settings


class Mip:
    """The volume rendering of one volume at a time; without Slicer's Volume Rendering module there is none."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._made: dict[Any, tuple[Any, Any]] = {}  # volume: display node and property node of its rendering
        self.volume: Any = None  # the one shown

    def show(self, volume: Any, views: list[Any]) -> None:
        """Project a volume with its window in slices; ``views`` are the 3D view nodes."""
        logic = _logic()
        if logic is None or not views:
            return
        if self.volume is None:
            self._prepare(views)
        if volume not in self._made:
            self._made[volume] = _rendering(volume, logic.GetDefaultRenderingMethod() or GPU)
        self.volume = volume
        self.follow_window()
        for other, (display, _properties) in self._made.items():
            display.SetVisibility(other is volume)

    def follow_window(self) -> None:
        """Take the window that the volume has in slices: white at its lower end, black at its upper end."""
        if self.volume is None:
            return
        shown, properties = display_of(self.volume), self._made[self.volume][1]
        low, high = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
        opacity, colour = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
        opacity.AddPoint(low, 0.0)
        opacity.AddPoint(max(high, low + 1e-6), 1.0)
        colour.AddRGBPoint(low, 0.0, 0.0, 0.0)  # the opacity alone makes the grey, over white
        with slicer.util.NodeModify(properties):
            properties.SetScalarOpacity(opacity)
            properties.SetColor(colour)

    def end(self) -> None:
        """Remove the renderings, and give the 3D views their look back."""
        self._changes.undo()
        for nodes in self._made.values():
            for node in nodes:
                if node.GetScene() is not None:
                    node.GetScene().RemoveNode(node)
        self._made, self.volume = {}, None

    def _prepare(self, views: list[Any]) -> None:
        for display in slicer.util.getNodesByClass("vtkMRMLVolumeRenderingDisplayNode"):
            self._changes.set(display, "Visibility", False)
        for view in views:
            look = {
                "RaycastTechnique": view.MaximumIntensityProjection,
                "RenderMode": view.Orthographic,
                "BackgroundColor": WHITE,
                "BackgroundColor2": WHITE,
                "BoxVisible": False,
                "AxisLabelsVisible": False,
            }
            with slicer.util.NodeModify(view):
                for name, value in look.items():
                    self._changes.set(view, name, value)


def _rendering(volume: Any, method: str) -> tuple[Any, Any]:
    """A rendering of its own beside one that the volume may have, hidden; not the logic's default one, which goes
    through all voxels."""
    scene = volume.GetScene()
    display = scene.AddNewNodeByClass(method)
    properties = scene.AddNewNodeByClass("vtkMRMLVolumePropertyNode")
    for node in (display, properties):
        node.SetSaveWithScene(False)
    display.SetVisibility(False)
    display.SetFollowVolumeDisplayNode(False)
    display.SetAndObserveVolumePropertyNodeID(properties.GetID())
    volume.AddAndObserveDisplayNodeID(display.GetID())
    return display, properties


def look_from_anterior() -> None:
    """Turn the 3D views to the patient's front, the whole in sight; without a main window there is nothing to do."""
    manager = slicer.app.layoutManager()
    for number in range(0 if manager is None else manager.threeDViewCount):
        view = manager.threeDWidget(number).threeDView()
        view.rotateToViewAxis(FROM_ANTERIOR)
        view.resetFocalPoint()
        view.resetCamera()


def _logic() -> Any:
    module = getattr(slicer.modules, "volumerendering", None)
    return None if module is None else module.logic()
