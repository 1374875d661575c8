"""The panel's results, used as a user would: lesion table, plot, comparison, export."""

from __future__ import annotations

import csv
import sys
import time
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from panel_case import choose, finish, responsive, text
from PETSuperResSlicer.mrml import compare, provenance
from PETSuperResSlicer.mrml import lesion_table as lesions
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import segmentation_from_labels
from PETSuperResSlicer.worker import client

from PETSuperResLib import suv_volume
from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.measures import COLUMNS


def shown(panel, row):
    return [text(panel, row, column) for column in range(panel.ui.lesionsTable.columnCount)]


def tip(panel, row):
    return panel.ui.lesionsTable.item(row, 0).toolTip()


def test_the_lesion_table_follows_the_segments(panel, host, fake, case, result):
    ui, table = panel.ui, panel.lesions.table
    assert ui.lesionsTable.rowCount == 2 and text(panel, 0, 0) == "1 Liver"
    name, volume, pet, _, sr, *recovered = shown(panel, 0)
    assert (name, volume, recovered) == ("1 Liver", "1.73", ["-", "-"]) and table.GetNumberOfRows() == 2
    assert float(sr) == pytest.approx(2 * float(pet), rel=0.1) and "run it again" in ui.lesionsLabel.text
    panel.ui.plotMeasureComboBox.setCurrentIndex(2)
    host.spin(0.05)
    assert shown(panel, 0)[2:5] == ["4.00", "4.00", "8.00"] and "SUVmean [g/mL]: PET 4.00" in tip(panel, 0)
    assert tip(panel, 0).startswith("1 Liver\n")
    hot = case.segments.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(case.segments, hot, case.pet)
    mask[:] = case.labels.array == 2  # redraw the first segment over the second lesion
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, case.segments, hot, case.pet)
    assert host.spin(5, until=lambda: text(panel, 0, 2) == "7.00")
    assert panel.lesions.table is table
    case.segments.GetSegmentation().RemoveSegment(hot)
    assert host.spin(5, until=lambda: ui.lesionsTable.rowCount == 1) and table.GetNumberOfRows() == 1
    case.segments.GetSegmentation().GetNthSegment(0).SetName("Renamed")
    assert host.spin(5, until=lambda: text(panel, 0, 0) == "1 Renamed")


def test_another_segmentation_is_measured_when_it_is_chosen(panel, host, fake, case, result):
    everything = case.labels.with_array((case.labels.array > 0).astype(np.float32))
    other = segmentation_from_labels(everything, case.pet, "Others", {1: "Both"})
    panel.ui.segmentationSelector.setCurrentNode(other)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 1) and text(panel, 0, 0) == "1 Both"
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 0)


def test_voxels_changed_from_the_console_are_measured_and_the_result_is_told_to_be_of_others(panel, host, case, result):
    """As of another frame of a sequence; ``arrayFromVolumeModified`` tells less than other changes do."""
    before, other = float(text(panel, 0, 2)), "no longer has the voxels that this result was made from"
    assert other not in panel.ui.lesionsLabel.text
    for what in ("noise", "resolution"):
        result.SetAttribute(f"PETSuperRes.report.{what}", "{}")  # without them nothing is recovered anyhow
    slicer.util.arrayFromVolume(case.pet)[:] *= 3
    slicer.util.arrayFromVolumeModified(case.pet)
    assert host.spin(5, until=lambda: float(text(panel, 0, 2)) == pytest.approx(3 * before, rel=0.01))
    shown = panel.ui.lesionsLabel.text.splitlines()
    assert [line.startswith(f"'PET' {other}") for line in shown].count(True) == 1 and "Nothing is recovered." in shown
    case.pet.SetName("PET of another day")
    assert host.spin(5, until=lambda: "'PET of another day'" in panel.ui.lesionsLabel.text)


def test_a_stroke_of_changes_is_measured_once(panel, host, fake, case, result, monkeypatch):
    calls, measure = [], lesions.measure

    def count(*arguments):
        calls.append(1)
        return measure(*arguments)

    monkeypatch.setattr(lesions, "measure", count)
    panel.lesions.timer.setInterval(250)  # as for a user
    for _ in range(20):
        case.segments.GetSegmentation().GetNthSegment(0).Modified()
        case.segments.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
        host.spin(0.02)
    host.spin(0.6)
    assert len(calls) == 1


