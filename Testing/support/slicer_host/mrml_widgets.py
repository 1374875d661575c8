"""Stand-ins for Slicer's qMRML widgets: selectors of nodes and segments, the view of a table, the panel."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .pythonqt import raw, stand_in
from .watch import Watch


@stand_in
class qMRMLWidget(QtWidgets.QWidget):
    """The panel of a module; hands the scene to what is connected to ``mrmlSceneChanged``."""

    mrmlSceneChanged = QtCore.Signal(object)
    _signatures = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            raw(self, "mrmlSceneChanged").emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


def _option(kind: Any, name: str) -> Any:
    """A property of the selector that decides what is listed."""

    def get(self: Any) -> Any:
        return self._values[name]

    def put(self: Any, value: Any) -> None:
        self._values[name] = value
        self._refresh()

    return QtCore.Property(kind, get, put)


@stand_in
class _ProxyModel(QtCore.QObject):
    """Which nodes a selector hides."""

    def __init__(self, selector: Any) -> None:
        super().__init__(selector)
        self._selector: Any = selector
        self._hidden: list[str] = []

    def _get(self) -> list[str]:
        return self._hidden

    def _put(self, identifiers: list[str]) -> None:
        self._hidden = list(identifiers)
        self._selector._refresh()

    hiddenNodeIDs = QtCore.Property("QStringList", _get, _put)


@stand_in
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene."""

    currentNodeChanged = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeActivated = QtCore.Signal(object)
    _signatures = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
    }
    nodeTypes = _option("QStringList", "nodeTypes")
    showChildNodeTypes, noneEnabled = _option(bool, "showChildNodeTypes"), _option(bool, "noneEnabled")
    addEnabled, removeEnabled = _option(bool, "addEnabled"), _option(bool, "removeEnabled")
    renameEnabled, selectNodeUponCreation = _option(bool, "renameEnabled"), _option(bool, "selectNodeUponCreation")
    noneDisplay, baseName = _option(str, "noneDisplay"), _option(str, "baseName")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._watch, self._names = Watch(self), Watch(self)
        self._nodes: list[Any] = []
        self._current: Any = None
        self._attributes: list[tuple[str, str, Any]] = []
        self._values: dict[str, Any] = {"nodeTypes": [], "noneDisplay": "None", "baseName": "", "noneEnabled": False}
        self._values |= dict.fromkeys(("showChildNodeTypes", "addEnabled", "removeEnabled"), True)
        self._values |= {"renameEnabled": False, "selectNodeUponCreation": True}
        self._filter = _ProxyModel(self)
        self._box = QtWidgets.QComboBox(self)
        self._box.setEnabled(False)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        raw(self._box, "activated").connect(lambda index: self.activate(([None] * self._first() + self._nodes)[index]))

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._watch.clear()
        self._scene = scene
        if scene is not None:
            self._watch.scene(scene, self._refresh, self._is_of_type)
        self._box.setEnabled(scene is not None)
        self._refresh()

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self._select(node if node in self._nodes else None)

    def activate(self, node: Any) -> None:
        """What a user does who chooses a node of the list."""
        self._select(node)
        raw(self, "nodeActivated").emit(node)

    def sortFilterProxyModel(self) -> Any:
        return self._filter

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def addNode(self) -> Any:
        kind = self._values["nodeTypes"][0]
        base = self._values["baseName"] or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(base))
        raw(self, "nodeAddedByUser").emit(node)
        if self._values["selectNodeUponCreation"]:
            self._select(node)
        return node

    def _is_of_type(self, node: Any) -> bool:
        children = self._values["showChildNodeTypes"]
        return any(node.IsA(t) if children else node.GetClassName() == t for t in self._values["nodeTypes"])

    def _accepts(self, node: Any) -> bool:
        if not self._is_of_type(node) or node.GetID() in self._filter._hidden:
            return False
        wanted = [(n, v) for t, n, v in self._attributes if node.IsA(t)]
        return not node.GetHideFromEditors() and all(
            node.GetAttribute(n) is not None and v in (None, node.GetAttribute(n)) for n, v in wanted
        )

    def _in_scene(self) -> list[Any]:
        """The nodes that may be listed, and others of their types' base classes, in the order of the scene."""
        if self._scene is None:
            return []
        kinds = self._values["nodeTypes"]
        if len(kinds) == 1:  # the scene finds them faster
            found = self._scene.GetNodesByClass(kinds[0])
            found.UnRegister(None)
            return [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]
        return [self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes())] if kinds else []

    def _refresh(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        before = self._nodes
        self._nodes = [node for node in self._in_scene() if self._accepts(node)]
        self._names.clear()
        for node in self._nodes:
            self._names.modified(node, self._labels)
        current = self._current
        if current is not None and current not in self._nodes:
            place = before.index(current) if current in before else 0
            rest = self._nodes[min(place, len(self._nodes) - 1)] if self._nodes else None
            current = rest  # also where none may be chosen: as Slicer's does
        elif current is None and not before and self._nodes and not self._values["noneEnabled"]:
            current = self._nodes[0]
        self._labels()
        self._select(current)

    def _first(self) -> int:
        """How many entries lie before the nodes."""
        return 1 if self._values["noneEnabled"] else 0

    def _labels(self) -> None:
        texts = [self._values["noneDisplay"]] * self._first() + [node.GetName() or "" for node in self._nodes]
        if texts != [self._box.itemText(n) for n in range(self._box.count)]:
            self._box.clear()
            self._box.addItems(texts)
        self._show()

    def _show(self) -> None:
        place = self._nodes.index(self._current) if self._current in self._nodes else -1
        self._box.setCurrentIndex(place + self._first())

    def _select(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        self._show()
        if changed:
            raw(self, "currentNodeChanged").emit(node)
