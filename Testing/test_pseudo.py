"""Pseudo-measurements: what the scanner would have counted for an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import small_phantom

from PETSuperResLib.physics.model import scanner_projector
from PETSuperResLib.physics.pseudo import COUNT_LIMITS, effective_trues, pseudo_measurement
from PETSuperResLib.physics.simulation import image_grid
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


def noisy(level: float, fwhm_mm: float = 5.0, pixel: float = 2.0) -> Volume:
    """A uniform cylinder of 1 SUV with correlated noise of a given relative standard deviation."""
    white = np.random.default_rng(0).standard_normal((12, 120, 120))
    sigma = fwhm_mm / 2.3548 / pixel
    noise = ndimage.gaussian_filter(white, (0, sigma, sigma))
    y, x = np.mgrid[-59.5:60, -59.5:60] * pixel
    values = np.where(np.hypot(x, y) < 100, 1 + level * noise / noise.std(), 0.0)
    return Volume(values.astype(np.float32), (pixel, pixel, 3.0), unit="SUVbw")


def test_noisier_images_count_less_as_the_inverse_square_of_the_noise():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    low, high = (effective_trues(noisy(level), scanner)[0] for level in (0.08, 0.16))
    assert low / high == pytest.approx(4.0, rel=0.15)


def test_the_noise_that_was_put_in_is_the_noise_that_is_found():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    trues, how = effective_trues(noisy(0.08), scanner)
    cells = np.pi * 100**2 / 5.0**2
    assert trues == pytest.approx((1.2 * cells**0.75 / 0.08) ** 2, rel=0.3)
    assert "image noise" in how


def test_estimates_stay_within_believable_limits():
    scanner = Scanner.get(MCT, fwhm_transaxial_mm=5.0)
    assert effective_trues(noisy(1e-5), scanner)[0] == COUNT_LIMITS[1]
    assert effective_trues(noisy(0.001), scanner)[0] <= COUNT_LIMITS[1]


def test_too_small_an_image_takes_the_preset_s_counts_and_says_so():
    tiny = Volume(np.ones((1, 40, 40)), (4.0, 4.0, 4.0), unit="SUVbw")
    trues, how = effective_trues(tiny, MCT)
    assert trues == MCT.trues_per_slice * MCT.dose_fraction and "preset" in how
