"""A scripted module of the usual shape: two volumes, a threshold, an Apply button, a typed parameter node.

It is written against Slicer's own interfaces, and test_host.py runs it in the host.
"""

import enum
import pathlib
from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Decimals, WithinRange, parameterNodeWrapper, parameterPack
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Mode(enum.Enum):
    """How to cut."""

    ABOVE = 1
    BELOW = 2

    def label(self):
        """What the user reads."""
        return f"Keep {self.name.lower()}"


@parameterPack
class Window:
    """Two numbers that belong together."""

    width: Annotated[float, WithinRange(0, 100)] = 6.0
    level: float = 3.0


@parameterNodeWrapper
class HostSampleParameters:
    """What the scene keeps."""

    source: vtkMRMLScalarVolumeNode
    target: vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(-10, 10), Decimals(1)] = 2.5
    rounds: Annotated[int, WithinRange(1, 9)] = 3
    mode: Mode = Mode.ABOVE
    unit: Annotated[str, Choice(["SUV", "kBq/mL"])] = "SUV"
    remark: str = ""
    invert: bool = False
    folder: pathlib.Path
    limit: Optional[float]  # noqa: UP045 (Slicer's parameter nodes know no 'float | None')
    window: Window
    names: list[str]


class HostSample(ScriptedLoadableModule):
    """The description."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host sample")
        self.parent.categories = ["Examples"]
        slicer.app.connect("startupCompleted()", self.onStartup)
        self.started = 0

    def onStartup(self):
        """Slicer is there."""
        self.started += 1


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self.tag = None

    def setup(self):
        """Load the panel and follow the scene."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.timer = qt.QTimer()
        self.timer.connect("timeout()", self.onTimer)
        self.ticks = 0
        self.useNode(HostSampleParameters(self.logic.getParameterNode()))

    def cleanup(self):
        """Slicer closes."""
        self.timer.stop()
        self.useNode(None)
        self.removeObservers()

    def onTimer(self):
        """Another interval has gone by."""
        self.ticks += 1

    def onClose(self, caller, event):
        """The scene goes."""
        self.useNode(None)

    def onClosed(self, caller, event):
        """The scene has gone."""
        self.useNode(HostSampleParameters(self.logic.getParameterNode()))

    def useNode(self, parameters):
        """Bind the panel to another parameter node."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.tag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.check)
        self.parameters = parameters
        if parameters is not None:
            self.tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.check)
            self.check()

    def check(self, caller=None, event=None):
        """Apply needs both volumes."""
        self.ui.applyButton.enabled = bool(self.parameters.source and self.parameters.target)
        self.ui.applyButton.toolTip = _("Cut") if self.ui.applyButton.enabled else _("Choose two volumes")

    def onApply(self):
        """Cut, and say what failed."""
        with slicer.util.tryWithErrorDisplay(_("Cutting failed."), waitCursor=True):
            p = self.parameters
            self.logic.process(p.source, p.target, p.threshold, p.mode)


class HostSampleLogic(ScriptedLoadableModuleLogic):
    """The work."""

    def process(self, source, target, threshold, mode):
        """Copy what lies above or below the threshold."""
        if source is target:
            raise ValueError("source and target must differ")
        array = slicer.util.arrayFromVolume(source)
        keep = array > threshold if mode is Mode.ABOVE else array <= threshold
        slicer.util.updateVolumeFromArray(target, array * keep)
