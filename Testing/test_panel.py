"""The panel of the module, used as a user would, in a host on PySide6; screenshots with PETSUPERRES_SCREENSHOTS=DIR."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer_host

if slicer_host.missing():
    pytest.skip(slicer_host.missing(), allow_module_level=True)
import slicer  # noqa: E402

from PETSuperResLib.volume import Volume  # noqa: E402

PRESET = "Siemens Biograph mCT"


class FakeRunner:
    """A worker under the test's control: what :meth:`say` is given is delivered at the next poll."""

    def __init__(self):
        self.running, self.jobs, self.messages = False, [], []
        self.onEvent = lambda message: None
        self.closed = self.automatic = False  # automatic: gives the PET back at once

    def start(self, job, onEvent):
        self.jobs.append(job)
        self.running, self.onEvent = True, onEvent
        if self.automatic:
            self.say("result", files={}, volumes={"sr": job["pet"]}, report={})

    def say(self, kind, **content):
        self.messages.append({"type": kind, **content})

    def cancel(self):
        self.say("cancelled")

    def poll(self):
        while self.messages:
            message = self.messages.pop(0)
            if message["type"] in ("result", "error", "cancelled"):
                self.running = False
            self.onEvent(message)

    def ping(self, onEvent):
        self.onEvent = onEvent
        self.say("pong", devices=["cpu", "cuda:0 Big GPU"], versions={})

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def host():
    return slicer_host.start()


@pytest.fixture
def fake(host, monkeypatch):
    """The panel with a fake runner."""
    runner = FakeRunner()
    import mrml_scene

    module = mrml_scene.load_module()
    logic = module.PETSuperResLogic
    monkeypatch.setattr(module, "PETSuperResLogic", lambda: logic(runner=runner))
    return runner


@pytest.fixture
def panel(host, fake):
    """The opened panel; every test ends without an error in a receiver of a signal, and without a message box."""
    host.reset()
    widget = host.open_module()
    yield widget
    errors, messages = list(host.errors), list(host.messages)
    host.reset()
    assert not errors and not messages


@pytest.fixture
def case(host):
    """PET, CT and segments of a body with two hot cubes."""
    return make_case()


def make_case(name="PET", hot=(4.0, 7.0)):
    import PETSuperResMRML as mrml

    labels = np.zeros((8, 20, 24), np.float32)
    labels[2:5, 4:8, 5:9], labels[3:6, 11:15, 14:19] = 1, 2
    grid = Volume(labels, (3.0, 3.0, 4.0), (-31.0, 12.5, 700.0), unit="label")
    pet = grid.with_array(np.where(labels == 1, hot[0], np.where(labels == 2, hot[1], 1.0)), "SUVbw")
    scene = slicer.mrmlScene
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # Slicer always has one
    nodes = [mrml.nodeFromVolume(pet, name, scene)]
    nodes.append(mrml.nodeFromVolume(pet.with_array(np.where(labels > 0, 40.0, -900.0), "HU"), "CT", scene))
    segments = mrml.segmentationFromLabels(grid, nodes[0], "Lesions", {1: "Liver", 2: "Node"})
    return SimpleNamespace(pet=nodes[0], ct=nodes[1], segments=segments, volume=pet, labels=grid)


def choose(panel, host, case, preset=PRESET):
    """What a user does first: PET, CT, segments, scanner, by the widgets."""
    panel.ui.petSelector.setCurrentNode(case.pet)
    panel.ui.ctSelector.setCurrentNode(case.ct)
    panel.ui.segmentationSelector.setCurrentNode(case.segments)
    panel.ui.presetComboBox.setCurrentIndex(panel.ui.presetComboBox.findText(preset))
    host.spin(0.1)


def finer(case, factor=2.0):
    """The result a fake worker gives: twice as fine, values times ``factor``."""
    fine = case.volume.resample_to(case.volume.grid([s / 2 for s in case.volume.spacing]), "nearest")
    return fine.with_array(factor * fine.array, "SUVbw")


