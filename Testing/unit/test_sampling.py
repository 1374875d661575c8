"""Data consistency and the samplers: the paper's schedule to the letter, and iterations that do what they claim."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import GaussianConfig, GaussianNetwork, random_model, relative, tiny_prior

from PETSuperResLib.errors import Cancelled, InputError
from PETSuperResLib.physics.model import ForwardModel, osem
from PETSuperResLib.physics.relative_difference import half_offsets, overlap
from PETSuperResLib.prior import Denoiser, Prior
from PETSuperResLib.sampling import PROFILES, Paper, Sampler, SlabState, Standard
from PETSuperResLib.sampling.body import completed_ct
from PETSuperResLib.sampling.consistency import map_em
from PETSuperResLib.sampling.paper import descend
from PETSuperResLib.sampling.penalties import ct_guided, quadratic_surrogate
from PETSuperResLib.sampling.standard import TISSUE_FWHM_MM, TISSUE_GAMMA
from PETSuperResLib.scanner import Scanner, setting


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return tiny_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def case(prior):
    model, z, y = random_model(0, (3, 24, 28))
    ct = torch.rand(z.shape, generator=torch.Generator().manual_seed(9)) * 1000 - 950
    return Denoiser(prior, ct, 4.0), model, y


def run(profile, denoiser, model, y, *others, **more):
    return profile.sample(denoiser, model, y, profile, *others, **more)


# -- profiles -------------------------------------------------------------------------------------
def test_the_schedule_of_paper_is_the_paper_s():
    paper = PROFILES["paper"]
    assert [paper.full_psf(k) for k in range(50)] == [False] * 35 + [True] * 15  # steps 1-35, 36-50
    inner = [paper.inner(k) for k in range(50)]
    assert inner[0] == 2 and inner[-1] == 20 and inner == sorted(inner)
    assert max(abs(m - (2 + 18 * k / 49)) for k, m in enumerate(inner)) <= 0.5


def test_its_steps_run_from_pure_noise_to_none(case, monkeypatch):
    seen, epsilon = [], Denoiser.epsilon
    monkeypatch.setattr(Denoiser, "epsilon", lambda self, x, t, **more: seen.append(t) or epsilon(self, x, t, **more))
    run(PROFILES["paper"], *case)
    assert seen[0] == 999 and seen[-1] == 0 and len(seen) == 50
    assert len({a - b for a, b in zip(seen, seen[1:], strict=False)}) <= 2  # equidistant to rounding


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"flips": 3},
        {"stop_below": -1.0},
        {"inner_first": -1},
        {"memory": 1.5},
        {"start_sigma": 0.01, "end_sigma": 0.1},
    ],
)
def test_impossible_samplers_are_refused(changes):
    with pytest.raises(InputError):
        Sampler.get("standard", **changes)


def test_an_unknown_quality_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="draft, standard, paper"):
        Sampler.get("best")


# -- MAP-EM ---------------------------------------------------------------------------------------
def objective(model, y, z, anchor, weight) -> float:
    return float(model.loss(z, y)) + float((weight * (z - anchor) ** 2).double().sum()) / 2


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("seed", [0, 1])
def test_map_em_never_raises_its_objective_and_stays_positive(strength, seed):
    model, truth, y = random_model(seed)
    anchor = truth.flip(2)
    weight = torch.full_like(truth, strength) * (0.5 + truth)
    z = torch.ones_like(truth)
    values = [objective(model, y, z, anchor, weight)]
    for _ in range(15):
        z = map_em(model, y, z, anchor, weight, 1)
        values.append(objective(model, y, z, anchor, weight))
    assert float(z.min()) >= 0 and torch.isfinite(z).all()
    assert max(b - a for a, b in zip(values, values[1:], strict=False)) < 1e-6 * abs(values[0])
    assert values[-1] < values[0]


def plain_map_em(model, y, z, anchor, weight, iterations, psf, ties):
    """What map_em computes, formula by formula, in float64 but for the projections."""
    z, anchor, weight = z.clamp_min(1e-4).double(), anchor.double(), weight.double()
    sensitivity = (model.sensitivity if psf else model.sensitivity_no_psf).double()
    curvature = 0.0 if ties is None else 2 * ties.strength.double()
    ahead, momentum, last = z, torch.ones(len(z), 1, 1).double(), math.inf
    for _ in range(iterations):
        mean = model.mean(ahead.float(), psf).double() + 1e-6
        slope = torch.zeros_like(z) if ties is None else ties.slope(ahead.float()).double()
        loss = (mean - y * torch.log(mean)).sum((1, 2), keepdim=True)
        loss = loss + ((weight * (ahead - anchor) ** 2 + slope * ahead) / 2).sum((1, 2), keepdim=True)
        momentum, last = torch.where(loss > last, 1.0, momentum), loss
        b, a = sensitivity - weight * anchor + slope - curvature * ahead, weight + curvature
        e = ahead * model.adjoint((y / mean).float(), psf)
        new = 2 * e / (b + torch.sqrt(b * b + 4 * a * e))
        old, momentum = momentum, (1 + torch.sqrt(1 + 4 * momentum**2)) / 2
        ahead, z = (new + (old - 1) / momentum * (new - z)).clamp_min(1e-4), new
    return z


@pytest.mark.parametrize("with_ties", [False, True])
@pytest.mark.parametrize("psf", [False, True])
@pytest.mark.parametrize(("attenuation", "strength"), [(True, 1.0), (False, 300.0)])
def test_map_em_computes_its_formulas(with_ties, psf, attenuation, strength):
    """With the great strength the objective rises now and then, and the momentum is dropped."""
    model, truth, y = random_model(3, (5, 24, 28), attenuation)
    anchor, weight = truth.flip(2), strength * (0.5 + truth)
    ties = None
    if with_ties:
        ct = torch.rand(truth.shape, generator=torch.Generator().manual_seed(5)) * 1000
        ties = quadratic_surrogate(ct_guided(ct, model.spacing, 9, 0.0, 10.0), anchor, 0.3)
    start = torch.ones_like(truth)
    plain = plain_map_em(model, y, start, anchor, weight, 15, psf, ties)
    assert relative(map_em(model, y, start, anchor, weight, 15, psf, ties), plain) < 5e-6


def updates_counted(model, monkeypatch):
    """A list that grows by one with every update that the model makes."""
    done, compare = [], model.compare
    monkeypatch.setattr(model, "compare", lambda *args: done.append(1) or compare(*args))
    return done


def test_map_em_stops_when_noise_outweighs_what_an_update_gains(monkeypatch):
    model, truth, y = random_model(3, (5, 24, 28))
    anchor, weight, start = truth.flip(2), 0.5 + truth, torch.ones_like(truth)
    done = updates_counted(model, monkeypatch)
    whole = map_em(model, y, start, anchor, weight, 200)
    assert len(done) == 200
    done.clear()
    soon = map_em(model, y, start, anchor, weight, 200, stop_below=0.003)
    assert 5 < len(done) < 150
    missed = objective(model, y, soon, anchor, weight) - objective(model, y, whole, anchor, weight)
    assert missed < 0.1 * math.sqrt(y.numel() / 2)
    done.clear()
    map_em(model, y, start, anchor, weight, 200, stop_below=1e9)
    assert len(done) == 2  # the first update that has one before it


def test_a_slice_stops_by_itself_whichever_others_are_there(monkeypatch):
    scanner = Scanner.get("Paper standard")
    model, alone = (ForwardModel(scanner, (depth, 24, 28), (4.0, 4.0, 4.0)) for depth in (4, 1))
    random = torch.Generator().manual_seed(4)
    truth = torch.rand(4, 24, 28, generator=random) * torch.tensor([1.0, 40.0, 40.0, 1.0])[:, None, None]
    y = torch.poisson(model.mean(truth, False), random)
    start, free = torch.ones_like(truth), torch.zeros_like(truth)
    together = map_em(model, y, start, free, free, 120, psf=False, stop_below=0.01)
    done, updates = updates_counted(alone, monkeypatch), []
    for n in range(4):
        one, before = slice(n, n + 1), len(done)
        single = map_em(alone, y[one], start[one], free[one], free[one], 120, psf=False, stop_below=0.01)
        assert relative(together[one], single) < 1e-4
        updates.append(len(done) - before)
    assert max(updates) > 1.3 * min(updates)  # so that some have waited for others


def test_one_update_of_map_em_without_weight_is_one_of_em():
    model, truth, y = random_model(0)
    start, free = torch.ones_like(truth), torch.zeros_like(truth)
    assert relative(map_em(model, y, start, free, free, 1), osem(model, y, 1, start=start)) < 1e-5


def test_map_em_works_where_the_anchor_is_zero():
    model, truth, y = random_model(0)
    z = map_em(model, y, truth, torch.zeros_like(truth), torch.full_like(truth, 1.0), 4)
    assert torch.isfinite(z).all() and float(z.min()) >= 0 and float(z.sum()) < float(truth.sum())


def test_the_ct_is_smoothed_so_that_its_noise_does_not_tie_across_a_border():
    ct = 30 * torch.randn((3, 40, 40), generator=torch.Generator().manual_seed(0))
    ct[:, :, 20:] += 100.0
    side = (torch.arange(40) >= 20).expand(3, 40, 40)

    def across(fwhm_mm: float) -> int:
        chosen = ct_guided(ct, (2.0, 2.0, 3.0), 9, fwhm_mm, TISSUE_GAMMA).chosen
        pairs = zip(chosen, (overlap(offset, ct.shape) for offset in half_offsets(1)), strict=True)
        return sum(int((counts[near] * (side[near] != side[far])).sum()) for counts, (near, far) in pairs)

    assert across(TISSUE_FWHM_MM) < 0.7 * min(across(0.0), across(20.0))


def test_the_samplers_ties_hold_an_edge_that_the_ct_does_not_show_less_than_noise():
    """A voxel of five times its surroundings is tied a tenth as much as one of a twentieth more."""
    strengths = []
    for contrast in (1.05, 5.0):
        z = torch.ones(3, 9, 9)
        z[1, 4, 4] = contrast
        penalty = ct_guided(torch.zeros_like(z), (2.0, 2.0, 3.0), 26, TISSUE_FWHM_MM, TISSUE_GAMMA)
        strengths.append(float(quadratic_surrogate(penalty, z, 1.0).strength[1, 4, 4]))
    assert strengths[0] > 8 * strengths[1]  # without relaxation 3


# -- the paper's descent --------------------------------------------------------------------------
def test_nesterov_s_descent_lowers_the_loss_and_stays_positive():
    model, truth, y = random_model(1)
    start = torch.full_like(truth, 1.5)
    z = descend(model, y, start, Paper(), 40, True)
    assert float(model.loss(z, y)) < float(model.loss(start, y)) - 10
    assert float(z.min()) >= 0


@pytest.mark.parametrize("psf", [False, True])
def test_the_gradient_is_that_where_the_momentum_leads(psf):
    """Nesterov's three steps, written out."""
    model, truth, y = random_model(1)
    rate = 0.02 / (model.sensitivity if psf else model.sensitivity_no_psf)
    z, velocity = truth + 1, torch.zeros_like(truth)
    for _ in range(3):
        velocity = 0.9 * velocity - rate * model.gradient((z + 0.9 * velocity).clamp_min(0), y, psf)
        z = (z + velocity).clamp_min(0)
    assert relative(descend(model, y, truth + 1, Paper(step_size=0.02, momentum=0.9), 3, psf), z) < 1e-6


