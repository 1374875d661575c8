"""Slice, plot and table views and the layout manager, over the scene's real layout and slice logics.

Slices are drawn from the pipeline of vtkMRMLSliceLogic without OpenGL; plots are simple bars and points.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import overlays
from .plots import qMRMLPlotView
from .pythonqt import raw, stand_in
from .tables import qMRMLTableView
from .watch import Watch


@stand_in
class qMRMLSliceView(QtWidgets.QWidget):
    """The picture of a slice."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self.setMinimumSize(60, 60)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def forceRender(self) -> None:
        self.repaint()

    scheduleRender = forceRender

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
        picture = self.image()
        if not picture.isNull():
            painter.drawImage(self.rect, picture)
            overlays.draw(painter, self._logic.GetSliceNode())
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


@stand_in
class qMRMLSliceControllerWidget(QtWidgets.QLabel):
    """The bar above a slice view."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def setSliceVisible(self, visible: bool) -> None:
        self._logic.GetSliceNode().SetSliceVisible(visible)


@stand_in
class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view with its bar."""

    def __init__(self, logic: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = logic
        self._view, self._bar = qMRMLSliceView(self), qMRMLSliceControllerWidget(self)
        self._view._logic = self._bar._logic = logic
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
            self._bar.setStyleSheet(f"background: rgb({colour[0]},{colour[1]},{colour[2]}); color: black")
        self._view.update()

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> Any:
        return self._view

    def sliceController(self) -> Any:
        return self._bar

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


@stand_in
class qMRMLPlotWidget(QtWidgets.QWidget):
    """A plot view."""

    def __init__(self, node: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._node, self._view = node, qMRMLPlotView(self)
        QtWidgets.QVBoxLayout(self).addWidget(self._view)
        self._view.setMRMLPlotViewNode(node)

    def plotView(self) -> Any:
        return self._view

    def mrmlPlotViewNode(self) -> Any:
        return self._node


@stand_in
class qMRMLTableWidget(QtWidgets.QWidget):
    """A table view of the layout."""

    def __init__(self, node: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._node, self._view = node, qMRMLTableView(self)
        QtWidgets.QVBoxLayout(self).addWidget(self._view)
        self._watch = Watch(self)
        self._watch.modified(node, lambda: self._view.setMRMLTableNode(node.GetTableNode()))
        self._view.setMRMLTableNode(node.GetTableNode())

    def tableView(self) -> Any:
        return self._view

    def mrmlTableViewNode(self) -> Any:
        return self._node


@stand_in
class qSlicerLayoutManager(QtCore.QObject):
    """Makes the widgets of the current layout, from the layout node's own description."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, scene: Any, application: Any) -> None:
        super().__init__()
        self._application, self._scene = application, scene
        self._widgets: dict[str, Any] = {}
        self._viewport = QtWidgets.QFrame()
        self._viewport.setMinimumSize(200, 200)
        QtWidgets.QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        self._shown: str | None = None
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.GetLayoutNode()
        self._watch = Watch(self)
        self._watch.modified(self._node, self._arrange)
        if self._node.GetViewArrangement() == 0:
            self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._arrange()

    def layoutLogic(self) -> Any:
        return self._logic

    def viewport(self) -> Any:
        return self._viewport

    def mrmlScene(self) -> Any:
        return self._scene

    def setLayout(self, identifier: int) -> None:
        self._node.SetViewArrangement(identifier)

    def _layout(self) -> int:
        return self._node.GetViewArrangement()

    layout = QtCore.Property(int, _layout, setLayout, notify=layoutChanged)

    def _nodes(self, kind: str) -> list[Any]:
        return [node for node in slicer.util.getNodesByClass(kind, self._scene)]

    def _count(self, kind: str) -> int:
        return len([w for w in self._widgets if w.startswith(kind)])

    threeDViewCount = QtCore.Property(int, lambda self: 0)
    plotViewCount = QtCore.Property(int, lambda self: self._count("vtkMRMLPlotViewNode"))
    tableViewCount = QtCore.Property(int, lambda self: self._count("vtkMRMLTableViewNode"))

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(w.mrmlSliceNode().GetLayoutName() for w in self._slices())

    def _slices(self) -> list[Any]:
        return [w for w in self._widgets.values() if isinstance(w, qMRMLSliceWidget)]

    def sliceWidget(self, name: str) -> Any:
        return next((w for w in self._slices() if w.mrmlSliceNode().GetLayoutName() == name), None)

    def plotWidget(self, index: int) -> Any:
        return [w for w in self._widgets.values() if isinstance(w, qMRMLPlotWidget)][index]

    def tableWidget(self, index: int) -> Any:
        return [w for w in self._widgets.values() if isinstance(w, qMRMLTableWidget)][index]

    def viewWidget(self, node: Any) -> Any:
        return self._widgets.get(node.GetID())

    def mrmlSliceLogics(self) -> Any:
        return self._application.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._slices():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        return None

    def _arrange(self) -> None:
        text = self._node.GetCurrentLayoutDescription()
        if not text or text == self._shown or self._scene.IsBatchProcessing():
            return
        self._shown = text
        for widget in self._widgets.values():
            widget.setParent(None)
        place = self._viewport.layout()
        while place.count():
            old = place.takeAt(0).widget()
            if old is not None:
                old.setParent(None)
                old.deleteLater()
        place.addWidget(self._build(ET.fromstring(text)))
        raw(self, "layoutChanged").emit(self._layout())

    def _build(self, element: ET.Element) -> Any:
        if element.tag == "view":
            return self._view(element.get("class", ""), element.get("singletontag", ""))
        if element.tag == "item":
            return self._build(element[0])
        if element.get("type") == "tab":
            tabs = QtWidgets.QTabWidget()
            for item in element:
                tabs.addTab(self._build(item), item.get("name") or "")
            return tabs
        upright = element.get("type", "vertical") == "vertical"
        orientation = QtCore.Qt.Orientation.Vertical if upright else QtCore.Qt.Orientation.Horizontal
        splitter = QtWidgets.QSplitter(orientation)
        for item in element:
            splitter.addWidget(self._build(item))
            splitter.setStretchFactor(splitter.count() - 1, int(item.get("splitSize") or 1))
        return splitter

    def _view(self, kind: str, tag: str) -> Any:
        node = self._scene.GetSingletonNode(tag, kind)
        if node is None:
            return QtWidgets.QLabel(f"no view {kind} {tag}")
        identifier = node.GetID()
        if identifier not in self._widgets:
            if kind == "vtkMRMLSliceNode":
                self._widgets[identifier] = qMRMLSliceWidget(self._slice_logic(node))
            elif kind == "vtkMRMLPlotViewNode":
                self._widgets[identifier] = qMRMLPlotWidget(node)
            elif kind == "vtkMRMLTableViewNode":
                self._widgets[identifier] = qMRMLTableWidget(node)
            else:
                self._widgets[identifier] = QtWidgets.QLabel("3D view", alignment=QtCore.Qt.AlignmentFlag.AlignCenter)
        self._widgets[identifier].setVisible(True)
        return self._widgets[identifier]

    def _slice_logic(self, node: Any) -> Any:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node)
        self._application.GetSliceLogics().AddItem(logic)
        return logic
