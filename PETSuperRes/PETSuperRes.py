"""The Slicer module: choose a PET, its CT and a scanner; get the super-resolved PET and the lesions' SUVs.

Only the standard library, slicer and vtk are imported here; the backend loads when it is needed.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any

import slicer
import vtk
from PETSuperResSlicer.logic import DEFAULT_PRESET as DEFAULT_PRESET
from PETSuperResSlicer.logic import RESEARCH_USE, PETSuperResLogic
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.self_test import PETSuperResTest as PETSuperResTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

LABEL_WIDTH = 84  # pixels


class PETSuperRes(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PET Super-Resolution")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        parent.dependencies = ["Volumes", "Segmentations", "Colors", "Tables", "Plots"]
        parent.contributors = ["The PETSuperRes contributors"]
        parent.helpText = _(
            "Makes a super-resolved PET volume from a PET and its CT by posterior sampling under the "
            "scanner's physics, and compares lesion SUVs before and after."
        )
        parent.acknowledgementText = _(RESEARCH_USE)
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Offer the phantom in the Sample Data module, and the compare layout to scenes that were saved in it."""
        from PETSuperResSlicer import sample_data as PETSuperResSampleData
        from PETSuperResSlicer.mrml.compare import register_layout

        register_layout()
        icon = os.path.join(os.path.dirname(__file__), "Resources", "Icons", "PETSuperRes.png")
        PETSuperResSampleData.register(icon)


class PETSuperResWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds the parts together; their work is in the files beside this one."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.params: Any = None
        self.tag: Any = None  # of the binding of parameters and widgets
        self.shortcut: Any = None
        self._updating = False
        self._pet: Any = None  # the PET whose scanner was looked up last
        self._prior: str | None = None  # the prior whose card is shown
        self._facts: Any = None  # the worker's answer about devices
        self._asking = False

    def setup(self) -> None:
        """Load the panel and connect its parts."""
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/PETSuperRes.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        for name, widget in vars(self.ui).items():
            if "LayoutLabel" in name:
                widget.setMinimumWidth(LABEL_WIDTH)  # in all sections alike
                widget.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        self.logic = PETSuperResLogic()
        from PETSuperResSlicer.panel.lesions import LesionsPanel
        from PETSuperResSlicer.panel.result import ResultPanel
        from PETSuperResSlicer.panel.run import JobPanel
        from PETSuperResSlicer.panel.selectors import Selectors
        from PETSuperResSlicer.panel.status import Status
        from PETSuperResSlicer.panel.units import UnitsPanel

        self.status = Status(self.ui)
        self.say = self.status.say
        self.selectors = Selectors(self.ui, self.onParameters)
        self.units = UnitsPanel(self.ui, self.logic, self.onConverted, self.status)
        self.lesions = LesionsPanel(self.ui, self.status)
        self.job = JobPanel(self.ui, self.logic, self.onFinished, self.onFailed)
        self.result = ResultPanel(self.ui, self.logic, self.status, self.lesions.chart)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.resetPhysicsButton.connect("clicked(bool)", self.onResetPhysics)
        self.ui.priorButton.connect("clicked(bool)", self.onChoosePrior)
        self.ui.advancedButton.connect("contentsCollapsed(bool)", self.onAdvanced)
        self.ui.regionSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self.onNewRegion)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Stop everything when Slicer closes the module: the job, its process, the observers."""
        self.exit()
        self.removeObservers()
        self.setParameterNode(None)
        self.selectors.close()
        self.units.close()
        self.logic.close()

    def enter(self) -> None:
        """The module is opened: its parameters and its key."""
        import qt
        from PETSuperResSlicer.mrml.inputs import suggest

        self.initializeParameterNode()
        suggest(self.params, slicer.mrmlScene)
        window = slicer.util.mainWindow()
        if window is not None and self.shortcut is None:
            self.shortcut = qt.QShortcut(window)
            self.shortcut.setKey(qt.QKeySequence("S"))
            self.shortcut.connect("activated()", self.result.on_switch)

    def exit(self) -> None:
        """Another module is opened: give the key back. A running job and the lesion table go on."""
        if self.shortcut is not None:
            self.shortcut.setEnabled(False)  # at once: two shortcuts of one key answer neither
            self.shortcut.setParent(None)
            self.shortcut.deleteLater()
            self.shortcut = None

    def onReload(self) -> None:
        """Developer mode: load the module's package anew with its file, and open the new panel."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "PETSuperResSlicer"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        if slicer.modules.PETSuperResWidget is not self:  # it could be loaded
            slicer.modules.PETSuperResWidget.enter()

    def onSceneStartClose(self, *_unused: Any) -> None:
        """The scene goes: stop the job, forget the parameters."""
        self.setParameterNode(None)

    def onSceneEndClose(self, *_unused: Any) -> None:
        """The scene is empty: start anew."""
        self.initializeParameterNode()

    def onSceneEndImport(self, *_unused: Any) -> None:
        """A scene was loaded: its parameters refer to nodes that are there only now. A running job goes on."""
        if not self.job.running:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameters."""
        from PETSuperResSlicer.panel.parameters import PETSuperResParameters

        node = self.logic.getParameterNode()
        if self.params is None or self.params.parameterNode is not node:
            self.setParameterNode(PETSuperResParameters(node))

    def setParameterNode(self, params: Any) -> None:
        """Bind the widgets to other parameters; None unbinds them."""
        from PETSuperResSlicer.panel.parameters import connect

        if self.params is not None:
            self.job.close()
            self.result.close()
            self.lesions.close()
            self.params.disconnectGui(self.tag)
            node = self.params.parameterNode
            if self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParameters):
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self.params, self._prior = params, None
        if params is not None:
            self._pet = params.pet if params.preset else None
            self.tag, self.devices = connect(params, self.ui)
            self.ui.presetComboBox.setItemText(0, _("Choose the scanner"))
            self.devices.offer(self._facts, params.device)
            self.addObserver(params.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters)
        self.onParameters()

    def onParameters(self, *_unused: Any) -> None:
        """Something was chosen: follow it everywhere in the panel."""
        if self._updating:
            return
        self._updating = True
        self.status.choice_changed()
        try:
            self._follow()
        finally:
            self._updating = False

    def _follow(self) -> None:
        from PETSuperResSlicer.mrml.inputs import guess_preset
        from PETSuperResSlicer.panel.parameters import fillPhysics

        params = self.params
        if params is not None:
            if params.pet is not self._pet:
                self._pet = params.pet
                guess = guess_preset(params.pet)
                if guess is not None and guess != params.preset:
                    params.preset = guess
                    self.say(_("Scanner of the PET: {name}.").format(name=guess))
            fillPhysics(params)
            self._showPrior(params.prior)
        pet, ct = (None, None) if params is None else (params.pet, params.ct)
        self.selectors.watch(pet, ct)
        self.units.show(pet)
        self.result.update(params)
        self.lesions.update(params)
        self.updateButtons()

    def _showPrior(self, path: str) -> None:
        from PETSuperResSlicer.mrml.inputs import prior_card
        from PETSuperResSlicer.panel.status import ERROR_STYLE

        from PETSuperResLib.errors import PETSuperResError

        if path == self._prior:
            return
        self._prior = path
        try:
            text, style = prior_card(path), ""
        except PETSuperResError as error:
            text, style = str(error), ERROR_STYLE
        self.ui.priorLabel.setText(text)
        self.ui.priorLabel.setStyleSheet(style)

    def updateButtons(self) -> None:
        """Apply is Cancel while a job runs; before, the line under it says what is missing."""
        from PETSuperResSlicer.mrml.inputs import obstacle

        running = self.job.running
        lacking = "" if running else obstacle(self.params, self.units.found) if self.params else _("Choose a PET.")
        self.ui.applyButton.setEnabled(running or not lacking)
        self.ui.applyButton.setText(_("Cancel") if running else _("Apply"))
        self.ui.applyButton.setToolTip(lacking or (_("Stop the job") if running else _("Super-resolve the PET")))
        self.status.hint(lacking)

    def onApply(self, *_unused: Any) -> None:
        """Start a job, or cancel the running one."""
        if self.job.running:
            self.status.show(_("Cancelling..."))
            self.job.cancel()
            return
        self.say(_("Starting..."))
        slicer.app.processEvents()  # what follows may ask to install something
        try:
            self.job.start(self.params)
        except Exception as error:
            self.onFailed(error)
        self.updateButtons()

    def onFinished(self, node: Any) -> None:
        """A job is done: show its result and measure the lesions."""
        pet, ct = provenance.inputs_of(node)
        self.params.result = node
        spread = node.GetNodeReference(provenance.SPREAD)
        if spread is not None:
            self.say(_("How far the samples differ: '{name}'.").format(name=spread.GetName()))
        self.say(_("Made '{name}'.").format(name=node.GetName()))
        if pet is None or ct is None:
            gone = _("{what} of this result was deleted meanwhile: load it again to compare.")
            self.say(gone.format(what=_("The PET") if pet is None else _("The CT")), error=True)
        self.result.show(node, pet, ct)
        self.updateButtons()

    def onFailed(self, error: Exception) -> None:
        """A job could not start, or has ended without a result: say why and what to do."""
        from PETSuperResLib.errors import Cancelled, PETSuperResError

        if isinstance(error, PETSuperResError):
            self.say(str(error), error=not isinstance(error, Cancelled), log=getattr(error, "log", ()))
        else:
            logging.error("PETSuperRes", exc_info=error)
            text = _("Unexpected {kind} ({error}): please report it with the text of the Log section.")
            lines = "".join(traceback.format_exception(error)).splitlines()
            self.say(text.format(kind=type(error).__name__, error=error), error=True, log=lines)
        self.updateButtons()

    def onConverted(self, node: Any) -> None:
        """The PET is now known to be SUV: use it."""
        self.params.pet = node
        self.onParameters()

    def onResetPhysics(self, *_unused: Any) -> None:
        """Back to the preset's own values."""
        self.params.physicsOf = ""
        self.onParameters()

    def onChoosePrior(self, *_unused: Any) -> None:
        """Choose a file of one's own training."""
        import qt

        path = qt.QFileDialog.getOpenFileName(None, _("Choose a prior"), "", "safetensors (*.safetensors)")
        if path:
            self.params.prior = path

    def onNewRegion(self, roi: Any) -> None:
        """A ROI made by the selector has no place yet: give it one to start from."""
        from PETSuperResSlicer.mrml.inputs import place_region

        place_region(roi, self.params)

    def onAdvanced(self, collapsed: bool) -> None:
        """Ask the worker, once, which devices there are when the section is opened."""
        if collapsed or self._facts is not None or self._asking:
            return
        self._asking = True
        self.ui.deviceComboBox.setToolTip(_("Looking for devices..."))
        self.logic.askDevices(self.onDevices)

    def onDevices(self, facts: Any) -> None:
        """The worker's answer: offer what this machine has."""
        self._asking = False
        if facts.get("type") == "error":
            self.say(str(facts.get("message")), status=False, log=facts.get("log") or ())
            return
        self._facts = facts
        self.ui.deviceComboBox.setToolTip(
            _("Where to compute. Choose CPU when the GPU's memory is too small or in use")
        )
        if self.params is not None:
            self.devices.offer(facts, self.params.device)
