"""The GUI host itself: modules as Slicer's factory finds them, Qt as PythonQt shows it, dialogs, views, latency."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import slicer
import slicer_host
from matplotlib import image

MODULE = """
import sys
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

class {name}(ScriptedLoadableModule):
    pass

class {name}Widget(ScriptedLoadableModuleWidget):
    def enter(self): pass
    def exit(self): pass
    def cleanup(self): sys.modules["{name}"].gone = True
"""


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


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """(a module folder, the name of the module in it); the name is the test's own, since modules stay imported."""
    name = f"Sample{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(name=name), encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path, name


# modules


def test_a_module_folder_may_hold_packages_and_scripts_beside_the_module(host, folder):
    path, name = folder
    (path / "Package").mkdir()
    (path / "Package" / "helper.py").write_text("raise RuntimeError", encoding="utf-8")
    (path / "tool.py").write_text("#!/usr/bin/env python\nraise RuntimeError", encoding="utf-8")
    widget = host.open_module(path / f"{name}.py")
    assert slicer.util.getModuleWidget(name) is widget and getattr(slicer.modules, name.lower()).title == ""


@pytest.mark.parametrize(("text", "message"), [("VALUE = 1", "class helper.* was not found"), ("1 / 0", "division")])
def test_a_helper_beside_the_module_is_taken_for_a_module(host, folder, text, message):
    path, name = folder
    helper = path / f"helper{name}.py"
    helper.write_text(text, encoding="utf-8")
    with pytest.raises(RuntimeError, match=f"{helper.name} is no module of Slicer: .*{message}"):
        host.open_module(path / f"{name}.py")


def test_reload_executes_the_module_s_file_and_makes_the_panel_anew(host, folder):
    path, name = folder
    before = host.open_module(path / f"{name}.py")
    old = sys.modules[name]
    (path / f"{name}.py").write_text(MODULE.format(name=name) + "\nEDITED = True\n", encoding="utf-8")
    before.onReload()
    after = slicer.util.getModuleWidget(name)
    assert after is not before and after.parent is before.parent and sys.modules[name].EDITED
    assert after.parent.self() is after and sys.modules[name].gone and not hasattr(old, "EDITED")


# Qt


def test_properties_are_attributes_and_cannot_be_called(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply" and button.enabled is True
    button.enabled, button.text, button.objectName = False, "Cancel", "applyButton"
    assert not button.isEnabled() and button.text == "Cancel" and button.name == "applyButton"
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

    box.connect("valueChanged(int)", one)
    box.valueChanged.connect(lambda: seen.append("changed"))
    box.value = 7
    assert seen == [7, "changed"]
    assert box.disconnect("valueChanged(int)", one) and not box.disconnect("valueChanged(int)", one)
    box.value = 8
    assert seen == [7, "changed", "changed"]


def test_what_a_receiver_raises_is_kept_and_the_loop_goes_on(host, qt):
    button, seen = qt.QPushButton(), []
    button.connect("clicked()", lambda: 1 / 0)
    button.connect("clicked()", lambda: seen.append("click"))
    button.click()
    qt.QTimer.singleShot(10, lambda: seen.append("shot"))
    assert host.spin(2, until=lambda: len(seen) == 2)
    assert [type(error) for error in host.errors] == [ZeroDivisionError]
    host.errors.clear()


# dialogs


def test_an_error_display_is_kept_with_its_text_and_does_not_wait(host):
    with pytest.raises(ValueError), slicer.util.tryWithErrorDisplay("It failed."):
        raise ValueError("no CT")
    assert [message.kind for message in host.messages] == ["critical"]
    assert host.messages[0].text == "It failed.\n\nno CT" and "Traceback" in host.messages[0].details


def test_questions_and_file_dialogs_get_the_planned_answers(host, qt):
    assert slicer.util.confirmYesNoDisplay("Install torch?")
    host.answers.append(qt.QMessageBox.No)
    assert not slicer.util.confirmYesNoDisplay("Install torch?")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "", "*.csv") == ""
    host.files.append("/tmp/table.csv")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "", "*.csv") == "/tmp/table.csv"


# views


def test_a_slice_view_shows_the_volume_and_follows_its_voxels(host, tmp_path):
    def grey(name: str) -> np.ndarray:
        return image.imread(host.screenshot(view, tmp_path / name))[..., :3].mean(-1)

    array = np.ones((6, 30, 40), np.float32)
    array[2:4, 10:20, 10:25] += 5
    node = slicer.util.addVolumeFromArray(array)
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, -17, -15, 3, 1)
    host.window.show()
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    before = grey("a.png")
    assert before.std() > 0.02, "the hot block stands out"
    slicer.util.updateVolumeFromArray(node, np.full((6, 30, 40), 3, np.float32))
    host.spin(0.05)
    assert abs(grey("b.png") - before).mean() > 0.01


def test_segments_have_the_same_colours_in_every_segmentation(host):
    def colours() -> list[tuple[float, ...]]:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        segments = node.GetSegmentation()
        return [segments.GetSegment(segments.AddEmptySegment()).GetColor() for _ in range(6)]

    first = colours()
    assert colours() == first and len(set(first)) == 6


def test_the_name_of_a_point_is_read_on_a_bright_image(host, tmp_path):
    node = slicer.util.addVolumeFromArray(np.ones((6, 30, 40), np.float32))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 1)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.CreateDefaultDisplayNodes()
    points.GetDisplayNode().SetSelectedColor(1, 1, 1)
    points.AddControlPoint(19.5, 14.5, 3, "lesion")
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 19.5, 14.5, 3, 1)
    host.window.show()
    host.spin(0.05)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    seen = image.imread(host.screenshot(view, tmp_path / "a.png"))[..., :3].mean(-1)
    high, wide = seen.shape
    beside = seen[high // 2 - 20 : high // 2, wide // 2 + 5 : wide // 2 + 40]
    assert beside.max() == 1 and beside.min() < 0.3, "white on white, with a dark shadow"


def test_views_of_a_module_s_layout_go_with_the_test(host):
    manager, scene = slicer.app.layoutManager(), slicer.mrmlScene
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")}
    views = "".join(
        f'<item><view class="vtkMRML{kind}Node" singletontag="Own"/></item>' for kind in ("Slice", "PlotView")
    )
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(1701, f'<layout type="horizontal">{views}</layout>')
    manager.setLayout(1701)
    assert manager.sliceWidget("Own") is not None and scene.GetSingletonNode("Own", "vtkMRMLPlotViewNode") is not None
    host.reset()
    assert manager.sliceWidget("Own") is None and manager.sliceWidget("Red") is not None
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")} == before


# latency


@pytest.mark.timing
def test_latency_counts_a_blocked_loop_by_its_length(host, qt):
    with host.latency() as calm:
        host.spin(0.4)
    qt.QTimer.singleShot(50, lambda: time.sleep(0.2))
    with host.latency() as blocked:
        host.spin(0.6)
    assert calm.p99 < blocked.p99 and blocked.longest >= 0.2
    assert 0.15 < blocked.p99 <= blocked.longest and blocked.own > 0.15 and calm.percentile(50) <= calm.p99
