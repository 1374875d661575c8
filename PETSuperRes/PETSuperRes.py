"""The Slicer module: choose a PET, its CT and a scanner; get the super-resolved PET and the lesions' SUVs.

Only the standard library, slicer and vtk are imported here; the backend loads when it is needed.
"""

from __future__ import annotations

from typing import Any

import slicer
from PETSuperResLogic import DEFAULT_PRESET, RESEARCH_USE, PETSuperResLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class PETSuperRes(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PET Super-Resolution")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Nuclear Medicine")]
        parent.dependencies = ["Volumes", "Segmentations", "Tables"]
        parent.contributors = ["The PETSuperRes contributors"]
        parent.helpText = _(
            "Makes a super-resolved PET volume from a PET and its CT by posterior sampling under the "
            "scanner's physics, and compares lesion SUVs before and after."
        )
        parent.acknowledgementText = _(RESEARCH_USE)


class PETSuperResWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: inputs, scanner, quality, Apply that turns into Cancel, progress."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: PETSuperResLogic | None = None
        self.running = False
        self.cancelRequested = False

    def setup(self) -> None:
        """Load the panel, fill the lists and connect the controls."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/PETSuperRes.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = PETSuperResLogic()
        names = self.logic.presetNames()
        self.ui.presetComboBox.addItems(names)
        if DEFAULT_PRESET in names:
            self.ui.presetComboBox.setCurrentIndex(names.index(DEFAULT_PRESET))
        self.ui.qualityComboBox.addItems(["draft", "standard", "paper"])
        self.ui.qualityComboBox.setCurrentIndex(1)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        for selector in (self.ui.petSelector, self.ui.ctSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self.updateApply)
        self.ui.progressBar.setVisible(False)
        self.updateApply()

    def cleanup(self) -> None:
        """Stop a running job and drop the observers when Slicer closes the module."""
        self.cancelRequested = True
        self.removeObservers()

    def updateApply(self, *_unused: Any) -> None:
        """Enable Apply when a PET and a CT are chosen; the button says what is missing."""
        if self.running:
            return
        pet, ct = self.ui.petSelector.currentNode(), self.ui.ctSelector.currentNode()
        missing = [name for name, node in (("PET", pet), ("CT", ct)) if node is None]
        self.ui.applyButton.setEnabled(not missing)
        self.ui.applyButton.setText(_("Apply"))
        wanted = _("Choose the {what}").format(what=_(" and the ").join(missing))
        hint = wanted if missing else _("Super-resolve the PET")
        self.ui.applyButton.setToolTip(hint)

    def onApply(self, *_unused: Any) -> None:
        """Run the job, or cancel the running one."""
        if self.running:
            self.cancelRequested = True
            self.ui.statusLabel.setText(_("Cancelling..."))
            return
        from PETSuperResLib.errors import Cancelled

        self.running, self.cancelRequested = True, False
        self.ui.applyButton.setText(_("Cancel"))
        self.ui.progressBar.setVisible(True)
        try:
            with slicer.util.tryWithErrorDisplay(_("PET super-resolution failed.")):
                try:
                    self._run()
                except Cancelled as error:
                    self.ui.statusLabel.setText(str(error))
        finally:
            self.running = False
            self.ui.progressBar.setVisible(False)
            self.updateApply()

    def _run(self) -> None:
        pet, segmentation = self.ui.petSelector.currentNode(), self.ui.segmentationSelector.currentNode()
        self.logic.ensureDependencies()
        result = self.logic.process(
            pet,
            self.ui.ctSelector.currentNode(),
            preset=str(self.ui.presetComboBox.currentText),
            quality=str(self.ui.qualityComboBox.currentText),
            progress=self.onProgress,
        )
        slicer.util.setSliceViewerLayers(background=result)
        text = _("Made {name}.").format(name=result.GetName())
        if segmentation is not None:
            table = self.logic.compareLesions(pet, result, segmentation)
            text += " " + _("Lesion SUVs are in {name}.").format(name=table.GetName())
        self.ui.statusLabel.setText(text)

    def onProgress(self, event: Any) -> None:
        """Show one step of the job and let the user interrupt it."""
        from PETSuperResLib.errors import Cancelled

        left = "" if event.remaining_s is None else _(", {seconds:.0f} s left").format(seconds=event.remaining_s)
        self.ui.progressBar.setValue(int(100 * event.fraction))
        self.ui.statusLabel.setText(f"{event.message or event.stage}{left}")
        slicer.app.processEvents()
        if self.cancelRequested:
            raise Cancelled()


class PETSuperResTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer: a generated phantom through the whole path."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_phantom()

    def test_phantom(self) -> None:
        """A generated PET/CT comes back as a new SUV volume, with a row for every lesion."""
        import PETSuperResMRML as mrml

        from PETSuperResLib.training.phantoms import torso_phantom

        self.delayDisplay("Making a phantom")
        phantom = torso_phantom(4, shape=(6, 64, 96), spacing=(4.0, 4.0, 4.0), lesions=2)
        pet = mrml.nodeFromVolume(phantom.pet, "Phantom PET", slicer.mrmlScene)
        ct = mrml.nodeFromVolume(phantom.ct, "Phantom CT", slicer.mrmlScene)
        segmentation = mrml.segmentationFromLabels(phantom.labels, pet, "Phantom lesions")
        logic = PETSuperResLogic()
        result = logic.process(pet, ct, quality="draft")
        self.assertEqual(mrml.unitOfNode(result), "SUVbw")
        table = logic.compareLesions(pet, result, segmentation)
        self.assertEqual(table.GetNumberOfRows(), segmentation.GetSegmentation().GetNumberOfSegments())
        self.delayDisplay("Test passed")
