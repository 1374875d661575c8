"""Training objective of the prior: predict the noise of augmented slices (section 2.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...device import autocast
from ...errors import InputError
from ...prior import AsinhTransform, NoiseNetwork, NoiseSchedule, Prior
from ...prior.denoiser import velocity
from ...prior.transfer import adapted_weights
from ...prior.transform import normalise_ct
from .config import TrainingConfig
from .data import SliceBatches

PROBE = 4  # patches
USUAL_RESOLUTION_MM = 4.0  # counts as none stated


class PriorLearner(nn.Module):
    """The loss of noise prediction on a process's share ``own`` of every joint batch.

    With ``stated_share`` in the configuration the network also receives the resolution of most patches, by one vector
    added where its noise level enters. A prior is exported for one resolution, which fixes that addition: it is then
    a bias, and the network is the one that every other prior has.
    """

    def __init__(self, config: TrainingConfig, own: Sequence[int] | None = None):
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.own = config, range(config.batch) if own is None else own
        network, self.before = _first_weights(config)
        self.network: NoiseNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.resolution = nn.Parameter(torch.zeros_like(_entrance(network).bias)) if config.stated_share else None
        self.noise, self.transform = NoiseSchedule(), AsinhTransform()

    def forward(self, step: int, done: float, batch: Sequence[Tensor]) -> Tensor:
        """The mean squared error of v on this process's patches.

        ``batch`` is PET in SUV ``(share, H, W)`` and CT in HU ``(share, H, W)``. For a network that sees neighbours,
        PET is ``(share, 1 + 2 neighbours, H, W)`` and the slice spacing in mm ``(share,)`` comes third; the stated
        resolutions in mm ``(share,)``, if there are any, come last. The noise of the joint batch is drawn and the
        process's share taken, so that several processes do what one alone would.
        """
        config, own = self.config, slice(self.own[0], self.own[-1] + 1)
        device, neighbours = next(self.network.parameters()).device, config.network.neighbours
        pet, ct, *stated = (tensor.to(device) for tensor in batch)
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        t = _draw_steps(config, self.noise, random)[own].to(device)
        x0 = self.transform.to_model(pet).view(len(pet), 1 + 2 * neighbours, *pet.shape[-2:])
        noise = torch.randn((config.batch, *x0.shape[1:]), generator=random)[own].to(device)
        keep = (torch.rand(config.batch, generator=random) >= config.ct_dropout)[own].to(device)
        x_t = self.noise.noisy(x0, noise, t)
        target = self.noise.velocity(x0, noise, t)[:, neighbours : neighbours + 1]
        guide = normalise_ct(ct) * keep[:, None, None, None]
        guide = guide.contiguous(memory_format=torch.channels_last)
        slice_mm = stated[0].float() if neighbours else None
        with autocast(device) if config.mixed_precision else nullcontext(), self._stating(stated):
            v = velocity(self.network, self.noise, x_t, t, self.network.tokens(guide), slice_mm)
        return (v - target).square().mean()

    @contextmanager
    def _stating(self, stated: Sequence[Tensor]) -> Iterator[None]:
        """While the network runs, the resolution enters where its noise level does."""
        if self.resolution is None:
            yield
            return
        shift = torch.log(stated[-1] / USUAL_RESOLUTION_MM).nan_to_num(0.0)[:, None] * self.resolution
        hook = _entrance(self.network).register_forward_hook(lambda layer, inputs, output: output + shift)
        try:
            yield
        finally:
            hook.remove()

    def prior(self, described: str, steps: int) -> Prior:
        """The network as a prior trained on the ``described`` data, for the configuration's ``resolution_mm``."""
        config = self.config
        info: dict[str, Any] = {
            "pixel_mm": config.pixel_mm,
            "trained_on": described,
            "steps": steps,
            "patches": self.before + steps * config.batch,
            "batch": config.batch,
            "conditioning": config.network.conditioning,
            "licence": "Apache-2.0; the bundled prior: see docs/model_card.md for its data",
        }
        network = self.network
        if self.resolution is not None:
            info["resolution_mm"] = config.resolution_mm
            network = deepcopy(network)
            ratio = torch.tensor(config.resolution_mm / USUAL_RESOLUTION_MM)
            _entrance(network).bias.data += ratio.log() * self.resolution.detach()
        return Prior(network, self.transform, self.noise, info)


def _entrance(network: NoiseNetwork) -> nn.Linear:
    """The layer by which the noise level enters the network."""
    layer = network.embed[0]
    assert isinstance(layer, nn.Linear)
    return layer


def _first_weights(config: TrainingConfig) -> tuple[NoiseNetwork, int]:
    """A new network, or one with the weights of the prior that the run starts from; and that prior's patches."""
    network, patches = NoiseNetwork(config.network), 0
    if config.start_from:
        prior = Prior.load(None if config.start_from == "bundled" else config.start_from)
        theirs, wanted = prior.network, config.network
        if (
            not isinstance(theirs, NoiseNetwork)
            or replace(theirs.config, neighbours=wanted.neighbours, conditioning=wanted.conditioning) != wanted
            or theirs.config.neighbours not in (0, wanted.neighbours)
        ):
            raise InputError(
                f"The prior '{config.start_from}' has another network than the configuration: give its 'network', "
                "or start from random weights."
            )
        network.load_state_dict(adapted_weights(theirs, network))
        patches = prior.patches or 0
    return network, patches


def patch_s(config: TrainingConfig, batches: SliceBatches, device: torch.device) -> float:
    """Seconds per patch of a step of this network on this device, measured on a few patches."""
    learner = PriorLearner(replace(config, batch=PROBE)).to(device).train()
    for step in range(2):  # the first one readies the device
        began = time.monotonic()
        loss = learner(step, 0.0, batches.batch(step, PROBE))
        loss.backward()
        float(loss.detach())  # waits for a GPU
    return (time.monotonic() - began) / PROBE


def _draw_steps(config: TrainingConfig, schedule: NoiseSchedule, random: torch.Generator) -> Tensor:
    """Noise levels t ``(batch,)``: mostly where reconstruction works (log-normal), some everywhere."""
    log_ratios = schedule.noise_ratio().log()
    drawn = torch.randn(config.batch, generator=random, dtype=torch.float64) * config.log_sigma_std
    near = torch.searchsorted(log_ratios, drawn + config.log_sigma_mean).clamp(0, schedule.steps - 1)
    anywhere = torch.randint(0, schedule.steps, (config.batch,), generator=random)
    return torch.where(torch.rand(config.batch, generator=random) < config.uniform_share, anywhere, near)
