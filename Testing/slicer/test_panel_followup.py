"""The follow-up section of the panel: studies, comparison, corrected pairs, references, plot, CTs, CSV; and console."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from dicom_factory import Scan, pet_slices, tracer, write_series
from PETSuperResSlicer.mrml import followup, provenance, references
from PETSuperResSlicer.mrml import followup_view as view
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import segmentation_from_labels
from PETSuperResSlicer.panel.studies import ROWS, fill
from PETSuperResSlicer.worker.client import read_outputs, write_inputs

from PETSuperResLib.errors import InputError
from PETSuperResLib.files import strict
from PETSuperResLib.followup import compare
from PETSuperResLib.progress import at_once
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.job import Tools
from PETSuperResLib.worker.jobs import JOBS

GRID = Volume(np.zeros((20, 24, 24)), (4.0, 4.0, 4.0), (-46.0, -46.0, 0.0))
PLACES = ((1, 2), (13, 2), (13, 16))  # slice and row
LIVER, BLOOD = (2.0, 1.5)  # SUV of the left and of the right half


def study(name: str, *lesions: tuple[int, float], ct: bool = False):
    """PET, segmentation and CT nodes of a study with cubes of 2 cm at some of the places."""
    labels, pet = np.zeros(GRID.shape, np.float32), np.full(GRID.shape, LIVER, np.float32)
    pet[:, :, 12:] = BLOOD
    for label, (place, suv) in enumerate(lesions, 1):
        k, j = PLACES[place]
        block = (slice(k, k + 5), slice(j, j + 5), slice(2, 7))
        labels[block], pet[block] = label, suv
    node = mrml.node_from_volume(GRID.with_array(pet, "SUVbw"), name, slicer.mrmlScene)
    drawn = GRID.with_array(labels, "label")
    segments = segmentation_from_labels(drawn, node, f"{name} lesions") if lesions else None
    hu = GRID.with_array(np.where(pet > 0, 40.0, -1000.0), "HU")
    return node, segments, mrml.node_from_volume(hu, f"{name} CT", slicer.mrmlScene) if ct else None


@pytest.fixture
def answer(fake, tmp_path, host):
    """Give the answer of a real job to the panel."""
    count = iter(range(100))

    def give(panel=None):
        if panel is not None:
            assert host.spin(5, until=lambda: fake.running)
        folder = tmp_path / str(next(count))
        folder.mkdir()
        fields = at_once(write_inputs(fake.jobs[-1], folder))
        files, report = JOBS["followup"].from_message(fields).run(Tools(None, lambda event: None, lambda file: None))
        volumes = at_once(read_outputs({name: str(file) for name, file in files.items()}))
        fake.say("result", volumes=volumes, report=strict(report))
        if panel is not None:
            assert host.spin(10, until=lambda: not panel.followUp.running)
            assert host.spin(5, until=lambda: panel.ui.followUpClassesLabel.text)

    return give


def add(panel, *nodes):
    ui = panel.ui
    for selector, node in zip((ui.studySelector, ui.studySegmentationSelector, ui.studyCtSelector), nodes, strict=True):
        selector.setCurrentNode(node)
    ui.studyAddButton.click()


@pytest.fixture
def two(panel):
    """Lesions at 0 and 1 of which the second vanishes, and a new one at 2; the first falls from 10 to 5."""
    for name, lesions in (("before", ((0, 10.0), (1, 8.0))), ("after", ((2, 6.0), (0, 5.0)))):
        add(panel, *study(name, *lesions))


@pytest.fixture
def compared(panel, two, answer):
    """Two studies that were compared."""
    panel.ui.followUpCompareButton.click()
    answer(panel)
    return panel.params.followUp


def column(panel, number, name="followUpTable"):
    table = getattr(panel.ui, name)
    return [table.item(row, number).text() for row in range(table.rowCount)]


def test_two_studies_are_compared_in_the_background(panel, host, compared):
    ui = panel.ui
    assert column(panel, 0) == ["Lesion 1", "Lesion 2", "Lesion 3"]
    ui.followUpMeasureComboBox.setCurrentIndex(ui.followUpMeasureComboBox.findText("SUVmax [g/mL]"))
    assert column(panel, 2) == ["10.00", "8.00", "2.00\nnot yet"]
    assert column(panel, 3) == ["5.00, -50 % *", "2.00, -75 % *\nvanished", "6.00\nnew"]
    assert column(panel, 2, "pairsTable") == ["1", "2", "3", "1"]
    assert "PERCIST PMD: progressive metabolic disease" in ui.followUpClassesLabel.text
    assert "taken as aligned" in ui.followUpLabel.text and "research use" in ui.followUpLabel.text
    assert compared.GetNumberOfRows() == 6 and not ui.followUpCtButton.enabled


def test_the_table_tells_a_place_that_is_still_hot(compared):
    report = followup.report_of(compared)
    (gone,) = (row for row in report["rows"] if row["status"] == "vanished")
    assert gone["still_hot"] == ""
    gone["still_hot"] = "yes"
    assert [row[3].splitlines()[1:] for row in view.cells(report, "suvmax")] == [
        [], ["vanished", "place still hot"], ["new"]]  # fmt: skip


def test_the_weight_that_made_the_suvs_goes_with_a_converted_pet(panel, host, fake):
    for name in ("before", "after"):
        nodes = study(name, (0, 10.0))
        provenance.set_suv_evidence(nodes[0], {"used": {"weight": {"value": 70.0}}})
        add(panel, *nodes)
    panel.ui.followUpCompareButton.click()
    assert host.spin(5, until=lambda: fake.running)
    assert [one["about"]["suv"]["used"]["weight"]["value"] for one in fake.jobs[-1]["studies"]] == [70.0, 70.0]


def of_tracers(panel, monkeypatch, folder, *names):
    """Studies whose PETs are of a DICOM file each that names a tracer."""
    files = {}
    for number, name in enumerate(names):
        datasets = pet_slices(Scan())[:1]
        tracer(datasets)[0].Radiopharmaceutical = name
        files[str(number)] = str(next(write_series(datasets, folder / f"dicom{number}").iterdir()))
    database = SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""), fileValue=lambda path, tag: "")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    for number, name in enumerate(names):
        nodes = study(f"study {name}", (0, 10.0))
        nodes[0].SetAttribute("DICOM.instanceUIDs", str(number))
        add(panel, *nodes)


def test_of_another_tracer_than_fdg_no_class_is_told(panel, monkeypatch, tmp_path, answer):
    of_tracers(panel, monkeypatch, tmp_path, "FDG", "Fluorocholine")
    panel.ui.followUpCompareButton.click()
    answer(panel)
    report = followup.report_of(panel.params.followUp)
    assert [visit["tracer"] for visit in report["visits"]] == ["fdg", "fluorocholine"]
    assert any("different tracers" in note for note in report["warnings"])
    assert "are of FDG, not of FLUOROCHOLINE" in panel.ui.followUpClassesLabel.text


def test_a_corrected_pair_is_compared_again(panel, host, fake, compared, answer):
    panel.ui.pairsTable.item(2, 2).setText("2")  # the new one is the vanished one, moved
    answer(panel)
    assert fake.jobs[-1]["pairs"] == [1, 2, 2, 1]
    assert column(panel, 0) == ["Lesion 1", "Lesion 2"] and "vanished" not in column(panel, 3)[1]
    panel.ui.pairsTable.item(2, 2).setText("x")
    assert "'x' is no lesion" in panel.ui.followUpLabel.text and column(panel, 2, "pairsTable")[2] == "2"
    assert not panel.followUp.running


def test_studies_are_ordered_renamed_and_removed(panel, host, compared):
    ui = panel.ui
    assert column(panel, 0, "studiesTable") == ["before", "after"]
    ui.studiesTable.selectRow(1)
    ui.studyUpButton.click()
    assert column(panel, 0, "studiesTable") == ["after", "before"] and ui.followUpTable.rowCount == 0
    ui.studiesTable.item(0, 0).setText("March")
    assert [s.name for s in panel.followUp.studies] == ["March", "before"]
    ui.studiesTable.selectRow(0)
    ui.studyRemoveButton.click()
    assert column(panel, 0, "studiesTable") == ["before"] and not ui.followUpCompareButton.enabled


def test_a_cancelled_comparison_leaves_the_studies(panel, host, fake, two):
    panel.ui.followUpCompareButton.click()
    assert host.spin(5, until=lambda: fake.running) and panel.ui.followUpCompareButton.text == "Cancel"
    assert not panel.ui.studyAddButton.enabled and not panel.ui.studiesTable.enabled
    fake.say("progress", fraction=0.4, stage="registering, rigid", message="", remaining_s=8.0)
    assert host.spin(5, until=lambda: panel.ui.followUpProgressBar.value == 40)
    assert panel.ui.followUpLabel.text == "registering, rigid, 8 s left"
    panel.ui.followUpCompareButton.click()
    assert host.spin(5, until=lambda: not panel.followUp.running)
    assert panel.ui.followUpCompareButton.text == "Compare" and len(panel.followUp.studies) == 2
    assert panel.ui.studyAddButton.enabled


def test_what_cannot_be_compared_is_told(panel, host, fake):
    add(panel, *study("before", (0, 9.0), ct=True))
    add(panel, *study("after", (0, 5.0)))
    panel.ui.followUpCompareButton.click()
    assert host.spin(5, until=lambda: "Study 'after' has no CT" in panel.ui.followUpLabel.text)
    assert not fake.jobs and not panel.followUp.running
    plain = mrml.node_from_volume(replace(GRID, unit=""), "plain", slicer.mrmlScene)
    add(panel, plain, None, None)
    assert len(panel.followUp.studies) == 2 and "plain" in panel.ui.followUpLabel.text


def test_moving_a_reference_updates_the_classes(panel, host, compared):
    table, found = (
        panel.params.followUp,
        [{"liver": {"centre": [-30.0, 30.0, 40.0]}, "blood": {"centre": [30.0, 0, 40]}}],
    )
    references.place(table, panel.followUp.studies, found * 2)
    panel.followUp.show()
    assert host.spin(5, until=lambda: panel.ui.followUpClassesLabel.text)
    text = panel.ui.followUpClassesLabel.text
    assert "before: liver 2.00 +- 0.00; blood 1.50 +- 0.00; Deauville 5.\n" in text
    assert "% SUVbw. Weight, height or sex is not known" in text and ".;" not in text
    liver = references.markups(table, 2)[0]["liver"]
    assert liver.GetDisplayNode().GetGlyphSize() == 30.0
    liver.SetNthControlPointPosition(0, -28.0, -20.0, 20.0)  # RAS: into the other half
    assert host.spin(5, until=lambda: "before: liver 1.50" in panel.ui.followUpClassesLabel.text)
    slicer.mrmlScene.RemoveNode(liver)
    panel.followUp.show_classes()
    assert "before: blood 1.50 +- 0.00; Deauville -" in panel.ui.followUpClassesLabel.text


def test_a_study_whose_pet_was_deleted_is_not_in_the_list(panel, host, fake, compared, answer):
    table, region = panel.params.followUp, {"liver": {"centre": [-30.0, 30.0, 40.0]}}
    references.place(table, panel.followUp.studies, [region] * 2)
    slicer.mrmlScene.RemoveNode(panel.followUp.studies[0].pet)
    assert column(panel, 0, "studiesTable") == ["after"] and not panel.ui.followUpCompareButton.enabled
    panel.followUp.show_classes()
    assert "The PET of a study was deleted" in panel.ui.followUpClassesLabel.text
    assert panel.ui.followUpTable.rowCount == 3  # what was compared stays
    panel.ui.studiesTable.selectRow(0)
    panel.ui.studyRemoveButton.click()
    assert column(panel, 0, "studiesTable") == [] and panel.ui.followUpTable.rowCount == 0
    assert references.markups(table, 2) == [{}, {}]


def test_a_pet_that_is_deleted_during_a_comparison_is_told(panel, host, fake, two, answer):
    panel.ui.followUpCompareButton.click()
    assert host.spin(5, until=lambda: fake.running)
    slicer.mrmlScene.RemoveNode(panel.followUp.studies[0].pet)
    answer()
    assert host.spin(5, until=lambda: not panel.followUp.running)
    assert "The PET of a study was deleted" in panel.ui.followUpLabel.text
    assert column(panel, 0, "studiesTable") == ["after"] and panel.ui.followUpTable.rowCount == 0


def test_the_plot_has_a_line_for_every_lesion(panel, host, compared):
    panel.ui.followUpPlotButton.click()
    chart = compared.GetNodeReference(view.CHART)
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [s.GetName() for s in series] == ["Lesion 1 PET", "Lesion 2 PET", "Lesion 3 PET"]
    assert chart.GetXAxisTitle() == "Study: 1 before, 2 after" and "SUVpeak" in chart.GetYAxisTitle()
    panel.ui.followUpMeasureComboBox.setCurrentIndex(1)
    values = series[0] and chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    assert [values.GetColumnByName("Lesion 1 PET").GetValue(n) for n in range(2)] == [10.0, 5.0]
    assert chart.GetYAxisTitle() == "SUVmax [g/mL]" and chart.GetNumberOfPlotSeriesNodes() == 3


def test_a_line_of_what_was_recovered_has_its_intervals_and_every_line_a_name_of_its_own(panel, host, compared):
    report = followup.report_of(compared)
    for row in list(report["rows"]):
        fitted = {"suvpeak_recovered": row["suvpeak"], "suvpeak_low": 3.0, "suvpeak_high": 4.0}
        report["rows"].append(row | fitted | {"image": "sr"})
    compared.SetAttribute(followup.REPORT, json.dumps(report))
    chart = view.update_chart(compared, "suvpeak")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    names = [s.GetName() for s in series]
    kinds = ("PET", "SR", "recovered")
    assert names == [f"Lesion {number} {kind}" for number in (1, 2, 3) for kind in kinds]
    values = series[0].GetTableNode().GetTable()
    points = np.array([[values.GetColumnByName(c).GetValue(n) for n in range(9)] for c in ("Study", names[2])])
    np.testing.assert_array_equal(points[0], [1, 2, 2, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(points[1, 2:], [np.nan, 3, 4, np.nan, 3, 4, np.nan])
    assert np.isnan([values.GetColumnByName(names[0]).GetValue(n) for n in range(2, 9)]).all()
    panel.ui.followUpPlotButton.click()
    host.spin(0.1)


def test_the_table_has_the_intervals_of_what_was_recovered_and_of_its_change(compared):
    report = followup.report_of(compared)
    change = {"percent": -29.0, "low": -38.4, "high": -20.6, "real": "yes"}
    fitted = {"suvpeak_recovered": 5.1, "suvpeak_low": 4.62, "suvpeak_high": 5.9}
    fitted |= {f"suvpeak_recovered_change_{part}": value for part, value in change.items()}
    rows = [row | fitted | {"image": "sr"} for row in report["rows"] if row["visit"] == 2]
    texts = [cell for row in view.cells(report | {"rows": rows}, "suvpeak") for cell in row]
    assert any("5.10 (4.6 to 5.9), -29 % (-38 to -21) *" in text for text in texts)


@pytest.mark.parametrize(
    ("number", "name", "title"),
    [(3, "Liver", "3 Liver"), (3, "3 Liver", "3 Liver"), (5, "Lesion 1", "Lesion 5"), (5, "Segment_2", "Lesion 5")],
)
def test_a_lesion_is_named_once(number, name, title):
    assert view.title_of(number, name) == title


def test_names_of_many_lines_are_small_enough_for_the_plot(compared):
    report = followup.report_of(compared)
    fonts = []
    for count in (1, 30):
        rows = [row | {"lesion": row["lesion"] + 3 * n} for n in range(count) for row in report["rows"]]
        compared.SetAttribute(followup.REPORT, json.dumps(report | {"rows": rows}))
        fonts.append(view.update_chart(compared, "suvpeak").GetLegendFontSize())
    assert fonts[0] == 12 and fonts[1] < fonts[0]


def test_the_csv_is_that_of_the_command_line(panel, host, compared, tmp_path):
    from PETSuperResLib.followup.lesions import COLUMNS

    host.files.append(str(tmp_path / "followup.csv"))
    panel.ui.followUpCsvButton.click()
    rows = list(csv.DictReader((tmp_path / "followup.csv").read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS and [row["visit_name"] for row in rows[:2]] == ["before", "after"]


def test_a_click_jumps_to_the_lesion(panel, host, compared):
    panel.ui.followUpTable.cellClicked(2, 3)
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    z = GRID.ijk_to_lps[2, 3] + 4.0 * 15
    assert abs(node.GetSliceOffset() - z) < 6


def test_registered_cts_are_shown_and_hidden(panel, host, answer, monkeypatch):
    from PETSuperResLib.followup.registration import Registration, sitk

    still = sitk.Transform(3, sitk.sitkIdentity)
    monkeypatch.setattr(
        compare, "register", lambda first, later, *_: Registration(still, still, 1.0, 1.0, 0, 0, first, later)
    )
    for name, suv in (("before", 9.0), ("after", 6.0)):
        add(panel, *study(name, (0, suv), ct=True))
    panel.ui.followUpCompareButton.click()
    answer(panel)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    before = composite.GetBackgroundVolumeID(), composite.GetCompositing()
    panel.ui.followUpCtButton.click()
    shown = [
        slicer.mrmlScene.GetNodeByID(i) for i in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
    ]
    assert [node.GetName() for node in shown] == ["before CT", "after on before CT"]
    assert [node.GetDisplayNode().GetColorNodeID() for node in shown] == [followup.MAGENTA, followup.GREEN]
    assert composite.GetCompositing() == composite.Add
    drawn = slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")
    assert drawn and not any(display.GetVisibility2DFill() for display in drawn)
    panel.ui.followUpCtButton.click()
    assert all(display.GetVisibility2DFill() for display in drawn)
    assert (composite.GetBackgroundVolumeID(), composite.GetCompositing()) == before
    panel.ui.followUpCtButton.click()
    panel.followUp.compare()
    assert not panel.ui.followUpCtButton.checked
    assert (composite.GetBackgroundVolumeID(), composite.GetCompositing()) == before
    answer(panel)
    names = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert names.count("after on before CT") == 1  # in place of the earlier one


def test_a_result_brings_its_pet_and_ct(panel, host, case, result):
    found = followup.study_of(result, case.segments)
    assert (found.pet, found.ct, found.result) == (case.pet, case.ct, result)
    job = at_once(followup.job_steps([found, found]))
    assert len(job["results"]) == 2 and [s["masks"] for s in job["studies"]] == [["Liver", "Node"]] * 2
    slicer.mrmlScene.RemoveNode(case.pet)
    with pytest.raises(InputError, match="no longer in the scene"):
        followup.study_of(result)


def test_from_the_console_and_after_loading_the_scene(panel, host, fake, answer):
    studies = [study("before", (0, 10.0))[:2], study("after", (0, 5.0))[:2]]
    tables = []
    panel.logic.compareStudies(studies, waitForCompletion=False, threshold="41%", onDone=tables.append)
    answer()
    assert host.spin(5, until=lambda: tables)
    [table] = tables
    assert fake.jobs[-1]["threshold"] == "41%"
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert {"lesion", "suvmax", "suvmax_change_percent"} <= set(names) and "suvmax_recovered" not in names
    panel.params.followUp = table  # as of a scene that was loaded
    host.spin(0.1)
    assert column(panel, 0) == ["Lesion 1"] and column(panel, 0, "studiesTable") == ["before", "after"]


def test_no_row_of_the_tables_is_cut_or_covered(panel, host, compared):
    """Also when Qt has asked for the height of the section at its preferred width, of more lines of text, too."""
    ui = panel.ui
    for name in ("inputs", "scanner", "advanced", "view", "result", "lesions", "spheres"):
        getattr(ui, f"{name}Button").collapsed = True
    ui.followUpButton.collapsed = False
    host.window.resize(1500, 1040)
    host.spin(0.3)
    layout = ui.followUpButton.layout()
    layout.invalidate()
    for width in (ui.followUpButton.width, layout.sizeHint().width()):
        layout.heightForWidth(width)
    layout.setGeometry(layout.geometry())
    shown = ("studiesTable", "followUpTable", "pairsTable", "followUpClassesLabel")
    for name, below in zip(shown, shown[1:], strict=False):
        table, others = getattr(ui, name), getattr(ui, below)
        heights = [table.rowHeight(row) for row in range(table.rowCount)]
        assert 0 < len(heights) <= ROWS and sum(heights) <= table.viewport().height, name
        assert table.geometry.bottom() < others.geometry.top(), name


def test_a_table_is_as_high_as_its_rows_in_every_style(panel, host):
    """Up to so many; a style may have rows of a least height."""
    ui = panel.ui
    ui.followUpButton.collapsed = False
    table = ui.followUpTable
    table.setColumnCount(5)
    table.verticalHeader().setMinimumSectionSize(31)
    for count in (1, ROWS, ROWS + 1):
        fill(table, [["one\ntwo\nthree" if row == count - 1 else "one"] * 5 for row in range(count)])
        host.spin(0.1)
        heights = [table.rowHeight(row) for row in range(min(count, ROWS))]
        assert sum(heights) <= table.viewport().height < sum(heights) + 5 and min(heights) == (31 if count > 1 else 50)
