"""The GUI host itself: Qt as PythonQt shows it, widgets, views, dialogs, latency; a module of the usual shape in it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slicer_host

if slicer_host.missing():
    pytest.skip(slicer_host.missing(), allow_module_level=True)

import slicer  # noqa: E402


@pytest.fixture
def host():
    """A fresh host; what a slot raised fails the test."""
    found = slicer_host.start()
    found.reset()
    yield found
    raised = list(found.errors)
    found.reset()
    assert not raised


@pytest.fixture
def qt(host):
    import qt

    return qt


def volume(name: str = "PET", shape: tuple[int, int, int] = (6, 30, 40), value: float = 1.0):
    """A volume node with a hot block."""
    array = np.full(shape, value, np.float32)
    array[2:4, 10:20, 10:25] += 5
    node = slicer.util.addVolumeFromArray(array, name=name)
    node.CreateDefaultDisplayNodes()
    return node


# Qt


def test_properties_are_attributes_and_cannot_be_called(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply" and button.enabled is True
    button.enabled, button.text, button.name = False, "Cancel", "applyButton"
    assert not button.isEnabled() and button.objectName == "applyButton" and button.className() == "QPushButton"
    with pytest.raises(TypeError):
        button.text()


def test_an_unknown_attribute_or_signal_is_an_error_as_in_slicer(qt):
    label = qt.QLabel()
    with pytest.raises(AttributeError, match="not allowed"):
        label.txet = "typing error"
    with pytest.raises(AttributeError):
        label.txet  # noqa: B018
    with pytest.raises(AttributeError, match="no signal clicked"):
        label.connect("clicked(bool)", print)


def test_a_receiver_gets_as_many_arguments_as_it_takes_and_can_be_disconnected(qt):
    box, seen = qt.QSpinBox(), []

    def one(value):
        seen.append(value)

    def none():
        seen.append("changed")

    box.connect("valueChanged(int)", one)
    box.valueChanged.connect(none)
    box.value = 7
    assert seen == [7, "changed"]
    assert box.disconnect("valueChanged(int)", one) and not box.disconnect("valueChanged(int)", one)
    box.value = 8
    assert seen == [7, "changed", "changed"]


def test_what_a_receiver_raises_is_kept_and_the_loop_goes_on(host, qt):
    button, after = qt.QPushButton(), []

    def fail():
        raise ValueError("broken slot")

    button.connect("clicked()", fail)
    button.connect("clicked()", lambda: after.append(1))
    button.click()
    assert [str(error) for error in host.errors] == ["broken slot"] and after == [1]
    host.errors.clear()


def test_timers_and_shortcuts_run_in_the_event_loop(host, qt):
    seen = []
    qt.QTimer.singleShot(10, lambda: seen.append("shot"))
    shortcut = qt.QShortcut(qt.QKeySequence("S"), slicer.util.mainWindow())
    shortcut.connect("activated()", lambda: seen.append("key"))
    shortcut.activated()
    assert host.spin(2, until=lambda: len(seen) == 2) and set(seen) == {"shot", "key"}


# dialogs


def test_an_error_display_is_kept_with_its_text_and_does_not_wait(host):
    with pytest.raises(ValueError), slicer.util.tryWithErrorDisplay("It failed."):
        raise ValueError("no CT")
    assert len(host.messages) == 1 and host.messages[0].kind == "critical"
    assert host.messages[0].text == "It failed.\n\nno CT" and "Traceback" in host.messages[0].details


def test_questions_and_file_dialogs_get_the_planned_answers(host, qt):
    assert slicer.util.confirmYesNoDisplay("Install torch?")
    host.answers.append(qt.QMessageBox.No)
    assert not slicer.util.confirmYesNoDisplay("Install torch?")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "", "*.csv") == ""
    host.files.append("/tmp/table.csv")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "", "*.csv") == "/tmp/table.csv"


# views


def grey(picture: Path) -> np.ndarray:
    from matplotlib import image

    return image.imread(picture)[..., :3].mean(-1)


def test_a_slice_view_shows_the_volume_and_follows_its_voxels(host, tmp_path):
    pet = volume()
    host.window.show()
    slicer.util.setSliceViewerLayers(background=pet, fit=True)
    slicer.modules.markups  # noqa: B018 (a logic that modules use)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, -17, -15, 3, 1)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    before = grey(host.screenshot(view, tmp_path / "a.png"))
    assert before.std() > 0.02, "the hot block stands out"
    slicer.util.updateVolumeFromArray(pet, np.full((6, 30, 40), 3, np.float32))
    host.spin(0.05)
    after = grey(host.screenshot(view, tmp_path / "b.png"))
    assert abs(after - before).mean() > 0.01


def test_a_layout_of_the_module_gets_its_own_linked_views(host, tmp_path):
    manager = slicer.app.layoutManager()
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}"><property name="orientation" action="default">'
        f'Axial</property><property name="viewlabel" action="default">{tag}</property></view></item>'
        for tag in ("Low", "High")
    )
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(1701, f'<layout type="horizontal">{views}</layout>')
    manager.setLayout(1701)
    assert manager.layout == 1701 and {"Low", "High"} <= set(manager.sliceViewNames())
    low, high = manager.sliceWidget("Low"), manager.sliceWidget("High")
    host.window.show()
    host.process()
    assert low.visible and high.visible and not manager.sliceWidget("Red").visible
    low.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume("LR").GetID())
    high.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume("SR", value=3.0).GetID())
    for widget in (low, high):
        widget.sliceLogic().FitSliceToBackground()
    host.screenshot(manager.viewport(), tmp_path / "compare.png")
    pictures = [grey(host.screenshot(w.sliceView(), tmp_path / "view.png")) for w in (low, high)]
    assert all(p.std() > 0.02 for p in pictures)


def test_a_chart_appears_in_the_layout_with_a_bar_for_every_value(host, tmp_path):
    host.window.show()
    nodes: dict = {}
    slicer.util.plot(np.array([[0, 2.0], [1, 8.0]]), 0, ["lesion", "SUVmax"], "Lesions", nodes=nodes)
    nodes["series"][0].SetColor(1, 0, 0)
    nodes["series"][0].SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    manager = slicer.app.layoutManager()
    assert manager.plotViewCount == 1
    view = manager.plotWidget(0).plotView()
    assert view.mrmlPlotChartNode() is nodes["chart"] and view.values(nodes["series"][0])[1] == [2.0, 8.0]
    host.process()
    from matplotlib import image

    picture = image.imread(host.screenshot(view, tmp_path / "plot.png"))
    red = (picture[..., 0] > 0.9) & (picture[..., 1] < 0.1)
    columns = red[: red.shape[0] - 40].sum(0)
    assert columns.max() == pytest.approx(4 * columns[columns > 0].min(), rel=0.1), "8 is four times 2"


# latency


def test_latency_counts_a_blocked_loop_by_its_length(host, qt):
    with host.latency() as calm:
        host.spin(0.4)
    qt.QTimer.singleShot(50, lambda: time.sleep(0.2))
    with host.latency() as blocked:
        host.spin(0.6)
    assert calm.p99 < blocked.p99 and blocked.longest >= 0.2
    assert 0.15 < blocked.p99 <= blocked.longest and blocked.own > 0.15 and calm.percentile(50) <= calm.p99


# elsewhere

WITHOUT_QT = """
import sys
sys.modules["PySide6"] = None
import slicer_host
assert "pip install PySide6-Essentials" in slicer_host.missing(), slicer_host.missing()
import mrml_scene
module = mrml_scene.load_module()
assert module.PETSuperResLogic().presetNames()
"""


def test_without_qt_the_host_says_what_is_missing_and_the_logic_still_runs():
    folders = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {folders!r}\n{WITHOUT_QT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
