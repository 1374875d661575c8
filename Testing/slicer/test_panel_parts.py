"""What the panel is made of, without Qt: units, scanner and region of the inputs, lesion table, comparison, phantom."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs the package slicer-core (pip install '.[mrml]')")
import mrml_scene  # noqa: E402
from dicom_factory import Scan, ct_slices, pet_slices, suv_pattern, write_series  # noqa: E402

from PETSuperResLib.errors import CheckpointError, GeometryError, InputError, UnitsError  # noqa: E402
from PETSuperResLib.prior.checkpoint import BUNDLED  # noqa: E402
from PETSuperResLib.progress import at_once  # noqa: E402
from PETSuperResLib.volume import Volume  # noqa: E402


@pytest.fixture
def scene():
    found = mrml_scene.start()
    found.Clear(0)
    mrml_scene.load_module()
    return found


@pytest.fixture
def nodes(scene):
    """PET and CT nodes of a warm block with two hot cubes, and the cubes as a segmentation; no units stored."""
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels

    labels = np.zeros((8, 20, 24), np.float32)
    labels[2:5, 4:8, 5:9], labels[3:6, 11:15, 14:19] = 1, 2
    grid = Volume(labels, (1.5, 2.5, 4.0), (-31.0, 12.5, 700.0), unit="label")
    pet = grid.with_array(1 + 3 * (labels == 1) + 6 * (labels == 2), "")
    made = [mrml.node_from_volume(v, n, scene) for v, n in ((pet, "PET"), (pet.with_array(pet.array, ""), "Result"))]
    ct = mrml.node_from_volume(pet.with_array(np.where(labels > 0, 40.0, -900.0), ""), "CT", scene)
    segments = segmentation_from_labels(grid, made[0], "Lesions", {1: "Liver", 2: "Node"})
    return SimpleNamespace(pet=made[0], result=made[1], ct=ct, segments=segments, volume=pet, labels=grid)


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
    import slicer
    from PETSuperResSlicer.mrml import volumes as mrml

    from PETSuperResLib.dicom.read import read_series

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


def test_stored_units_are_believed_first(nodes):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

    mrml.mark_unit(nodes.pet, "SUVbw")
    mrml.mark_unit(nodes.ct, "HU")
    assert units.recognise(nodes.pet).usable
    assert units.recognise(nodes.ct).kind == units.REFUSED


def test_values_alone_never_prove_suv(nodes):
    from PETSuperResSlicer.mrml import units as units

    assert units.recognise(nodes.pet).kind == units.UNSURE
    with pytest.raises(UnitsError, match="They are SUV"):
        units.require_suv(nodes.pet)
    units.confirm(nodes.pet)
    units.require_suv(nodes.pet)


def test_values_rule_suv_out(nodes):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

    assert units.recognise(nodes.ct).kind == units.REFUSED
    mrml.set_voxels(nodes.pet, nodes.volume, nodes.volume.array * 4000)
    assert units.recognise(nodes.pet).kind == units.STATE
    with pytest.raises(UnitsError, match="fill in the form"):
        units.require_suv(nodes.pet)


def test_an_empty_or_constant_volume_is_refused(scene, nodes):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

    hollow = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")
    assert units.recognise(hollow).kind == units.REFUSED
    mrml.set_voxels(nodes.pet, nodes.volume, nodes.volume.array * 0)
    assert units.recognise(nodes.pet).kind == units.REFUSED


def suv_of(node, folder, **stated):
    """The SUV volume of a node's series, as the worker's job and the module make it."""
    from PETSuperResSlicer.mrml import units as units

    from PETSuperResLib.suv.stated import Stated
    from PETSuperResLib.worker.jobs import SuvJob, Tools
    from PETSuperResLib.worker.raw_arrays import read_raw

    job, finish = units.suv_job(node, Stated(**stated))
    run = SuvJob.from_message({**job, "out": str(folder)}).run
    files, report = run(Tools(lambda _path: None, lambda _event: None, lambda _file: None))
    return finish({key: read_raw(file) for key, file in files.items()}, report)


def test_a_dicom_pet_in_bq_is_converted_by_its_header(dicom, tmp_path):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

    node = dicom()
    assert units.recognise(node).kind == units.CONVERT
    volume = suv_of(node, tmp_path)
    suv = units.add_suv_node(node, volume, volume.metadata["suv"])
    np.testing.assert_allclose(mrml.volume_from_node(suv).array, suv_pattern(), rtol=2e-3)
    assert units.recognise(suv).usable and "factor_min" in suv.GetAttribute("PETSuperRes.suv")
    assert units.recognise(node).kind == units.CONVERT  # the loaded volume is not touched


def test_a_dicom_pet_in_suv_is_used_as_it_is(dicom):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

    node = dicom(Scan(units="GML"))
    assert units.recognise(node).kind == units.HEADER
    units.require_suv(node)
    assert mrml.unit_of_node(node) == "SUVbw"


def test_what_the_header_lacks_is_named_and_can_be_stated(dicom, tmp_path):
    from PETSuperResSlicer.mrml import units as units

    def lose_weight(dataset):
        del dataset.PatientWeight

    node = dicom(edit=lose_weight)
    with pytest.raises(UnitsError, match="PatientWeight"):
        suv_of(node, tmp_path)
    volume = suv_of(node, tmp_path, weight_kg=70.0)
    np.testing.assert_allclose(volume.array, suv_pattern(), rtol=2e-3)


def test_a_cropped_dicom_volume_is_not_mixed_up_with_its_series(dicom, tmp_path):
    from PETSuperResSlicer.mrml import units as units

    node = dicom()
    import slicer

    slicer.util.updateVolumeFromArray(node, np.zeros((3, 5, 4), np.float32))
    with pytest.raises(InputError, match="whole DICOM series"):
        suv_of(node, tmp_path)


def test_a_dicom_ct_is_not_taken_as_pet(dicom):
    from PETSuperResSlicer.mrml import units as units

    node = dicom(slices=ct_slices(np.full((4, 5, 4), 40.0)))
    assert units.recognise(node).kind == units.REFUSED


def test_scaling_by_stated_values_keeps_the_place_and_the_transform(scene, nodes):
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml import volumes as mrml

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
    from PETSuperResSlicer.mrml import inputs as inputs

    def name_it(dataset):
        dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Biograph64_mCT"

    node = dicom(edit=name_it)
    assert inputs.guess_preset(node) == "Siemens Biograph mCT"


def test_the_scanner_is_read_from_attributes_and_never_made_up(nodes):
    from PETSuperResSlicer.mrml import inputs as inputs

    assert inputs.guess_preset(nodes.pet) is None
    nodes.pet.SetAttribute("DICOM.Manufacturer", "GE MEDICAL SYSTEMS")
    nodes.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")
    assert inputs.guess_preset(nodes.pet) == "GE Discovery 690/710"
    nodes.pet.SetAttribute("DICOM.ManufacturerModelName", "Some other scanner")
    assert inputs.guess_preset(nodes.pet) is None


def test_a_region_is_the_box_of_the_roi_in_lps(scene):
    from PETSuperResSlicer.mrml import inputs as inputs

    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    with pytest.raises(InputError, match="'Box' is empty"):
        inputs.region_of(roi)
    roi.SetXYZ((10, 20, 30))
    roi.SetRadiusXYZ((5, 6, 7))
    assert inputs.region_of(roi) == pytest.approx((-15, -5, -26, -14, 23, 37))
    assert inputs.region_of(None) is None


def test_a_new_region_is_put_around_the_lesions_and_within_the_pet(scene, nodes):
    from PETSuperResSlicer.mrml import inputs as inputs
    from PETSuperResSlicer.mrml.segments import masks_from_node

    from PETSuperResLib.lesions.measures import region_around

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


def test_pet_as_ct_and_another_patients_ct_are_refused(scene, nodes):
    import slicer
    from PETSuperResSlicer.mrml import inputs as inputs

    with pytest.raises(InputError, match="as PET and as CT"):
        inputs.check_nodes(nodes.pet, nodes.pet)
    inputs.check_nodes(nodes.pet, nodes.ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in (nodes.pet, nodes.ct):
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"Patient of {node.GetName()}")
        hierarchy.CreateItem(patient, node)
    with pytest.raises(GeometryError, match="different patients"):
        inputs.check_nodes(nodes.pet, nodes.ct)


def test_the_priors_card_is_read_without_its_weights(tmp_path):
    from PETSuperResSlicer.mrml import inputs as inputs

    assert "trained on" in inputs.prior_card("") and "licence" in inputs.prior_card("")
    copy = shutil.copy(BUNDLED, tmp_path / "mine.safetensors")
    assert inputs.prior_card(str(copy)) == inputs.prior_card("")


@pytest.mark.parametrize("content", [b"", b"\x10", b"not a prior at all", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_prior_is_told_before_the_job(tmp_path, content):
    from PETSuperResSlicer.mrml import inputs as inputs

    path = tmp_path / "broken.safetensors"
    with pytest.raises(CheckpointError, match="No prior at"):
        inputs.prior_card(str(path))
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a PETSuperRes prior"):
        inputs.prior_card(str(path))


@pytest.fixture
def measured(nodes):
    """The two cubes measured in the PET and in a result with doubled values."""
    from PETSuperResSlicer.mrml import lesion_table as lesions
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import masks_from_node

    mrml.set_voxels(nodes.result, nodes.volume, nodes.volume.array * 2)
    images = [("PET", mrml.volume_from_node(nodes.pet)), ("SR", mrml.volume_from_node(nodes.result))]
    return lesions.measure(images, masks_from_node(nodes.segments), "2.5")


def test_the_lesion_table_is_filled_in_place(nodes, measured):
    from PETSuperResSlicer.mrml import lesion_table as lesions
    from PETSuperResSlicer.mrml import provenance

    table = lesions.update_table(None, measured, nodes.pet, nodes.result)
    again = lesions.update_table(table, measured, nodes.pet, nodes.result)
    assert again is table and nodes.result.GetNodeReference(provenance.LESIONS) is table
    assert table.GetNumberOfRows() == 2 and table.GetNumberOfColumns() == 17
    rows = lesions.cells(measured.columns)
    assert rows[0][::2][:2] == ["1 Liver", "4.00\n8.00\n+100 %"] and rows[1][2] == "7.00\n14.0\n+100 %"


def test_the_table_as_text_can_be_read_back(nodes, measured):
    import csv

    from PETSuperResSlicer.mrml import lesion_table as lesions

    table = lesions.update_table(None, measured, nodes.pet, nodes.result)
    rows = list(csv.DictReader(lesions.table_text(table).splitlines()))
    assert [row["Lesion"] for row in rows] == ["Liver", "Node"]
    assert float(rows[1]["SUVmax SR [g/mL]"]) == pytest.approx(14)
    assert float(rows[0]["SUVmax change [%]"]) == pytest.approx(100)
    assert lesions.table_text(table, "\t").splitlines()[0].count("\t") == 16


def test_the_middle_of_a_lesion_lies_in_it(nodes, measured):
    """The first cube's middle voxel is (k, j, i) = (3, 5 or 6, 6 or 7); RAS is minus LPS in x and y."""
    i, j, k = np.linalg.inv(nodes.labels.ijk_to_lps)[:3] @ [
        -measured.centres[0][0],
        -measured.centres[0][1],
        measured.centres[0][2],
        1.0,
    ]
    assert nodes.labels.array[round(k), round(j), round(i)] == 1


