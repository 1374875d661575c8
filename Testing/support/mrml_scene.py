"""A real MRML scene without a Slicer installation (package slicer-core), and stand-ins for what it lacks.

:func:`start` makes ``slicer.mrmlScene`` and the module logics real; :func:`load_module` then imports
``PETSuperRes.py`` as Slicer would. Inside Slicer both leave everything as it is.
"""

from __future__ import annotations

import colorsys
import importlib
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SEGMENT_COLOURS, GOLDEN = 64, 0.618
_keep: list[Any] = []  # the scene's logics live as long as the process


def available() -> bool:
    """Whether a MRML scene can be made here."""
    try:
        import slicer  # noqa: F401
        import vtk  # noqa: F401
    except ImportError:
        return False
    return True


def start() -> Any:
    """The scene ``slicer.mrmlScene``, made on the first call; returns it."""
    import slicer

    if getattr(slicer, "mrmlScene", None) is None:
        slicer.mrmlScene = _scene(slicer)
    _stand_ins(slicer)
    return slicer.mrmlScene


def load_module() -> Any:
    """The module ``PETSuperRes``, imported unmodified from the source tree."""
    start()
    folder = str(ROOT / "PETSuperRes")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("PETSuperRes")


def _scene(slicer: Any) -> Any:
    import vtk

    scene, application = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    scene.AddNode(_segment_colours(slicer))
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    logics = {
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "Volumes": slicer.vtkSlicerVolumesLogic(),
        "Plots": slicer.vtkSlicerPlotsLogic(),
        "Tables": slicer.vtkSlicerTablesLogic(),
        "Markups": slicer.vtkSlicerMarkupsLogic(),
        "VolumeRendering": slicer.vtkSlicerVolumeRenderingLogic(),
    }
    for name, logic in logics.items():
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
    modules = {n.lower(): types.SimpleNamespace(logic=lambda found=found: found) for n, found in logics.items()}
    slicer.modules = types.SimpleNamespace(**modules, colors=types.SimpleNamespace(logic=slicer.vtkSlicerColorLogic))
    _keep.extend([application, *logics.values()])
    return scene


def _segment_colours(slicer: Any) -> Any:
    """A table in the place of Slicer's for new segments, without which each gets a colour by chance."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("Segments")
    node.SetSingletonTag("FileGenericAnatomyColors.txt")
    node.SetTypeToUser()
    node.SetNumberOfColors(1 + SEGMENT_COLOURS)
    node.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    for number in range(SEGMENT_COLOURS):
        hue = 0.9 - 0.5 * (number * GOLDEN % 1)  # pink to green, seen over the heat of a PET; neighbours differ
        node.SetColor(1 + number, f"segment {number + 1}", *colorsys.hsv_to_rgb(hue, 0.75, 0.95), 1.0)
    return node


class _Application:
    """Stands in for ``slicer.app`` where there is no GUI."""

    applicationName = "Slicer"

    def __init__(self, logic: Any) -> None:
        self.applicationLogic = lambda: logic

    def processEvents(self) -> None:
        return None

    def testingEnabled(self) -> bool:
        return True

    def layoutManager(self) -> None:
        return None


def application_logic() -> Any:
    """The scene's application logic."""
    start()
    return _keep[0]


def _stand_ins(slicer: Any) -> None:
    from slicer_host import parameter_node, scripted

    if not hasattr(slicer, "app"):
        slicer.app = _Application(_keep[0] if _keep else None)
    _provide(slicer, "ScriptedLoadableModule", scripted.CLASSES)
    _provide(slicer, "i18n", {"tr": scripted.tr, "translate": scripted.translate})
    packaging = ("pip_ensure", "pip_check", "load_requirements")
    _provide(slicer, "packaging", {name: getattr(scripted, name) for name in packaging})
    _provide(slicer, "parameterNodeWrapper", {name: getattr(parameter_node, name) for name in parameter_node.NAMES})
    _provide_qt()


def _provide_qt() -> None:
    """The module ``qt`` as far as it can be had: PySide6's, or empty classes for ``import qt`` to succeed."""
    if "qt" in sys.modules:
        return
    try:
        from slicer_host import pythonqt

        sys.modules["qt"] = pythonqt.make_module()
    except ImportError:
        sys.modules["qt"] = _NoQt("qt")


class _NoQt(types.ModuleType):
    """Any class, empty; but no attributes that Python itself looks for."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return type(name, (), {})


def _provide(slicer: Any, name: str, content: dict[str, Any]) -> None:
    try:
        importlib.import_module(f"slicer.{name}")
    except ImportError:
        module = types.ModuleType(f"slicer.{name}")
        module.__dict__.update(content)
        sys.modules[module.__name__] = module
        setattr(slicer, name, module)
