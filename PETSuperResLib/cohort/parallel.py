"""The same work on many items, in several processes if there are cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ..errors import InputError

GIB_EACH = 5  # of memory for painting a whole-body study
ALLOWED = "PETSUPERRES_WORKERS"
Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(items: int) -> int:
    """Processes for so many items: one where there are two cores or fewer, else what cores and memory allow.

    The environment variable PETSUPERRES_WORKERS sets another number.
    """
    if stated := os.environ.get(ALLOWED):
        if not stated.isdigit() or int(stated) < 1:
            raise InputError(f"{ALLOWED} is '{stated}': set it to a number of processes, 1 or more.")
        return max(1, min(int(stated), items))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores <= 2:
        return 1
    return max(1, min(cores - 1, items, _memory_gib() // GIB_EACH))


def spread(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Generator[Result, None, None]:
    """The results of ``work`` on every item, in order of completion; ``work`` is a function of a module.

    ``workers`` None takes :func:`worker_count`. When the generator is closed early (an error, a cancelled run),
    work under way is ended. Raises what ``work`` raises, and :class:`InputError` when a process dies.
    """
    workers = worker_count(len(items)) if workers is None else max(1, min(workers, len(items)))
    if workers == 1:
        for item in items:
            yield work(item)
        return
    before = set(multiprocessing.active_children())
    # spawned, not forked: a fork would copy the image libraries' locks without their threads
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare)
    try:
        for future in as_completed(pool.submit(work, item) for item in items):
            yield future.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                f"A loading process ended unexpectedly, often for lack of memory: set {ALLOWED} below {workers}."
            ) from error
        raise
    pool.shutdown()


def _prepare() -> None:
    """In each process: ignore interrupts, which the parent handles, and use one core."""
    import SimpleITK as sitk

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _memory_gib() -> int:
    try:
        return max(1, int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30))
    except (AttributeError, ValueError, OSError):
        return 16
