"""Generated phantoms: plausible, reproducible, sharp, and cheap enough to train on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.interpolate import BSpline

from PETSuperResLib.errors import InputError
from PETSuperResLib.phantoms.codes import CODE
from PETSuperResLib.phantoms.shapes import LATTICE, Blob, Canvas, Noise, Tube, _lattice
from PETSuperResLib.phantoms.torso import REGIONS, random_stacks, torso_phantom


@pytest.fixture(scope="module")
def phantom():
    return torso_phantom(4, shape=(24, 96, 128), spacing=(3.0, 3.0, 3.0), lesions=5)


def test_a_seed_decides_everything(phantom):
    again = torso_phantom(4, shape=(24, 96, 128), spacing=(3.0, 3.0, 3.0), lesions=5)
    other = torso_phantom(5, shape=(24, 96, 128), spacing=(3.0, 3.0, 3.0), lesions=5)
    for name in ("pet", "ct", "labels"):
        np.testing.assert_array_equal(getattr(again, name).array, getattr(phantom, name).array)
    assert np.abs(other.pet.array - phantom.pet.array).max() > 1


def test_all_volumes_lie_on_one_grid_and_say_their_unit(phantom):
    assert phantom.pet.same_grid(phantom.ct) and phantom.pet.same_grid(phantom.labels)
    assert (phantom.pet.unit, phantom.ct.unit, phantom.labels.unit) == ("SUVbw", "HU", "label")


@pytest.mark.parametrize(
    ("organ", "hu", "suv"),
    [("lung", (-900, -550), (0.2, 0.9)), ("liver", (35, 90), (1.4, 3.2)), ("fat", (-120, -80), (0.1, 0.6)),
     ("muscle", (20, 75), (0.35, 1.0)), ("spleen", (30, 70), (1.2, 2.5))],
)  # fmt: skip
def test_tissues_have_the_ct_numbers_and_uptake_of_their_kind(phantom, organ, hu, suv):
    inside = (phantom.organs.array == CODE[organ]) & (phantom.labels.array == 0)
    assert inside.sum() > 200
    assert hu[0] < np.median(phantom.ct.array[inside]) < hu[1]
    assert suv[0] < np.median(phantom.pet.array[inside]) < suv[1]


def test_lesions_are_labelled_and_hotter_than_their_surroundings(phantom):
    labels = phantom.labels.array
    assert set(np.unique(labels)) >= set(range(1, len(phantom.lesions) + 1)) - {0} and len(phantom.lesions) >= 3
    for number, lesion in enumerate(phantom.lesions, 1):
        assert phantom.pet.array[labels == number].max() > 0.5 * lesion.suv


def test_a_finer_grid_shows_the_same_person():
    """The truth is analytic: averaging a fine phantom gives the coarse one up to partial volume."""
    coarse = torso_phantom(2, (4, 60, 80), (4.0, 4.0, 4.0), lesions=0)
    fine = torso_phantom(2, (4, 120, 160), (2.0, 2.0, 4.0), lesions=0)
    averaged = fine.pet.array.reshape(4, 60, 2, 80, 2).mean((2, 4))
    assert np.corrcoef(averaged.ravel(), coarse.pet.array.ravel())[0, 1] > 0.98
    assert averaged.sum() == pytest.approx(coarse.pet.array.sum(), rel=0.02)


def test_an_ellipsoid_has_the_area_of_its_cross_section():
    step = np.arange(-40, 40.5, 1.0)
    canvas = Canvas(step, step, 6.0, 1.0)
    blob = Blob((1.0, -2.0, 0.0), (20.0, 12.0, 15.0), angle=0.4)
    area = canvas.cover(blob.distance(canvas.x, canvas.y, 6.0)).sum()
    assert area == pytest.approx(np.pi * 20 * 12 * (1 - (6 / 15) ** 2), rel=0.02)


def test_a_tube_along_the_axis_has_a_round_section():
    step = np.arange(-20, 20.5, 1.0)
    canvas = Canvas(step, step, 0.0, 1.0)
    tube = Tube(np.array([[0.0, 0, -30], [0, 0, 30]]), np.array([8.0, 8.0]))
    assert canvas.cover(tube.distance(canvas.x, canvas.y, 0.0)).sum() == pytest.approx(np.pi * 64, rel=0.02)


def test_noise_is_the_quadratic_b_spline_of_its_periodic_lattice():
    noise, x, y = Noise(5.0, (3.0, 7.0, 46.2)), np.arange(-7, 300, 3.3), np.arange(-9, 80, 1.7)
    spline = BSpline.basis_element([-1.5, -0.5, 0.5, 1.5], extrapolate=False)

    def weights(mm, offset):
        apart = (mm[:, None] / 5.0 + offset - np.arange(LATTICE) + LATTICE / 2) % LATTICE - LATTICE / 2
        found = np.nan_to_num(spline(apart))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    parts = weights(np.array([8.4]), 46.2), weights(y, 7.0), weights(x, 3.0)
    expected = np.einsum("zk,yj,xi,kji->yx", *parts, _lattice(), optimize=True)
    np.testing.assert_allclose(noise.slice(x, y, 8.4), expected, atol=1e-4)
    canvas = Canvas(x, y, 8.4, 3.3)
    for one in (noise, Noise(9.0, (3.0, 7.0, 46.2)), noise):
        np.testing.assert_array_equal(canvas.field(one), one.slice(canvas.x[0], canvas.y[:, 0], 8.4))


def test_texture_has_zero_mean_and_unit_variance_and_fits_between_slices():
    noise, step = Noise(5.0, (3.0, 7.0, 11.0)), np.arange(0, 240, 2.0)
    stack = np.stack([noise.slice(step, step, z) for z in np.arange(0, 240, 4.0)])
    assert abs(stack.mean()) < 0.1 and 0.8 < stack.std() < 1.2
    near = np.abs(noise.slice(step, step, 10.0) - noise.slice(step, step, 10.5)).mean()
    assert near < 0.3 * np.abs(noise.slice(step, step, 10.0) - noise.slice(step, step, 60.0)).mean()


@pytest.mark.parametrize("region", REGIONS)
def test_training_slices_of_every_region_are_finite_and_plausible(region):
    pet, ct = (stack[:, 0] for stack in random_stacks(1, 8, size=64, pixel_mm=3.0, region=region))
    assert pet.shape == ct.shape == (8, 64, 64) and pet.dtype == ct.dtype == np.float32
    assert np.isfinite(pet).all() and np.isfinite(ct).all()
    assert pet.min() >= 0 and pet.max() < 60 and ct.min() >= -1024 and ct.max() < 3072
    assert (pet.reshape(8, -1).max(1) > 0.3).sum() >= 6  # the crops show the patient


def test_training_slices_differ_and_follow_the_seed():
    first, again, other = (random_stacks(s, 3, size=48)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5 and np.abs(first[0] - first[1]).max() > 0.5


def test_training_slices_are_cheap():
    random_stacks(0, 2)
    began = time.process_time()
    random_stacks(3, 24)
    assert (time.process_time() - began) / 24 < 0.06  # about 10 ms on one core; room for a busy machine


def test_an_unknown_region_is_refused():
    with pytest.raises(InputError, match="choose one of"):
        torso_phantom(0, region="foot")
    with pytest.raises(InputError, match="choose one of"):
        random_stacks(0, 1, region="foot")
