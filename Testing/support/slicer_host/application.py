"""Stand-ins for ``slicer.app``, the main window, the module manager and the loader of .ui files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets
from .pythonqt import stand_in

WIDGETS = (
    *ctk_widgets.CLASSES,
    mrml_widgets.qMRMLWidget,
    mrml_widgets.qMRMLNodeComboBox,
)


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with the stand-ins, and makes its connections between qMRML widgets."""

    def load(self, file: Any, parent: Any = None) -> Any:
        """The widget of an open QFile; RuntimeError for a class that has no stand-in."""
        custom, special, text = _described(bytes(file.readAll()))
        for cls in custom:
            self.registerCustomWidget(cls)
        buffer = QtCore.QBuffer()
        buffer.setData(text)
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in special:
            sender, receiver = (_named(widget, connection.findtext(k) or "") for k in ("sender", "receiver"))
            slot = getattr(receiver, (connection.findtext("slot") or "").partition("(")[0])
            sender.connect(connection.findtext("signal"), slot)
        return widget


@cache
def _described(text: bytes) -> tuple[list[type], list[ET.Element], bytes]:
    """Of a .ui file the stand-ins, the connections between qMRML widgets, and its text without these."""
    root = ET.fromstring(text)
    known = {cls.__name__: cls for cls in WIDGETS}
    declared = [custom.findtext("class") or "" for custom in root.findall("customwidgets/customwidget")]
    for name in declared:
        if name not in known:
            raise RuntimeError(f"The host has no stand-in for the widget {name}")
    used = {w.get("class", "") for w in root.iter("widget")}
    undeclared = {name for name in used if name in known and name not in declared}
    if undeclared:
        raise RuntimeError(f"The .ui file uses {sorted(undeclared)} without declaring them as custom widgets")
    connections = root.find("connections")
    special = [c for c in connections if "vtk" in (c.findtext("signal") or "")] if connections is not None else []
    for connection in special:
        connections.remove(connection)
    return [known[name] for name in declared], special, ET.tostring(root)


def _named(widget: Any, name: str) -> Any:
    found = widget if widget.objectName == name else widget.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"A connection of the .ui file names {name}, which is not there")
    return found


@stand_in
class qSlicerModuleManager(QtCore.QObject):
    """Finds modules, and signals when one is unloaded."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


@stand_in
class qSlicerApplication(QtCore.QObject):
    """The part of the application object that modules use."""

    startupCompleted = QtCore.Signal()

    def __init__(self, logic: Any, layouts: Any) -> None:
        super().__init__()
        self._logic, self._modules, self._layouts = logic, qSlicerModuleManager(), layouts

    applicationName = QtCore.Property(str, lambda self: "Slicer")

    def processEvents(self, *_flags: Any) -> None:
        QtCore.QCoreApplication.processEvents()

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> Any:
        return self._layouts

    def moduleManager(self) -> Any:
        return self._modules

    def testingEnabled(self) -> bool:
        return False

    def topLevelWidgets(self) -> list[Any]:
        return QtWidgets.QApplication.topLevelWidgets()

    def clipboard(self) -> Any:
        return QtGui.QGuiApplication.clipboard()

    def setOverrideCursor(self, cursor: Any) -> None:
        QtGui.QGuiApplication.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        QtGui.QGuiApplication.restoreOverrideCursor()

    def pauseRender(self) -> int:
        return 0

    def resumeRender(self) -> int:
        return 0


@stand_in
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The module's panel on the left, the views on the right, the status bar below."""

    def __init__(self, layouts: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (host)")
        self._panel = QtWidgets.QScrollArea()
        self._panel.setWidgetResizable(True)
        splitter = QtWidgets.QSplitter()
        splitter.addWidget(self._panel)
        splitter.addWidget(layouts.viewport())
        splitter.setStretchFactor(1, 1)
        self.setCentralWidget(splitter)
        self.resize(1400, 900)

    def setPanelWidth(self, width: int) -> None:
        """Give the panel a width in pixels, until :meth:`showPanel`."""
        self._panel.setFixedWidth(width)

    def scrollPanelTo(self, widget: Any) -> None:
        """Bring a widget of the panel into sight."""
        self._panel.ensureWidgetVisible(widget)

    def moduleSelector(self) -> Any:
        """Of the list of modules there is only this."""
        return self

    def selectModule(self, name: str) -> None:
        """Open a module."""
        module = getattr(slicer.modules, name.lower())
        self.showPanel(module.widgetRepresentation())
        module.enter()

    def showPanel(self, widget: Any) -> None:
        """Put a module's panel into the window."""
        self._panel.setMinimumWidth(520)
        self._panel.setMaximumWidth(16777215)
        old = self._panel.takeWidget()
        if old is not None:
            old.setParent(None)
        self._panel.setWidget(widget)
