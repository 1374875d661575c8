"""The Slicer module: choose a PET, its CT and a scanner; get the super-resolved PET and the lesions' SUVs.

Only the standard library, slicer and vtk are imported here; the backend loads when it is needed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import slicer
import vtk
from PETSuperResSlicer.logic import DEFAULT_PRESET as DEFAULT_PRESET
from PETSuperResSlicer.logic import RESEARCH_USE, PETSuperResLogic
from PETSuperResSlicer.self_test import PETSuperResTest as PETSuperResTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

LABEL_WIDTH = 84  # pixels
PACKAGES = ("PETSuperResSlicer", "PETSuperResLib")  # ours, which Slicer's Reload leaves as they are


class PETSuperRes(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PET Super-Resolution")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        parent.dependencies = ["Volumes", "Segmentations", "Markups", "Colors", "Tables", "Plots", "VolumeRendering"]
        parent.contributors = ["The PETSuperRes contributors"]
        parent.helpText = _(
            "Makes a super-resolved PET volume from a PET and its CT by posterior sampling under the "
            "scanner's physics, and compares lesion SUVs before and after."
        )
        parent.acknowledgementText = _(RESEARCH_USE)
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Offer the phantom in Sample Data, the SUVs in Segment Statistics, and the compare layout to saved scenes.

        A custom application may be built without either module.
        """
        from PETSuperResSlicer.mrml.compare import register_layout

        register_layout()
        if importlib.util.find_spec("SampleData") is not None:
            from PETSuperResSlicer import sample_data

            icon = os.path.join(os.path.dirname(__file__), "Resources", "Icons", "PETSuperRes.png")
            sample_data.register(icon)
        register_statistics()


def register_statistics() -> None:
    """Offer the SUVs in Segment Statistics, where Slicer has that module."""
    if importlib.util.find_spec("SegmentStatistics") is not None:
        from PETSuperResSlicer import segment_statistics

        segment_statistics.register()


class PETSuperResWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It holds the parts together, which are in PETSuperResSlicer/panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.params: Any = None
        self.shortcut: Any = None
        self._updating = False

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
                place = widget.parentWidget().layout()
                if isinstance(place, qt.QGridLayout):
                    place.setColumnMinimumWidth(0, LABEL_WIDTH)  # in all sections alike
                else:
                    widget.setMinimumWidth(LABEL_WIDTH)
                widget.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        self.logic = PETSuperResLogic()
        from PETSuperResSlicer.panel.followup import FollowUpPanel
        from PETSuperResSlicer.panel.lesions import LesionsPanel
        from PETSuperResSlicer.panel.overlay import OverlayPanel
        from PETSuperResSlicer.panel.petct import PetCtPanel
        from PETSuperResSlicer.panel.result import ResultPanel
        from PETSuperResSlicer.panel.run import RunPanel
        from PETSuperResSlicer.panel.selectors import Selectors
        from PETSuperResSlicer.panel.settings import SettingsPanel
        from PETSuperResSlicer.panel.spheres import SpheresPanel
        from PETSuperResSlicer.panel.status import Status
        from PETSuperResSlicer.panel.units import UnitsPanel

        self.status = Status(self.ui)
        self.settings = SettingsPanel(self.ui, self.logic, self.status)
        self.selectors = Selectors(self.ui, self.onParameters)
        self.units = UnitsPanel(self.ui, self.logic, self.onConverted, self.status)
        self.lesions = LesionsPanel(self.ui, self.logic, self.status)
        self.overlay = OverlayPanel(self.ui)
        self.result = ResultPanel(self.ui, self.logic, self.status, self.lesions)
        self.petct = PetCtPanel(self.ui, self.status)
        self.spheres = SpheresPanel(self.ui, self.status)
        self.run = RunPanel(self.ui, self.logic, self.status, self.result.take)
        self.followUp = FollowUpPanel(self.ui, self.logic, self.status)
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
        """Developer mode: load the module's package and the library anew with its file, and open the new panel.

        This panel is cleaned up meanwhile, which ends its worker processes: those of the new one are of the changed
        library, as Slicer's side of them is. Other packages, torch among them, stay.
        """
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        if slicer.modules.PETSuperResWidget is not self:  # it could be loaded
            register_statistics()
            slicer.modules.PETSuperResWidget.enter()

    def onSceneStartClose(self, *_unused: Any) -> None:
        """The scene closes: stop the job, release the parameters."""
        self.setParameterNode(None)

    def onSceneEndClose(self, *_unused: Any) -> None:
        """The scene is empty: start anew."""
        self.initializeParameterNode()

    def onSceneEndImport(self, *_unused: Any) -> None:
        """A scene was loaded: its parameters refer to nodes that now exist. A running job continues."""
        if self.run.running or self.followUp.running:
            self.params.parameterNode.Modified()  # the selectors, which were filled anew, show the choices again
            return
        self.setParameterNode(None)
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameters."""
        from PETSuperResSlicer.panel.parameters import parameters_of

        node = self.logic.getParameterNode()
        if self.params is None or self.params.parameterNode is not node:
            params, reasons = parameters_of(node)
            self.setParameterNode(params)
            self.result.tell()
            for reason in reasons:
                text = _("A setting saved in the scene is not used. {reason}")
                self.status.say(text.format(reason=reason), error=True)

    def setParameterNode(self, params: Any) -> None:
        """Bind the widgets to other parameters; None unbinds them."""
        if self.params is not None:
            self._updating = True  # what the parts remove must not be followed
            for part in (self.run, self.result, self.lesions, self.overlay, self.petct, self.spheres, self.followUp):
                part.close()
            self._updating = False
            self.removeObservers(self.onParameters)
        self.params = params
        self.settings.bind(params)
        if params is not None:
            # after the wrapper's own observer, before which its values are old
            self.addObserver(params.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameters, priority=-1.0)
        self.onParameters()

    def onParameters(self, *_unused: Any) -> None:
        """Something was chosen: follow it everywhere in the panel."""
        if self._updating:
            return
        self._updating = True
        self.status.choice_changed()
        try:
            self.settings.update()
            pet, ct = (None, None) if self.params is None else (self.params.pet, self.params.ct)
            self.selectors.watch(pet, ct)
            self.units.show(pet)
            self.result.update(self.params)
            self.lesions.update(self.params)
            self.overlay.update(self.params)
            self.petct.update(self.params, self.units.found)
            self.spheres.update(self.params, self.units.found)
            self.run.update(self.params, self.units.found)
            self.followUp.update(self.params)
        finally:
            self._updating = False

    def onConverted(self, node: Any) -> None:
        """The PET is now known to be SUV: use it."""
        self.params.pet = node
        self.onParameters()
