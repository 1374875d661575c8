"""The Slicer module: choose a PET, its CT and a scanner; get the super-resolved PET and the lesions' SUVs.

Only the standard library, slicer and vtk are imported here; the backend loads when it is needed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isdir(os.path.join(_SOURCE, "PETSuperResLib")) and _SOURCE not in sys.path:
    sys.path.append(_SOURCE)  # run from the source tree; an installed extension has the library beside this file

DEFAULT_PRESET = "Siemens Biograph mCT"
RESEARCH_USE = "For research use only; not for diagnosis."
REQUIREMENTS = ("safetensors>=0.4", "pydicom>=2.4", "scipy>=1.11", "scikit-image>=0.22")


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


class PETSuperResLogic(ScriptedLoadableModuleLogic):
    """The work without the panel: use it from Slicer's Python console or a script."""

    def presetNames(self) -> list[str]:
        """Names of the bundled scanner presets."""
        from PETSuperResLib.scanner import presets

        return list(presets())

    def ensureDependencies(self) -> None:
        """Install what the backend lacks, after asking; torch through the PyTorch extension."""
        from PETSuperResLib.errors import PETSuperResError

        try:
            import torch  # noqa: F401
        except ImportError:
            try:
                import PyTorchUtils
            except ImportError as error:
                raise PETSuperResError(
                    "PyTorch is missing: install the PyTorch extension from the Extensions Manager and restart Slicer."
                ) from error
            if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
                raise PETSuperResError("PyTorch was not installed, so the PET cannot be super-resolved.") from None
        packaging = getattr(slicer, "packaging", None)
        if packaging is not None:
            packaging.pip_ensure(list(REQUIREMENTS), requester="PETSuperRes")

    def process(
        self,
        petNode: Any,
        ctNode: Any,
        preset: Any = DEFAULT_PRESET,
        quality: str = "standard",
        waitForCompletion: bool = True,
        samples: int = 1,
        seed: int = 0,
        device: str = "auto",
        region: Any = None,
        progress: Callable[[Any], None] | None = None,
        measurement: Any = None,
    ) -> Any:
        """Super-resolve a PET volume node (SUVbw) with its CT; returns the new vtkMRMLScalarVolumeNode.

        ``preset`` is a scanner's name, JSON file or Scanner, ``quality`` draft, standard or paper,
        ``region`` as in :func:`PETSuperResLib.reconstruct`, and ``measurement`` a simulated or given
        sinogram in place of the one made from the PET. The node enters the scene only on success,
        beside the PET in the subject hierarchy, marked as SUVbw and with its provenance as node
        attributes ``PETSuperRes.*``; with ``samples`` above 1 a second node holds their standard deviation
        (node reference ``PETSuperRes.StandardDeviation``). Raises the library's errors; ``progress`` may
        raise Cancelled.
        """
        import PETSuperResMRML as mrml

        from PETSuperResLib import reconstruct
        from PETSuperResLib.errors import InputError

        if petNode is None or ctNode is None:
            raise InputError(f"No {'PET' if petNode is None else 'CT'} volume is selected: choose one.")
        if not waitForCompletion:
            raise InputError("Running in the background is not available yet: call with waitForCompletion=True.")
        pet, ct = mrml.volumeFromNode(petNode), mrml.volumeFromNode(ctNode, "HU")
        extra = {} if measurement is None else {"measurement": measurement}
        result = reconstruct(
            pet,
            ct,
            scanner=preset,
            quality=quality,
            samples=samples,
            seed=seed,
            device=device,
            region=region,
            progress=progress,
            **extra,
        )
        scene = petNode.GetScene() or slicer.mrmlScene
        node = mrml.nodeFromVolume(result.volume, scene.GenerateUniqueName(f"{petNode.GetName()} SR"))
        self._copyUnits(petNode, node, result.volume.unit)
        self._provenance(node, petNode, ctNode, {"quality": quality, "samples": samples, "seed": seed}, result.report)
        node.SetAttribute("PETSuperRes.preset", str(getattr(preset, "name", preset)))
        mrml.addNode(node, scene)
        node.AddNodeReferenceID("PETSuperRes.PET", petNode.GetID())
        node.AddNodeReferenceID("PETSuperRes.CT", ctNode.GetID())
        mrml.placeBeside(node, petNode, scene)
        mrml.showAsPET(node)
        if samples > 1 and result.std is not None:
            spread = mrml.nodeFromVolume(result.std, f"{node.GetName()} standard deviation", scene)
            node.AddNodeReferenceID("PETSuperRes.StandardDeviation", spread.GetID())
            mrml.placeBeside(spread, petNode, scene)
        return node

    def compareLesions(self, petNode: Any, srNode: Any, segmentationNode: Any, referenceNode: Any = None) -> Any:
        """Lesion SUVs in the PET and the super-resolved PET; returns a new vtkMRMLTableNode.

        One row per segment; SUVmax, SUVmean, SUVpeak, MTV and TLG in both and the change in per cent,
        and, with ``referenceNode``, in the reference. The same mask is measured on each image's own
        voxels. Raises :class:`InputError` for an empty segmentation and :class:`GeometryError` for a
        segment outside the PET.
        """
        import PETSuperResMRML as mrml

        from PETSuperResLib import measure_lesions

        nodes = {"PET": petNode, "SR": srNode} | ({} if referenceNode is None else {"reference": referenceNode})
        images = {title: mrml.volumeFromNode(node) for title, node in nodes.items()}
        masks = mrml.masksFromNode(segmentationNode)
        columns = []
        for title, volume in images.items():
            found = []
            for label, (name, mask) in enumerate(masks, 1):
                mask = mask.with_array(mask.array * label)
                found += measure_lesions(volume, mask, names={label: name}, skip_outside=title == "SR")
            columns.append((title, found))
        scene = petNode.GetScene() or slicer.mrmlScene
        table = slicer.vtkMRMLTableNode()
        table.SetName(scene.GenerateUniqueName(f"{petNode.GetName()} lesions"))
        mrml.fillLesionTable(table, columns)
        scene.AddNode(table)
        table.SetAttribute("PETSuperRes.note", RESEARCH_USE)
        mrml.placeBeside(table, petNode, scene)
        return table

    @staticmethod
    def _copyUnits(source: Any, node: Any, unit: str) -> None:
        import PETSuperResMRML as mrml

        if unit in mrml.CODES:
            mrml.markUnit(node, unit)
        elif source.GetVoxelValueUnits() is not None:
            node.SetVoxelValueQuantity(source.GetVoxelValueQuantity())
            node.SetVoxelValueUnits(source.GetVoxelValueUnits())

    @staticmethod
    def _provenance(node: Any, pet: Any, ct: Any, settings: dict[str, Any], report: dict[str, Any]) -> None:
        for key, value in {**settings, "PET": pet.GetName(), "CT": ct.GetName(), "note": RESEARCH_USE}.items():
            node.SetAttribute(f"PETSuperRes.{key}", str(value))
        for key, value in report.items():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            node.SetAttribute(f"PETSuperRes.report.{key}", text)
        uids = pet.GetAttribute("DICOM.instanceUIDs")
        if uids:
            node.SetAttribute("PETSuperRes.sourceInstanceUIDs", uids)


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
