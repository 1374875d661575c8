"""A scripted module in the host: found, described, its panel made, entered, left and unloaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets

from .mrml_widgets import qMRMLWidget
from .pythonqt import raw, stand_in


class qSlicerScriptedLoadableModule:
    """The object that a module's description is written on, and what ``slicer.modules.<name>`` is."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.icon: Any = None
        self.hidden = False
        self.widgetRepresentationCreationEnabled = True
        self.title, self.helpText, self.acknowledgementText = "", "", ""
        self.categories, self.dependencies, self.contributors = [], [], []  # type: ignore[var-annotated]


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The parent widget of a module's panel."""

    def __init__(self, python: Any = None) -> None:
        super().__init__()
        self._python = python
        self._entered = False
        QtWidgets.QVBoxLayout(self)

    def self(self) -> Any:
        return self._python

    def isEntered(self) -> bool:
        return self._entered

    def setup(self) -> None:
        self._python.setup()


class Module(qSlicerScriptedLoadableModule):
    """Loads a module's file under its own name, as Slicer's factory does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        folder = str(path.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        self.python = importlib.import_module(self.name)
        if Path(self.python.__file__ or "") != path:
            raise RuntimeError(f"Another module {self.name} was imported before: {self.python.__file__}")
        setattr(slicer.modules, self.name.lower(), self)
        self.instance = getattr(self.python, self.name)(self)
        setattr(slicer.modules, f"{self.name}Instance", self.instance)
        raw(slicer.app, "startupCompleted").emit()
        self._widget: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel, made on the first call."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
            setattr(slicer.modules, f"{self.name}Widget", self._widget.self())
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        """A new panel."""
        parent = qSlicerScriptedLoadableModuleWidget()
        parent.setMRMLScene(slicer.mrmlScene)
        parent._python = getattr(self.python, f"{self.name}Widget")(parent)
        parent.setup()
        return parent

    def logic(self) -> Any:
        """Scripted modules have an empty logic here."""
        return None

    def enter(self) -> None:
        """What happens when the user chooses the module."""
        self._widget._entered = True
        getattr(self._widget.self(), "enter", lambda: None)()

    def exit(self) -> None:
        """What happens when the user chooses another module."""
        self._widget._entered = False
        getattr(self._widget.self(), "exit", lambda: None)()

    def close(self) -> None:
        """Leave and unload."""
        if self._widget is not None:
            self.exit()
            raw(slicer.app.moduleManager(), "moduleAboutToBeUnloaded").emit(self.name)
            self._widget.setParent(None)
            self._widget.deleteLater()
            self._widget = None
        for name in (self.name.lower(), f"{self.name}Instance", f"{self.name}Widget"):
            if hasattr(slicer.modules, name):
                delattr(slicer.modules, name)
