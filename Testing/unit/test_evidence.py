"""What the data say for a blob: amplitudes and sigma of templates, blobs, evidence of blobs and lesions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import relative

from PETSuperResLib.grid import image_grid
from PETSuperResLib.lesions.blobs import find_blobs, smooth_inside
from PETSuperResLib.lesions.evidence import SUPPORTED, blob_evidence, lesion_evidence
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.physics.amplitudes import Data, Template
from PETSuperResLib.physics.image_model import BACKGROUND_SUV, image_measurement
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.likelihood import poisson_fit
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.problem import Problem
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

SPACING = (4.0, 4.0, 4.0)
GRID = Volume(np.zeros((7, 32, 36), np.float32), SPACING)
BODY = ndimage.gaussian_filter(np.pad(np.ones((7, 20, 24)), ((0, 0), (6, 6), (6, 6))), (0, 1, 1)).astype(np.float32)


def with_sphere(suv: float, radius: float = 7.0, at=(3, 14, 15)) -> np.ndarray:
    """A body of 1 SUV and a sphere of ``suv`` in it."""
    k, j, i = np.ogrid[:7, :32, :36]
    squares = (k - at[0]) ** 2 + (j - at[1]) ** 2 + (i - at[2]) ** 2
    return np.where(16 * squares <= radius**2, suv, BODY).astype(np.float32)


SPHERE = segments_of(GRID.with_array((with_sphere(9) > 5).astype(np.float32), "label"))


def sinogram(activity: np.ndarray, scale: float = 0.1, seed: int | None = 0) -> Measurement:
    """Counts of an activity, or their expectation without a seed."""
    scanner = Scanner.get("Paper standard", fwhm_axial_mm=5.0)
    empty = torch.zeros(7, scanner.views // scanner.angular_rebinning, 70)
    without = Measurement(scanner, empty, empty + 1, scale, GRID)
    mean = without.model(GRID).mean(torch.from_numpy(activity))
    counts = mean if seed is None else torch.poisson(mean, torch.Generator().manual_seed(seed))
    return Measurement(scanner, counts, empty + 1, scale, GRID)


def data_of(measurement, estimate: np.ndarray) -> Data:
    grid = image_grid(measurement.grid, SPACING[0])
    problem = Problem.make(measurement, grid, grid, torch.device("cpu"))
    return problem.data(problem.expected(np.asarray(estimate, np.float32)))


def test_a_template_is_projected_as_the_model_projects_it():
    measurement = sinogram(BODY)
    data = data_of(measurement, BODY)
    values = np.random.default_rng(0).random((2, 32, 36)).astype(np.float32)
    whole = np.zeros(GRID.shape, np.float32)
    whole[2:4] = values
    first, second = data.project([Template(2, values), Template(5, values)])
    lines = measurement.model(GRID).forward(torch.from_numpy(whole))
    assert relative(first.values, lines[first.first : first.last]) < 2e-3  # the axial blur's far ends are left out
    assert second.last == 7


def test_templates_that_are_too_many_for_one_projection_keep_their_order(monkeypatch):
    data = data_of(sinogram(BODY), BODY)
    values = np.random.default_rng(1).random((3, 2, 32, 36)).astype(np.float32)
    templates = [Template(first, part) for first, part in zip((0, 5, 2), values, strict=True)]
    together = data.project(templates)
    monkeypatch.setattr("PETSuperResLib.physics.amplitudes.TOGETHER", 2)
    for one, other in zip(together, data.project(templates), strict=True):
        assert one.first == other.first and relative(one.values, other.values) < 1e-6


def test_the_sigma_of_counts_without_a_signal_is_that_of_a_normal_variable():
    random = np.random.default_rng(0)
    lines = np.stack([ndimage.gaussian_filter1d(np.eye(80)[40], width) for width in (2.0, 8.0)])
    found = [poisson_fit(random.poisson(40.0, 80), np.full(80, 40.0), lines, np.zeros(2)).sigma for _ in range(600)]
    assert abs(np.mean(found)) < 0.15 and np.std(found) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("filter_mm", "shares"), [(0.0, ()), (8.0, ()), (8.0, (1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0))])
def test_the_sigma_in_an_image_of_correlated_noise_is_that_of_a_normal_variable(filter_mm, shares):
    noise = ImageNoise(0.04, filter_mm, 1, 4.0, 1.0, "stated", shares)
    measurement = image_measurement(GRID.with_array(BODY, "SUVbw"), (8.0, 8.0), noise)
    data = data_of(measurement, BODY)
    (lesion,) = data.project([Template(0, with_sphere(9) - BODY)])
    mean, lines = data.expected.numpy(), lesion.values[None].numpy()
    spread = np.sqrt(noise.variance(BODY + BACKGROUND_SUV)) * measurement.factors.numpy()
    random, found = np.random.default_rng(0), []
    for _ in range(300):
        white = random.normal(size=GRID.shape)
        smooth = ndimage.gaussian_filter(white, np.array([0, 1, 1]) * filter_mm / 2.355 / 4, mode="wrap")
        counts = mean + spread * smooth / smooth.std()
        found.append(measurement.fit(counts, mean, lines, np.zeros(1)).sigma)
    assert abs(np.mean(found)) < 0.25 and np.std(found) == pytest.approx(1, abs=0.15)


def test_a_blob_that_the_data_hold_is_supported_and_one_that_they_do_not_hold_is_not():
    estimate = np.maximum(with_sphere(6.0), with_sphere(3.0, 5.0, (3, 20, 24)))
    blobs = find_blobs(estimate, SPACING)
    real, added = blob_evidence(data_of(sinogram(with_sphere(6.0)), estimate), estimate, blobs)
    assert [blob.suvmax for blob in blobs] == [6, 3]
    assert real > 3 * SUPPORTED and added < SUPPORTED


def test_a_blob_gets_no_more_evidence_than_what_it_shows_is_worth():
    """The data hold a sphere of 6 SUV: an estimate that shows a fifth of its excess has a fifth of the evidence."""
    shown = {suv: with_sphere(suv) for suv in (6.0, 2.2)}
    found = {}
    for suv, estimate in shown.items():
        blobs = find_blobs(estimate, SPACING)
        (found[suv],) = blob_evidence(data_of(sinogram(with_sphere(6.0)), estimate), estimate, blobs)
    assert found[2.2] / found[6.0] == pytest.approx(1.2 / 5, rel=0.3)


def test_sigma_grows_with_the_root_of_the_counts_and_not_with_the_estimate():
    truth, faint = with_sphere(3.0), with_sphere(1.3)
    few, many = (lesion_evidence(data_of(sinogram(truth, s, None), truth), truth, SPHERE)[0] for s in (0.05, 0.8))
    assert many / few == pytest.approx(4, rel=0.2)
    other = lesion_evidence(data_of(sinogram(truth, 0.8, None), faint), faint, SPHERE)[0]
    assert other == pytest.approx(many, rel=0.1)


def test_what_the_estimate_blurs_beyond_a_lesion_is_not_taken_for_its_surroundings():
    """Continued into the lesion, its own uptake around it would hide a part of it."""
    truth = with_sphere(6.0, 9.0)
    segment = segments_of(GRID.with_array((truth > 3).astype(np.float32), "label"))
    blurred = ndimage.gaussian_filter(truth, 1.2)
    sharp, soft = (lesion_evidence(data_of(sinogram(truth, seed=None), e), e, segment)[0] for e in (truth, blurred))
    assert soft > 0.9 * sharp > SUPPORTED


def test_a_lesion_outside_the_grid_has_no_sigma():
    away = segments_of(Volume(np.ones((2, 2, 2), np.float32), SPACING, (500.0, 0.0, 0.0), unit="label"))
    assert lesion_evidence(data_of(sinogram(BODY), BODY), BODY, away) == [None]


def test_blobs_are_hot_maxima_and_not_the_slopes_or_the_texture_between_them():
    image = with_sphere(6.0) + 0.1 * np.random.default_rng(0).random(GRID.shape)
    (blob,) = find_blobs(image, SPACING)
    assert blob.inside[tuple(p - s.start for p, s in zip(blob.peak, blob.block, strict=True))]
    assert blob.suvmax == pytest.approx(6, abs=0.2) and blob.surroundings == pytest.approx(1, abs=0.2)
    assert not find_blobs(np.broadcast_to(np.linspace(1, 9, 36), GRID.shape), SPACING)
    assert not find_blobs(np.ones(GRID.shape), SPACING)


def test_a_smooth_continuation_keeps_a_linear_slope():
    slope = np.add.outer(np.arange(6.0), np.add.outer(2 * np.arange(9.0), np.arange(10.0)))
    inside = np.zeros(slope.shape, bool)
    inside[2:4, 3:6, 3:7] = True
    np.testing.assert_allclose(smooth_inside(np.where(inside, 99, slope), inside, (2, 3, 4)), slope, atol=1e-6)
