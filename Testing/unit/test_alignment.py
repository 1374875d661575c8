"""A CT of another place or patient is noticed by what lies inside the body, also where the image shows no outline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geometry import data_dir
from scipy import ndimage

from PETSuperResLib.alignment import fits_better
from PETSuperResLib.checks import check_ct, check_pair
from PETSuperResLib.errors import InputError
from PETSuperResLib.volume import Volume


def pair(seed: int = 0) -> tuple[Volume, Volume]:
    """The inside of a body: tissues of irregular shape, each with an HU and an SUV of its own; no outline."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=(24, 48, 48)), 4)
    tissue = np.digitize(field, np.quantile(field, [0.2, 0.5, 0.8]))
    hu, suv = np.array([-700.0, -90.0, 50.0, 300.0])[tissue], np.array([0.4, 0.3, 1.5, 0.9])[tissue]
    noisy = (ndimage.gaussian_filter(suv, 1) * random.normal(1, 0.1, suv.shape)).clip(0)
    grid = Volume(np.zeros(tissue.shape), (5.0, 5.0, 5.0))
    return grid.with_array(noisy, "SUVbw"), grid.with_array(hu, "HU")


def moved(ct: Volume, *by: float) -> Volume:
    x, y, z = np.add(ct.origin, by)
    return replace(ct, origin=(x, y, z))


def test_a_ct_in_its_place_is_not_told():
    for seed in range(5):
        assert fits_better(*pair(seed)) == ""


@pytest.mark.parametrize("by", [(25, 0, 0), (0, -30, 0), (0, 0, 35)])
def test_a_moved_ct_is_told(by):
    pet, ct = pair()
    assert "moved by" in fits_better(pet, moved(ct, *by))


def test_a_turned_ct_and_another_patient_s_are_told():
    pet, ct = pair()
    assert fits_better(pet, ct.with_array(ct.array[:, ::-1, ::-1])) == "turned by 180 degrees"
    told = check_pair(pet, ct.with_array(ct.array[:, ::-1, ::-1]))
    assert any("would fit the PET better turned by 180 degrees" in line for line in told)


def test_images_without_anything_in_common_are_not_compared():
    pet, ct = pair()
    flat = pet.with_array(np.random.default_rng(1).normal(1, 0.05, pet.shape))
    assert fits_better(flat, ct.with_array(0 * ct.array + 20)) == ""


@pytest.mark.parametrize(("top", "refused"), [(20.0, False), (120.0, False), (-500.0, True)])
def test_a_phantom_without_bone_has_a_ct(top, refused):
    hu = np.full((4, 20, 20), -1000.0)
    hu[:, 5:-5, 5:-5] = top
    ct = Volume(hu, unit="HU")
    if refused:
        with pytest.raises(InputError, match="not a CT in HU"):
            check_ct(ct)
    else:
        check_ct(ct)


def test_a_ct_in_stored_values_is_told_how_to_export_it():
    _, ct = pair()
    with pytest.raises(InputError, match=r"values .* to .*: give the CT of this PET, or export it again with its resc"):
        check_ct(ct.with_array(ct.array + 1024, ""))


@pytest.mark.data
def test_real_patients_as_they_lie_and_turned():
    for name in ("STS_001", "STS_005", "STS_010", "STS_020"):
        folder = data_dir("sts", name)
        pet, ct = Volume.read(folder / "PET_SUV.nii.gz"), Volume.read(folder / "CT_HU.nii.gz")
        assert fits_better(pet, ct) == "", name
        assert fits_better(pet, ct.with_array(ct.array[:, ::-1, ::-1])), name
