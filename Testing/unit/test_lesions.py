"""Lesion SUVs against values known by construction, whatever the grids."""

from __future__ import annotations

import csv
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import GEOMETRIES, ball, data_dir, radius, rotation

from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.files import write_csv
from PETSuperResLib.lesions import tables
from PETSuperResLib.lesions.measures import (
    COLUMNS,
    about_threshold,
    lesion_rows,
    measure_lesions,
    measure_on_grid,
    peak_kernel,
)
from PETSuperResLib.lesions.nrrd import nrrd_segments
from PETSuperResLib.lesions.segments import Segment, cut_by, region_around, segments_of, split_segments
from PETSuperResLib.volume import Volume


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2, 2), (4.07, 4.07, 3), (5.47, 5.47, 3.27), (8, 8, 3.27)])
def test_peak_sphere_is_one_millilitre(spacing):
    assert peak_kernel(spacing).sum() * math.prod(spacing) / 1000 == pytest.approx(1.0, rel=0.02)


def test_values_of_a_hot_sphere(sphere_pet):
    (lesion,) = measure_lesions(sphere_pet, ball((2, 2, 2), 12))
    assert (lesion.suvmax, lesion.suvpeak) == (8.0, pytest.approx(8.0))  # the 1 cm3 sphere fits inside
    assert lesion.suvmean == pytest.approx(8.0, rel=0.02)
    assert lesion.mtv_ml == pytest.approx(4 / 3 * math.pi * 1.2**3, rel=0.03)
    assert lesion.tlg == pytest.approx(8 * lesion.mtv_ml)


def test_peak_of_a_small_hot_spot_is_diluted_to_one_millilitre():
    """1 SUV x mL in a single voxel: the mean over 1 mL is 1, its maximum is not."""
    grid = Volume(np.zeros((21, 21, 21)), (2.0, 2.0, 2.0), (-20.0, -20.0, -20.0))
    spot = np.zeros(grid.shape, np.float32)
    spot[10, 10, 10] = 1 / grid.voxel_ml
    (lesion,) = measure_lesions(grid.with_array(spot, "SUVbw"), ball((2, 2, 2), 15, 20))
    assert lesion.suvmax == pytest.approx(125)
    assert lesion.suvpeak == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(("spot", "peak"), [((18.0, 0.0, 0.0), 1.0), ((16.0, 16.0, 16.0), 0.0)])
def test_the_peak_sphere_is_centred_within_the_segment(spot, peak):
    """1 SUV x mL in one voxel outside a ball of 16 mm: beside it spheres reach it, at its box's corner none does."""
    grid = Volume(np.zeros((41, 41, 41)), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
    values = np.where(radius(grid, spot) < 1, 1 / grid.voxel_ml, 0.0).astype(np.float32)
    (lesion,) = measure_lesions(grid.with_array(values, "SUVbw"), ball((2, 2, 2), 16, 41))
    assert lesion.suvmax == 0 and lesion.suvpeak == pytest.approx(peak, abs=0.02)


def test_a_peak_needs_nothing_that_numpy_will_refuse():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure_lesions(Volume(np.ones((8, 9, 10)), (4.0, 4.0, 4.0)), Volume(np.ones((8, 9, 10)), (4.0, 4.0, 4.0)))


def test_the_peak_in_a_thin_volume_is_the_mean_of_what_lies_within_it():
    grid = Volume(np.full((3, 20, 20), 3.0, np.float32), (2.0, 2.0, 2.0))
    mask = grid.with_array(np.ones(grid.shape, np.float32), "label")
    assert measure_lesions(grid, mask)[0].suvpeak == pytest.approx(3.0)


@pytest.mark.parametrize(("columns", "suvmax"), [(9, 1.0), (11, 9.0)])
def test_a_voxel_counts_for_the_suvmax_when_half_of_it_lies_within_the_segment(columns, suvmax):
    """Voxels of 4 mm, the third one hot: a quarter or three quarters of it are drawn."""
    values = np.ones((3, 3, 5), np.float32)
    values[:, :, 2] = 9.0
    volume = Volume(values, (4.0, 4.0, 4.0), (1.5, 1.5, 1.5))
    fine = Volume(np.zeros((12, 12, 20), np.float32))
    fine.array[:, :, :columns] = 1
    (lesion,) = measure_lesions(volume, fine)
    assert lesion.suvmax == suvmax and lesion.suvmean > 1.0


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1.5, 1.5, 3.27), (3, 3, 3)])
def test_a_mask_on_another_grid_gives_the_same_suvs(sphere_pet, spacing):
    mask = ball(spacing, 8)
    (lesion,) = measure_lesions(sphere_pet, mask)
    assert (lesion.suvmax, lesion.suvmean) == (8.0, 8.0)
    assert lesion.mtv_ml == pytest.approx(mask.array.sum() * mask.voxel_ml, rel=0.05)


