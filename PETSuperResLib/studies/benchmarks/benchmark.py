"""`petsuperres benchmark`: projector, network and whole runs on this machine, beside their peers and its limits."""

from __future__ import annotations

import gc
import importlib.metadata
import itertools
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ...device import fast_bfloat16, pick_device
from ...errors import CheckpointError
from ...files import to_json, write_text
from ...outputs import check_folder, marked
from ...phantoms.torso import torso_phantom
from ...physics.backends import backend_for
from ...prior import Denoiser, NoiseNetwork, Prior
from ...prior.card import BUNDLED
from ...prior.network import PriorNetwork
from ...progress import Callback, Reporter
from ...reconstruction import reconstruct
from .projector_peers import Geometry, Peer, check, peers
from .timing import CPU, as_table, columns_for, compared, threads, timed
from .update_speed import UPDATE_COLUMNS, update_speed

GEOMETRIES = (Geometry(128, 64, 90), Geometry(400, 32, 168))
BATCH, SIZE = 16, 128
FILE = "benchmark.json"  # of the figures, in the folder that is given
GPU_BATCH = 64  # also measured on a GPU, which a batch of 16 does not fill
SHARES = {"limits": 8, "small": 15, "large": 60, "updates": 8, "network": 10, "runs": 30}  # of the time, for the bar
Show = Callable[[str], None]


