"""The panel with the real worker process: the whole way, how long the event loop waits, cancel, a worker that dies."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SampleData
import slicer
from geometry import ROOT
from panel_case import choose, memory_mb, nodes_in_scene, responsive
from PETSuperResSlicer import logic as PETSuperResLogic
from PETSuperResSlicer import sample_data as sample
from PETSuperResSlicer.mrml import compare as compare
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from slicer_host.latency import can_hold

from PETSuperResLib.errors import Cancelled, OutputError, WorkerError


@pytest.fixture
def panel(working):
    """The opened panel with the real worker."""
    return working


@pytest.mark.timing
def test_the_whole_way_with_the_worker_and_a_second_run(panel, host):
    """Apply, progress, result, lesions, again; the panel answers all the time."""
    seen: list[int] = []
    panel.ui.progressBar.connect("valueChanged(int)", seen.append)

    def run():
        panel.ui.applyButton.click()
        assert panel.run.running, panel.ui.statusLabel.text
        assert host.spin(120, until=lambda: not panel.run.running)
        assert panel.params.result is not None, panel.ui.statusLabel.text

    responsive(host, run)  # with the start of the worker
    responsive(host, run)
    assert host.spin(5, until=lambda: panel.ui.lesionsTable.rowCount == 2)
    assert max(seen) > 50 and panel.params.result.GetSpacing()[0] == pytest.approx(2.0)
    folder = os.environ.get("PETSUPERRES_SCREENSHOTS")
    if folder:
        host.screenshot(host.window, Path(folder) / "real_worker.png")


@pytest.mark.timing
def test_a_worker_that_is_killed_is_told_leaves_nothing_and_is_followed_by_another(panel, host):
    """Killed at its start, and another in its work."""
    before = nodes_in_scene()
    panel.ui.qualityComboBox.setCurrentIndex(1)  # standard: there is time to kill it
    runner = panel.logic.runner
    for progress in (0, 5):
        panel.ui.applyButton.click()
        begun = lambda least=progress: runner.process is not None and panel.ui.progressBar.value >= least  # noqa: E731
        assert host.spin(60, until=begun)
        began = time.monotonic()
        runner.process.process.kill()
        assert host.spin(5, until=lambda: not panel.run.running)
        took = time.monotonic() - began
        assert took < 1.0, f"{took:.2f} s"
        told = panel.ui.statusLabel.text
        assert "ended unexpectedly" in told and "try again" in told and ("signal 9" in told or os.name != "posix")
        assert nodes_in_scene() == before and panel.ui.applyButton.text == "Apply"
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.applyButton.click()
    assert host.spin(60, until=lambda: not panel.run.running)
    assert panel.params.result is not None, panel.ui.statusLabel.text


@pytest.mark.timing
@pytest.mark.skipif(not can_hold(), reason="runs Qt's event loop as Slicer does, from its library for Linux")
def test_runs_cancels_and_deaths_end_in_time_where_slicer_s_event_loop_runs_no_threads(panel, host):
    """The event loop of Slicer keeps Python's lock: what the worker says gets through by the module's timer alone."""

    def run(ends=lambda: None, samples=1):
        panel.ui.samplesSpinBox.setValue(samples)
        panel.ui.applyButton.click()
        assert host.hold(60, until=lambda: panel.ui.progressBar.value > 0 or not panel.run.running)
        began = time.monotonic()
        ends()
        assert host.hold(60, until=lambda: not panel.run.running)
        return time.monotonic() - began

    took = []
    for wait in (host.spin, host.spin, host.hold):  # the first starts the worker
        began = time.monotonic()
        panel.ui.applyButton.click()
        assert wait(120, until=lambda: not panel.run.running)
        took.append(time.monotonic() - began)
        assert panel.params.result is not None, panel.ui.statusLabel.text
    print(f"a run takes {took[1]:.2f} s, {took[2]:.2f} s as in Slicer")
    assert took[2] < took[1] + 0.5
    assert run(panel.ui.applyButton.click, samples=50) < 1.0 and "Cancelled" in panel.ui.statusLabel.text
    assert run(lambda: panel.logic.runner.process.process.kill(), samples=50) < 1.0
    assert "ended unexpectedly" in panel.ui.statusLabel.text


MOMENTS = {  # when to cancel: what the panel shows then
    "at once": lambda panel: True,
    "worker there": lambda panel: panel.logic.runner.process is not None,
    "reading": lambda panel: panel.ui.statusLabel.text.startswith("reading"),
    "sampling": lambda panel: "step" in panel.ui.statusLabel.text,
    "preview": lambda panel: panel.run.preview is not None,
    "late": lambda panel: panel.ui.progressBar.value >= 60,
}


def foregrounds():
    """What each slice view shows."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {composite.GetID(): composite.GetForegroundVolumeID() for composite in composites}


