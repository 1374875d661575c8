"""The logic in the background: what enters the scene and when, with a fake runner and the real one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import mrml_scene
import numpy as np
import pytest
import torch
from geometry import ROOT, hot_sphere
from panel_case import FakeRunner
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.worker.client import WorkerClient
from tiny import tiny_network

from PETSuperResLib.errors import Cancelled, InputError, OutputError, PETSuperResError
from PETSuperResLib.prior import Prior
from PETSuperResLib.sampling import Sampler
from PETSuperResLib.scanner import Scanner

SCANNER = Scanner.from_dict(
    {"name": "Small", "fwhm_transaxial_mm": 7.0, "fwhm_axial_mm": 6.0, "views": 24, "bin_size_mm": 4.0}
)


@pytest.fixture
def case(host, scene):
    """PET and CT nodes of a hot sphere in a round body, a logic with a fake runner, and what was called back."""
    module = mrml_scene.load_module()
    pet, ct = hot_sphere()
    runner, seen = FakeRunner(), []
    calls = {
        "onDone": lambda node: seen.append(("done", node)),
        "onError": lambda error: seen.append(("error", error)),
        "progress": lambda event: seen.append(("progress", event)),
        "onPreview": lambda volume: seen.append(("preview", volume)),
    }
    return SimpleNamespace(
        pet=mrml.node_from_volume(pet, "PET", scene),
        ct=mrml.node_from_volume(ct, "CT", scene),
        volume=pet,
        module=module,
        logic=module.PETSuperResLogic(runner),
        runner=runner,
        seen=seen,
        calls=calls,
    )


def test_a_background_job_is_handed_over_whole_and_ends_with_its_node(scene, case):
    before = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    region = (-20.0, 20.0, -20.0, 20.0, -8.0, 8.0)
    task = case.logic.process(
        case.pet, case.ct, SCANNER, "draft", waitForCompletion=False, samples=2, seed=5, region=region, **case.calls
    )
    (job,) = case.runner.jobs
    assert task.running and case.seen == []
    assert job["pet"].unit == "SUVbw" and job["ct"].unit == "HU" and job["pet"].metadata["file"] == "PET"
    assert (job["quality"], job["samples"], job["seed"], job["preview"]) == ("draft", 2, 5, True)
    assert Scanner.from_dict(job["scanner"]) == SCANNER and job["region"] == list(region)
    case.runner.say("progress", stage="slices", fraction=0.5, message="step 1 of 2", remaining_s=3.0)
    case.runner.say("preview", volume=case.volume)
    case.runner.deliver()
    assert [kind for kind, _ in case.seen] == ["progress", "preview"]
    assert case.seen[0][1].fraction == 0.5 and case.seen[0][1].remaining_s == 3.0
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before  # nothing before success
    doubled = case.volume.with_array(2 * case.volume.array)
    maps = dict.fromkeys(("std", "evidence", "residual", "ct_effect"), case.volume)
    case.runner.say("result", volumes={"sr": doubled, **maps}, report={"prior_sha256": "ab12"})
    case.runner.deliver()
    kind, node = case.seen[-1]
    assert kind == "done" and task.result is node and not task.running
    assert node.GetName() == "PET SR (Small)" and node.GetAttribute("PETSuperRes.report.prior_sha256") == "ab12"
    assert node.GetAttribute("PETSuperRes.preset") == "Small" and node.GetAttribute("PETSuperRes.seed") == "5"
    np.testing.assert_array_equal(mrml.volume_from_node(node).array, doubled.array)
    for role in ("StandardDeviation", "Evidence", "Residual", "CTEffect"):
        beside = node.GetNodeReference(f"PETSuperRes.{role}")
        np.testing.assert_array_equal(mrml.volume_from_node(beside).array, case.volume.array)


def test_a_measurement_brings_its_own_scanner(case, tmp_path):
    """Whatever the preset is: the default one stands for a PET without a measurement."""
    case.logic.process(case.pet, case.ct, waitForCompletion=False, measurement=tmp_path / "m.safetensors", **case.calls)
    (job,) = case.runner.jobs
    assert "scanner" not in job and job["measurement"].endswith("m.safetensors")
    case.runner.say("result", volumes={"sr": case.volume}, report={"scanner": {"name": "Paper standard"}})
    case.runner.deliver()
    assert case.seen[-1][1].GetName() == "PET SR (Paper standard)"


@pytest.mark.parametrize("by", ["task", "progress"])
def test_a_cancelled_job_leaves_no_node_and_says_so(scene, case, by):
    before = scene.GetNumberOfNodes()

    def stop(_event):
        raise Cancelled()

    calls = {**case.calls, "progress": stop} if by == "progress" else case.calls
    task = case.logic.process(case.pet, case.ct, waitForCompletion=False, **calls)
    case.runner.say("progress", stage="s", fraction=0.1, message="", remaining_s=None)
    if by == "task":
        task.cancel()
    case.runner.deliver()
    assert case.runner.cancels == 1 and not task.running
    assert [kind for kind, _ in case.seen] == ["error"] and isinstance(case.seen[0][1], Cancelled)
    assert scene.GetNumberOfNodes() == before


def test_an_error_of_the_worker_comes_as_an_exception_and_leaves_no_node(scene, case):
    before = scene.GetNumberOfNodes()
    task = case.logic.process(case.pet, case.ct, waitForCompletion=False, **case.calls)
    case.runner.say("error", message="The prior is damaged: give another copy of it.")
    with pytest.raises(PETSuperResError, match="damaged"):
        task.wait()
    assert [kind for kind, _ in case.seen] == ["error"] and scene.GetNumberOfNodes() == before


def test_a_closed_task_calls_nobody(case):
    task = case.logic.process(case.pet, case.ct, waitForCompletion=False, **case.calls)
    case.runner.say("progress", stage="s", fraction=0.1, message="", remaining_s=None)
    task.close()
    case.runner.deliver()
    assert case.seen == [] and not task.running


def test_one_job_at_a_time_but_a_cancelled_one_makes_room(case):
    first = case.logic.process(case.pet, case.ct, waitForCompletion=False, **case.calls)
    with pytest.raises(InputError, match="running already"):
        case.logic.process(case.pet, case.ct, waitForCompletion=False)
    first.cancel()
    second = case.logic.process(case.pet, case.ct, waitForCompletion=False)
    assert second.running and not first.running


def test_inputs_deleted_while_the_job_runs_do_no_harm(scene, case):
    task = case.logic.process(case.pet, case.ct, waitForCompletion=False, **case.calls)
    scene.RemoveNode(case.ct)
    scene.RemoveNode(case.pet)
    case.runner.say("result", volumes={"sr": case.volume}, report={})
    node = task.wait()
    assert node.GetScene() is scene and node.GetNodeReference("PETSuperRes.PET") is None


def test_a_full_disk_is_told_before_the_job_begins(case, monkeypatch):
    def start(_job, _on_event):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(case.runner, "start", start)
    with pytest.raises(OutputError, match="No space left"):
        case.logic.process(case.pet, case.ct, waitForCompletion=False)
    monkeypatch.undo()  # the logic takes the next job
    assert case.logic.process(case.pet, case.ct, waitForCompletion=False).running


def test_bad_input_is_refused_before_a_job_begins(case):
    with pytest.raises(InputError, match="No CT"):
        case.logic.process(case.pet, None, waitForCompletion=False)
    with pytest.raises(InputError, match="quality"):
        case.logic.process(case.pet, case.ct, quality=Sampler.get("draft"), waitForCompletion=False)
    assert not case.runner.jobs


def test_the_real_worker_gives_what_the_same_call_gives_here(case, tmp_path, monkeypatch):
    """In the background, waiting for it, and in this process: the same volume; nothing is left behind."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    prior = Prior(tiny_network(), info={"pixel_mm": 4.0}).save(tmp_path / "p.safetensors")
    (tmp_path / "private").mkdir()
    settings = {"preset": SCANNER, "quality": "draft", "samples": 2, "device": "cpu", "prior": prior}
    logic = case.module.PETSuperResLogic(WorkerClient(folder=tmp_path / "private"))
    try:
        task = logic.process(case.pet, case.ct, waitForCompletion=False, **settings, **case.calls)
        task.wait()
        assert case.seen[-1][0] == "done", case.seen[-1]
        nodes = [case.seen[-1][1], logic.process(case.pet, case.ct, **settings)]
    finally:
        logic.close()
    threads = torch.get_num_threads()  # another number of threads adds in another order, and bfloat16 tells
    try:
        torch.set_num_threads(1)
        nodes.append(case.module.PETSuperResLogic().process(case.pet, case.ct, **settings))
    finally:
        torch.set_num_threads(threads)
    volumes = [mrml.volume_from_node(node) for node in nodes]
    for other in volumes[1:]:
        np.testing.assert_array_equal(other.array, volumes[0].array)
    assert list((tmp_path / "private").iterdir()) == []
    assert all(node.GetNodeReference("PETSuperRes.StandardDeviation") is not None for node in nodes)
    told = [nodes[0].GetAttribute(name) for name in nodes[0].GetAttributeNames()]
    assert any("p.safetensors" in text for text in told)  # the prior's file, but not the copies of the images
    assert not any(str(tmp_path / "private") in text for text in told)


WITHOUT_QT = """
import sys
sys.modules["PySide6"] = None
import slicer_host
assert "pip install PySide6-Essentials" in slicer_host.missing(), slicer_host.missing()
import mrml_scene
from geometry import hot_sphere
scene = mrml_scene.start()
module = mrml_scene.load_module()
from PETSuperResSlicer.mrml import segments, volumes
images = hot_sphere()
pet, ct = (volumes.node_from_volume(image, name, scene) for image, name in zip(images, ("PET", "CT")))
lesions = segments.segmentation_from_labels(images[0].with_array(images[0].array > 5, "label"), pet, "Lesions")
logic, events = module.PETSuperResLogic(), []
result = logic.process(pet, ct, preset="Paper standard", quality="draft", prior=sys.argv[1], progress=events.append)
assert events[-1].fraction == 1 and logic.compareLesions(pet, result, lesions).GetNumberOfRows() == 1
"""


def test_without_qt_the_host_says_what_is_missing_and_the_logic_computes_in_its_own_process(prior_file):
    """As the demo does with slicer-core alone."""
    words = [sys.executable, "-c", WITHOUT_QT, str(prior_file)]
    done = subprocess.run(words, cwd=ROOT / "Testing" / "support", capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