def give(fake, case, factor=2.0, **report):
    fake.say("result", files={}, volumes={"sr": finer(case, factor)}, report={"warnings": [], **report})


def finish(panel, host, fake, case, factor=2.0):
    """Apply and a result, and the lesions measured."""
    panel.ui.applyButton.click()
    give(fake, case, factor)
    assert host.spin(5, until=lambda: not panel.job.running)
    if panel.params.segmentation is not None:
        assert host.spin(5, until=lambda: panel.lesions.measured is not None)
    host.spin(0.05)


def text(panel, row, column):
    return panel.ui.lesionsTable.item(row, column).text()


def nodes_in_scene():
    return {n.GetID() for n in slicer.util.getNodesByClass("vtkMRMLNode")}


def test_apply_waits_for_what_is_missing(panel, host, case):
    ui = panel.ui
    assert not ui.applyButton.enabled and "PET and the CT" in ui.statusLabel.text
    ui.petSelector.setCurrentNode(case.pet)
    ui.ctSelector.setCurrentNode(case.ct)
    host.spin(0.05)
    assert not ui.applyButton.enabled and "scanner" in ui.statusLabel.text
    choose(panel, host, case)
    assert ui.applyButton.enabled and ui.statusLabel.text == ""


def test_pet_and_ct_that_are_marked_as_such_are_suggested(host, fake):
    host.reset()
    case = make_case()
    panel = host.open_module()
    assert panel.params.pet is case.pet and panel.params.ct is case.ct and panel.params.segmentation is case.segments
    assert not panel.ui.applyButton.enabled  # the scanner is not known
    host.reset()


def test_the_phantom_is_offered_as_sample_data(panel, host, case, monkeypatch):
    import PETSuperResSampleData as sample
    import SampleData

    (source,) = SampleData.SampleDataLogic.sampleDataSourcesByCategory(sample.CATEGORY)
    monkeypatch.setattr(sample, "phantomNodes", lambda: [case.pet, case.ct, case.segments])
    nodes = SampleData.SampleDataLogic().downloadFromSource(source)
    assert nodes[0] is case.pet
    composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == case.pet.GetID()


def test_the_modules_own_test_passes_in_the_panel(panel, host):
    from mrml_scene import load_module

    panel.logic._runner.automatic = True
    test = load_module().PETSuperResTest()
    test.setUp()
    test.test_panel()
    assert panel.params.result is not None


def test_choices_are_saved_with_the_scene(panel, host, case):
    choose(panel, host, case)
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.samplesSpinBox.setValue(5)
    panel.ui.seedSpinBox.setValue(42)
    panel.ui.fwhmSpinBox.setValue(6.5)
    panel.ui.thresholdEdit.setText("41%")
    node = panel.logic.getParameterNode()
    assert node.GetParameter("preset") == PRESET and node.GetParameter("quality") == "DRAFT"
    assert node.GetParameter("samples") == "5" and node.GetParameter("seed") == "42"
    assert float(node.GetParameter("fwhm")) == 6.5 and node.GetParameter("threshold") == "41%"
    from PETSuperResParameters import PETSuperResParameters

    again = PETSuperResParameters(node)  # as another session reads them
    assert again.pet is case.pet and again.segmentation is case.segments and again.quality.value == "draft"


def test_the_job_gets_what_was_chosen(panel, host, fake, case):
    choose(panel, host, case)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    roi.SetXYZ((0, -40, 715))
    roi.SetRadiusXYZ((10, 10, 10))
    panel.ui.regionSelector.setCurrentNode(roi)
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.samplesSpinBox.setValue(3)
    panel.ui.seedSpinBox.setValue(9)
    panel.ui.applyButton.click()
    job = fake.jobs[0]
    assert job["scanner"] == PRESET and job["quality"] == "draft" and job["samples"] == 3 and job["seed"] == 9
    assert list(job["region"]) == pytest.approx([-10, 10, 30, 50, 705, 725])
    assert job["pet"].unit == "SUVbw" and "prior" not in job


