"""A sampler's run over a whole volume, slab by slab, within the device's memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from ..prior import Denoiser, Prior
from ..problem import Problem
from ..progress import Reporter
from .sampler import Sampler

SLAB = 64  # slices reconstructed together, at most
CPU_BATCH_PIXELS = 8 * 128**2


class SlabState:
    """The slices that a slab shares with the one before and the one after, at every stage of a sampler's run.

    ``known`` slices at the beginning are those that ``below`` kept; ``kept`` are those of this slab that the next one
    begins with. Without arguments: a slab that is the whole volume.
    """

    def __init__(self, below: SlabState | None = None, kept: slice = slice(0, 0)):
        self.kept, self.stages = kept, list[Tensor]()
        self.known = below.kept.stop - below.kept.start if below else 0
        self._below = below.stages if below else []

    def meet(self, values: Tensor) -> None:
        """One stage: the known slices of ``values`` ``(S, ...)`` become what they were there, the kept ones are kept.

        A sampler calls it, in the same order in every slab, for all that later steps mix between slices.
        """
        if self.known:
            values[: self.known] = self._below[len(self.stages)].to(values.device)
        self.stages.append(values[self.kept].clone())


class Slabs:
    """The runs of samplers over one problem; on a full GPU with smaller batches and then on the CPU, from then on."""

    def __init__(self, problem: Problem, prior: Prior):
        self.problem, self.prior = problem, prior.to(problem.device)
        # what a slab computes beyond its end: less far, the last slice differs by more than rounding does elsewhere
        axial = problem.measurement.scanner.model_fwhm_mm[1] / problem.grid.spacing[2]
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
        low = first - (below.kept.stop - below.kept.start if below else 0)
        own, kept = slice(first - low, last - low), max(0, last - low - self.halo)
        state = SlabState(below, slice(kept, last - low) if last < len(out) else slice(0, 0))
        model, counts, ct = self.problem.part(low, min(len(out), last + self.halo))
        done = np.cumsum(profile.costs) / sum(profile.costs)

        def show(step: int, steps: int, z: Tensor) -> None:
            if report.callback is None:
                return
            preview = out.copy()
            preview[first:last] = z[own].cpu().numpy()
            shown = self.problem.grid.with_array(preview, "SUVbw")
            report(f"slices {first + 1}-{last} of {len(out)}", float(done[step]), f"step {step} of {steps}", shown)

        denoiser = Denoiser(self.prior, ct, model.spacing[2], self.batch)
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
