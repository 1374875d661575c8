"""Every bad input that a user can make in the panel gets a sentence that says what to do, and leaves nothing behind."""

from __future__ import annotations

import shutil
import sys

import pytest
import slicer
from panel_case import choose, give, make_case, nodes_in_scene, warp
from PETSuperResSlicer import dependencies as dependencies
from PETSuperResSlicer.mrml import inputs as inputs
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.worker.client import WorkerClient

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # writing beyond fails, as on a full disk
from PETSuperResLib.worker.serve import main
main()
"""


def _same(panel, case):
    panel.ui.ctSelector.setCurrentNode(case.pet)


def _other_pet_as_ct(panel, case):
    panel.ui.ctSelector.setCurrentNode(make_case("Second PET").pet)


def _result_as_ct(panel, case):
    case.ct.SetAttribute("PETSuperRes.kind", "super-resolved PET")
    panel.ui.ctSelector.setCurrentNode(case.ct)


def _ct_as_pet(panel, case):
    panel.ui.petSelector.setCurrentNode(case.ct)
    panel.ui.ctSelector.setCurrentNode(make_case("Second").ct)


def _mr_as_ct(panel, case):
    case.patch.setattr(inputs, "dicom_values", lambda node, *tags: ["MR" if node is case.ct else ""] * len(tags))


def _other_patient(panel, case):
    ids = {case.pet: "A", case.ct: "B"}
    patients = lambda node, *tags: [ids[node] if tag == "0010,0020" else "" for tag in tags]  # noqa: E731
    case.patch.setattr(inputs, "dicom_values", patients)


def _other_subject(panel, case):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in (case.pet, case.ct):
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"Patient of {node.GetName()}")
        hierarchy.CreateItem(patient, node)


def _empty_roi(panel, case):
    panel.ui.regionSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Nothing"))


def _no_voxels(panel, case):
    panel.ui.ctSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow"))


def _no_pet_voxels(panel, case):
    panel.ui.petSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow"))


def _warped_pet(panel, case):
    case.pet.SetAndObserveTransformNodeID(warp().GetID())


def _warped_ct(panel, case):
    case.ct.SetAndObserveTransformNodeID(warp().GetID())


def _unknown_units(panel, case):
    case.pet.SetVoxelValueUnits(None)


def _no_prior(panel, case):
    panel.ui.priorEdit.setText("/nowhere/prior.safetensors")


def _no_torch(panel, case):
    case.patch.setattr(dependencies, "_version", lambda requirement: None)
    case.patch.setitem(sys.modules, "PyTorchUtils", None)


SEEN_AT_APPLY = (_mr_as_ct, _other_patient, _other_subject, _empty_roi, _no_prior, _no_torch)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_same, "'PET' is chosen as PET and as CT: choose the CT of this PET."),
        (_other_pet_as_ct, "'Second PET' is a PET, not a CT: choose the CT of this PET."),
        (_result_as_ct, "'CT' is a result of this module, not a CT: choose the CT of this PET."),
        (_mr_as_ct, "'CT' is of DICOM modality MR, not a CT: choose the CT of this PET."),
        (_ct_as_pet, "'CT' cannot be used: in HU, so a CT: choose the PET volume."),
        (_other_patient, "'PET' and 'CT' are of different patients: choose the CT of this PET."),
        (_other_subject, "'PET' and 'CT' are of different patients: choose the CT of this PET."),
        (_empty_roi, "Region 'Nothing' is empty: place the ROI around the part to reconstruct, or clear it."),
        (_no_pet_voxels, "'Hollow' has no voxels: load the image again."),
        (_no_voxels, "'Hollow' has no voxels: load the image again."),
        (_warped_pet, "'PET' is under a non-linear transform: harden it first (Data module)."),
        (_warped_ct, "'CT' is under a non-linear transform: harden it first (Data module)."),
        (_unknown_units, "are they SUV?): press 'They are SUV' under the PET if that is so"),
        (_no_prior, "No prior at /nowhere/prior.safetensors: give a .safetensors file"),
        (
            _no_torch,
            "PyTorch is missing: install the PyTorch extension from the Extensions Manager and restart Slicer.",
        ),
    ],
)
def test_bad_input_is_refused_in_words_at_once_where_it_can_be_seen(
    panel, host, fake, case, monkeypatch, spoil, message
):
    case.patch = monkeypatch
    choose(panel, host, case)
    spoil(panel, case)
    host.spin(0.05)
    before, at_once = nodes_in_scene(), spoil not in SEEN_AT_APPLY
    assert panel.ui.applyButton.enabled is not at_once
    panel.ui.applyButton.click()
    host.spin(0.05)
    assert message in panel.ui.statusLabel.text and (message in panel.ui.logText.plainText) is not at_once
    assert not panel.run.running and not fake.jobs
    assert nodes_in_scene() == before and panel.ui.applyButton.text == "Apply"


def test_an_error_goes_when_a_choice_changes(panel, host, fake, case):
    choose(panel, host, case)
    panel.ui.priorEdit.setText("/nowhere/prior.safetensors")
    panel.ui.applyButton.click()
    assert "No prior at" in panel.ui.statusLabel.text and panel.ui.statusLabel.styleSheet
    panel.ui.priorEdit.setText("")
    host.spin(0.05)
    assert panel.ui.statusLabel.text == "" and not panel.ui.statusLabel.styleSheet


@pytest.mark.parametrize(
    ("chosen", "message"), [("pet", "Choose the CT."), ("ct", "Choose the PET."), ("", "Choose the PET and the CT.")]
)
def test_without_pet_or_ct_the_panel_asks_for_it(panel, host, case, chosen, message):
    choose(panel, host, case)
    for name, selector in (("pet", panel.ui.petSelector), ("ct", panel.ui.ctSelector)):
        if name != chosen:
            selector.setCurrentNode(None)
    host.spin(0.05)
    assert panel.ui.statusLabel.text == message and not panel.ui.applyButton.enabled


def test_a_segmentation_without_segments_is_told_when_it_is_chosen(panel, host, fake, case):
    choose(panel, host, case)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nobody's")
    panel.ui.segmentationSelector.setCurrentNode(empty)
    host.spin(0.05)
    told = "Segmentation 'Nobody's' has no segments: draw the lesions in the Segment Editor, or choose another."
    assert panel.ui.lesionsLabel.text == told
    panel.ui.applyButton.click()  # they may be drawn later
    assert len(fake.jobs) == 1
    empty.GetSegmentation().AddEmptySegment("lesion")
    assert host.spin(5, until=lambda: panel.ui.lesionsLabel.text.startswith("Press Apply"))


def test_segments_without_a_voxel_are_told_where_the_table_would_be(panel, host, fake, case):
    choose(panel, host, case)
    hollow = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Undrawn")
    hollow.GetSegmentation().AddEmptySegment("lesion")
    panel.ui.segmentationSelector.setCurrentNode(hollow)
    panel.ui.applyButton.click()
    give(fake, case)
    assert host.spin(5, until=lambda: "draw at least one segment" in panel.ui.lesionsLabel.text)
    assert panel.params.result is not None


@pytest.fixture(scope="module")
def client():
    """A worker that outlives the panels, which end no job of it: their tests wait for it."""
    made = WorkerClient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "close", lambda grace_s=0.0: None)
        yield made
    made.close()


@pytest.fixture
def refused(working, host):
    """Applies, and returns what the panel says when the worker has refused the job."""
    before = nodes_in_scene()

    def apply():
        before.update(nodes_in_scene())
        working.ui.applyButton.click()
        assert host.spin(60, until=lambda: not working.run.running)
        assert working.params.result is None and nodes_in_scene() == before
        assert working.ui.applyButton.text == "Apply" and working.ui.applyButton.enabled
        return working.ui.statusLabel.text

    return apply


def test_a_gpu_that_is_not_there_is_told(working, refused):
    working.params.device = "cuda:7"  # from a scene of another machine
    assert working.ui.deviceComboBox.currentText == "cuda:7 (not on this machine)"
    assert refused() == "Device 'cuda:7' is not available on this machine: use auto or cpu."


def test_a_prior_whose_weights_are_damaged_is_told(working, refused, prior_file, tmp_path):
    damaged = shutil.copy(prior_file, tmp_path / "damaged.safetensors")
    with open(damaged, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    working.ui.priorEdit.setText(str(damaged))
    assert refused() == f"{damaged} is damaged (SHA-256 of its weights differs): give another copy of it."


def test_a_volume_that_is_no_ct_by_its_values_is_told(working, refused):
    pet = mrml.volume_from_node(working.params.pet, "")
    working.params.ct = mrml.node_from_volume(pet, "Unmarked", slicer.mrmlScene)
    assert "Unmarked is not a CT in HU" in refused()


def test_a_region_outside_the_pet_and_a_ct_from_elsewhere_say_what_to_do(working, refused):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Far")
    roi.SetXYZ(3000.0, 0.0, 0.0)
    roi.SetRadiusXYZ(20.0, 20.0, 20.0)
    working.ui.regionSelector.setCurrentNode(roi)
    told = refused()
    assert "outside" in told and "region" in told.lower()
    working.ui.regionSelector.setCurrentNode(None)
    origin = working.params.ct.GetOrigin()
    working.params.ct.SetOrigin(origin[0] + 5000.0, *origin[1:])
    assert "choose the CT of this PET" in refused()


BROKEN = """
import sys
from PETSuperResLib.worker import jobs, serve