def test_an_edited_scanner_is_sent_whole_and_goes_back_to_its_preset(panel, host, fake, case):
    choose(panel, host, case)
    preset = panel.ui.fwhmSpinBox.value
    panel.ui.fwhmSpinBox.setValue(7.25)
    panel.ui.applyButton.click()
    assert fake.jobs[0]["scanner"]["fwhm_transaxial_mm"] == 7.25 and fake.jobs[0]["scanner"]["name"] == PRESET
    panel.ui.resetPhysicsButton.click()
    host.spin(0.05)
    assert panel.ui.fwhmSpinBox.value == pytest.approx(preset)


def test_another_preset_brings_its_own_values(panel, host, case):
    from PETSuperResLib.scanner import Scanner

    for name in (PRESET, "GE Discovery ST"):
        choose(panel, host, case, name)
        assert panel.ui.fwhmSpinBox.value == pytest.approx(Scanner.get(name).fwhm_transaxial_mm, abs=0.006)
        assert panel.ui.kernelScaleSpinBox.value == pytest.approx(Scanner.get(name).kernel_scale, abs=0.006)


def test_the_scanner_is_chosen_from_what_the_pet_says(panel, host, case):
    case.pet.SetAttribute("DICOM.Manufacturer", "GE MEDICAL SYSTEMS")
    case.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")
    panel.ui.petSelector.setCurrentNode(case.pet)
    host.spin(0.05)
    assert panel.ui.presetComboBox.currentText == "GE Discovery 690/710"


def test_progress_preview_and_result(panel, host, fake, case):
    choose(panel, host, case)
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel" and panel.ui.progressBar.visible
    fake.say("progress", fraction=0.4, stage="slices 1-8 of 8", message="step 2 of 8", remaining_s=75.0)
    fake.say("preview", volume=finer(case, 1.5))
    host.spin(2, until=lambda: panel.job.preview is not None)
    assert panel.ui.progressBar.value == 40
    assert panel.ui.statusLabel.text == "slices 1-8 of 8, step 2 of 8, 1 min 15 s left"
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert panel.job.preview.GetID() in {c.GetForegroundVolumeID() for c in composites}
    shown = panel.job.preview
    fake.say("preview", volume=finer(case, 1.8))
    host.spin(0.3)
    assert panel.job.preview is shown and slicer.util.arrayFromVolume(shown).max() == pytest.approx(1.8 * 7)
    give(fake, case, warnings=["The CT covers 90 % of the PET's activity."])
    assert host.spin(2, until=lambda: not panel.job.running)
    result = panel.params.result
    assert shown.GetScene() is None and not panel.ui.progressBar.visible and panel.ui.applyButton.text == "Apply"
    assert result.GetNodeReference("PETSuperRes.PET") is case.pet
    assert result.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    window = [n.GetDisplayNode().GetWindow() for n in (case.pet, result)]
    colours = [n.GetDisplayNode().GetColorNodeID() for n in (case.pet, result)]
    assert window[0] == window[1] and colours[0] == colours[1] and "PET" in colours[0]
    assert result.GetID() in {c.GetForegroundVolumeID() for c in composites}
    assert "covers 90 %" in panel.ui.logText.toPlainText()
    host.spin(2, until=lambda: panel.lesions.measured is not None)
    classes = sorted(slicer.mrmlScene.GetNodeByID(i).GetClassName() for i in nodes_in_scene() - before)
    assert [c for c in classes if "Volume" in c and "Display" not in c] == ["vtkMRMLScalarVolumeNode"]


