"""The view of a table node."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import raw, stand_in
from .watch import Watch


class _TableModel(QtGui.QStandardItemModel):
    """Cells as text, read from the node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)

    def fill(self, node: Any) -> None:
        self.clear()
        if node is None:
            return
        rows, columns = node.GetNumberOfRows(), node.GetNumberOfColumns()
        self.setColumnCount(columns)
        useTitle = getattr(node, "GetUseColumnTitleAsColumnHeader", None) or node.GetUseColumnNameAsColumnHeader
        titled = bool(useTitle())
        for column in range(columns):
            name = node.GetColumnName(column)
            text = node.GetColumnTitle(name) if hasattr(node, "GetColumnTitle") else name
            unit = node.GetColumnUnitLabel(name)
            label = f"{text or name}\n({unit})" if unit else text or name
            self.setHorizontalHeaderItem(column, QtGui.QStandardItem(label if titled else str(column)))
            for row in range(rows):
                self.setItem(row, column, QtGui.QStandardItem(_cell(node, row, column)))


def _cell(node: Any, row: int, column: int) -> str:
    value = node.GetTable().GetValue(row, column)
    if value.IsString():
        return value.ToString()
    return f"{value.ToDouble():.4g}" if value.IsFloat() or value.IsDouble() else value.ToString()


def _flag(name: str) -> Any:
    def get(self: Any) -> bool:
        return bool(self.__dict__.get(f"_{name}"))

    def put(self: Any, value: bool) -> None:
        self.__dict__[f"_{name}"] = value

    return QtCore.Property(bool, get, put)


@stand_in
class qMRMLTableView(QtWidgets.QTableView):
    """Shows a table node and follows its changes."""

    cellsSelected = QtCore.Signal()  # Qt has a method of the name selectionChanged
    mrmlSceneChanged = QtCore.Signal(object)
    _signatures = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged", "selectionChanged()": "cellsSelected"}
    transposed, firstRowLocked, firstColumnLocked = _flag("transposed"), _flag("row"), _flag("column")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._watch = Watch(self)
        self._cells = _TableModel(self)
        self._sorted = QtCore.QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self._cells)
        self.setModel(self._sorted)
        raw(self.selectionModel(), "selectionChanged").connect(lambda *_: raw(self, "cellsSelected").emit())

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        raw(self, "mrmlSceneChanged").emit(scene)

    def mrmlTableNode(self) -> Any:
        return self._node

    def tableModel(self) -> Any:
        return self._cells

    def sortFilterProxyModel(self) -> Any:
        return self._sorted

    def setMRMLTableNode(self, node: Any) -> None:
        if node is self._node:
            return
        self._watch.clear()
        self._node = node
        if node is not None:
            self._watch.modified(node, lambda: self._cells.fill(self._node))
        self._cells.fill(node)
        raw(self, "cellsSelected").emit()

    def copySelection(self) -> None:
        indexes = sorted(self.selectionModel().selectedIndexes, key=lambda i: (i.row(), i.column()))
        rows: dict[int, list[str]] = {}
        for index in indexes:
            rows.setdefault(index.row(), []).append(str(index.data() or ""))
        QtGui.QGuiApplication.clipboard().setText("\n".join("\t".join(row) for row in rows.values()))