def benchmark(
    out: Path | str | None = None,
    quick: bool = False,
    progress: Callback | None = None,
    show: Show = print,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure this machine and print tables; with ``out`` also write ``benchmark.json`` there.

    ``quick`` leaves the larger projector geometry out; ``show`` prints a text of several lines. Returns
    the figures: times in s, median and fastest of several runs, and the number of slices or images
    they are for. A GPU is compared by the time by the clock, idle before and after.
    """
    folder, chosen = (
        None if out is None else check_folder(out, {FILE: marked('"machine"', '"projector"')}),
        pick_device(device),
    )
    geometries = GEOMETRIES[: 1 if quick else None]
    stages = ["limits", *("small", "large")[: len(geometries)], "updates", "network", "runs"]
    fractions = itertools.accumulate((SHARES[s] for s in stages), initial=0)
    starts = [f / sum(SHARES[s] for s in stages) for f in fractions]
    report = Reporter(progress)
    figures: dict[str, Any] = {"machine": machine(chosen), "projector": [], "update": [], "network": {}, "run": []}
    show("\n".join(f"{key}: {value}" for key, value in figures["machine"].items()))
    report("machine limits", 0.0)
    figures["limits"] = limits(chosen)
    show(as_table("Machine limits", [figures["limits"]], LIMIT_COLUMNS))
    for start, geometry in zip(starts[1:], geometries, strict=False):
        report("projector", start)
        rows = projectors(geometry, chosen)
        figures["projector"] += rows
        show(as_table(f"Projector, {geometry}, ms per slice", rows, columns_for(chosen, PROJECTOR_COLUMNS)))
    report("data consistency", starts[-4])
    figures["update"] = update_speed(device=chosen)
    title = "An update of the data consistency, 64 slices of 128 x 128"
    show(as_table(title, figures["update"], columns_for(chosen, UPDATE_COLUMNS)))
    report("network", starts[-3])
    prior, name = benchmark_prior()
    prior.to(chosen)
    for key, batch in {"network": BATCH, **({} if chosen == CPU else {"network_large_batch": GPU_BATCH})}.items():
        figures[key] = network_speed(prior.network, figures["limits"], batch) | {"prior": name}
        title = f"Network ({name}), {SIZE} x {SIZE}, batches of {batch}"
        show(as_table(title, [figures[key]], columns_for(chosen, NETWORK_COLUMNS)))
    report("whole runs", starts[-2])
    figures["run"] = whole_runs(prior)
    show(as_table("reconstruct, 16 slices of 128 x 128", figures["run"], columns_for(chosen, RUN_COLUMNS)))
    if folder is not None:
        write_text(folder / FILE, to_json(figures))
    report("done", 1.0)
    return figures


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """The machine of the figures."""
    versions = {} if device == CPU else {"device": str(device), "projector": backend_for(device).__name__}
    for package in ("numpy", "scipy", "scikit-image", "astra-toolbox", "deepinv", "triton"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "bfloat16": fast_bfloat16(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def limits(device: torch.device = CPU) -> dict[str, float]:
    """Memory bandwidth (copy, GB/s, read and write) and the peak of a large convolution (GFLOP/s of processor time).

    A GPU's convolution is larger, and its float32 as torch computes it by default (TF32 on CUDA).
    """
    source = torch.rand(1 << 26, device=device)
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), device=device)
    batch, channels = (BATCH, 128) if device.type == "cpu" else (GPU_BATCH, 256)
    found = {"copy_gb_per_s": 2 * source.numel() * 4 / copy["fastest_s"] / 1e9}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        image = torch.rand(batch, channels, 64, 64, device=device).to(kind, memory_format=torch.channels_last)
        layer: Any = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, kind)
        layer = layer.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            seconds = compared(timed(lambda image=image, layer=layer: layer(image), device=device), device)  # type: ignore[misc]
        found[f"convolution_{name}_gflops"] = 2 * image.numel() * channels * 9 * threads(device) / seconds / 1e9
    return found


def projectors(geometry: Geometry, device: torch.device = CPU) -> list[dict[str, Any]]:
    """Ours and every peer that can run on ``device``: ms per slice forward and back, and how exact they are.

    The median by the clock, and the least processor time, by which they are compared: what else runs counts less.
    On a GPU they are compared by the clock.
    """
    rows: list[dict[str, Any]] = []
    image = torch.rand(geometry.slices, geometry.size, geometry.size, device=device)
    sinogram = torch.rand(geometry.slices, geometry.views, geometry.bins, device=device)
    for peer in peers(geometry, device):
        if rows and device.type != "cpu" and not runs(peer, geometry, device):
            continue
        few = image[: peer.slices].contiguous(), sinogram[: peer.slices].contiguous()
        row: dict[str, Any] = {"geometry": str(geometry), "name": peer.name, "slices": peer.slices}
        row["megabytes"] = peer.megabytes
        for direction, work in (("forward", peer.forward), ("adjoint", peer.adjoint)):
            part = few[0] if direction == "forward" else few[1]
            seconds = timed(lambda work=work, part=part: work(part), device=device)  # type: ignore[misc]
            row |= {f"{direction}_{key}": value for key, value in seconds.items()}
            row[f"{direction}_ms_per_slice"] = 1e3 * seconds["median_s"] / peer.slices
            row[f"{direction}_cpu_ms_per_slice"] = 1e3 * seconds["fastest_cpu_s"] / peer.slices
            row[f"{direction}_compared"] = compared(seconds, device) / peer.slices
        rows.append(row | check(peer, geometry, device) | {"matched": peer.matched})
        del peer
        gc.collect()
    for direction in ("forward", "adjoint"):
        times = [row.pop(f"{direction}_compared") for row in rows]
        for row, took in zip(rows, times, strict=True):
            row[f"{direction}_times_ours"] = took / times[0]
    return rows


def runs(peer: Peer, geometry: Geometry, device: torch.device) -> bool:
    """Whether a peer can project there at all: one built for another GPU, or short of its memory, raises."""
    try:
        check(peer, geometry, device)
    except Exception as error:
        warnings.warn(f"{peer.name} does not run on {device}: {error}", stacklevel=2)
        return False
    return True


def benchmark_prior() -> tuple[Prior, str]:
    """The bundled prior, or an untrained network of the same architecture where there is none."""
    try:
        return Prior.load(), BUNDLED.name
    except CheckpointError:
        network = NoiseNetwork().requires_grad_(False).eval()
        return Prior(network.to(memory_format=torch.channels_last)), "untrained"  # type: ignore[call-overload]


def network_speed(network: PriorNetwork, peak: dict[str, float], batch: int = BATCH) -> dict[str, Any]:
    """Images and GFLOP per second, of processor time as the peak is, of the noise predictor as the sampler calls it.

    Where the network is: on a CPU or GPU.
    """
    prior = Prior(network)
    device = prior.device
    denoiser = Denoiser(prior, torch.rand(batch, SIZE, SIZE, device=device) * 1000 - 1000, batch=batch)
    x = torch.randn(batch, 1, SIZE, SIZE, device=device)
    denoiser.epsilon(x, 300)  # encodes the CT
    counter = FlopCounterMode(display=False)
    with counter:
        denoiser.epsilon(x, 300)
    seconds = timed(lambda: denoiser.epsilon(x, 300), 3.0, device)
    kind = "bfloat16" if device.type == "cuda" or (device.type == "cpu" and fast_bfloat16()) else "float32"
    speed = counter.get_total_flops() * threads(device) / compared(seconds, device) / 1e9
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "arithmetic": kind,
        "gflop_per_image": counter.get_total_flops() / batch / 1e9,
        **seconds,
        "images_per_s": batch / seconds["median_s"],
        "fastest_images_per_s": batch / seconds["fastest_s"],
        "images_per_cpu_s": batch / max(seconds["fastest_cpu_s"], 1e-9),
        "gflops": speed,
        "percent_of_convolution_peak": 100 * speed / peak[f"convolution_{kind}_gflops"],
    }


def whole_runs(prior: Prior) -> list[dict[str, Any]]:
    """Seconds of ``reconstruct`` on a phantom of 16 slices at 128 x 128, per quality, on the prior's device.

    On a GPU after a run that compiles and chooses kernels.
    """
    phantom = torso_phantom(0, (16, SIZE, SIZE), (2.0, 2.0, 2.0), 2, "head")
    device = prior.device

    def run(quality: str) -> Any:
        return reconstruct(
            *(phantom.pet, phantom.ct, "Siemens Biograph mCT", quality), prior=prior, device=str(device), spacing=2.0
        )

    if device.type != "cpu":
        run("draft")
    rows = []
    for quality, runs in (("draft", 3), ("standard", 1 if device.type == "cpu" else 3)):
        seconds, processor = [], []
        for _ in range(runs):
            began, used = time.perf_counter(), time.process_time()
            result = run(quality)
            seconds.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
        rows.append(
            {
                "quality": quality,
                "steps": result.report["sampler"]["steps"],
                "median_s": statistics.median(seconds),
                "fastest_s": min(seconds),
                "fastest_cpu_s": min(processor),
                "runs": runs,
                "s_per_slice": statistics.median(seconds) / len(phantom.pet.array),
            }
        )
    return rows


LIMIT_COLUMNS = {
    "copy_gb_per_s": ("copy GB/s", "{:.1f}"),
    "convolution_float32_gflops": ("convolution float32 GFLOP/s", "{:.0f}"),
    "convolution_bfloat16_gflops": ("convolution bfloat16 GFLOP/s", "{:.0f}"),
}
PROJECTOR_COLUMNS = {
    "name": ("projector", "{}"),
    "slices": ("slices", "{}"),
    "megabytes": ("MB kept", "{:.0f}"),
    "forward_ms_per_slice": ("forward", "{:.2f}"),
    "forward_cpu_ms_per_slice": ("CPU", "{:.2f}"),
    "forward_times_ours": ("x ours", "{:.1f}"),
    "adjoint_ms_per_slice": ("adjoint", "{:.2f}"),
    "adjoint_cpu_ms_per_slice": ("CPU", "{:.2f}"),
    "adjoint_times_ours": ("x ours", "{:.1f}"),
    "disc_error_percent": ("disc error %", "{:.2f}"),
    "mismatch": ("adjoint mismatch", "{:.0e}"),
}
NETWORK_COLUMNS = {
    "parameters": ("parameters", "{:,}"),
    "arithmetic": ("arithmetic", "{}"),
    "gflop_per_image": ("GFLOP/image", "{:.2f}"),
    "images_per_s": ("images/s", "{:.1f}"),
    "fastest_images_per_s": ("fastest", "{:.1f}"),
    "images_per_cpu_s": ("per CPU s", "{:.1f}"),
    "gflops": ("GFLOP/s", "{:.0f}"),
    "percent_of_convolution_peak": ("% of convolution peak", "{:.0f}"),
}
RUN_COLUMNS = {
    "quality": ("quality", "{}"),
    "steps": ("steps", "{}"),
    "median_s": ("s", "{:.1f}"),
    "fastest_s": ("fastest", "{:.1f}"),
    "fastest_cpu_s": ("CPU s", "{:.1f}"),
    "runs": ("runs", "{}"),
    "s_per_slice": ("s/slice", "{:.2f}"),
}