def test_the_lesion_table_follows_the_segments(panel, host, fake, case):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    ui, table = panel.ui, panel.lesions.table
    assert ui.lesionsTable.rowCount == 2 and text(panel, 0, 0) == "Liver"
    assert text(panel, 0, 1) == "4.00\n8.00\n+100 %" and table.GetNumberOfRows() == 2
    hot = case.segments.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(case.segments, hot, case.pet)
    mask[:] = case.labels.array == 2  # redraw the first segment over the second lesion
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, case.segments, hot, case.pet)
    assert host.spin(5, until=lambda: text(panel, 0, 1).startswith("7.00"))
    assert panel.lesions.table is table
    case.segments.GetSegmentation().RemoveSegment(hot)
    assert host.spin(5, until=lambda: ui.lesionsTable.rowCount == 1) and table.GetNumberOfRows() == 1
    case.segments.GetSegmentation().GetNthSegment(0).SetName("Renamed")
    assert host.spin(5, until=lambda: text(panel, 0, 0) == "Renamed")


def test_another_segmentation_is_measured_when_it_is_chosen(panel, host, fake, case):
    import PETSuperResMRML as mrml

    choose(panel, host, case)
    finish(panel, host, fake, case)
    everything = case.labels.with_array((case.labels.array > 0).astype(np.float32))
    other = mrml.segmentationFromLabels(everything, case.pet, "Others", {1: "Both"})
    panel.ui.segmentationSelector.setCurrentNode(other)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 1) and text(panel, 0, 0) == "Both"
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 0)


def test_a_stroke_of_changes_is_measured_once(panel, host, fake, case, monkeypatch):
    import PETSuperResLesions as lesions

    choose(panel, host, case)
    finish(panel, host, fake, case)
    calls, measure = [], lesions.measure

    def count(*arguments):
        calls.append(1)
        return measure(*arguments)

    monkeypatch.setattr(lesions, "measure", count)
    for _ in range(20):
        case.segments.GetSegmentation().GetNthSegment(0).Modified()
        case.segments.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
        host.spin(0.02)
    host.spin(1.0)
    assert len(calls) == 1


def test_a_wrong_threshold_is_told_and_a_right_one_is_used(panel, host, fake, case):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    panel.ui.thresholdEdit.setText("much")
    assert host.spin(5, until=lambda: "MTV threshold 'much'" in panel.ui.lesionsLabel.text)
    assert panel.ui.lesionsTable.rowCount == 0
    panel.ui.thresholdEdit.setText("6.5")
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 2)
    assert text(panel, 0, 4).startswith("0.00")  # 4 SUV is below the threshold in the PET


def test_a_click_on_a_row_jumps_to_the_lesion(panel, host, fake, case):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    panel.ui.lesionsTable.cellClicked(1, 0)
    wanted = np.array([*panel.lesions.measured.centres[1], 1.0])
    for name in ("Red", "Green", "Yellow"):
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        matrix = slicer.vtkMRMLSliceNode.GetXYToRAS(node)
        xyz = np.linalg.inv(slicer.util.arrayFromVTKMatrix(matrix)) @ wanted
        assert abs(xyz[2]) < 0.01  # the slice goes through the lesion ...
        assert all(0 < xyz[axis] < node.GetDimensions()[axis] for axis in (0, 1))  # ... which is in sight


def test_copy_and_csv(panel, host, fake, case, tmp_path):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    panel.ui.copyButton.click()
    assert slicer.app.clipboard().text().splitlines()[0].startswith("Lesion\tSUVmax PET [g/mL]\tSUVmax SR [g/mL]")
    path = tmp_path / "lesions.csv"
    host.files.append(str(path))
    panel.ui.csvButton.click()
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [float(row["SUVmax SR [g/mL]"]) for row in rows] == pytest.approx([8, 14])
    panel.lesions.export(str(tmp_path / "nowhere" / "lesions.csv"))
    assert "could not be written" in panel.ui.statusLabel.text


