"""How time and memory of ``reconstruct`` grow: with slices, image size, views and processes. A table and a plot."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import write_csv
from ...progress import Callback, Reporter
from ...volume import Volume
from ..plotting import save_figure

SCANNER = "Siemens Biograph mCT"
PERIOD = 32  # slices of the generated head, repeated along the axis as far as they are needed
COLUMNS = (
    *("axis", "slices", "size", "views", "processes", "quality", "device"),
    *("seconds", "cpu_seconds", "peak_mb", "base_mb", "gpu_peak_mb", "cases_per_hour"),
)


@dataclass(frozen=True)
class Load:
    """One measured run: ``processes`` at once, each reconstructing ``slices`` of ``size`` x ``size`` pixels of 2 mm."""

    axis: str
    slices: int = 32
    size: int = 128
    views: int = 0  # 0: the preset's
    processes: int = 1
    quality: str = "draft"
    device: str = "cpu"


LOADS = (
    *(Load("slices", slices=n) for n in (16, 32, 64, 128, 256)),
    *(Load("size", size=n) for n in (96, 128, 192, 256, 400)),
    *(Load("views", views=n) for n in (45, 90, 180)),
    *(Load("processes", processes=n) for n in (1, 2)),
)
WHOLE_BODY = Load("whole-body", slices=326, size=400)


def scaling(
    out: str | Path, loads: Sequence[Load] = LOADS, repeats: int = 1, progress: Callback | None = None
) -> list[dict[str, Any]]:
    """Measure every load in processes of its own; writes ``scaling.csv`` and ``scaling.png`` into ``out``.

    ``seconds`` is the median of ``repeats`` runs of ``reconstruct`` without start-up, ``cpu_seconds`` the least
    processor time of its threads (the truer figure on a machine that others use too), ``peak_mb`` the highest
    resident memory of the process in MiB, ``base_mb`` the memory before (torch, prior and the case itself),
    ``gpu_peak_mb`` the most that tensors took of a CUDA device's memory, prior included (None on others).
    Processes at once have one thread each. Returns the rows.
    """
    if sys.platform == "win32":
        raise InputError("The peak of a process's memory is read by POSIX's getrusage: run this on Linux or macOS.")
    folder, report = Path(out), Reporter(progress)
    sizes = [load.slices * load.size**2 for load in loads]
    rows: list[dict[str, Any]] = []
    report.start_clock(0.0)
    for number, load in enumerate(loads):
        report(
            f"{load.slices} slices of {load.size} x {load.size}", sum(sizes[:number]) / sum(sizes), f"by {load.axis}"
        )
        found = [_measure(load) for _ in range(repeats)]
        seconds = statistics.median(f["seconds"] for f in found)
        memory = _most(found, "peak_mb", "base_mb", "gpu_peak_mb")
        memory["cpu_seconds"] = min(f["cpu_seconds"] for f in found)
        rate = statistics.median(f["cases_per_hour"] for f in found)
        rows.append(asdict(load) | {"views": found[0]["views"], "seconds": seconds, "cases_per_hour": rate} | memory)
        write_csv(folder / "scaling.csv", rows, COLUMNS)
    _plot(folder / "scaling.png", rows)
    report("done", 1.0)
    return rows


def _measure(load: Load) -> dict[str, Any]:
    """Run a load; its processes begin together when all of them are ready."""
    threads = {"OMP_NUM_THREADS": "1"} if load.axis == "processes" else {}
    paths = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "PETSuperResLib.studies.benchmarks.scaling", json.dumps(asdict(load))]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **threads, "PYTHONPATH": paths}
    children = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(load.processes)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise InputError(f"A process of the load {load} failed to start: see its message above.")
        began = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        answers = [child.communicate()[0] for child in children]
        wall = time.perf_counter() - began
    finally:
        for child in children:
            child.kill()
    if any(child.returncode for child in children):
        raise InputError(f"A process of the load {load} failed: see its message above; a smaller one may fit.")
    found: list[dict[str, Any]] = [json.loads(answer) for answer in answers]
    worst = _most(found, "seconds", "cpu_seconds", "peak_mb", "base_mb", "gpu_peak_mb", "views")
    return worst | {"cases_per_hour": 3600 * load.processes / wall}


def _most(found: Sequence[dict[str, Any]], *keys: str) -> dict[str, Any]:
    """The greatest of each figure; None where it was not measured."""
    return {key: max((f[key] for f in found if f[key] is not None), default=None) for key in keys}


def _child(load: Load) -> None:
    """Make the case, wait for a line, reconstruct, print time and memory."""
    import resource

    import torch

    from ...device import pick_device
    from ...prior import Prior
    from ...reconstruction import reconstruct
    from ...scanner import Scanner

    unit = 1024 if sys.platform != "darwin" else 1024**2
    scanner = Scanner.get(SCANNER)
    if load.views:
        scanner = replace(scanner, views=load.views, angular_rebinning=1)
    pet, ct = case(load.slices, load.size)
    prior, device = Prior.load(), pick_device(load.device)
    small = case(4, 96)
    reconstruct(*small, scanner, "draft", prior=prior, device=load.device)  # threads and kernels are there then
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.perf_counter(), time.process_time()
    reconstruct(pet, ct, scanner, load.quality, prior=prior, device=load.device)
    took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    views = scanner.views // scanner.angular_rebinning
    gpu = torch.cuda.max_memory_allocated(device) / 1024**2 if device.type == "cuda" else None
    print(json.dumps({**took, "peak_mb": peak, "base_mb": base, "gpu_peak_mb": gpu, "views": views}), flush=True)


def case(slices: int, size: int) -> tuple[Volume, Volume]:
    """PET (SUVbw) and CT (HU) of ``slices`` x ``size`` x ``size`` voxels: a generated head, repeated to fill them."""
    from ...phantoms.torso import torso_phantom

    period = min(slices, PERIOD)
    phantom = torso_phantom(0, (period, 128, 128), (2.0, 2.0, 3.0), 2, "head")
    both = []
    for volume, outside in ((phantom.pet, 0.0), (phantom.ct, -1000.0)):
        array = np.concatenate([volume.array] * -(-slices // period))[:slices]
        if size >= 128:
            copies = size // 128
            array = np.tile(array, (1, copies, copies))  # side by side: the larger field is filled too
            widths = [(0, 0), *[((size - 128 * copies) // 2, -(-(size - 128 * copies) // 2))] * 2]
            array = np.pad(array, widths, constant_values=outside)
        else:
            first = (128 - size) // 2
            array = array[:, first : first + size, first : first + size]
        grid = Volume(array, volume.spacing, unit=volume.unit)
        both.append(grid)
    return both[0], both[1]


def _plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    axes = [axis for axis in ("slices", "size", "views", "processes") if any(r["axis"] == axis for r in rows)]
    if not axes:
        return
    labels = {"slices": "slices", "size": "pixels per side", "views": "views", "processes": "processes, 1 thread each"}
    figure = Figure(figsize=(3.4 * len(axes), 5.4), layout="constrained")
    axes_grid = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        mine = [r for r in rows if r["axis"] == axis]
        x = [r[axis] for r in mine]
        time_axis, memory_axis = axes_grid[:, column]
        if axis == "processes":
            time_axis.plot(x, [r["cases_per_hour"] for r in mine], "o-", color="C0")
            time_axis.set_ylabel("cases per hour")
        else:
            time_axis.plot(x, [r["seconds"] for r in mine], "o-", color="C0", label="by the clock")
            time_axis.plot(x, [r["cpu_seconds"] for r in mine], "s--", color="0.5", label="processor")
            time_axis.set_ylabel("s")
            time_axis.legend(frameon=False)
        memory_axis.plot(x, [r["peak_mb"] for r in mine], "o-", color="C3", label="peak")
        memory_axis.plot(x, [r["base_mb"] for r in mine], "s--", color="0.5", label="before")
        memory_axis.set_ylabel("resident memory, MiB")
        memory_axis.legend(frameon=False)
        for plot in (time_axis, memory_axis):
            plot.set(xlabel=labels[axis], xticks=x)
            plot.set_ylim(bottom=0)
            plot.spines[["top", "right"]].set_visible(False)
    where = "the CPU" if rows[0]["device"] == "cpu" else rows[0]["device"]
    figure.suptitle(f"reconstruct, {rows[0]['quality']}, on {where}: 32 slices of 128 x 128 unless varied")
    save_figure(figure, path)


if __name__ == "__main__":
    _child(Load(**json.loads(sys.argv[1])))