def test_other_choices_leave_table_and_plot_as_they_are(panel, host, compared):
    cell, chart = panel.ui.lesionsTable.item(0, 0), panel.params.chart
    drawn = chart.GetMTime()
    panel.ui.petOpacitySlider.setValue(0.7)
    panel.ui.qualityComboBox.setCurrentIndex(0)
    host.spin(0.05)
    assert panel.ui.lesionsTable.item(0, 0) is cell and chart.GetMTime() == drawn
    panel.ui.plotMeasureComboBox.setCurrentIndex(2)
    host.spin(0.05)
    assert panel.ui.lesionsTable.horizontalHeaderItem(0).text().startswith("SUVmax") and chart.GetMTime() > drawn


def test_a_wrong_threshold_is_told_and_a_right_one_is_used(panel, host, fake, case, result):
    panel.ui.thresholdEdit.setText("much")
    assert host.spin(5, until=lambda: "MTV threshold 'much'" in panel.ui.lesionsLabel.text)
    assert panel.ui.lesionsTable.rowCount == 0
    panel.ui.thresholdEdit.setText("6.5")
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 2)
    panel.ui.plotMeasureComboBox.setCurrentIndex(3)
    host.spin(0.05)
    assert text(panel, 0, 2) == "0.00"  # 4 SUV is below the threshold in the PET


def test_a_click_on_a_row_jumps_to_the_lesion(panel, host, fake, case, result):
    panel.ui.lesionsTable.cellClicked(1, 0)
    wanted = np.array([*panel.lesions.measured.centres[1], 1.0])
    for name in ("Red", "Green", "Yellow"):
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        matrix = slicer.vtkMRMLSliceNode.GetXYToRAS(node)
        xyz = np.linalg.inv(slicer.util.arrayFromVTKMatrix(matrix)) @ wanted
        assert abs(xyz[2]) < 0.01  # the slice goes through the lesion ...
        assert all(0 < xyz[axis] < node.GetDimensions()[axis] for axis in (0, 1))  # ... which is in sight


def test_copy_and_csv(panel, host, fake, case, result, tmp_path):
    panel.ui.copyButton.click()
    assert slicer.app.clipboard().text().splitlines()[0] == "\t".join(COLUMNS)
    path = tmp_path / "lesions.csv"
    host.files.append(str(path))
    panel.ui.csvButton.click()
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["method"] for row in rows[::2]] == ["lr", "lr-on-grid", "ours-standard"]
    assert [float(row["suvmax"]) for row in rows if row["method"] == "ours-standard"] == pytest.approx([8, 14])
    assert {(row["threshold"], row["suv_unit"]) for row in rows} == {("2.5", "SUVbw g/mL")}
    panel.lesions.export(str(path / "lesions.csv"))  # no folder
    assert "choose another folder" in panel.ui.statusLabel.text


def test_copy_and_csv_wait_for_what_is_recovered(panel, host, result, monkeypatch):
    asked, buttons = [], (panel.ui.copyButton, panel.ui.csvButton)
    monkeypatch.setattr(panel.logic, "recoverLesions", lambda _result, *question: asked.append(question))
    for answer in ("done", "failed", "lesions gone"):
        panel.lesions.refresh()
        assert host.spin(5, until=lambda: asked)
        measured, done, failed = asked.pop()
        assert panel.ui.lesionsTable.rowCount and panel.ui.plotButton.enabled
        assert not any(button.enabled for button in buttons)
        assert {button.toolTip for button in buttons} == {"Uptake is being recovered from the data: wait for it."}
        if answer == "done":
            done(measured.recovered(measured.columns["sr"]))
        elif answer == "failed":
            failed(InputError("No data."))
        else:
            panel.params.segmentation = None
            assert {button.toolTip for button in buttons} == {"No lesion is measured: see above."}
        assert all(button.enabled == (answer != "lesions gone") for button in buttons)


@pytest.fixture
def compared(panel, host, fake, case, result):
    """A result that is compared with its PET."""
    panel.ui.compareButton.click()
    assert host.spin(5, until=lambda: result.GetNodeReference(provenance.DIFFERENCE) is not None)
    return result


