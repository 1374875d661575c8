"""Our prior with the CT as further input channels (Table 3), or without CT, in place of cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from ...cohort.distributed import Team
from ...device import pick_device
from ...errors import InputError, PETSuperResError
from ...files import hash_of
from ...prior import Prior
from ...prior.checkpoint import BUNDLED_SHA256
from ...progress import Reporter
from ...volume import Volume
from ..subjects import Subject
from ..training.cache import Stack, StoredSlices
from ..training.config import TrainingConfig, read_recipe, with_conditioning
from ..training.data import SliceBatches
from ..training.learner import PriorLearner
from ..training.loop import Loop
from ..training.prefetch import Prefetcher
from ..training.sources import slices_of
from .interface import FitOptions, Method, MethodCase, untrained

STEPS = 4000
SOURCES = {
    "concat": "Yang et al., Table 3: the prior with the CT concatenated to its input instead of cross-attention",
    "none": "Yang et al., with a prior without CT",
}


def conditioned(name: str, conditioning: str, profile: str, run: Callable[[MethodCase], Volume]) -> Method:
    """The method that fits a prior of another ``conditioning`` and samples by ``run``, ours with that ``profile``."""

    def fit(cases: Sequence[Subject], options: FitOptions) -> Method:
        prior = conditioned_prior(conditioning, cases, options)
        return replace(method, fit=None, run=lambda case: run(replace(case, prior=prior)))

    method = Method(
        name,
        untrained,
        f"{SOURCES[conditioning]}; profile {profile}.",
        "it starts from the bundled prior's weights, less the attention, and goes on learning on the training "
        "patients' images; its sampler is ours.",
        needs_ct=True,
        fit=fit,
    )
    return method


def conditioned_prior(conditioning: str, cases: Sequence[Subject], options: FitOptions) -> Prior:
    """A prior of that ``conditioning`` ("concat", "none"), trained on the true images of ``cases``.

    Read if an equal call left it in ``options.folder``, where it is kept.
    """
    if not cases:
        raise InputError("There are no training patients: name them under 'train' in the split file.")
    (bundled,) = with_conditioning(read_recipe("bundled")[-1:], conditioning)
    config = replace(
        bundled,
        start_from="bundled",
        seed=options.seed,
        steps=options.steps or STEPS,
        batch=16,
        learning_rate=3e-4,
        ema=0.995,
        stated_share=0.0,
        validate_every=0,
    )
    decides = {"config": asdict(config), "limit_minutes": options.limit_minutes, "from": BUNDLED_SHA256.read_text()}
    key = hash_of(decides | {"cases": [case.decides for case in cases]})
    folder = options.folder / f"prior-{conditioning}-{key}"
    device = pick_device(options.device)
    if not folder.is_dir():
        making = folder.with_suffix(".part")
        making.mkdir(parents=True, exist_ok=True)
        _train(config, cases, making, Team(device), Reporter(options.progress), options.limit_s)
        making.rename(folder)
    return Prior.load(folder / "prior.safetensors", device)


def _train(
    config: TrainingConfig,
    cases: Sequence[Subject],
    folder: Path,
    team: Team,
    report: Reporter,
    limit_s: float,
) -> None:
    """Write ``prior.safetensors`` into the folder; a stopped run in it is continued."""
    stacks = []
    for number, case in enumerate(cases):
        report("loading", 0.1 * number / len(cases), case.name)
        stacks.append(_stack(case, config.pixel_mm))
    source = StoredSlices(stacks)
    described = f"{len(source)} slices of {len(cases)} images"

    def save(learner: nn.Module, step: int) -> None:
        assert isinstance(learner, PriorLearner)
        learner.prior(described, step).save(folder / "prior.safetensors")

    loop = Loop(PriorLearner(config), config, team, folder, save)
    report = report.part(0.1, 1.0)
    report.start_clock(0.0)

    def logged(loss: float, done: float) -> None:
        title = f"training the prior (conditioning {config.network.conditioning})"
        report(title, done, f"step {loop.step} of {config.steps}")

    batches = SliceBatches([source], [1.0], config.size, config.seed, config.network.neighbours)
    with Prefetcher(batches, config.batch, team) as prefetched:
        loop.run(prefetched, limit_s, logged)
    report("done", 1.0)


def _stack(case: Subject, pixel_mm: float) -> Stack:
    try:
        pet, ct, _ = case.load()
        return slices_of(pet, ct, pixel_mm)
    except PETSuperResError as error:
        raise type(error)(f"Training case {case.name}: {error}") from error
