"""The response of a reconstruction that models the PSF, against its formula and against the reconstruction itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from PETSuperResLib.grid import image_grid
from PETSuperResLib.inputs import pet_measurement, resolution_of_pet
from PETSuperResLib.physics.convergence import LEAST, LEVELS, MOST, ConvergingResponse
from PETSuperResLib.physics.image_noise import image_noise
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import BOX_FWHM, FWHM_PER_SIGMA

PSF_MM, FILTER_MM, VOXEL_MM, PER_SUV = 4.5, 3.0, 2.0, 0.2


def response(shape=(3, 96, 96), axial_mm=0.0):
    return ConvergingResponse(shape, (2.0, 2.0, 3.0), PSF_MM, FILTER_MM, VOXEL_MM, axial_mm, PER_SUV)


def transfer(fwhm_mm, f):
    return math.exp(-2 * (math.pi * fwhm_mm / FWHM_PER_SIGMA * f) ** 2)


LEVEL = (MOST / LEAST) ** (1 / (LEVELS - 1))  # from one value of k to the next


@pytest.mark.parametrize(("levels", "within"), [(1, 0.02), (2.5, 0.12), (4, 0.02)])
@pytest.mark.parametrize("periods", [4, 12, 20])
def test_a_ripple_shrinks_by_the_formula(levels, within, periods):
    """1 - exp(-k H^2 / f), times the filter, less the voxels' own extent; less exact between two values of k."""
    f, k = periods / (96 * 2.0), LEAST * LEVEL**levels
    ripple = torch.cos(2 * math.pi * f * 2.0 * (torch.arange(96) + 0.5))
    z = (1 + ripple).expand(3, 96, 96)
    seen = response().shown(z, torch.full(z.shape, k))[1, 48]
    found = float((seen - seen.mean())[24:72] @ ripple[24:72] / (ripple[24:72] @ ripple[24:72]))
    post = transfer(FILTER_MM, f) / transfer(BOX_FWHM * VOXEL_MM, f)
    assert found == pytest.approx(post * (1 - math.exp(-k * transfer(PSF_MM, f) ** 2 / f)), rel=within)


def test_k_is_in_proportion_to_the_local_mean():
    z = torch.full((1, 96, 96), 3.0)
    z[0, 40:56, 40:56] = 9.0
    found = response((1, 96, 96))
    assert torch.equal(found(z), found.shown(z, PER_SUV * found.mean(z)))
    assert not torch.allclose(found(z), found.shown(z, torch.full(z.shape, PER_SUV * 3.0)), rtol=0.02)


def test_activity_is_kept_and_slices_are_blurred_as_said():
    z = torch.zeros(9, 96, 96)
    z[4, 40:56, 40:56] = 5.0
    flat, blurred = response((9, 96, 96))(z), response((9, 96, 96), 6.0)(z)
    assert float(flat.sum()) == pytest.approx(float(z.sum()), rel=0.02)
    assert float(blurred.sum()) == pytest.approx(float(z.sum()), rel=0.02)
    assert float(flat[3].abs().max()) == 0 < 0.5 < float(blurred[3].max())


def test_hot_regions_are_sharper_and_overshoot():
    z = torch.full((1, 96, 96), 0.05)
    z[0, 40:56, 40:56] = 1.0
    edges = []
    for suv in (1.0, 20.0):
        seen = response((1, 96, 96))(suv * z)[0, 48] / suv
        edges.append(float(seen[40] - seen[37]))
    assert edges[1] > 1.1 * edges[0]
    assert float(response((1, 96, 96))(20 * z).max()) > 20.4  # a Gaussian has no more than there is


def test_images_of_protocols_with_the_psf_are_as_expected():
    """Of a body with two hot discs, reconstructed without noise: nearer than the samplers' Gaussians."""
    y, x = np.mgrid[-70:70, -80:80] * 2.0 + 1
    slices = np.where(np.hypot(x / 140, y / 110) < 1, 1.0, 0.0)
    slices[np.hypot(x - 60, y) < 9] = 8.0
    slices[np.hypot(x + 50, y - 20) < 6] = 5.0
    pet = Volume(np.repeat(slices[None], 3, 0).astype(np.float32), (2.0, 2.0, 3.0), unit="SUVbw")
    scan = simulate(pet, None, protocol="mct-lesions", noise=False)
    resolution = resolution_of_pet(scan.lr)[1]
    noise = replace(image_noise(scan.lr, 4.0), variance_ratio=0.01)
    model = pet_measurement(scan.lr, None, resolution, noise).model(scan.truth)
    z = torch.from_numpy(scan.truth.array)
    errors = [
        float(((expected - model.background) / model.factors - torch.from_numpy(scan.lr.array)).square().mean().sqrt())
        for expected in (model.mean(z) + model.excess(z), model.expected(z))
    ]
    assert errors[1] < 0.92 * errors[0]


@pytest.mark.parametrize("stated", [{"psf_modelled": False}, {"psf_modelled": True, "penalised": True}])
def test_without_the_psf_or_with_a_penalty_the_expectation_is_that_of_the_samplers(stated):
    pet = Volume(np.ones((3, 20, 20), np.float32), (4.0, 4.0, 3.0), unit="SUVbw")
    resolution = resolution_of_pet(pet, "Siemens Biograph mCT", post_filter=5.0, psf_modelled=True)[1]
    resolution = replace(resolution, **stated)
    model = pet_measurement(pet, None, resolution, image_noise(pet, 5.0)).model(image_grid(pet, 2.0))
    z = torch.rand(model.shape)
    assert resolution.converging is None and torch.equal(model.expected(z), model.mean(z) + model.excess(z))