@pytest.mark.timing
def test_cancel_at_any_point_gives_the_panel_back_within_a_second(panel, host, tmp_path):
    """No node, no file; the next run works, with this worker or, where it did not stop in time, another one."""
    before, shown, workers = nodes_in_scene(), foregrounds(), []
    panel.ui.samplesSpinBox.setValue(2)
    for moment, reached in MOMENTS.items():
        panel.ui.qualityComboBox.setCurrentIndex(1 if moment in ("preview", "late") else 0)
        panel.ui.applyButton.click()
        assert host.spin(120, until=lambda reached=reached: not panel.run.running or reached(panel))
        assert panel.run.running, (moment, panel.ui.statusLabel.text)
        workers.append(panel.logic.runner.process)
        began = time.monotonic()
        panel.ui.applyButton.click()
        assert host.spin(5, until=lambda: not panel.run.running)
        took = time.monotonic() - began
        assert took < 1.0, f"{moment}: {took:.2f} s"
        assert panel.ui.applyButton.text == "Apply" and "Cancelled" in panel.ui.statusLabel.text
        assert nodes_in_scene() == before and panel.params.result is None
        assert foregrounds() == shown, moment
        assert host.spin(5, until=lambda: not list((tmp_path / "private").iterdir()))  # a volume that is half written
    panel.logic.close()
    assert not any(process.running for process in workers)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads memory and open files as Linux tells them")
def test_ten_runs_with_different_inputs_leak_neither_nodes_nor_memory_nor_files(panel, host, tmp_path, prior_file):
    """With the real worker: a phantom of its own for each run, and the user deletes what he no longer needs."""

    def one(number):
        quality = panel.params.quality
        nodes = sample.phantom_nodes(shape=(8 + number % 2, 64, 96), lesions=1 + number % 3)
        voxels = mrml.volume_from_node(nodes[0])
        mrml.set_voxels(nodes[0], voxels.with_array(voxels.array * np.float32(1 + 0.05 * number)))
        choose(panel, host, SimpleNamespace(pet=nodes[0], ct=nodes[1], segments=nodes[2]), "Paper standard")
        panel.ui.applyButton.click()
        assert host.spin(120, until=lambda: not panel.run.running)
        result = panel.params.result
        assert result is not None, panel.ui.statusLabel.text
        assert result.GetNodeReference("PETSuperRes.PET") is nodes[0] and panel.params.quality is quality
        assert host.spin(20, until=lambda: panel.lesions.measured is not None)
        assert panel.ui.lesionsTable.rowCount == 1 + number % 3
        panel.ui.compareButton.click()
        assert host.spin(20, until=lambda: result.GetNodeReference(provenance.DIFFERENCE) is not None)
        panel.ui.plotButton.click()
        assert list((tmp_path / "private").iterdir()) == []
        table = panel.lesions.table
        for volume in (result.GetNodeReference(provenance.DIFFERENCE), result, *nodes[:2]):
            mrml.remove_volume(volume)
        for node in (table, nodes[2].GetDisplayNode(), nodes[2]):
            slicer.mrmlScene.RemoveNode(node)
        host.spin(0.3)
        gc.collect()

    def state():
        classes = Counter(n.GetClassName() for n in slicer.util.getNodesByClass("vtkMRMLNode"))
        worker = panel.logic.runner.process.pid
        open_files = len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{worker}/fd"))
        return classes, worker, open_files, threading.active_count()

    for number in range(4):  # what is loaded, made or cached once
        one(number)
    before, memory = state(), (memory_mb(), memory_mb(panel.logic.runner.process.pid))
    for number in range(4, 14):
        one(number)
    assert state() == before
    grown = [now - old for now, old in zip((memory_mb(), memory_mb(before[1])), memory, strict=True)]
    print(f"{grown[0]:.1f} MB more in this process, {grown[1]:.1f} MB in the worker after ten runs")
    assert max(grown) < 30, grown


