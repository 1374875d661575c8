"""Training the prior: noise prediction on augmented slices (section 2.2), on one process or many."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from ...cohort.distributed import team_on
from ...errors import Cancelled
from ...files import atomic_path
from ...progress import Callback, Reporter
from .cache import cache_folder
from .config import TrainingConfig
from .data import SliceBatches
from .feed import Feed
from .logs import Log
from .run import Run
from .sheets import write_sheet
from .sources import training_slices
from .validation import Scan, validate, validation_scans


def train(
    data: str | Path | None,
    out: str | Path,
    config: TrainingConfig | str | Path | None = None,
    split: str | Path | None = None,
    limit_minutes: float | None = None,
    device: str = "auto",
    progress: Callback | None = None,
    cache: str | Path | None = None,
) -> Path:
    """Train a prior on the ``train`` patients of ``data`` (and phantoms) and write ``out/prior.safetensors``.

    ``data`` None trains on phantoms alone. A run found in ``out`` goes on where it stopped; with
    ``limit_minutes`` the learning rate is annealed to zero over that time. An interruption (Ctrl-C, SIGTERM)
    saves the state before it is raised as :class:`KeyboardInterrupt`. Under torchrun the processes share every
    batch. ``cache`` is a folder that keeps the slices (:func:`~.sources.training_slices`). Returns the
    checkpoint's path.
    """
    if not isinstance(config, TrainingConfig):
        config = TrainingConfig.read(config)
    out = Path(out)
    with team_on(device, config.batch) as team:
        report = Reporter(progress if team.first else None)
        if team.first:
            out.mkdir(parents=True, exist_ok=True)
            with atomic_path(out / "config.json") as temporary:
                temporary.write_text(json.dumps(asdict(config), indent=1))
        loading = report.part(0.0, 0.02)

        def load() -> tuple[SliceBatches, str]:
            return training_slices(data, split, config, loading, cache)

        batches, described = team.first_then_others(load) if cache_folder(cache) else load()
        scans: list[Scan] = []
        note = ""
        if team.first and config.validate_every:
            scans, note = validation_scans(data, split, config, team.device, report.part(0.02, 0.02))
        run = Run(config, out, team, described)
        observer = _Observer(run, scans, note, report.part(0.02, 1.0)) if team.first else None
        feed = Feed(batches, config.batch, team)
        try:
            return train_steps(run, feed, observer, limit_minutes)
        finally:
            feed.close()
            if observer is not None:
                observer.log.close()


class Observer(Protocol):
    """Who is told of a run: the loss every ``log_every`` steps, the time to validate, the end."""

    report: Reporter

    def trained(self, loss: float, done: float) -> None:
        """Hear of the mean loss since the last time; ``done`` is 0 to 1."""

    def validate(self, done: float) -> None:
        """It is time to validate."""


def train_steps(run: Run, feed: Feed, observer: Observer | None, limit_minutes: float | None) -> Path:
    """Train to the end, or to the interruption, which saves the state; returns the checkpoint's path."""
    config, team = run.config, run.team
    deadline = None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
    recent: list[Tensor] = []
    with _Stop() as stop:
        while run.step < config.steps:
            done = run.step / config.steps
            if deadline is not None:
                done = max(done, 1 - (deadline - time.monotonic()) / (60 * limit_minutes))  # type: ignore[operator]
            done, stopped = team.agree(done, float(stop.asked))
            if stopped:
                run.save()
                raise KeyboardInterrupt
            if done >= 1:
                break
            recent.append(run.update(done, *feed(run.step)))
            if run.step % config.log_every == 0:
                loss = team.mean(torch.stack(recent).mean())
                recent = []
                if observer is not None:
                    _or_save(run, lambda loss=loss, done=done: observer.trained(loss, done))  # type: ignore[misc]
            if run.step % config.checkpoint_every == 0:
                run.save()
            if observer is not None and config.validate_every and run.step % config.validate_every == 0:
                _or_save(run, lambda done=done: observer.validate(done))  # type: ignore[misc]
        path = run.save()
        if observer is not None:
            observer.validate(1.0)
            observer.report("done", 1.0)
    return path


def _or_save(run: Run, work: Any) -> None:
    """Do what tells the caller; the state is kept if the caller then cancels."""
    try:
        work()
    except Cancelled:
        run.save()
        raise


class _Observer:
    """What the first process tells about a run: tables, sheets, progress."""

    def __init__(self, run: Run, scans: Sequence[Scan], note: str, report: Reporter):
        self.run, self.scans, self.note, self.report = run, list(scans), note, report
        self.log = Log(run.out, run.step)
        self.report.start_clock(run.step / max(1, run.config.steps))
        self.since, self.step = time.monotonic(), run.step

    def trained(self, loss: float, done: float) -> None:
        """Tell the mean loss since the last time, and the speed."""
        run = self.run
        rate = (run.step - self.step) * run.config.batch / max(1e-9, time.monotonic() - self.since)
        self.since, self.step = time.monotonic(), run.step
        self.log.trained(run.step, loss, rate, run.learning_rate)
        told = f"step {run.step} of {run.config.steps}, loss {loss:.4f}, {rate:.3g} images/s"
        self.report("training", done, f"{told}; {self.note}" if self.note else told)

    def validate(self, done: float) -> None:
        """Validate on the scans, unless there are none or this step has been validated before."""
        if not self.scans or self.log.validation.last == self.run.step:
            return
        began, step = time.monotonic(), self.run.step
        outcome = validate(
            self.run.prior, self.scans, lambda share: self.report("validating", done, f"step {step}: {share:.0%}")
        )
        write_sheet(self.run.out / "sheets" / f"step_{step:07d}.png", outcome.sights, f"Step {step}")
        self.note = outcome.summary
        self.log.validated(step, outcome.figures, time.monotonic() - began)
        self.report("validating", done, f"step {step}: {self.note}")
        self.since += time.monotonic() - began  # the speed is that of training


class _Stop:
    """Turns the first SIGINT or SIGTERM into a wish to stop between two steps; a second Ctrl-C stops at once.

    Under torchrun, which repeats a signal, every further one is ignored. Only the main thread gets signals.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and not torch.distributed.is_initialized():
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
