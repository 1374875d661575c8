"""Training pairs: training patients' images, the LR images and PSF-OSEM images of their simulated scans, their CTs.

Made once per image and kept in one safetensors file each, whose name holds a hash of everything that decides
its values, so that an entry is never stale and all methods learn from the same scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...device import pick_device
from ...errors import InputError, PETSuperResError
from ...files import atomic_path
from ...physics.model import osem
from ...physics.simulation import Simulation, simulate
from ...prior.denoiser import AIR_HU
from ...progress import Reporter
from ...volume import Volume
from ..subjects import Subject
from ..training import cache
from .interface import FitOptions

EM_UPDATES = (12, 24, 48)  # PSF-OSEM images: before, about and beyond the best number of updates
CHANNELS = ("truth", "lr", *(f"em{n}" for n in EM_UPDATES), "ct")


def channels(simulation: Simulation, ct: Volume, names: Sequence[str], device: str = "auto") -> dict[str, Tensor]:
    """The named images of a scan on the SR grid, ``(S, J, I)`` float32: SUV, and HU for ``ct``.

    ``lr`` is interpolated by a cubic spline without overshoot below 0, ``em24`` is PSF-OSEM at 24 updates.
    """
    grid, measurement = simulation.truth, simulation.measurement
    images: dict[str, Tensor] = {}
    if "lr" in names:
        images["lr"] = torch.from_numpy(simulation.lr.resample_to(grid, "cubic").array).clamp_min(0)
    if "ct" in names:
        images["ct"] = torch.from_numpy(ct.resample_to(grid, "linear", AIR_HU).array)
    wanted = [int(name[2:]) for name in names if name.startswith("em")]
    if wanted:
        model = measurement.model(grid, pick_device(device))

        def keep(number: int, image: Tensor) -> None:
            if number in wanted:
                images[f"em{number}"] = image.cpu()

        osem(model, measurement.counts.to(model.projector.device), max(wanted), callback=keep)
    return images


class Pairs:
    """The pairs of training cases on disk, and batches of patches of them."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self.depths = []
        for path in self.paths:
            with safe_open(path, framework="pt") as file:
                self.depths.append(file.get_slice("truth").get_shape()[0])
        self.shares = np.array(self.depths) / sum(self.depths)

    @classmethod
    def make(cls, cases: Sequence[Subject], options: FitOptions, report: Reporter) -> Pairs:
        """Simulate the scans that ``options.folder`` does not hold yet (standard setting, ``options.counts``)."""
        if not cases:
            raise InputError("There are no training patients: name them under 'train' in the split file.")
        paths = []
        for number, case in enumerate(cases):
            path = options.folder / entry_name(case, number, options)
            if not _whole(path):
                report("simulating training scans", number / len(cases), case.name)
                _write(path, case, number, options)
            paths.append(path)
        return cls(paths)

    def batch(
        self, seed: int, step: int, count: int, size: int, names: Sequence[str], neighbours: int = 0
    ) -> dict[str, Tensor]:
        """``count`` patches of ``names`` and ``truth``, each ``(count, 1 + 2 neighbours, size, size)`` float32.

        Fixed by seed and step. Slices are drawn evenly over all cases, flipped and transposed at random;
        beyond a volume's end its last slice is repeated, beyond a slice's edge is air.
        """
        random = np.random.default_rng([seed, step])
        wanted = dict.fromkeys(("truth", *names))
        drawn: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for _ in range(count):
            place = int(random.choice(len(self.paths), p=self.shares))
            depth = self.depths[place]
            middle = int(random.integers(depth))
            near = np.arange(middle - neighbours, middle + neighbours + 1).clip(0, depth - 1)
            corner, turn = random.random(2), random.random(3) < 0.5
            with safe_open(self.paths[place], framework="pt") as file:
                for name in wanted:
                    stack = file.get_slice(name)[int(near[0]) : int(near[-1]) + 1].float()
                    stack = stack[torch.from_numpy(near - near[0])]
                    drawn[name].append(_patch(stack, AIR_HU if name == "ct" else 0.0, size, corner, turn))
        return {name: torch.stack(patches) for name, patches in drawn.items()}


def entry_name(case: Subject, number: int, options: FitOptions) -> str:
    """The file name of a case's pair: a readable part, and a hash of all that decides its values."""
    decides = {"case": case.decides, "number": number, "counts": options.counts, "seed": options.seed}
    return f"pair-{cache.entry_name(case.name, decides)}"


def _write(path: Path, case: Subject, number: int, options: FitOptions) -> None:
    try:
        pet, ct, _ = case.load()
        seed = options.seed * 10_007 + 1 + number  # not that of evaluated scans, which is the seed itself
        simulation = simulate(pet, ct, "standard", options.counts, seed=seed, device=options.device)
    except PETSuperResError as error:
        raise type(error)(f"Training case {case.name}: {error}") from error
    images = {"truth": torch.from_numpy(simulation.truth.array)}
    images |= channels(simulation, ct, CHANNELS[1:], options.device)
    with atomic_path(path) as temporary:
        save_file({name: image.half().contiguous() for name, image in images.items()}, temporary)


def _whole(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys()) == set(CHANNELS)
    except (SafetensorError, OSError):
        return False


def _patch(stack: Tensor, outside: float, size: int, corner: np.ndarray, turn: np.ndarray) -> Tensor:
    """A ``size`` x ``size`` patch of ``(n, J, I)``: ``corner`` in 0..1 of the room there is, flips, transpose."""
    first = [round(float(c) * (n - size)) for c, n in zip(corner, stack.shape[1:], strict=True)]
    edges = [(-f, size + f - n) for f, n in zip(first, stack.shape[1:], strict=True)]  # negative ones cut
    patch = F.pad(stack - outside, (*edges[1], *edges[0])) + outside
    flips = [axis for axis, wanted in zip((-2, -1), turn[:2], strict=True) if wanted]
    patch = patch.flip(flips) if flips else patch
    return patch.transpose(-2, -1) if turn[2] else patch
