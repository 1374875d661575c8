"""Pseudo-measurements: what the scanner would have counted for an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import small_phantom

from PETSuperResLib.grid import image_grid
from PETSuperResLib.physics.image_model import (
    COUNT_LIMITS,
    EffectiveCounts,
    effective_counts,
    noise_counts,
    pseudo_measurement,
)
from PETSuperResLib.physics.model import scanner_projector
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

MCT = Scanner.get("Siemens Biograph mCT")


@pytest.fixture(scope="module")
def image():
    pet = small_phantom().pet
    grid = image_grid(pet, 4.0)
    return pet.resample_to(grid, "linear")


def test_it_has_the_counts_asked_for_and_the_scanner_s_background(image):
    measurement = pseudo_measurement(image, MCT, 3e5)
    assert measurement.trues_per_slice == pytest.approx(3e5, rel=1e-3)
    assert measurement.kind == "image"
    ratio = float(measurement.background.sum()) / (3e5 * len(measurement.counts))
    assert ratio == pytest.approx(MCT.background_fraction, rel=0.05)


def test_it_is_the_image_projected_by_the_scanner(image):
    measurement = pseudo_measurement(image, MCT, 3e5)
    projector = scanner_projector(MCT, image.shape[1:], image.spacing[0])
    lines = projector.forward(torch.from_numpy(image.array))
    assert torch.allclose(measurement.counts - measurement.background, lines * measurement.scale, rtol=1e-3, atol=1e-3)


def test_the_image_without_psf_explains_it_exactly(image):
    measurement = pseudo_measurement(image, MCT, 3e5)
    mean = measurement.model(measurement.grid).mean(torch.from_numpy(image.array), psf=False)
    assert torch.allclose(mean, measurement.counts, rtol=1e-4)


def test_background_is_positive_where_a_slice_is_empty(image):
    empty = image.array.copy()
    empty[0] = 0
    measurement = pseudo_measurement(image.with_array(empty), MCT, 3e5)
    assert float(measurement.background.min()) > 0 and torch.isfinite(measurement.counts).all()


def test_negative_values_count_as_zero(image):
    below = image.with_array(np.where(image.array > 1, image.array, -0.5))
    one, other = (pseudo_measurement(v, MCT, 3e5).counts for v in (below, below.with_array(below.array.clip(0))))
    assert torch.equal(one, other)


def noisy(level: float, fwhm_mm: float = 5.0, pixels: tuple[float, float] = (2.0, 2.0)) -> Volume:
    """A uniform cylinder of 1 SUV with correlated noise of a given relative standard deviation; (i, j) pixels."""
    i, j = pixels
    shape = (int(240 / j), int(240 / i))
    white = np.random.default_rng(0).standard_normal((12, *shape))
    noise = ndimage.gaussian_filter(white, (0, fwhm_mm / 2.3548 / j, fwhm_mm / 2.3548 / i))
    y, x = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, (j, i), strict=True))
    values = np.where(np.hypot(y[:, None], x) < 100, 1 + level * noise / noise.std(), 0.0)
    return Volume(values.astype(np.float32), (i, j, 3.0), unit="SUVbw")


def estimate(pet: Volume, scanner: Scanner) -> tuple[float, str]:
    found = noise_counts(pet, scanner)
    assert found is not None
    return found


def test_noisier_images_count_less_as_the_inverse_square_of_the_noise():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    low, high = (estimate(noisy(level), scanner)[0] for level in (0.08, 0.16))
    assert low / high == pytest.approx(4.0, rel=0.15)


def test_the_noise_that_was_put_in_is_the_noise_that_is_found():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    trues, how = estimate(noisy(0.08), scanner)
    cells = np.pi * 100**2 / 5.0**2
    assert trues == pytest.approx((1.2 * cells**0.75 / 0.08) ** 2, rel=0.3)
    assert "image noise" in how


def test_the_noise_is_relative_to_the_activity():
    scanner, pet = Scanner.get(MCT, fwhm_transaxial_mm=5.0), noisy(0.08)
    assert estimate(pet.with_array(5 * pet.array), scanner)[0] == pytest.approx(estimate(pet, scanner)[0], rel=1e-3)


@pytest.mark.parametrize("pixels", [(1.5, 3.0), (3.0, 1.5)])
def test_the_estimate_does_not_depend_on_the_pixels_in_either_direction(pixels):
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    square = estimate(noisy(0.08), scanner)[0]
    assert estimate(noisy(0.08, pixels=pixels), scanner)[0] == pytest.approx(square, rel=0.25)


def test_structure_along_one_direction_is_no_noise():
    """Stripes along rows or columns vanish in the product of both differences."""
    scanner, pet = Scanner.get(MCT, fwhm_transaxial_mm=5.0), noisy(0.08)
    stripes = np.where(np.arange(120) % 4 < 2, 1.3, 0.7).astype(np.float32)
    for along in (stripes[:, None], stripes[None, :]):
        striped = pet.with_array(pet.array + (along - 1) * (pet.array > 0))
        assert estimate(striped, scanner)[0] == pytest.approx(estimate(pet, scanner)[0], rel=0.6)


def test_the_noise_is_that_of_the_brighter_half_of_the_body_and_hot_lesions_do_not_change_it():
    scanner, pet = Scanner.get(MCT, fwhm_transaxial_mm=5.0), noisy(0.08)
    expected = estimate(pet, scanner)[0]
    dim = pet.array.copy()
    dim[:, :60] = np.where(pet.array[:, :60] > 0, 0.5 + 4 * (pet.array[:, :60] - 1), 0)  # half as bright, noisier
    dim[:, 60:66, 60:66] += 20.0
    assert estimate(pet.with_array(dim.clip(0)), scanner)[0] == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("shape", "suv"), [((2, 60, 60), 1.0), ((4, 15, 15), 1.0), ((4, 60, 60), 0.08)])
def test_few_slices_and_few_voxels_above_0_1_suv_have_no_estimate(shape, suv):
    values = np.random.default_rng(0).normal(suv, 0.02 * suv, shape)
    assert noise_counts(Volume(values, (4.0, 4.0, 4.0), unit="SUVbw"), MCT) is None


def test_an_image_without_noise_takes_the_preset_s_counts():
    flat = np.zeros((4, 60, 60))
    flat[:, 10:50, 10:50] = 1
    assert effective_counts(Volume(flat, (4.0, 4.0, 4.0), unit="SUVbw"), MCT).used == MCT.trues_per_slice


def test_estimates_stay_within_believable_limits():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    assert estimate(noisy(1e-5), scanner)[0] == COUNT_LIMITS[1]
    assert estimate(noisy(0.001), scanner)[0] <= COUNT_LIMITS[1]
    wide = Scanner.get(MCT, fwhm_transaxial_mm=20.0)
    assert estimate(noisy(0.5, 20.0), wide)[0] == COUNT_LIMITS[0] == 2e4


def test_too_small_an_image_takes_the_preset_s_counts_and_says_so():
    tiny = Volume(np.ones((1, 40, 40)), (4.0, 4.0, 4.0), unit="SUVbw")
    counts = effective_counts(tiny, Scanner.get(MCT, dose_fraction=0.5))
    assert counts.used == 0.5 * MCT.trues_per_slice and "preset" in counts.source and not counts.warnings


def test_noise_and_scanner_are_believed_equally():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    counts = effective_counts(noisy(0.08), scanner)
    found, _ = estimate(noisy(0.08), scanner)
    assert (counts.nominal, counts.from_noise) == (MCT.trues_per_slice, found)
    assert counts.used == pytest.approx((counts.nominal * found) ** 0.5)


@pytest.mark.parametrize(("estimate", "warned"), [(2e5, False), (2.7e6, False), (1.5e5, True), (3e6, True)])
def test_a_contradiction_by_more_than_a_factor_of_4_is_told_with_its_remedy(estimate, warned):
    told = EffectiveCounts(7e5, estimate, "image noise (9 %)").warnings
    assert bool(told) == warned
    if warned:
        assert "700 k" in told[0] and "trues per slice" in told[0] and "\n" not in told[0]


def test_stated_counts_are_taken_as_they_are_without_a_warning():
    counts = effective_counts(noisy(0.08), MCT, 12345.0)
    assert counts.used == 12345 and counts.source == "the caller" and not counts.warnings
    assert counts.to_dict()["trues_per_slice_nominal"] == 700_000
