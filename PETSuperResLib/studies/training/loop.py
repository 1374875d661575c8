"""The one training loop: AdamW, warm-up and a cosine, a moving average of the weights, resumable to the bit.

A learner is a module whose ``forward(step, done, batch)`` returns the loss of a batch; every random number in it is
fixed by the step. The prior (:class:`~.learner.PriorLearner`) and the compared methods
(:mod:`PETSuperResLib.studies.methods.learned`) train here.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ...cohort.distributed import Team
from ...errors import Cancelled, CheckpointError
from ...files import atomic_path

Batch = Any  # input of a learner: tensors of this process's share of a batch
STATE = "state.safetensors"
WARM_UP = 0.1  # of the training, at most, has a rising learning rate


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast a learner learns, and how often it is logged, kept and validated (in steps)."""

    steps: int = 6000
    batch: int = 16
    learning_rate: float = 4e-4
    warmup: int = 200  # steps of a learning rate that rises from 0
    weight_decay: float = 0.01
    ema: float = 0.999  # decay of the moving average of the weights
    clip: float = 1.0  # norm of the gradient
    seed: int = 0
    log_every: int = 25
    checkpoint_every: int = 250
    validate_every: int = 1000  # and at the end; 0: never

    def __post_init__(self) -> None:
        for name in ("batch", "warmup", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        if self.steps < 0 or self.validate_every < 0:
            raise ValueError("steps and validate_every must not be negative")
        if not (self.learning_rate > 0 and self.clip > 0):
            raise ValueError("learning_rate and clip must be above 0")


class Loop:
    """A learner, its moving average, its optimiser and schedule; kept in ``folder`` if there is one.

    ``save_result(average, step)`` writes what a run is for whenever the state is kept: ``average`` is a learner with
    the averaged weights. Raises :class:`CheckpointError` if the folder's state belongs to another network.
    """

    def __init__(
        self,
        learner: nn.Module,
        config: LoopConfig,
        team: Team,
        folder: Path | None = None,
        save_result: Callable[[nn.Module, int], object] = lambda average, step: None,
    ):
        self.config, self.team, self.folder, self.save_result = config, team, folder, save_result
        self.learner = learner.to(team.device).train()
        self.averaged = AveragedModel(self.learner, multi_avg_fn=partial(_average, config.ema))
        self.averaged.update_parameters(self.learner)  # the first call copies
        self.averaged.requires_grad_(False).eval()
        group = {"params": list(self.learner.parameters()), "initial_lr": config.learning_rate}
        self.optimiser = torch.optim.AdamW(
            [group], config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.schedule: LambdaLR | None = None
        self.step, self.done = 0, 0.0
        self._resume()
        self.parallel = team.parallel(self.learner)

    @property
    def average(self) -> nn.Module:
        """The learner with the averaged weights."""
        return self.averaged.module  # type: ignore[no-any-return]

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def update(self, batch: Batch, done: float) -> Tensor:
        """One step of the optimiser on this process's share of a batch; returns its loss.

        ``done`` (0 to 1) is the share of the training that is over; it sets the learning rate.
        """
        self.done = done
        if self.schedule is None:
            self.schedule = LambdaLR(self.optimiser, self._factor, self.step - 1)
        else:
            self.schedule.step()
        loss: Tensor = self.parallel(self.step, done, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.config.clip)
        self.optimiser.step()
        self.step += 1
        self.averaged.update_parameters(self.learner)
        return loss.detach()

    def run(
        self,
        batches: Callable[[int], Batch],
        limit_s: float = math.inf,
        logged: Callable[[float, float], object] = lambda loss, done: None,
        validate: Callable[[float], object] = lambda done: None,
    ) -> None:
        """Train to the last step or for ``limit_s``, whichever ends first; the state is kept at the end.

        At least one step is done, and none is begun that would not end in time by the one before. ``batches`` gives
        this process's share of the batch of a step, ``logged`` receives the mean loss since its last call, and both
        callbacks the share done. The first Ctrl-C or SIGTERM keeps the state after the step under way and raises
        :class:`KeyboardInterrupt`; :class:`Cancelled` from a callback keeps it too.
        """
        config, began, first = self.config, time.monotonic(), self.step
        losses: list[Tensor] = []
        done = step_s = 0.0

        def log() -> None:
            if losses:
                logged(self.team.mean(torch.stack(losses).mean()), done)
                losses.clear()

        with stop_signals() as stop:
            try:
                while self.step < config.steps:
                    now = time.monotonic()
                    late = self.step > first and now + step_s > began + limit_s
                    share = min(1.0, (now - began) / limit_s) if limit_s > 0 else 1.0
                    done, over, stopped = self.team.agree(
                        max(self.step / config.steps, share), float(late), float(stop.is_set())
                    )
                    if stopped:
                        log()
                        self.save()
                        raise KeyboardInterrupt
                    if over:
                        break
                    losses.append(self.update(batches(self.step), done))
                    step_s = time.monotonic() - now
                    if self.step % config.log_every == 0:
                        log()
                    if self.step % config.checkpoint_every == 0:
                        self.save()
                    if config.validate_every and self.step % config.validate_every == 0:
                        validate(done)
                log()
                self.save(finished=True)
                validate(1.0)
            except Cancelled:
                self.save()
                raise

    def save(self, finished: bool = False) -> None:
        """Write all that is needed to go on to the bit, and the result, from the first process."""
        if not self.team.first:
            return
        if self.folder is not None:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self._tensors()}
            with atomic_path(self.folder / STATE) as temporary:
                save_file(tensors, temporary, {"step": str(self.step), "finished": str(finished)})
        self.save_result(self.average, self.step)

    def _factor(self, step: int) -> float:
        """Of the learning rate: linear warm-up, in a tenth of the training at most, then a cosine to zero over it."""
        warm = max((step + 1) / self.config.warmup, self.done / WARM_UP)
        return min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * min(self.done, 1.0)))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind, module in (("learner", self.learner), ("average", self.average)):
            for name, value in module.state_dict().items():
                yield f"{kind}.{name}", value
        for index, state in self.optimiser.state_dict()["state"].items():
            for name, value in state.items():
                yield f"optimiser.{index}.{name}", torch.as_tensor(value)

    def _resume(self) -> None:
        path = None if self.folder is None else self.folder / STATE
        if path is None or not path.exists():
            return
        try:
            self._restore(load_file(path, device=str(self.team.device)))
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} is damaged or of another network's run: choose another folder, or remove it to start again."
            ) from error

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for kind, module in (("learner", self.learner), ("average", self.average)):
            start = f"{kind}."
            module.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(next(iter(state.values()))["step"]) if state else 0
        self.averaged.n_averaged.fill_(self.step + 1)


def _average(decay: float, averages: Any, weights: Any, count: Tensor) -> None:
    """Exponential moving average whose decay rises with the steps, so that the first weights are soon forgotten."""
    step = int(count)
    with torch.no_grad():
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - min(decay, (step + 1) / (step + 10)))


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """The event is set by the first SIGINT or SIGTERM, so that a step can end; a second Ctrl-C interrupts at once.

    Under torchrun, which repeats a signal, every further one is ignored. Only the main thread receives signals.
    """
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT and not torch.distributed.is_initialized():
            raise KeyboardInterrupt
        stop.set()

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
