"""Puts the stand-ins where modules look for them: ``qt``, ``ctk``, ``SampleData`` and parts of ``slicer``."""

from __future__ import annotations

import os
import sys
from typing import Any

_kept: list[Any] = []


def start() -> tuple[Any, Any]:
    """Make the Qt application, the scene and the window; returns window and application."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import mrml_scene
    import slicer
    import vtk
    from PySide6 import QtWidgets

    from . import pythonqt

    vtk.vtkMultiThreader.SetGlobalMaximumNumberOfThreads(1)  # small slices; more threads wait for a busy machine

    qt = pythonqt.make_module()
    sys.modules["qt"] = qt
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-host"])
    application.setStyle("Fusion")
    from . import application as parts
    from . import ctk_widgets, dialogs, layouts, modules, mrml_widgets, sample_data, tables, views

    ctk = ctk_widgets.make_module()
    sys.modules["ctk"], sys.modules["SampleData"] = ctk, sample_data.make_module()
    for name, found in {
        "QMessageBox": dialogs.QMessageBox,
        "QFileDialog": dialogs.QFileDialog,
        "QUiLoader": parts.QUiLoader,
    }.items():
        setattr(qt, name, found)
    scene = mrml_scene.start()
    for cls in (*parts.WIDGETS, views.qMRMLSliceWidget, views.qMRMLSliceView, tables.qMRMLTableView):
        setattr(slicer, cls.__name__, cls)
    for cls in (modules.qSlicerScriptedLoadableModule, modules.qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, cls.__name__, cls)
    slicer.qMRMLWidget, slicer.qSlicerLayoutManager = mrml_widgets.qMRMLWidget, layouts.qSlicerLayoutManager
    slicer.app = parts.qSlicerApplication(mrml_scene.application_logic())
    window = parts.make_views(scene, slicer.app)
    raw_select = pythonqt.raw(window.moduleSelector(), "moduleSelected")
    raw_select.connect(lambda name: _select(window, name))
    _kept.extend([window, application])
    return window, application


def _select(window: Any, name: str) -> None:
    import slicer

    module = getattr(slicer.modules, name.lower(), None)
    if module is not None and hasattr(module, "enter"):
        window.showPanel(module.widgetRepresentation())
        module.enter()
