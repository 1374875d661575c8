"""Outlines of the visible segmentations and the crosshair of a slice, drawn without OpenGL."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtGui
from vtk.util.numpy_support import vtk_to_numpy


def outlines(slice_node: Any) -> list[tuple[np.ndarray, QtGui.QColor]]:
    """(edge mask of the view's pixels, colour) of every visible segment in a slice; row 0 is the top."""
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
                    found.append((_edge(mask), QtGui.QColor.fromRgbF(*colour)))
    return found


def draw(painter: QtGui.QPainter, slice_node: Any) -> None:
    """Draw the outlines over a slice's picture."""
    for edge, colour in outlines(slice_node):
        high, wide = edge.shape
        pixels = np.zeros((high, wide, 4), np.uint8)
        pixels[edge] = (colour.red(), colour.green(), colour.blue(), 255)
        picture = QtGui.QImage(pixels.data, wide, high, 4 * wide, QtGui.QImage.Format.Format_RGBA8888)
        painter.drawImage(0, 0, picture)


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
