"""The inputs without the panel: what the voxel values are, which scanner, which region, what goes together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from dicom_factory import Scan, ct_slices, pet_slices, suv_pattern, write_series
from PETSuperResSlicer.mrml import inputs, units
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import masks_from_node

from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.errors import InputError, UnitsError
from PETSuperResLib.lesions.segments import region_around
from PETSuperResLib.suv.stated import Stated
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.job import Tools
from PETSuperResLib.worker.jobs import SuvJob
from PETSuperResLib.worker.raw_arrays import read_raw, write_raw


class Database:
    """Slicer's DICOM database for one folder of files."""

    def __init__(self, folder):
        import pydicom

        self.datasets = {str(path): pydicom.dcmread(path) for path in sorted(folder.iterdir())}

    def uids(self):
        return " ".join(d.SOPInstanceUID for d in self.datasets.values())

    def fileForInstance(self, uid):
        return next((path for path, d in self.datasets.items() if uid == d.SOPInstanceUID), "")

    def fileValue(self, path, tag):
        group, element = tag.split(",")
        found = self.datasets[path].get((int(group, 16), int(element, 16)))
        return "" if found is None else str(found.value)


@pytest.fixture
def dicom(scene, tmp_path, monkeypatch):
    """Makes a PET node as Slicer loads it from DICOM: stored values, no units, the UIDs as an attribute."""

    def make(scan=None, edit=lambda d: None, slices=None):
        datasets = pet_slices(scan) if slices is None else slices
        for dataset in datasets:
            edit(dataset)
        folder = write_series(datasets, tmp_path / "dicom")
        monkeypatch.setattr(slicer, "dicomDatabase", Database(folder), raising=False)
        volume = read_series(folder, suv=False)
        node = mrml.node_from_volume(volume.with_array(volume.array, ""), "FDG", scene)
        node.SetAttribute("DICOM.instanceUIDs", slicer.dicomDatabase.uids())
        return node

    return make


def test_values_alone_never_prove_suv(nodes):
    assert units.recognise(nodes.pet).kind == units.UNSURE
    with pytest.raises(UnitsError, match="They are SUV"):
        units.require_suv(nodes.pet)
    units.confirm(nodes.pet)
    units.require_suv(nodes.pet)


def test_values_rule_suv_out(nodes):
    assert units.recognise(nodes.ct).kind == units.REFUSED
    mrml.set_voxels(nodes.pet, nodes.volume.with_array(nodes.volume.array * 4000))
    assert units.recognise(nodes.pet).kind == units.STATE
    with pytest.raises(UnitsError, match="fill in the form"):
        units.require_suv(nodes.pet)


def test_an_empty_or_constant_volume_is_refused(scene, nodes):
    hollow = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")
    assert units.recognise(hollow).kind == units.REFUSED
    mrml.set_voxels(nodes.pet, nodes.volume.with_array(nodes.volume.array * 0))
    assert units.recognise(nodes.pet).kind == units.REFUSED


def suv_of(node, folder, **stated):
    """The SUV volume of a node's series, as the worker's job and the module make it."""
    job, finish = units.suv_job(node, Stated(**stated))
    run = SuvJob.from_message({**job, "out": str(folder)}).run
    files, report = run(Tools(lambda _path: None, lambda _event: None, lambda _file: None))
    return finish({key: read_raw(file) for key, file in files.items()}, report)


def test_a_dicom_pet_in_bq_is_converted_by_its_header(dicom, tmp_path):
    node = dicom()
    assert units.recognise(node).kind == units.CONVERT
    volume = suv_of(node, tmp_path)
    suv = units.add_suv_node(node, volume, volume.metadata["suv"])
    np.testing.assert_allclose(mrml.volume_from_node(suv).array, suv_pattern(), rtol=2e-3)
    assert units.recognise(suv).usable and "factor_min" in suv.GetAttribute("PETSuperRes.suv")
    assert units.recognise(node).kind == units.CONVERT  # the loaded volume is not touched


def test_a_dicom_pet_in_suv_is_used_as_it_is(dicom):
    node = dicom(Scan(units="GML"))
    assert units.recognise(node).kind == units.HEADER
    units.require_suv(node)
    assert mrml.unit_of_node(node) == "SUVbw"


@pytest.mark.parametrize("units_", ["GML", "BQML"])
def test_a_dicom_pet_without_attenuation_correction_is_refused(dicom, units_):
    node = dicom(Scan(units=units_), lambda d: setattr(d, "CorrectedImage", ["NORM", "DTIM", "DECY"]))
    found = units.recognise(node)
    assert found.kind == units.REFUSED and "not attenuation-corrected" in found.text
    mrml.mark_unit(node, "SUVbw")  # by another module
    assert units.recognise(node).kind == units.REFUSED


def test_what_reading_a_series_finds_is_told_with_its_evidence(dicom, tmp_path):
    volume = suv_of(dicom(edit=lambda d: setattr(d, "NumberOfSlices", 9)), tmp_path)
    assert any("6 of 9 slices" in line for line in volume.metadata["suv"]["warnings"])


def test_stated_values_that_no_body_holds_are_refused_or_told(nodes):
    pet, grid = nodes.pet, nodes.volume
    mrml.set_voxels(pet, grid.with_array(np.full(grid.shape, 5000.0) + np.arange(grid.shape[2])))
    stated = Stated(70.0, 350e6, "10:00", "11:00")
    assert units.stated_suv(pet, stated)[1]["warnings"] == []
    [warning] = units.stated_suv(pet, replace(stated, dose_bq=10e6))[1]["warnings"]
    assert "mean SUV" in warning
    with pytest.raises(UnitsError, match="times the injected activity"):
        units.stated_suv(pet, replace(stated, dose_bq=10e3))


