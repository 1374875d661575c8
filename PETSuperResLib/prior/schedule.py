"""The DDPM noise schedule (Ho et al. 2020), Tweedie's formula (7) and the steps of DDIM (Song et al. 2021).

A time t is an integer, or integers ``(B,)``, one for each image of ``(B, 1, H, W)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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

    def signal_noise(self, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """(sqrt(abar_t), sqrt(1 - abar_t)) as float32, ``(B, 1, 1, 1)`` for t ``(B,)``, numbers for an integer."""
        t = torch.as_tensor(t)
        bar = self.alpha_bar.to(t.device)[t]
        bar = bar[:, None, None, None] if t.ndim else bar
        return bar.sqrt().float(), (1.0 - bar).sqrt().float()

    def noise_ratio(self) -> Tensor:
        """(steps,) sigma = sqrt((1 - abar) / abar): noise over signal at each t."""
        return ((1.0 - self.alpha_bar) / self.alpha_bar).sqrt()

    def ratio(self, t: int) -> float:
        """Noise over signal at t."""
        signal, noise = self.signal_noise(t)
        return float(noise / signal)

    def step_at(self, sigma: float) -> int:
        """The t whose noise ratio is nearest to sigma (in model-space units)."""
        return int((self.noise_ratio().log() - torch.tensor(sigma).log()).abs().argmin())

    def noisy(self, x0: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps."""
        signal, noise = self.signal_noise(t)
        return signal * x0 + noise * eps

    def tweedie(self, x_t: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
        """The denoised estimate (7): (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)."""
        signal, noise = self.signal_noise(t)
        return (x_t - noise * eps) / signal

    def epsilon(self, x_t: Tensor, x0: Tensor, t: Tensor | int) -> Tensor:
        """The noise in x_t if x_0 is the image: the inverse of :meth:`tweedie`."""
        signal, noise = self.signal_noise(t)
        return (x_t - signal * x0) / noise

    def velocity(self, x0: Tensor, eps: Tensor, t: Tensor | int) -> Tensor:
        """v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0, of variance one at every t (Salimans and Ho 2022)."""
        signal, noise = self.signal_noise(t)
        return signal * eps - noise * x0

    def of_velocity(self, x_t: Tensor, v: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """(x_0, eps) of x_t and v."""
        signal, noise = self.signal_noise(t)
        return signal * x_t - noise * v, signal * v + noise * x_t

    def falling(self, steps: int, first: int | None = None) -> Iterator[tuple[int, int | None]]:
        """``steps`` times evenly from ``first`` (the last) to 0, each with the one that follows (None at the end)."""
        times = np.linspace(self.steps - 1 if first is None else first, 0, steps).round().astype(int).tolist()
        yield from zip(times, [*times[1:], None], strict=True)

    def ddim(
        self, x0: Tensor, eps: Tensor, t: int, following: int | None, eta: float = 0.0, fresh: Tensor | None = None
    ) -> Tensor:
        """x at the ``following`` time from estimates of x_0 and of the noise at t (Song et al. 2021, equation 12).

        ``eta`` is 0 for the deterministic step and 1 for the ancestral step of DDPM, which takes ``fresh`` noise. At
        the end x is the estimate.
        """
        if following is None:
            return x0
        bar, next_bar = float(self.alpha_bar[t]), float(self.alpha_bar[following])
        sigma = eta * math.sqrt((1 - next_bar) / (1 - bar) * (1 - bar / next_bar))
        x = math.sqrt(next_bar) * x0 + math.sqrt(max(0.0, 1 - next_bar - sigma**2)) * eps
        return x if fresh is None else x + sigma * fresh