# -- samplers -------------------------------------------------------------------------------------
QUICK = Standard("quick", steps=3, start_sigma=0.5, end_sigma=0.1, start_iterations=3, inner_first=2, inner_last=2)
NO_DATA = {"inner_first": 0, "inner_last": 0}


@pytest.mark.parametrize("profile", [replace(QUICK, noise=1.0), Paper(steps=3)], ids=["standard", "paper"])
def test_the_same_seed_gives_the_same_sample_and_another_another(case, profile):
    one, same, other = (run(profile, *case, seed) for seed in (4, 4, 5))
    assert torch.equal(one, same) and relative(other, one) > 1e-3
    assert profile.drawing == profile


def test_the_mean_path_needs_no_seed(case):
    assert torch.equal(run(QUICK, *case, 1), run(QUICK, *case, 2))
    assert QUICK.drawing == replace(QUICK, noise=1.0)


@pytest.mark.parametrize("neighbours", [0, 2])
def test_results_do_not_depend_on_how_slices_are_batched(case, tmp_path, neighbours):
    denoiser, model, y = case
    denoiser = replace(denoiser, prior=tiny_prior(tmp_path, neighbours=neighbours))
    assert relative(run(QUICK, replace(denoiser, batch=2), model, y), run(QUICK, denoiser, model, y)) < 0.01


