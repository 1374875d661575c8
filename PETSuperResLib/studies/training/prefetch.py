"""A process's share of every joint batch, prepared in threads ahead of the network."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ...cohort.distributed import Team
from .data import SliceBatches

AHEAD = 2  # steps


class Prefetcher:
    """Patches by step; a context manager. Image ``n`` of step ``s`` is number ``s * batch + n`` of the data.

    So the joint batch is the same for any number of processes, and after an interruption.
    """

    def __init__(self, batches: SliceBatches, batch: int, team: Team):
        self.batches, self.batch, self.own = batches, batch, team.share(batch)
        cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        on_gpu = team.device.type == "cuda"  # on a CPU the network uses the cores
        threads = max(1, min(8, cores - 1)) if on_gpu else 1
        self.workers = ThreadPoolExecutor(threads, initializer=_one_core if on_gpu else None)
        self.coming: dict[int, list[Future[tuple[Tensor, ...]]]] = {}

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """This process's share of what :class:`SliceBatches` gives: PET in SUV, CT in HU ..."""
        for number in range(step, step + AHEAD):
            if number not in self.coming:
                first = number * self.batch
                self.coming[number] = [self.workers.submit(self.batches.batch, first + n, 1) for n in self.own]
        images = [future.result() for future in self.coming.pop(step)]
        return tuple(torch.cat(parts) for parts in zip(*images, strict=True))

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.workers.shutdown(wait=True, cancel_futures=True)


def _one_core() -> None:
    """A thread that makes patches computes on one core, as there are several of them."""
    torch.set_num_threads(1)
