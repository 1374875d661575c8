"""Scripted modules in the host: found by a factory, described, their panels made, entered, left and unloaded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets

from .mrml_widgets import qMRMLWidget
from .pythonqt import raw, stand_in


def factory(folder: Path) -> dict[str, Module]:
    """What Slicer's factory does with a module folder: the modules by name.

    Every ``.py`` directly in the folder that does not begin with ``#!`` is taken for a module, executed, and its
    class of the file's name instantiated. Slicer goes on where that fails; here it raises RuntimeError.
    """
    scripts = [path for path in sorted(folder.glob("*.py")) if not path.read_text(encoding="utf-8").startswith("#!")]
    return {path.stem: Module(path) for path in scripts}


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The parent widget of a module's panel."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._python: Any = None
        QtWidgets.QVBoxLayout(self)

    def self(self) -> Any:
        return self._python

    def reload(self) -> None:
        """Make the panel anew by the class that the module has now."""
        self._python = getattr(sys.modules[self._name], f"{self._name}Widget")(self)
        setattr(slicer.modules, f"{self._name}Widget", self._python)
        self._python.setup()


class Module:
    """What a module's description is written on, and what ``slicer.modules.<name>`` is."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.helpText, self.acknowledgementText = "", "", ""
        self.icon: Any = None
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        try:
            python = importlib.import_module(self.name)
        except Exception as error:
            raise RuntimeError(f"{path} is no module of Slicer: {error}") from error
        if Path(python.__file__ or "") != path:
            raise RuntimeError(f"Another module {self.name} was imported before: {python.__file__}")
        if not hasattr(python, self.name):
            raise RuntimeError(f"{path} is no module of Slicer: class {self.name} was not found in it")
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, f"{self.name}Instance", getattr(python, self.name)(self))
        raw(slicer.app, "startupCompleted").emit()
        self._widget: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel, made on the first call."""
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self.name)
            self._widget.setMRMLScene(slicer.mrmlScene)
            self._widget.reload()
        return self._widget

    def enter(self) -> None:
        """What happens when the user chooses the module."""
        self.widgetRepresentation().self().enter()

    def exit(self) -> None:
        """What happens when the user chooses another module."""
        self._widget.self().exit()

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