def test_compare_layout_difference_plot_and_the_key(panel, host, fake, case):
    import PETSuperResCompare as compare

    choose(panel, host, case)
    finish(panel, host, fake, case)
    panel.ui.compareButton.click()
    result = panel.params.result
    assert host.spin(5, until=lambda: result.GetNodeReference(compare.DIFFERENCE) is not None)
    manager = slicer.app.layoutManager()
    assert manager.layout == compare.LAYOUT_ID
    composites = {name: manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode() for name in compare.VIEWS}
    difference = result.GetNodeReference(compare.DIFFERENCE)
    shown = {"pet": case.pet, "sr": result, "difference": difference}
    for name, (_label, _orientation, kind) in compare.VIEWS.items():
        assert composites[name].GetForegroundVolumeID() == shown[kind].GetID()
        assert composites[name].GetBackgroundVolumeID() == case.ct.GetID() and composites[name].GetLinkedControl()
    panel.ui.plotButton.click()
    host.spin(0.1)
    view = slicer.mrmlScene.GetSingletonNode(compare.PLOT_VIEW, "vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() == panel.params.chart.GetID()
    panel.ui.plotMeasureComboBox.setCurrentIndex(3)
    host.spin(0.05)
    assert panel.params.chart.GetNthPlotSeriesNode(1).GetYColumnName() == "MTV SR"
    panel.shortcut.activated()
    assert composites["PETSuperResLR"].GetForegroundVolumeID() == result.GetID()
    assert composites["PETSuperResSR"].GetForegroundVolumeID() == case.pet.GetID()
    panel.ui.switchButton.click()
    assert composites["PETSuperResLR"].GetForegroundVolumeID() == case.pet.GetID()


def test_cancel_leaves_nothing_behind(panel, host, fake, case):
    choose(panel, host, case)
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    composite.SetForegroundVolumeID(case.pet.GetID())
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    fake.say("preview", volume=finer(case))
    host.spin(2, until=lambda: panel.job.preview is not None)
    began = time.monotonic()
    panel.ui.applyButton.click()
    assert host.spin(2, until=lambda: not panel.job.running) and time.monotonic() - began < 1
    assert nodes_in_scene() == before and composite.GetForegroundVolumeID() == case.pet.GetID()
    assert "Cancelled" in panel.ui.statusLabel.text and panel.ui.applyButton.text == "Apply"
    finish(panel, host, fake, case)
    assert panel.params.result is not None


def test_an_error_of_the_worker_is_shown_with_its_remedy(panel, host, fake, case):
    choose(panel, host, case)
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    fake.say("error", message="The backend process ended unexpectedly: press Apply to try again.")
    assert host.spin(2, until=lambda: not panel.job.running)
    assert "press Apply to try again" in panel.ui.statusLabel.text and nodes_in_scene() == before
    assert "press Apply" in panel.ui.logText.toPlainText() and panel.ui.applyButton.enabled


def test_closing_the_scene_stops_the_job_and_starts_anew(panel, host, fake, case):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    panel.ui.applyButton.click()
    fake.say("preview", volume=finer(case))
    host.spin(0.3)
    host.scene.Clear(0)
    host.spin(0.2)
    assert not panel.job.running and panel.params.pet is None and not panel.ui.applyButton.enabled
    assert panel.ui.lesionsTable.rowCount == 0
    again = make_case("Second")
    choose(panel, host, again)
    fake.messages.clear()
    panel.logic._task.running = False
    finish(panel, host, fake, again)
    assert panel.params.result.GetNodeReference("PETSuperRes.PET") is again.pet


def test_ten_runs_leave_ten_results_and_nothing_else(panel, host, fake, case):
    cases = [case, make_case("Other", (5.0, 3.0))]
    choose(panel, host, case)
    finish(panel, host, fake, case)
    counts = []
    for number in range(10):
        choose(panel, host, cases[number % 2])
        panel.ui.applyButton.click()
        fake.say("preview", volume=finer(cases[number % 2]))
        give(fake, cases[number % 2])
        assert host.spin(5, until=lambda: not panel.job.running)
        host.spin(0.7)
        counts.append(slicer.mrmlScene.GetNumberOfNodes())
    assert len(set(np.diff(counts))) == 1  # a result with its display node and its table, each time
    assert len(panel.lesions._volumes) <= 4


def test_devices_are_asked_for_when_the_section_is_opened(panel, host, case):
    box = panel.ui.deviceComboBox
    assert box.count == 2
    panel.ui.advancedButton.collapsed = False
    assert host.spin(2, until=lambda: box.count == 3)
    assert box.itemText(0) == "Automatic: Big GPU" and box.itemText(2) == "Big GPU (cuda:0)"
    box.setCurrentIndex(2)
    assert panel.params.device == "cuda:0"
    panel.params.device = "cuda:5"  # from a scene of another machine
    assert box.currentText == "cuda:5 (not on this machine)"


def test_the_priors_card_and_a_wrong_file(panel, host, fake, case, tmp_path):
    assert "trained on" in panel.ui.priorLabel.text
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing of the kind")
    choose(panel, host, case)
    host.files.append(str(wrong))
    panel.ui.priorButton.click()
    host.spin(0.05)
    assert "not a PETSuperRes prior" in panel.ui.priorLabel.text
    panel.ui.applyButton.click()
    assert "not a PETSuperRes prior" in panel.ui.statusLabel.text and not fake.jobs


def test_unknown_units_are_asked_for(panel, host, fake, case):
    import PETSuperResMRML as mrml

    case.pet.SetVoxelValueUnits(None)
    choose(panel, host, case)
    ui = panel.ui
    assert "are they SUV?" in ui.unitsLabel.text and ui.unitsButton.text == "They are SUV"
    ui.applyButton.click()
    assert "press 'They are SUV'" in ui.statusLabel.text and not fake.jobs
    ui.unitsButton.click()
    host.spin(0.05)
    assert mrml.unitOfNode(case.pet) == "SUVbw" and not ui.unitsButton.visible
    ui.applyButton.click()
    assert len(fake.jobs) == 1


def test_concentrations_are_converted_by_what_is_stated(panel, host, case):
    import PETSuperResMRML as mrml

    case.pet.SetVoxelValueUnits(None)
    mrml.setVoxels(case.pet, case.volume, case.volume.array * 2500)
    choose(panel, host, case)
    ui = panel.ui
    assert ui.unitsForm.visible and "Bq/mL" in ui.unitsLabel.text
    ui.unitsButton.click()
    assert "patient's weight" in ui.statusLabel.text
    ui.weightSpinBox.setValue(70)
    ui.doseSpinBox.setValue(350)
    ui.injectedEdit.setText("10:00")
    ui.scannedEdit.setText("10:00")
    ui.unitsButton.click()
    host.spin(0.1)
    made = panel.params.pet
    assert made is not case.pet and made.GetName() == "PET SUV" and not ui.unitsForm.visible
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made).max(), 7 * 2500 * 70e3 / 350e6, rtol=1e-5)