def series_of(chart):
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


@pytest.fixture
def chart(nodes, measured):
    from PETSuperResSlicer.mrml import lesion_table as lesions

    return lesions.update_chart(None, lesions.update_table(None, measured, nodes.pet, nodes.result), "SUVmax")


def test_the_plot_has_a_bar_per_image_and_follows_the_measure(chart):
    from PETSuperResSlicer.mrml import lesion_table as lesions

    table = series_of(chart)[0].GetTableNode()
    assert lesions.update_chart(chart, table, "MTV") is chart
    assert [s.GetYColumnName() for s in series_of(chart)] == ["MTV PET", "MTV SR"]
    assert all(table.GetColumnIndex(s.GetYColumnName()) >= 0 for s in series_of(chart))


def test_the_plots_axis_has_the_numbers_of_the_table_and_says_which_lesion_is_which(chart):
    """Slicer draws no names on the axis of a bar plot."""
    numbers = series_of(chart)[0].GetTableNode().GetTable().GetColumnByName(series_of(chart)[0].GetXColumnName())
    assert [numbers.GetValue(row) for row in range(2)] == [1, 2]
    assert {s.GetPlotType() for s in series_of(chart)} == {series_of(chart)[0].PlotTypeScatterBar}
    assert chart.GetXAxisTitle() == "Lesion: 1 Liver, 2 Node"


