"""The Slicer module in a real MRML scene: geometry, units, the lesion table, and what enters the scene when."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import mrml_scene
import numpy as np
import pytest
import slicer
import vtk
from panel_case import make_case
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import masks_from_node, segmentation_from_labels

import PETSuperResLib
from PETSuperRes import PETSuperResLogic
from PETSuperResLib.errors import Cancelled, GeometryError, InputError
from PETSuperResLib.progress import Event


@pytest.fixture
def case(scene):
    """PET and CT of a warm block with two hot cubes, and the cubes as a label map and as segments."""
    return make_case()


@pytest.fixture
def backend(monkeypatch):
    """A stand-in for the reconstruction that doubles the resolution and the values, and records its arguments."""
    calls = []

    def reconstruct(pet, ct, scanner, quality, progress=None, **settings):
        calls.append({"pet": pet, "ct": ct, "scanner": scanner, "quality": quality, **settings})
        if progress:
            progress(Event("sampling", 0.5, "step 1 of 2", 3.0))
        fine = pet.grid([s / 2 for s in pet.spacing])
        volume = pet.resample_to(fine, "nearest").with_array(2 * pet.resample_to(fine, "nearest").array, "SUVbw")
        std = volume.with_array(0.1 * volume.array)
        maps = {"std": std} if settings.get("samples", 1) > 1 else {}
        return SimpleNamespace(volume=volume, maps=maps, report={"prior_sha256": "ab12", "steps": 50})

    monkeypatch.setitem(vars(PETSuperResLib), "reconstruct", reconstruct)
    return calls


def test_a_volume_comes_back_from_the_scene_where_it_was(scene, awkward):
    back = mrml.volume_from_node(mrml.node_from_volume(awkward, "v", scene))
    assert back.same_grid(awkward, 1e-4) and back.unit == "SUVbw"
    np.testing.assert_array_equal(back.array, awkward.array)


def test_voxels_lie_where_slicer_shows_them(scene, awkward):
    """RAS = (-L, -P, S): a voxel's world position in MRML is the negative of LPS in x and y."""
    node = mrml.node_from_volume(awkward, "v", scene)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array(matrix.MultiplyPoint((3, 2, 1, 1)))
    lps = awkward.ijk_to_lps @ [3, 2, 1, 1]
    np.testing.assert_allclose(ras, lps * [-1, -1, 1, 1], atol=1e-6)


def test_a_parent_transform_moves_the_volume(scene, case):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 10.0)  # 10 mm to the right in RAS
    transform.SetMatrixTransformToParent(matrix)
    case.pet.SetAndObserveTransformNodeID(transform.GetID())
    moved = mrml.volume_from_node(case.pet)
    np.testing.assert_allclose(np.subtract(moved.origin, case.volume.origin), (-10, 0, 0), atol=1e-6)


def test_sheared_axes_are_refused(scene, case):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(1, 2, 0.2)
    transform.SetMatrixTransformToParent(matrix)
    case.pet.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(GeometryError, match="right angles"):
        mrml.volume_from_node(case.pet)


def test_overlapping_segments_keep_their_whole_volume(scene, case):
    node = segmentation_from_labels(case.labels, case.pet, "lesions")
    second = case.labels.with_array((case.labels.array > 0).astype(np.float32))
    extra = segmentation_from_labels(second, case.pet, "all")
    node.GetSegmentation().CopySegmentFromSegmentation(
        extra.GetSegmentation(), extra.GetSegmentation().GetNthSegmentID(0)
    )
    sizes = [int(mask.array.sum()) for _, mask in masks_from_node(node)]
    one, two = (int((case.labels.array == n).sum()) for n in (1, 2))
    assert sizes == [one, two, one + two]


def test_process_shows_its_result_with_the_window_and_colours_of_the_pet(scene, case, backend):
    mrml.show_as_pet(case.pet, 11.0, 5.0)
    case.pet.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    display = PETSuperResLogic().process(case.pet, case.ct, quality="draft").GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (11.0, 5.0)
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"


