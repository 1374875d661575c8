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


class _NodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = QtCore.Signal(object)
    currentNodeValid = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    _signatures = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeValid",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
    }

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._watch, self._names = Watch(self), Watch(self)
        self._nodes: list[Any] = []
        self._current: Any = None
        self._attributes: list[tuple[str, str, Any]] = []
        self._values: dict[str, Any] = {
            "nodeTypes": [],
            "showHidden": False,
            "showChildNodeTypes": True,
            "hideChildNodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
            "noneDisplay": "None",
            "baseName": "",
            "interactionNodeSingletonTag": "Singleton",
        }
        self._box = QtWidgets.QComboBox(self)
        self._box.setEnabled(False)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        raw(self._box, "activated").connect(self._chosen)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._watch.clear()
        self._scene = scene
        if scene is not None:
            self._watch.scene(scene, self._refresh)
        self._box.setEnabled(scene is not None)
        self._refresh()

    def currentNode(self) -> Any:
        return self._current

    def nodes(self) -> list[Any]:
        return list(self._nodes)

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if self._scene is not None else None
        self._select(node if node in self._nodes else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        self.setCurrentNode(identifier or "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self.nodeFromIndex(index))

    def _get_id(self) -> str:
        return self._current.GetID() if self._current is not None else ""

    currentNodeID = QtCore.Property(str, _get_id, setCurrentNodeID, notify=currentNodeIDChanged)

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._values[f"label {nodeType}"] = label

    def addNode(self, nodeType: str | None = None) -> Any:
        kind = nodeType or self._values["nodeTypes"][0]
        base = self._values["baseName"] or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(base))
        raw(self, "nodeAddedByUser").emit(node)
        if self._values["selectNodeUponCreation"]:
            self._select(node)
        return node

    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    def _accepts(self, node: Any) -> bool:
        types, values = self._values["nodeTypes"], self._values
        fits = [t for t in types if (node.IsA(t) if values["showChildNodeTypes"] else node.GetClassName() == t)]
        if not fits or any(node.IsA(t) for t in values["hideChildNodeTypes"]):
            return False
        if node.GetHideFromEditors() and not values["showHidden"]:
            return False
        wanted = [(n, v) for t, n, v in self._attributes if node.IsA(t)]
        return all(node.GetAttribute(n) is not None and v in (None, node.GetAttribute(n)) for n, v in wanted)

    def _refresh(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        before = self._nodes
        count = self._scene.GetNumberOfNodes() if self._scene is not None else 0
        everything = (self._scene.GetNthNode(n) for n in range(count))
        self._nodes = [node for node in everything if self._accepts(node)]
        self._names.clear()
        for node in self._nodes:
            self._names.modified(node, self._labels)
            if node not in before:
                raw(self, "nodeAdded").emit(node)
        current = self._current
        if current is not None and current not in self._nodes:
            place = before.index(current) if current in before else 0
            rest = self._nodes[min(place, len(self._nodes) - 1)] if self._nodes else None
            current = None if self._values["noneEnabled"] else rest
        elif current is None and not before and self._nodes and not self._values["noneEnabled"]:
            current = self._nodes[0]
        self._labels()
        self._select(current)

    def _labels(self) -> None:
        texts = [self._values["noneDisplay"]] if self._values["noneEnabled"] else []
        texts += [node.GetName() or "" for node in self._nodes]
        if texts != [self._box.itemText(n) for n in range(self._box.count)]:
            self._box.clear()
            self._box.addItems(texts)
        self._show()

    def _show(self) -> None:
        first = 1 if self._values["noneEnabled"] else 0
        place = self._nodes.index(self._current) + first if self._current in self._nodes else first - 1
        self._box.setCurrentIndex(place)

    def _chosen(self, index: int) -> None:
        node = self.nodeFromIndex(index - (1 if self._values["noneEnabled"] else 0))
        self._select(node)
        raw(self, "nodeActivated").emit(node)

    def _select(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        self._show()
        if changed:
            raw(self, "currentNodeChanged").emit(node)
            raw(self, "currentNodeValid").emit(node is not None)
            raw(self, "currentNodeIDChanged").emit(self._get_id())


def _node_property(kind: Any, name: str) -> Any:
    def get(self: Any) -> Any:
        return self._values[name]

    def put(self: Any, value: Any) -> None:
        self._values[name] = list(value) if name.endswith("Types") and name != "showChildNodeTypes" else value
        self._refresh()

    return get, put, QtCore.Property(kind, get, put)


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("nodeTypes", "hideChildNodeTypes"), "QStringList"),
    **dict.fromkeys(("showHidden", "showChildNodeTypes", "noneEnabled", "addEnabled", "removeEnabled"), bool),
    **dict.fromkeys(("editEnabled", "renameEnabled", "selectNodeUponCreation"), bool),
    **dict.fromkeys(("noneDisplay", "baseName", "interactionNodeSingletonTag"), str),
}
_members: dict[str, Any] = {"__doc__": "Chooses a node of the scene."}
for _name, _kind in _KINDS.items():
    _, _members[f"set{_name[0].upper()}{_name[1:]}"], _members[_name] = _node_property(_kind, _name)
qMRMLNodeComboBox = stand_in(type("qMRMLNodeComboBox", (_NodeComboBox,), _members))