def test_what_the_header_lacks_is_named_and_can_be_stated(dicom, tmp_path):
    def lose_weight(dataset):
        del dataset.PatientWeight

    node = dicom(edit=lose_weight)
    with pytest.raises(UnitsError, match="PatientWeight"):
        suv_of(node, tmp_path)
    volume = suv_of(node, tmp_path, weight_kg=70.0)
    np.testing.assert_allclose(volume.array, suv_pattern(), rtol=2e-3)


def test_a_cropped_dicom_volume_is_not_mixed_up_with_its_series(dicom, tmp_path):
    node = dicom()

    slicer.util.updateVolumeFromArray(node, np.zeros((3, 5, 4), np.float32))
    with pytest.raises(InputError, match="whole DICOM series"):
        suv_of(node, tmp_path)


def test_a_dicom_ct_is_not_taken_as_pet(dicom):
    node = dicom(slices=ct_slices(np.full((4, 5, 4), 40.0)))
    assert units.recognise(node).kind == units.REFUSED


def test_scaling_by_stated_values_keeps_the_place_and_the_transform(scene, nodes):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = __import__("vtk").vtkMatrix4x4()
    matrix.SetElement(2, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    nodes.pet.SetAndObserveTransformNodeID(transform.GetID())
    suv = units.add_suv_node(nodes.pet, units.scaled_volume(nodes.pet, 0.5), {"source": "test"})
    before, after = mrml.volume_from_node(nodes.pet), mrml.volume_from_node(suv)
    assert after.same_grid(before, 1e-4)
    np.testing.assert_allclose(after.array, before.array / 2)


def test_the_scanner_is_read_from_dicom(dicom):
    def name_it(dataset):
        dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Biograph64_mCT"

    node = dicom(edit=name_it)
    assert inputs.guess_preset(node) == "Siemens Biograph mCT"


def test_the_reconstruction_is_read_from_dicom_and_goes_with_the_pet_to_the_worker(dicom, tmp_path):
    def name_it(dataset):
        dataset.ReconstructionMethod, dataset.ConvolutionKernel = "PSF+TOF 3i21s", "XYZ Gauss5.00"

    header = inputs.header_of(dicom(edit=name_it))
    assert (header["reconstruction_method"], header["convolution_kernel"]) == ("PSF+TOF 3i21s", "XYZ Gauss5.00")
    pet = Volume(np.ones((2, 3, 4), np.float32), metadata={"file": "PET", **header})
    assert read_raw(write_raw(pet, tmp_path / "pet.nrrd")).metadata == pet.metadata


def test_a_pet_without_dicom_has_no_header_but_the_attributes_that_it_was_given(nodes):
    assert inputs.header_of(nodes.pet) == {}
    nodes.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")
    assert inputs.header_of(nodes.pet) == {"model": "Discovery 690"}


def test_the_scanner_is_read_from_attributes_and_never_made_up(nodes):
    assert inputs.guess_preset(nodes.pet) is None
    nodes.pet.SetAttribute("DICOM.Manufacturer", "GE MEDICAL SYSTEMS")
    nodes.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")
    assert inputs.guess_preset(nodes.pet) == "GE Discovery 690/710"
    nodes.pet.SetAttribute("DICOM.ManufacturerModelName", "Some other scanner")
    assert inputs.guess_preset(nodes.pet) is None


def test_a_region_is_the_box_of_the_roi_in_lps(scene):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    with pytest.raises(InputError, match="'Box' is empty"):
        inputs.region_of(roi)
    roi.SetXYZ((10, 20, 30))
    roi.SetRadiusXYZ((5, 6, 7))
    assert inputs.region_of(roi) == pytest.approx((-15, -5, -26, -14, 23, 37))
    assert inputs.region_of(None) is None


def test_a_new_region_is_put_around_the_lesions_and_within_the_pet(scene, nodes):
    params = SimpleNamespace(pet=nodes.pet, segmentation=nodes.segments)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    inputs.place_region(roi, SimpleNamespace(pet=None, segmentation=None))
    with pytest.raises(InputError, match="empty"):  # without a PET it has no place
        inputs.region_of(roi)
    inputs.place_region(roi, params)
    boxes = np.array([region_around(mask) for _name, mask in masks_from_node(nodes.segments)])
    bounds = [0.0] * 6
    nodes.pet.GetRASBounds(bounds)
    low = np.maximum(boxes[:, ::2].min(0), [-bounds[1], -bounds[3], bounds[4]])
    high = np.minimum(boxes[:, 1::2].max(0), [-bounds[0], -bounds[2], bounds[5]])
    box = inputs.region_of(roi)
    assert box[::2] == pytest.approx(low) and box[1::2] == pytest.approx(high)
    inputs.place_region(roi, SimpleNamespace(pet=nodes.pet, segmentation=None))
    assert inputs.region_of(roi) == pytest.approx(box)  # it has a place already
    middle = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Middle")
    inputs.place_region(middle, SimpleNamespace(pet=nodes.pet, segmentation=None))
    own = [0.0] * 6
    middle.GetRASBounds(own)
    assert np.add(own[::2], own[1::2]) == pytest.approx(np.add(bounds[::2], bounds[1::2]))
    assert np.diff(np.reshape(own, (3, 2))) * 2 == pytest.approx(np.diff(np.reshape(bounds, (3, 2))))
