"""Whether a CT would fit a PET better elsewhere: by what both show inside the body, not by its outline alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .volume import Volume

BINS = 16  # of HU, and of the logarithm of SUV
HU_RANGE = (-400.0, 300.0)
GRID_MM = 6.0
STEPS_MM = (-40.0, -20.0, 20.0, 40.0)  # breathing and patients' motion are smaller
#: least information of the best other place, over that of the given one, that is told; chosen on training patients
#: with Testing/studies/benchmarks/misplaced_ct.py. Normalised gradients, alone or times the information, told right
#: CTs from others no better.
BETTER = 1.15
INFORMATION = 0.03  # least of the best place: below it, PET and CT show nothing in common
VOXELS = 1000  # least number that both cover
OVERLAP = 0.5  # of the covered voxels that another place must keep

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda a: a,
    "turned by 180 degrees": lambda a: a[:, ::-1, ::-1],
    "front to back": lambda a: a[:, ::-1],
    "head to feet": lambda a: a[::-1],
}
AXES = ("head-feet", "front-back", "left-right")


def fits_better(pet: Volume, ct: Volume, outside_hu: float = -3000.0) -> str:
    """Where a CT would fit the PET better than where it lies, in words; empty where it lies best."""
    found = information(pet, ct, outside_hu)
    best = max(found, key=lambda name: found[name], default="")
    return best if best and found[best] > max(BETTER * found[""], INFORMATION) else ""


def information(pet: Volume, ct: Volume, outside_hu: float = -3000.0) -> dict[str, float]:
    """What a CT says of a PET as it lies (``""``), and turned, mirrored and moved by 20 and 40 mm, by name.

    Both are axial. It is the normalised mutual information ``(H(P) + H(C)) / H(P, C) - 1`` of SUV and HU. Empty where
    too little is covered by both.
    """
    grid = pet.resample_to(pet.grid([max(s, GRID_MM) for s in pet.spacing]), "linear")
    hu = ct.resample_to(grid, "linear", outside_hu).array
    levels = np.log(grid.array.clip(0) + 0.1 * np.percentile(grid.array, 95) + 1e-6)
    uptake = _binned(levels, float(levels.min()), float(levels.max()))
    tissue = np.where(hu > outside_hu + 500, _binned(hu, *HU_RANGE), -1)
    covered = int((tissue >= 0).sum())
    found: dict[str, float] = {}
    if covered < VOXELS:
        return found
    for name, moved in _places(tissue, grid.spacing):  # a name stands for both directions of a step
        if (moved >= 0).sum() >= OVERLAP * covered:
            found[name] = max(found.get(name, -1.0), _information(moved, uptake))
    return found


def _places(tissue: np.ndarray, spacing: tuple[float, float, float]) -> Iterator[tuple[str, np.ndarray]]:
    """The CT as it lies (named ``""``), and in the other places, in words."""
    for turn, turned in TURNS.items():
        yield turn, turned(tissue)
        for axis, name in enumerate(AXES):
            for step in STEPS_MM:
                moved = _shifted(turned(tissue), axis, round(step / spacing[2 - axis]))
                yield f"{turn} and moved by {abs(step):g} mm {name}".removeprefix(" and "), moved


def _shifted(values: np.ndarray, axis: int, steps: int) -> np.ndarray:
    """Moved along an axis by whole voxels; -1 (not covered) comes in."""
    moved = np.full_like(values, -1)
    n = values.shape[axis]
    if abs(steps) < n:
        source, target = [slice(None)] * 3, [slice(None)] * 3
        source[axis], target[axis] = slice(max(0, -steps), n - max(0, steps)), slice(max(0, steps), n - max(0, -steps))
        moved[tuple(target)] = values[tuple(source)]
    return moved


def _binned(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((values - low) * (BINS / max(high - low, 1e-6))).clip(0, BINS - 1).astype(np.int16)


def _information(tissue: np.ndarray, uptake: np.ndarray) -> float:
    """Normalised mutual information less 1, over the covered voxels."""
    covered = tissue >= 0
    pairs = tissue[covered].astype(np.int64) * BINS + uptake[covered]
    joint = np.bincount(pairs, minlength=BINS * BINS).reshape(BINS, BINS) / max(len(pairs), 1)
    both = _entropy(joint)
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / both - 1 if both > 0 else 0.0


def _entropy(shares: np.ndarray) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())
