"""Deconvolutions and region corrections of an image: their laws, and what the registry promises of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny import mismatch, relative, small_phantom, tiny_prior

from PETSuperResLib.physics.gaussian import gaussian_matrix
from PETSuperResLib.physics.psf import GaussianPSF
from PETSuperResLib.physics.relative_difference import RelativeDifference
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.studies.evaluation.metrics import nmse
from PETSuperResLib.studies.methods import GROUPS, METHODS, MethodCase, image_peers, restore
from PETSuperResLib.studies.methods.deconvolution import (
    Kernel,
    iterate,
    kernelised_rl,
    map_deconvolution,
    richardson_lucy,
    total_variation_rl,
    total_variation_slope,
    van_cittert,
)
from PETSuperResLib.studies.methods.oracle import Oracle
from PETSuperResLib.studies.methods.regions import iterative_yang, lesion_regions, region_based_voxelwise
from PETSuperResLib.volume import Volume

SHAPE, SPACING = (12, 24, 28), (2.0, 2.0, 3.0)
PSF = GaussianPSF(SHAPE, SPACING, (6.0, 5.0))


def block(low: float = 1.0, high: float = 4.0) -> torch.Tensor:
    """A hot box on a uniform background, with nothing near the border."""
    z = torch.zeros(SHAPE)
    z[2:10, 4:20, 4:24] = low
    z[4:8, 9:15, 8:14] = high
    return z


METHODS_OF_Y = {
    "van cittert": lambda y: van_cittert(y, PSF),
    "richardson-lucy": lambda y: richardson_lucy(y, PSF),
    "total variation": lambda y: total_variation_rl(y, PSF, SPACING, 0.001),
    "kernelised": lambda y: kernelised_rl(y, PSF, Kernel(500 * block(), SPACING, 50.0, 2.0)),
    "map": lambda y: map_deconvolution(y, PSF, RelativeDifference(SPACING), 1e-4, 4),
}


@pytest.mark.parametrize("name", METHODS_OF_Y)
def test_deconvolution_gives_back_what_the_resolution_took(name):
    truth = block()
    y = PSF(truth)
    z = iterate(METHODS_OF_Y[name](y), 60)
    assert z.min() >= 0
    assert relative(z, truth) < 0.6 * relative(y, truth)
    assert relative(PSF(z), y) < 0.02
    assert float(z[4:8, 9:15, 8:14].mean()) == pytest.approx(4.0, rel=0.1)  # 2.8 in y


def test_richardson_lucy_keeps_the_sum():
    y = torch.poisson(10 * PSF(block()), torch.Generator().manual_seed(0))
    for z in islice(richardson_lucy(y, PSF), 5):
        assert float(z.sum(dtype=torch.float64)) == pytest.approx(float(y.sum()), rel=1e-5)


def test_richardson_lucy_is_that_of_simpleitk():
    truth = block()
    y = PSF(truth)
    lines = [gaussian_matrix(41, mm, fwhm)[20] for mm, fwhm in ((3.0, 5.0), (2.0, 6.0), (2.0, 6.0))]
    kernel = np.einsum("i,j,k->ijk", *(line[line > 0] for line in lines)).astype(np.float32)
    image, kernel = (sitk.GetImageFromArray(np.asarray(x)) for x in (y, kernel))
    theirs = sitk.RichardsonLucyDeconvolution(
        image, kernel, 10, True, sitk.RichardsonLucyDeconvolutionImageFilter.ZERO_FLUX_NEUMANN_PAD
    )
    assert relative(iterate(richardson_lucy(y, PSF), 10), sitk.GetArrayFromImage(theirs)) < 0.01


def test_van_cittert_ends_with_a_small_update():
    y = PSF(block())
    images = [y, *van_cittert(y, PSF, stop=0.01)]
    steps = [float((b - a).norm() / y.norm()) for a, b in zip(images, images[1:], strict=False)]
    assert steps[-1] <= 0.01 < min(steps[:-1])


def test_the_slope_of_the_total_variation_is_its_gradient():
    z = torch.rand((3, 5, 6), dtype=torch.float64).requires_grad_()
    k, j, i = (torch.diff(z, dim=axis) * step for axis, step in enumerate((2 / 3, 1.0, 1.0)))
    pad = torch.nn.functional.pad
    squares = pad(k, (0, 0, 0, 0, 0, 1)).square() + pad(j, (0, 0, 0, 1)).square() + pad(i, (0, 1)).square()
    (squares + 0.01**2).sqrt().sum().backward()
    assert relative(total_variation_slope(z.detach(), SPACING), z.grad) < 1e-6


def test_total_variation_takes_noise_away():
    y = torch.poisson(20 * PSF(block()), torch.Generator().manual_seed(0)) / 20
    plain, smooth = (iterate(total_variation_rl(y, PSF, SPACING, s), 40) for s in (0.0, 0.03))
    assert relative(plain, iterate(richardson_lucy(y, PSF), 40)) < 1e-5
    assert relative(smooth, block()) < 0.7 * relative(plain, block())


def test_a_kernel_is_a_mean_of_voxels_alike_in_the_ct():
    random = torch.Generator().manual_seed(0)
    ct = torch.zeros(SHAPE)
    ct[:, :, 14:] = 1000
    kernel = Kernel(ct, SPACING, 50.0, 3.0)
    z, w = torch.rand(SHAPE, generator=random), torch.rand(SHAPE, generator=random)
    assert mismatch(kernel(z), w, z, kernel.adjoint(w)) < 1e-5
    assert float((kernel(torch.ones(SHAPE)) - 1).abs().max()) < 1e-5
    assert relative(kernel(ct), ct) < 1e-6  # nothing crosses the CT's edge
    assert kernel(z).std() < 0.5 * z.std()


def test_map_deconvolution_descends_to_one_minimum():
    y = torch.poisson(20 * PSF(block()), torch.Generator().manual_seed(0)) / 20 + 0.01
    penalty, beta = RelativeDifference(SPACING), 0.02

    def objective(z):
        return float((PSF(z) - torch.xlogy(y, PSF(z))).double().sum() + beta * penalty.value(z))

    values = [objective(z) for z in islice(map_deconvolution(y, PSF, penalty, beta, 10), 30)]
    assert values[0] < objective(y)
    assert values[5] - values[-1] < 0.01 * (objective(y) - values[-1])
    assert max(b - a for a, b in zip(values, values[1:], strict=False)) < 1e-3 * (objective(y) - values[-1])


# Regions


def labelled() -> tuple[Volume, torch.Tensor]:
    """Labels of two lesions and, in their true activity, uniform lesions, shells and rest."""
    labels = np.zeros(SHAPE, np.float32)
    labels[5:8, 10:14, 6:11] = 1
    labels[4:6, 8:12, 18:22] = 3
    grid = Volume(labels, SPACING, unit="label")
    truth = sum(value * part for value, part in zip((8.0, 5.0, 1.0, 2.0, 1.5), lesion_regions(grid, grid), strict=True))
    return grid, truth


def test_regions_share_every_voxel():
    labels, _ = labelled()
    coarse = Volume(np.zeros((12, 12, 14), np.float32), (4.0, 4.0, 3.0), (1.0, 1.0, 0.0))
    for grid in (labels, coarse):
        regions = lesion_regions(labels, grid)
        assert len(regions) == 5
        assert float((sum(regions) - 1).abs().max()) < 1e-6
        assert float(regions[0].sum()) * grid.voxel_ml == pytest.approx((labels.array == 1).sum() * labels.voxel_ml)


@pytest.mark.parametrize(
    "correct", [lambda y, r: iterative_yang(y, PSF, r, 40), lambda y, r: region_based_voxelwise(y, PSF, r)]
)
def test_region_methods_give_uniform_regions_their_activity_back(correct):
    labels, truth = labelled()
    y = PSF(truth)
    z = correct(y, lesion_regions(labels, labels))
    assert relative(y, truth) > 0.2
    assert relative(z, truth) < 0.002


# The methods


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    phantom = small_phantom()
    simulation = simulate(phantom.pet, phantom.ct, "standard", spacing_mm=4.0)
    prior = tiny_prior(tmp_path_factory.mktemp("prior"))
    return MethodCase(simulation, phantom.ct, prior, input="image", lesions=phantom.labels)


PEERS = [name for name in GROUPS["images"] if METHODS[name].inputs == ("image",)]
LONGEST = 32  # iterations of an oracle here, of 400


@pytest.fixture(scope="module")
def restored(case):
    """The case restored by a method of a name, once for all tests that look at it."""
    with pytest.MonkeyPatch.context() as patch:
        look_along = Oracle.look_along
        short = lambda oracle, images, numbers: look_along(oracle, images, [n for n in numbers if n <= LONGEST])  # noqa: E731
        patch.setattr(Oracle, "look_along", short)
        patch.setattr(image_peers, "MAP_UPDATES", 3)
        yield cache(lambda name: restore(name, case))


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_depends_on_the_ct_where_it_says_so(case, restored, name):
    other = replace(case, ct=case.ct.with_array(case.ct.array[:, ::-1, ::-1].copy()))
    one, two = restored(name), restore(name, other)
    assert one.same_grid(case.simulation.truth) and one.array.min() >= 0
    assert np.array_equal(one.array, two.array) != METHODS[name].needs_ct


@pytest.mark.parametrize("name", [name for name in PEERS if name.endswith("-oracle")])
def test_an_oracle_is_at_least_as_good_as_any_other_choice(case, restored, name):
    truth = case.simulation.truth
    bound = nmse(truth, restored(name))
    assert bound <= nmse(truth, restored(name.removesuffix("-oracle")))
    assert bound <= nmse(truth, restored("interpolated"))


def test_without_lesions_there_is_nothing_to_correct_by_region(case, restored):
    plain = restored("interpolated").array
    for name in ("iterative-yang", "rbv"):
        assert relative(restore(name, replace(case, lesions=None)).array, plain) < 1e-5
        assert relative(restored(name).array, plain) > 0.01
