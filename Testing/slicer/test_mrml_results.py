"""Results without the panel: lesion table, plot, difference, what is shown, the phantom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from PETSuperResSlicer import sample_data as sample
from PETSuperResSlicer.mrml import compare, inputs, lesion_chart, provenance, units
from PETSuperResSlicer.mrml import lesion_table as lesions
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import masks_from_node

from PETSuperResLib.difference import difference_steps
from PETSuperResLib.progress import at_once
from PETSuperResLib.volume import Volume


@pytest.fixture
def measured(nodes):
    """The two cubes measured in the PET and in a result with doubled values."""
    mrml.set_voxels(nodes.result, nodes.volume.with_array(nodes.volume.array * 2))
    return at_once(lesions.measure(nodes.pet, nodes.result, nodes.segments, "2.5"))


def test_a_lesion_partly_outside_the_pet_is_told_with_its_share(nodes):
    """Of the first cube's slices of voxels, the PET ends after the first half."""
    slices = np.flatnonzero((nodes.labels.array == 1).any((1, 2)))
    part = nodes.volume.slices(0, int(slices[len(slices) // 2]))
    mrml.set_voxels(nodes.pet, part)
    told = at_once(lesions.measure(nodes.pet, nodes.result, nodes.segments, "2.5")).notes
    assert len(told) >= 1 and "lies outside the PET: what is measured is the rest" in told[0]


def test_the_middle_of_a_lesion_lies_in_it(nodes, measured):
    """The first cube's middle voxel is (k, j, i) = (3, 5 or 6, 6 or 7); RAS is minus LPS in x and y."""
    i, j, k = np.linalg.inv(nodes.labels.ijk_to_lps)[:3] @ [
        -measured.centres[0][0],
        -measured.centres[0][1],
        measured.centres[0][2],
        1.0,
    ]
    assert nodes.labels.array[round(k), round(j), round(i)] == 1


def test_a_doubt_about_every_lesion_is_told_once(measured):
    doubts = ("Not supported (1.5 sigma). A noise of 0.3 is outside.", "A noise of 0.3 is outside.")
    doubted = [replace(one, doubts=text) for one, text in zip(measured.columns["sr"], doubts, strict=True)]
    measured = replace(measured, columns={**measured.columns, "sr": doubted})
    assert lesions.shared_doubts(measured.wide()) == ["A noise of 0.3 is outside."]
    assert [one.doubts for one in lesions.cells(measured, "suvmax")] == ["Not supported (1.5 sigma).", ""]


def series_of(chart):
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


@pytest.fixture
def chart(nodes, measured):
    return lesion_chart.update_chart(None, lesions.update_table(None, measured, nodes.pet, nodes.result), "suvmax")


def test_the_plots_axis_has_the_numbers_of_the_table_and_says_which_lesion_is_which(chart):
    """Slicer draws no names on the axis of a bar plot."""
    numbers = series_of(chart)[0].GetTableNode().GetTable().GetColumnByName(series_of(chart)[0].GetXColumnName())
    assert [numbers.GetValue(row) for row in range(2)] == [1, 2]
    assert {s.GetPlotType() for s in series_of(chart)} == {series_of(chart)[0].PlotTypeScatterBar}
    assert chart.GetXAxisTitle() == "Lesion: 1 Liver, 2 Node"


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["1 Liver", "2 Node"], "Lesion: 1 Liver, 2 Node"),
        (["Lesion 1", "Node"], "Lesion: Lesion 1, 2 Node"),
        (["Lesion 1", "Lesion 2"], "Lesion, by its number in the table"),
        (["a name of great length"] * 4, "Lesion, by its number in the table"),
    ],
)
def test_the_plots_axis_names_lesions_that_have_names(names, title):
    assert lesion_chart._axis_title(names) == title


@pytest.mark.parametrize(
    ("name", "shown"), [("Liver", "2 Liver"), ("Lesion 2", "Lesion 2"), ("Segment_2", "Segment_2"), ("Lesion 3", None)]
)
def test_a_number_that_a_lesions_name_has_already_is_not_said_again(name, shown):
    assert lesions.numbered(2, name) == (shown or f"2 {name}")


def test_the_plot_has_the_intervals_as_lines_over_the_bars_of_what_was_recovered(nodes, measured):
    ends = ((3.0, 5.0), (6.0, 9.0))
    known = [
        replace(one, suvmean_recovered=sum(end) / 2, suvmean_low=end[0], suvmean_high=end[1])
        for one, end in zip(measured.columns["sr"], ends, strict=True)
    ]
    table = lesions.update_table(None, measured.recovered(known), nodes.pet, nodes.result)
    interval = series_of(lesion_chart.update_chart(None, table, "suvmean"))[-1]
    drawn = interval.GetTableNode().GetTable()
    x, y = ([drawn.GetColumnByName(name).GetValue(row) for row in range(14)] for name in "xy")
    np.testing.assert_equal(y, [3, 3, 3, 5, 5, 5, np.nan, 6, 6, 6, 9, 9, 9, np.nan])
    assert [x[2], x[3], x[9]] == pytest.approx([1 + 0.8 / 3] * 2 + [2 + 0.8 / 3])  # the middle of the third of 3 bars
    assert x[0] < x[2] < x[1] and x[4] < x[3] < x[5]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_chart_that_lost_a_series_is_repaired(scene, chart, lost):
    """As after a scene was loaded into the session: the legend once read SR, SR."""
    table = series_of(chart)[0].GetTableNode()
    scene.RemoveNode(series_of(chart)[lost])
    stray = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "SR")
    chart.AddAndObservePlotSeriesNodeID(stray.GetID())
    lesion_chart.update_chart(chart, table, "suvmax")
    shown = [(s.GetName(), s.GetYColumnName(), s.GetColor()) for s in series_of(chart)]
    assert shown == [(title, f"{title.lower()}_suvmax", lesion_chart.COLOURS[title]) for title in ("PET", "SR")]
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 2


def test_the_difference_is_sr_minus_pet_on_the_results_grid_in_colours_about_0(nodes):
    mrml.set_voxels(nodes.result, nodes.volume.with_array(nodes.volume.array + 0.5))
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
    before = Volume(np.broadcast_to(np.arange(12.0, dtype=np.float32), (6, 8, 12)), (4.0, 4.0, 4.0))
    grid = Volume(np.zeros((9, 13, 19), np.float32), (2.0, 2.0, 2.0), (4.5, 3.0, 2.0))
    after = grid.with_array(np.broadcast_to((4.5 + 2 * np.arange(19)) / 4, grid.shape).astype(np.float32), "SUVbw")
    np.testing.assert_allclose(at_once(difference_steps(after, before)).array, 0, atol=1e-5)


def test_the_phantom_is_ready_to_run(scene):
    """PET in SUV on a coarse grid, CT in HU, named segments within both, and its scanner known."""
    pet, ct, segments = sample.phantom_nodes(shape=(8, 64, 96), lesions=2)
    assert units.recognise(pet).usable and inputs.guess_preset(pet) == "Paper standard"
    inputs.check_nodes(pet, ct)
    masks = masks_from_node(segments)
    assert len(masks) == 2 and pet.GetSpacing()[0] > 2 * ct.GetSpacing()[0]
