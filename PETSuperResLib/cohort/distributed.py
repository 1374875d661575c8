"""One run on one process or on several: how torchrun's processes share work and values.

torchrun starts the processes and sets the rank of each (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``). Without
it, a team is one process and every call here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..device import pick_device
from ..errors import InputError

PATIENCE = timedelta(hours=6)  # while one process loads data or validates, the others wait
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes of a run: this one's ``rank`` of ``size``, its device, and a process group on the CPUs."""

    device: torch.device
    rank: int = 0
    size: int = 1
    cpus: Any = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """This process's images of a joint batch."""
        own = batch // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over the team; every process starts from the first one's weights."""
        if self.size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, devices, gradient_as_bucket_view=True)

    def agree(self, *values: float) -> tuple[float, ...]:
        """The greatest of each value over the team, the same for all; waits for the slowest process."""
        if self.size == 1:
            return values
        joint = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(joint, dist.ReduceOp.MAX, self.cpus)
        return tuple(joint.tolist())

    def mean(self, value: Tensor) -> float:
        """The mean of a number over the team."""
        if self.size > 1:
            value = value.detach().double().cpu()
            dist.all_reduce(value, group=self.cpus)
            value /= self.size
        return float(value)

    def first_then_others(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the first process alone, then in the others, which find the stored results of the first."""
        if self.rank > 0:
            self.agree(0)
        result = work()
        if self.rank == 0:
            self.agree(0)
        return result


@contextmanager
def team_on(device: str, batch: int) -> Iterator[Team]:
    """The team that torchrun started this process in, or this process alone; on CUDA, a GPU for each process.

    Processes communicate by NCCL on GPUs and by gloo on CPUs. A joint batch that cannot be divided equally raises
    :class:`InputError`.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if batch % size:
        raise InputError(f"A batch of {batch} cannot be shared equally by {size} processes: make it a multiple.")
    target = pick_device(device)
    if size == 1:
        yield Team(target)
        return
    if target.type == "cuda":
        target = pick_device(f"cuda:{os.environ.get('LOCAL_RANK', rank)}")
        torch.cuda.set_device(target)
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if target.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(target, rank, size, dist.new_group(backend="gloo", timeout=PATIENCE))
    finally:
        if joined:
            dist.destroy_process_group()
