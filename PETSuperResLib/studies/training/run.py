"""The state of a training run: network, moving average and optimiser, one step at a time, resumable to the bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...cohort.distributed import Team
from ...errors import CheckpointError, InputError
from ...files import atomic_path
from ...prior import AsinhTransform, NoiseNetwork, NoiseSchedule, Prior, guided_otherwise, widened
from ...prior.checkpoint import autocast
from ...prior.transform import normalise_ct
from .config import TrainingConfig


class _Guided(nn.Module):
    """CT encoder and network as one forward pass, which is what gradients are averaged over."""

    def __init__(self, network: NoiseNetwork):
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, log_ratio: Tensor, guide: Tensor, slice_mm: Tensor | None) -> Tensor:
        return self.network(x_t, log_ratio, self.network.tokens(guide), slice_mm)  # type: ignore[no-any-return]


class Run:
    """Network, its moving average and optimiser, and where they are kept (``out/state.safetensors``)."""

    def __init__(self, config: TrainingConfig, out: Path, team: Team, described: str):
        torch.manual_seed(config.seed)
        self.config, self.out, self.team, self.described = config, out, team, described
        self.own = team.share(config.batch)
        self.network = _channels_last(_first_weights(config), team.device)
        self.average = _channels_last(NoiseNetwork(config.network), team.device).requires_grad_(False).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.schedule, self.transform = NoiseSchedule(), AsinhTransform()
        self.step = 0
        self._resume()
        self.guided = team.parallel(_Guided(self.network))

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def update(self, done: float, pet: Tensor, ct: Tensor, slice_mm: Tensor | None = None) -> Tensor:
        """One optimiser step on this process's patches; returns their loss. ``done`` (0 to 1) sets the learning rate.

        ``pet`` is ``(share, H, W)`` in SUV, or ``(share, 1 + 2 neighbours, H, W)`` with ``slice_mm`` ``(share,)``
        for a network that sees neighbours; ``ct`` ``(share, H, W)`` in HU. The joint batch's noise is drawn and
        this process's share taken, so that the processes together do what one would do alone.
        """
        config, device, own = self.config, self.team.device, slice(self.own.start, self.own.stop)
        neighbours = config.network.neighbours
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        t = _draw_steps(config, self.schedule, random)[own].to(device)
        x0 = self.transform.to_model(pet.to(device)).view(len(pet), 1 + 2 * neighbours, *pet.shape[-2:])
        noise = torch.randn((config.batch, *x0.shape[1:]), generator=random)[own].to(device)
        keep = (torch.rand(config.batch, generator=random) >= config.ct_dropout)[own].to(device)
        signal, sigma = self.schedule.signal_noise(t)
        x_t = (signal * x0 + sigma * noise).contiguous(memory_format=torch.channels_last)
        target = (signal * noise - sigma * x0)[:, neighbours : neighbours + 1]
        guide = normalise_ct(ct.to(device)) * keep[:, None, None, None]
        guide = guide.contiguous(memory_format=torch.channels_last)
        gap = None if slice_mm is None else slice_mm.to(device, torch.float32)
        with autocast(device) if config.mixed_precision else nullcontext():
            v = self.guided(x_t, torch.log(sigma / signal).flatten(), guide, gap)
        loss = (v - target).square().mean()
        for group in self.optimiser.param_groups:
            warm = min(1.0, (self.step + 1) / config.warmup)
            group["lr"] = config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        self.step += 1
        decay = min(config.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        return loss.detach()

    @property
    def prior(self) -> Prior:
        """The moving average as a prior."""
        info = {
            "pixel_mm": self.config.pixel_mm,
            "trained_on": self.described,
            "steps": self.step,
            "batch": self.config.batch,
            "conditioning": self.config.network.conditioning,
            "licence": "Apache-2.0; the bundled prior: see docs/model_card.md for its data",
        }
        return Prior(self.average, self.transform, self.schedule, info)

    def save(self) -> Path:
        """Write ``state.safetensors``, all that is needed to go on to the bit, and ``prior.safetensors``."""
        path = self.out / "prior.safetensors"
        if self.team.first:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self._tensors()}
            with atomic_path(self.out / "state.safetensors") as temporary:
                save_file(tensors, temporary, {"step": str(self.step)})
            self.prior.save(path)
        return path

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind, network in (("network", self.network), ("average", self.average)):
            for name, value in network.state_dict().items():
                yield f"{kind}.{name}", value
        for index, state in self.optimiser.state_dict()["state"].items():
            for name, value in state.items():
                yield f"optimiser.{index}.{name}", torch.as_tensor(value)

    def _resume(self) -> None:
        path = self.out / "state.safetensors"
        if not path.exists():
            return
        try:
            self._restore(load_file(path, device=str(self.team.device)))
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} is damaged or of another network's run: choose another --out, or remove it to start again."
            ) from error

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = value
        for kind, network in (("network", self.network), ("average", self.average)):
            network.load_state_dict({k[len(kind) + 1 :]: v for k, v in tensors.items() if k.startswith(kind + ".")})
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(next(iter(state.values()))["step"]) if state else 0


def _channels_last(network: NoiseNetwork, device: torch.device) -> NoiseNetwork:
    network.to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _first_weights(config: TrainingConfig) -> NoiseNetwork:
    """A new network, or one with the weights of the prior that the run starts from."""
    network = NoiseNetwork(config.network)
    if config.start_from:
        prior = Prior.load(None if config.start_from == "bundled" else config.start_from)
        state, theirs = prior.network.state_dict(), prior.network.config
        if replace(theirs, neighbours=config.network.neighbours, conditioning=config.network.conditioning) != (
            config.network
        ) or theirs.neighbours not in (0, config.network.neighbours):
            raise InputError(
                f"The prior '{config.start_from}' has another network than the configuration: give its 'network', "
                "or start from random weights."
            )
        if theirs.neighbours != config.network.neighbours:
            state = widened(state, config.network.neighbours)
        network.load_state_dict(guided_otherwise(state, network))
    return network


def _draw_steps(config: TrainingConfig, schedule: NoiseSchedule, random: torch.Generator) -> Tensor:
    """Noise levels t ``(batch,)``: mostly where reconstruction works (log-normal), some everywhere."""
    log_ratios = schedule.noise_ratio().log()
    drawn = torch.randn(config.batch, generator=random, dtype=torch.float64) * config.log_sigma_std
    near = torch.searchsorted(log_ratios, drawn + config.log_sigma_mean).clamp(0, schedule.steps - 1)
    anywhere = torch.randint(0, schedule.steps, (config.batch,), generator=random)
    return torch.where(torch.rand(config.batch, generator=random) < config.uniform_share, anywhere, near)
