"""Slice views over the scene's real slice logics, drawn from the pipeline of vtkMRMLSliceLogic without OpenGL."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import markups, overlays
from .pythonqt import stand_in
from .watch import Watch

MARKS = ("vtkMRMLMarkupsFiducialNode", "vtkMRMLModelNode")


@stand_in
class qMRMLSliceView(QtWidgets.QWidget):
    """The picture of a slice."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._picture = QtGui.QImage()
        self._pointer = markups.Pointer()
        self._watch, self._marked = Watch(self), Watch(self)
        self._watch.scene(slicer.mrmlScene, self._watch_marks, lambda node: node.GetClassName() in MARKS)
        self.setMouseTracking(True)
        self.setMinimumSize(60, 60)

    def _watch_marks(self) -> None:
        """Paint again when a point moves or a model changes."""
        self._marked.clear()
        for kind in MARKS:
            for node in slicer.util.getNodesByClass(kind):
                self._marked.modified(node, self.update)

    def _at(self, event: Any) -> tuple[float, float]:
        place = event.position()
        return place.x(), self.height - 1 - place.y()

    def mousePressEvent(self, event: Any) -> None:
        self._pointer.press(self._logic.GetSliceNode(), self._at(event))

    def mouseMoveEvent(self, event: Any) -> None:
        self._pointer.move(self._logic.GetSliceNode(), self._at(event))

    def mouseReleaseEvent(self, _event: Any) -> None:
        self._pointer.release()

    def scheduleRender(self) -> None:
        """Render in an event of its own, as Slicer's views do: clicks are taken between one view and the next."""
        if self not in _stale:
            _stale.append(self)
        if not _timer:
            _timer.append(QtCore.QTimer())
            _timer[0].timeout.connect(_render_next)
        _timer[0].start(0)

    def _render(self) -> None:
        self._picture = self.image() if self._logic is not None else QtGui.QImage()
        self.update()

    def resizeEvent(self, event: Any) -> None:
        if self._logic is not None:
            self._logic.ResizeSliceNode(self.width, self.height)

    def image(self) -> Any:
        """The slice as a QImage."""
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        if connection is None:
            return QtGui.QImage()
        connection.GetProducer().Update()
        data = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
        scalars = data.GetPointData().GetScalars() if data is not None else None
        if scalars is None:
            return QtGui.QImage()
        from vtk.util.numpy_support import vtk_to_numpy

        wide, high, _ = data.GetDimensions()
        coloured = vtk_to_numpy(scalars).reshape(high, wide, -1)[::-1]
        pixels = np.where(coloured[..., 3:] > 0, coloured[..., :3], 0).astype(np.uint8)  # black where nothing lies
        picture = QtGui.QImage(pixels.data, wide, high, 3 * wide, QtGui.QImage.Format.Format_RGB888)
        return picture.copy()

    def paintEvent(self, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.GlobalColor.black)
        if self._logic is None:
            return
        if not self._picture.isNull():
            painter.drawImage(self.rect, self._picture)
            overlays.draw(painter, self._logic.GetSliceNode())
            markups.draw(painter, self._logic.GetSliceNode())
            shown = self._logic.GetSliceCompositeNode().GetForegroundVolumeID()
            volume = self._logic.GetMRMLScene().GetNodeByID(shown or "")
            overlays.draw_colour_scale(painter, volume, self._logic.GetSliceNode(), self.width, self.height)
        painter.setPen(QtGui.QColor(255, 255, 120))
        painter.drawText(8, self.height - 8, self._label())

    def _label(self) -> str:
        composite, scene = self._logic.GetSliceCompositeNode(), self._logic.GetMRMLScene()
        names = []
        for kind in ("Foreground", "Background"):
            node = scene.GetNodeByID(getattr(composite, f"Get{kind}VolumeID")() or "")
            if node is not None:
                names.append(f"{kind[0]}: {node.GetName()}")
        return "   ".join(names)


_stale: list[Any] = []
_timer: list[Any] = []


def _render_next() -> None:
    if _stale:
        _stale.pop(0)._render()
    if not _stale:
        _timer[0].stop()


def rendering() -> bool:
    """Whether a slice view still has to be rendered."""
    return bool(_stale)


@stand_in
class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view with its bar."""

    def __init__(self, logic: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = logic
        self._view, self._bar = qMRMLSliceView(self), QtWidgets.QLabel(self)
        self._view._logic = logic
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._bar)
        layout.addWidget(self._view, 1)
        self._watch = Watch(self)
        self._watch.modified(logic, self._update)
        self._watch.modified(logic.GetSliceNode(), self._update)
        self._update()

    def _update(self) -> None:
        node = self._logic.GetSliceNode()
        if node is not None:
            colour = [int(255 * c) for c in node.GetLayoutColor()]
            name = node.GetLayoutLabel() or node.GetLayoutName()
            self._bar.setText(f" {name}    {node.GetOrientation()}  {node.GetSliceOffset():.1f} mm")
            style = f"background: rgb({colour[0]},{colour[1]},{colour[2]}); color: black"
            if self._bar.styleSheet != style:  # Qt would lay the bar out again
                self._bar.setStyleSheet(style)
        self._view.scheduleRender()

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> Any:
        return self._view

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()
