"""Training patches: slices of cases and phantoms, augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ...prior.denoiser import AIR_HU
from ...widths import FWHM_PER_SIGMA
from .cache import Pair, StoredSlices

EXACT_SHARE = 0.4  # of the patches keep the slice's own pixels; interpolated ones are a little blurred
MISREGISTERED_SHARE = 0.3  # of the interpolated patches have a CT that is off by a few mm
THIN_MM = 2.8  # every second of such slices is sometimes taken, for other spacings
MISREGISTERED_PIXELS = 1.5  # standard deviation along each axis: 3 mm of pixels of 2 mm


@dataclass(frozen=True)
class Resolutions:
    """The resolution (FWHM in mm) that comes with each patch, for a network that receives it.

    ``mm``: of every group; ``blurred``: the share of a group's patches blurred at random, by one to three times its
    resolution; ``stated``: the share of patches whose resolution is stated, NaN for the others.
    """

    mm: Sequence[float]
    blurred: Sequence[float]
    stated: float
    pixel_mm: float

    def blur(self, number: int, pets: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, float]:
        """PET slices ``(n, J, I)`` of a group, blurred or not, and their resolution."""
        mm = self.mm[number]
        if random.random() >= self.blurred[number]:
            return pets, mm
        fwhm = mm * random.uniform(1.0, 3.0)
        sigma = fwhm / FWHM_PER_SIGMA / self.pixel_mm
        return ndimage.gaussian_filter(pets.astype(np.float32), (0.0, sigma, sigma)), math.hypot(mm, fwhm)


class SliceBatches:
    """Augmented batches, each fixed by (seed, step) alone, so that a resumed run has the same data.

    Parameters
    ----------
    sources : groups of (PET, CT) slices, numpy ``(J, I)``, in memory or on disk.
    shares : how often each group is drawn.
    size : side of a training patch in pixels.
    neighbours : slices on either side that come with each PET slice; needs :class:`StoredSlices`.
    resolutions : of the groups, where the resolution of each patch comes along.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Pair]],
        shares: Sequence[float],
        size: int,
        seed: int,
        neighbours: int = 0,
        resolutions: Resolutions | None = None,
    ):
        self.sources, self.size, self.seed, self.neighbours = sources, size, seed, neighbours
        self.resolutions = resolutions
        self.shares = np.array(shares) / sum(shares)

    def batch(self, step: int, count: int) -> tuple[Tensor, ...]:
        """PET in SUV and CT in HU, each ``(count, size, size)`` float32.

        With neighbours the PET is ``(count, 1 + 2 neighbours, size, size)``, and the slice spacing in mm
        ``(count,)`` comes third. With resolutions, those of the patches in mm ``(count,)`` come last.
        """
        random = np.random.default_rng([self.seed, step])
        patches, spacings, resolutions = zip(*[self._patch(random) for _ in range(count)], strict=True)
        stack = torch.cat(patches)
        pet, ct = stack[:, :-1].clamp_min(0), stack[:, -1]
        batch = (pet, ct, torch.tensor(spacings)) if self.neighbours else (pet[:, 0], ct)
        return batch if self.resolutions is None else (*batch, torch.tensor(resolutions))

    def _patch(self, random: np.random.Generator) -> tuple[Tensor, float, float]:
        """A patch ``(1, PET slices and CT, size, size)``, its slice spacing and its resolution in mm."""
        number = int(random.choice(len(self.sources), p=self.shares))
        group = self.sources[number]
        pet, ct, slice_mm = self._slice(group, int(random.integers(len(group))), random)
        resolution = math.nan
        if self.resolutions is not None:
            pet, resolution = self.resolutions.blur(number, pet, random)
        images = torch.from_numpy(np.concatenate([pet, ct[None]])).float()[None]
        images[:, -1] -= AIR_HU  # zero padding then means air
        zoom = 1.0
        if random.random() < EXACT_SHARE:
            moved = self._cut(images, random)
        else:
            moved, zoom = self._warp(images, random)
        moved[:, -1] += AIR_HU
        moved[:, :-1] *= math.exp(random.normal(0, 0.3))
        if self.resolutions is not None and random.random() >= self.resolutions.stated:
            resolution = math.nan
        return moved, slice_mm, zoom * resolution

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

    def _warp(self, images: Tensor, random: np.random.Generator) -> tuple[Tensor, float]:
        """A turned, scaled and moved patch, the CT sometimes a few mm off as by breathing; and the zoom."""
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
        return moved, zoom

    def _sample(self, images: Tensor, theta: Tensor) -> Tensor:
        grid = F.affine_grid(theta[None].float(), [1, images.shape[1], self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
