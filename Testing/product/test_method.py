"""What docs/method.md says of the samplers, with priors whose estimate is known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from known_prior import PRIOR_ONLY, STILL, as_it_is, known_prior, person, run, unscaled

from PETSuperResLib.sampling import PROFILES


@pytest.mark.parametrize(("name", "first", "last", "steps"), [("draft", 1.8, 0.25, 2), ("standard", 3.0, 0.18, 6)])
def test_the_network_gets_the_estimate_without_noise_at_falling_noise_levels(name, first, last, steps):
    prior = known_prior(as_it_is)
    run(prior, name, {**PRIOR_ONLY, "axial_fwhm_slices": 0.0})
    ratios = [ratio for ratio, _, _ in prior.network.seen]
    assert ratios == pytest.approx(np.geomspace(first, last, steps), rel=0.05)
    images = [noisy.flatten().sort().values for _, noisy, _ in prior.network.seen]  # wherever it is moved to
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], rtol=1e-3, atol=1e-3)
    moved = [noisy for _, noisy, _ in prior.network.seen]
    assert all(not torch.allclose(one, other, atol=0.1) for one, other in pairwise(moved))


def test_the_network_has_the_neighbouring_slices_mirrored_at_the_ends_and_their_distance():
    prior = known_prior(as_it_is, neighbours=1)
    pet, ct = person()
    pet = pet.with_array(pet.array * np.array([1, 2, 3, 4], np.float32)[:, None, None])
    tall = [replace(v, spacing=(4.0, 4.0, 6.0)) for v in (pet, ct)]
    run(prior, changes=STILL, pet=tall[0], ct=tall[1])
    (ratio, noisy, gap) = prior.network.seen[0]
    assert gap == 6.0 and noisy.shape[:2] == (4, 3)
    for n, (below, above) in enumerate([(1, 1), (0, 2), (1, 3), (2, 2)]):
        assert torch.equal(noisy[n, 0], noisy[below, 1]) and torch.equal(noisy[n, 2], noisy[above, 1])


def test_estimates_are_averaged_over_the_slices_by_a_gaussian_of_0_6_slices():
    pet, ct = person(7)
    marked = ct.array.copy()
    marked[3, 18:22, 18:22] = 900.0
    result = run(
        lambda noisy, hu: (hu > 600)[:, None].float(), changes=PRIOR_ONLY, pet=pet, ct=ct.with_array(marked), slices=7
    )
    x = np.arcsinh(unscaled(result)[:, 20, 20]) / 0.5
    edges = [math.erf((k + 0.5) / (0.6 / 2.3548) / math.sqrt(2)) for k in range(3)]
    spread = [edges[0], (edges[1] - edges[0]) / 2, (edges[2] - edges[1]) / 2]
    assert x[3:6] == pytest.approx(spread, abs=2e-3) and x[1:3] == pytest.approx(spread[:0:-1], abs=2e-3)


def test_each_refinement_starts_from_the_result_before_it():
    """With a boundless anchor the steps are EM updates: eight of them get closer to the data than one."""
    free = {"prior_width": 1e4, "tissue_beta": 0.0, "start_iterations": 1, "inner_first": 1, "inner_last": 1}
    flat = lambda noisy, hu: torch.full_like(noisy, 2.0)  # noqa: E731
    lesion = [unscaled(run(flat, changes={**free, "steps": steps}, scanner="Paper OOD"))[1, 17, 16] for steps in (1, 8)]
    assert lesion[1] > 1.2 * lesion[0]


def test_updates_end_early_by_the_profile_s_stop_below(monkeypatch):
    from PETSuperResLib.physics.model import ForwardModel

    done, compare = [], ForwardModel.compare
    monkeypatch.setattr(ForwardModel, "compare", lambda *args: done.append(1) or compare(*args))
    counts = []
    for stop in (0.0, 0.003):
        run(as_it_is, changes={"stop_below": stop, "inner_last": 60}, noise=50.0)
        counts.append(len(done))
        done.clear()
    assert counts[1] < 0.7 * counts[0]


def test_the_full_psf_sharpens_in_standard_and_only_late_in_paper():
    """The prior gives the blurred PET: without the PSF nothing pulls it away, with it the lesion rises."""
    pet, _ = person()
    blurred = torch.asinh(torch.from_numpy(pet.array)) / 0.5

    def blurred_pet(noisy, hu):
        margins = [(n - m) // 2 for n, m in zip(noisy.shape[2:], pet.shape[1:], strict=True)]
        return torch.nn.functional.pad(blurred, (margins[1], margins[1], margins[0], margins[0]))[:, None]

    def rise(quality, **changes):
        result = run(blurred_pet, quality, {"steps": 1, **changes}, scanner="Paper OOD")
        return float((unscaled(result) - pet.array).max())

    twenty = {"inner_first": 20, "inner_last": 20}
    assert rise("paper", psf_from=1.0, **twenty) < 0.02
    assert rise("paper", psf_from=0.0, **twenty) > 0.1
    assert rise("standard", shifts=False, axial_fwhm_slices=0.0) > 0.1


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_paper_keeps_its_noise_from_step_to_step_unless_eta_renews_it(eta):
    prior = known_prior(lambda noisy, hu: torch.zeros_like(noisy))
    run(prior, "paper", {"steps": 4, "eta": eta, **PRIOR_ONLY})
    noise = [noisy.flatten() / math.hypot(ratio, 0) for ratio, noisy, _ in prior.network.seen][:3]
    assert [float(n.std()) for n in noise] == pytest.approx([1.0] * 3, rel=0.03)
    kept = float(torch.corrcoef(torch.stack(noise))[0, 1])
    assert kept > 0.999 if eta == 0 else kept < 0.9


def test_where_there_is_no_ct_the_start_expects_activity_and_the_prior_sees_air():
    pet, ct = person()
    part = ct.crop((0, 0, 0), (37, 40, 4))  # the body goes on until column 41
    started = unscaled(run(as_it_is, changes={**STILL, "start_iterations": 1}, ct=part))[1]
    assert started[20, 39] > 0.5 * started[20, 30] > 20 * started[2, 4]  # beyond the CT, in the body, in its air
    painted = run(lambda noisy, hu: (hu > -500)[:, None].float(), changes=STILL, ct=part).volume.array
    assert painted[1, 20, 30] > 0.1 > 1e-3 > painted[1, 20, 46]


def test_a_lung_is_body_at_the_start():
    pet, ct = person()
    lung = ct.array.copy()
    lung[:, 12:20, 28:34] = -850.0
    starts = [
        unscaled(run(as_it_is, changes={**STILL, "start_iterations": 1}, ct=c)) for c in (ct, ct.with_array(lung))
    ]
    np.testing.assert_allclose(starts[1], starts[0], rtol=1e-4)


def test_noise_that_the_prior_s_estimate_lacks_is_not_spared_by_the_penalty():
    """Without an anchor the estimate matters for the penalty alone: a flat one lets it smooth, a noisy one does not."""
    pet, ct = person()
    grain = pet.with_array(pet.array * np.random.default_rng(0).gamma(4.0, 0.25, pet.shape).astype(np.float32))
    free = {"prior_width": 1e4, "tissue_beta": 1.0, "steps": 1, "shifts": False, "axial_fwhm_slices": 0.0}
    rough = []
    for estimate in (lambda noisy, hu: torch.full_like(noisy, 2.0), as_it_is):
        z = unscaled(run(estimate, changes=free, pet=grain))[1, 22:28, 16:34]
        rough.append(np.abs(np.diff(z)).mean() / z.mean())
    assert rough[0] < 0.8 * rough[1]


def test_an_edge_that_the_prior_sees_is_spared_where_the_ct_shows_none():
    pet, ct = person()
    halves = pet.with_array(np.where(np.arange(48) < 24, 1.0, 4.0).astype(np.float32) * (pet.array > 0.5))
    edges = []
    for beta in (0.0, 3.0):
        free = {"prior_width": 1e4, "tissue_beta": beta, "steps": 1, "shifts": False, "axial_fwhm_slices": 0.0}
        z = unscaled(run(as_it_is, changes=free, pet=halves))[1, 16:24]
        edges.append(float((z[:, 25] - z[:, 22]).mean()))
    assert edges[1] > 0.75 * edges[0]


PROFILE_TABLE = {  # of docs/method.md
    "draft": {"start_iterations": 12, "steps": 2, "start_sigma": 1.8, "end_sigma": 0.25, "noise": 0.0,
              "inner_first": 16, "inner_last": 24, "prior_width": 4.0, "tissue_beta": 0.2, "psf_from": 0.0,
              "axial_fwhm_slices": 0.8, "tissue_neighbours": 9, "stop_below": 0.003, "memory": 0.0, "width_power": 0.5},
    "standard": {"start_iterations": 12, "steps": 6, "start_sigma": 3.0, "end_sigma": 0.18, "noise": 0.0,
                 "inner_first": 12, "inner_last": 44, "prior_width": 2.6, "tissue_beta": 0.1, "psf_from": 0.0,
                 "axial_fwhm_slices": 0.6, "tissue_neighbours": 9, "stop_below": 0.0015, "memory": 0.2,
                 "width_power": 0.5},
    "paper": {"steps": 50, "eta": 0.0, "inner_first": 2, "inner_last": 20, "psf_from": 0.7, "momentum": 0.9,
              "warm_start": 0.3, "step_size": 0.05},
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILE_TABLE)
def test_the_profiles_are_the_documented_ones(name):
    values = PROFILES[name].to_dict()
    assert {key: values[key] for key in PROFILE_TABLE[name]} == PROFILE_TABLE[name]
