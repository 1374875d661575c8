"""The layout manager: makes the widgets of the layout node's own description (the layout logic is Slicer's)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .plots import qMRMLPlotView
from .pythonqt import raw, stand_in
from .threed import qMRMLThreeDWidget
from .views import qMRMLSliceWidget
from .watch import Watch


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

    def setLayout(self, identifier: int) -> None:
        self._node.SetViewArrangement(identifier)

    def _layout(self) -> int:
        return self._node.GetViewArrangement()

    layout = QtCore.Property(int, _layout, setLayout, notify=layoutChanged)

    def sliceWidget(self, name: str) -> Any:
        slices = (w for w in self._widgets.values() if isinstance(w, qMRMLSliceWidget))
        return next((w for w in slices if w.mrmlSliceNode().GetLayoutName() == name), None)

    def threeDWidget(self, number: int) -> Any:
        return self._three_d()[number]

    threeDViewCount = QtCore.Property(int, lambda self: len(self._three_d()))

    def _three_d(self) -> list[Any]:
        """The 3D widgets that are shown."""
        views = (w for w in self._widgets.values() if isinstance(w, qMRMLThreeDWidget))
        return [widget for widget in views if self._viewport.isAncestorOf(widget)]

    def mrmlSliceLogics(self) -> Any:
        return self._application.GetSliceLogics()

    def reset(self) -> None:
        """Back to Slicer's usual views; what a module's own layout has made goes."""
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for identifier, widget in list(self._widgets.items()):
            if not self._viewport.isAncestorOf(widget):
                del self._widgets[identifier]
                if isinstance(widget, qMRMLSliceWidget):
                    self._application.GetSliceLogics().RemoveItem(widget.sliceLogic())
                    self._scene.RemoveNode(widget.mrmlSliceCompositeNode())
                widget.deleteLater()
                self._scene.RemoveNode(self._scene.GetNodeByID(identifier))

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
                self._widgets[identifier] = qMRMLPlotView(node)
            else:
                self._widgets[identifier] = qMRMLThreeDWidget(node)
        self._widgets[identifier].setVisible(True)
        return self._widgets[identifier]

    def _slice_logic(self, node: Any) -> Any:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node)
        self._application.GetSliceLogics().AddItem(logic)
        return logic
