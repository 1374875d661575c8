"""Recovered uptake of spheres of known activity, from counts and from images."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import relative

from PETSuperResLib.lesions import recovery
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.neighbourhood import Neighbourhood
from PETSuperResLib.lesions.recovery import Recovered, recover
from PETSuperResLib.lesions.segments import Segment
from PETSuperResLib.physics.amplitudes import Data
from PETSuperResLib.physics.clinical import post_filter
from PETSuperResLib.physics.image_model import image_measurement
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.physics.window import Window
from PETSuperResLib.problem import Problem
from PETSuperResLib.volume import Volume

SHAPE, SPACING, FINE = (13, 60, 60), (2.0, 2.0, 3.0), 4
SPHERES = ((-30.0, -20.0, 10.0, 6.0), (28.0, -24.0, 13.0, 3.0), (-24.0, 26.0, 20.0, 5.0))  # x, y, diameter (mm), SUV
TOUCHING = ((-7.0, 0.0, 14.0, 8.0), (7.0, 0.0, 14.0, 3.0))


def cover(x: float, y: float, diameter: float) -> Volume:
    """The part of each voxel within a sphere in the middle slice."""
    grid = Volume(np.zeros(SHAPE), SPACING, (-59.0, -59.0, -18.0), unit="label")
    k, j, i = ((np.arange(n * FINE) + 0.5) / FINE * mm - n * mm / 2 for n, mm in zip(SHAPE, SPACING[::-1], strict=True))
    inside = k[:, None, None] ** 2 + (j[:, None] - y) ** 2 + (i - x) ** 2 <= (diameter / 2) ** 2
    parts = inside.reshape(SHAPE[0], FINE, SHAPE[1], FINE, SHAPE[2], FINE).mean((1, 3, 5))
    return grid.with_array(parts.astype(np.float32))


@cache
def scene(kind: str, spheres: tuple[tuple[float, ...], ...], seed: int = 0) -> tuple[Problem, Volume, list[Segment]]:
    """A problem, an image of poor resolution in place of its solution, and the spheres in a disc of 1 SUV."""
    segments = [Segment(n, f"sphere {n}", cover(*sphere[:3])) for n, sphere in enumerate(spheres, 1)]
    disc = np.hypot(*np.meshgrid(*[2.0 * (np.arange(60) - 29.5)] * 2)) < 56
    truth = np.broadcast_to(disc, SHAPE).astype(np.float32)
    for segment, (*_, suv) in zip(segments, spheres, strict=True):
        truth = truth + segment.mask.array * (suv - 1)
    pet = Volume(truth, SPACING, segments[0].mask.origin, unit="SUVbw")
    ct = pet.with_array(np.where(truth > 0, 0.0, -1000.0).astype(np.float32), "HU")
    device = torch.device("cpu")
    if kind == "sinogram":
        scan = simulate(pet, ct, "standard", seed=seed, device="cpu")
        problem = Problem.make(scan.measurement, scan.truth, ct, device)
        blurred = post_filter(torch.from_numpy(truth), SPACING, (5.0, 5.0))
        return problem, problem.grid.with_array(blurred.numpy(), "SUVbw"), segments
    blurred = post_filter(torch.from_numpy(truth), SPACING, (7.0, 7.0))
    noise = post_filter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)), SPACING, (5.0, 0.0))
    image = pet.with_array((blurred + 0.05 * noise / noise.std() * blurred.sqrt()).numpy())
    measurement = image_measurement(image, (7.0, 7.0), ImageNoise(0.05**2, 5.0, 2, 2.0, 1.0, "stated"))
    return Problem.make(measurement, pet, ct, device), image, segments


def recovered(kind: str, spheres: tuple[tuple[float, ...], ...], seed: int = 0) -> list[Recovered]:
    problem, image, segments = scene(kind, spheres, seed)
    return recover(problem.data(problem.expected(image.array)), image, segments)


@pytest.mark.parametrize("kind", ["sinogram", "image"])
@pytest.mark.parametrize("corner", [(4, 20, 24), (0, 0, 50)])
def test_a_window_of_the_image_is_projected_as_the_model_projects_it(kind, corner):
    problem, image, _ = scene(kind, SPHERES)
    block = tuple(slice(first, first + n) for first, n in zip(corner, (5, 12, 10), strict=True))
    values = np.random.default_rng(0).random((2, 5, 12, 10)).astype(np.float32)
    whole = np.zeros(SHAPE, np.float32)
    whole[block] = values[1]
    window = Window(problem.data(problem.expected(image.array)), block)
    lines = problem.part(0, SHAPE[0])[0].forward(torch.from_numpy(whole)).flatten(1).numpy()
    unseen = np.setdiff1d(np.arange(lines.shape[1]), window.lines)
    assert len(unseen) and np.abs(lines[:, unseen]).max() < 1e-4 * lines.max()
    seen = window.project(values).reshape(2, 5, -1)[1]
    assert relative(torch.from_numpy(seen), torch.from_numpy(lines[block[0]][:, window.lines])) < 1e-4


@pytest.mark.parametrize("kind", ["sinogram", "image"])
@pytest.mark.parametrize("spheres", [SPHERES, TOUCHING])
def test_the_activity_of_spheres_that_the_image_blurs_is_recovered(kind, spheres):
    _, image, segments = scene(kind, spheres)
    found = recovered(kind, spheres)
    read = measure_lesions(image, segments)
    for one, (_, _, diameter, suv) in zip(found, spheres, strict=True):
        assert one.volume_ml == pytest.approx(np.pi / 6 * diameter**3 / 1000, rel=0.05)
        assert one.suvmean == pytest.approx(suv, rel=0.2), one
        assert one.tlg == one.suvmean * one.volume_ml
    suvs = [suv for *_, suv in spheres]
    off, off_as_read = (np.abs(np.divide([one.suvmean for one in ones], suvs) - 1).mean() for ones in (found, read))
    assert off < 0.7 * off_as_read


@pytest.mark.slow
def test_what_is_recovered_scatters_by_no_more_than_the_stated_range():
    """Over realisations of the counts; the border's place and the priors add to the range and not to the scatter."""
    found = [recovered("sinogram", SPHERES, seed=seed) for seed in range(6)]
    for scans in zip(*found, strict=True):
        means = np.array([one.suvmean for one in scans])
        assert 0.05 < means.std(ddof=1) / (0.5 * (scans[0].high - scans[0].low) / 1.645) < 1.3


