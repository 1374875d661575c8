"""How long the panel keeps a click waiting while a whole body is worked on: the work of the GUI's thread."""

from __future__ import annotations

import gc
import sys
import threading
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from mrml_scene import load_module
from panel_case import choose, responsive
from PETSuperResSlicer.mrml import compare as compare
from PETSuperResSlicer.mrml import provenance, references, spheres
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import masks_from_node, segmentation_from_labels
from PETSuperResSlicer.worker.client import WorkerClient
from PETSuperResSlicer.worker.steps import Steps
from PETSuperResSlicer.worker.task import Task
from slicer_host.latency import can_hold

from PETSuperResLib.files import strict
from PETSuperResLib.followup.compare import compare as compare_visits
from PETSuperResLib.followup.visit import Visit
from PETSuperResLib.lesions.segments import Segment
from PETSuperResLib.volume import Volume

pytestmark = pytest.mark.timing
SLICES = 160
LONGEST_S = 0.1  # of processor time for one call of the module


@pytest.fixture
def body(panel, host):
    """A PET of 200 x 200 pixels, a CT of 512 x 512 in whole numbers, eight segments; and two results of 400 x 400."""
    scene = slicer.mrmlScene
    values = np.random.default_rng(0).gamma(1.0, 1.0, (SLICES, 200, 200)).astype(np.float32)
    pet = Volume(values, (4.0, 4.0, 3.0), (-398.0, -398.0, 0.0), unit="SUVbw")
    labels = np.zeros(pet.shape, np.float32)
    for label in range(1, 9):
        labels[15 * label : 15 * label + 8, 20 * label : 20 * label + 10, 80:90] = label
    hu = np.full((SLICES, 512, 512), -1000, np.int16)
    hu[:, 100:400, 60:450] = 40
    ct = mrml.node_from_volume(pet, "CT")
    slicer.util.updateVolumeFromArray(ct, hu)
    ct.SetSpacing(1.5625, 1.5625, 3.0)
    mrml.add_node(ct, scene, (400.0, 40.0))
    mrml.mark_unit(ct, "HU")
    node = mrml.node_from_volume(pet, "Body", scene)
    segments = segmentation_from_labels(pet.with_array(labels, "label"), node, "Lesions")
    fine = pet.resample_to(pet.grid((2.0, 2.0, 3.0)), "nearest")
    choose(panel, host, SimpleNamespace(pet=node, ct=ct, segments=segments))
    slicer.util.setSliceViewerLayers(background=ct, foreground=node, foregroundOpacity=0.5)
    size = host.window.size
    host.window.resize(900, 560)  # the host draws its views on the processor; Slicer does not
    host.spin(0.5)
    yield fine
    host.window.resize(size)
    del fine
    gc.collect()


def stopwatch():
    """The processor time that calls took, by name, and the function that makes such a call."""
    took: dict[str, float] = {}

    def timed(name, call):
        began = time.thread_time()
        call()
        took[name] = min(took.get(name, 60.0), time.thread_time() - began)  # a busy machine slows this, too

    return took, timed


def hold_to(took):
    """Print what calls took; none took too long."""
    print({name: f"{1000 * seconds:.0f} ms" for name, seconds in took.items()})
    assert max(took.values()) <= LONGEST_S, took


def test_a_whole_body_leaves_the_panel_responsive(panel, host, fake, body):
    """Apply, previews, result and lesion table: clicks, and the processor time that each call of the module takes."""
    took, timed = stopwatch()
    volumes = [body.with_array(factor * body.array) for factor in (0.5, 0.8, 1.0)] * 6

    def run():
        timed("Apply", panel.ui.applyButton.click)
        for name in ("first preview", "next preview"):
            fake.say("preview", volume=volumes.pop())
            timed(name, fake.deliver)
            host.spin(1.0)
        fake.say("result", volumes={"sr": volumes.pop()}, report={"warnings": []})
        timed("result", fake.deliver)
        panel.lesions.timer.stop()
        timed("lesion table", panel.lesions.refresh)
        assert host.spin(60, until=lambda: panel.lesions.measured is not None)
        host.spin(1.0)

    responsive(host, run)
    result = panel.params.result
    panel.ui.compareButton.click()  # makes five views and draws them
    timed("difference", lambda: host.spin(60, until=lambda: result.GetNodeReference(provenance.DIFFERENCE) is not None))
    timed("switch", panel.result.on_switch)
    for node in (result.GetNodeReference(provenance.DIFFERENCE), result):
        timed("removal", lambda node=node: mrml.remove_volume(node))
    print(f"difference, with the drawing of the views: {took.pop('difference'):.2f} s")
    hold_to(took)


def test_pet_ct_and_spheres_leave_the_panel_responsive(panel, host, fake, body):
    """PET/CT shown and put back, windows, the switch, spheres placed and dragged in PET and result."""
    took, timed = stopwatch()
    panel.ui.applyButton.click()
    fake.say("result", volumes={"sr": body}, report={"warnings": []})
    assert host.spin(60, until=lambda: panel.lesions.measured is not None)
    panel.params.spheres = spheres.new_list(slicer.mrmlScene)
    host.spin(0.5)

    def run():
        timed("Show PET/CT", panel.ui.petctButton.click)
        host.spin(1.0)
        timed("fit", panel.ui.fitButton.click)
        timed("CT window", lambda: panel.ui.ctWindowComboBox.setCurrentIndex(1))
        timed("opacity", lambda: panel.ui.petOpacitySlider.setValue(0.3))
        host.spin(0.5)
        timed("switch", panel.ui.switchButton.click)
        host.spin(0.5)
        points = panel.params.spheres
        points.RemoveAllControlPoints()
        for number, diameter in enumerate((12.4, 30.0)):
            points.AddControlPoint(0, 30.0 * number, 200.0)
            points.SetNthControlPointDescription(number, str(diameter))
        host.spin(0.2)
        for step in range(60):
            timed("movement", lambda step=step: points.SetNthControlPointPosition(1, step, 20.0, 200.0))
            timed("figures", panel.spheres.measure)
            host.spin(0.02)
        timed("back", panel.ui.petctButton.click)
        host.spin(0.5)

    responsive(host, run)
    hold_to(took)