@pytest.mark.parametrize("turn", [0, 90, 180])
@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 2.0), (6.0, 5.0, 8.0)])
def test_voxels_that_do_not_fit_those_of_the_mask_share_its_volume_exactly(turn, voxel_mm):
    mask = ball((3.906, 3.906, 3.27), 20, 9)
    grid = Volume(np.zeros((28, 48, 46)), voxel_mm, direction=tuple(rotation((0, 0, 1), turn).ravel()))
    grid = replace(grid, origin=tuple(-(grid.ijk_to_lps @ [23, 24, 14, 1])[:3] + 0.7))
    weights, _ = segments_of(mask)[0].weights(grid)
    assert weights.sum(dtype=np.float64) * grid.voxel_ml == pytest.approx(mask.array.sum() * mask.voxel_ml, rel=1e-5)
    assert weights.min() >= 0 and weights.max() <= 1 + 1e-6


@pytest.mark.parametrize("direction", GEOMETRIES.values(), ids=GEOMETRIES)
def test_segment_volume_survives_any_change_of_grid(direction):
    """Partial weights: the segment has the same volume on a coarse, turned grid as on its own."""
    mask = ball((1, 1, 1), 10, 14)
    coarse = Volume(np.zeros((9, 9, 9)), (6.0, 5.0, 8.0), direction=tuple(direction.ravel()))
    shift = -(coarse.ijk_to_lps @ [4, 4, 4, 1])[:3]
    coarse = replace(coarse, origin=tuple(shift))
    weights, _ = segments_of(mask)[0].weights(coarse)
    assert weights.max() <= 1
    assert weights.sum() * coarse.voxel_ml == pytest.approx(mask.array.sum() * mask.voxel_ml, rel=0.03)


def test_a_lesions_weights_are_made_once_for_each_volume(sphere_pet, monkeypatch):
    made, weights = [], Segment.weights
    monkeypatch.setattr(Segment, "weights", lambda self, volume: made.append(volume) or weights(self, volume))
    measure_lesions(sphere_pet, ball((2, 2, 2), 12), reference=sphere_pet, skip_outside=True)
    assert len(made) == 2


def test_turned_mask_measures_the_same_place():
    """A slab along x in the patient, drawn on a grid turned by 90 degrees about z."""
    grid = Volume(np.zeros((9, 41, 41)), (1.0, 1.0, 1.0), (-20.0, -20.0, -4.0))
    x = np.indices(grid.shape)[2] - 20.0
    turned = Volume(np.zeros((9, 41, 41)), origin=(20.0, -20.0, -4.0), direction=tuple(rotation((0, 0, 1), 90).ravel()))
    drawn = np.zeros(turned.shape, np.float32)
    drawn[:, :10, :] = 1  # rows run along -x from x = 20: the slab 11 <= x <= 20
    (lesion,) = measure_lesions(grid.with_array(x.astype(np.float32)), turned.with_array(drawn, "label"))
    assert lesion.suvmax == 20.0
    assert lesion.suvmean == pytest.approx(15.5)


def test_small_lesion_on_a_coarse_grid_is_measured_not_lost():
    coarse = Volume(np.full((5, 5, 5), 3.0), (8.0, 8.0, 8.0), (-12.0, -12.0, -12.0))
    mask = ball((1, 1, 1), 3, 6)
    (lesion,) = measure_lesions(coarse, mask)
    assert (lesion.suvmax, lesion.suvmean) == (3.0, pytest.approx(3.0))
    assert lesion.mtv_ml == pytest.approx(mask.array.sum() * mask.voxel_ml, rel=0.01)


@pytest.mark.parametrize(("threshold", "edge"), [(2.5, 2.5), ("4.0", 4.0), ("41%", 4.1)])
def test_metabolic_volume_follows_the_threshold(threshold, edge):
    values = np.linspace(0, 10, 101, dtype=np.float32)[None, None, :].repeat(2, 0).repeat(2, 1)
    volume = Volume(values, (1.0, 1.0, 1.0))
    (lesion,) = measure_lesions(volume, volume.with_array(np.ones_like(values), "label"), threshold=threshold)
    counted = values[values >= edge - 1e-6]
    assert lesion.mtv_ml == pytest.approx(counted.size / 1000)
    assert lesion.tlg == pytest.approx(counted.mean() * counted.size / 1000, rel=1e-5)
    if edge == 2.5:
        assert measure_lesions(volume, volume.with_array(np.ones_like(values), "label")) == [lesion]  # the usual one


