"""The noise predictor: a UNet on 2 x 2 patches, guided by CT tokens through cross-attention.

At stride 4, attention leads from each window of the PET to the CT tokens in and around it, with a learned bias for
their relative position; at stride 8, from every position of the PET to all CT tokens, with rotary positions. So any
image size that is a multiple of :data:`STRIDE` works. The CT is encoded once per case; its tokens serve every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 16
SLICE_MM = 3.0  # the slice spacing that counts as usual
WINDOW, HALO = 4, 2  # queries per window side, and how far its keys reach beyond it, at stride 4
CONDITIONINGS = ("cross-attention", "concat", "none")


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture; stored with the checkpoint."""

    widths: tuple[int, int, int] = (64, 128, 160)  # channels at stride 2, 4, 8
    blocks: int = 2  # residual blocks per level and side
    heads: int = 4
    conditioning: str = "cross-attention"  # or "concat", "none"
    neighbours: int = 0  # slices on either side of the denoised one; 0: 2D, as the paper

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.neighbours not in range(5):
            raise ValueError(f"neighbours must be 0 to 4, not {self.neighbours}")
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning must be one of {', '.join(CONDITIONINGS)}, not {self.conditioning!r}")
        first, second, third = self.widths
        if first % 16 or second % 8 or third % 8 or second % self.heads or third % (4 * self.heads):
            raise ValueError(
                f"widths {self.widths} with {self.heads} heads: the first must be a multiple of 16, the others of 8, "
                "the second of the heads and the third of 4 x heads"
            )


