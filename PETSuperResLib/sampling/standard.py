"""Our sampler: an estimate near the posterior mean in few network evaluations, from PSF-OSEM to ever less noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..physics.model import ForwardModel
from ..physics.psf import GaussianPSF
from ..prior import Denoiser
from .body import completed_ct, starting_image
from .consistency import map_em
from .penalties import ct_guided, quadratic_surrogate
from .sampler import ProgressiveSampler, Sampler, StepCallback, unwatched
from .slabs import SlabState

SHIFTS = ((0, 0), (3, 5), (6, 2), (1, 7))  # pixels by which a step's image is moved over the network's grid
SLACK = max(map(max, SHIFTS))  # of padding, so that the two ends of a moved image never touch
USUAL_FWHM_MM = 8.0  # of the model, to which ``prior_width`` belongs
TISSUE_FWHM_MM, TISSUE_GAMMA = 2.0, 10.0  # of the CT before it chooses neighbours, and of the relative difference


@dataclass(frozen=True)
class Standard(ProgressiveSampler):
    """Values chosen on the validation patients, on their own PET and on sharp references (docs/validation.md).

    PSF-OSEM runs past its best iteration, so that it contains detail, and noise that the prior removes. The noise
    levels fall from far above the image's noise, where the prior depends on the CT most, to a level that keeps the last
    texture. The anchor is wider than that of Bayes' rule (1), as the network's estimates are smoother than the truth,
    the more so the wider the measurement's blur: with the root of its FWHM. The CT-guided penalty, as in Bowsher's MAP,
    removes the noise that a wider anchor admits: the wider the anchor, the stronger the penalty.

    With ``memory`` the departures of the data-consistent image from the network's estimate are the dual variable of
    plug-and-play ADMM (Venkatakrishnan et al., GlobalSIP 2013, 945), damped: they are added to the network's input and
    taken off its output, so that what the data demand in step after step is not smoothed away each time anew.
    """

    steps: int = 6
    inner_first: int = 12
    inner_last: int = 44
    start_sigma: float = 3.0  # noise over signal at the first step
    end_sigma: float = 0.18  # at the last step
    noise: float = 0.0  # in x_t: 0 for a deterministic path near the posterior mean, 1 for posterior samples
    start_iterations: int = 12  # accelerated PSF-OSEM updates that make the starting estimate
    stop_below: float = 0.0015  # fewer updates, once one gains less than this share of the loss' deviation by noise
    memory: float = 0.2  # share of the earlier steps' departures from the prior that the next step keeps
    prior_width: float = 2.6  # standard deviation of the anchor, in units of the step's noise level, at USUAL_FWHM_MM
    width_power: float = 0.5  # of the model's FWHM, with which the anchor widens; 0: the same for all
    tissue_beta: float = 0.1  # weight of the CT-guided penalty on differences in a tissue, per SUV; 0: none
    tissue_neighbours: int = 9  # of a voxel's 26, those whose CT is most similar
    axial_fwhm_slices: float = 0.6  # Gaussian across slices on every Tweedie estimate
    shifts: bool = True  # move the image by other pixels at every step, so that the network's grid leaves no pattern
    flips: int = 1  # network evaluations per step over mirrored images (1, 2 or 4), averaged

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flips not in (1, 2, 4):
            raise InputError("A sampler needs 1, 2 or 4 flips.")
        if self.stop_below < 0:
            raise InputError("A sampler's stop_below must be 0 (never stop early) or more, such as 0.005.")
        if not 0 <= self.memory <= 1:
            raise InputError("A sampler's memory must be between 0 and 1.")
        if not 0 < self.end_sigma <= self.start_sigma:
            raise InputError("A sampler's noise levels must fall: 0 < end_sigma <= start_sigma.")

    @property
    def sample(self) -> Callable[..., Tensor]:
        return sample_standard

    @property
    def drawing(self) -> Sampler:
        return replace(self, noise=1.0)

    @property
    def evaluations(self) -> int:
        return self.flips

    @property
    def updates(self) -> list[int]:
        return [self.start_iterations, *super().updates[1:]]


def sample_standard(
    denoiser: Denoiser,
    model: ForwardModel,
    counts: Tensor,
    profile: Standard,
    seed: int = 0,
    callback: StepCallback = unwatched,
    state: SlabState | None = None,
) -> Tensor:
    """Counts ``(S, views, bins)`` -> activity ``(S, J, I)`` in SUV: an estimate, or a sample with ``profile.noise``."""
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random, state = torch.Generator().manual_seed(seed), state or SlabState()

    free = torch.zeros_like(denoiser.ct)  # no anchor: PSF-OSEM
    z = map_em(model, counts, starting_image(model, counts, denoiser.ct), free, free, profile.start_iterations)
    ct = completed_ct(denoiser.ct, z, model)
    denoiser = replace(denoiser, ct=ct, slack=SLACK if profile.shifts else 0)
    penalty = None
    if profile.tissue_beta:
        penalty = ct_guided(ct, model.spacing, profile.tissue_neighbours, TISSUE_FWHM_MM, TISSUE_GAMMA)
    axial_mean = _axial_mean(model, profile.axial_fwhm_slices * model.spacing[2])
    callback(0, profile.steps, z)
    state.meet(z)

    ease = profile.prior_width * (model.fwhm_mm[0] / USUAL_FWHM_MM) ** profile.width_power
    dual = torch.zeros_like(z)
    eps = denoiser.noise(random) if profile.noise else torch.zeros_like(denoiser.pad(z))
    for step, sigma in enumerate(np.geomspace(profile.start_sigma, profile.end_sigma, profile.steps)):
        t = schedule.step_at(sigma)
        x_t = schedule.noisy(denoiser.pad(transform.to_model(z) + dual), profile.noise * eps, t)
        state.meet(x_t)
        shift = SHIFTS[step % len(SHIFTS)] if profile.shifts else SHIFTS[0]
        eps = denoiser.epsilon(x_t, t, shift, profile.flips, state.known)
        x0 = schedule.tweedie(x_t, eps, t)  # (7)
        state.meet(x0)
        prior_mean = axial_mean(denoiser.crop(x0))
        anchor = transform.to_activity(prior_mean - dual).clamp_min(0)  # (3)
        if inner := profile.inner(step):  # in place of (8), (9)
            width = ease * schedule.ratio(t) * transform.slope(anchor)
            ties = None if penalty is None else quadratic_surrogate(penalty, anchor, profile.tissue_beta)
            psf, least = profile.full_psf(step), profile.stop_below
            linear = (counts - model.excess(z)).clamp_min(0)
            z = map_em(model, linear, z, anchor, width**-2, inner, psf, ties, least)
        else:
            z = anchor
        state.meet(z)
        dual = profile.memory * (dual + transform.to_model(z) - prior_mean)
        callback(step + 1, profile.steps, z)
    return z


def _axial_mean(model: ForwardModel, fwhm_mm: float) -> Callable[[Tensor], Tensor]:
    """Gaussian mean over neighbouring slices, ``(S, J, I)``; at the ends over those there are."""
    device = model.projector.device
    blur = GaussianPSF(model.shape, model.spacing, (0.0, fwhm_mm), device)
    weight = blur(torch.ones(model.shape[0], 1, 1, device=device))
    return lambda x: blur(x) / weight
