"""What a slice view shows over its picture, drawn without OpenGL: the visible segments and a colour scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtGui
from vtk.util.numpy_support import vtk_to_numpy


def segments(slice_node: Any) -> list[tuple[np.ndarray, Any, bool]]:
    """(mask of the view's pixels, colour, whether it is filled) of every visible segment; row 0 is the top."""
    found = []
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", slice_node.GetScene()):
        display = node.GetDisplayNode()
        if display is None or not display.GetVisibility():
            continue
        segmentation = node.GetSegmentation()
        for index in range(segmentation.GetNumberOfSegments()):
            identifier = segmentation.GetNthSegmentID(index)
            if display.GetSegmentVisibility(identifier):
                mask = _section(segmentation.GetNthSegment(index), slice_node)
                if mask is not None and mask.any():
                    colour = segmentation.GetNthSegment(index).GetColor()
                    found.append((mask, QtGui.QColor.fromRgbF(*colour), bool(display.GetVisibility2DFill())))
    return found


def draw(painter: QtGui.QPainter, slice_node: Any) -> None:
    """Draw the segments, outlined and, unless told not to, filled, over a slice's picture."""
    for mask, colour, filled in segments(slice_node):
        high, wide = mask.shape
        pixels = np.zeros((high, wide, 4), np.uint8)
        pixels[mask] = (colour.red(), colour.green(), colour.blue(), 128 if filled else 0)
        pixels[_edge(mask), 3] = 255
        picture = QtGui.QImage(pixels.data, wide, high, 4 * wide, QtGui.QImage.Format.Format_RGBA8888)
        painter.drawImage(0, 0, picture)


def draw_colour_scale(painter: QtGui.QPainter, volume: Any, slice_node: Any, width: int, height: int) -> None:
    """Draw the colour legend of a volume, if it has one that is visible in the view."""
    legend = None if volume is None else slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if legend is None or not legend.GetVisibility() or not legend.IsDisplayableInView(slice_node.GetID()):
        return
    display, colour, steps = volume.GetDisplayNode(), np.zeros(3), 64
    table, left, top = display.GetColorNode().GetScalarsToColors(), width - 70, height // 4
    low, high = table.GetRange()
    painter.setPen(QtGui.QColor(255, 255, 255))
    painter.drawText(left - 60, top - 8, legend.GetTitleText())
    for step in range(steps):
        table.GetColor(high - (high - low) * step / steps, colour)
        painter.fillRect(
            left, top + step * height // (2 * steps), 14, height // (2 * steps) + 1, QtGui.QColor.fromRgbF(*colour)
        )
    for number in range(legend.GetNumberOfLabels()):
        part = number / (legend.GetNumberOfLabels() - 1)
        value = display.GetLevel() + display.GetWindow() * (0.5 - part)
        painter.drawText(left + 18, top + int(part * height / 2) + 4, f"{value:.1f}")


def _section(segment: Any, slice_node: Any) -> np.ndarray | None:
    """The view's pixels within a segment, cut from the labelmap that it shares with others."""
    image = segment.GetRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    wide, high, _ = slice_node.GetDimensions()
    toVoxels = vtk.vtkMatrix4x4()
    image.GetWorldToImageMatrix(toVoxels)
    vtk.vtkMatrix4x4.Multiply4x4(toVoxels, slice_node.GetXYToRAS(), toVoxels)
    plain = vtk.vtkImageData()
    plain.ShallowCopy(image)
    plain.SetSpacing(1, 1, 1)
    plain.SetOrigin(0, 0, 0)
    plain.SetDirectionMatrix(1, 0, 0, 0, 1, 0, 0, 0, 1)
    transform = vtk.vtkTransform()
    transform.SetMatrix(toVoxels)
    cut = vtk.vtkImageReslice()
    cut.SetInputData(plain)
    cut.SetResliceTransform(transform)
    cut.SetOutputExtent(0, wide - 1, 0, high - 1, 0, 0)
    cut.SetOutputOrigin(0, 0, 0)
    cut.SetOutputSpacing(1, 1, 1)
    cut.SetInterpolationModeToNearestNeighbor()
    cut.Update()
    return (
        vtk_to_numpy(cut.GetOutput().GetPointData().GetScalars()).reshape(high, wide)[::-1] == segment.GetLabelValue()
    )


def _edge(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside
