"""The point spread function: a Gaussian of the stated width that moves activity and neither makes nor loses it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import mismatch, relative

from PETSuperResLib.physics.gaussian import gaussian_matrix
from PETSuperResLib.physics.layout import slices_last
from PETSuperResLib.physics.psf import GaussianPSF
from PETSuperResLib.scanner import presets
from PETSuperResLib.widths import FWHM_PER_SIGMA

SCANNERS = ["Paper standard", "Paper OOD", "Siemens Biograph mCT", "Siemens Biograph Vision Quadra", "GE Discovery ST"]


def point(shape: tuple[int, int, int]) -> torch.Tensor:
    z = torch.zeros(shape)
    z[tuple(n // 2 for n in shape)] = 1.0
    return z


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_own_adjoint(scanner, seed):
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in random.integers(1, 60, 3))
    spacing = tuple(random.uniform(1, 5, 3))
    psf = GaussianPSF(shape, spacing, presets()[scanner].model_fwhm_mm)
    z, y = (torch.from_numpy(random.random(shape, np.float32)) for _ in range(2))
    assert mismatch(psf.forward(z), y, z, psf.adjoint(y)) < 1e-5


@pytest.mark.parametrize(("axis", "fwhm"), [(2, (7.0, 0.0)), (1, (7.0, 0.0)), (0, (0.0, 9.0))])
def test_its_variance_is_that_of_the_fwhm_with_anisotropic_voxels(axis, fwhm):
    shape, spacing = (41, 51, 53), (1.5, 2.0, 2.5)
    image = GaussianPSF(shape, spacing, fwhm)(point(shape)).numpy().astype(np.float64)
    pixel = spacing[2 - axis]
    profile = image.sum(tuple(n for n in range(3) if n != axis))
    position = (np.arange(len(profile)) - shape[axis] // 2) * pixel
    variance = (profile * position**2).sum() / profile.sum()
    sigma = max(fwhm) / FWHM_PER_SIGMA
    # the pixel itself adds its own variance, pixel^2 / 12
    assert variance == pytest.approx(sigma**2 + pixel**2 / 12, rel=0.01)


@pytest.mark.parametrize("shape", [(1, 20, 20), (2, 9, 30), (6, 40, 12)])
def test_activity_at_the_ends_of_a_stack_is_conserved_too(shape):
    """A patient goes on beyond the stack: thin stacks must not lose activity through their ends."""
    z = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    blurred = GaussianPSF(shape, (2.0, 2.0, 3.0), (8.0, 7.0))(z)
    assert float(blurred.sum()) == pytest.approx(float(z.sum()), rel=1e-5)
    uniform = torch.ones(shape)
    assert torch.allclose(GaussianPSF(shape, (2.0, 2.0, 3.0), (8.0, 7.0))(uniform), uniform, atol=1e-5)


def test_without_width_nothing_changes_and_one_slice_has_no_neighbours():
    z = torch.rand(1, 9, 9)
    assert torch.equal(GaussianPSF((1, 9, 9), (2.0, 2.0, 2.0), (0.0, 5.0))(z), z)


def test_slices_mix_only_when_the_scanner_has_an_axial_width():
    z = point((5, 15, 15))
    flat = GaussianPSF(z.shape, (2.0, 2.0, 2.0), (5.0, 0.0))(z)
    deep = GaussianPSF(z.shape, (2.0, 2.0, 2.0), (5.0, 5.0))(z)
    assert float(flat[1].sum()) == 0 and float(deep[1].sum()) > 0.05


@pytest.mark.parametrize("shape", [(3, 150, 200), (100, 90, 8), (1, 7, 130)])
@pytest.mark.parametrize("fwhm", [(4.0, 3.0), (9.0, 0.0)])
def test_a_blur_in_blocks_is_the_whole_matrix_in_every_layout(shape, fwhm):
    spacing = (2.0, 2.5, 3.0)
    z = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    matrices = (
        gaussian_matrix(n, mm, f) for n, mm, f in zip(shape, spacing[::-1], (fwhm[1], fwhm[0], fwhm[0]), strict=True)
    )
    expected = np.einsum("kji,ka,jb,ic->abc", z.double().numpy(), *matrices, optimize=True)
    psf = GaussianPSF(shape, spacing, fwhm)
    for image in (z, slices_last(z), z.transpose(1, 2).contiguous().transpose(1, 2)):
        assert relative(psf(image), expected) < 1e-6
    assert psf(slices_last(z)).permute(1, 2, 0).is_contiguous() and psf(z).is_contiguous()