def test_a_wider_resolution_gives_more():
    for one in recovered("sinogram", SPHERES):
        assert one.low < one.suvmean < one.high
        assert one.suvmean < one.wider < 1.4 * one.suvmean


@pytest.mark.parametrize("voxels", [-1, 1])
def test_the_data_tell_where_the_border_is_that_a_mask_misses_by_a_voxel(voxels):
    """The mean in a mask that is too small is the sphere's; in one too large it is diluted as the truth is."""
    problem, image, segments = scene("image", SPHERES)
    large = segments[2].mask.array > 0.5
    cross = ndimage.generate_binary_structure(2, 1)[None]
    drawn = ndimage.binary_erosion(large, cross) if voxels < 0 else ndimage.binary_dilation(large, cross)
    moved = Segment(3, "moved", segments[2].mask.with_array(drawn.astype(np.float32)))
    (one,) = recover(problem.data(problem.expected(image.array)), image, [moved])
    truth = float((1 + 4 * segments[2].mask.array)[drawn].mean())
    assert one.suvmean == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("part", [1.0, 0.4])
def test_a_segment_smaller_than_any_voxel_of_the_fit_does_not_spoil_those_about_it(part):
    problem, image, segments = scene("image", SPHERES)
    stray = Segment(9, "stray", Volume(np.full((1, 1, 1), part), (0.5,) * 3, (-16.4, -20.4, 0.1), unit="label"))
    data = problem.data(problem.expected(image.array))
    sphere, tiny = recover(data, image, [segments[0], stray])
    (alone,) = recover(data, image, segments[:1])
    assert np.isfinite([tiny.low, tiny.suvmean, tiny.suvmax, tiny.high]).all()
    assert sphere.suvmean == pytest.approx(alone.suvmean, rel=0.1)


def test_segments_outside_the_image_are_left_out_and_the_others_keep_their_order():
    problem, image, segments = scene("image", SPHERES)
    moved = cover(0.0, 0.0, 10.0)
    outside = Segment(9, "outside", Volume(moved.array, SPACING, (500.0, 0.0, 0.0), unit="label"))
    data = problem.data(problem.expected(image.array))
    found = recover(data, image, [segments[2], outside, segments[0]])
    assert [one.label for one in found] == [3, 1]
    assert recover(data, image, []) == []


@pytest.mark.parametrize("kind", ["sinogram", "image"])
def test_of_segments_that_overlap_each_has_what_it_has_alone(kind):
    """The same contour twice, one within it, and another lesion close by that overlaps none."""
    problem, image, segments = scene(kind, TOUCHING)
    data = problem.data(problem.expected(image.array))
    twice, inner = Segment(7, "twice", segments[0].mask), Segment(8, "inner", cover(-7.0, 0.0, 8.0))
    found = {one.label: one.suvmean for one in recover(data, image, [twice, inner, *segments])}
    expected = {one.label: one.suvmean for one in recover(data, image, segments)}
    (within,) = (one for one in recover(data, image, [inner, segments[1]]) if one.label == 8)
    assert found == pytest.approx({**expected, 7: expected[1], 8: within.suvmean}, rel=1e-3)


