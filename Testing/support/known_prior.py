"""A prior whose estimate is known: what a sampler does with it can be predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from PETSuperResLib.prior import NetworkConfig, Prior


class KnownNetwork(nn.Module):
    """Its Tweedie estimate of x_0 is ``estimate(noisy, hu)``.

    ``noisy`` is x_t over the signal, ``(B, 1 + 2 neighbours, H, W)`` in model space, and ``hu`` the CT ``(B, H, W)``
    within -1000 to 1000. ``seen`` lists (noise over signal, ``noisy``, slice spacing) of every evaluation.
    """

    architecture, stride = "known", 16

    def __init__(self, estimate: Callable[[Tensor, Tensor], Tensor], neighbours: int = 0):
        super().__init__()
        self.config, self.estimate = NetworkConfig(neighbours=neighbours), estimate
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)
        self.seen: list[tuple[float, Tensor, float]] = []

    def tokens(self, ct: Tensor) -> tuple[Tensor, ...]:
        return (1000 * ct[:, 0],)

    def forward(
        self, x_t: Tensor, log_ratio: Tensor, tokens: tuple[Tensor, ...], slice_mm: Tensor | None = None
    ) -> Tensor:
        ratio = log_ratio.exp()[:, None, None, None]
        signal = (1 + ratio**2).rsqrt()
        noisy = x_t / signal
        self.seen.append((float(ratio[0]), noisy.clone(), 0.0 if slice_mm is None else float(slice_mm[0])))
        middle = x_t.shape[1] // 2
        x0 = self.estimate(noisy, tokens[0])
        return (signal * x_t[:, middle : middle + 1] - x0) / (ratio * signal)  # v


def known_prior(estimate: Callable[[Tensor, Tensor], Tensor], neighbours: int = 0, pixel_mm: float = 4.0) -> Prior:
    """A prior with a :class:`KnownNetwork`."""
    return Prior(KnownNetwork(estimate, neighbours), info={"pixel_mm": pixel_mm})


def as_it_is(noisy: Tensor, hu: Tensor) -> Tensor:
    """The estimate of a prior that takes its input for the image."""
    middle = noisy.shape[1] // 2
    return noisy[:, middle : middle + 1]
