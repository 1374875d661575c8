"""Spherical VOIs in the panel: placed by a click, dragged, named, removed; the figures are those of the backend."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
from panel_case import choose, finish, nodes_in_scene, warp
from PETSuperResSlicer.mrml import spheres
from PETSuperResSlicer.mrml import volumes as mrml
from PySide6 import QtCore, QtTest

from PETSuperResLib.errors import GeometryError
from PETSuperResLib.lesions.sphere import ML_MM, Sphere


def view():
    return slicer.app.layoutManager().sliceWidget("Red").sliceView()


def pixel(ras):
    """Where a point (RAS mm) is in the red view, which is moved to it."""
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    logic.SetSliceOffset(ras[2])
    to_xy = np.linalg.inv(slicer.util.arrayFromVTKMatrix(logic.GetSliceNode().GetXYToRAS()))
    x, y = (to_xy @ [*ras, 1.0])[:2]
    return QtCore.QPoint(round(x), round(view().height - 1 - y))


def mouse(kind, ras):
    """Press, Move or Release at a point; the button is down while it moves."""
    place, left = pixel(ras), QtCore.Qt.MouseButton.LeftButton
    getattr(QtTest.QTest, f"mouse{kind}")(
        view(), *((place,) if kind == "Move" else (left,)), **({} if kind == "Move" else {"pos": place})
    )


@pytest.fixture
def chosen(panel, host, case):
    choose(panel, host, case)
    slicer.util.setSliceViewerLayers(background=case.ct, foreground=case.pet, fit=True)
    host.spin(0.1)
    return case


def middle(case, label=2):
    k, j, i = np.argwhere(case.labels.array == label).mean(0)
    x, y, z = (case.labels.ijk_to_lps @ [i, j, k, 1.0])[:3]
    return np.array([-x, -y, z])


def place(panel, host, ras, button="mlSphereButton"):
    getattr(panel.ui, button).click()
    QtTest.QTest.mouseClick(view(), QtCore.Qt.MouseButton.LeftButton, pos=pixel(ras))
    host.spin(0.1)


def expected(volume, sphere):
    return Sphere((-sphere.centre[0], -sphere.centre[1], sphere.centre[2]), sphere.diameter_mm).measure(volume)


def same(found, other):
    assert [found.suvmean, found.sd, found.suvpeak, found.suvmax, found.share] == pytest.approx(
        [other.suvmean, other.sd, other.suvpeak, other.suvmax, other.share], rel=1e-5, abs=1e-6
    )


def test_a_click_places_a_sphere_that_is_measured_in_pet_and_result(panel, host, fake, chosen):
    finish(panel, host, fake, chosen)
    place(panel, host, middle(chosen))
    ((sphere, (pet, sr)),) = panel.spheres.figures.items()
    assert np.linalg.norm(np.array(sphere.centre) - middle(chosen)) < 2 and sphere.diameter_mm == ML_MM
    same(pet, expected(mrml.volume_from_node(chosen.pet), sphere))
    same(sr, expected(mrml.volume_from_node(panel.params.result), sphere))
    assert panel.ui.spheresTable.item(0, 2).text() == f"{pet.suvmean:.2f}\n{sr.suvmean:.2f}"
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() != interaction.Place


def test_the_numbers_follow_while_the_sphere_is_dragged(panel, host, chosen):
    start = middle(chosen)
    place(panel, host, start)
    before = panel.spheres.figures
    QtTest.QTest.mousePress(view(), QtCore.Qt.MouseButton.LeftButton, pos=pixel(start))
    took = []
    for step in range(1, 9):
        QtTest.QTest.mouseMove(view(), pixel(start + np.array([2.0 * step, 0, 0])))
        began = time.thread_time()
        panel.spheres.measure()
        took.append(time.thread_time() - began)
        assert list(panel.spheres.figures) != list(before)
    QtTest.QTest.mouseRelease(view(), QtCore.Qt.MouseButton.LeftButton, pos=pixel(start + np.array([16.0, 0, 0])))
    ((sphere, (pet,)),) = panel.spheres.figures.items()
    assert sphere.centre[0] == pytest.approx(start[0] + 16, abs=2)
    same(pet, expected(mrml.volume_from_node(chosen.pet), sphere))
    assert pet.suvmean < next(iter(before.values()))[0].suvmean  # it has left the lesion
    assert sorted(took)[len(took) // 2] < 0.1


def test_moving_the_mouse_before_the_click_measures_nothing(panel, host, chosen):
    panel.ui.mlSphereButton.click()
    QtTest.QTest.mouseMove(view(), pixel(middle(chosen)))
    host.spin(0.1)
    assert panel.params.spheres.GetNumberOfControlPoints() == 1 and not panel.spheres.figures


def test_several_spheres_have_names_sizes_and_circles(panel, host, chosen):
    place(panel, host, middle(chosen))
    place(panel, host, middle(chosen, 1), "wideSphereButton")
    assert [(s.name, s.diameter_mm) for s in panel.spheres.figures] == [("S1", ML_MM), ("S2", 30.0)]
    panel.ui.spheresTable.item(1, 0).setText("Liver")
    host.spin(0.1)
    assert panel.params.spheres.GetNthControlPointLabel(1) == "Liver"
    (model,) = [n for n in slicer.util.getNodesByClass("vtkMRMLModelNode") if "spheres" in n.GetName()]
    bounds = np.reshape(model.GetPolyData().GetBounds(), (3, 2))
    centres = np.array([s.centre for s in panel.spheres.figures])
    assert bounds[0] == pytest.approx(
        [min(centres[0, 0] - 6.2, centres[1, 0] - 15), max(centres[0, 0] + 6.2, centres[1, 0] + 15)], abs=0.1
    )
    panel.ui.spheresTable.selectRow(0)
    panel.ui.removeSphereButton.click()
    host.spin(0.1)
    assert [s.name for s in panel.spheres.figures] == ["Liver"]
    place(panel, host, middle(chosen))
    assert [s.name for s in panel.spheres.figures] == ["Liver", "S3"]


def test_the_figures_are_copied_with_all_digits(panel, host, chosen):
    place(panel, host, middle(chosen))
    panel.ui.copySpheresButton.click()
    heading, line, end = slicer.app.clipboard().text().split("\n")
    row = dict(zip(heading.split("\t"), line.split("\t"), strict=True))
    ((sphere, (pet,)),) = panel.spheres.figures.items()
    assert (row["sphere"], row["image"], row["diameter_mm"], end) == ("S1", "PET", "12.4", "")
    assert float(row["suvmean"]) == pytest.approx(pet.suvmean, rel=1e-5)


def test_what_lies_outside_is_told(panel, host, chosen):
    place(panel, host, middle(chosen))
    edge = mrml.ras_bounds(chosen.pet)[1, 0]
    points = panel.params.spheres
    points.SetNthControlPointPositionWorld(0, edge, *middle(chosen)[1:])
    host.spin(0.1)
    assert panel.ui.spheresLabel.text == "50 % of S1 lies outside the PET."
    points.SetNthControlPointPositionWorld(0, edge + 100, *middle(chosen)[1:])
    host.spin(0.1)
    assert panel.ui.spheresTable.item(0, 2).text() == "-"


def test_spheres_move_with_the_transform_of_their_list(panel, host, chosen):
    place(panel, host, middle(chosen))
    ((before, _figures),) = panel.spheres.figures.items()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    panel.params.spheres.SetAndObserveTransformNodeID(transform.GetID())
    matrix = np.eye(4)
    matrix[0, 3] = 20.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    host.spin(0.1)
    ((after, (pet,)),) = panel.spheres.figures.items()
    assert np.subtract(after.centre, before.centre) == pytest.approx([20.0, 0.0, 0.0], abs=1e-6)
    same(pet, expected(mrml.volume_from_node(chosen.pet), after))


def test_other_voxels_are_measured_again(panel, host, chosen):
    place(panel, host, middle(chosen))
    before = next(iter(panel.spheres.figures.values()))[0].suvmean
    slicer.util.updateVolumeFromArray(chosen.pet, 2 * slicer.util.arrayFromVolume(chosen.pet))
    host.spin(0.1)
    assert next(iter(panel.spheres.figures.values()))[0].suvmean == pytest.approx(2 * before, rel=1e-5)


def test_voxels_changed_from_the_console_are_measured_and_a_warp_is_told(panel, host, chosen):
    slicer.util.arrayFromVolume(chosen.pet)[:] = 5.0
    slicer.util.arrayFromVolumeModified(chosen.pet)
    place(panel, host, middle(chosen))
    slicer.util.arrayFromVolume(chosen.pet)[:] = 7.0
    slicer.util.arrayFromVolumeModified(chosen.pet)
    assert host.spin(2, until=lambda: panel.ui.spheresTable.item(0, 2).text() == "7.00")
    chosen.pet.SetAndObserveTransformNodeID(warp().GetID())
    host.spin(0.3)
    assert "under a non-linear transform: harden it first" in panel.ui.spheresLabel.text
    assert "outside" not in panel.ui.spheresLabel.text


def test_a_pet_that_is_not_suv_is_not_measured(panel, host, chosen):
    chosen.pet.SetVoxelValueUnits(None)
    panel.onParameters()
    assert not panel.ui.mlSphereButton.enabled and not panel.ui.wideSphereButton.enabled


def test_closing_the_scene_leaves_nothing(panel, host, chosen):
    before = {n.split("Node")[0] for n in nodes_in_scene()}
    place(panel, host, middle(chosen))
    slicer.mrmlScene.Clear(0)
    host.spin(0.1)
    assert not panel.spheres.figures and panel.ui.spheresTable.rowCount == 0 and before
    assert not slicer.util.getNodesByClass("vtkMRMLModelNode")[3:]  # beside those of the slices


@pytest.mark.parametrize("moved", [0.0, 25.0])
def test_figures_by_the_voxels_near_it_are_those_of_the_whole_volume(nodes, moved):
    """Also under a linear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = moved
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    nodes.pet.SetAndObserveTransformNodeID(transform.GetID())
    centre = tuple(middle(nodes) + [moved + 3.1, 2.7, 0.4])
    for diameter in (ML_MM, 30.0):
        found = spheres.figures(nodes.pet, centre, diameter)
        same(found, expected(mrml.volume_from_node(nodes.pet), spheres.Placed("", centre, diameter)))


def test_from_the_console(nodes):
    from mrml_scene import load_module

    logic, centre = load_module().PETSuperResLogic(), middle(nodes)
    assert logic.sphere(nodes.pet, centre, 30.0) == spheres.figures(nodes.pet, tuple(centre), 30.0)
    with pytest.raises(GeometryError, match="outside 'PET'"):
        logic.sphere(nodes.pet, centre + 500)
