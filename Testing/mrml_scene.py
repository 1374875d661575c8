"""A real MRML scene without a Slicer installation (package slicer-core), and stand-ins for what it lacks.

:func:`start` makes ``slicer.mrmlScene`` and the module logics real; :func:`load_module` then imports
``PETSuperRes.py`` as Slicer would. Inside Slicer both leave everything as it is.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
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
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    logics = {"Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(), "Volumes": slicer.vtkSlicerVolumesLogic()}
    for name, logic in logics.items():
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
    modules = {n.lower(): types.SimpleNamespace(logic=lambda found=found: found) for n, found in logics.items()}
    slicer.modules = types.SimpleNamespace(**modules)
    _keep.extend([application, *logics.values()])
    return scene


class _Base:
    """Stands in for Slicer's scripted-module base classes, which need Qt."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


def _stand_ins(slicer: Any) -> None:
    if not hasattr(slicer, "app"):
        slicer.app = types.SimpleNamespace(processEvents=lambda: None, testingEnabled=lambda: True)
    bases = ("", "Logic", "Test", "Widget")
    names = {f"ScriptedLoadableModule{b}": type(f"ScriptedLoadableModule{b}", (_Base,), {}) for b in bases}
    _provide(slicer, "ScriptedLoadableModule", names)
    _provide(slicer, "i18n", {"tr": lambda text: text, "translate": lambda _context, text: text})


def _provide(slicer: Any, name: str, content: dict[str, Any]) -> None:
    try:
        importlib.import_module(f"slicer.{name}")
    except ImportError:
        module = types.ModuleType(f"slicer.{name}")
        module.__dict__.update(content)
        sys.modules[module.__name__] = module
        setattr(slicer, name, module)
