"""Uptake painted into a CT: by tissue, within the body, sharp, the same by seed."""

from __future__ import annotations

import numpy as np
import pytest

from PETSuperResLib.phantoms.anatomy import anatomy_of
from PETSuperResLib.phantoms.codes import CODE
from PETSuperResLib.phantoms.painting import paint
from PETSuperResLib.phantoms.torso import torso_phantom


@pytest.fixture(scope="module")
def person():
    return torso_phantom(5, (10, 112, 144), lesions=2)


@pytest.fixture(scope="module")
def anatomy(person):
    return anatomy_of(person.ct)


def test_tissues_follow_the_ct(person, anatomy):
    hu = anatomy.smooth
    inside = anatomy.tissue != CODE["air"]
    assert hu[anatomy.tissue == CODE["fat"]].max() < 0 < hu[anatomy.tissue == CODE["muscle"]].mean()
    assert hu[anatomy.tissue == CODE["bone"]].min() >= 350
    assert (inside == (person.pet.array > 0.05)).mean() > 0.97


def test_uptake_stays_in_the_body_and_in_the_range_of_fdg(anatomy):
    made = paint(anatomy, 1)
    outside = anatomy.tissue == CODE["air"]
    assert made.pet.array[outside].max() == 0 and made.pet.array.min() >= 0
    assert 0.1 < np.median(made.pet.array[anatomy.tissue == CODE["fat"]]) < 0.7
    assert made.pet.array.max() < 60 and np.isfinite(made.pet.array).all()
    assert made.pet.same_grid(anatomy.ct) and made.pet.unit == "SUVbw"


def test_the_seed_decides_everything(anatomy):
    one, same, other = (paint(anatomy, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.pet.array, same.pet.array) and np.array_equal(one.ct.array, same.ct.array)
    assert not np.allclose(one.pet.array, other.pet.array)


def test_uptake_is_as_sharp_as_the_ct(anatomy):
    """Across the body's border it rises from nothing to skin or fat within two voxels."""
    made, body = paint(anatomy, 2, lesions=0).pet.array, anatomy.tissue != CODE["air"]
    rim = body & ~np.roll(body, 2, 2)
    assert np.median(made[rim]) > 0.4 * np.median(made[body])


def test_lesions_are_drawn_and_labelled(anatomy):
    made, bare = paint(anatomy, 6, lesions=6), paint(anatomy, 6, lesions=0)
    assert made.labels.array.max() >= 3 and bare.labels.array.max() == 0
    inside = made.labels.array > 0
    assert np.abs(made.pet.array - bare.pet.array)[inside].mean() > 0.5


def test_a_contoured_tumour_is_label_one(person):
    contour = person.labels.with_array((person.labels.array == 1).astype(np.int16), "label")
    assert contour.array.any()
    anatomy = anatomy_of(person.ct, contour)
    label = paint(anatomy, 8, lesions=0).labels.array == 1
    overlap = 2 * (label & (contour.array > 0)).sum() / (label.sum() + contour.array.sum())
    assert overlap > 0.7


def test_an_empty_ct_gives_an_empty_pet(person):
    air = person.ct.with_array(np.full_like(person.ct.array, -1000), "HU")
    assert paint(anatomy_of(air), 0).pet.array.max() == 0
