"""Training slices: real cases and phantoms on the prior's grid, and their augmentation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..volume import Volume

CASE_FILES = (("PET_SUV.nii.gz", "CT_HU.nii.gz", "GTV.nii.gz"), ("SUV.nii.gz", "CTres.nii.gz", "SEG.nii.gz"))
OUTSIDE_HU = -1000.0
EXACT_SHARE = 0.4  # of the patches keep the slice's own pixels; interpolated ones are a little blurred
MISREGISTERED_SHARE = 0.3  # of the interpolated patches have a CT that is off by about 3 mm


Slices = list[tuple[np.ndarray, np.ndarray]]  # (PET in SUV, CT in HU), float16 ``(J, I)``


@dataclass(frozen=True)
class Case:
    """A case folder's files."""

    name: str
    pet_file: Path
    ct_file: Path
    lesion_file: Path | None

    def pet(self) -> Volume:
        """The PET in SUVbw."""
        return Volume.read(self.pet_file, "SUVbw")

    def ct(self) -> Volume:
        """The CT in HU."""
        return Volume.read(self.ct_file, "HU")

    def lesions(self) -> Volume | None:
        """The lesion label map, if the case has one."""
        return Volume.read(self.lesion_file, "label") if self.lesion_file else None


def find_cases(folder: str | Path, names: Iterable[str] | None = None) -> list[Case]:
    """Case folders below ``folder`` (both layouts of the documentation), all or those named, by name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No data folder {folder}: give a folder of case folders.")
    cases = {}
    for pet_name, ct_name, lesion_name in CASE_FILES:
        for pet in sorted(folder.rglob(pet_name)):
            if (ct := pet.with_name(ct_name)).is_file():
                lesions = pet.with_name(lesion_name)
                name = pet.parent.relative_to(folder).as_posix()
                cases[name] = Case(name, pet, ct, lesions if lesions.is_file() else None)
    wanted = sorted(cases) if names is None else list(names)
    missing = [n for n in wanted if n not in cases]
    if missing or not cases:
        what = f"case {missing[0]}" if missing else "case"
        raise InputError(f"No {what} in {folder}: a case is a folder with {CASE_FILES[0][0]} and {CASE_FILES[0][1]}.")
    return [cases[n] for n in wanted]


def read_split(folder: str | Path, part: str, split: str | Path | None = None) -> list[str]:
    """Patient names of ``train``, ``validation`` or ``test`` from ``split`` (``split.json`` in the folder)."""
    if not Path(folder).is_dir():
        raise InputError(f"No data folder {folder}: give a folder of case folders.")
    path = Path(split) if split else Path(folder) / "split.json"
    try:
        names = json.loads(path.read_text(encoding="utf-8"))[part]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a split file with a list '{part}': give one with --split.") from error
    return [str(n) for n in names]


def slices_of(case: Case, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """PET (SUV, float16) and CT (HU, float16) of a case as ``(K, J, I)`` at ``pixel_mm`` in the slice."""
    pet = case.pet()
    grid = pet.grid((pixel_mm, pixel_mm, pet.spacing[2]))
    fine = pet.resample_to(grid, "cubic").array.clip(0, 200)
    return fine.astype(np.float16), case.ct().resample_to(grid, "linear", OUTSIDE_HU).array.astype(np.float16)


def painted_slices(case: Case, pixel_mm: float, paintings: int, seed: int) -> Slices:
    """Sharp uptake painted into a case's CT ``paintings`` times: (PET, CT) slices at ``pixel_mm``, float16."""
    from .painting import anatomy_of, paint

    pet = case.pet()
    ct = case.ct().resample_to(pet.grid((pixel_mm, pixel_mm, pet.spacing[2])), "linear", OUTSIDE_HU)
    anatomy = anatomy_of(ct, case.lesions(), seed)
    slices: Slices = []
    for number in range(paintings):
        made = paint(anatomy, seed + number)
        slices.extend(zip(made.pet.array.astype(np.float16), made.ct.array.astype(np.float16), strict=True))
    return slices


class SliceBatches:
    """Augmented batches, each fixed by (seed, step) alone, so that a resumed run sees the same data.

    Parameters
    ----------
    sources : groups of (PET, CT) slice lists, float16 numpy ``(J, I)``.
    shares : how often each group is drawn.
    size : side of a training patch in pixels.
    """

    def __init__(self, sources: list[Slices], shares: list[float], size: int, seed: int):
        self.sources, self.size, self.seed = sources, size, seed
        self.shares = np.array(shares) / sum(shares)

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """PET in SUV and CT in HU, each ``(count, size, size)`` float32."""
        random = np.random.default_rng([self.seed, step])
        pairs = [self._patch(random) for _ in range(count)]
        patches = torch.cat(pairs)
        return patches[:, 0].clamp_min(0), patches[:, 1]

    def _patch(self, random: np.random.Generator) -> Tensor:
        group = self.sources[random.choice(len(self.sources), p=self.shares)]
        pet, ct = group[random.integers(len(group))]
        pair = torch.from_numpy(np.stack([pet, ct])).float()[None]
        pair[:, 1] -= OUTSIDE_HU  # zero padding then means air
        moved = self._cut(pair, random) if random.random() < EXACT_SHARE else self._warp(pair, random)
        moved[:, 1] += OUTSIDE_HU
        moved[:, 0] *= math.exp(random.normal(0, 0.3))
        return moved

    def _cut(self, pair: Tensor, random: np.random.Generator) -> Tensor:
        """A flipped or turned patch of the slice's own pixels, as sharp as they are."""
        height, width = pair.shape[-2:]
        rows, columns = (round(random.uniform(-0.15, 0.15) * self.size + random.uniform(0, 1) * (n - self.size))
                         for n in (height, width))  # fmt: skip
        edges = (-columns, self.size + columns - width, -rows, self.size + rows - height)  # negative ones cut
        turned = F.pad(pair, edges)
        if random.random() < 0.3:
            turned = turned.flip(-2)
        return turned.flip(-1) if random.random() < 0.5 else turned

    def _warp(self, pair: Tensor, random: np.random.Generator) -> Tensor:
        """A turned, scaled and moved patch; the CT sometimes a few mm off, as breathing and motion leave it."""
        angle = random.normal(0, 0.35) + (math.pi if random.random() < 0.3 else 0)
        zoom = math.exp(random.uniform(math.log(0.7), math.log(1.35)))
        flip = -1.0 if random.random() < 0.5 else 1.0
        height, width = pair.shape[-2:]
        # room to move the patch over the slice while it still shows the body
        shift = [random.uniform(-1, 1) * max(0.15, 1 - 0.8 * self.size / n) for n in (width, height)]
        cos, sin = math.cos(angle), math.sin(angle)
        a, b = self.size / width / zoom, self.size / height / zoom
        theta = torch.tensor([[a * cos * flip, -a * sin, shift[0]], [b * sin * flip, b * cos, shift[1]]])
        moved = self._sample(pair, theta)
        if random.random() < MISREGISTERED_SHARE:
            theta[:, 2] += torch.tensor([random.normal(0, 3.0 / width), random.normal(0, 3.0 / height)])
            moved[:, 1:] = self._sample(pair[:, 1:], theta)
        return moved

    def _sample(self, images: Tensor, theta: Tensor) -> Tensor:
        grid = F.affine_grid(theta[None].float(), [1, images.shape[1], self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