def test_a_follow_up_of_whole_bodies_leaves_the_panel_responsive(panel, host, fake, body):
    """Studies added, compared, shown with their CTs, paired anew, plotted; a reference region dragged."""
    took, timed = stopwatch()
    ui, params, follow = panel.ui, panel.params, panel.followUp
    pet = mrml.voxels_of_node(params.pet, "SUVbw").volume()
    segments = tuple(Segment(n, name, mask) for n, (name, mask) in enumerate(masks_from_node(params.segmentation), 1))
    visits = [Visit(name, {"pet": pet}, segments) for name in ("before", "after")]
    done = compare_visits(visits, aligned=True)
    links = [asdict(link) | {"place_mm": [0.0, 0.0, 200.0]} for link in done.links]
    regions = {"liver": {"centre": [-60.0, 0.0, 200.0]}, "blood": {"centre": [30.0, 30.0, 250.0]}}
    report = strict({**done.report(), "rows": done.rows, "links": links, "references": [regions] * 2})
    for selector, node in ((ui.studySelector, params.pet), (ui.studySegmentationSelector, params.segmentation)):
        selector.setCurrentNode(node)
    cts = [body.with_array(body.array, "HU") for _ in range(24)]

    def run():
        while follow.studies:
            ui.studiesTable.selectRow(0)
            timed("Remove", ui.studyRemoveButton.click)
        for _ in range(2):
            timed("Add study", ui.studyAddButton.click)
        for pairs in ((), [1] * 16):
            timed("Compare", lambda pairs=pairs: follow.compare(pairs))
            assert host.spin(60, until=lambda: fake.running)
            fake.say("result", volumes={"first": cts.pop(), "later2": cts.pop()}, report=report)
            timed("result", fake.deliver)
            host.spin(0.5)
        timed("measure", lambda: ui.followUpMeasureComboBox.setCurrentIndex(2))
        liver = references.markups(params.followUp, 2)[0]["liver"]
        for step in range(30):
            timed("movement", lambda step=step: liver.SetNthControlPointPosition(0, 60.0 - step, 0.0, 200.0))
            host.spin(0.02)
        timed("classes", follow.show_classes)

    responsive(host, run)
    timed("Show CTs", ui.followUpCtButton.click)
    timed("Plot", ui.followUpPlotButton.click)  # makes a view and draws all of them
    hold_to(took)


holding = pytest.mark.skipif(not can_hold(), reason="runs Qt's event loop as Slicer does, from its library for Linux")


@pytest.fixture
def steps(monkeypatch):
    """Processor time of each turn of the work that the module does on the GUI's thread."""
    load_module()
    lengths: list[float] = []
    go = Steps._go

    def timed(self):
        began = time.thread_time()
        go(self)
        lengths.append(time.thread_time() - began)

    monkeypatch.setattr(Steps, "_go", timed)
    yield lengths
    print(f"{len(lengths)} turns, {sum(lengths):.2f} s in all, the longest {1000 * max(lengths):.0f} ms")
    assert threading.active_count() == 1  # a thread would stand still in Slicer
    assert max(lengths) <= LONGEST_S


def until(host, what, done):
    """Run the event loop as Slicer does until something is done, and print how long it took."""
    began = time.perf_counter()
    assert host.hold(60, until=done)
    print(f"{what}: {time.perf_counter() - began:.2f} s")


@holding
def test_lesions_and_difference_are_computed_in_short_turns(steps, panel, host, fake, body):
    panel.ui.applyButton.click()
    fake.say("result", volumes={"sr": body}, report={"warnings": []})
    assert host.hold(60, until=lambda: panel.lesions.measured is not None)
    panel.lesions.measured = None
    panel.lesions.refresh()
    until(host, "lesion table", lambda: panel.lesions.measured is not None)
    result = panel.params.result
    panel.ui.compareButton.click()
    until(host, "difference", lambda: result.GetNodeReference(provenance.DIFFERENCE) is not None)


ECHO = """
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    answer = {"version": 1, "id": job["id"], "type": "result", "files": {"sr": job["pet"]}, "report": {}}
    print(json.dumps(answer), flush=True)
"""


@holding
def test_inputs_and_results_pass_in_short_turns(steps, host, tmp_path):
    """A volume of 102 MB to a worker and back."""
    runner = WorkerClient(folder=tmp_path, command=[sys.executable, "-c", ECHO])
    volume = Volume(np.ones((SLICES, 400, 400), np.float32), (2.0, 2.0, 3.0), unit="SUVbw")
    try:
        for _start_and_again in range(2):
            task = Task(runner, lambda volumes, _report: volumes["sr"].shape).start({"pet": volume})
            until(host, "102 MB to a worker and back", lambda task=task: not task.running)
    finally:
        runner.close()
    assert task.result == volume.shape