def test_compare_shows_pet_result_difference_and_plot(panel, host, case, compared):
    manager = slicer.app.layoutManager()
    assert manager.layout == compare.LAYOUT_ID
    shown = {"pet": case.pet, "sr": compared, "difference": compared.GetNodeReference(provenance.DIFFERENCE)}
    for name, (_label, _orientation, kind) in compare.VIEWS.items():
        composite = manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        assert composite.GetForegroundVolumeID() == shown[kind].GetID()
        assert composite.GetBackgroundVolumeID() == case.ct.GetID() and composite.GetLinkedControl()
    view = slicer.mrmlScene.GetSingletonNode(compare.PLOT_VIEW, "vtkMRMLPlotViewNode")
    assert panel.params.chart is not None and view.GetPlotChartNodeID() == panel.params.chart.GetID()
    panel.ui.plotMeasureComboBox.setCurrentIndex(3)
    host.spin(0.05)
    assert panel.params.chart.GetNthPlotSeriesNode(1).GetYColumnName() == "sr_mtv_ml"
    view.SetPlotChartNodeID(None)
    panel.ui.plotButton.click()
    assert view.GetPlotChartNodeID() == panel.params.chart.GetID()


def test_the_plot_appears_when_lesions_are_drawn_while_comparing(panel, host, fake, case):
    choose(panel, host, case)
    panel.ui.segmentationSelector.setCurrentNode(None)
    finish(panel, host, fake, case)
    panel.ui.compareButton.click()
    view = slicer.mrmlScene.GetSingletonNode(compare.PLOT_VIEW, "vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() is None
    panel.ui.segmentationSelector.setCurrentNode(case.segments)
    assert host.spin(5, until=lambda: view.GetPlotChartNodeID() is not None)


def test_pet_and_result_keep_one_window_while_compared(panel, host, case, compared):
    displays = [node.GetDisplayNode() for node in (case.pet, compared)]
    displays[0].AutoWindowLevelOff()
    displays[0].SetWindowLevel(20, 9)
    assert (displays[1].GetWindow(), displays[1].GetLevel()) == (20, 9)
    displays[1].SetWindowLevel(4, 2)
    assert (displays[0].GetWindow(), displays[0].GetLevel()) == (4, 2)
    slicer.app.layoutManager().setLayout(3)
    displays[0].SetWindowLevel(20, 9)
    assert displays[1].GetWindow() == 4


def test_segments_are_outlines_while_compared(panel, host, case, compared):
    other = segmentation_from_labels(case.labels, case.pet, "Others")
    panel.ui.segmentationSelector.setCurrentNode(other)
    host.spin(0.05)
    displays = [node.GetDisplayNode() for node in (case.segments, other)]
    assert all(not d.GetVisibility2DFill() and d.GetVisibility2DOutline() for d in displays)
    displays[1].SetVisibility2DFill(True)  # by the user
    panel.ui.seedSpinBox.setValue(3)
    assert displays[1].GetVisibility2DFill()
    slicer.app.layoutManager().setLayout(3)
    assert all(d.GetVisibility2DFill() for d in displays)


def test_the_key_exchanges_pet_and_result_and_the_view_says_what_it_shows(panel, host, case, compared):
    manager = slicer.app.layoutManager()
    views = [manager.sliceWidget(f"PETSuperRes{name}").sliceLogic() for name in ("LR", "SR")]
    panel.shortcut.activated()
    shown = [view.GetSliceCompositeNode().GetForegroundVolumeID() for view in views]
    assert shown == [compared.GetID(), case.pet.GetID()]
    assert views[0].GetSliceNode().GetLayoutLabel() == "SR"
    panel.ui.switchButton.click()
    assert views[0].GetSliceCompositeNode().GetForegroundVolumeID() == case.pet.GetID()
    assert views[0].GetSliceNode().GetLayoutLabel() == "PET"


def test_the_rows_have_their_height_before_the_table_is_shown(panel, host, fake, case):
    """Rows sized by a table without a width once were 86 pixels high."""
    choose(panel, host, case)
    panel.ui.lesionsButton.collapsed = True
    finish(panel, host, fake, case)
    table = panel.ui.lesionsTable
    line = table.fontMetrics().lineSpacing()
    assert [table.rowHeight(row) for row in range(2)] == [line + 8] * 2
    panel.ui.lesionsButton.collapsed = False
    host.spin(0.1)
    assert table.viewport().height >= 2 * (line + 8)


@pytest.mark.parametrize("comparing", [False, True])
def test_an_earlier_result_can_be_chosen_again(panel, host, fake, case, result, comparing):
    first = text(panel, 0, 4)
    finish(panel, host, fake, case, factor=3.0)
    second = panel.params.result
    assert second is not result and panel.ui.resultSelector.currentNode() is second
    assert host.spin(5, until=lambda: text(panel, 0, 4) != first)
    if comparing:
        panel.ui.compareButton.click()
        host.spin(0.2)
    panel.ui.resultSelector.activate(result)
    assert panel.params.result is result and host.spin(5, until=lambda: text(panel, 0, 4) == first)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    seen = [node for node in composites if node.GetLayoutName().startswith("PETSuperRes") is comparing]
    shown = {node.GetForegroundVolumeID() for node in seen}
    assert result.GetID() in shown and second.GetID() not in shown
    panel.ui.resultSelector.setCurrentNode(case.pet)  # is not offered
    assert panel.params.result is None and not panel.ui.compareButton.enabled


def test_a_deleted_result_leaves_nothing_to_be_pressed(panel, host, case, compared):
    slicer.mrmlScene.RemoveNode(compared)
    host.spin(0.1)
    buttons = [getattr(panel.ui, f"{name}Button") for name in ("compare", "switch", "dicom", "plot", "copy", "csv")]
    assert panel.params.result is None and not any(button.enabled for button in buttons)
    assert panel.ui.lesionsLabel.text == "Press Apply: PET and result are compared here."


def test_a_result_whose_pet_was_deleted_asks_for_the_pet(panel, host, fake, case, result):
    slicer.mrmlScene.RemoveNode(case.pet)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 0)
    assert panel.ui.lesionsLabel.text.startswith("The PET of this result was deleted")


