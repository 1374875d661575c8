"""Point lists in the slice views: placed by a click in place mode, dragged, drawn with their names; models' sections.

As vtkSlicerMarkupsWidget does it: in place mode the active list has a point of status "preview" under the mouse,
which a click defines; then the mode ends unless it is persistent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui

NEAR_PIXELS, NEAR_MM = 8, 2.0  # of a point in the slice, to be taken by the mouse or drawn


class Pointer:
    """The mouse in one slice view."""

    def __init__(self) -> None:
        self._dragged: tuple[Any, int] | None = None

    def move(self, slice_node: Any, xy: tuple[float, float]) -> None:
        """The mouse is at a pixel (from the lower left): the preview or the dragged point goes along."""
        points = _to_place(slice_node.GetScene())
        if points is not None:
            index = _preview(points)
            if index is None:
                points.AddControlPoint(vtk.vtkVector3d(_ras(slice_node, xy)), "")
                index = points.GetNumberOfControlPoints() - 1
            points.SetNthControlPointPositionWorld(index, _ras(slice_node, xy), points.PositionPreview)
        elif self._dragged is not None:
            points, index = self._dragged
            points.SetNthControlPointPositionWorld(index, _ras(slice_node, xy), points.PositionDefined)

    def press(self, slice_node: Any, xy: tuple[float, float]) -> None:
        """The left button goes down: places a point, or takes the one under the mouse."""
        points = _to_place(slice_node.GetScene())
        if points is None:
            self._dragged = _under(slice_node, xy)
            if self._dragged is not None:
                self._dragged[0].InvokeEvent(self._dragged[0].PointStartInteractionEvent)
            return
        self.move(slice_node, xy)
        points.SetNthControlPointPositionWorld(_preview(points), _ras(slice_node, xy), points.PositionDefined)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if not interaction.GetPlaceModePersistence():
            interaction.SwitchToViewTransformMode()

    def release(self) -> None:
        """The left button goes up."""
        if self._dragged is not None:
            self._dragged[0].InvokeEvent(self._dragged[0].PointEndInteractionEvent)
        self._dragged = None


def draw(painter: QtGui.QPainter, slice_node: Any) -> None:
    """Draw the sections of models, and over them the points near a slice with their names."""
    for model in slicer.util.getNodesByClass("vtkMRMLModelNode", slice_node.GetScene()):
        display = model.GetDisplayNode()
        if display is not None and display.GetVisibility() and display.GetVisibility2D() and model.GetPolyData():
            painter.setPen(
                QtGui.QPen(QtGui.QColor.fromRgbF(*display.GetColor()), display.GetSliceIntersectionThickness())
            )
            for line in _section(model.GetPolyData(), slice_node):
                painter.drawPolyline([QtCore.QPointF(x, y) for x, y in line])
    for points, index, xy, distance in _points(slice_node):
        if distance <= NEAR_MM:
            display = points.GetDisplayNode()
            painter.setPen(QtGui.QColor.fromRgbF(*display.GetSelectedColor()))
            painter.drawLine(QtCore.QPointF(xy[0] - 4, xy[1]), QtCore.QPointF(xy[0] + 4, xy[1]))
            painter.drawLine(QtCore.QPointF(xy[0], xy[1] - 4), QtCore.QPointF(xy[0], xy[1] + 4))
            _draw_name(painter, QtCore.QPointF(xy[0] + 6, xy[1] - 6), points.GetNthControlPointLabel(index), display)


def _draw_name(painter: QtGui.QPainter, place: QtCore.QPointF, name: str, display: Any) -> None:
    """Draw a point's name as its display says: Slicer's own is bold and has a shadow, to be read on any image."""
    style, font, shadow = display.GetTextProperty(), painter.font(), [0.0] * 3
    bold = QtGui.QFont(font)
    bold.setBold(bool(style.GetBold()))
    painter.setFont(bold)
    if style.GetShadow():
        style.GetShadowColor(shadow)
        right, up = style.GetShadowOffset()
        painter.setPen(QtGui.QColor.fromRgbF(*shadow))
        painter.drawText(place + QtCore.QPointF(right, -up), name)
    painter.setPen(QtGui.QColor.fromRgbF(*display.GetSelectedColor()))
    painter.drawText(place, name)
    painter.setFont(font)


def _to_place(scene: Any) -> Any:
    """The list that the next click adds a point to, None outside place mode."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    if interaction.GetCurrentInteractionMode() != interaction.Place:
        return None
    return scene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID() or "")


def _preview(points: Any) -> int | None:
    indices = range(points.GetNumberOfControlPoints())
    return next((n for n in indices if points.GetNthControlPointPositionStatus(n) == points.PositionPreview), None)


def _ras(slice_node: Any, xy: tuple[float, float]) -> list[float]:
    return list(slice_node.GetXYToRAS().MultiplyPoint((*xy, 0.0, 1.0))[:3])


def _to_pixels(slice_node: Any) -> np.ndarray:
    """4 x 4 matrix from RAS to pixels from the upper left; the third coordinate is mm from the slice."""
    matrix, sizes = slicer.util.arrayFromVTKMatrix(slice_node.GetXYToRAS()), slice_node.GetDimensions()
    scaled = matrix @ np.diag([1, 1, 1 / max(np.linalg.norm(matrix[:3, 2]), 1e-9), 1])
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = sizes[1] - 1
    return flip @ np.linalg.inv(scaled)


def _points(slice_node: Any) -> list[tuple[Any, int, np.ndarray, float]]:
    """(list, index, pixel, mm from the slice) of every defined point of a visible list."""
    matrix, found = _to_pixels(slice_node), []
    for points in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode", slice_node.GetScene()):
        display = points.GetDisplayNode()
        for index in range(points.GetNumberOfControlPoints() if display and display.GetVisibility() else 0):
            if points.GetNthControlPointPositionStatus(index) == points.PositionDefined:
                place = matrix @ [*points.GetNthControlPointPositionWorld(index), 1.0]
                found.append((points, index, place[:2], abs(float(place[2]))))
    return found


def _under(slice_node: Any, xy: tuple[float, float]) -> tuple[Any, int] | None:
    mouse = np.array([xy[0], slice_node.GetDimensions()[1] - 1 - xy[1]])
    for points, index, place, distance in _points(slice_node):
        if distance <= NEAR_MM and np.linalg.norm(place - mouse) <= NEAR_PIXELS:
            return points, index
    return None


def _section(surface: Any, slice_node: Any) -> list[np.ndarray]:
    """Lines (n, 2) in pixels where a surface meets the slice."""
    matrix = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    plane, cutter, strips = vtk.vtkPlane(), vtk.vtkCutter(), vtk.vtkStripper()
    plane.SetOrigin(*matrix[:3, 3])
    plane.SetNormal(*matrix[:3, 2])
    cutter.SetInputData(surface)
    cutter.SetCutFunction(plane)
    strips.SetInputConnection(cutter.GetOutputPort())
    strips.Update()
    output, to_pixels, lines = strips.GetOutput(), _to_pixels(slice_node), []
    for number in range(output.GetNumberOfLines()):
        ids = output.GetCell(number).GetPointIds()
        corners = [[*output.GetPoint(ids.GetId(n)), 1.0] for n in range(ids.GetNumberOfIds())]
        lines.append((np.array(corners) @ to_pixels.T)[:, :2])
    return lines
