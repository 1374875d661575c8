"""Training pairs: training patients' images, what is made of their simulated scans, their CTs.

Made once per scan and kept in one safetensors file each, whose name holds a hash of everything that decides
its values, so that an entry is never stale and all methods with the same plan of scans learn from the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Scan:
    """One scan of a training image, and what is kept of it.

    Parameters
    ----------
    name : of the training image.
    decides : all that decides the values, as plain JSON values.
    images : names of what ``make`` gives: ``truth`` and others ``(S, J, I)`` in SUV, ``ct`` in HU, and vectors of what
        is told of the scan.
    """

    name: str
    decides: dict[str, Any]
    images: Sequence[str]
    make: Callable[[], dict[str, Tensor]] = field(repr=False)

    @property
    def file(self) -> str:
        """A readable part, and a hash of all that decides the values."""
        return f"pair-{cache.entry_name(self.name, self.decides)}"


Plan = Callable[[Sequence[Subject], FitOptions], list[Scan]]  # the scans of training images


def standard_scans(cases: Sequence[Subject], options: FitOptions) -> list[Scan]:
    """One scan of each training image at the standard setting with ``options.counts``: :data:`CHANNELS`."""

    def scan(number: int, case: Subject) -> Scan:
        def make() -> dict[str, Tensor]:
            pet, ct, _ = case.load()
            seed = options.seed * 10_007 + 1 + number  # not that of evaluated scans, which is the seed itself
            simulation = simulate(pet, ct, "standard", options.counts, seed=seed, device=options.device)
            truth = {"truth": torch.from_numpy(simulation.truth.array)}
            return truth | channels(simulation, ct, CHANNELS[1:], options.device)

        decides = {"case": case.decides, "number": number, "counts": options.counts, "seed": options.seed}
        return Scan(case.name, decides, CHANNELS, make)

    return [scan(number, case) for number, case in enumerate(cases)]


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
    def make(
        cls, cases: Sequence[Subject], options: FitOptions, report: Reporter, plan: Plan = standard_scans
    ) -> Pairs:
        """Simulate the scans of ``plan`` that ``options.folder`` does not hold yet."""
        if not cases:
            raise InputError("There are no training patients: name them under 'train' in the split file.")
        scans, paths = plan(cases, options), []
        for number, scan in enumerate(scans):
            path = options.folder / scan.file
            if not _whole(path, scan.images):
                report("simulating training scans", number / len(scans), scan.name)
                _write(path, scan)
            paths.append(path)
        return cls(paths)

    def batch(
        self, seed: int, step: int, count: int, size: int, names: Sequence[str], neighbours: int = 0
    ) -> dict[str, Tensor]:
        """``count`` patches of ``names`` and ``truth``, each ``(count, 1 + 2 neighbours, size, size)`` float32.

        Vectors of what is told of a scan are ``(count, n)``. Fixed by seed and step. Slices are drawn evenly over all
        scans, flipped and transposed at random; beyond a volume's end its last slice is repeated, beyond a slice's
        edge is air.
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
                    kept = file.get_slice(name)
                    if len(kept.get_shape()) == 1:
                        drawn[name].append(kept[:].float())
                        continue
                    stack = kept[int(near[0]) : int(near[-1]) + 1].float()
                    stack = stack[torch.from_numpy(near - near[0])]
                    drawn[name].append(_patch(stack, AIR_HU if name == "ct" else 0.0, size, corner, turn))
        return {name: torch.stack(patches) for name, patches in drawn.items()}


def _write(path: Path, scan: Scan) -> None:
    try:
        images = scan.make()
    except PETSuperResError as error:
        raise type(error)(f"Training case {scan.name}: {error}") from error
    with atomic_path(path) as temporary:
        save_file({name: image.half().contiguous() for name, image in images.items()}, temporary)


def _whole(path: Path, images: Sequence[str]) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys()) == set(images)
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
