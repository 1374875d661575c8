"""Methods that learn: what a network must offer, the one loop that trains them all, and where the result is kept."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...device import pick_device
from ...errors import InputError
from ...files import atomic_path, hash_of
from ...grid import centred_resize
from ...prior.checkpoint import autocast, tensors_sha256
from ...progress import Reporter
from ...volume import Volume
from .interface import FitOptions, Method, MethodCase, TrainingCase
from .pairs import AIR_HU, Pairs, channels, entry_name

PAD = 32  # image sides are padded to multiples of it
SLICES_PER_BATCH = 16


class Restorer(nn.Module):
    """A network that learns to restore.

    ``inputs`` are the :data:`~.pairs.CHANNELS` it reads besides the truth, each a
    ``(B, 1 + 2 neighbours, H, W)`` tensor, SUV or HU, the slice itself in the middle.
    """

    inputs: tuple[str, ...] = ("lr",)
    neighbours: int = 0

    def loss(self, batch: dict[str, Tensor], random: torch.Generator, done: float) -> Tensor:
        """The loss of a batch with its ``truth``; ``random`` is on the CPU, ``done`` the share of training done."""
        raise NotImplementedError

    def restore(self, images: dict[str, Tensor], random: torch.Generator) -> Tensor:
        """``inputs`` -> activity in SUV, ``(B, 1, H, W)``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Recipe:
    """How a restorer is made and trained; everything but the code that decides its weights."""

    name: str
    build: Callable[[], Restorer] = field(repr=False)
    steps: int
    batch: int = 16
    size: int = 64  # side of a patch in pixels
    learning_rate: float = 1e-3
    warmup: int = 100
    average: float = 0.999  # decay of the moving average of the weights, which is the result
    clip: float = 1.0

    def method(self, source: str, filled_in: str, needs_ct: bool = False, needs_pairs: bool = True) -> Method:
        """The untrained method."""

        def untrained(case: MethodCase) -> Volume:
            raise InputError(f"Method '{self.name}' is not trained.")

        def fit(cases: Sequence[TrainingCase], options: FitOptions) -> Method:
            model = fit_restorer(self, cases, options)
            return replace(method, fit=None, run=lambda case: restore_with(model, case))

        method = Method(self.name, untrained, source, filled_in, needs_ct, needs_pairs, fit)
        return method


def fit_restorer(recipe: Recipe, cases: Sequence[TrainingCase], options: FitOptions) -> Restorer:
    """Train on the pairs of ``cases``, or read what an equal call left in ``options.folder``.

    AdamW, linear warm-up and a cosine to zero over the steps or the time limit, whichever ends first; the
    result is the moving average of the weights. Progress goes to ``options.progress``.
    """
    steps = options.steps or recipe.steps
    torch.manual_seed(options.seed)
    model = recipe.build()
    path = options.folder / f"{recipe.name}-{_hash(recipe, model, steps, cases, options)}.safetensors"
    if _read(model, path):
        return model.requires_grad_(False).eval()
    report = Reporter(options.progress)
    pairs = Pairs.make(cases, options, report.part(0.0, 0.5))
    report = report.part(0.5, 1.0)
    report.start_clock(0.0)
    device = pick_device(options.device)
    model.to(device).train()
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    began, seconds = time.monotonic(), math.inf if options.limit_minutes is None else 60 * options.limit_minutes
    step, done = 0, 0.0
    while done < 1:
        batch = pairs.batch(options.seed, step, recipe.batch, recipe.size, model.inputs, model.neighbours)
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        with autocast(device):
            loss = model.loss({name: value.to(device) for name, value in batch.items()}, random, done)
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / recipe.warmup)
            group["lr"] = recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        step += 1
        decay = min(recipe.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        done = min(1.0, max(step / steps, (time.monotonic() - began) / seconds))
        if step % 20 == 0 or done == 1:
            report(f"training {recipe.name}", done, f"step {step} of {steps}, loss {float(loss.detach()):.4f}")
    average.cpu()
    if not all(bool(torch.isfinite(p).all()) for p in average.parameters()):
        raise InputError(f"Training of '{recipe.name}' diverged: give it other data, another seed or more time.")
    _write(average, path, recipe.name, step)
    return average


def restore_with(model: Restorer, case: MethodCase) -> Volume:
    """Run a trained restorer slice by slice on one case; activity (SUVbw) on the SR grid."""
    grid, device = case.simulation.truth, pick_device(case.device)
    model.to(device)
    random = torch.Generator().manual_seed(case.seed)
    j, i = (-(-n // PAD) * PAD for n in grid.shape[1:])
    images = {}
    around = torch.arange(grid.shape[0])[:, None] + torch.arange(-model.neighbours, model.neighbours + 1)
    around = around.clamp(0, grid.shape[0] - 1)
    for name, image in channels(case.simulation, case.ct, model.inputs, case.device).items():
        outside = AIR_HU if name == "ct" else 0.0
        images[name] = (centred_resize(image - outside, (j, i)) + outside)[around]
    parts = []
    for first in range(0, grid.shape[0], SLICES_PER_BATCH):
        part = {name: image[first : first + SLICES_PER_BATCH].to(device) for name, image in images.items()}
        with torch.inference_mode(), autocast(device):
            parts.append(model.restore(part, random)[:, 0].float().cpu())
    result = centred_resize(torch.cat(parts), (grid.shape[1], grid.shape[2])).clamp_min(0)
    return grid.with_array(result.numpy(), "SUVbw")


def _hash(recipe: Recipe, model: Restorer, steps: int, cases: Sequence[TrainingCase], options: FitOptions) -> str:
    """Of everything that decides a restorer's weights."""
    decides = {
        "recipe": repr(replace(recipe, steps=steps)),
        "network": str(model),
        "inputs": [*model.inputs, model.neighbours],
        "pairs": [entry_name(case, number, options) for number, case in enumerate(cases)],
        "seed": options.seed,
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
