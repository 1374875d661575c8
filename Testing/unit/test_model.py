"""The measurement model: matched adjoint, the likelihood's gradient, and EM as theory wants it."""

from __future__ import annotations

import pytest
import torch
from tiny import in_float64, mismatch, random_model, relative

from PETSuperResLib.errors import GeometryError
from PETSuperResLib.physics.model import ForwardModel, osem, uniform_start
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.widths import FWHM_PER_SIGMA

SCANNERS = ["Paper standard", "Paper OOD", "Siemens Biograph mCT", "Siemens Biograph Vision 600", "GE Discovery ST"]


@pytest.mark.parametrize("scanner", SCANNERS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 27, 36), (4, 35, 24)])
@pytest.mark.parametrize("psf", [True, False])
def test_all_of_a_with_attenuation_has_a_matched_adjoint(scanner, shape, psf):
    random = torch.Generator().manual_seed(shape[1])
    spacing = (4.0, 4.0, 3.0)
    empty = ForwardModel(Scanner.get(scanner), shape, spacing)
    survival = torch.rand(shape[0], empty.projector.views, empty.projector.bins, generator=random)
    model = ForwardModel(Scanner.get(scanner), shape, spacing, 37.0, survival, 2.0, projector=empty.projector)
    z, y = torch.rand(shape, generator=random), torch.rand(survival.shape, generator=random)
    assert mismatch(model.forward(z, psf), y, z, model.adjoint(y, psf)) < 1e-5


@pytest.mark.parametrize("psf", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_likelihood(psf, seed):
    model, z, y = random_model(seed)
    exact = in_float64(model)
    random = torch.Generator().manual_seed(seed)
    z64, y64 = z.double(), y.double()
    gradient = model.gradient(z, y, psf).double()
    slopes, expected = [], []
    for _ in range(5):
        direction = torch.randn(z.shape, generator=random, dtype=torch.float64)
        h = 1e-4
        rise = exact.loss(z64 + h * direction, y64, psf) - exact.loss(z64 - h * direction, y64, psf)
        expected.append(rise / (2 * h))
        slopes.append((gradient * direction).sum())
    assert relative(torch.stack(slopes), torch.stack(expected)) < 1e-4


def test_the_gradient_vanishes_where_the_model_explains_the_counts():
    model, z, _ = random_model(1)
    y = model.mean(z)
    assert float(model.gradient(z, y).abs().max()) < 1e-4 * float(model.sensitivity.max())


@pytest.mark.parametrize("psf", [True, False])
def test_em_never_raises_the_loss_and_stays_positive(psf):
    model, _, y = random_model(2)
    losses = [float(model.loss(torch.full(model.shape, uniform_start(model, y)), y, psf))]
    z = osem(model, y, 25, psf, callback=lambda n, z: losses.append(float(model.loss(z, y, psf))))
    drops = [before - after for before, after in zip(losses, losses[1:], strict=False)]
    assert min(drops) > -1e-6 * abs(losses[0])
    assert losses[0] - losses[-1] > 10
    assert float(z.min()) >= 0


def test_one_em_step_makes_the_expected_total_the_measured_one():
    model, z, _ = random_model(3)
    model.background = 0.0
    y = torch.poisson(model.mean(z), torch.Generator().manual_seed(0))
    z = osem(model, y, 1)
    assert float(model.mean(z).sum()) == pytest.approx(float(y.sum()), rel=1e-4)


def test_em_explains_total_counts_with_background_too():
    model, _, y = random_model(3)
    z = osem(model, y, 60)
    assert float(model.mean(z).sum()) == pytest.approx(float(y.sum()), rel=1e-3)


def test_a_uniform_start_has_the_measured_trues():
    model, z, _ = random_model(4)
    y = model.mean(z)
    start = torch.full(model.shape, uniform_start(model, y))
    assert float(model.forward(start, psf=False).sum()) == pytest.approx(float(model.forward(z).sum()), rel=1e-3)


def test_h_is_the_scanner_s_kernel_in_all_three_directions():
    """A point's counts spread by the FWHM times the kernel scale: along the bins and across the slices."""
    scanner = Scanner("Test", 9.0, 12.0, kernel_scale=0.5, views=8, bin_size_mm=1.0)
    shape, spacing = (21, 41, 41), (2.0, 2.0, 3.0)
    point = torch.zeros(shape)
    point[10, 20, 20] = 1.0
    counts = ForwardModel(scanner, shape, spacing).forward(point).double()

    def variance(profile: torch.Tensor, step: float) -> float:
        place = (torch.arange(len(profile)) - (len(profile) - 1) / 2) * step
        return float((profile * place**2).sum() / profile.sum())

    # a pixel adds its own width twice: the kernel's mass is that of pixels, and so is their projection
    pixels, bins, slices = 2.0**2 / 6, 1.0**2 / 12, 3.0**2 / 12
    assert variance(counts.sum((0, 1)), 1.0) == pytest.approx((4.5 / FWHM_PER_SIGMA) ** 2 + pixels + bins, rel=0.01)
    assert variance(counts.sum((1, 2)), 3.0) == pytest.approx((6.0 / FWHM_PER_SIGMA) ** 2 + slices, rel=0.01)


def test_a_rebinned_view_is_the_mean_of_the_views_summed_into_it():
    fine = Scanner("Test", 5.0, views=12, bin_size_mm=4.0)
    z = torch.rand((2, 24, 28), generator=torch.Generator().manual_seed(0))
    many, few = (
        ForwardModel(Scanner.get(fine, angular_rebinning=n), (2, 24, 28), (4.0, 4.0, 4.0)).forward(z) for n in (1, 3)
    )
    assert few.shape[1] == 4 and relative(few, many.unflatten(1, (4, 3)).mean(2)) < 1e-5


def test_counts_scale_with_activity_and_with_scale():
    model, z, _ = random_model(6)
    double = ForwardModel(
        *(Scanner.get("Paper standard", fwhm_axial_mm=4.0), model.shape, model.spacing),
        *(2 * model.scale, model.factors / model.scale, 0.0),
        projector=model.projector,
    )
    assert relative(double.forward(z), model.forward(2 * z)) < 1e-6


def test_a_background_of_another_shape_or_grid_is_refused_by_the_measurement():
    from PETSuperResLib.physics.measurement import Measurement
    from PETSuperResLib.volume import Volume

    grid = Volume(torch.zeros(2, 8, 8).numpy())
    with pytest.raises(GeometryError, match="same slices"):
        Measurement(Scanner.get("Paper standard"), torch.ones(2, 90, 9), torch.ones(2, 90, 8), 1.0, grid)