def test_process_adds_one_marked_suv_volume_with_its_provenance(scene, case, backend):
    before = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    events = []
    node = PETSuperResLogic().process(case.pet, case.ct, quality="draft", seed=7, progress=events.append)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before + 1
    assert node.GetScene() is scene and node.GetName() == "PET SR (Siemens Biograph mCT)"
    assert node.GetVoxelValueQuantity().GetCodeValue() == "126400"
    assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    assert node.GetAttribute("PETSuperRes.seed") == "7" and node.GetAttribute("PETSuperRes.quality") == "draft"
    assert node.GetAttribute("PETSuperRes.preset") == "Siemens Biograph mCT"
    assert node.GetAttribute("PETSuperRes.report.prior_sha256") == "ab12"
    assert "research use" in node.GetAttribute("PETSuperRes.note")
    assert backend[0]["pet"].unit == "SUVbw" and backend[0]["ct"].unit == "HU" and backend[0]["seed"] == 7
    assert [e.fraction for e in events] == [0.5]


@pytest.mark.parametrize("error", [Cancelled(), InputError("The PET is empty: load it again.")])
def test_nothing_enters_the_scene_when_the_job_stops(scene, case, monkeypatch, error):
    def reconstruct(*_args, **_settings):
        raise error

    monkeypatch.setitem(vars(PETSuperResLib), "reconstruct", reconstruct)
    before = scene.GetNumberOfNodes()
    with pytest.raises(type(error)):
        PETSuperResLogic().process(case.pet, case.ct)
    assert scene.GetNumberOfNodes() == before


def test_the_result_lies_beside_the_pet_in_the_subject_hierarchy(scene, case, backend):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.CreateItem(study, case.pet)
    node = PETSuperResLogic().process(case.pet, case.ct)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_the_lesion_table_holds_suvs_before_and_after(case, backend):
    """Doubled values double the SUVs in the same segments; MTV stays, as both cubes are above 2.5 already."""
    logic = PETSuperResLogic()
    node = logic.process(case.pet, case.ct)
    segmentation = segmentation_from_labels(case.labels, case.pet, "lesions", {1: "Liver", 2: "Node"})
    table = logic.compareLesions(case.pet, node, segmentation, referenceNode=case.pet)

    def column(name):
        return [float(table.GetTable().GetValueByName(row, name).ToDouble()) for row in range(table.GetNumberOfRows())]

    assert [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] == ["Liver", "Node"]
    np.testing.assert_allclose(column("pet_suvmax"), [4, 7], rtol=1e-5)
    np.testing.assert_allclose(column("sr_suvmax"), [8, 14], rtol=1e-5)
    np.testing.assert_allclose(column("sr_suvmean"), [8, 14], rtol=1e-5)
    np.testing.assert_allclose(column("suvmax_change_percent"), [100, 100], rtol=1e-5)
    np.testing.assert_allclose(column("reference_suvmax"), [4, 7], rtol=1e-5)
    volumes = [float((case.labels.array == n).sum()) * case.labels.voxel_ml for n in (1, 2)]
    np.testing.assert_allclose(column("pet_mtv_ml"), volumes, rtol=1e-4)
    np.testing.assert_allclose(column("sr_mtv_ml"), volumes, rtol=1e-4)
    assert table.GetColumnUnitLabel("sr_suvmax") == "g/mL" and table.GetColumnTitle("sr_suvmax") == "SUVmax SR"


def test_a_label_map_serves_as_well_as_a_segmentation(scene, case, backend):
    logic = PETSuperResLogic()
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    mrml.set_voxels(labels, case.labels)
    table = logic.compareLesions(case.pet, logic.process(case.pet, case.ct), labels)
    assert table.GetNumberOfRows() == 2


def test_bad_input_gives_one_clear_sentence(scene, case, backend):
    logic = PETSuperResLogic()
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")
    undrawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Undrawn")
    undrawn.GetSegmentation().AddEmptySegment("lesion")
    with pytest.raises(InputError, match="No PET volume is selected"):
        logic.process(None, case.ct)
    with pytest.raises(InputError, match="No CT volume is selected"):
        logic.process(case.pet, None)
    with pytest.raises(InputError, match="'Hollow' has no voxels"):
        logic.process(empty, case.ct)
    with pytest.raises(InputError, match="'Undrawn' is empty"):
        logic.compareLesions(case.pet, case.pet, undrawn)
    with pytest.raises(InputError, match="No segmentation is selected"):
        logic.compareLesions(case.pet, case.pet, None)


def test_importing_the_module_loads_no_torch():
    code = (
        "import sys; sys.path.insert(0, 'Testing/support'); import mrml_scene; mrml_scene.load_module();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=mrml_scene.ROOT).returncode == 0
