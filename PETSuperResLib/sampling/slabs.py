"""A sampler's run over a whole volume, slab by slab, within the device's memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from ..prior import Prior
from ..problem import Problem
from ..progress import Reporter
from .ddim import Seam, sample
from .profiles import Sampler

SLAB = 64  # slices reconstructed together, at most
CPU_BATCH_PIXELS = 8 * 128**2
NETWORK_COST = 50  # a network evaluation takes about as long as so many EM updates (on a CPU, 128 x 128)


class Slabs:
    """The runs of samplers over one problem; on a full GPU with smaller batches and then on the CPU, from then on."""

    def __init__(self, problem: Problem, prior: Prior):
        self.problem, self.prior = problem, prior.to(problem.device)
        # what a slab computes beyond its end: less far, the last slice differs by more than rounding does elsewhere
        axial = problem.measurement.scanner.model_fwhm_mm[1] / problem.grid.spacing[2]
        self.halo = max(math.ceil(axial), prior.neighbours + 1)
        self.batch = batch_size(problem.grid.shape[1:], problem.device)

    def run(self, sampler: Sampler, seed: int = 0, report: Reporter | None = None) -> np.ndarray:
        """The whole volume's estimate, ``(K, J, I)`` in SUV; ``report`` may raise to stop."""
        report = report or Reporter(None)
        count = self.problem.grid.shape[0]
        out = np.zeros(self.problem.grid.shape, np.float32)
        below: Seam | None = None
        low = 0  # where a slab begins, with what it has from the one before
        slabs = slabs_of(count, self.halo)
        for first, last in slabs:
            part = report.part(first / count, last / count)
            while True:
                try:
                    kept = max(low, last - self.halo)
                    above = Seam(slice(kept - low, last - low)) if last < count else None
                    out[first:last] = self._slab(sampler, seed, (low, first, last), out, part, (below, above))
                    low, below = kept, above
                    break
                except torch.cuda.OutOfMemoryError:
                    self._use_less_memory()
            if len(slabs) > 1:  # so that what is remembered does not grow with the number of slabs
                self.prior.memory.forget()
        return out

    def _slab(
        self,
        sampler: Sampler,
        seed: int,
        slices: tuple[int, int, int],
        out: np.ndarray,
        report: Reporter,
        seams: tuple[Seam | None, Seam | None],
    ) -> np.ndarray:
        """``slices`` (low, first, last): those from first to last; those from low on are known from the slab before.

        A halo above the last is computed along.
        """
        low, first, last = slices
        model, counts, ct = self.problem.part(low, min(len(out), last + self.halo))
        done = _work(sampler)

        def show(step: int, steps: int, z: Tensor) -> None:
            if report.callback is None:
                return
            preview = out.copy()
            preview[first:last] = z[first - low : last - low].cpu().numpy()
            shown = self.problem.grid.with_array(preview, "SUVbw")
            report(f"slices {first + 1}-{last} of {len(out)}", done[step], f"step {step} of {steps}", shown)

        z = sample(sampler, self.prior, model, counts, ct, seed + first, self.batch, show, *seams)
        return z[first - low : last - low].cpu().numpy()

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


def _work(sampler: Sampler) -> list[float]:
    """The share of a slab's work that is done after the start and after each step."""
    costs = [NETWORK_COST * sampler.flips + sampler.inner(step) for step in range(sampler.steps)]
    done = np.cumsum([sampler.start_iterations, *costs])
    return [float(v) for v in done / done[-1]]