def _same(panel, case):
    panel.ui.ctSelector.setCurrentNode(case.pet)


def _ct_as_pet(panel, case):
    panel.ui.petSelector.setCurrentNode(case.ct)
    panel.ui.ctSelector.setCurrentNode(case.pet)


def _empty_roi(panel, case):
    panel.ui.regionSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Nothing"))


def _no_voxels(panel, case):
    panel.ui.ctSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow"))


def _no_prior(panel, case):
    panel.ui.priorEdit.setText("/nowhere/prior.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_same, "chosen as PET and as CT: choose the CT"),
        (_ct_as_pet, "in HU, so a CT"),
        (_empty_roi, "'Nothing' is empty: place the ROI"),
        (_no_voxels, "'Hollow' has no voxels: load"),
        (_no_prior, "No prior at /nowhere/prior.safetensors"),
    ],
)
def test_bad_input_says_what_to_do(panel, host, fake, case, spoil, message):
    choose(panel, host, case)
    spoil(panel, case)
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    host.spin(0.05)
    assert message in panel.ui.statusLabel.text and not panel.job.running and not fake.jobs
    assert nodes_in_scene() == before and panel.ui.applyButton.text == "Apply"


def test_segments_without_a_voxel_are_told_where_the_table_would_be(panel, host, fake, case):
    choose(panel, host, case)
    hollow = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Undrawn")
    hollow.GetSegmentation().AddEmptySegment("lesion")
    panel.ui.segmentationSelector.setCurrentNode(hollow)
    panel.ui.applyButton.click()
    give(fake, case)
    assert host.spin(5, until=lambda: "draw at least one segment" in panel.ui.lesionsLabel.text)
    assert panel.params.result is not None


