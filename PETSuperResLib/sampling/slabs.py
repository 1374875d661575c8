"""A sampler's run over a whole volume, slab by slab, within the device's memory."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import torch
from torch import Tensor

from ..prior import Denoiser, Prior
from ..problem import Problem
from ..progress import Reporter
from ..volume import Volume
from .sampler import NETWORK_COST, Sampler

SLAB = 64  # slices reconstructed together, at most
CPU_BATCH_PIXELS = 8 * 128**2
PERIOD_S = 0.25  # between two events of one step, at least


class SlabState:
    """The slices that a slab shares with the one before and the one after, at every stage of a sampler's run.

    ``known`` slices at the beginning are those that ``below`` kept; ``kept`` are those of this slab that the next one
    begins with. Without arguments: a slab that is the whole volume.
    """

    def __init__(self, below: SlabState | None = None, kept: slice = slice(0, 0)):
        self.kept, self.stages = kept, list[Tensor]()
        self._below = below.stages if below else []
        self.known = below.count if below else 0

    @property
    def count(self) -> int:
        """Of the kept slices."""
        return int(self.kept.stop - self.kept.start)

    def meet(self, values: Tensor) -> None:
        """One stage: the known slices of ``values`` ``(S, ...)`` take those of the slab before; the last ones are kept.

        A sampler calls it, in the same order in every slab, for all that later steps mix between slices.
        """
        if self.known:
            values[: self.known] = self._below[len(self.stages)].to(values.device)
        self.stages.append(values[self.kept].clone())


class Slabs:
    """The runs of samplers over one problem; on a full GPU with smaller batches and then on the CPU, from then on."""

    def __init__(self, problem: Problem, prior: Prior):
        self.problem, self.prior = problem, prior.to(problem.device)
        # slices computed beyond a slab's end: with fewer, the last slice differs by more than rounding
        axial = problem.measurement.model_fwhm_mm[1] / problem.grid.spacing[2]
        self.halo = max(math.ceil(axial), prior.neighbours + 1)
        self.batch = batch_size(problem.grid.shape[1:], problem.device)

    def run(self, profile: Sampler, seed: int = 0, report: Reporter | None = None) -> np.ndarray:
        """The whole volume's estimate, ``(K, J, I)`` in SUV; ``report`` may raise to stop."""
        report = report or Reporter(None)
        out = np.zeros(self.problem.grid.shape, np.float32)
        count, below = len(out), None
        slabs = slabs_of(count, self.halo)
        for first, last in slabs:
            part = report.part(first / count, last / count)
            while True:
                try:
                    below = self._slab(profile, seed, (first, last), out, part, below)
                    break
                except torch.cuda.OutOfMemoryError:
                    self._use_less_memory()
            if len(slabs) > 1:  # so that what is remembered does not grow with the number of slabs
                self.prior.memory.forget()
        return out

    def _slab(
        self,
        profile: Sampler,
        seed: int,
        slices: tuple[int, int],
        out: np.ndarray,
        report: Reporter,
        below: SlabState | None,
    ) -> SlabState:
        """Write the ``slices`` (first, last) into ``out``; returns the state that the next slab begins with.

        Slices that are known from the slab before, and a halo above the last, are computed along.
        """
        first, last = slices
        low = first - (below.count if below else 0)
        own, kept = slice(first - low, last - low), max(0, last - low - self.halo)
        state = SlabState(below, slice(kept, last - low) if last < len(out) else slice(0, 0))
        model, counts, ct = self.problem.part(low, min(len(out), last + self.halo))
        progress = _Progress(report, f"slices {first + 1}-{last} of {len(out)}", profile)

        def show(step: int, steps: int, z: Tensor) -> None:
            if report.callback is None:
                return
            preview = out.copy()
            preview[first:last] = z[own].cpu().numpy()
            progress.finish(step, self.problem.grid.with_array(preview, "SUVbw"))

        model.updated = lambda: progress.work(1)
        network = NETWORK_COST / (len(ct) - state.known)  # of one slice
        denoiser = Denoiser(
            self.prior, ct, model.spacing[2], self.batch, evaluated=lambda slices: progress.work(network * slices)
        )
        z = profile.sample(denoiser, model, counts, profile, seed + first, show, state)
        out[first:last] = z[own].cpu().numpy()
        return state

    def _use_less_memory(self) -> None:
        torch.cuda.empty_cache()
        if self.batch > 1:
            self.batch //= 2
        else:
            self.problem = self.problem.on(torch.device("cpu"))
            self.batch = batch_size(self.problem.grid.shape[1:], self.problem.device)
            self.prior.to("cpu")


class _Progress:
    """Events of a slab: after each step, and between two steps as the network and the updates get on."""

    def __init__(self, report: Reporter, stage: str, profile: Sampler):
        self.report, self.stage, self.steps = report, stage, profile.steps
        self.ends = list(itertools.accumulate(profile.costs))  # of the start and of each step, in EM updates
        self.done, self.last = 0.0, time.monotonic()
        self._begin(0, 0.0)

    def work(self, cost: float) -> None:
        """A part of a step is done; an event now and then."""
        self.done = min(self.done + cost, self.limit)
        if time.monotonic() - self.last > PERIOD_S:
            self._report(None)

    def finish(self, step: int, preview: Volume) -> None:
        """A step is done (0: the start)."""
        self._begin(step, self.ends[step])
        self._report(preview)

    def _begin(self, step: int, done: float) -> None:
        self.step, self.done = step, done
        self.limit: float = next((end for end in self.ends if end > done), done)  # of the step that begins

    def _report(self, preview: Volume | None) -> None:
        self.last = time.monotonic()
        self.report(self.stage, self.done / self.ends[-1], f"step {self.step} of {self.steps}", preview)


def slabs_of(count: int, halo: int) -> list[tuple[int, int]]:
    """First and last (exclusive) of ``count`` slices that are reconstructed together.

    One slab of at most :data:`SLAB`, or several of nearly one size that with ``halo`` slices on both sides are no
    larger: so the memory does not grow with the number of slabs.
    """
    number = 1 if count <= SLAB else -(-count // max(1, SLAB - 2 * halo))
    ends = [round(n * count / number) for n in range(number + 1)]
    return list(itertools.pairwise(ends))


def batch_size(shape: tuple[int, ...], device: torch.device) -> int:
    """Slices of ``shape`` that go through the network together: on a CPU no more than keep it busy."""
    return 16 if device.type != "cpu" else min(16, max(1, CPU_BATCH_PIXELS // (shape[0] * shape[1])))