@pytest.mark.parametrize("lost", [0, 1])
def test_a_chart_that_lost_a_series_is_repaired(scene, chart, lost):
    """As after a scene was loaded into the session: the legend once read SR, SR."""
    from PETSuperResSlicer.mrml import lesion_table as lesions

    table = series_of(chart)[0].GetTableNode()
    scene.RemoveNode(series_of(chart)[lost])
    stray = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "SR")
    chart.AddAndObservePlotSeriesNodeID(stray.GetID())
    lesions.update_chart(chart, table, "SUVmax")
    shown = [(s.GetName(), s.GetYColumnName(), s.GetColor()) for s in series_of(chart)]
    assert shown == [(title, f"SUVmax {title}", lesions.COLOURS[title]) for title in ("PET", "SR")]
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 2


def test_the_difference_is_sr_minus_pet_on_the_results_grid_in_colours_about_0(nodes):
    import slicer
    from PETSuperResSlicer.mrml import compare, provenance
    from PETSuperResSlicer.mrml import volumes as mrml

    from PETSuperResLib.difference import difference_steps

    mrml.set_voxels(nodes.result, nodes.volume, nodes.volume.array + 0.5)
    steps = difference_steps(mrml.volume_from_node(nodes.result), mrml.volume_from_node(nodes.pet))
    volume = at_once(steps)
    node = compare.add_difference(volume, nodes.pet, nodes.result)
    np.testing.assert_allclose(mrml.volume_from_node(node).array, 0.5, atol=1e-5)
    again = compare.add_difference(volume, nodes.pet, nodes.result)
    assert node.GetScene() is None and nodes.result.GetNodeReference(provenance.DIFFERENCE) is again
    colours = again.GetDisplayNode().GetColorNode()
    low, middle, high = np.zeros(4), np.zeros(4), np.zeros(4)
    for index, found in ((0, low), (128, middle), (255, high)):
        colours.GetColor(index, found)
    assert low[2] > low[0] and high[0] > high[2] and middle[:3].min() > 0.95
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(again)
    assert legend.GetVisibility() and "SUV" in legend.GetTitleText()


