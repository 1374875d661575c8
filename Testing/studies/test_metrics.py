"""Image metrics against values known by construction, in both conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from geometry import ball, data_dir, radius
from scipy import ndimage

from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.studies.evaluation.metrics import body_mask, nmse, psnr, ssim, whole_field, within_body
from PETSuperResLib.volume import Volume


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = ndimage.gaussian_filter(rng.random((12, 24, 24)), 1.5).astype(np.float32) * 10
    return truth, truth + 0.1 * rng.standard_normal(truth.shape).astype(np.float32)


def test_known_error_gives_the_known_psnr_and_nmse():
    truth = np.full((3, 8, 8), 2.0, np.float32)
    assert psnr(truth, truth + 0.2) == pytest.approx(20.0, abs=1e-4)  # 10 log10(2^2 / 0.2^2)
    assert psnr(truth, truth + 0.2, data_range=10) == pytest.approx(20 * math.log10(50), abs=1e-4)
    assert nmse(truth, truth + 0.2) == pytest.approx(0.01, rel=1e-4)


def test_a_perfect_estimate(pair):
    truth, _ = pair
    assert psnr(truth, truth) == math.inf
    assert ssim(truth, truth) == pytest.approx(1.0)
    assert nmse(truth, truth) == 0


def test_metrics_do_not_depend_on_the_unit(pair):
    """Bq/mL instead of SUV scales both volumes; the whole-field convention must not notice."""
    truth, estimate = pair
    here, there = whole_field(truth, estimate), whole_field(5000 * truth, 5000 * estimate)
    assert here == pytest.approx(there, rel=1e-3)


def test_errors_outside_the_body_do_not_count_within_it(pair):
    truth, estimate = pair
    body = np.zeros(truth.shape, bool)
    body[:, 8:16, 8:16] = True
    disturbed = np.where(np.pad(body[:, 4:-4, 4:-4], ((0, 0), (4, 4), (4, 4))), estimate, estimate + 5)
    inside = within_body(truth, disturbed, body)
    assert inside["psnr_body"] == pytest.approx(within_body(truth, estimate, body)["psnr_body"])
    assert inside["nmse_body"] == pytest.approx(within_body(truth, estimate, body)["nmse_body"])
    assert psnr(truth, disturbed) < psnr(truth, estimate) - 10


def test_a_hot_voxel_changes_the_whole_field_scale_but_not_the_body_scale(pair):
    truth, estimate = pair
    hot, body = truth.copy(), np.ones(truth.shape, bool)
    hot[0, 0, 0] = 100
    both = estimate + hot - truth
    assert psnr(hot, both) > psnr(truth, estimate) + 15
    assert within_body(hot, both, body)["psnr_body"] == pytest.approx(within_body(truth, estimate, body)["psnr_body"])


def test_few_slices_are_compared_slice_by_slice(pair):
    truth, estimate = pair
    single = [ssim(truth[n : n + 1], estimate[n : n + 1], data_range=10) for n in range(2)]
    assert ssim(truth[:2], estimate[:2], data_range=10) == pytest.approx(np.mean(single), rel=1e-5)


def test_body_of_a_ct_is_the_patient_with_lungs_but_without_the_table():
    grid = ball((3, 3, 3), 1, 150)
    k, j, i = np.indices(grid.shape)
    x, y = (i - 49.5) * 3, (j - 49.5) * 3
    patient = (x / 110) ** 2 + (y / 80) ** 2 < 1
    lungs = ((np.abs(x) - 50) / 30) ** 2 + (y / 40) ** 2 < 1
    table = (np.abs(y - 120) < 4) & (np.abs(x) < 120)
    hu = np.where(lungs, -800, np.where(patient, 40, np.where(table, 100, -1000))).astype(np.float32)
    found = body_mask(grid.with_array(hu, "HU"))
    assert (found & patient).sum() / (found | patient).sum() > 0.95
    assert found[lungs].mean() > 0.99 and not found[table].any()


def test_wrong_pairs_are_told(pair):
    truth, _ = pair
    with pytest.raises(InputError, match=r"\(2, 24, 24\).*resample"):
        psnr(truth, truth[:2])
    with pytest.raises(InputError, match="mask has shape"):
        nmse(truth, truth, np.ones((1, 2, 3)))
    with pytest.raises(InputError, match="empty"):
        nmse(truth, truth, np.zeros(truth.shape))
    with pytest.raises(InputError, match="not numbers"):
        ssim(truth, truth * np.nan)
    with pytest.raises(InputError, match="no value above 0"):
        psnr(0 * truth, truth)
    with pytest.raises(InputError, match="zero everywhere"):
        nmse(0 * truth, truth)
    with pytest.raises(InputError, match="7 x 7"):
        ssim(truth[:, :5, :5], truth[:, :5, :5])
    with pytest.raises(GeometryError, match="different places"):
        psnr(Volume(truth), Volume(truth, origin=(5, 0, 0)))
    with pytest.raises(InputError, match="No body"):
        body_mask(Volume(np.full((4, 20, 20), -1000.0), unit="HU"))


@pytest.mark.data
def test_body_of_a_real_ct_holds_nearly_all_activity():
    pet = Volume.read(data_dir("sts", "STS_001", "PET_SUV.nii.gz"))
    ct = Volume.read(data_dir("sts", "STS_001", "CT_HU.nii.gz"), unit="HU").resample_to(pet, outside=-1000)
    body = body_mask(ct)
    assert pet.array[body].sum() > 0.95 * pet.array.sum()
    assert radius(pet).shape == body.shape and 0.2 < body.mean() < 0.95