@pytest.mark.timing
@pytest.mark.slow
def test_a_scene_closed_during_a_run_can_be_filled_and_run_at_once(panel, host, prior_file):
    panel.ui.applyButton.click()
    assert host.spin(60, until=lambda: panel.ui.progressBar.value > 0)
    slicer.mrmlScene.Clear(0)
    pet, ct, segments = sample.phantom_nodes(shape=(6, 64, 96), lesions=1)
    choose(panel, host, SimpleNamespace(pet=pet, ct=ct, segments=segments), "Paper standard")
    panel.ui.priorEdit.setText(str(prior_file))
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.applyButton.click()
    assert host.spin(60, until=lambda: not panel.run.running)
    assert panel.params.result is not None, panel.ui.statusLabel.text
    assert panel.params.result.GetNodeReference("PETSuperRes.PET") is pet


@pytest.mark.timing
@pytest.mark.slow
def test_the_phantom_comes_from_sample_data_while_the_panel_answers(host):
    host.reset()
    host.open_module()
    (source,) = SampleData.SampleDataLogic.sampleDataSourcesByCategory(sample.CATEGORY)
    again = []
    timer = sys.modules["qt"].QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: again.append(sample.load()))  # an impatient second click
    nodes = []

    def afresh():
        slicer.mrmlScene.Clear(0)
        host.spin(0.2)

    def load():
        timer.start(300)
        nodes.append(SampleData.SampleDataLogic().downloadFromSource(source))

    responsive(host, load, before=afresh)
    nodes = nodes[-1]
    assert again and not any(again)
    assert [n.GetName() for n in nodes] == ["Phantom PET", "Phantom CT", "Phantom lesions"]
    assert nodes[2].GetSegmentation().GetNumberOfSegments() == 6
    composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == nodes[0].GetID()
    assert not host.errors and not host.messages
    host.reset()


def test_a_sample_that_cannot_be_made_is_told_and_loads_nothing(host, monkeypatch):
    host.reset()
    host.open_module()  # registers the sample
    shown: list[str] = []
    (source,) = SampleData.SampleDataLogic.sampleDataSourcesByCategory(sample.CATEGORY)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, detailedText="": shown.extend([text, detailedText]))
    for error, told in (
        (OutputError("No space left in /tmp."), ["The phantom was not made: No space left in /tmp.", ""]),
        (WorkerError("Odd.", ["Traceback", "  line"]), ["The phantom was not made: Odd.", "Traceback\n  line"]),
        (Cancelled("Cancelled."), []),
    ):

        def fail(*_arguments, error=error):
            raise error

        shown.clear()
        monkeypatch.setattr(PETSuperResLogic.PETSuperResLogic, "startPhantom", fail)
        before = nodes_in_scene()
        assert SampleData.SampleDataLogic().downloadFromSource(source) == []
        assert shown == told and nodes_in_scene() == before
    monkeypatch.undo()
    assert sample._making == []
    host.reset()


RELOAD = """
import sys
from pathlib import Path
copy = Path.cwd()
import slicer_host
host = slicer_host.start()
import slicer
from SampleData import SampleDataLogic
from SegmentStatistics import SegmentStatisticsLogic
panel = host.open_module(copy / "PETSuperRes" / "PETSuperRes.py")
import PETSuperResLib
assert Path(PETSuperResLib.__file__).parents[1] == copy

def answered(panel):
    runner = panel.logic.runner
    runner.ping(messages.append)
    assert host.spin(60, until=lambda: messages or runner.process.ready)
    return runner.process

messages = []
worker = answered(panel)
assert not messages and worker.running
for name, old, new in (
    ("PETSuperResLib/worker/protocol.py", "VERSION = 1", "VERSION = 2"),
    ("PETSuperResLib/request.py", "high=15,", "high=14,"),
    ("PETSuperRes/PETSuperResSlicer/sample_data.py", "The phantom was not made", "No phantom"),
):
    text = (copy / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
panel.onReload()
panel = slicer.modules.PETSuperResWidget
assert not worker.running
assert panel.ui.postFilterSpinBox.maximum == 14
again = answered(panel)
assert not messages, messages  # a worker of another version
panel.logic.close()

from PETSuperResSlicer.logic import PETSuperResLogic
from PETSuperResLib.errors import OutputError
def fail(*_arguments):
    raise OutputError("The disk is full.")
PETSuperResLogic.startPhantom = fail
told = []
slicer.util.errorDisplay = lambda text, **_: told.append(text)
(source,) = SampleDataLogic.sampleDataSourcesByCategory("PET Super-Resolution")
assert SampleDataLogic().downloadFromSource(source) == [] and told == ["No phantom: The disk is full."]
(plugin,) = SegmentStatisticsLogic.registeredPlugins
assert plugin is sys.modules["PETSuperResSlicer.segment_statistics"].PETSuperResStatisticsPlugin
assert not host.errors
"""