def test_deltas_and_error_against_a_reference(sphere_pet):
    lower = sphere_pet.with_array(0.9 * sphere_pet.array)
    (lesion,) = measure_lesions(lower, ball((2, 2, 2), 12), sphere_pet)
    assert lesion.delta_suvmax_percent == pytest.approx(-10)
    assert lesion.delta_suvmean_percent == pytest.approx(-10)
    assert lesion.nmse == pytest.approx(0.01, rel=1e-4)


def test_labels_keep_their_order_and_names(sphere_pet):
    near, far = radius(sphere_pet) < 5, radius(sphere_pet, (20, 0, 0)) < 5
    mask = sphere_pet.with_array(np.where(near, 7, 0) + np.where(far, 3, 0), "label")
    found = measure_lesions(sphere_pet, mask, names={7: "liver metastasis"})
    assert [(v.label, v.name, v.suvmax) for v in found] == [(3, "Lesion 3", 1.0), (7, "liver metastasis", 8.0)]
    parts = split_segments(mask.with_array((mask.array > 0).astype(np.float32)))
    assert len(measure_lesions(sphere_pet, parts)) == 2


def test_comparison_gives_the_change_of_every_measure(sphere_pet):
    mask = ball((2, 2, 2), 10)
    before = measure_lesions(sphere_pet, mask)
    after = measure_lesions(sphere_pet.with_array(1.2 * sphere_pet.array), mask)
    (row,) = tables.wide_rows(pet=before, sr=after)
    assert row["lesion"] == "Lesion 1" and row["pet_on_grid_suvmax"] is None
    assert row["sr_suvpeak"] == pytest.approx(1.2 * row["pet_suvpeak"])
    assert row["suvmax_change_percent"] == pytest.approx(20, rel=1e-5)
    assert tuple(row) == tables.COLUMNS and row["volume_ml"] == pytest.approx(mask.array.sum() * mask.voxel_ml)


@pytest.mark.parametrize("form", [float, str])
def test_of_a_lesion_that_an_image_holds_in_part_no_change_of_the_whole_is_told(sphere_pet, form):
    """By numbers or by the text of a table; one without volumes tells nothing of parts."""
    segments = segments_of(ball((2, 2, 2), 10))
    k = int(np.argwhere(sphere_pet.array > 2).mean(0)[0]) + 1
    (before,), (after,) = (measure_lesions(image, segments) for image in (sphere_pet, sphere_pet.slices(0, k)))
    images = {"pet": lesion_rows([before])[0], "sr": lesion_rows([after])[0]}
    rows = {name: row | {"volume_ml": form(row["volume_ml"])} for name, row in images.items()}
    row = tables.wide_row(rows)
    assert [row[f"{name}_change_percent"] for name in ("suvmax", "suvpeak")] == pytest.approx([0, 0], abs=5)
    assert [row[f"{name}_change_percent"] for name in ("suvmean", "mtv_ml", "tlg")] == [None] * 3
    assert tables.wide_row({name: row | {"volume_ml": ""} for name, row in rows.items()})["tlg_change_percent"] < -20
    sampled = rows | {"sr": rows["sr"] | {"volume_ml": form(0.95 * float(rows["pet"]["volume_ml"]))}}
    assert tables.wide_row(sampled)["tlg_change_percent"] is not None  # as of an oblique mask


def test_a_pet_on_a_finer_grid_is_interpolated_before_it_is_measured(sphere_pet):
    coarse = sphere_pet.resample_to(sphere_pet.grid((6.0, 6.0, 6.0)))
    segments = segments_of(ball((2, 2, 2), 10))
    (own,), (fine,) = measure_lesions(coarse, segments), measure_on_grid(coarse, sphere_pet, segments)
    (whole,) = measure_lesions(coarse.resample_to(sphere_pet), segments)
    assert fine.suvmean != own.suvmean
    assert (fine.suvpeak, fine.tlg) == pytest.approx((whole.suvpeak, whole.tlg), rel=1e-5)
    far = replace(sphere_pet, origin=(500.0, 0.0, 0.0))
    assert measure_on_grid(coarse, far, segments) == []


