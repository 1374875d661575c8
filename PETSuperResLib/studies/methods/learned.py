"""Methods that learn: the interface of their networks, training, and storage of the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...cohort.distributed import Team
from ...device import autocast, pick_device
from ...errors import InputError
from ...files import atomic_path, hash_of
from ...grid import centred_resize
from ...prior.checkpoint import tensors_sha256
from ...prior.denoiser import AIR_HU
from ...progress import Reporter
from ...volume import Volume
from ..subjects import Subject
from ..training.loop import Loop, LoopConfig
from .interface import FitOptions, Method, MethodCase, untrained
from .pairs import Pairs, Plan, channels, standard_scans

PAD = 32  # image sides are padded to multiples of it
SLICES_PER_BATCH = 16


class Restorer(nn.Module):
    """A network that learns to restore.

    ``inputs`` are names of what it reads besides the truth, each a ``(B, 1 + 2 neighbours, H, W)`` tensor, SUV or HU,
    the slice itself in the middle, or a vector ``(B, n)`` of what is told of a scan. ``starts_from`` is the SHA-256 of
    the prior whose weights it starts with.
    """

    inputs: tuple[str, ...] = ("lr",)
    neighbours: int = 0
    starts_from: str = ""

    def images(self, case: MethodCase) -> dict[str, Tensor]:
        """``inputs`` of a case on the SR grid, ``(S, J, I)`` (``(n,)`` what is told): of :data:`~.pairs.CHANNELS`."""
        return channels(case.simulation, case.ct, self.inputs, case.device)

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """The loss of a batch with its ``truth``; ``random`` is on the CPU, ``done`` the share of training done."""
        raise NotImplementedError

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        """``inputs`` -> activity in SUV, ``(B, 1, H, W)``."""
        raise NotImplementedError


@dataclass(frozen=True)
class RestorerConfig(LoopConfig):
    """How a restorer is made and trained; everything but the code that decides its weights."""

    name: str = ""
    build: Callable[[], Restorer] = field(default=Restorer, repr=False)
    plan: Plan = field(default=standard_scans, repr=False)  # its scans' hashes stand for it
    size: int = 64  # side of a patch in pixels
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    log_every: int = 20

    def method(
        self, source: str, filled_in: str, needs_ct: bool = False, needs_pairs: bool = True, **others: Any
    ) -> Method:
        """The untrained method; ``others`` are further fields of it."""

        def fit(cases: Sequence[Subject], options: FitOptions) -> Method:
            model = fit_restorer(self, cases, options)
            return replace(method, fit=None, run=lambda case: restore_with(model, case))

        method = Method(self.name, untrained, source, filled_in, needs_ct, needs_pairs, fit, **others)
        return method


def fit_restorer(config: RestorerConfig, cases: Sequence[Subject], options: FitOptions) -> Restorer:
    """Train on the pairs of ``cases``, or read the result of an equal call from ``options.folder``.

    The result is the moving average of the weights (:class:`~..training.loop.Loop`). An interrupted fit
    is continued. Progress is reported to ``options.progress``.
    """
    config = replace(config, seed=options.seed, steps=options.steps or config.steps)
    torch.manual_seed(options.seed)
    model = config.build()
    path = options.folder / f"{config.name}-{_hash(config, model, cases, options)}.safetensors"
    if _read(model, path):
        return model.requires_grad_(False).eval()
    report = Reporter(options.progress)
    pairs = Pairs.make(cases, options, report.part(0.0, 0.5), config.plan)
    report = report.part(0.5, 1.0)
    report.start_clock(0.0)
    making = path.with_suffix(".part")
    loop = Loop(RestorerLearner(model, config.seed), config, Team(pick_device(options.device)), making)

    def batch(step: int) -> dict[str, Tensor]:
        return pairs.batch(config.seed, step, config.batch, config.size, model.inputs, model.neighbours)

    def logged(loss: float, done: float) -> None:
        report(f"training {config.name}", done, f"step {loop.step} of {config.steps}, loss {loss:.4f}")

    loop.run(batch, options.limit_s, logged)
    report(f"training {config.name}", 1.0, f"step {loop.step} of {config.steps}")
    average: Restorer = loop.average.network.cpu()  # type: ignore[union-attr,assignment]
    shutil.rmtree(making)
    if not all(bool(torch.isfinite(p).all()) for p in average.parameters()):
        raise InputError(f"Training of '{config.name}' diverged: give it other data, another seed or more time.")
    _write(average, path, config.name, loop.step)
    return average


class RestorerLearner(nn.Module):
    """The loss of a restorer on a batch of pairs."""

    def __init__(self, network: Restorer, seed: int):
        super().__init__()
        self.network, self.seed = network, seed

    def forward(self, step: int, done: float, batch: dict[str, Tensor]) -> Tensor:
        """The loss; its random numbers are those of the step."""
        device = next(self.network.parameters()).device
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        with autocast(device):
            return self.network.loss({name: value.to(device) for name, value in batch.items()}, random, done)


def restore_with(model: Restorer, case: MethodCase) -> Volume:
    """Run a trained restorer slice by slice on one case; activity (SUVbw) on the SR grid."""
    grid, device = case.simulation.truth, pick_device(case.device)
    model.to(device)
    random = torch.Generator().manual_seed(case.seed)
    j, i = (-(-n // PAD) * PAD for n in grid.shape[1:])
    images = {}
    around = torch.arange(grid.shape[0])[:, None] + torch.arange(-model.neighbours, model.neighbours + 1)
    around = around.clamp(0, grid.shape[0] - 1)
    for name, image in model.images(case).items():
        if image.ndim == 1:
            images[name] = image.expand(len(around), -1)
            continue
        outside = AIR_HU if name == "ct" else 0.0
        images[name] = (centred_resize(image - outside, (j, i)) + outside)[around]
    parts = []
    for first in range(0, grid.shape[0], SLICES_PER_BATCH):
        part = {name: image[first : first + SLICES_PER_BATCH].to(device) for name, image in images.items()}
        with torch.inference_mode(), autocast(device):
            parts.append(model.restore(part, random)[:, 0].float().cpu())
    return case.volume(centred_resize(torch.cat(parts), (grid.shape[1], grid.shape[2])).clamp_min(0))


def _hash(config: RestorerConfig, model: Restorer, cases: Sequence[Subject], options: FitOptions) -> str:
    """Of everything that decides a restorer's weights."""
    decides = {
        "config": repr(config),
        "network": str(model),
        "inputs": [*model.inputs, model.neighbours],
        "starts_from": model.starts_from,
        "pairs": [scan.file for scan in config.plan(cases, options)],
        "limit_minutes": options.limit_minutes,
    }
    return hash_of(decides)


def _write(model: Restorer, path: Path, name: str, steps: int) -> None:
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    metadata = {"method": name, "steps": str(steps), "tensors_sha256": tensors_sha256(weights)}
    with atomic_path(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, temporary, {k: json.dumps(v) for k, v in metadata.items()})


def _read(model: Restorer, path: Path) -> bool:
    """Load kept weights; False where there are none or they are damaged (they are then made again)."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if json.loads(metadata.get("tensors_sha256", "0")) != tensors_sha256(weights):
            return False
        model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, ValueError):
        return False
    return True
