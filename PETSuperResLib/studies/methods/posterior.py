"""Other samplers of the posterior with the same prior: DPS for Poisson counts, and ScorePET (PET-DDS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...device import pick_device
from ...physics.model import EPSILON, ForwardModel, osem
from ...prior import Denoiser
from ...problem import Problem
from ...sampling.sampler import Sampler, StepCallback, unwatched
from ...sampling.slabs import SlabState
from ...volume import Volume
from .interface import Method, MethodCase

SENSITIVITY_FLOOR = 1e-3  # of its maximum
EARLY_UPDATES = 4  # of the OSEM image whose mean scales ScorePET's anchor
SLICES_PER_BATCH = 8  # a gradient through the network keeps what each layer computed


@dataclass(frozen=True)
class DPS(Sampler):
    """DPS's steps, its step along the gradient of the root of the deviance, and DDIM's share of fresh noise."""

    name: str = "dps"
    steps: int = 100
    zeta: float = 1.0
    eta: float = 1.0

    @property
    def sample(self) -> Callable[..., Tensor]:
        return sample_dps


@dataclass(frozen=True)
class ScorePET(Sampler):
    """ScorePET's steps, DDIM's share of fresh noise, the anchor's weight and the updates of every step."""

    name: str = "scorepet"
    steps: int = 50
    eta: float = 0.1
    beta: float = 0.1
    inner: int = 15

    @property
    def updates(self) -> list[int]:
        return [EARLY_UPDATES, *self.steps * [self.inner]]

    @property
    def sample(self) -> Callable[..., Tensor]:
        return sample_scorepet


def sample_dps(
    denoiser: Denoiser,
    model: ForwardModel,
    counts: Tensor,
    profile: DPS,
    seed: int = 0,
    callback: StepCallback = unwatched,
    state: SlabState | None = None,
) -> Tensor:
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1).

    Every step is DDIM's, less ``zeta`` times the gradient of :func:`deviance_gradient`'s function with respect to
    x_t, through the network.
    """
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random, state = torch.Generator().manual_seed(seed), state or SlabState()
    x_t = denoiser.noise(random)
    for step, (t, following) in enumerate(schedule.falling(profile.steps)):
        state.meet(x_t)
        x0 = denoiser.estimate(x_t, t, state.known)  # line 4
        state.meet(x0)
        z = transform.to_activity(denoiser.crop(x0))
        active = (z > 0).float()
        pull = deviance_gradient(model, counts, z * active) * transform.slope(z) * active
        gradient = denoiser.pull_back(x_t, t, denoiser.pad(pull))
        fresh = denoiser.noise(random)
        x_t = schedule.ddim(x0, schedule.epsilon(x_t, x0, t), t, following, profile.eta, fresh)  # lines 5, 6
        x_t = x_t - profile.zeta * gradient  # line 7
        z = transform.to_activity(denoiser.crop(x_t)).clamp_min(0)
        state.meet(z)
        callback(step + 1, profile.steps, z)
    return z


def deviance_gradient(model: ForwardModel, y: Tensor, z: Tensor) -> Tensor:
    """The gradient with respect to z of the sum over slices of sqrt(2 KL(y, A z + b)), ``(S, J, I)``.

    KL(y, m) = sum y log(y / m) - y + m, in which an empty bin counts m: unlike the log-likelihood it is never
    negative, so its root exists.
    """
    mean = model.mean(z) + EPSILON
    divergence = (torch.xlogy(y, y / mean) - y + mean).double().sum((1, 2), keepdim=True)
    root = (2 * divergence).sqrt().clamp_min(1.0).float()
    return model.adjoint((1 - y / mean) / root)


def sample_scorepet(
    denoiser: Denoiser,
    model: ForwardModel,
    counts: Tensor,
    profile: ScorePET,
    seed: int = 0,
    callback: StepCallback = unwatched,
    state: SlabState | None = None,
) -> Tensor:
    """Decomposed diffusion sampling (Singh et al. 2024, PET-DDS): per step Tweedie, :func:`anchored_em`, DDIM."""
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random, state = torch.Generator().manual_seed(seed), state or SlabState()
    early = osem(model, counts, EARLY_UPDATES)
    scale = float(early[early > 0.01 * early.max()].mean())
    x_t = denoiser.noise(random)
    for step, (t, following) in enumerate(schedule.falling(profile.steps)):
        state.meet(x_t)
        x0 = denoiser.crop(denoiser.estimate(x_t, t, state.known))
        z = anchored_em(model, counts, transform.to_activity(x0).clamp_min(0), profile.beta, scale, profile.inner)
        state.meet(z)
        x0, fresh = denoiser.pad(transform.to_model(z)), denoiser.noise(random)
        x_t = schedule.ddim(x0, schedule.epsilon(x_t, x0, t), t, following, profile.eta, fresh)
        callback(step + 1, profile.steps, z)
    return z


def anchored_em(model: ForwardModel, y: Tensor, anchor: Tensor, beta: float, scale: float, iterations: int) -> Tensor:
    """``iterations`` of x <- [x + x / A^T 1 (A^T(y / (A x + b) - 1) + beta / scale^2 (anchor - x))]+ from the anchor.

    That of Singh et al. (2024) for an image in units of ``scale``, the mean of active voxels in SUV.
    """
    sensitivity = model.sensitivity
    weight = 1 / sensitivity.clamp_min(SENSITIVITY_FLOOR * float(sensitivity.max()))
    x = anchor.clamp_min(1e-4)
    for _ in range(iterations):
        x = (x + x * weight * (beta / scale**2 * (anchor - x) - model.gradient(x, y))).clamp_min(0)
    return x


def run_sampler(profile: Sampler, case: MethodCase) -> Volume:
    """A sampler on all slices of a case at once, on the SR grid."""
    measurement, grid = case.simulation.measurement, case.simulation.truth
    problem = Problem.make(measurement, grid, case.ct, pick_device(case.device))
    model, counts, ct = problem.part(0, grid.shape[0])
    denoiser = Denoiser(case.prior.to(problem.device), ct, grid.spacing[2], SLICES_PER_BATCH)
    z = profile.sample(denoiser, model, counts, profile, case.seed)
    return case.volume(z)


POSTERIOR = (
    Method(
        "dps",
        lambda case: run_sampler(DPS(), case),
        "Chung et al., ICLR 2023 (arXiv 2209.14687): the gradient of the data term through the network, one sample.",
        "our prior, guided by the CT; for Poisson counts the root of the deviance (Kullback-Leibler) of every slice; "
        f"{DPS.steps} steps of DDIM with eta {DPS.eta:g} for 1000 of DDPM, zeta {DPS.zeta:g}.",
        needs_ct=True,
    ),
    Method(
        "scorepet",
        lambda case: run_sampler(ScorePET(), case),
        "Singh et al., MELBA 2024 (PET-DDS): 50 steps with eta 0.1, each with anchored EM updates; one sample.",
        f"our prior, guided by the CT, in its asinh scale; {ScorePET.inner} updates (published: 4 for 2.5 trues per "
        f"voxel) and an anchor of {ScorePET.beta:g} (validation patients); the image's unit from {EARLY_UPDATES} "
        "PSF-OSEM updates.",
        needs_ct=True,
    ),
)