def run(*_arguments):
    for number in range(1000):
        print("line", number, file=sys.stderr)
    {what}

jobs.ReconstructJob.run = run
serve.main()
"""


@pytest.mark.parametrize(
    ("what", "told", "logged"),
    [
        ("raise ZeroDivisionError('odd')", "Unexpected ZeroDivisionError (odd)", "ZeroDivisionError: odd"),
        ("import os; print('no memory for it', file=sys.stderr, flush=True); os._exit(3)", "exit code 3", "no memory"),
    ],
)
def test_what_the_worker_says_of_an_unexpected_error_is_in_the_log_to_report(working, refused, what, told, logged):
    command = [sys.executable, "-c", BROKEN.format(what=what), "--with-client"]
    working.logic._runner = WorkerClient(working.logic.runner.folder, command)
    before = working.ui.logText.plainText
    assert told in refused() and "\n" not in working.ui.statusLabel.text
    log = working.ui.logText.plainText[len(before) :]
    assert logged in log and "    line 999\n" in log and "line 900\n" not in log
    assert ("Traceback" in log and "in run" in log) == ("raise" in what)


def test_an_error_that_the_user_can_cure_leaves_only_its_sentence_in_the_log(working, refused):
    working.params.device = "cuda:7"
    before = working.ui.logText.plainText
    told = refused()
    log = working.ui.logText.plainText[len(before) :].strip().splitlines()
    log = [line for line in log if "  Note: " not in line]  # on the images, which were read before
    assert log[-1].endswith(told) and len(log) == 2  # and that it was started


def test_an_error_of_the_panel_itself_is_in_the_log_with_its_traceback(panel, host, fake, case, monkeypatch):
    choose(panel, host, case)

    def fail(*_arguments, **_settings):
        raise KeyError("odd")

    monkeypatch.setattr(panel.logic, "process", fail)
    panel.ui.applyButton.click()
    assert panel.ui.statusLabel.text.startswith("Unexpected KeyError ('odd')")
    assert "Traceback" in panel.ui.logText.plainText and "in fail" in panel.ui.logText.plainText


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("limit", [0, 30_000])
def test_a_full_disk_in_the_worker_is_told_in_a_sentence_and_leaves_nothing(working, host, refused, tmp_path, limit):
    command = [sys.executable, "-c", LIMITED.format(limit=limit), "--with-client"]
    working.logic._runner = WorkerClient(working.logic.runner.folder, command)
    told = refused()
    assert told.startswith(f"No place for temporary files in {tmp_path / 'private'} (") and told.endswith("try again.")
    assert "petsuperres-" not in told and list((tmp_path / "private").iterdir()) == []
    working.logic.runner.close()  # as a new worker finds it when there is space again
    working.logic.runner.command = None
    working.ui.applyButton.click()
    assert host.spin(120, until=lambda: not working.run.running)
    assert working.params.result is not None, working.ui.statusLabel.text


def test_a_full_disk_where_the_inputs_are_written_is_told_likewise(refused, tmp_path, monkeypatch):
    from PETSuperResLib import files

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    assert refused().startswith(f"No place for temporary files in {tmp_path / 'private'} (No space left on device)")
    assert list((tmp_path / "private").iterdir()) == []
