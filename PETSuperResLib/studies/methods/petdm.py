"""PETDM (PET-Diffusion): an auto-encoder and a CT-guided diffusion of its latent images, learnt from true PET only."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...prior.network import GlobalCrossAttention, Level
from ...prior.schedule import NoiseSchedule
from ...prior.transform import normalise_ct
from .learned import Restorer, RestorerConfig
from .networks import TRANSFORM

WIDTHS = (16, 32, 64, 128)  # 16 x (1, 2, 4, 8)
NOISE_STEPS = 15
FIRST_STEP = 4  # the LR image's latent is taken as noisy as at this one
LATENT = 8  # channels of the latent image, at a quarter of the resolution
ENCODER_SHARE = 0.4  # of the training is the auto-encoder's


class LatentNetwork(nn.Module):
    """Noisy latent ``(B, LATENT, h, w)``, time ``(B,)`` and CT ``(B, 2, 4 h, 4 w)`` -> the clean latent.

    A UNet with cross-attention to the CT at its two coarser levels. h and w are multiples of 8.
    """

    def __init__(self, heads: int = 4):
        super().__init__()
        first, *_, last = WIDTHS
        embedding = 4 * first
        self.embed = nn.Sequential(nn.Embedding(NOISE_STEPS, embedding), nn.Linear(embedding, embedding), nn.SiLU())
        self.ct = nn.ModuleList(
            [_strided(2, first), _strided(first, first), *(_strided(a, b) for a, b in pairwise(WIDTHS))]
        )
        self.enter = nn.Conv2d(LATENT, first, 3, padding=1)

        def level(channels_in: int, channels: int) -> Level:
            attention = GlobalCrossAttention(channels, heads) if channels in WIDTHS[2:] else None
            return Level(channels_in, channels, 1, embedding, attention)

        self.down = nn.ModuleList(level(w, w) for w in WIDTHS)
        self.coarser = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(WIDTHS))
        self.middle = level(last, last)
        self.up = nn.ModuleList(level(2 * w, w) for w in WIDTHS)
        self.finer = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(WIDTHS))
        self.leave = nn.Conv2d(first, LATENT, 3, padding=1)

    def forward(self, latent: Tensor, t: Tensor, ct: Tensor) -> Tensor:
        tokens = []
        for layer in self.ct:
            ct = layer(ct)
            tokens.append(ct)
        tokens = tokens[1:]  # from the latent's own resolution on
        embedding, x, kept = self.embed(t), self.enter(latent), []
        for n, level in enumerate(self.down):
            x = level(self.coarser[n - 1](x) if n else x, embedding, tokens[n])
            kept.append(x)
        x = self.middle(x, embedding, tokens[-1])
        for n in reversed(range(len(self.up))):
            x = self.up[n](torch.cat([x, kept[n]], dim=1), embedding, tokens[n])
            if n:
                x = F.interpolate(self.finer[n - 1](x), scale_factor=2, mode="nearest")
        return self.leave(x)  # type: ignore[no-any-return]


class LatentDiffusion(Restorer):
    """The auto-encoder, then the diffusion of its latents; at use the LR image's latent is denoised."""

    inputs = ("lr", "ct")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.SiLU()),
            *(_strided(32, 64), _strided(64, 64)),
            nn.Conv2d(64, LATENT, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(LATENT, 128, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(128, 128, 3, padding=1), nn.SiLU(), nn.PixelShuffle(2)),
            *(nn.Conv2d(32, 128, 3, padding=1), nn.SiLU(), nn.PixelShuffle(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 1, 3, padding=1)),
        )
        self.network = LatentNetwork()
        self.schedule = NoiseSchedule(NOISE_STEPS, 0.01, 0.5)

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """First the auto-encoder's squared error; then that of the clean latent and of its image."""
        x = TRANSFORM.to_model(batch["truth"])
        latent = self.encoder(x)
        if done < ENCODER_SHARE:
            # latents of unit size, which the noise is measured by
            return (self.decoder(latent) - x).square().mean() + 0.1 * (latent.float().std() - 1).square()
        latent = latent.detach()
        t = torch.randint(NOISE_STEPS, (len(x),), generator=random).to(x.device)
        noise = torch.randn(latent.shape, generator=random).to(x.device)
        clean = self.network(self.schedule.noisy(latent, noise, t), t, normalise_ct(batch["ct"][:, 0]))
        return (clean - latent).square().mean() + (self.decoder(clean) - x).square().mean()

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        latent = self.encoder(TRANSFORM.to_model(images["lr"]))
        guide = normalise_ct(images["ct"][:, 0])
        noise = torch.randn(latent.shape, generator=random).to(latent.device)
        x_t = self.schedule.noisy(latent, noise, FIRST_STEP)
        for t, following in self.schedule.falling(FIRST_STEP + 1, FIRST_STEP):
            clean = self.network(x_t, torch.full((len(x_t),), t, device=x_t.device), guide)
            x_t = self.schedule.ddim(clean, self.schedule.epsilon(x_t, clean, t), t, following)
        return TRANSFORM.to_activity(self.decoder(x_t).float())


def _strided(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.SiLU())


CONFIG = RestorerConfig(name="petdm", build=LatentDiffusion, steps=10000)

PETDM = CONFIG.method(
    "Jiang et al., MICCAI 2023 (PET-Diffusion): auto-encoder, then diffusion of its latent with 15 noise steps, UNet "
    "of 16 x (1, 2, 4, 8), cross-attention to the CT, loss on the clean latent and its image; it sees no LR image "
    "in training.",
    f"the auto-encoder ({LATENT} channels at a quarter of the resolution), Gaussian noise, the noise schedule; the LR "
    f"image's latent enters at noise step {FIRST_STEP + 1}, with noise of that step added.",
    needs_ct=True,
    needs_pairs=False,
)
