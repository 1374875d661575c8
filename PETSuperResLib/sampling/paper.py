"""The published sampler: DDIM with data consistency and its coarse-to-fine schedule PPCR (section 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..physics.model import ForwardModel
from ..prior import Denoiser
from .sampler import ProgressiveSampler, StepCallback, unwatched
from .slabs import SlabState

SENSITIVITY_FLOOR = 1e-3  # of its maximum: pixels on no line keep their value


@dataclass(frozen=True)
class Paper(ProgressiveSampler):
    """The published schedule (section 3.1.3); every run is one posterior sample.

    The paper leaves two scales open. Its step of 0.05 has no units: here it is 0.05 SUV times the gradient over the
    sensitivity A^T 1, which has no dimension, so that the step does not depend on counts or geometry. Its warm start
    of 0.3 is read as the share of the last refined estimate in the start of the next refinement.
    """

    steps: int = 50
    inner_first: int = 2
    inner_last: int = 20
    psf_from: float = 0.7
    step_size: float = 0.05  # eta_t in SUV, of the gradient over its sensitivity
    momentum: float = 0.9  # Nesterov's mu
    warm_start: float = 0.3  # alpha: share of the previous step's refined estimate in the start
    eta: float = 0.0  # DDIM's: 0 for no fresh noise, 1 for DDPM's

    @property
    def sample(self) -> Callable[..., Tensor]:
        return sample_paper


def sample_paper(
    denoiser: Denoiser,
    model: ForwardModel,
    counts: Tensor,
    profile: Paper,
    seed: int = 0,
    callback: StepCallback = unwatched,
    state: SlabState | None = None,
) -> Tensor:
    """Counts ``(S, views, bins)`` -> activity ``(S, J, I)`` in SUV, one posterior sample."""
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random, state = torch.Generator().manual_seed(seed), state or SlabState()
    noise, z = denoiser.noise(random), torch.zeros_like(denoiser.ct)
    x_t = schedule.noisy(torch.zeros_like(noise), noise, schedule.steps - 1)
    for step, (t, following) in enumerate(schedule.falling(profile.steps)):
        state.meet(x_t)
        eps = denoiser.epsilon(x_t, t, known=state.known)
        x0 = schedule.tweedie(x_t, eps, t)  # (7)
        state.meet(x0)
        tweedie = transform.to_activity(denoiser.crop(x0)).clamp_min(0)  # (3)
        warm = profile.warm_start if step else 0.0
        start = (1 - warm) * tweedie + warm * z
        z = descend(model, counts, start, profile, profile.inner(step), profile.full_psf(step))  # (8), (9)
        state.meet(z)
        fresh = denoiser.noise(random) if profile.eta else None
        x_t = schedule.ddim(denoiser.pad(transform.to_model(z)), eps, t, following, profile.eta, fresh)
        callback(step + 1, profile.steps, z)
    return z


def descend(model: ForwardModel, counts: Tensor, z: Tensor, profile: Paper, iterations: int, psf: bool) -> Tensor:
    """(9) with Nesterov's acceleration: z <- z - step * gradient (6) / sensitivity, kept non-negative.

    One iteration without momentum is (8). With ``psf`` H_t is the PSF, without it the identity.
    """
    sensitivity = model.sensitivity if psf else model.sensitivity_no_psf
    rate = profile.step_size / sensitivity.clamp_min(SENSITIVITY_FLOOR * sensitivity.max())
    ahead, velocity = z, torch.zeros_like(z)
    for _ in range(iterations):
        velocity = profile.momentum * velocity - rate * model.gradient(ahead, counts, psf)  # (6)
        z = (z + velocity).clamp_min(0.0)  # (8), (9)
        ahead = (z + profile.momentum * velocity).clamp_min(0.0)
    return z