def test_reload_takes_over_changes_of_panel_library_and_worker(tmp_path):
    """And what other modules were offered. In a process of its own, on a copy that is changed."""
    for name in ("PETSuperRes", "PETSuperResLib"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "studies"))
    paths = os.pathsep.join(map(str, (tmp_path, ROOT / "Testing" / "support")))
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": paths}
    words = [sys.executable, "-c", RELOAD]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]


WITHOUT_A_NETWORK = """
import sys
from pathlib import Path
sys.path.insert(0, "Testing/support")
from geometry import hot_sphere
from PETSuperResLib.progress import Event
from PETSuperResLib.worker import jobs, serve
from PETSuperResLib.worker.raw_arrays import read_raw, write_raw

def phantom(job, tools):
    pet, ct = hot_sphere()
    volumes = {"pet": pet, "ct": ct, "labels": pet.with_array(1 * (pet.array > 5), "label")}
    return {key: write_raw(volume, Path(job.out) / f"{key}.nrrd") for key, volume in volumes.items()}, {
        "lesions": {"1": "Node"}
    }

def reconstruct(job, tools):
    tools.progress(Event("slices", 0.5, "step 1 of 2"))
    pet = read_raw(job.request.pet)
    return {"sr": write_raw(pet.with_array(2 * pet.array, "SUVbw"), Path(job.out))}, {"warnings": []}

jobs.PhantomJob.run, jobs.ReconstructJob.run = phantom, reconstruct
serve.main()
"""

SLICER = """
import sys
sys.path[:0] = ["Testing/support", "."]
import slicer_host
host = slicer_host.start()
import functools
import slicer
from PySide6 import QtTest, QtWidgets
from PySide6.QtCore import Qt
panel = host.open_module()
from PETSuperResSlicer import sample_data as sample
from PETSuperResSlicer.worker import client
command = [sys.executable, "-c", sys.argv[1], "--with-client"]
client.WorkerClient = functools.partial(client.WorkerClient, command=command)
panel.params.pet, panel.params.ct, panel.params.segmentation = sample.load()
seen = []
panel.ui.progressBar.connect("valueChanged(int)", seen.append)
panel.ui.applyButton.click()
assert panel.run.running, panel.ui.statusLabel.text
assert host.spin(60, until=lambda: not panel.run.running)
result, pet = panel.params.result.GetID(), panel.params.pet.GetID()
assert max(seen) >= 50
assert host.spin(10, until=lambda: panel.lesions.measured is not None)
host.spin(0.05)
host.window.activateWindow()
assert host.spin(5, until=lambda: QtWidgets.QApplication.activeWindow() is not None)
view = slicer.app.layoutManager().sliceWidget("Red")
shown = view.mrmlSliceCompositeNode().GetForegroundVolumeID
view.setFocus()
seen = [shown()]
for widget in (host.window, host.window, panel.ui.thresholdEdit):
    widget.setFocus()
    QtTest.QTest.keyClick(widget, Qt.Key.Key_S)
    host.process()
    seen.append(shown())
assert seen == [result, pet, result, result], seen
assert panel.ui.thresholdEdit.text.endswith("s")
slicer.modules.petsuperres.exit()  # another module is opened, and this one again
slicer.modules.petsuperres.enter()
host.window.setFocus()
QtTest.QTest.keyClick(host.window, Qt.Key.Key_S)
assert shown() == pet
code = sys.modules["PETSuperResSlicer.panel.result"]
panel.onReload()
assert slicer.modules.PETSuperResWidget is not panel
assert sys.modules["PETSuperResSlicer.panel.result"] is not code
QtTest.QTest.keyClick(host.window, Qt.Key.Key_S)
assert shown() == result
print("without torch" if "torch" not in sys.modules else "with torch", flush=True)
"""


@pytest.fixture(scope="module")
def apart():
    """The last line of a process of its own, where the panel loads the sample, runs, reloads and gets keys."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    words = [sys.executable, "-c", SLICER, WITHOUT_A_NETWORK]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_the_key_switches_also_after_reload_and_typing_its_letter_does_not(apart):
    """The key as it is pressed, in a window of its own: shortcuts need the active one. Reload loads the package too."""
    assert apart.endswith("torch")  # the script came to its end


def test_slicer_itself_never_loads_torch(apart):
    """It takes seconds, during which no thread gets a turn."""
    assert apart == "without torch"
