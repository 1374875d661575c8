"""The panel of the module, used as a user would, in a host on PySide6: a run from Apply to its end."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
from panel_case import choose, finer, finish, give, make_case, memory_mb, nodes_in_scene
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.panel.widgets import DOUBT, ERROR, colour


def test_the_modules_own_test_passes_in_the_panel(panel, host):
    from mrml_scene import load_module

    panel.logic._runner.automatic = True
    test = load_module().PETSuperResTest()
    test.setUp()
    test.test_panel()
    assert panel.params.result is not None
    test.setUp()
    test.test_view()


def test_progress_preview_and_result(panel, host, fake, case):
    choose(panel, host, case)
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel" and panel.ui.progressBar.visible
    early = "The body's mean SUV is 70."
    about = {"stage": "slices 1-8 of 8", "message": "step 2 of 8", "remaining_s": 75.0, "warnings": [early]}
    fake.say("progress", fraction=0.4, **about)
    fake.say("preview", volume=finer(case, 1.5))
    host.spin(2, until=lambda: panel.run.preview is not None)
    assert early in panel.ui.logText.toPlainText()
    assert panel.ui.progressBar.value == 40
    assert panel.ui.statusLabel.text == "slices 1-8 of 8, step 2 of 8, 1 min 15 s left"
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert panel.run.preview.GetID() in {c.GetForegroundVolumeID() for c in composites}
    shown = panel.run.preview
    fake.say("preview", volume=finer(case, 1.8))
    host.spin(0.3)
    assert panel.run.preview is shown and slicer.util.arrayFromVolume(shown).max() == pytest.approx(1.8 * 7)
    give(fake, case, warnings=[early, "The CT covers 90 % of the PET's activity."])
    assert host.spin(2, until=lambda: not panel.run.running)
    result = panel.params.result
    assert shown.GetScene() is None and not panel.ui.progressBar.visible and panel.ui.applyButton.text == "Apply"
    assert result.GetNodeReference("PETSuperRes.PET") is case.pet
    assert result.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    window = [n.GetDisplayNode().GetWindow() for n in (case.pet, result)]
    colours = [n.GetDisplayNode().GetColorNodeID() for n in (case.pet, result)]
    assert window[0] == window[1] and colours[0] == colours[1] and "PET" in colours[0]
    assert result.GetID() in {c.GetForegroundVolumeID() for c in composites}
    assert "covers 90 %" in panel.ui.logText.toPlainText() and panel.ui.logText.toPlainText().count(early) == 1
    host.spin(2, until=lambda: panel.lesions.measured is not None)
    classes = sorted(slicer.mrmlScene.GetNodeByID(i).GetClassName() for i in nodes_in_scene() - before)
    assert [c for c in classes if "Volume" in c and "Display" not in c] == ["vtkMRMLScalarVolumeNode"]


def test_long_texts_do_not_widen_the_panel(panel, host):
    labels = [getattr(panel.ui, f"{name}Label") for name in ("lesions", "units", "resolution", "prior", "followUp")]
    before = panel.parent.minimumSizeHint().width()
    for label in labels:
        label.setText("All: a noise that is outside of what was calibrated, so that the interval is wider.\n" * 6)
        host.spin(0.1)
        assert panel.parent.minimumSizeHint().width() == before < 500


def test_all_sections_fit_into_a_narrow_panel_without_cutting_labels(panel, host, result):
    """Of 400 pixels, a scroll bar included, with the letters that are usual there."""
    metrics = panel.parent.fontMetrics()
    for name, widget in vars(panel.ui).items():
        if hasattr(widget, "collapsed"):
            widget.collapsed = False
            host.spin(0.1)
            assert panel.parent.minimumSizeHint().width() <= 64 * metrics.averageCharWidth(), name
    host.window.setPanelWidth(300)
    host.spin(0.1)
    labels = {name: widget for name, widget in vars(panel.ui).items() if "LayoutLabel" in name and widget.visible}
    assert len(labels) > 15
    assert not [name for name, one in labels.items() if one.width < metrics.horizontalAdvance(one.text)]


@pytest.mark.parametrize("width", [400, 600])
@pytest.mark.parametrize("lines", [1, 5])
def test_texts_have_the_height_of_their_lines_in_a_panel_of_any_width(panel, host, width, lines):
    """Also when Qt has asked for the height of a section at other widths: no line is cut, and no gap is left."""
    ui = panel.ui
    ui.advancedButton.collapsed = False
    ui.unitsForm.setVisible(True)
    ui.unitsButton.setVisible(True)
    labels = {name: getattr(ui, f"{name}Label") for name in ("units", "resolution", "prior")}
    for label in labels.values():
        label.setText(
            "The header does not say whether the reconstruction modelled the PSF: state what is known. " * lines
        )
    host.window.setPanelWidth(width)
    host.spin(0.1)
    for section in ("inputs", "scanner", "advanced"):
        layout = getattr(ui, f"{section}Button").layout()
        for other in (layout.sizeHint().width(), 300, 900):
            layout.heightForWidth(other)
        layout.setGeometry(layout.geometry())
    heights = {name: (label.height, label.heightForWidth(label.width)) for name, label in labels.items()}
    assert all(needed <= height < needed + 20 for height, needed in heights.values()), heights


def test_every_button_that_cannot_be_pressed_says_why(panel, host, fake, case):
    buttons = {name: w for name, w in vars(panel.ui).items() if type(w).__name__ == "QPushButton"}
    lacking = {name: button.toolTip for name, button in buttons.items() if not button.enabled}
    assert {"compareButton", "dicomButton", "plotButton", "fitButton", "mlSphereButton", "studyAddButton"} <= set(
        lacking
    )
    assert lacking["compareButton"] == "There is no result yet: press Apply."
    remedies = ("Choose", "Press", "press", "Add", "Compare", "see above")
    assert all(any(word in tip for word in remedies) for tip in lacking.values()), lacking
    choose(panel, host, case)
    finish(panel, host, fake, case)
    now = {name: buttons[name].toolTip for name in ("compareButton", "plotButton", "mlSphereButton")}
    assert all(buttons[name].enabled for name in now) and now["plotButton"].startswith("Bar plot")
    assert not set(now.values()) & set(lacking.values())


@pytest.mark.parametrize("shade", [239, 53])  # of Slicer's light and dark style
def test_errors_and_doubts_are_legible_on_light_and_dark_panels(panel, host, shade):
    import qt

    label, back = panel.ui.statusLabel, qt.QColor(shade, shade, shade)
    palette = label.palette
    palette.setColor(qt.QPalette.Window, back)
    label.setPalette(palette)
    for pair in (ERROR, DOUBT):
        assert contrast(qt.QColor(colour(pair, label)), back) > 4.5  # WCAG 2, for text of this size


def contrast(first, second):
    """The ratio of the relative luminances of two colours (WCAG 2)."""

    def luminance(found):
        parts = [value / 255 for value in (found.red(), found.green(), found.blue())]
        linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_cancel_leaves_nothing_behind(panel, host, fake, case):
    choose(panel, host, case)
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    composite.SetForegroundVolumeID(case.pet.GetID())
    before = nodes_in_scene()
    panel.ui.applyButton.click()
    fake.say("preview", volume=finer(case))
    host.spin(2, until=lambda: panel.run.preview is not None)
    began = time.monotonic()
    panel.ui.applyButton.click()
    assert host.spin(2, until=lambda: not panel.run.running) and time.monotonic() - began < 1
    assert nodes_in_scene() == before and composite.GetForegroundVolumeID() == case.pet.GetID()
    assert "Cancelled" in panel.ui.statusLabel.text and panel.ui.applyButton.text == "Apply"
    finish(panel, host, fake, case)
    assert panel.params.result is not None


def test_closing_the_scene_stops_the_job_and_starts_anew(panel, host, fake, case, result):
    panel.ui.applyButton.click()
    fake.say("preview", volume=finer(case))
    host.spin(0.3)
    slicer.mrmlScene.Clear(0)
    host.spin(0.2)
    assert not panel.run.running and panel.params.pet is None and not panel.ui.applyButton.enabled
    assert panel.ui.lesionsTable.rowCount == 0
    again = make_case("Second")
    choose(panel, host, again)
    fake.messages.clear()
    panel.logic._task.running = False
    finish(panel, host, fake, again)
    assert panel.params.result.GetNodeReference("PETSuperRes.PET") is again.pet


@pytest.mark.slow
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
        assert host.spin(5, until=lambda: not panel.run.running)
        host.spin(0.7)
        counts.append(slicer.mrmlScene.GetNumberOfNodes())
    assert len(set(np.diff(counts))) == 1  # a result with its display node and its table, each time


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the memory as Linux tells it")
@pytest.mark.parametrize("ends", ["deleted", "failed"])
def test_ten_runs_leave_no_memory(panel, host, fake, ends):
    """Ten runs whose results, if there are any, were deleted: less than four results' memory, which views may hold."""
    cases = [make_case(name, hot, size=7) for name, hot in (("PET", (4.0, 7.0)), ("Other", (5.0, 3.0)))]
    results = [finer(case) for case in cases]
    size_mb = results[0].array.nbytes / 2**20
    assert size_mb > 32  # smaller pieces stay with the C library, which gives them out again

    def run(number):
        choose(panel, host, cases[number % 2])
        panel.ui.applyButton.click()
        again = results[number % 2].with_array(results[number % 2].array.copy())  # as read from the worker's file
        fake.say("preview", volume=again)
        host.spin(5, until=lambda: panel.run.preview is not None)
        if ends == "failed":
            fake.say("error", message="It failed: try again.")
        else:
            fake.say("result", volumes={"sr": again}, report={"warnings": []})
        assert host.spin(5, until=lambda: not panel.run.running)
        if ends == "deleted":
            assert host.spin(20, until=lambda: panel.lesions.measured is not None)
            node, table = panel.params.result, panel.lesions.table
            panel.ui.compareButton.click()
            assert host.spin(20, until=lambda: node.GetNodeReference("PETSuperRes.Difference") is not None)
            for volume in (node.GetNodeReference("PETSuperRes.Difference"), node):
                mrml.remove_volume(volume)
            slicer.mrmlScene.RemoveNode(table)
        host.spin(0.2)

    for number in range(4):  # what is loaded or cached once
        run(number)
    before = memory_mb()
    for number in range(10):
        run(number)
    grown = memory_mb() - before
    print(f"{grown:.0f} MB more after ten runs; a result has {size_mb:.0f} MB")
    assert grown < 4 * size_mb, f"{grown:.0f} MB more after ten runs; a result has {size_mb:.0f} MB"


def test_a_deleted_result_is_freed_with_the_next_run(panel, host, fake, case):
    choose(panel, host, case)
    finish(panel, host, fake, case)
    freed = []
    panel.params.result.AddObserver("DeleteEvent", lambda *_: freed.append(1))
    mrml.remove_volume(panel.params.result)
    finish(panel, host, fake, case)
    gc.collect()
    assert freed


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
