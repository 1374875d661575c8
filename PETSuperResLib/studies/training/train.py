"""Training a prior, in stages if the recipe has several, on one process or many."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from ...cohort.distributed import Team, team_on
from ...errors import InputError
from ...files import write_text
from ...outputs import begins, marked
from ...prior import Prior
from ...prior.card import FORMAT
from ...progress import Callback, Reporter
from .cache import cache_folder
from .config import TrainingConfig, read_recipe, recipe_json
from .data import SliceBatches
from .learner import PriorLearner, patch_s
from .limit import SHORTEST_S, STEPS, VALIDATION, Limit
from .logs import Log
from .loop import STATE, Loop
from .prefetch import Prefetcher
from .sheets import write_sheet
from .sources import training_slices
from .validation import Scan, validate, validation_scans

FILES = {  # of a run, with how an earlier one is recognised
    "config.json": marked('"log_sigma_mean"'),
    "prior.safetensors": marked(FORMAT),
    STATE: marked('"finished"'),
    "log.csv": begins(("step", "loss", "images_per_s")),
    "validation.csv": begins(("step", "loss", "loss_0.1")),
}


def train(
    data: str | Path | None,
    out: str | Path,
    config: TrainingConfig | Sequence[TrainingConfig] | str | Path | None = None,
    split: str | Path | None = None,
    limit_minutes: float | None = None,
    device: str = "auto",
    progress: Callback | None = None,
    cache: str | Path | None = None,
    cts: str | Path | None = None,
) -> Path:
    """Train a prior on the ``train`` patients of ``data`` (and phantoms) and write ``out/prior.safetensors``.

    ``config``: one stage, several, or what :func:`~.config.read_recipe` reads. Each stage starts from the weights of
    the stage before and is a run of its own in ``out/stage_1`` ..., the last one in ``out``. ``data`` None trains on
    phantoms alone. A stopped run in ``out`` is continued, a finished one left as it is. ``limit_minutes`` is the time
    for everything, preparation and validation included: fewer slices are made where they take too long, the learning
    rate is annealed to zero by then, and the stages to come share the time by their work. A stage before the last one
    whose share would be too short is left out, and the batch is smaller where few steps would fit. An interruption
    (Ctrl-C, SIGTERM) of the steps saves the state before it is raised as :class:`KeyboardInterrupt`. Under torchrun the
    processes share every batch. ``cache`` is a folder that keeps the slices (:func:`~.sources.training_slices`);
    ``cts`` is a folder of torso CTs (:func:`~PETSuperResLib.cohort.cts.split_cts`) for stages with a ``torso_share``.
    Returns the checkpoint's path.
    """
    if isinstance(config, TrainingConfig):
        stages: tuple[TrainingConfig, ...] = (config,)
    else:
        stages = read_recipe(config) if config is None or isinstance(config, (str, Path)) else tuple(config)
    if cts is not None and not any(stage.torso_share for stage in stages):
        raise InputError("The configuration trains on no torso CTs: give it a 'torso_share', or leave out --cts.")
    out, limit = Path(out), Limit(limit_minutes)
    folders = [*(out / f"stage_{n + 1}" for n in range(len(stages) - 1)), out]
    with team_on(device, math.gcd(*(stage.batch for stage in stages))) as team:
        recipe = recipe_json(stages)
        if is_finished(out, recipe):
            return out / "prior.safetensors"
        work = [s.steps * s.batch * s.size**2 or 1 for s in stages]
        report = Reporter(progress if team.first else None)
        begun = max((n for n, folder in enumerate(folders) if (folder / STATE).is_file()), default=0)
        for n, (stage, folder) in enumerate(zip(stages, folders, strict=True)):
            own = limit.part(work[n] / sum(work[n:]))
            (short,) = team.agree(float(own.left_s < SHORTEST_S))
            if folder != out and (n < begun or short or _ended(folder)):
                continue
            before = [str(path) for f in folders[:n] if (path := f / "prior.safetensors").is_file()]
            if n:
                stage = replace(stage, start_from=[stages[0].start_from, *before][-1])
            part = report.part(sum(work[:n]) / sum(work), sum(work[: n + 1]) / sum(work))
            title = f"stage {n + 1} of {len(stages)}" if len(stages) > 1 else ""
            prepared = _Stage(data, folder, stage, split, team, part, cache, title, own, cts)
            if team.first:  # an interrupted preparation leaves nothing
                write_text(out / "config.json", recipe)
            prepared.run()
            team.agree(0)  # the next stage starts from the file of the first process
        report("done", 1.0)
    return out / "prior.safetensors"


def shortened(out: Path, stages: Sequence[TrainingConfig]) -> str:
    """What a time limit left out of a recipe in the run ``out``, in words; empty if nothing."""
    left = [str(n) for n in range(1, len(stages)) if not (out / f"stage_{n}").is_dir()]
    batch, wanted = Prior.load(out / "prior.safetensors").info["batch"], stages[-1].batch
    which = f"stage{'s' * (len(left) > 1)} {', '.join(left)} of {len(stages)} left out" if left else ""
    return ", ".join(filter(None, (which, f"a batch of {batch} in place of {wanted}" if batch != wanted else "")))


def is_finished(out: Path, recipe: str) -> bool:
    """Whether ``out`` holds a run of this recipe (:func:`~.config.recipe_json`) that was trained to its end."""
    config = out / "config.json"
    return _ended(out) and config.is_file() and config.read_text(encoding="utf-8") == recipe


def _ended(folder: Path) -> bool:
    """Whether a stage was trained to its end."""
    try:
        with safe_open(folder / STATE, framework="pt") as file:
            return bool((file.metadata() or {}).get("finished") == "True")
    except (SafetensorError, OSError):
        return False


class _Stage:
    """One run: its data, its loop, and the files and reports of the first process."""

    def __init__(
        self,
        data: str | Path | None,
        out: Path,
        config: TrainingConfig,
        split: str | Path | None,
        team: Team,
        report: Reporter,
        cache: str | Path | None,
        title: str,
        limit: Limit,
        cts: str | Path | None,
    ):
        self.out, self.team, self.title, self.limit = out, team, title, limit
        loading = report.part(0.0, 0.02)

        def load() -> tuple[SliceBatches, str]:
            return training_slices(data, split, config, loading, cache, until=limit.prepared_by, cts=cts)

        self.batches, self.described = team.first_then_others(load) if cache_folder(cache) else load()
        self.scans: list[Scan] = []
        self.note, self.needed_s = "", 0.0
        if team.first and config.validate_every:
            own = report.part(0.02, 0.02)
            self.scans, self.note = validation_scans(data, split, config, team.device, own, limit.prepared_by, cts)
        self.report = report.part(0.02, 1.0)
        limit.check()
        config = self.config = replace(config, batch=self._batch(config))
        learner = PriorLearner(config, team.share(config.batch))
        self.loop = Loop(learner, config, team, out, self._save_prior)

    def _batch(self, config: TrainingConfig) -> int:
        """The configuration's batch, or under a limit a smaller one, of which :data:`STEPS` steps fit."""
        if self.limit.minutes is None:
            return config.batch
        self.report("timing a step", 0.0)
        step_s = (1 - VALIDATION) * self.limit.left_s / STEPS
        (least,) = self.team.agree(-step_s / patch_s(config, self.batches, self.team.device))
        return min(config.batch, self.team.size * max(1, int(-least)))

    def run(self) -> None:
        """Train to the end, to the limit or to the interruption."""
        validation_s = self._validation_s() if self.team.first and self.limit.minutes is not None else 0.0
        (validation_s,) = self.team.agree(validation_s)
        left_s = self.limit.left_s - validation_s
        with Prefetcher(self.batches, self.config.batch, self.team) as batches:
            if not self.team.first:
                self.loop.run(batches, left_s)
                return
            self.log = Log(self.out, self.loop.step)
            self.report.start_clock(self.loop.step / max(1, self.config.steps))
            self.since, self.logged_step = time.monotonic(), self.loop.step
            try:
                self.loop.run(batches, left_s, self._logged, self._validate)
            finally:
                self.log.close()

    def _validation_s(self) -> float:
        """The time to keep for the validation at the end, by that of one scan; without enough there is none."""
        if not self.scans:
            return 0.0
        self.report("timing the validation", 0.0)
        began = time.monotonic()
        validate(self._prior(self.loop.average, self.loop.step), self.scans[:1])
        needed = 1.2 * len(self.scans) * (time.monotonic() - began)
        if needed > VALIDATION * self.limit.left_s:
            self.scans, self.note, needed = [], "no validation: the time does not suffice", 0.0
        self.needed_s = needed
        return needed

    def _prior(self, learner: nn.Module, step: int) -> Prior:
        assert isinstance(learner, PriorLearner)
        return learner.prior(self.described, step)

    def _save_prior(self, average: nn.Module, step: int) -> None:
        self._prior(average, step).save(self.out / "prior.safetensors")

    def _logged(self, loss: float, done: float) -> None:
        """The mean loss since the last call and the speed, as a row of log.csv and an event."""
        loop, config = self.loop, self.config
        rate = (loop.step - self.logged_step) * config.batch / max(1e-9, time.monotonic() - self.since)
        self.since, self.logged_step = time.monotonic(), loop.step
        self.log.trained(loop.step, loss, rate, loop.learning_rate)
        text = f"step {loop.step} of {config.steps}, loss {loss:.4f}, {rate:.3g} images/s"
        self.report("training", done, "; ".join(filter(None, (text, self.title, self.note))))

    def _validate(self, done: float) -> None:
        """Validate on the scans, unless there are none or this step has been validated before."""
        step = self.loop.step
        if not self.scans or self.log.validation.last == step:
            return
        if done < 1 and self.limit.left_s < 2 * self.needed_s:  # kept for the one at the end
            return
        began = time.monotonic()

        def show(share: float) -> None:
            self.report("validating", done, f"step {step}: {share:.0%}")

        outcome = validate(self._prior(self.loop.average, step), self.scans, show)
        write_sheet(self.out / "sheets" / f"step_{step:07d}.png", outcome.shown, f"Step {step}")
        self.note = outcome.summary
        self.log.validated(step, outcome.figures, time.monotonic() - began)
        self.report("validating", done, f"step {step}: {self.note}")
        self.since += time.monotonic() - began  # the speed is that of training