@pytest.fixture
def saved(panel, tmp_path, monkeypatch):
    """A result of a PET series in the database: (source's folder, its SUVs as shown)."""
    import pydicom
    from dicom_factory import Scan, pet_slices, suv_pattern, write_series

    def make(shape=(6, 5, 4), zoom=2):
        source = write_series(pet_slices(Scan(weight_kg=400.0), suv_pattern(shape)), tmp_path / "source")
        files = {pydicom.dcmread(f, specific_tags=["SOPInstanceUID"]).SOPInstanceUID: str(f) for f in source.iterdir()}
        monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(fileForInstance=files.get), raising=False)
        pet = suv_volume(source)
        grid = pet.grid((pet.spacing[0] / zoom, pet.spacing[1] / zoom, pet.spacing[2]))
        values = np.random.default_rng(0).gamma(1.0, 2.0, grid.shape).astype(np.float32)
        node = mrml.node_from_volume(grid.with_array(values, "SUVbw"), "SR", slicer.mrmlScene)
        node.SetAttribute("PETSuperRes.sourceInstanceUIDs", " ".join(files))
        panel.params.result = node
        return grid.with_array(values, "SUVbw")

    return make


def test_save_as_dicom_names_the_files_or_the_reason(panel, host, saved, tmp_path):
    volume = saved()
    (tmp_path / "out").mkdir()
    host.files.append(str(tmp_path / "out"))
    panel.ui.dicomButton.click()
    assert not panel.ui.dicomButton.enabled and "Writing DICOM files" in panel.ui.statusLabel.text
    assert host.spin(20, until=lambda: panel.ui.dicomButton.enabled)
    assert f"Wrote {volume.shape[0]} DICOM files to {tmp_path / 'out'}" in panel.ui.statusLabel.text
    np.testing.assert_allclose(suv_volume(tmp_path / "out").array, volume.array, rtol=1e-3, atol=1e-3)
    panel.result.save_dicom(str(tmp_path / "out"))
    assert host.spin(20, until=lambda: panel.ui.dicomButton.enabled)
    assert "is not empty: choose a new folder" in panel.ui.statusLabel.text
    panel.params.result.RemoveAttribute("PETSuperRes.sourceInstanceUIDs")
    panel.result.save_dicom(str(tmp_path / "other"))
    assert "not in Slicer's DICOM database" in panel.ui.statusLabel.text and not (tmp_path / "other").exists()


