"""SRDPM: a diffusion model of the high-resolution slice, given the LR slice as further channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ...prior.denoiser import velocity
from ...prior.network import GlobalCrossAttention, NetworkConfig, NoiseNetwork
from ...prior.schedule import NoiseSchedule
from .learned import Restorer, RestorerConfig
from .networks import TRANSFORM

STEPS = 50
LINEAR_SUV = 5.0  # the LR image comes in the asinh scale and, for hot uptake, linear in units of this


class SelfAttention(GlobalCrossAttention):
    """Attention from every position to every other, ``(B, C, H, W)``, in place of that to the CT."""

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        return super().forward(x, x)


class ConditionalNetwork(NoiseNetwork):
    """The prior's network with self-attention at its coarsest level and the LR image where the CT would be."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96), heads: int = 4):
        super().__init__(NetworkConfig(widths, heads=heads, conditioning="concat"))
        for level in (self.down3, self.middle, self.up3):
            level.attention = SelfAttention(widths[2], heads)


class ConditionalDiffusion(Restorer):
    """p(x | LR image), trained by noise prediction and sampled by DDIM from pure noise."""

    inputs = ("lr",)

    def __init__(self, network: NoiseNetwork):
        super().__init__()
        self.network = network
        self.schedule = NoiseSchedule()

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """Squared error of v (Salimans and Ho 2022) at a t drawn evenly."""
        x0 = TRANSFORM.to_model(batch["truth"])
        t = torch.randint(self.schedule.steps, (len(x0),), generator=random).to(x0.device)
        noise = torch.randn(x0.shape, generator=random).to(x0.device)
        v = self._velocity(self.schedule.noisy(x0, noise, t), t, batch["lr"])
        return (v - self.schedule.velocity(x0, noise, t)).square().mean()

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        lr = images["lr"]
        x_t = torch.randn(lr.shape, generator=random).to(lr.device)
        for t, following in self.schedule.falling(STEPS):
            x0, eps = self.schedule.of_velocity(x_t, self._velocity(x_t, t, lr), t)
            x_t = self.schedule.ddim(x0, eps, t, following)
        return TRANSFORM.to_activity(x_t)

    def _velocity(self, x_t: Tensor, t: Tensor | int, lr: Tensor) -> Tensor:
        guide = torch.cat([TRANSFORM.to_model(lr), (lr / LINEAR_SUV).clamp_max(4.0)], dim=1)
        return velocity(self.network, self.schedule, x_t, t, self.network.tokens(guide))


CONFIG = RestorerConfig(
    name="srdpm", build=lambda: ConditionalDiffusion(ConditionalNetwork()), steps=10000, batch=12, learning_rate=4e-4
)

SRDPM = CONFIG.method(
    "Zhou, Dutta et al. 2024: conditional DDPM, LR image concatenated, UNet with self-attention; it learns from pairs, "
    "though the paper lists it as unsupervised.",
    f"sizes of the network, prediction of v, {STEPS} deterministic DDIM steps from noise; the result is one sample, as "
    "published; pairs at the standard setting.",
)
