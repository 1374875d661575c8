"""Steps that the diffusion baselines share: DDIM, its noise levels, and the prior with a gradient through it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...grid import centred_resize
from ...prior import STRIDE, Prior, with_neighbours
from ...prior.checkpoint import autocast
from ...prior.schedule import NoiseSchedule
from ...prior.transform import normalise_ct

SLICES_PER_BATCH = 8
AIR_HU = -1000.0


def falling(levels: int, steps: int, first: int | None = None) -> Iterator[tuple[int, int | None]]:
    """``steps`` times t, evenly from ``first`` (the highest of ``levels``) to 0, each with the next (None: the end)."""
    times = np.linspace(levels - 1 if first is None else first, 0, steps).round().astype(int).tolist()
    yield from zip(times, [*times[1:], None], strict=True)


def ddim_step(
    schedule: NoiseSchedule,
    x_t: Tensor,
    x0: Tensor,
    t: int,
    following: int | None,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """From x_t and an estimate of x_0 to x at the ``following`` time (Song et al. 2021, equation 12).

    ``eta`` 0 is deterministic, 1 the ancestral step of DDPM; it needs ``noise``. At the end x is the estimate.
    """
    if following is None:
        return x0
    bar, next_bar = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[following])
    fresh = 0.0 if noise is None else eta * math.sqrt((1 - next_bar) / (1 - bar) * (1 - bar / next_bar))
    eps = (x_t - math.sqrt(bar) * x0) / math.sqrt(1 - bar)
    x = math.sqrt(next_bar) * x0 + math.sqrt(max(0.0, 1 - next_bar - fresh**2)) * eps
    return x if noise is None else x + fresh * noise


class Denoiser:
    """The prior's estimate of x_0 for all slices of a case, and the transpose of its derivative.

    Parameters
    ----------
    ct_hu : ``(S, J, I)`` CT in HU on the image grid.
    guided : whether the prior sees the CT; without it, the prior as it was trained on patches without one.
    slice_mm : from slice to slice.
    """

    def __init__(self, prior: Prior, ct_hu: Tensor, guided: bool, slice_mm: float):
        self.prior, self.slice_mm = prior, slice_mm
        self.size = (ct_hu.shape[1], ct_hu.shape[2])
        self.padded = (-(-self.size[0] // STRIDE) * STRIDE, -(-self.size[1] // STRIDE) * STRIDE)
        guide = normalise_ct(centred_resize(ct_hu - AIR_HU, self.padded) + AIR_HU) * guided
        with torch.no_grad(), autocast(ct_hu.device):
            self.tokens = [prior.network.tokens(part) for part in guide.split(SLICES_PER_BATCH)]
        self.shape = (len(ct_hu), 1, *self.padded)

    def pad(self, x: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, 1, H, W)``, zeros around it."""
        return centred_resize(x, self.padded)[:, None]

    def crop(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`pad`."""
        return centred_resize(x[:, 0], self.size)

    def estimate(self, x_t: Tensor, t: int) -> Tensor:
        """Tweedie's estimate (7) of x_0, ``(S, 1, H, W)``."""
        stack = with_neighbours(x_t, self.prior.neighbours)
        with torch.no_grad():
            return torch.cat([self._batch(stack, n, t) for n in range(len(self.tokens))])

    def pull_back(self, x_t: Tensor, t: int, gradient: Tensor) -> Tensor:
        """The gradient with respect to x_t of a function whose gradient at the estimate is ``gradient``."""
        x_t = x_t.detach().requires_grad_()
        stack = with_neighbours(x_t, self.prior.neighbours)
        total = torch.zeros_like(stack)
        own = stack.detach().requires_grad_()
        for n, part in enumerate(gradient.split(SLICES_PER_BATCH)):
            total += torch.autograd.grad(self._batch(own, n, t), own, part)[0]
        if not self.prior.neighbours:
            return total
        return torch.autograd.grad(stack, x_t, total)[0]

    def _batch(self, stack: Tensor, number: int, t: int) -> Tensor:
        part = stack[number * SLICES_PER_BATCH : (number + 1) * SLICES_PER_BATCH]
        signal, sigma = self.prior.schedule.signal_noise(torch.full((len(part),), t, device=part.device))
        gap = torch.full((len(part),), self.slice_mm, device=part.device)
        with autocast(part.device):
            v = self.prior.network(part, torch.log(sigma / signal).flatten(), self.tokens[number], gap)
        middle = part[:, self.prior.neighbours : self.prior.neighbours + 1]
        return signal * middle - sigma * v  # type: ignore[no-any-return]
