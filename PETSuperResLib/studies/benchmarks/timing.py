"""How benchmarks time and show: repeated runs by the clock and by processor, and tables of text."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...files import aligned

CPU = torch.device("cpu")
PEER_SECONDS = 1.0  # a figure is the median of at least three runs that take this long together
GPU_RUN = 5e-3  # s: on a GPU a run is as often as this takes, so that waiting for its end counts little


def timed(work: Callable[[], object], at_least_s: float | None = None, device: torch.device = CPU) -> dict[str, float]:
    """Median and fastest seconds of ``work``, after one run to warm up; at least three runs, at most fifty.

    ``fastest_cpu_s`` is processor time of all threads: on a machine that others use too, the truer figure. On a GPU a
    run is the mean of several without a pause, from and to an idle GPU.
    """
    at_least_s = PEER_SECONDS if at_least_s is None else at_least_s
    repeats = 1

    def once() -> tuple[float, float]:
        synchronise(device)
        began, used = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            work()
        synchronise(device)
        return (time.perf_counter() - began) / repeats, (time.process_time() - used) / repeats

    first = once()
    if device.type != "cpu":  # the first compiles and chooses kernels
        first = once()
        repeats = max(1, min(100, int(GPU_RUN / first[0])))
    pairs = [once() for _ in range(3)] if first[0] < 20 else [first]
    while repeats * sum(wall for wall, _ in pairs) < at_least_s and len(pairs) < 50:
        pairs.append(once())
    seconds, processor = zip(*pairs, strict=True)
    return {
        "median_s": statistics.median(seconds),
        "fastest_s": min(seconds),
        "fastest_cpu_s": min(processor),
        "runs": len(pairs),
    }


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def compared(seconds: dict[str, float], device: torch.device) -> float:
    """The time by which things are compared: of all threads' processors, on a GPU by the clock; the least of several.

    In seconds of one core or of the GPU, so that numbers of threads do not count.
    """
    return seconds["fastest_cpu_s" if device.type == "cpu" else "fastest_s"]


def threads(device: torch.device) -> int:
    """Cores that add to the speed of one."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def columns_for(device: torch.device, columns: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """On a GPU without processor times, and with as many digits as short times need."""
    if device.type == "cpu":
        return columns
    kept = {key: column for key, column in columns.items() if "cpu" not in key}
    return {key: (name, "{:.3g}" if "ms" in key.split("_") else form) for key, (name, form) in kept.items()}


def as_table(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> str:
    """Rows under a title and headings, names to the left and figures to the right; begins with an empty line."""
    lines = [[heading for heading, _ in columns.values()]]
    lines += [[form.format(row[key]) for key, (_, form) in columns.items()] for row in rows]
    return "\n".join(["", title, *("  " + line for line in aligned(lines))])