def test_a_series_that_lacks_what_is_recovered_says_so(panel, host, saved, tmp_path, monkeypatch):
    saved()
    monkeypatch.setattr(panel.lesions, "recovering", True)
    panel.result.save_dicom(str(tmp_path / "out"))
    assert host.spin(20, until=lambda: panel.ui.dicomButton.enabled)
    assert "Wrote" in panel.ui.statusLabel.text and "save again for a report with it" in panel.ui.statusLabel.text


def test_save_as_dicom_writes_the_lesions_of_the_table(panel, host, saved, tmp_path):
    """SEG and structured report by the worker, of overlapping segments too."""
    import highdicom as hd
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels

    volume = saved((6, 12, 12))
    pet = mrml.node_from_volume(suv_volume(tmp_path / "source"), "PET", slicer.mrmlScene)
    labels = np.zeros((6, 12, 12))
    labels[1:3, 2:6, 2:6], labels[2:5, 7:11, 3:9] = 1, 2
    grid = suv_volume(tmp_path / "source").with_array(labels, "label")
    segments = segmentation_from_labels(grid, pet, "Lesions", {1: "Liver", 2: "Node"})
    panel.params.result.SetNodeReferenceID("PETSuperRes.PET", pet.GetID())
    panel.params.segmentation, panel.params.threshold = segments, "41%"
    assert host.spin(10, until=lambda: panel.lesions.measured is not None)
    panel.result.save_dicom(str(tmp_path / "out"))
    assert host.spin(60, until=lambda: panel.ui.dicomButton.enabled)
    assert f"Wrote {volume.shape[0] + 2} DICOM files" in panel.ui.statusLabel.text
    report = hd.sr.srread(tmp_path / "out" / "SR.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    found = {(g.tracking_identifier, g.method.meaning): g.get_measurements()[0].value for g in groups}
    columns = {"Input PET": "pet", "Super-resolved PET": "sr"}
    wanted = {
        (lesion.name, title): lesion.suvmax
        for title, image in columns.items()
        for lesion in panel.lesions.measured.columns[image]
    }
    assert found == pytest.approx(wanted) and len(found) == 4
    assert "MTV and measured TLG from 41% of SUVmax" in {e.value for e in report.iterall() if e.keyword == "TextValue"}
    written = panel.logic.saveAsDicom(panel.params.result, tmp_path / "console", lesions=segments)
    assert len(written) == volume.shape[0] + 2


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))  # writing beyond fails, as on a full disk
from PETSuperResLib.worker.serve import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_while_saving_is_told_with_what_is_kept(panel, host, saved, tmp_path, monkeypatch):
    saved()
    command = [sys.executable, "-c", LIMITED, "--with-client"]
    monkeypatch.setattr(client, "WorkerClient", partial(client.WorkerClient, command=command))
    panel.result.save_dicom(str(tmp_path / "out"))
    assert host.spin(20, until=lambda: panel.ui.dicomButton.enabled)
    told = panel.ui.statusLabel.text
    assert "could not be written: File too large" in told and told.endswith("The result is still in the scene.")
    assert "Traceback" not in told and panel.params.result.GetScene() is not None
    assert not (tmp_path / "out").exists()


@pytest.mark.timing
def test_saving_a_whole_body_as_dicom_leaves_the_panel_responsive(panel, host, saved, tmp_path):
    volume = saved((160, 200, 200), 2)
    host.spin(0.3)
    folders = (tmp_path / f"out{run}" for run in count())

    def save():
        folder = next(folders)
        panel.result.save_dicom(str(folder))
        assert host.spin(120, until=lambda: panel.ui.dicomButton.enabled)
        assert len(list(folder.iterdir())) == volume.shape[0]

    responsive(host, save)


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_series_that_is_not_finished_leaves_nothing(panel, host, saved, tmp_path, how):
    """Slicer is quit while it saves, or dies."""
    saved((60, 150, 150), 2)
    target = tmp_path / "new" / "out"
    panel.result.save_dicom(str(target))
    assert host.spin(30, until=lambda: len(list(target.glob(".part-*"))) > 3)  # half-way
    if how == "closed":
        panel.cleanup()
    else:
        panel.result.saving.runner.process.process.closeWriteChannel()  # what the worker sees of it
        ends = time.monotonic() + 10
        while target.parent.exists() and time.monotonic() < ends:
            time.sleep(0.05)
    assert not target.parent.exists()