@pytest.mark.parametrize("name", ["draft", "standard", "paper"])
def test_every_profile_gives_finite_positive_activity_that_explains_the_counts(case, name):
    _, model, y = case
    z = run(PROFILES[name], *case)
    assert z.shape == model.shape and torch.isfinite(z).all() and float(z.min()) >= 0
    assert float(model.mean(z).sum()) == pytest.approx(float(y.sum()), rel=0.1)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_without_data_the_paper_s_sampler_draws_from_the_prior(eta):
    denoiser, model, y = gaussian_case(shape=(2, 24, 28))
    z = run(Paper(steps=200, eta=eta, warm_start=0.0, **NO_DATA), denoiser, model, y)
    x = denoiser.prior.transform.to_model(z)
    assert float(x.mean()) == pytest.approx(2.0, abs=0.03) and float(x.std()) == pytest.approx(0.3, rel=0.1)


def test_the_warm_start_mixes_in_the_previous_estimate():
    """With no step at all, the prior's estimates of successive steps are averaged."""
    found = {}
    for warm in (0.0, 0.3):
        estimates = found[warm] = []
        profile = Paper(steps=3, inner_first=1, inner_last=1, step_size=1e-12, warm_start=warm)
        run(profile, *gaussian_case(), callback=lambda step, steps, z, e=estimates: e.append(z))
    assert torch.equal(found[0.0][0], found[0.3][0])
    assert relative(found[0.3][1], 0.7 * found[0.0][1] + 0.3 * found[0.0][0]) < 1e-4


@pytest.mark.parametrize("name", ["paper", "standard"])
def test_the_psf_comes_in_when_the_schedule_says(case, monkeypatch, name):
    _, model, _ = case
    seen, method = [], "gradient" if name == "paper" else "compare"
    real = getattr(model, method)
    monkeypatch.setattr(model, method, lambda z, y, psf=True: seen.append(psf) or real(z, y, psf))
    run(Sampler.get(name, steps=4, psf_from=0.5, inner_first=1, inner_last=1), *case)
    assert seen[-4:] == [False, False, True, True]


def test_mirrored_evaluations_are_averaged_in_place(case):
    """They change the estimate of a network that is not alike on both sides, and not that of one that is."""
    one, four = (run(replace(QUICK, flips=n), *case) for n in (1, 4))
    assert relative(four, one) > 1e-5
    ct = torch.full((3, 24, 28), -1000.0)
    ct[:, :5, 9:] = 0.0
    one, four = (run(replace(QUICK, flips=n, **NO_DATA), *gaussian_case(ct=ct)) for n in (1, 4))
    assert relative(four, one) < 1e-5


@pytest.mark.parametrize(("profile", "first"), [(QUICK, 0), (Paper(steps=3), 1)], ids=["standard", "paper"])
def test_the_callback_sees_every_step_and_can_stop(case, profile, first):
    seen = []
    run(profile, *case, callback=lambda step, steps, z: seen.append((step, steps, z.shape)))
    assert seen == [(n, 3, case[1].shape) for n in range(first, 4)]

    def stop(step: int, steps: int, z: torch.Tensor) -> None:
        seen.append(step)
        if step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(profile, *case, callback=stop)
    assert seen[-1] == 2


def test_moving_the_image_over_the_grid_moves_nothing_in_the_result():
    """A network that is blind to the grid gives the same estimate with and without shifts."""
    moved, still = (run(Standard(steps=3, shifts=s), *gaussian_case()) for s in (True, False))
    assert relative(moved, still) < 1e-4


@pytest.mark.parametrize(
    "profile",
    [replace(QUICK, noise=1.0), replace(QUICK, memory=0.3, axial_fwhm_slices=0.0), Paper(steps=3)],
    ids=["standard", "standard with memory", "paper"],
)
def test_slices_that_two_slabs_share_are_the_same_in_both(case, tmp_path, profile):
    denoiser, model, y = case
    denoiser = replace(denoiser, prior=tiny_prior(tmp_path, neighbours=1))
    state = SlabState(kept=slice(1, 3))
    first = run(profile, denoiser, model, y, 0, state=state)
    second = run(profile, denoiser, model, y.flip(0), 7, state=SlabState(state))
    assert torch.equal(second[:2], first[1:]) and not torch.equal(second[2], first[2])


# -- what docs/method.md says of the profile standard -----------------------------------------------
def gaussian_case(shape=(3, 24, 28), mean=2.0, ct=0.0, std=0.3):
    """A prior whose posterior is known where there are no data, in a body (or a CT) with counts of random activity."""
    model, z, y = random_model(1, shape, attenuation=False)
    ct = torch.full(shape, ct) if isinstance(ct, float) else ct
    return Denoiser(Prior(GaussianNetwork(GaussianConfig(mean, std))), ct, 4.0), model, y


def roughness(z: torch.Tensor) -> float:
    return float(z.diff(dim=2).abs().mean() / z.mean())


def test_a_wider_anchor_lets_the_counts_decide_more():
    denoiser, model, y = gaussian_case(mean=3.0)
    losses = [float(model.loss(run(replace(QUICK, prior_width=w), denoiser, model, y), y)) for w in (0.2, 1.0, 5.0)]
    assert losses[0] > losses[1] > losses[2]


def test_the_anchor_widens_with_the_root_of_the_fwhm():
    denoiser, model, y = gaussian_case(mean=3.0)
    model.fwhm_mm = (2.0, 2.0)
    by_fwhm = run(replace(QUICK, prior_width=1.0, width_power=0.5), denoiser, model, y)
    stated = run(replace(QUICK, prior_width=0.5, width_power=0.0), denoiser, model, y)
    assert relative(by_fwhm, stated) < 1e-4
    assert relative(run(replace(QUICK, prior_width=1.0, width_power=0.0), denoiser, model, y), stated) > 1e-3


def test_with_memory_a_noise_level_ends_nearer_the_mode_of_the_posterior():
    """Without it the anchor's penalty is weaker than the prior's own by s^2 / (s^2 + sigma^2)."""
    mean, std, sigma = 1.0, 0.3, 0.5
    denoiser, model, y = gaussian_case(mean=mean, std=std)
    level = {"steps": 25, "start_sigma": sigma, "end_sigma": sigma, "prior_width": 1.0, "inner_first": 8}
    level |= {"inner_last": 8, "tissue_beta": 0.0, "axial_fwhm_slices": 0.0, "shifts": False, "stop_below": 0.0}
    transform = denoiser.prior.transform
    anchor = transform.to_activity(torch.full(model.shape, mean))
    mode = map_em(model, y, anchor, anchor, (std * transform.slope(anchor)) ** -2, 200)
    without, remembering = (
        relative(run(replace(QUICK, memory=m, **level), denoiser, model, y), mode) for m in (0, 0.9)
    )
    assert remembering < 0.6 * without


