"""Organs found in a torso's CT by rules, and what is painted into them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from PETSuperResLib.phantoms.acquisition import add_arms, breathe, vary_ct
from PETSuperResLib.phantoms.anatomy import anatomy_of
from PETSuperResLib.phantoms.codes import CODE
from PETSuperResLib.phantoms.ct_landmarks import Landmarks, inner_depth
from PETSuperResLib.phantoms.ct_organs import torso_anatomy
from PETSuperResLib.phantoms.painting import paint
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.phantoms.uptake import paint_organs
from PETSuperResLib.volume import Volume


@pytest.fixture(scope="module")
def person():
    return torso_phantom(3, (60, 74, 96), (5.0, 5.0, 5.0), lesions=0)


@pytest.fixture(scope="module")
def anatomy(person):
    return torso_anatomy(person.ct)


def overlap(anatomy, person, name: str, *found: str) -> float:
    """Dice coefficient of the organ and what was found as it."""
    truth = person.organs.array == CODE[name]
    mine = np.isin(anatomy.tissue, [CODE[n] for n in found or (name,)])
    return 2 * (truth & mine).sum() / (truth.sum() + mine.sum())


def test_organs_of_a_generated_torso_are_found(anatomy, person):
    assert overlap(anatomy, person, "liver") > 0.8 and overlap(anatomy, person, "lung") > 0.9
    assert overlap(anatomy, person, "spleen") > 0.6
    assert overlap(anatomy, person, "bowel", "bowel", "stomach") > 0.6
    muscle = (person.organs.array == CODE["heart"]) & (anatomy.tissue != CODE["heart"])
    assert muscle.sum() < 0.1 * (person.organs.array == CODE["heart"]).sum()


def test_the_bladder_is_found_in_a_pelvis():
    person = torso_phantom(2, (32, 74, 96), (5.0, 5.0, 6.0), lesions=0, region="pelvis")
    anatomy = torso_anatomy(person.ct)
    assert overlap(anatomy, person, "bladder") > 0.6
    urine = paint(anatomy, 0, lesions=0).pet.array[person.organs.array == CODE["bladder"]]
    assert np.median(urine) > 2.5


def test_without_a_spine_there_are_no_organs():
    leg = torso_phantom(4, (10, 72, 96), (4.0, 4.0, 5.0), lesions=0, region="thigh")
    found, plain = torso_anatomy(leg.ct), anatomy_of(leg.ct)
    assert found.torso is None and np.array_equal(found.tissue, plain.tissue)


@pytest.mark.parametrize("first", [0, 7])
def test_depths_of_a_part_of_the_grid_are_those_in_the_whole_of_it(first):
    spacing = (2.0, 2.0, 3.0)
    mask = np.zeros((20, 24, 28), bool)
    mask[first : first + 6, 8:17, 12:] = np.random.default_rng(0).random((6, 9, 16)) < 0.95
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing)
    depth = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, True, False, True))
    assert np.array_equal(inner_depth(mask, spacing), depth.clip(0)) and depth.max() > 3
    grid = SimpleNamespace(grid=Volume(np.zeros(mask.shape), (3.0, 3.0, 3.0)))
    for mm in (4.0, 9.5):
        assert np.array_equal(Landmarks.near(grid, mask, mm), inner_depth(~mask, grid.grid.spacing) <= mm)
    empty = np.zeros_like(mask)
    assert not inner_depth(empty, spacing).any() and not Landmarks.near(grid, empty, 4.0).any()


@pytest.mark.parametrize("seed", range(3))
def test_organs_have_the_uptake_of_fdg(anatomy, seed, monkeypatch):
    monkeypatch.setattr("PETSuperResLib.phantoms.painting.BREATHING_SHARE", 0.0)
    pet = paint(anatomy, seed, lesions=0).pet.array
    middle = {n: np.median(pet[anatomy.tissue == CODE[n]]) for n in ("liver", "spleen", "heart", "lung", "fat")}
    assert 1.3 < middle["liver"] < 3.3 and middle["spleen"] < 1.1 * middle["liver"]
    assert 0.8 < middle["heart"] < 8 and 0.2 < middle["lung"] < 0.9 and middle["fat"] < 0.6
    assert np.isfinite(pet).all() and np.median(pet[(anatomy.tissue == CODE["gas"]) & (anatomy.smooth < -850)]) < 0.5


def of_organs(anatomy, seed: int) -> np.ndarray:
    """SUV of the organs alone, 0.3 elsewhere."""
    uptake = np.full(anatomy.ct.shape, 0.3, np.float32)
    paint_organs(anatomy, uptake, np.random.default_rng(seed))
    return uptake


def test_walls_of_heart_and_bowel_have_more_uptake_than_what_they_hold(anatomy):
    heart, bowel = (anatomy.tissue == CODE[name] for name in ("heart", "bowel"))
    inner, outer = bowel & (anatomy.torso.depth > 8), bowel & (anatomy.torso.depth <= 4)
    hearts = []
    for seed in range(6):
        pet = of_organs(anatomy, seed)
        assert np.median(pet[outer]) > np.median(pet[inner]) > 0.4
        hearts.append(np.percentile(pet[heart], 97) / np.median(pet[heart]))
    assert max(hearts) > 3 and min(hearts) > 1.1


def test_kidneys_have_cortex_medulla_and_urine(anatomy):
    k, j, i = (np.arange(n) * mm for n, mm in zip(anatomy.ct.shape, anatomy.ct.spacing[::-1], strict=True))
    radius = np.sqrt(((k[:, None, None] - 100) / 50) ** 2 + ((j[:, None] - 180) / 26) ** 2 + ((i - 150) / 26) ** 2)
    tissue = np.where(radius < 1, CODE["kidney"], np.where(radius < 1.6, CODE["fat"], anatomy.tissue))
    depth = ndimage.distance_transform_edt(radius < 1, anatomy.ct.spacing[::-1])
    painted = replace(anatomy, tissue=tissue, torso=replace(anatomy.torso, depth=depth))
    cortex, medulla, urine = ([] for _ in range(3))
    for seed in range(8):
        pet = of_organs(painted, seed)
        cortex.append(np.median(pet[(depth > 2) & (depth < 7)]))
        medulla.append(np.median(pet[depth > 12]))
        urine.append(pet[radius < 1].max())
    assert 1.5 < min(cortex) < max(cortex) < 4 and np.median(np.divide(medulla, cortex)) < 0.97
    assert max(urine) > 8


def test_some_paintings_have_brown_fat(anatomy):
    fat = (anatomy.tissue == CODE["brown_fat"]) & (anatomy.smooth < -60)
    hottest = np.array([of_organs(anatomy, seed)[fat].max() for seed in range(25)])
    assert 0 < np.mean(hottest > 1.5) < 0.4


def test_a_painting_is_scanned_with_breath_arms_and_without_couch(anatomy, monkeypatch):
    columns = np.arange(96)
    narrow = replace(anatomy, tissue=np.where((columns > 19) & (columns < 77), anatomy.tissue, CODE["air"]))
    dome = narrow.torso.breathing > 0.5
    made = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr("PETSuperResLib.phantoms.painting.BREATHING_SHARE", share)
        monkeypatch.setattr("PETSuperResLib.phantoms.painting.ARMS_SHARE", share)
        made[share] = [paint(narrow, seed, lesions=0) for seed in range(4)]
    beside = narrow.tissue == CODE["air"]
    for still, moved in zip(made[0.0], made[1.0], strict=True):
        assert np.abs(moved.pet.array - still.pet.array)[dome].mean() > 0.02
        assert still.pet.array[beside].max() == 0 and moved.pet.array[beside].max() > 0.4
    assert any(one.ct.array[beside].max() == -1000 for one in made[0.0])


def test_the_seed_decides_the_painting(anatomy):
    one, same, other = (paint(anatomy, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.pet.array, same.pet.array) and np.array_equal(one.ct.array, same.ct.array)
    assert not np.allclose(one.pet.array, other.pet.array)


def test_breathing_moves_organs_near_the_diaphragm_and_not_the_spine(anatomy):
    pet = (np.arange(60.0)[:, None, None] + np.zeros(anatomy.ct.shape)).astype(np.float32)
    before, labels = pet.copy(), np.zeros(pet.shape, np.int16)
    breathe(anatomy, pet, labels, np.random.default_rng(0))
    moved = 5.0 * np.abs(pet - before)
    liver, spine = anatomy.tissue == CODE["liver"], anatomy.tissue == CODE["marrow"]
    assert 2 < np.percentile(moved[liver], 90) < 21 and np.median(moved[spine]) < 0.5


def test_breathing_blurs_the_diaphragm(anatomy):
    """The edge between two slices is spread over more, where it takes part in the motion."""
    dome = np.unravel_index(anatomy.torso.breathing.argmax(), anatomy.ct.shape)
    wide = []
    for seed in range(6):
        pet = np.zeros(anatomy.ct.shape, np.float32)
        pet[: dome[0]] = 1.0
        breathe(anatomy, pet, np.zeros(pet.shape, np.int16), np.random.default_rng(seed))
        wide.append(((pet[:, dome[1], dome[2]] > 0.02) & (pet[:, dome[1], dome[2]] < 0.98)).sum())
    assert max(wide) > 2


def test_lesions_and_their_labels_move_together(anatomy):
    pet, labels = np.zeros(anatomy.ct.shape, np.float32), np.zeros(anatomy.ct.shape, np.int16)
    k, j, i = (int(a) for a in ndimage.center_of_mass(anatomy.tissue == CODE["liver"]))
    pet[k - 3 : k + 4, j - 3 : j + 4, i - 3 : i + 4] = 8
    labels[pet > 0] = 1
    breathe(anatomy, pet, labels, np.random.default_rng(5))
    centres = [ndimage.center_of_mass(a) for a in (pet, labels)]
    assert abs(centres[0][0] - centres[1][0]) < 0.6 and centres[0][0] != k


def test_the_ct_loses_its_couch_and_may_get_contrast_agent_and_metal(anatomy):
    plain = replace(anatomy, smooth=np.minimum(anatomy.smooth, 60))
    heart, air = anatomy.tissue == CODE["heart"], anatomy.tissue == CODE["air"]
    changes, bare, metal = [], [], []
    for seed in range(30):
        ct = anatomy.ct.array.copy()
        vary_ct(plain, ct, np.random.default_rng(seed))
        changes.append(np.median((ct - anatomy.ct.array)[heart]))
        bare.append(ct[air].max() == -1000)
        metal.append((ct == 3000).sum() > 20)
    for share, expected in ((bare, 0.7), (np.array(changes) > 15, 0.4), (metal, 0.06)):
        assert 0 < np.mean(share) < 1 and np.mean(share) == pytest.approx(expected, abs=0.25)


def test_blood_that_has_contrast_agent_gets_no_more(anatomy):
    bright = replace(anatomy, smooth=np.maximum(anatomy.smooth, 150))
    for seed in range(8):
        ct = anatomy.ct.array.copy()
        vary_ct(bright, ct, np.random.default_rng(seed))
        assert np.median((ct - anatomy.ct.array)[anatomy.tissue == CODE["heart"]]) < 1


def test_arms_lie_beside_the_trunk(anatomy):
    columns = np.arange(96)
    trunk = np.where((columns > 19) & (columns < 77), anatomy.tissue, CODE["air"])
    pet, ct = np.zeros(anatomy.ct.shape, np.float32), np.full(anatomy.ct.shape, -1000, np.float32)
    add_arms(replace(anatomy, tissue=trunk), pet, ct, np.random.default_rng(1))
    body = trunk != CODE["air"]
    assert pet[body].max() == 0 and ct[body].max() == -1000
    for side in (slice(0, 32), slice(64, 96)):
        assert 0.4 < pet[..., side].max() < 1 and ct[..., side].max() > 500


def test_lesions_grow_in_organs(anatomy):
    organs = {lesion.organ for seed in range(4) for lesion in paint(anatomy, seed, 12).lesions}
    assert {"liver", "lung", "node_bed"} <= organs
