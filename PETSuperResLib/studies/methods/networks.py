"""The supervised networks: SRCNN, a VDSR-like residual CNN, and a UNet, on images in the prior's asinh scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...prior.transform import AsinhTransform, normalise_ct
from .learned import Restorer

TRANSFORM = AsinhTransform()


class ImageRestorer(Restorer):
    """A network that maps its inputs to the restored slice in one pass.

    Parameters
    ----------
    network : ``(B, C, H, W)`` -> ``(B, 1, H, W)`` in the asinh scale; C is :func:`image_channels` of ``inputs``.
    inputs, neighbours : see :class:`~.learned.Restorer`; only PET images come with their neighbours.
    residual : whether the network's output is added to the middle slice of the first input.
    """

    def __init__(self, network: nn.Module, inputs: Sequence[str] = ("lr",), neighbours: int = 0, residual: bool = True):
        super().__init__()
        self.network, self.inputs, self.neighbours, self.residual = network, tuple(inputs), neighbours, residual

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """``inputs`` -> the restored slice in the asinh scale, ``(B, 1, H, W)``."""
        middle = slice(self.neighbours, self.neighbours + 1)
        parts = [
            normalise_ct(images[name][:, self.neighbours]) if name == "ct" else TRANSFORM.to_model(images[name])
            for name in self.inputs
        ]
        output = self.network(torch.cat(parts, dim=1)).float()
        return parts[0][:, middle] + output if self.residual else output

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """Squared error in SUV, each pixel weighted by its scale in the first input alone.

        A weight that does not depend on the truth leaves the minimiser the mean of the posterior in SUV,
        which PSNR measures, and hot pixels do not outweigh all others.
        """
        middle = slice(self.neighbours, self.neighbours + 1)
        scale = TRANSFORM.slope(batch[self.inputs[0]][:, middle])
        error = TRANSFORM.to_activity(self(batch)) - batch["truth"][:, middle]
        return (error / scale).square().mean()

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        return TRANSFORM.to_activity(self(images)).clamp_min(0)


def image_channels(inputs: Sequence[str], neighbours: int) -> int:
    """Channels of a network that reads ``inputs``: two windows of the CT, slices with neighbours of the others."""
    return sum(2 if name == "ct" else 1 + 2 * neighbours for name in inputs)


def srcnn(channels: int = 1) -> nn.Sequential:
    """Kernels of 9, 1 and 5 with 64 and 32 channels (Dong et al. 2014)."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 64, 9, padding=4), nn.ReLU()),
        *(nn.Conv2d(64, 32, 1), nn.ReLU()),
        nn.Conv2d(32, 1, 5, padding=2),
    )


def vdsr(channels: int = 1, width: int = 64, depth: int = 20) -> nn.Sequential:
    """``depth`` convolutions of 3 x 3 with ReLU between them (Kim et al. 2016)."""
    layers: list[nn.Module] = []
    for n in range(depth):
        conv = nn.Conv2d(channels if n == 0 else width, 1 if n == depth - 1 else width, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU()]
    nn.init.zeros_(layers[-2].weight)  # type: ignore[arg-type]
    return nn.Sequential(*layers[:-1])


class UNet(nn.Module):
    """Encoder and decoder with two convolutions per level and skip connections (Ronneberger et al. 2015).

    ``(B, channels, H, W)`` -> ``(B, 1, H, W)``; H and W are multiples of ``2 ** (len(widths) - 1)``.
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (32, 64, 128, 256)):
        super().__init__()
        before = (channels, *widths[:-1])
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip(before, widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.join = nn.ModuleList(_twice(2 * a, a) for a in widths[:-1])
        self.leave = nn.Conv2d(widths[0], 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for n, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if n else x)
            kept.append(x)
        for n in reversed(range(len(self.up))):
            x = self.join[n](torch.cat([self.up[n](x), kept[n]], dim=1))
        return self.leave(x)  # type: ignore[no-any-return]


def _twice(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()),
    )
