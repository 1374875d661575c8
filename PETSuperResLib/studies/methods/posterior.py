"""Other ways to sample the posterior with the same prior: DPS for Poisson counts, and ScorePET (PET-DDS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...device import pick_device
from ...physics.model import EPSILON, ForwardModel, osem
from ...volume import Volume
from .diffusion import AIR_HU, Denoiser, ddim_step, falling
from .interface import Method, MethodCase

SENSITIVITY_FLOOR = 1e-3  # of its maximum
EARLY_UPDATES = 4  # of the OSEM image whose mean scales ScorePET's anchor


@dataclass(frozen=True)
class DPSSettings:
    """``zeta`` is the step along the gradient of the root of the deviance, ``eta`` the share of fresh noise."""

    steps: int = 100
    zeta: float = 1.0
    eta: float = 1.0
    guided: bool = True


@dataclass(frozen=True)
class ScorePETSettings:
    """The steps, the share of fresh noise, the anchor's weight and the updates of every step."""

    steps: int = 50
    eta: float = 0.1
    beta: float = 0.1
    inner: int = 4
    guided: bool = True


DPS = DPSSettings()
SCOREPET = ScorePETSettings()


def deviance_gradient(model: ForwardModel, y: Tensor, z: Tensor) -> Tensor:
    """The gradient with respect to z of the sum over slices of sqrt(2 KL(y, A z + b)), ``(S, J, I)``.

    KL(y, m) = sum y log(y / m) - y + m, in which an empty bin counts m: unlike the log-likelihood it is never
    negative, so its root exists.
    """
    mean = model.mean(z) + EPSILON
    divergence = (torch.xlogy(y, y / mean) - y + mean).double().sum((1, 2), keepdim=True)
    root = (2 * divergence).sqrt().clamp_min(1.0).float()
    return model.adjoint((1 - y / mean) / root)


def dps(settings: DPSSettings, denoiser: Denoiser, model: ForwardModel, y: Tensor, seed: int = 0) -> Tensor:
    """Diffusion posterior sampling: counts ``(S, views, bins)`` -> activity ``(S, J, I)`` in SUV.

    Every step is DDIM's, less ``zeta`` times the gradient of :func:`deviance_gradient`'s function with
    respect to x_t, through the network (Chung et al. 2023, algorithm 1).
    """
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random = torch.Generator().manual_seed(seed)
    x_t = torch.randn(denoiser.shape, generator=random).to(y.device)
    for t, following in falling(schedule.steps, settings.steps):
        x0 = denoiser.estimate(x_t, t)
        z = transform.to_activity(denoiser.crop(x0))
        active = (z > 0).float()
        pull = deviance_gradient(model, y, z * active) * transform.slope(z) * active
        gradient = denoiser.pull_back(x_t, t, denoiser.pad(pull))
        noise = torch.randn(denoiser.shape, generator=random).to(y.device)
        x_t = ddim_step(schedule, x_t, x0, t, following, settings.eta, noise) - settings.zeta * gradient
    return transform.to_activity(denoiser.crop(x_t)).clamp_min(0)


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


def scorepet(settings: ScorePETSettings, denoiser: Denoiser, model: ForwardModel, y: Tensor, seed: int = 0) -> Tensor:
    """Decomposed diffusion sampling: counts ``(S, views, bins)`` -> activity ``(S, J, I)`` in SUV.

    Per step: Tweedie, no negative activity, :func:`anchored_em`, DDIM (Singh et al. 2024, PET-DDS).
    """
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    random = torch.Generator().manual_seed(seed)
    early = osem(model, y, EARLY_UPDATES)
    scale = float(early[early > 0.01 * early.max()].mean())
    x_t = torch.randn(denoiser.shape, generator=random).to(y.device)
    for t, following in falling(schedule.steps, settings.steps):
        x0 = denoiser.crop(denoiser.estimate(x_t, t))
        z = anchored_em(model, y, transform.to_activity(x0).clamp_min(0), settings.beta, scale, settings.inner)
        noise = torch.randn(denoiser.shape, generator=random).to(y.device)
        x_t = ddim_step(schedule, x_t, denoiser.pad(transform.to_model(z)), t, following, settings.eta, noise)
    return z


def run_sampler(
    sampler: Callable[[Denoiser, ForwardModel, Tensor, int], Tensor], guided: bool, case: MethodCase
) -> Volume:
    """A sampler on a case, on the SR grid; ``guided``: whether the prior sees the CT."""
    measurement, grid, device = case.simulation.measurement, case.simulation.truth, pick_device(case.device)
    model = measurement.model(grid, device)
    ct = torch.from_numpy(case.ct.resample_to(grid, "linear", AIR_HU).array).to(device)
    denoiser = Denoiser(case.prior.to(device), ct, guided, grid.spacing[2])
    z = sampler(denoiser, model, measurement.counts.to(device), case.seed)
    return grid.with_array(z.cpu().numpy(), "SUVbw")


POSTERIOR = (
    Method(
        "dps",
        lambda case: run_sampler(partial(dps, DPS), DPS.guided, case),
        "Chung et al., ICLR 2023 (arXiv 2209.14687): the gradient of the data term through the network, one sample.",
        "our prior, guided by the CT; for Poisson counts the root of the deviance (Kullback-Leibler) of every slice; "
        f"{DPS.steps} steps of DDIM with eta {DPS.eta:g} for 1000 of DDPM, zeta {DPS.zeta:g}.",
        needs_ct=DPS.guided,
    ),
    Method(
        "scorepet",
        lambda case: run_sampler(partial(scorepet, SCOREPET), SCOREPET.guided, case),
        "Singh et al., MELBA 2024 (PET-DDS): 50 steps with eta 0.1, each with anchored EM updates; one sample.",
        f"our prior, guided by the CT, in its asinh scale; {SCOREPET.inner} updates, as published for 2.5 trues per "
        f"voxel, and an anchor of {SCOREPET.beta:g} (validation patients); the image's unit from {EARLY_UPDATES} "
        "PSF-OSEM updates.",
        needs_ct=SCOREPET.guided,
    ),
)
