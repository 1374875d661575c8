"""The width of an image's noise, by which a filter shows that no header names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from geometry import data_dir
from scipy import ndimage

from PETSuperResLib.inputs import resolution_of_pet
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics import noise_width
from PETSuperResLib.physics.clinical import post_filter
from PETSuperResLib.physics.noise_width import FOURTH, SECOND, SIXTH, difference_variance, differences, noise_widths
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.vendor_strings import GE_AXIAL, GE_FILTER, KERNEL
from PETSuperResLib.volume import Volume

SHAPE, STEP = (24, 72, 72), 3.0


def filtered(across: float, along: float, pixel: float = 4.0, mean=2.0, ratio: float = 0.02, shape=SHAPE) -> Volume:
    """Noise of variance ``ratio x mean`` behind a Gaussian filter, on a ``mean``."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=shape)).float()
    noise = post_filter(noise, (pixel, pixel, STEP), (across, along)).numpy()
    level = np.broadcast_to(mean, shape)
    image = level + noise / noise.std() * np.sqrt(ratio * level)
    return Volume(image.astype(np.float32), (pixel, pixel, STEP), unit="SUVbw")


def organs(pixel: float, blur_mm: float) -> np.ndarray:
    """A body with an organ and a hot lesion, blurred as by a scanner, the same in neighbouring slices."""
    z, y, x = (np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2) * np.array([STEP, pixel, pixel])[
        :, None, None, None
    ]
    at = 0.1 + 0.9 * (np.hypot(x / 1.2, y) < 110) + 3 * (np.hypot(x + 40, y - 20) < 35)
    at = at + 9 * (np.sqrt((x - 30) ** 2 + y**2 + z**2) < 12)
    sigma = blur_mm / 2.3548
    return ndimage.gaussian_filter(at, (sigma / STEP, sigma / pixel, sigma / pixel))


@pytest.mark.parametrize(("across", "along"), [(5.0, 4.0), (6.0, 4.5), (8.0, 8.0)])
@pytest.mark.parametrize("pixel", [2.0, 4.0, 5.4])
def test_the_noise_tells_the_filter_on_voxels_of_any_size(across, along, pixel):
    found = noise_widths(filtered(across, along, pixel))
    assert found == pytest.approx((across, along), rel=0.07)


def test_noise_without_a_filter_has_no_width_beyond_the_voxels():
    across, along = noise_widths(filtered(0.0, 0.0))
    assert across < 4.0 and along < 3.0


@pytest.mark.parametrize("pixel", [2.0, 4.0])
def test_organs_and_hot_lesions_hardly_change_what_the_noise_tells(pixel):
    found = noise_widths(filtered(6.0, 4.5, pixel, organs(pixel, 7.0)))
    assert found == pytest.approx((6.0, 4.5), rel=0.1)


def test_of_a_long_scan_the_slices_in_the_middle_are_measured(monkeypatch):
    long = filtered(6.0, 4.5, shape=(40, 72, 72))
    ends = long.with_array(np.where(np.abs(np.arange(40) - 19.5)[:, None, None] > 8, 2.0, long.array))
    assert noise_widths(ends) is None  # most of it has no noise at all
    monkeypatch.setattr(noise_width, "MOST_VOXELS", 14 * 72 * 72)
    assert noise_widths(ends) == pytest.approx((6.0, 4.5), rel=0.07)


def test_where_the_noise_cannot_be_told_there_is_no_width():
    smooth = Volume(organs(4.0, 7.0).astype(np.float32), (4.0, 4.0, STEP), unit="SUVbw")
    faint = filtered(6.0, 4.5, mean=organs(4.0, 7.0), ratio=1e-10)  # hidden by structure
    small, single = filtered(6.0, 4.5, shape=(12, 10, 10)), filtered(6.0, 4.5, shape=(1, 72, 72))
    empty, flat = (smooth.with_array(0 * smooth.array + level) for level in (0, 2))
    lost = filtered(6.0, 4.5)
    lost.array[12, 36, 36] = np.nan  # which is refused later, with a sentence
    for pet in (smooth, faint, small, single, empty, flat, lost):
        assert noise_widths(pet) is None


def test_the_variance_of_differences_of_white_noise_is_the_sum_of_their_squared_weights():
    for order, squares in ((SECOND, 6), (FOURTH, 70), (SIXTH, 924)):
        assert difference_variance(order, 0.0, 4.0, 1) == pytest.approx(squares)
    noise = filtered(6.0, 0.0, 2.0, shape=(40, 160, 160)).array - 2.0
    found = differences(noise, FOURTH, 2)[:, 8:-8, 8:-8].var() / noise.var()
    assert found == pytest.approx(difference_variance(FOURTH, 6.0, 2.0, 2) ** 2, rel=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "discovery-710-sharpir",
        "mct-osem",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("discovery-st", "mct-earl1")),
    ],
)
def test_the_filter_of_a_reconstructed_image_is_read_from_it(name):
    """As it is where the header says whether the PSF was modelled, and not the filter."""
    protocol = Protocol.get(name)
    torso = torso_phantom(5, (40, 100, 140), (2.5, 2.5, protocol.slice_mm / 2), 3).pet
    pet = simulate(torso, None, protocol=protocol, seed=1).lr
    said = {name: value for name, value in pet.metadata.items() if name not in (KERNEL, GE_FILTER, GE_AXIAL)}
    found = resolution_of_pet(replace(pet, metadata=said))[1]
    assert found.origins["filter"] == "noise" and not found.described
    assert found.filter_fwhm_mm == pytest.approx(protocol.filter_fwhm_mm, rel=0.12)


def test_real_scans_of_one_protocol_have_noise_of_one_width():
    """The headers of these patients name no filter; those of one voxel size have one but for a few."""
    found = {}
    for folder in sorted(data_dir("sts").glob("STS_*")):
        pet = Volume.read(folder / "PET_SUV.nii.gz", "SUVbw")
        found.setdefault(round(pet.spacing[0], 1), []).append(noise_widths(pet))
    across, along = np.array(found[5.5]).T
    assert len(across) > 20 and np.subtract(*np.quantile(across, (0.9, 0.1))) < 1.2 < 6 < np.median(across) < 7
    assert np.median(along) == pytest.approx(3.27 * 2.3548 * np.sqrt(1 / 3), rel=0.1)  # weights of 1:4:1 over slices