def test_torch_missing_is_told(panel, host, fake, case, monkeypatch):
    from PETSuperResLib.errors import PETSuperResError

    def lacking():
        raise PETSuperResError("PyTorch is missing: install the PyTorch extension and restart Slicer.")

    monkeypatch.setattr(panel.logic, "ensureDependencies", lacking)
    choose(panel, host, case)
    panel.ui.applyButton.click()
    assert "install the PyTorch extension" in panel.ui.statusLabel.text and not fake.jobs


def test_save_as_dicom_names_the_files_or_the_reason(panel, host, fake, case, tmp_path, monkeypatch):
    from PETSuperResLib.errors import OutputError

    choose(panel, host, case)
    finish(panel, host, fake, case)
    asked = []

    def save(*arguments):
        asked.append(arguments)
        return ["a", "b"]

    monkeypatch.setattr(panel.logic, "saveAsDicom", save)
    host.files.append(str(tmp_path))
    panel.ui.dicomButton.click()
    assert asked == [(panel.params.result, str(tmp_path))] and "Wrote 2 DICOM files" in panel.ui.statusLabel.text

    def full(*_arguments):
        raise OutputError("No space left: choose another folder.")

    monkeypatch.setattr(panel.logic, "saveAsDicom", full)
    panel.result.saveDicom(str(tmp_path))
    assert "choose another folder" in panel.ui.statusLabel.text


def test_leaving_the_module_gives_the_key_back_and_closing_it_ends_the_worker(panel, host, fake):
    module = slicer.modules.petsuperres
    assert panel.shortcut is not None
    module.exit()
    assert panel.shortcut is None
    module.enter()
    assert panel.shortcut is not None
    module.close()
    host.process()
    assert fake.closed


def test_a_real_worker_from_sample_data_to_the_table(host, tmp_path):
    """The whole way with the process: phantom, Apply, progress, preview, result, lesions, a second run."""
    import PETSuperResSampleData as sample
    import tiny

    tiny.tiny_prior(tmp_path)
    host.reset()
    panel = host.open_module()
    pet, ct, segments = sample.phantomNodes(shape=(8, 64, 96), lesions=2)
    choose(panel, host, SimpleNamespace(pet=pet, ct=ct, segments=segments), "Paper standard")
    panel.ui.priorEdit.setText(str(tmp_path / "cross-attention.safetensors"))
    panel.ui.qualityComboBox.setCurrentIndex(0)
    seen: list[int] = []
    panel.ui.progressBar.connect("valueChanged(int)", seen.append)
    for _run in range(2):
        panel.ui.applyButton.click()
        assert panel.job.running, panel.ui.statusLabel.text
        assert host.spin(120, until=lambda: not panel.job.running)
        assert panel.params.result is not None, panel.ui.statusLabel.text
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 2)
    assert max(seen) > 50 and panel.params.result.GetSpacing()[0] == pytest.approx(2.0)
    folder = os.environ.get("PETSUPERRES_SCREENSHOTS")
    if folder:
        host.screenshot(host.window, Path(folder) / "real_worker.png")
    assert not host.errors and not host.messages
    host.reset()
