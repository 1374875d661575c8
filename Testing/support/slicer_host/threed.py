"""A 3D view drawn without OpenGL: the maximum intensity projection of a rendered volume, seen from the front."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import stand_in
from .watch import Watch

AXES = 6  # that a view can be looked at along


@stand_in
class qMRMLThreeDView(QtWidgets.QWidget):
    """The picture of a 3D view: its background, and the visible volume rendering that has most to show."""

    def __init__(self, node: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = node
        self._axis = -1  # from where it is looked at, once it was said
        self._projected: tuple[Any, Any] = (None, None)  # a volume's ID and time, and its projection
        self._watch, self._parts = Watch(self), Watch(self)
        self._watch.modified(node, self.update)
        self._watch.scene(node.GetScene(), self._follow, lambda node: node.IsA("vtkMRMLVolumeRenderingDisplayNode"))
        self.setMinimumSize(60, 60)
        self._follow()

    def _follow(self) -> None:
        self._parts.clear()
        for display in slicer.util.getNodesByClass("vtkMRMLVolumeRenderingDisplayNode"):
            self._parts.modified(display, self.update)
            if display.GetVolumePropertyNode() is not None:
                self._parts.modified(display.GetVolumePropertyNode(), self.update)
        self.update()

    def mrmlViewNode(self) -> Any:
        return self._node

    def rotateToViewAxis(self, axis: int) -> None:
        if not 0 <= axis < AXES:
            raise ValueError(f"a view has no axis {axis}")
        self._axis = axis
        self.update()

    def resetFocalPoint(self) -> None:
        self.update()

    def resetCamera(self) -> None:
        self.update()

    def rendered(self) -> Any:
        """The display node of the volume that is rendered here, None without any."""
        for display in slicer.util.getNodesByClass("vtkMRMLVolumeRenderingDisplayNode"):
            if (
                display.GetVisibility()
                and display.GetVisibility3D()
                and display.IsDisplayableInView(self._node.GetID())
            ):
                return display
        return None

    def image(self) -> Any:
        """(rows, columns, 3) of the projection from the front, head up, the patient's right on the left; or None."""
        display = self.rendered()
        if display is None or self._node.GetRaycastTechnique() != self._node.MaximumIntensityProjection:
            return None
        volume, rendering = display.GetVolumeNode(), display.GetVolumePropertyNode().GetVolumeProperty()
        volume.GetIJKToRASDirectionMatrix(matrix := vtk.vtkMatrix4x4())
        directions = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
        key = volume.GetID(), volume.GetImageData().GetMTime()
        if key != self._projected[0]:  # a graphics card would do it each time
            self._projected = key, slicer.util.arrayFromVolume(volume).max(1)  # (K, I) of a volume with rows along A
        highest = self._projected[1]
        highest = highest[::-1] if directions[2, 2] > 0 else highest
        highest = highest[:, ::-1] if directions[0, 0] > 0 else highest
        opacity, colour = rendering.GetScalarOpacity(), rendering.GetRGBTransferFunction()
        values, places = np.unique(np.round(highest, 2), return_inverse=True)
        seen = np.array([[*colour.GetColor(v), opacity.GetValue(v)] for v in values])[places.reshape(highest.shape)]
        behind = np.array(self._node.GetBackgroundColor())
        return seen[..., 3:] * seen[..., :3] + (1 - seen[..., 3:]) * behind

    def paintEvent(self, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtGui.QColor.fromRgbF(*self._node.GetBackgroundColor()))
        pixels = self.image()
        if pixels is None:
            painter.drawText(self.rect, QtCore.Qt.AlignmentFlag.AlignCenter, "3D view")
            return
        high, wide, _ = pixels.shape
        volume = self.rendered().GetVolumeNode()
        data = np.ascontiguousarray(255 * pixels, np.uint8)
        picture = QtGui.QImage(data.data, wide, high, 3 * wide, QtGui.QImage.Format.Format_RGB888)
        size = QtCore.QSizeF(wide * volume.GetSpacing()[0], high * volume.GetSpacing()[2])
        size.scale(QtCore.QSizeF(self.width, self.height), QtCore.Qt.AspectRatioMode.KeepAspectRatio)
        place = QtCore.QRectF(QtCore.QPointF(), size)
        place.moveCenter(QtCore.QRectF(self.rect).center())
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(place, picture)
        painter.setPen(QtGui.QColor(0, 0, 0))
        painter.drawText(8, self.height - 8, f"MIP: {volume.GetName()}")


@stand_in
class qMRMLThreeDWidget(QtWidgets.QWidget):
    """A 3D view with its bar."""

    def __init__(self, node: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._view = qMRMLThreeDView(node, self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def threeDView(self) -> Any:
        return self._view

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()