def data_of(image: Volume) -> Data:
    """Of an image with a FWHM of 7 mm, about itself."""
    ct = image.with_array(np.zeros(image.shape, np.float32), "HU")
    measurement = image_measurement(image, (7.0, 7.0), ImageNoise(0.05**2, 5.0, 2, image.spacing[0], 1.0, "stated"))
    problem = Problem.make(measurement, image, ct, torch.device("cpu"))
    return problem.data(problem.expected(image.array))


def test_surroundings_of_segments_that_overlap_a_little_count_once():
    _, image, segments = scene("image", ((-5.0, 0.0, 14.0, 8.0), (5.0, 0.0, 14.0, 3.0)))
    near = Neighbourhood(data_of(image), image, tuple(slice(0, n) for n in SHAPE), segments)
    assert np.sum(near.own, 0).max() > 1.5
    background, *_ = near._others()
    assert background.values.max() < 1.01 * near.backgrounds.max()


@pytest.mark.parametrize("size", [1, 3])
def test_a_segment_that_another_encloses_is_recovered(size):
    """A lesion of a liver's label map: all that is about it belongs to the liver."""
    _, image, _ = scene("image", SPHERES)
    labels = np.ones((9, 30, 30), np.float32)
    middle = tuple(slice(n // 2 - size // 2, n // 2 - size // 2 + size) for n in labels.shape)
    labels[middle] = 2
    organ, lesion = (Segment(n, str(n), Volume(1.0 * (labels == n), SPACING, (-29.0, -29.0, -12.0))) for n in (1, 2))
    uptake = np.ones(SHAPE, np.float32)
    uptake[2:11, 15:45, 15:45] = np.where(labels == 2, 31, 1)
    shown = image.with_array(post_filter(torch.from_numpy(uptake), SPACING, (7.0, 7.0)).numpy())
    found = recover(data_of(shown), shown, [organ, lesion])
    assert found[0].suvmean == pytest.approx(1, rel=0.05)
    assert found[1].low < 1.05 * 31
    assert found[1].high > 0.95 * 31


def test_the_surroundings_go_on_into_a_large_lesion_as_they_are_beyond():
    grid = Volume(np.zeros((40, 40, 40)), (4.0,) * 3, (-78.0,) * 3, unit="SUVbw")
    k, j, i = 4.0 * (np.indices(grid.shape) - 19.5)
    mask = np.sqrt(k**2 + j**2 + i**2) < 35
    image = grid.with_array(np.where(mask, 8.0, 3.0).astype(np.float32))
    segment = Segment(1, "mass", grid.with_array(mask.astype(np.float32), "label"))
    block = tuple(slice(0, n) for n in grid.shape)
    near = Neighbourhood(data_of(image), image, block, [segment])
    np.testing.assert_allclose(near.backgrounds, [3.0], rtol=0.01)


def test_of_many_lesions_each_is_fitted_with_those_close_to_it_alone(monkeypatch):
    """Time and memory of one fit grow with the square of its lesions."""
    sizes: list[int] = []

    def counted(data, image, masks):
        sizes.append(len(masks))
        return [mask.segment for mask in masks]

    monkeypatch.setattr(recovery, "_recovered", counted)
    grid = Volume(np.zeros((8, 100, 100)), (4.0,) * 3, unit="SUVbw")
    many = [
        Segment(10 * row + column, "", Volume(np.ones((2, 3, 3)), (4.0,) * 3, (30.0 * column, 30.0 * row, 8.0)))
        for row in range(10)
        for column in range(10)
    ]
    alone = recover(None, grid, many)
    assert [one.label for one in alone] == [segment.label for segment in many]
    assert set(sizes) == {1}
    sizes.clear()
    closer = [(*(0.6 * x for x in one.mask.origin[:2]), 8.0) for one in many]
    close = [replace(one, mask=replace(one.mask, origin=o)) for one, o in zip(many, closer, strict=True)]
    recover(None, grid, close)
    assert min(sizes) >= 3
    assert max(sizes) == recovery.TOGETHER


def test_parts_of_voxels_beside_each_other_do_not_overlap_and_small_drawings_of_one_lesion_do():
    grid = Volume(np.zeros((3, 3, 5)), (4.0,) * 3, unit="label")
    left, right = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    left[..., 1], left[..., 2], right[..., 3], right[..., 2] = 1, 0.5, 1, 0.5  # they meet within the middle voxels
    slabs = [Segment(n, "", grid.with_array(part)) for n, part in enumerate((left, right), 1)]
    assert not recovery._overlap(*slabs)
    tiny = Segment(3, "", grid.with_array(0.05 * left))
    assert recovery._overlap(tiny, tiny) and recovery._overlap(slabs[0], tiny)