def test_the_difference_is_taken_where_the_voxels_lie():
    """A ramp along x on two grids, one finer and shifted: the difference is 0, where both have voxels."""
    from PETSuperResLib.difference import difference_steps

    before = Volume(np.broadcast_to(np.arange(12.0, dtype=np.float32), (6, 8, 12)), (4.0, 4.0, 4.0))
    grid = Volume(np.zeros((9, 13, 19), np.float32), (2.0, 2.0, 2.0), (4.5, 3.0, 2.0))
    after = grid.with_array(np.broadcast_to((4.5 + 2 * np.arange(19)) / 4, grid.shape).astype(np.float32), "SUVbw")
    np.testing.assert_allclose(at_once(difference_steps(after, before)).array, 0, atol=1e-5)


def test_the_switch_exchanges_pet_and_result_where_they_are_shown(scene, nodes):
    from PETSuperResSlicer.mrml import compare as compare

    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(nodes.ct.GetID())
    composite.SetForegroundVolumeID(nodes.pet.GetID())
    assert compare.switch(nodes.pet, nodes.result, scene) == "Result"
    assert composite.GetForegroundVolumeID() == nodes.result.GetID()
    assert composite.GetBackgroundVolumeID() == nodes.ct.GetID()
    compare.switch(nodes.pet, nodes.result, scene)
    assert composite.GetForegroundVolumeID() == nodes.pet.GetID()


def test_a_result_is_shown_like_its_pet(nodes):
    from PETSuperResSlicer.mrml import volumes as mrml

    mrml.show_as_pet(nodes.pet, 9.0, 4.5)
    nodes.pet.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    mrml.show_like(nodes.result, nodes.pet)
    display = nodes.result.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (9.0, 4.5)
    assert display.GetColorNodeID() == nodes.pet.GetDisplayNode().GetColorNodeID()


def test_the_phantom_is_ready_to_run(scene):
    """PET in SUV on a coarse grid, CT in HU, named segments within both, and its scanner known."""
    from PETSuperResSlicer import sample_data as sample
    from PETSuperResSlicer.mrml import inputs as inputs
    from PETSuperResSlicer.mrml import units as units
    from PETSuperResSlicer.mrml.segments import masks_from_node

    pet, ct, segments = sample.phantom_nodes(shape=(8, 64, 96), lesions=2)
    assert units.recognise(pet).usable and inputs.guess_preset(pet) == "Paper standard"
    inputs.check_nodes(pet, ct)
    masks = masks_from_node(segments)
    assert len(masks) == 2 and pet.GetSpacing()[0] > 2 * ct.GetSpacing()[0]