class ResidualBlock(nn.Module):
    """Norm, SiLU, conv, twice, with the noise level as a scale and shift; ``(B, C, H, W)``."""

    def __init__(self, channels_in: int, channels: int, embedding: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * channels)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(_silu(self.norm1(x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.conv2(_silu(h)) + self.skip(x)


def _silu(x: Tensor) -> Tensor:
    """SiLU in the memory of its input, unless a gradient is to pass."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def rotary(x: Tensor, height: int, width: int) -> Tensor:
    """Rotate ``(B, heads, height * width, d)`` by its 2D position: half of d by row, half by column."""
    quarter = x.shape[-1] // 4
    frequency = math.pi * 0.5 ** torch.linspace(1, 6, quarter, device=x.device)
    rows = torch.arange(height, device=x.device)[:, None, None] * frequency
    columns = torch.arange(width, device=x.device)[None, :, None] * frequency
    angle = torch.cat([rows.expand(height, width, -1), columns.expand(height, width, -1)], -1).flatten(0, 1)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class GlobalCrossAttention(nn.Module):
    """Attention from every position to every token of the CT; ``(B, C, H, W)`` and tokens of the same shape."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def _split(self, x: Tensor) -> Tensor:
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        height, width = x.shape[2:]
        key, value = (self._split(part) for part in self.key_value(tokens).chunk(2, dim=1))
        query = rotary(self._split(self.query(self.norm(x))), height, width)
        answer = F.scaled_dot_product_attention(query, rotary(key, height, width), value)
        return x + self.out(answer.transpose(2, 3).reshape(x.shape))


class WindowCrossAttention(nn.Module):
    """Attention from each window of positions to the CT tokens in and around it; ``(B, C, H, W)``."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        side = WINDOW + 2 * HALO
        self.bias = nn.Parameter(torch.zeros(heads, WINDOW + side - 1, WINDOW + side - 1))
        q, k = torch.arange(WINDOW), torch.arange(side)
        offset = k[None, :] - q[:, None] + WINDOW - 1  # (query, key) along one axis
        self.register_buffer("offset", offset, persistent=False)

    def _bias(self) -> Tensor:
        """(heads, queries, keys) for all pairs of a window."""
        o: Tensor = self.offset  # type: ignore[assignment]
        rows, columns = o[:, None, :, None], o[None, :, None, :]
        return self.bias[:, rows, columns].flatten(3, 4).flatten(1, 2)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        down, across, depth = height // WINDOW, width // WINDOW, channels // self.heads
        # channels innermost, as the convolutions have them, so that whole positions are copied
        query = self.query(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, down, WINDOW, across, WINDOW, channels)
        query = query.transpose(2, 3).reshape(-1, WINDOW * WINDOW, self.heads, depth)
        around = F.pad(self.key_value(tokens).permute(0, 2, 3, 1), (0, 0, HALO, HALO, HALO, HALO))
        side = WINDOW + 2 * HALO
        around = around.unfold(1, side, WINDOW).unfold(2, side, WINDOW)  # (B, down, across, 2C, side, side)
        around = around.permute(0, 1, 2, 4, 5, 3).reshape(-1, side * side, 2, self.heads, depth)
        key, value = around[:, :, 0].transpose(1, 2), around[:, :, 1].transpose(1, 2)
        bias = self._bias().to(query.dtype)[None]
        answer = F.scaled_dot_product_attention(query.transpose(1, 2), key, value, attn_mask=bias)
        answer = answer.transpose(1, 2).reshape(batch, down, across, WINDOW, WINDOW, channels)
        answer = answer.transpose(2, 3).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return x + self.out(answer)


class CTEncoder(nn.Module):
    """CT ``(B, 2, H, W)`` -> tokens at stride 4 and stride 8, as feature maps."""

    def __init__(self, widths: tuple[int, int, int]):
        super().__init__()
        first, second, third = widths

        def level(channels_in: int, channels: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1),
                nn.GroupNorm(8, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.GroupNorm(8, channels),
                nn.SiLU(),
            )

        self.fine = nn.Sequential(nn.PixelUnshuffle(2), level(8, first // 2, 1), level(first // 2, second, 2))
        self.coarse = level(second, third, 2)

    def forward(self, ct: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(ct)
        return fine, self.coarse(fine)


class Level(nn.Module):
    """Residual blocks of one resolution, then attention to the CT where there is one."""

    def __init__(self, channels_in: int, channels: int, count: int, embedding: int, attention: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(channels_in if n == 0 else channels, channels, embedding) for n in range(count)
        )
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x if self.attention is None else self.attention(x, tokens)


class PriorNetwork(nn.Module):
    """Interface of a prior's network; :data:`~.checkpoint.ARCHITECTURES` lists the networks.

    It predicts v = sqrt(abar) eps - sqrt(1 - abar) x_0 of a slice from its ``x_t`` and its neighbours', given
    the CT. v has the variance one at every noise level (Salimans and Ho, 2022).
    """

    architecture: ClassVar[str]  # its name in a checkpoint
    Config: ClassVar[type]  # of its configuration, a dataclass of plain values that the checkpoint holds
    stride: ClassVar[int]  # image sides are multiples of it
    config: Any  # with a field ``neighbours``, the slices on either side

    def tokens(self, ct: Tensor) -> tuple[Tensor, ...]:
        """The encoded CT of a normalised CT ``(B, 2, H, W)``: computed once, used at every step."""
        raise NotImplementedError

    def forward(
        self, x_t: Tensor, log_ratio: Tensor, tokens: tuple[Tensor, ...], slice_mm: Tensor | None = None
    ) -> Tensor:
        """v ``(B, 1, H, W)``, float32.

        ``x_t`` is ``(B, 1 + 2 neighbours, H, W)``, the slice itself in the middle, ``log_ratio`` ``(B,)`` the log of
        noise over signal, and ``slice_mm`` ``(B,)`` the slice spacing (None: :data:`SLICE_MM`).
        """
        raise NotImplementedError


class NoiseNetwork(PriorNetwork):
    """The UNet of this module.

    Noise is independent from slice to slice and anatomy is not, so neighbours tell them apart; with none the prior
    is 2D, and the slice spacing does not matter.
    """

    architecture, Config, stride = "unet-ct-attention", NetworkConfig, STRIDE

    def __init__(self, config: NetworkConfig = NetworkConfig()):
        super().__init__()
        self.config = config
        first, second, third = config.widths
        embedding, count, heads = 4 * first, config.blocks, config.heads
        guided = config.conditioning == "cross-attention"

        def window() -> nn.Module | None:
            return WindowCrossAttention(second, heads) if guided else None

        def everywhere() -> nn.Module | None:
            return GlobalCrossAttention(third, heads) if guided else None

        self.embed = nn.Sequential(
            nn.Linear(64 + (config.neighbours > 0), embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.ct_encoder = CTEncoder(config.widths) if guided else None
        self.patch = nn.PixelUnshuffle(2)
        images = 1 + 2 * config.neighbours + (2 if config.conditioning == "concat" else 0)
        self.enter = nn.Conv2d(4 * images, first, 3, padding=1)
        self.down1 = Level(first, first, count, embedding, None)
        self.to2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.down2 = Level(second, second, count, embedding, window())
        self.to3 = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.down3 = Level(third, third, count, embedding, everywhere())
        self.middle = Level(third, third, 1, embedding, everywhere())
        self.up3 = Level(2 * third, third, count, embedding, everywhere())
        self.from3 = nn.Conv2d(third, second, 1)
        self.up2 = Level(2 * second, second, count, embedding, window())
        self.from2 = nn.Conv2d(second, first, 1)
        self.up1 = Level(2 * first, first, count, embedding, None)
        self.leave = nn.Sequential(nn.GroupNorm(8, first), nn.SiLU(), nn.Conv2d(first, 4, 3, padding=1))
        self.unpatch = nn.PixelShuffle(2)
        nn.init.zeros_(self.leave[2].weight)  # type: ignore[arg-type]

    def tokens(self, ct: Tensor) -> tuple[Tensor, ...]:
        if self.ct_encoder is not None:
            return self.ct_encoder(ct)
        return (self.patch(ct),) if self.config.conditioning == "concat" else ()

    def forward(
        self, x_t: Tensor, log_ratio: Tensor, tokens: tuple[Tensor, ...], slice_mm: Tensor | None = None
    ) -> Tensor:
        frequency = 2.0 ** torch.linspace(-3, 4, 32, device=x_t.device)
        angle = log_ratio[:, None] * frequency
        waves = [angle.sin(), angle.cos()]
        if self.config.neighbours:
            gap = torch.full_like(log_ratio, SLICE_MM) if slice_mm is None else slice_mm
            waves.append(torch.log(gap / SLICE_MM)[:, None])
        embedding = self.embed(torch.cat(waves, dim=1))
        fine, coarse = tokens if self.ct_encoder is not None else (None, None)
        x = self.patch(x_t)
        if self.config.conditioning == "concat":
            x = torch.cat([x, tokens[0].to(x.dtype)], dim=1)
        one = self.down1(self.enter(x), embedding, None)
        two = self.down2(self.to2(one), embedding, fine)
        three = self.down3(self.to3(two), embedding, coarse)
        x = self.middle(three, embedding, coarse)
        x = self.up3(torch.cat([x, three], dim=1), embedding, coarse)
        x = F.interpolate(self.from3(x), scale_factor=2, mode="nearest")
        x = self.up2(torch.cat([x, two], dim=1), embedding, fine)
        x = F.interpolate(self.from2(x), scale_factor=2, mode="nearest")
        x = self.up1(torch.cat([x, one], dim=1), embedding, None)
        return self.unpatch(self.leave(x)).float()
