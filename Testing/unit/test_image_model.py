"""A reconstructed image as a measurement: its voxels, its blur, its noise, and what the data say of a result."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_prior import as_it_is, known_prior
from scipy import ndimage

from PETSuperResLib.errors import GeometryError
from PETSuperResLib.grid import crop_to_region, image_grid
from PETSuperResLib.inputs import Inputs
from PETSuperResLib.physics.clinical import post_filter
from PETSuperResLib.physics.image_model import ImageMeasurement, image_measurement
from PETSuperResLib.physics.image_noise import HELD, ImageNoise, image_noise
from PETSuperResLib.physics.model import osem
from PETSuperResLib.physics.noise_width import SECOND, differences
from PETSuperResLib.physics.voxels import VoxelMeans
from PETSuperResLib.problem import Problem
from PETSuperResLib.reconstruction import solve
from PETSuperResLib.request import Request
from PETSuperResLib.sampling import Sampler
from PETSuperResLib.sampling.consistency import map_em
from PETSuperResLib.sampling.slabs import Slabs
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import BOX_FWHM

SOME = ImageNoise(0.01, 5.0, 1, 4.0, 1.0, "stated")


def image_of(array, spacing=(4.07, 4.07, 3.0)) -> Volume:
    return Volume(np.ascontiguousarray(array, np.float32), spacing, unit="SUVbw")


def noisy(ratio: float, filter_mm: float, mean=2.0, shape=(20, 60, 60), spacing=(4.0, 4.0, 3.0), seed=0) -> Volume:
    """Gaussian noise of variance ``ratio x mean``, filtered by a Gaussian in the slice."""
    values = np.random.default_rng(seed).normal(size=shape)
    if filter_mm:
        values = post_filter(torch.from_numpy(values).float(), spacing, (filter_mm, 0.0)).numpy()
    level = np.broadcast_to(mean, shape)
    return image_of(level + values / values.std() * np.sqrt(ratio * level), spacing)


@pytest.mark.parametrize("spacing", [(4.07, 4.07, 3.0), (2.04, 2.04, 3.0), (5.0, 3.1, 2.0), (2.0, 2.0, 2.0)])
def test_the_voxels_adjoint_is_matched_and_a_voxel_is_the_mean_over_its_box(spacing):
    image = image_of(np.zeros((3, 17, 22)), spacing)
    grid = image_grid(image, 2.0)
    voxels, random = VoxelMeans(image, grid), torch.Generator().manual_seed(0)
    x, y = torch.rand(grid.shape, generator=random), torch.rand(image.shape, generator=random)
    for turn in (lambda v: v, lambda v: v.permute(1, 2, 0).contiguous().permute(2, 0, 1)):  # both memory layouts
        left, right = (voxels.forward(turn(x)) * y).double().sum(), (x * voxels.adjoint(turn(y))).double().sum()
        assert float(left) == pytest.approx(float(right), rel=1e-5)
    np.testing.assert_allclose(voxels.forward(torch.ones(grid.shape)), 1.0, rtol=1e-5)
    ramp = np.broadcast_to(np.arange(grid.shape[2]) * 2.0, grid.shape) - (grid.shape[2] - 1)
    columns = (np.arange(image.shape[2]) - (image.shape[2] - 1) / 2) * spacing[0]
    found = voxels.forward(torch.from_numpy(ramp.astype(np.float32)))[1, 5].numpy()
    np.testing.assert_allclose(found[1:-1], columns[1:-1], atol=0.3)  # pixels of 2 mm are flat


def test_an_image_of_another_place_or_with_other_slices_is_refused():
    image = image_of(np.zeros((3, 16, 16)))
    for other in (replace(image, origin=(1.0, 0.0, 0.0)), image.slices(0, 2)):
        with pytest.raises(GeometryError, match="slices and be centred"):
            VoxelMeans(other, image_grid(image))
    with pytest.raises(GeometryError, match="cover the image's voxels"):
        VoxelMeans(image, image_grid(image.crop((4, 4, 0), (12, 12, 3))))


@pytest.mark.parametrize("pixel", [2.0, 4.0])
def test_the_width_of_the_model_is_the_image_s_with_its_voxels_taken_off(pixel):
    """A point through blur and voxels has the variance that belongs to the image's FWHM."""
    image = image_of(np.zeros((15, 40, 40)), (pixel, pixel, 3.0))
    grid = image_grid(image, 2.0)
    model = image_measurement(image, (7.0, 9.0), SOME).model(grid)
    point = torch.zeros(grid.shape)
    middle = [n // 2 for n in grid.shape]
    point[middle[0], middle[1] : middle[1] + 2, middle[2] : middle[2] + 2] = 1  # 4 mm, on a corner of voxels
    counts = model.forward(point).double()
    counts /= counts.sum()
    for dim, mm, own in ((2, pixel, 1.0), (1, pixel, 1.0), (0, 3.0, 0.0)):
        line = counts.sum([d for d in range(3) if d != dim])
        x = (torch.arange(len(line)) - (line * torch.arange(len(line))).sum()) * mm
        variance = float((line * x**2).sum()) - own * 4.0**2 / 12
        assert math.sqrt(variance) * 2.3548 == pytest.approx(7.0 if dim else 9.0, rel=0.03)


def test_em_on_an_image_takes_the_blur_back_and_keeps_the_activity():
    grid = image_grid(image_of(np.zeros((9, 24, 24)), (4.0, 4.0, 3.0)), 2.0)
    z, y, x = (np.arange(n) - n / 2 + 0.5 for n in grid.shape)
    truth = 1.0 + 4.0 * ((z[:, None, None] * 3) ** 2 + (y[:, None] * 2) ** 2 + (x * 2) ** 2 < 8.0**2)
    blank = image_measurement(image_of(np.ones((9, 24, 24)), (4.0, 4.0, 3.0)), (7.0, 7.0), SOME)
    seen = (blank.model(grid).forward(torch.from_numpy(truth.astype(np.float32))) / blank.scale).numpy()
    data = image_measurement(blank.image.with_array(seen), (7.0, 7.0), SOME)
    found = osem(data.model(grid), data.counts, 300).numpy()
    inside = truth > 4
    blurred = np.repeat(np.repeat(seen, 2, 1), 2, 2)[inside].mean()
    assert blurred < 3.6 and 4.3 < found[inside].mean() < 5.2
    assert found.sum() == pytest.approx(truth.sum(), rel=2e-3)


@pytest.mark.parametrize(("filter_mm", "pixel"), [(0.0, 4.0), (5.0, 4.0), (5.0, 2.0), (8.0, 4.0)])
@pytest.mark.parametrize("ratio", [0.003, 0.05])
def test_the_noise_is_measured_whatever_the_filter(filter_mm, pixel, ratio):
    pet = noisy(ratio, filter_mm, spacing=(pixel, pixel, 3.0))
    assert image_noise(pet, filter_mm).variance_ratio == pytest.approx(ratio, rel=0.2)


def test_organs_and_hot_spots_do_not_count_as_noise():
    j, i = np.indices((60, 60)) * 4.0
    flat = 1.0 + 2.0 * (np.hypot(j - 120, i - 120) < 60) + 12.0 * (np.hypot(j - 90, i - 150) < 12)
    smooth = ndimage.gaussian_filter(np.broadcast_to(flat, (20, 60, 60)), (0, 0.7, 0.7))
    for mean in (2.0, smooth):
        found = image_noise(noisy(0.02, 5.0, mean), 5.0).variance_ratio
        assert found == pytest.approx(0.02, rel=0.25)


def test_a_smooth_or_small_image_has_no_noise():
    flat = image_of(np.full((20, 30, 30), 2.0))
    for pet in (flat, noisy(0.05, 0.0, shape=(2, 8, 8)), flat.with_array(0 * flat.array)):
        none = image_noise(pet, 5.0)
        assert 0 < none.variance_ratio < 1e-4
    assert none.origin == "none could be measured"


@pytest.mark.parametrize("percent", [5.0, 9.0, 11.0, 20.0])
def test_a_stated_noise_counts_as_far_as_the_image_bears_it_out(percent):
    measured = image_noise(noisy(0.01, 5.0), 5.0)
    taken, told = measured.or_stated(percent)
    far = percent in (5.0, 20.0)
    bounds = measured.percent() / HELD, measured.percent() * HELD
    assert taken.percent() == pytest.approx(np.clip(percent, *bounds)) and ("held" in taken.origin) == far
    assert [f"{percent:g} %" in one and f"{taken.percent():.3g} % is taken" in one for one in told] == [True] * far
    assert measured.or_stated(None) == (measured, [])


@pytest.mark.parametrize(("percent", "told"), [(5.0, 1), (9.0, 0), (13.0, 0), (20.0, 1)])
def test_a_stated_noise_counts_as_it_is_where_the_measured_one_is_a_guess(percent, told):
    taken, warnings = image_noise(noisy(0.01, 5.0), 5.0).or_stated(percent, sure=False)
    assert taken.percent() == pytest.approx(percent) and taken.origin == "stated"
    assert len(warnings) == told and all("is taken: " in one and "phantom" in one for one in warnings)
    measured = image_noise(noisy(0.01, 5.0), 5.0)
    for far, times in ((0.05, 1 / 3), (200.0, 3.0)):
        taken, warnings = measured.or_stated(far, sure=False)
        assert taken.percent() == pytest.approx(measured.percent() * times) and "3 times what" in warnings[0]
    still, warnings = image_noise(image_of(np.ones((20, 30, 30))), 5.0).or_stated(percent)
    assert still.percent() == pytest.approx(percent) and not warnings


def test_more_noise_means_fewer_counts_and_a_voxel_s_counts_grow_with_its_volume():
    pet = noisy(0.02, 5.0)
    known = image_noise(pet, 5.0)
    quiet, loud = (image_measurement(pet, (6.0, 6.0), known.or_stated(percent, sure=False)[0]) for percent in (10, 20))
    assert quiet.scale == pytest.approx(4 * loud.scale)
    thick = replace(pet, spacing=(4.0, 4.0, 6.0))
    assert image_measurement(thick, (6.0, 6.0), quiet.noise).scale == pytest.approx(2 * quiet.scale)


def test_chi_square_is_1_for_the_truth_and_more_where_the_kernel_is_wrong():
    j, i = np.indices((60, 60)) * 4.0
    sharp = np.broadcast_to(1.0 + 9.0 * (np.hypot(j - 120, i - 120) < 14), (20, 60, 60))

    def blurred(fwhm):
        return ndimage.gaussian_filter(sharp, (0, fwhm / 2.3548 / 4, fwhm / 2.3548 / 4))

    pet = noisy(0.01, 4.0, blurred(6.0))
    noise = image_noise(pet, 4.0)
    truth, wrong = (
        noise.chi_square(torch.from_numpy(pet.array), torch.from_numpy(blurred(f).astype(np.float32))) for f in (6, 12)
    )
    assert truth["chi_square_body"] == pytest.approx(1.0, abs=0.25) and truth["chi_square_hot"] < 2
    assert wrong["chi_square_hot"] > 3


def test_the_same_hot_regions_give_the_same_chi_square_whatever_else_is_in_view():
    """They are the upper hundredth of a body, and a twelfth of a region, whose hottest hundredth is their middle."""
    j, i = np.indices((100, 100)) * 4.0 - 198.0
    sharp = np.broadcast_to(1.0 + 9.0 * (np.hypot(j, i) < 22.5), (6, 100, 100))
    right, wrong = (ndimage.gaussian_filter(sharp, (0, sigma, sigma)) for sigma in (0.6, 1.3))
    pet = noisy(0.01, 4.0, right, right.shape)
    ct = pet.with_array(np.where(np.maximum(abs(j), abs(i)) < 190, 40.0, -1000.0) + np.zeros(pet.shape), "HU")
    x, y, z = pet.corners().mean(0)
    box, found = (x - 30, x + 30, y - 30, y + 30, z - 9, z + 9), []
    for region in (None, box):
        expected = pet.with_array(wrong) if region is None else crop_to_region(pet.with_array(wrong), region)
        inputs = Inputs.of(Request(pet, ct, fwhm=6.0, region=region))
        measurement = inputs.problem(inputs.spacing(2.0), torch.device("cpu")).measurement
        assert isinstance(measurement, ImageMeasurement)
        counts = torch.from_numpy(expected.array) * measurement.factors + measurement.background
        found.append(measurement.chi_square(measurement.counts, counts))
    whole, part = found
    assert whole["chi_square_hot"] > 3 and 2 < whole["hot_from_suv"] < 8
    assert part["chi_square_hot"] == pytest.approx(whole["chi_square_hot"], rel=0.3)


def uneven(shares, ratio=0.01, filter_mm=5.0, seed=0) -> Volume:
    """Noise whose variance is ``shares`` times ``ratio x mean``, slice by slice."""
    even = noisy(ratio, filter_mm, shape=(len(shares), 60, 60), seed=seed)
    return even.with_array(2.0 + (even.array - 2.0) * np.sqrt(shares)[:, None, None])


SHARES = np.repeat([1.0, 2.5, 1.0, 5.0], [14, 4, 14, 3])  # where beds meet, and at the end of a scanner's field


def test_slices_with_more_noise_than_most_are_known_and_all_others_have_that_of_most():
    for seed in range(3):
        found = image_noise(uneven(SHARES, seed=seed), 5.0)
        assert found.variance_ratio == pytest.approx(0.01, rel=0.1)
        known = np.array(found.shares)
        edge = np.abs(np.diff(SHARES, prepend=1.0)) + np.abs(np.diff(SHARES, append=SHARES[-1])) > 0
        np.testing.assert_allclose(known[(SHARES == 1) & ~edge], 1.0, atol=0.1)
        np.testing.assert_allclose(known[(SHARES > 1) & ~edge], SHARES[(SHARES > 1) & ~edge], rtol=0.25)
    assert [image_noise(uneven(np.ones(35), seed=seed), 5.0).shares for seed in range(5)] == [()] * 5


def test_of_slices_with_less_than_half_the_noise_half_is_taken_and_those_of_air_have_that_of_the_next():
    pet = uneven(np.repeat([0.1, 1.0], [4, 20]))
    pet.array[-3:] = 0.0
    shares = image_noise(pet, 5.0).shares
    assert shares[:2] == (0.5, 0.5) and shares[-3:] == (1.0, 1.0, 1.0)
    assert image_noise(image_of(np.random.default_rng(0).random((1, 60, 60)) + 1), 5.0).shares == ()


def test_a_slice_with_more_noise_counts_less_also_in_a_region_and_as_the_report_describes_it():
    pet = uneven(SHARES)
    ct = pet.with_array(np.where(np.arange(60) < 57, 40.0, -1000.0) + np.zeros(pet.shape), "HU")
    x, y, z = pet.corners().mean(0)
    inside = (x - 20, x + 20, y - 20, y + 20, z + 15, z + 48)
    for region in (None, inside):
        inputs = Inputs.of(Request(pet, ct, fwhm=6.0, psf_modelled=False, region=region))
        measurement = inputs.problem(inputs.spacing(2.0), torch.device("cpu")).measurement
        assert isinstance(measurement, ImageMeasurement)
        shares = np.array(image_noise(pet, measurement.noise.fwhm_mm).shares)[-measurement.image.shape[0] :]
        assert shares.max() > 3 and measurement.noise.shares == tuple(shares)
        np.testing.assert_allclose(measurement.weights[:, 0, 0], 1 / shares, rtol=1e-5)
        last = measurement.part(len(shares) - 2, len(shares))
        assert last.noise.shares == tuple(shares[-2:]) and float(last.weights.max()) < 0.5
        mean = np.full(last.image.shape, 2.0)
        np.testing.assert_allclose(last.noise.variance(mean)[:, 0, 0], last.noise.variance_ratio * 2 * shares[-2:])
    noise = image_noise(pet, 5.0)
    assert ImageNoise.from_dict(json.loads(json.dumps(noise.to_dict()))) == noise
    assert ImageNoise.from_dict({k: v for k, v in noise.to_dict().items() if k != "shares"}).shares == ()


def test_data_of_slices_with_more_noise_move_an_estimate_less_from_what_the_prior_expects():
    image = image_of(np.full((9, 20, 20), 3.0), (4.0, 4.0, 3.0))
    grid, shares = image_grid(image, 4.0), (1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0)
    measurement = image_measurement(image, (4.5, 0.0), replace(SOME, shares=shares))
    anchor = torch.full(grid.shape, 2.0)
    weight = torch.full(grid.shape, measurement.scale / 3)  # the data's, where a share is 1
    found = map_em(measurement.model(grid), measurement.counts, anchor, anchor, weight, 60)[:, 8, 8]
    np.testing.assert_allclose(found[:5], 2.5, atol=0.05)
    np.testing.assert_allclose(found[5:], 2.2, atol=0.05)


def test_spikes_of_noise_in_the_last_slices_do_not_count_as_hot_regions_that_the_result_misses():
    """A scanner's last slices have many times the noise of the others; the result follows half of it."""
    j, i = np.indices((100, 100)) * 4.0 - 198.0
    truth = np.broadcast_to(1.0 + 9.0 * (np.hypot(j, i) < 12), (20, 100, 100))
    pet = noisy(0.01, 4.0, truth, truth.shape)
    pet.array[-3:] += 7 * (pet.array - truth)[-3:]
    noise = image_noise(pet, 4.0)
    missed, blurred = 0.5 * (pet.array + truth), ndimage.gaussian_filter(truth, (0, 1.5, 1.5))
    found, wrong = (
        noise.chi_square(torch.from_numpy(pet.array), torch.from_numpy(mean.astype(np.float32)), 2.0)["chi_square_hot"]
        for mean in (missed, blurred)
    )
    assert found < 1 and wrong > 10


def test_a_region_that_is_not_hot_has_a_figure_of_its_hottest_part():
    noise, pet = image_noise(noisy(0.01, 5.0), 5.0), noisy(0.01, 5.0)
    flat = torch.ones(pet.shape) + torch.linspace(0, 1, pet.shape[2])
    assert noise.chi_square(torch.from_numpy(pet.array), flat, 8.0)["hot_from_suv"] == pytest.approx(2, abs=0.2)


def test_hot_regions_count_less_where_their_noise_grows_faster_than_the_mean():
    values = np.full((9, 30, 30), 0.5)
    values[:, 8:22, 8:22] = 16.0
    image = image_of(values, (4.0, 4.0, 3.0))
    even, hot = (image_measurement(image, (6.0, 6.0), replace(SOME, exponent=e)) for e in (1.0, 1.5))
    assert float(even.weights.min()) == 1 and float(hot.weights[4, 2, 2]) == 1
    assert float(hot.weights[4, 15, 15]) == pytest.approx(1 / 4, rel=1e-3)
    assert hot.noise.variance(np.array([16.0])) == pytest.approx(4 * even.noise.variance(np.array([16.0])))
    grid = image_grid(image)
    flat = osem(hot.model(grid), hot.counts, 40)
    assert float(flat.sum()) * 12 / (values.sum() * 48) == pytest.approx(1, rel=0.02)


def test_the_response_to_hot_regions_is_narrower():
    """Far above HOT_SUV it is the narrower Gaussian alone, far below B alone; linear models have one response."""
    image = image_of(np.zeros((15, 40, 40)), (4.0, 4.0, 3.0))
    grid = image_grid(image, 2.0)
    data = replace(image_measurement(image, (8.0, 8.0), SOME), hot_part=0.5)
    model = data.model(grid)
    narrow = replace(data, fwhm_mm=(math.hypot(0.5 * data.model_fwhm_mm[0], BOX_FWHM * 4.0), 4.0), hot_part=1.0)
    shape = torch.zeros(grid.shape)
    shape[5:10, 30:50, 30:50] = 1
    hot, faint = 1e4 * shape, 1e-2 * shape
    torch.testing.assert_close(model.mean(hot) + model.excess(hot), narrow.model(grid).mean(hot), rtol=0, atol=5e3)
    assert float((model.mean(hot) - narrow.model(grid).mean(hot)).abs().max()) > 5e4
    assert float(model.excess(faint).abs().max()) < 1e-4 * float(model.forward(faint).max())
    assert narrow.model(grid).excess(hot) == 0.0


def test_the_sampler_takes_the_sharper_response_of_hot_regions_off():
    """A hot square seen with the narrower response overshoots less by the model that knows of it."""
    truth = np.full((5, 40, 40), 1.0, np.float32)
    truth[:, 15:25, 15:25] = 30.0
    grid = image_of(truth, (2.0, 2.0, 3.0))
    seen = post_filter(torch.from_numpy(truth), grid.spacing, (4.0, 0.0)).numpy()
    peaks = []
    for part in (1.0, 0.5):
        data = replace(image_measurement(grid.with_array(seen), (8.0, 1.0), SOME), hot_part=part)
        problem = Problem.make(data, grid, grid.with_array(np.zeros(grid.shape, np.float32), "HU"), torch.device("cpu"))
        estimate, _ = solve(Slabs(problem, known_prior(as_it_is, pixel_mm=2.0)), Sampler.get("draft", "image"))
        peaks.append(float(estimate.max()))
    assert 30 < peaks[1] < 30 + 0.7 * (peaks[0] - 30)


def test_second_differences_vanish_on_planes():
    j, i = np.indices((12, 12))
    plane = np.broadcast_to(3.0 + 2 * j - i + 0.5 * i * j, (2, 12, 12)) - 0.5 * i * j
    np.testing.assert_allclose(differences(plane, SECOND, 2)[:, 4:-4, 4:-4], 0, atol=1e-9)
