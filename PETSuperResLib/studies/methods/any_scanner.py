"""One network for counts and images of any scanner, trained on pairs from the weights of the bundled prior."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...prior import NoiseNetwork, Prior
from ...prior.transform import normalise_ct
from .interface import INPUTS, MethodCase
from .learned import Restorer, RestorerConfig
from .scans import ESTIMATES, TOLD, random_scans, readings

NOISE = TOLD.index("noise")
# Noise over signal at which the prior's network starts, of usual noise, its power of the told noise, and its ends: near
# the least error of the untrained network on training scans; below the lower end it could change little.
USUAL_SIGMA, SIGMA_POWER, SIGMAS = 0.16, 0.45, (0.12, 0.6)


class PriorRestorer(Restorer):
    """The network of a prior as the start of one that maps a scan's readings (:mod:`.scans`) to the posterior mean.

    What the prior knows as x_t is the estimate ``map``, at the noise level that the told noise suggests. The other
    estimates and, where the noise level enters, what is told of the scan come in by weights that are 0 at first: before
    its training it gives the prior's Tweedie estimate (7) of ``map``.
    """

    inputs = (*ESTIMATES, "ct", "told")

    def __init__(self, prior: Prior):
        super().__init__()
        network = prior.network
        assert isinstance(network, NoiseNetwork)
        self.transform, self.neighbours, self.starts_from = prior.transform, prior.neighbours, prior.sha256
        enter, entrance = network.enter, network.embed[0]
        assert isinstance(entrance, nn.Linear)
        wide = nn.Conv2d(len(ESTIMATES) * enter.in_channels, enter.out_channels, 3, padding=1)
        with torch.no_grad():
            wide.weight.zero_()[:, : enter.in_channels] = enter.weight
            wide.bias.copy_(enter.bias)  # type: ignore[union-attr,arg-type]
        network.enter = wide
        self.network = network.to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]
        self.entrance = nn.Linear(len(TOLD) - 1, entrance.out_features, bias=False)
        nn.init.zeros_(self.entrance.weight)

    def images(self, case: MethodCase) -> dict[str, Tensor]:
        return readings(case)

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """``inputs`` -> the restored slice in the prior's scale, ``(B, 1, H, W)``."""
        middle, told = self.neighbours, images["told"]
        sigma = start_sigma(told[:, NOISE])
        signal, noise = (x[:, None, None, None] for x in ((1 + sigma**2).rsqrt(), sigma * (1 + sigma**2).rsqrt()))
        x_t = signal * torch.cat([self.transform.to_model(images[name]) for name in ESTIMATES], dim=1)
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        ct = normalise_ct(images["ct"][:, middle]).contiguous(memory_format=torch.channels_last)
        with self._told(told[:, 1:]):
            v = self.network(x_t, sigma.log(), self.network.tokens(ct), told[:, 0])
        return signal * x_t[:, middle : middle + 1] - noise * v  # type: ignore[no-any-return]

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """Squared error in SUV, each pixel weighted by its scale in ``map`` and each scan by its noise, as told.

        Neither weight depends on the truth: the minimiser is the mean of the posterior in SUV.
        """
        middle = slice(self.neighbours, self.neighbours + 1)
        scale = self.transform.slope(batch["map"][:, middle])
        error = self.transform.to_activity(self(batch)) - batch["truth"][:, middle]
        squares = (error / scale).square().mean((1, 2, 3))
        return (squares * torch.exp(-batch["told"][:, NOISE])).mean()

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        return self.transform.to_activity(self(images)).clamp_min(0)

    @contextmanager
    def _told(self, told: Tensor) -> Iterator[None]:
        """While the network runs, what is told enters where its noise level does."""
        hook = self.network.embed[0].register_forward_hook(lambda layer, inputs, output: output + self.entrance(told))
        try:
            yield
        finally:
            hook.remove()


def start_sigma(noise: Tensor) -> Tensor:
    """Noise over signal, ``(B,)``, at which the prior starts, of the told logarithm of the noise."""
    return (USUAL_SIGMA * torch.exp(SIGMA_POWER * noise)).clamp(*SIGMAS)


CONFIG = RestorerConfig(
    name="supervised-any",
    build=lambda: PriorRestorer(Prior.load()),
    plan=random_scans,
    steps=6000,
    learning_rate=2e-4,
    batch=8,
    weight_decay=0.01,
    ema=0.995,
)

SUPERVISED_ANY = CONFIG.method(
    "None: what a network learns from pairs of many scanners, with the resolution and the noise told.",
    "the bundled prior's network from its weights on; it reads MAP (Bowsher), early and late PSF-OSEM or, of an image, "
    "MAP deconvolution, the image and Richardson-Lucy, each with two slices on either side, and the CT; squared error "
    "in SUV with weights from the input; three scans of each image of the training patients, by random scanners (4 to "
    "14 mm, 2e4 to 1e7 trues per slice) and random clinical protocols.",
    needs_ct=True,
    inputs=INPUTS,
)
