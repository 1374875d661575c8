"""The module's self-test, which Slicer finds in PETSuperRes.py under its name."""

from __future__ import annotations

import time
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from PETSuperResSlicer.logic import PETSuperResLogic

_Base = ScriptedLoadableModuleTest  # by another name: see PETSuperResLogic


class PETSuperResTest(_Base):
    """Self-test inside Slicer: a generated phantom through the whole path, in the panel and without it."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (self.test_phantom, self.test_panel, self.test_view):
            self.setUp()
            test()

    def phantom(self) -> tuple[Any, Any, Any]:
        """PET, CT and segmentation node of a small generated case."""
        from PETSuperResSlicer.sample_data import phantom_nodes

        self.delayDisplay("Making a phantom")
        pet, ct, segmentation = phantom_nodes(shape=(6, 64, 96), lesions=2)
        return pet, ct, segmentation

    def test_phantom(self) -> None:
        """A generated PET/CT comes back as a new SUV volume, with a row for every lesion."""
        from PETSuperResSlicer.mrml import volumes as mrml

        pet, ct, segmentation = self.phantom()
        logic = PETSuperResLogic()
        result = logic.process(pet, ct, preset="Paper standard", quality="draft")
        self.assertEqual(mrml.unit_of_node(result), "SUVbw")
        table = logic.compareLesions(pet, result, segmentation)
        self.assertEqual(table.GetNumberOfRows(), segmentation.GetSegmentation().GetNumberOfSegments())
        self.delayDisplay("Test passed")

    def test_panel(self) -> None:
        """The panel runs the case in its process, measures the lesions and compares."""
        pet, ct, segmentation = self.phantom()
        slicer.util.selectModule("PETSuperRes")
        panel = slicer.modules.PETSuperResWidget
        panel.initializeParameterNode()
        panel.params.pet, panel.params.ct, panel.params.segmentation = pet, ct, segmentation
        panel.ui.qualityComboBox.setCurrentIndex(0)
        self.assertEqual(panel.ui.presetComboBox.currentText, "Paper standard")
        self.assertTrue(panel.ui.applyButton.enabled)
        panel.ui.applyButton.click()
        self.waitUntil(lambda: not panel.run.running, 300)
        self.assertIsNotNone(panel.params.result, panel.ui.statusLabel.text)
        self.waitUntil(lambda: panel.lesions.measured is not None, 30)
        self.assertEqual(panel.lesions.table.GetNumberOfRows(), segmentation.GetSegmentation().GetNumberOfSegments())
        panel.ui.compareButton.click()
        panel.ui.plotButton.click()
        self.delayDisplay("Test passed")

    def test_view(self) -> None:
        """PET/CT is shown and put back; a placed sphere is measured."""
        from PETSuperResSlicer.mrml import spheres
        from PETSuperResSlicer.mrml import volumes as mrml

        pet, ct, _segmentation = self.phantom()
        slicer.util.selectModule("PETSuperRes")
        panel = slicer.modules.PETSuperResWidget
        panel.initializeParameterNode()
        panel.params.pet, panel.params.ct = pet, ct
        panel.ui.petctButton.click()
        self.assertTrue(panel.petct.display.is_on)
        self.delayDisplay("PET/CT")
        panel.params.spheres = spheres.new_list(slicer.mrmlScene)
        middle = mrml.ras_bounds(pet).mean(0)
        panel.params.spheres.AddControlPoint(*middle)
        self.waitUntil(lambda: panel.spheres.figures, 10)
        (figures,) = next(iter(panel.spheres.figures.values()))
        self.assertEqual(figures, panel.logic.sphere(pet, middle))
        panel.params.spheres = None
        panel.ui.petctButton.click()
        self.assertFalse(panel.petct.display.is_on)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLVolumeRenderingDisplayNode")), 0)
        self.delayDisplay("Test passed")

    def waitUntil(self, done: Any, seconds: float) -> None:
        """Run the event loop until ``done()``, or fail."""
        end = time.monotonic() + seconds
        while not done():
            self.assertLess(time.monotonic(), end, "it takes too long")
            slicer.app.processEvents()
            time.sleep(0.02)
