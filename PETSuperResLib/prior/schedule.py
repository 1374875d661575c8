"""The DDPM noise schedule (Ho et al. 2020) and Tweedie's formula (7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, for t = 0 .. steps - 1, betas rising linearly."""

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(steps,) float64 products of 1 - beta."""
        betas = torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)
        return torch.cumprod(1.0 - betas, 0)

    def signal_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(abar_t), sqrt(1 - abar_t)) as float32 ``(B, 1, 1, 1)`` for integer t ``(B,)``."""
        bar = self.alpha_bar.to(t.device)[t][:, None, None, None]
        return bar.sqrt().float(), (1.0 - bar).sqrt().float()

    def noise_ratio(self) -> Tensor:
        """(steps,) sigma = sqrt((1 - abar) / abar): noise over signal at each t."""
        return ((1.0 - self.alpha_bar) / self.alpha_bar).sqrt()

    def step_at(self, sigma: float) -> int:
        """The t whose noise ratio is nearest to sigma (in model-space units)."""
        return int((self.noise_ratio().log() - torch.tensor(sigma).log()).abs().argmin())

    def tweedie(self, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The denoised estimate (7): (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)."""
        signal, noise = self.signal_noise(t)
        return (x_t - noise * eps) / signal
