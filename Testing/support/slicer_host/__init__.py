"""A host for Slicer's scripted modules on PySide6 and slicer-core: they run unmodified, offscreen.

    host = slicer_host.start()
    widget = host.open_module()             # PETSuperRes/PETSuperRes.py, its .ui, its parameter node
    host.spin(0.5)                          # run the event loop
    host.screenshot(host.window, "window.png")

Real are the MRML scene, nodes, logics and ``slicer.util``; stood in for are Qt's Python layer
(:mod:`.pythonqt`), the ctk and qMRML widgets, the application and the parameter node. What a test has to
look at: ``host.messages`` (message boxes), ``host.errors`` (what signal receivers raised); what it may
plan: ``host.answers`` and ``host.files``. Nothing here is imported by the module.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .latency import Latency

ROOT = Path(__file__).resolve().parents[3]
_host: list[Host] = []


def missing() -> str:
    """Why the host cannot run here, or an empty text."""
    for name, remedy in (("slicer", "pip install '.[mrml]'"), ("PySide6.QtWidgets", "pip install PySide6-Essentials")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"the GUI host cannot import {name} ({error}): {remedy}; on Linux also libegl1 and libxkbcommon0"
    return ""


def start() -> Host:
    """The host of this process, made on the first call; RuntimeError where it cannot run."""
    if not _host:
        reason = missing()
        if reason:
            raise RuntimeError(reason)
        from . import setup

        _host.append(Host(*setup.start()))
    return _host[0]


class Host:
    """A running Slicer stand-in: its window, its modules and what they said."""

    def __init__(self, window: Any, qt_application: Any) -> None:
        import slicer

        from . import dialogs, pythonqt

        self.window, self.application, self._qt = window, slicer.app, qt_application
        self.messages, self.answers, self.files = dialogs.messages, dialogs.answers, dialogs.files
        self.errors = pythonqt.errors
        self._open: list[Any] = []

    def open_module(self, path: str | Path = ROOT / "PETSuperRes" / "PETSuperRes.py") -> Any:
        """Load the modules of a file's folder as Slicer does at start, show the file's panel; returns its widget."""
        from .modules import factory

        found = factory(Path(path).parent)
        self._open.extend(found.values())
        module = found[Path(path).stem]
        self.window.selectModule(module.name)
        self.window.show()
        self.process()
        return module.widgetRepresentation().self()

    def reset(self) -> None:
        """Close every module and empty the scene, for the next test."""
        import slicer

        for module in self._open:
            module.close()
        self._open.clear()
        self.window.showPanel(None)
        slicer.mrmlScene.Clear(False)  # as Slicer does; views and other singletons stay
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            slicer.mrmlScene.RemoveNode(node)
        self.application.layoutManager().reset()
        self.process()
        for kept in (self.messages, self.answers, self.files, self.errors):
            kept.clear()

    def process(self) -> None:
        """Handle what is waiting in the event loop, slices to be rendered included."""
        from PySide6 import QtCore

        from .views import rendering

        QtCore.QCoreApplication.processEvents()
        while rendering():
            QtCore.QCoreApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)

    def spin(self, seconds: float = 0.1, until: Any = None) -> bool:
        """Run the event loop for a time, or until ``until()`` is true; whether it became true."""
        from .latency import spin

        return spin(seconds, until)

    def hold(self, seconds: float, until: Any = None) -> bool:
        """The same as Slicer does it, which lets threads run only where it calls Python; Linux only."""
        from .latency import hold

        return hold(seconds, until)

    def latency(self) -> Latency:
        """A context that measures how long the event loop is held up: ``with host.latency() as seen``."""
        from .latency import Latency

        return Latency()

    def screenshot(self, widget: Any, path: str | Path) -> Path:
        """Write a widget (a panel, a view, ``host.window``) as a PNG; returns the path."""
        self.process()
        if not widget.grab().save(str(path)):
            raise OSError(f"the picture {path} could not be written")
        return Path(path)
