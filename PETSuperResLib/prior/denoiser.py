"""A prior applied to a stack of slices: the one way in which samplers, studies and validation evaluate a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..device import autocast
from ..grid import centred_resize
from .checkpoint import Prior
from .network import SLICE_MM, PriorNetwork
from .schedule import NoiseSchedule
from .transform import normalise_ct

AIR_HU = -1000.0
SLICES_PER_BATCH = 16
MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))  # axes of an image that are reversed
Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A prior with the CT of one stack of slices.

    Images x are ``(S, 1, H, W)`` in the space of (3): slices padded with zeros, the CT with air, to a size that
    the network takes (:meth:`pad`). ``t`` is an integer for all slices.

    Parameters
    ----------
    ct : ``(S, J, I)`` in HU.
    slice_mm : from slice to slice.
    batch : slices that go through the network together.
    slack : pixels by which the padded image is larger than the slice, at least.
    evaluated : called with the number of slices after each batch, for progress.
    """

    prior: Prior
    ct: Tensor
    slice_mm: float = SLICE_MM
    batch: int = SLICES_PER_BATCH
    slack: int = 0
    evaluated: Callable[[int], object] = lambda slices: None

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of the padded images."""
        stride = self.prior.network.stride
        j, i = (-(-(n + self.slack) // stride) * stride for n in self.ct.shape[1:])
        return j, i

    @cached_property
    def padded_ct(self) -> Tensor:
        """The CT in HU, ``(S, H, W)``."""
        return centred_resize(self.ct - AIR_HU, self.size) + AIR_HU

    def pad(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, 1, H, W)``, zeros around it."""
        return centred_resize(image, self.size)[:, None]

    def crop(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`pad`."""
        return centred_resize(x[:, 0], (self.ct.shape[1], self.ct.shape[2]))

    def noise(self, random: torch.Generator) -> Tensor:
        """Standard normal numbers ``(S, 1, H, W)``; ``random`` is on the CPU, so that all devices draw the same."""
        return torch.randn((len(self.ct), 1, *self.size), generator=random).to(self.ct.device)

    def epsilon(self, x_t: Tensor, t: int, shift: Shift = (0, 0), flips: int = 1, known: int = 0) -> Tensor:
        """The predicted noise eps(x_t, t, c), ``(S, 1, H, W)``.

        Parameters
        ----------
        shift : pixels by which the image is moved over the network's grid (and the result back).
        flips : 1, 2 or 4 mirrored images whose results are averaged.
        known : slices at the stack's beginning that are neighbours only; their result means nothing.
        """
        return self.prior.schedule.of_velocity(x_t, self._velocity(x_t, t, shift, flips, known), t)[1]

    def estimate(self, x_t: Tensor, t: int, known: int = 0) -> Tensor:
        """Tweedie's estimate (7) of x_0, ``(S, 1, H, W)``."""
        return self.prior.schedule.of_velocity(x_t, self._velocity(x_t, t, known=known), t)[0]

    def pull_back(self, x_t: Tensor, t: int, gradient: Tensor) -> Tensor:
        """The gradient with respect to x_t of a function whose gradient at :meth:`estimate` is ``gradient``."""
        x_t, middle = x_t.detach().requires_grad_(), self.prior.neighbours
        stack = with_neighbours(x_t, middle)
        leaf = stack.detach().requires_grad_()
        total = torch.zeros_like(stack)
        for part, ct, pull in zip(*map(self._split, (leaf, self.padded_ct, gradient)), strict=True):
            v = self._batch(part, ct, t)
            estimate, _ = self.prior.schedule.of_velocity(part[:, middle : middle + 1], v, t)
            total += torch.autograd.grad(estimate, leaf, pull)[0]
        return torch.autograd.grad(stack, x_t, total)[0] if middle else total

    def _velocity(self, x_t: Tensor, t: int, shift: Shift = (0, 0), flips: int = 1, known: int = 0) -> Tensor:
        """The network's v, ``(S, 1, H, W)``; 0 in the ``known`` slices."""
        total = torch.zeros_like(x_t)
        for axes in MIRRORS[:flips]:
            image, ct = (x.roll(shift, (-2, -1)).flip(axes) for x in (x_t, self.padded_ct))
            stack = with_neighbours(image, self.prior.neighbours)[known:]
            parts = zip(self._split(stack), self._split(ct[known:]), strict=True)
            with torch.inference_mode():
                v = torch.cat([self._batch(part, guide, t) for part, guide in parts])
            total[known:] += v.flip(axes)
        return total.roll((-shift[0], -shift[1]), (-2, -1)) / flips

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.batch)

    def _batch(self, stack: Tensor, ct: Tensor, t: int) -> Tensor:
        """v ``(B, 1, H, W)`` of slices with their neighbours and their CT ``(B, H, W)``."""
        network = self.prior.network

        def encode() -> tuple[Tensor, ...]:
            with torch.inference_mode(False), torch.no_grad():  # so that pull_back may use them
                return network.tokens(normalise_ct(ct).contiguous(memory_format=torch.channels_last))

        with autocast(stack.device):
            tokens = self.prior.memory.tokens(ct, network, encode)
            v = velocity(network, self.prior.schedule, stack, t, tokens, self.slice_mm)
        self.evaluated(len(stack))
        return v


def velocity(
    network: PriorNetwork,
    schedule: NoiseSchedule,
    x_t: Tensor,
    t: Tensor | int,
    tokens: tuple[Tensor, ...],
    slice_mm: Tensor | float | None = None,
) -> Tensor:
    """The network's v ``(B, 1, H, W)`` of ``x_t`` ``(B, 1 + 2 neighbours, H, W)``; gradients pass.

    ``t`` and ``slice_mm`` are numbers, or ``(B,)``.
    """
    signal, noise = schedule.signal_noise(t)
    log_ratio = torch.log(noise / signal).flatten().to(x_t.device).expand(len(x_t))
    gap = None if slice_mm is None else torch.as_tensor(slice_mm, device=x_t.device).float().expand(len(x_t))
    return network(x_t.contiguous(memory_format=torch.channels_last), log_ratio, tokens, gap)  # type: ignore[no-any-return]


def with_neighbours(stack: Tensor, neighbours: int) -> Tensor:
    """Each slice of ``(S, 1, H, W)`` between its neighbours: ``(S, 1 + 2 neighbours, H, W)``, mirrored at the ends."""
    if not neighbours:
        return stack
    last = len(stack) - 1
    around = torch.arange(last + 1)[:, None] + torch.arange(-neighbours, neighbours + 1)
    around = around % max(1, 2 * last)
    return stack[torch.minimum(around, 2 * last - around).to(stack.device), 0]