def test_table_has_the_agreed_columns_and_empty_cells_where_nothing_is_known(sphere_pet, tmp_path):
    rows = lesion_rows(measure_lesions(sphere_pet, ball((2, 2, 2), 10)), "P1", "standard", "lr")
    with write_csv(tmp_path / "lesions.csv", rows, COLUMNS).open() as stream:
        (read,) = csv.DictReader(stream)
    assert tuple(read) == COLUMNS
    assert (read["patient"], read["method"], float(read["suvmax"]), read["nmse"]) == ("P1", "lr", 8.0, "")


def test_region_holds_the_segments_with_their_margin():
    box = region_around(ball((1, 1, 1), 10), 5)
    assert box == pytest.approx((-15, 15, -15, 15, -15, 15), abs=1)


def test_names_come_from_a_segmentation_of_slicer(tmp_path):
    image = ball((2, 2, 2), 6).to_sitk()
    image = sitk.Cast(image, sitk.sitkUInt8)
    for key, value in {"Segment0_Name": "Sarcoma", "Segment0_LabelValue": "1", "Segment0_ID": "x"}.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "s.seg.nrrd"))
    [segment] = nrrd_segments(tmp_path / "s.seg.nrrd")
    assert (segment.label, segment.name) == (1, "Sarcoma")


def test_masks_that_cannot_be_used_are_told(sphere_pet):
    empty = sphere_pet.with_array(np.zeros(sphere_pet.shape))
    with pytest.raises(InputError, match="empty"):
        measure_lesions(sphere_pet, empty)
    with pytest.raises(InputError, match="not a label map"):
        measure_lesions(sphere_pet, sphere_pet.with_array(sphere_pet.array + 0.5))
    with pytest.raises(InputError, match="not a label map"):
        measure_lesions(sphere_pet, sphere_pet.with_array(-sphere_pet.array))
    elsewhere = replace(ball((2, 2, 2), 5), origin=(900.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match="'Lesion 1' has no voxel inside"):
        measure_lesions(sphere_pet, elsewhere)
    assert measure_lesions(sphere_pet, elsewhere, skip_outside=True) == []
    with pytest.raises(InputError, match="41%"):
        measure_lesions(sphere_pet, ball((2, 2, 2), 5), threshold="half")
    broken = sphere_pet.with_array(np.where(radius(sphere_pet) < 3, np.nan, sphere_pet.array))
    with pytest.raises(InputError, match="not numbers"):
        measure_lesions(broken, ball((2, 2, 2), 5))


@pytest.mark.parametrize("threshold", ["141%", "0.41%", "-1", "nan", "1e999", "-3%", "%"])
def test_thresholds_that_mean_nothing_are_refused(sphere_pet, threshold):
    with pytest.raises(InputError, match="MTV threshold"):
        measure_lesions(sphere_pet, ball((2, 2, 2), 5), threshold=threshold)


@pytest.mark.parametrize(
    ("threshold", "told"),
    [("0.41", "give 41%."), (0.5, "give 50%."), ("0.004", "give 41%."), ("1", ""), (0, ""), ("41%", ""), (2.5, "")],
)
def test_an_suv_below_1_is_asked_whether_it_is_meant_as_a_share(threshold, told):
    found = about_threshold(threshold)
    assert len(found) == bool(told) and all(note.endswith(told) for note in found)


@pytest.mark.data
def test_a_real_tumour_keeps_its_suvmean_on_a_finer_grid():
    pet = Volume.read(data_dir("sts", "STS_001", "PET_SUV.nii.gz"))
    mask = Volume.read(data_dir("sts", "STS_001", "GTV.nii.gz"))
    fine = pet.resample_to(pet.grid((2.0, 2.0, 2.0)))
    (lesion,) = measure_lesions(fine, mask, pet)
    assert abs(lesion.delta_suvmean_percent) < 3
    assert lesion.nmse < 0.02


@pytest.mark.parametrize(("at", "told"), [(1.0, None), (9.6, "holds 0 % of"), (40.0, "lies outside the result and is")])
def test_a_segment_beyond_a_result_is_told_as_left_out_only_where_nothing_of_it_is_measured(at, told):
    """A voxel of 4 mm whose middle lies beyond the last voxel of a result, which ends at 9 mm, touches it."""
    pet = Volume(np.ones((10, 50, 50)), (2.0, 2.0, 2.0), unit="SUVbw")
    result = pet.crop((0, 0, 0), (5, 5, 5))
    node = Segment(1, "node", Volume(np.ones((1, 1, 1)), (4.0,) * 3, (at, 2.0, 2.0), unit="label"))
    found = cut_by(result, [node], pet)
    assert len(found) == bool(told) and (not told or told in found[0])
    assert bool(measure_lesions(result, [node], skip_outside=True)) == (at < 40)
