"""Puts the stand-ins where modules look for them: ``qt``, ``ctk``, modules of Slicer and parts of ``slicer``."""

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
    from . import ctk_widgets, dialogs, layouts, modules, sample_data

    sys.modules["ctk"], sys.modules["SampleData"] = ctk_widgets, sample_data
    for name, found in {
        "QMessageBox": dialogs.QMessageBox,
        "QFileDialog": dialogs.QFileDialog,
        "QUiLoader": parts.QUiLoader,
    }.items():
        setattr(qt, name, found)
    scene = mrml_scene.start()
    from . import segment_statistics

    sys.modules["SegmentStatistics"] = sys.modules["SegmentStatisticsPlugins"] = segment_statistics
    slicer.qSlicerScriptedLoadableModuleWidget = modules.qSlicerScriptedLoadableModuleWidget
    views = layouts.qSlicerLayoutManager(scene, mrml_scene.application_logic())
    slicer.app = parts.qSlicerApplication(mrml_scene.application_logic(), views)
    window = parts.qSlicerMainWindow(views)
    _kept.extend([window, application])
    return window, application
