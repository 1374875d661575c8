"""Training patches: slices of cases and phantoms, augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...cohort.cases import Case, find_cases
from ...cohort.manifest import read_split
from .cache import Pair, StoredSlices

__all__ = ["Case", "SliceBatches", "find_cases", "read_split"]

OUTSIDE_HU = -1000.0
EXACT_SHARE = 0.4  # of the patches keep the slice's own pixels; interpolated ones are a little blurred
MISREGISTERED_SHARE = 0.3  # of the interpolated patches have a CT that is off by a few mm
THIN_MM = 2.8  # of such slices every second one is sometimes taken, so that other spacings are seen
MISREGISTERED_PIXELS = 1.5  # standard deviation along each axis: 3 mm of pixels of 2 mm


class SliceBatches:
    """Augmented batches, each fixed by (seed, step) alone, so that a resumed run sees the same data.

    Parameters
    ----------
    sources : groups of (PET, CT) slices, numpy ``(J, I)``, in memory or read when asked for.
    shares : how often each group is drawn.
    size : side of a training patch in pixels.
    neighbours : slices on either side that come with each PET slice; needs :class:`StoredSlices`.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Pair]],
        shares: Sequence[float],
        size: int,
        seed: int,
        neighbours: int = 0,
    ):
        self.sources, self.size, self.seed, self.neighbours = sources, size, seed, neighbours
        self.shares = np.array(shares) / sum(shares)

    def batch(self, step: int, count: int) -> tuple[Tensor, ...]:
        """PET in SUV and CT in HU, each ``(count, size, size)`` float32.

        With neighbours the PET is ``(count, 1 + 2 neighbours, size, size)``, and the slice spacing in mm
        ``(count,)`` comes third.
        """
        random = np.random.default_rng([self.seed, step])
        drawn = [self._patch(random) for _ in range(count)]
        patches = torch.cat([patch for patch, _ in drawn])
        pet, ct = patches[:, :-1].clamp_min(0), patches[:, -1]
        if not self.neighbours:
            return pet[:, 0], ct
        return pet, ct, torch.tensor([slice_mm for _, slice_mm in drawn])

    def _patch(self, random: np.random.Generator) -> tuple[Tensor, float]:
        group = self.sources[random.choice(len(self.sources), p=self.shares)]
        pet, ct, slice_mm = self._slice(group, int(random.integers(len(group))), random)
        images = torch.from_numpy(np.concatenate([pet, ct[None]])).float()[None]
        images[:, -1] -= OUTSIDE_HU  # zero padding then means air
        moved = self._cut(images, random) if random.random() < EXACT_SHARE else self._warp(images, random)
        moved[:, -1] += OUTSIDE_HU
        moved[:, :-1] *= math.exp(random.normal(0, 0.3))
        return moved, slice_mm

    def _slice(
        self, group: Sequence[Pair], index: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """A slice with its neighbours, sometimes in the opposite order or every second one."""
        if not self.neighbours:
            pet, ct = group[index]
            return pet[None], ct, 0.0
        assert isinstance(group, StoredSlices)
        stride = 2 if group.slice_mm(index) < THIN_MM and random.random() < 0.5 else 1
        pets, ct, slice_mm = group.around(index, self.neighbours, stride)
        return pets[::-1] if random.random() < 0.5 else pets, ct, slice_mm

    def _cut(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """A flipped or turned patch of the slice's own pixels, as sharp as they are."""
        height, width = images.shape[-2:]
        rows, columns = (round(random.uniform(-0.15, 0.15) * self.size + random.uniform(0, 1) * (n - self.size))
                         for n in (height, width))  # fmt: skip
        edges = (-columns, self.size + columns - width, -rows, self.size + rows - height)  # negative ones cut
        turned = F.pad(images, edges)
        if random.random() < 0.3:
            turned = turned.flip(-2)
        return turned.flip(-1) if random.random() < 0.5 else turned

    def _warp(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """A turned, scaled and moved patch; the CT sometimes a few mm off, as breathing and motion leave it."""
        angle = random.normal(0, 0.35) + (math.pi if random.random() < 0.3 else 0)
        zoom = math.exp(random.uniform(math.log(0.7), math.log(1.35)))
        flip = -1.0 if random.random() < 0.5 else 1.0
        height, width = images.shape[-2:]
        # room to move the patch over the slice while it still shows the body
        shift = [random.uniform(-1, 1) * max(0.15, 1 - 0.8 * self.size / n) for n in (width, height)]
        cos, sin = math.cos(angle), math.sin(angle)
        a, b = self.size / width / zoom, self.size / height / zoom
        theta = torch.tensor([[a * cos * flip, -a * sin, shift[0]], [b * sin * flip, b * cos, shift[1]]])
        moved = self._sample(images, theta)
        if random.random() < MISREGISTERED_SHARE:
            theta[:, 2] += torch.tensor([random.normal(0, 2 * MISREGISTERED_PIXELS / n) for n in (width, height)])
            moved[:, -1:] = self._sample(images[:, -1:], theta)
        return moved

    def _sample(self, images: Tensor, theta: Tensor) -> Tensor:
        grid = F.affine_grid(theta[None].float(), [1, images.shape[1], self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
