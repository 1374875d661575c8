"""The diffusion baselines with our prior: DPS's gradients, ScorePET's anchored updates, both on a tiny scan."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny import in_float64, random_model, relative, small_phantom, tiny_prior

from PETSuperResLib.physics.model import EPSILON, osem
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.prior import Denoiser
from PETSuperResLib.sampling import SlabState
from PETSuperResLib.studies.methods import METHODS, MethodCase
from PETSuperResLib.studies.methods.posterior import (
    DPS,
    ScorePET,
    anchored_em,
    deviance_gradient,
    sample_dps,
    sample_scorepet,
)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    phantom = small_phantom()
    simulation = simulate(phantom.pet, phantom.ct, "standard", spacing_mm=4.0)
    return MethodCase(simulation, phantom.ct, tiny_prior(tmp_path_factory.mktemp("prior")))


@pytest.fixture
def parts(case):
    """Denoiser, model and counts of the tiny scan."""
    grid = case.simulation.truth
    ct = torch.from_numpy(case.ct.resample_to(grid, "linear", -1000.0).array)
    model = case.simulation.measurement.model(grid)
    return Denoiser(case.prior, ct, grid.spacing[2]), model, case.simulation.measurement.counts


# Gradients


def test_the_deviance_has_the_gradient_that_dps_follows_with_empty_bins_too():
    model, z, y = random_model(0)
    y = torch.where(y < 2, 0.0, y).double()
    exact, z = in_float64(model), z.double()
    assert (y == 0).any()

    def root(z: torch.Tensor) -> float:
        mean = exact.mean(z) + EPSILON
        each = torch.where(y > 0, y * torch.log(y.clamp_min(1) / mean), 0.0) - y + mean
        return float((2 * each.sum((1, 2))).sqrt().sum())

    gradient = deviance_gradient(exact, y, z)
    for seed in range(3):
        direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        rise = (root(z + 1e-5 * direction) - root(z - 1e-5 * direction)) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(rise, rel=1e-4)


@pytest.mark.parametrize("neighbours", [0, 1])
def test_the_gradient_through_the_prior_is_that_of_its_estimate(neighbours, tmp_path, monkeypatch):
    monkeypatch.setattr("PETSuperResLib.prior.denoiser.autocast", lambda device: nullcontext())
    prior = tiny_prior(tmp_path, neighbours=neighbours)
    random = torch.Generator().manual_seed(0)
    ct = 300 * torch.randn((5, 14, 30), generator=random)
    denoiser = Denoiser(prior, ct, 3.0, batch=2)  # neighbours reach into other batches
    x, weight, direction = (denoiser.noise(random) for _ in range(3))
    gradient = denoiser.pull_back(x, 300, weight)
    h = 1e-2
    ahead, behind = (denoiser.estimate(x + t * h * direction, 300).double() for t in (1, -1))
    rise = float((weight * (ahead - behind)).sum()) / (2 * h)
    assert float((gradient * direction).sum()) == pytest.approx(rise, rel=0.01)


# ScorePET's updates


def test_anchored_updates_stay_at_a_heavy_anchor_and_are_em_without_one():
    model, z, y = random_model(1)
    plain = anchored_em(model, y, z, 0.0, 1.0, 3)
    assert relative(plain, osem(model, y, 3, start=z)) < 1e-3
    sensitivity = float(model.sensitivity.max())
    held = anchored_em(model, y, z, 0.3 * sensitivity, 1.0, 3)
    assert float((held - z).norm()) < 0.8 * float((plain - z).norm())
    assert float(model.loss(plain, y)) < float(model.loss(held, y)) < float(model.loss(z, y))


def test_an_anchor_does_not_depend_on_the_unit_of_activity():
    model, z, y = random_model(2)
    one = anchored_em(model, y, z, 0.5, 1.0, 4)
    model.scale, model.factors = model.scale / 10, model.factors / 10
    del model.__dict__["sensitivity"]
    assert relative(anchored_em(model, y, 10 * z, 0.5, 10.0, 4), 10 * one) < 1e-4


# On a scan


def misfit(model, y, z) -> float:
    return float((model.loss(z, y) - model.loss(torch.zeros_like(z), y)) / y.sum())


def test_dps_is_drawn_to_the_counts_and_follows_its_seed(parts):
    _, model, y = parts
    profile = DPS(steps=6, zeta=1.0)
    with_data = sample_dps(*parts, profile, 1)
    assert float(with_data.min()) >= 0 and bool(torch.isfinite(with_data).all())
    assert torch.equal(with_data, sample_dps(*parts, profile, 1))
    assert not torch.equal(with_data, sample_dps(*parts, profile, 2))
    without = sample_dps(*parts, replace(profile, zeta=0.0), 1)
    assert misfit(model, y, with_data) < misfit(model, y, without)


def test_scorepet_fits_the_counts_less_the_heavier_its_anchor(parts):
    _, model, y = parts
    free, held = (sample_scorepet(*parts, ScorePET(steps=5, beta=b, inner=6), 1) for b in (0.0, 30.0))
    assert float(free.min()) >= 0 and misfit(model, y, free) < misfit(model, y, held)
    assert torch.equal(free, sample_scorepet(*parts, ScorePET(steps=5, beta=0.0, inner=6), 1))


@pytest.mark.parametrize("profile", [DPS(steps=3), ScorePET(steps=3)], ids=lambda profile: profile.name)
def test_they_have_the_signature_of_every_sampler(parts, profile):
    """A callback at every step, and slabs whose shared slices are the same."""
    denoiser, model, y = parts
    seen, state = [], SlabState(kept=slice(1, len(y)))
    first = profile.sample(*parts, profile, 0, lambda step, steps, z: seen.append((step, steps)), state)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    second = profile.sample(denoiser, model, y.flip(0), profile, 7, state=SlabState(state))
    assert torch.equal(second[: len(y) - 1], first[1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dps", "scorepet", "no-ct"])
def test_the_ct_changes_the_diffusion_methods_that_need_it_and_no_others(name, case, monkeypatch):
    monkeypatch.setattr("PETSuperResLib.studies.methods.posterior.DPS", partial(DPS, steps=3))
    monkeypatch.setattr("PETSuperResLib.studies.methods.posterior.ScorePET", partial(ScorePET, steps=3))
    method = METHODS[name]
    one = method.restore(case)
    assert one.array.shape == case.simulation.truth.array.shape and one.unit == "SUVbw"
    turned = case.ct.with_array(case.ct.array[:, ::-1, ::-1].copy())
    assert np.array_equal(one.array, method.restore(replace(case, ct=turned)).array) != method.needs_ct
