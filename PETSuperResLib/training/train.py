"""Training the prior: noise prediction on augmented slices (section 2.2), resumable to the step."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..device import pick_device
from ..errors import CheckpointError, InputError
from ..prior import AsinhTransform, NoiseNetwork, NoiseSchedule, Prior
from ..prior.checkpoint import autocast
from ..prior.transform import normalise_ct
from ..progress import Callback, Reporter
from ..volume import atomic_path
from .config import TrainingConfig
from .data import SliceBatches
from .sources import training_slices


def train(
    data: str | Path | None,
    out: str | Path,
    config: TrainingConfig | str | Path | None = None,
    split: str | Path | None = None,
    limit_minutes: float | None = None,
    device: str = "auto",
    progress: Callback | None = None,
) -> Path:
    """Train a prior on the ``train`` patients of ``data`` (and phantoms) and write ``out/prior.safetensors``.

    ``data`` None trains on phantoms alone. A run found in ``out`` goes on where it stopped; with
    ``limit_minutes`` the learning rate is annealed to zero over that time. Returns the checkpoint's path.
    """
    if not isinstance(config, TrainingConfig):
        config = TrainingConfig.read(config)
    out, target = Path(out), pick_device(device)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "config.json") as temporary:
        temporary.write_text(json.dumps(asdict(config), indent=1))
    report = Reporter(progress)
    batches, described = training_slices(data, split, config, report.part(0.0, 0.02))
    report = report.part(0.02, 1.0)
    run = _Run(config, out, target, described)
    deadline = None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
    began, first = time.monotonic(), run.step
    recent: list[float] = []
    while run.step < config.steps:
        done = run.step / config.steps
        if deadline is not None:
            done = max(done, 1 - (deadline - time.monotonic()) / (60 * limit_minutes))  # type: ignore[operator]
            if done >= 1:
                break
        recent.append(run.update(batches, done))
        if run.step % 25 == 0:
            rate = (run.step - first) * config.batch / (time.monotonic() - began)
            run.log(float(np.mean(recent)), rate)
            report("training", done, f"step {run.step}, loss {np.mean(recent):.4f}, {rate:.0f} images/s")
            recent = []
        if run.step % config.checkpoint_every == 0:
            run.save()
            run.export()
    run.save()
    path = run.export()
    report("done", 1.0)
    return path


def _channels_last(network: NoiseNetwork, device: torch.device) -> NoiseNetwork:
    network.to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class _Run:
    """Network, its moving average and optimiser, and where they are kept."""

    def __init__(self, config: TrainingConfig, out: Path, device: torch.device, described: str):
        torch.manual_seed(config.seed)
        self.config, self.out, self.device, self.described = config, out, device, described
        self.network = _channels_last(_first_weights(config), device)
        self.average = _channels_last(NoiseNetwork(config.network), device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.schedule, self.transform = NoiseSchedule(), AsinhTransform()
        self.step = 0
        self._resume()

    def update(self, batches: SliceBatches, done: float) -> float:
        """One optimiser step; returns its loss. ``done`` (0 to 1) sets the learning rate."""
        config = self.config
        pet, ct = (x.to(self.device) for x in batches.batch(self.step, config.batch))
        random = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        t = _draw_steps(config, self.schedule, random).to(self.device)
        noise = torch.randn(pet.shape, generator=random).to(self.device)[:, None]
        keep = (torch.rand(config.batch, generator=random) >= config.ct_dropout).to(self.device)
        x0 = self.transform.to_model(pet)[:, None]
        signal, sigma = self.schedule.signal_noise(t)
        x_t = (signal * x0 + sigma * noise).contiguous(memory_format=torch.channels_last)
        target = signal * noise - sigma * x0
        guide = (normalise_ct(ct) * keep[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            v = self.network(x_t, torch.log(sigma / signal).flatten(), self.network.tokens(guide))
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
        return float(loss.detach())

    def log(self, loss: float, rate: float) -> None:
        """Append a row to ``log.csv``."""
        path = self.out / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "loss", "images_per_s"])
            writer.writerow([self.step, f"{loss:.6f}", f"{rate:.1f}"])

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind, network in (("network", self.network), ("average", self.average)):
            for name, value in network.state_dict().items():
                yield f"{kind}.{name}", value
        for index, state in self.optimiser.state_dict()["state"].items():
            for name, value in state.items():
                yield f"optimiser.{index}.{name}", torch.as_tensor(value)

    def save(self) -> None:
        """Write ``state.safetensors``: all that is needed to go on to the bit."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self._tensors()}
        with atomic_path(self.out / "state.safetensors") as temporary:
            save_file(tensors, temporary, {"step": str(self.step)})

    def _resume(self) -> None:
        path = self.out / "state.safetensors"
        if not path.exists():
            return
        try:
            self._restore(load_file(path, device=str(self.device)))
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

    def export(self) -> Path:
        """Write the moving average as ``prior.safetensors``."""
        info = {
            "pixel_mm": self.config.pixel_mm,
            "trained_on": self.described,
            "steps": self.step,
            "batch": self.config.batch,
            "conditioning": self.config.network.conditioning,
            "licence": "Apache-2.0; training data CC BY 3.0, see docs/model_card.md",
        }
        prior = Prior(self.average, self.transform, self.schedule, info)
        return prior.save(self.out / "prior.safetensors")


def _first_weights(config: TrainingConfig) -> NoiseNetwork:
    """A new network, or one with the weights of the prior that the run starts from."""
    network = NoiseNetwork(config.network)
    if config.start_from:
        prior = Prior.load(None if config.start_from == "bundled" else config.start_from)
        if prior.network.config != config.network:
            raise InputError(
                f"The prior '{config.start_from}' has another network than the configuration: give its 'network', "
                "or start from random weights."
            )
        network.load_state_dict(prior.network.state_dict())
    return network


def _draw_steps(config: TrainingConfig, schedule: NoiseSchedule, random: torch.Generator) -> Tensor:
    """Noise levels t ``(batch,)``: mostly where reconstruction works (log-normal), some everywhere."""
    log_ratios = schedule.noise_ratio().log()
    drawn = torch.randn(config.batch, generator=random, dtype=torch.float64) * config.log_sigma_std
    near = torch.searchsorted(log_ratios, drawn + config.log_sigma_mean).clamp(0, schedule.steps - 1)
    anywhere = torch.randint(0, schedule.steps, (config.batch,), generator=random)
    return torch.where(torch.rand(config.batch, generator=random) < config.uniform_share, anywhere, near)
