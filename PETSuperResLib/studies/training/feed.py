"""A process's share of every joint batch, made ahead of the network in threads."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ...cohort.distributed import Team
from .data import SliceBatches

AHEAD = 2  # steps


class Feed:
    """Patches by step; image ``n`` of step ``s`` is number ``s * batch + n`` of the data, whoever makes it.

    So the joint batch is the same for any number of processes, and after an interruption.
    """

    def __init__(self, batches: SliceBatches, batch: int, team: Team):
        self.batches, self.batch, self.own = batches, batch, team.share(batch)
        cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        on_gpu = team.device.type == "cuda"  # otherwise the network wants the cores itself
        threads = max(1, min(8, cores - 1)) if on_gpu else 1
        self.workers = ThreadPoolExecutor(threads, initializer=_alone if on_gpu else None)
        self.coming: dict[int, list[Future[tuple[Tensor, ...]]]] = {}

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """This process's share of what :class:`SliceBatches` gives: PET in SUV, CT in HU ..."""
        for number in range(step, step + AHEAD):
            if number not in self.coming:
                first = number * self.batch
                self.coming[number] = [self.workers.submit(self.batches.batch, first + n, 1) for n in self.own]
        images = [future.result() for future in self.coming.pop(step)]
        return tuple(torch.cat(parts) for parts in zip(*images, strict=True))

    def close(self) -> None:
        """Let the threads go."""
        self.workers.shutdown(wait=True, cancel_futures=True)


def _alone() -> None:
    """A thread that makes patches computes on one core, as there are several of them."""
    torch.set_num_threads(1)