def test_ties_keep_the_noise_out_within_a_tissue_and_not_across_its_border():
    ct = torch.zeros(3, 24, 28)
    ct[:, :, 14:] = 500.0
    loose, tied = (run(replace(QUICK, inner_last=20, tissue_beta=b), *gaussian_case(ct=ct)) for b in (0.0, 1.0))
    assert roughness(tied[:, :, :14]) < 0.8 * roughness(loose[:, :, :14])
    one_tissue = run(replace(QUICK, inner_last=20, tissue_beta=1.0), *gaussian_case())
    step = [float((z[:, :, 14] - z[:, :, 13]).abs().mean()) for z in (tied, one_tissue)]
    assert step[0] > 1.2 * step[1]


def started(denoiser, model, y, updates: int) -> torch.Tensor:
    """The starting estimate."""
    seen = []
    run(replace(QUICK, start_iterations=updates), denoiser, model, y, callback=lambda step, steps, z: seen.append(z))
    return seen[0]


def test_the_start_leaves_little_activity_in_the_air_that_the_ct_shows(cut_off):
    model, z, ct, missing = cut_off
    y, whole = model.mean(z), torch.where(disc(20), 40.0, -1000.0)
    denoiser = Denoiser(Prior(GaussianNetwork()), whole, 4.0)
    outside = ~disc(26)  # beyond the margin of 8 mm
    guided, uniform = (float(image[outside].mean()) for image in (started(denoiser, model, y, 3), osem(model, y, 3)))
    assert guided < 0.2 * uniform
    grown = started(replace(denoiser, ct=ct), model, y, 12)
    assert float(grown[missing].mean()) > 0.7 * 2.0  # what the CT cuts off grows back


def test_the_prior_sees_water_where_the_ct_is_cut_off_and_the_activity_goes_on(cut_off):
    model, z, ct, missing = cut_off
    denoiser = Denoiser(Prior(GaussianNetwork()), ct, 4.0)  # nothing where the CT shows air
    estimate = run(replace(QUICK, start_iterations=20, **NO_DATA), denoiser, model, model.mean(z))
    assert float(estimate[missing].median()) > 0.5 * float(estimate[disc(15)].median())
    assert float(estimate[~disc(26)].max()) < 0.1


# -- a CT that does not show the whole body ---------------------------------------------------------
def disc(radius: float) -> torch.Tensor:
    j, i = (torch.arange(n) - (n - 1) / 2 for n in (48, 48))
    return (j[:, None] ** 2 + i**2 < radius**2).expand(2, -1, -1)


@pytest.fixture
def cut_off():
    model = ForwardModel(setting("standard"), (2, 48, 48), (4.0, 4.0, 4.0))
    body = disc(20)
    seen = body.clone()
    seen[..., 34:] = False  # the CT's field of view ends there
    return model, 2.0 * body, torch.where(seen, 40.0, -1000.0), body & ~seen


def test_a_cut_off_ct_is_completed_where_the_activity_goes_on(cut_off):
    model, z, ct, missing = cut_off
    changed = completed_ct(ct, model.psf(z), model) != ct
    assert (changed & missing).sum() > 0.95 * missing.sum()
    around = torch.nn.functional.max_pool2d(missing.float(), 3, 1, 1) > 0
    assert not (changed & ~around).any()  # at most one pixel beyond the body


@pytest.mark.parametrize(("radius", "completed"), [(18, False), (14, True)])
def test_activity_up_to_12_mm_beyond_the_ct_s_body_is_blur_unless_more_lies_further_out(cut_off, radius, completed):
    """The activity ends 8 or 24 mm outside the body that the CT shows."""
    model, z, _, _ = cut_off
    ct = torch.where(disc(radius), 40.0, -1000.0)
    assert bool((completed_ct(ct, z, model) != ct).any()) == completed


def test_a_ct_that_shows_the_whole_body_is_kept(cut_off):
    model, z, _, _ = cut_off
    whole = torch.where(disc(20), 40.0, -1000.0)
    assert torch.equal(completed_ct(whole, model.psf(z), model), whole)
    assert torch.equal(completed_ct(torch.full_like(whole, -1000.0), z, model), torch.full_like(whole, -1000.0))
