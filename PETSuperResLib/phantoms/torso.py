"""Procedural PET/CT phantoms: whole torsos with lesions, and cheap batches of slices for training.

Every organ is analytic, so a phantom has a sharp, known truth at any voxel size; it depends on the seed
alone. Shapes are in :mod:`.shapes`, the person in :mod:`.organs`, its slices in :mod:`.drawing`, lesions in
:mod:`.lesions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..volume import Volume
from .drawing import draw
from .lesions import Lesion, choose_site, random_lesion
from .organs import Person
from .shapes import Canvas

# region: (lowest and highest slice centre in mm above the pubis, share of the training slices)
REGIONS: dict[str, tuple[float, float, float]] = {
    "thigh": (-390.0, -40.0, 0.34),
    "pelvis": (-40.0, 150.0, 0.16),
    "abdomen": (150.0, 390.0, 0.20),
    "thorax": (390.0, 640.0, 0.24),
    "head": (640.0, 870.0, 0.06),
}
_CENTRES = {"torso": (395.0, 425.0), "thigh": (-250, -120), "pelvis": (30, 90), "abdomen": (240, 330),
            "thorax": (450, 540), "head": (780, 820)}  # fmt: skip


@dataclass(frozen=True)
class Phantom:
    """A phantom: ``pet`` (SUVbw), ``ct`` (HU), ``labels`` (lesions 1..n) and ``organs``, all on one grid."""

    pet: Volume
    ct: Volume
    labels: Volume
    organs: Volume
    lesions: tuple[Lesion, ...] = ()


def _slice(
    person: Person,
    rng: np.random.Generator,
    lesions: Sequence[Lesion],
    x: np.ndarray,
    y: np.ndarray,
    z: float,
    pixel_mm: float,
    ct_noise: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One slice as (pet, ct, labels, organs), with natural variation of uptake and tissue and the CT's noise."""
    c = Canvas(x, y, z, pixel_mm)
    draw(person, c)
    for number, lesion in enumerate(lesions, 1):
        lesion.draw(c, number)
    broad, fine = (c.field(person.noise[mm]) for mm in (22.0, 9.0))
    pet = np.maximum(c.pet * (1 + 0.04 * broad + 0.05 * fine), 0)
    grain = rng.standard_normal((len(y) + 2, len(x) + 2)).astype(np.float32)
    grain = grain[1:-1, 1:-1] + 0.5 * (grain[:-2, 1:-1] + grain[2:, 1:-1] + grain[1:-1, :-2] + grain[1:-1, 2:])
    ct = c.ct + (4 * broad + 3 * fine) * (c.ct > -950) + grain * np.float32(ct_noise / 1.41)
    return pet.astype(np.float32), np.clip(ct, -1024, 3071).astype(np.float32), c.label, c.organ


def _place(person: Person, rng: np.random.Generator, z: float, box: tuple[float, float] | None = None) -> Lesion | None:
    """A random lesion near height ``z``, its centre within ``box`` (half widths x, y in mm) if given."""
    survey = Canvas(np.arange(-200, 201, 8.0), np.arange(-136, 137, 8.0), z, 8.0)  # a map of the organs
    draw(person, survey)
    blocked = None if box is None else (np.abs(survey.x) > box[0]) | (np.abs(survey.y) > box[1])
    site = choose_site(rng, survey.organ, survey.x[0], survey.y[:, 0], blocked)
    if site is None:
        return None
    organ, x, y = site
    row, column = int(np.searchsorted(survey.y[:, 0], y)), int(np.searchsorted(survey.x[0], x))
    x, y = x + rng.uniform(-4, 4), y + rng.uniform(-4, 4)
    return random_lesion(rng, organ, (x, y, z), float(survey.pet[row, column]), limb=z < 60)


def torso_phantom(
    seed: int,
    shape: tuple[int, int, int] = (24, 128, 176),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    lesions: int | None = None,
    region: str = "torso",
) -> Phantom:
    """A random person's PET and CT with lesions, in LPS with the origin at the middle of the grid.

    ``shape`` is (K, J, I), ``spacing`` (i, j, k) in mm, ``lesions`` their number (None: 3 to 8) and
    ``region`` one of torso (around the diaphragm), thigh, pelvis, abdomen, thorax, head. The same seed
    gives the same person at any voxel size. Raises :class:`InputError` for an unknown region.
    """
    if region not in _CENTRES:
        raise InputError(f"Unknown phantom region '{region}': choose one of {', '.join(_CENTRES)}.")
    person, rng = Person(seed), np.random.default_rng([seed, 1])
    size_k, size_j, size_i = shape
    middle = float(rng.uniform(*_CENTRES[region]))
    x = (np.arange(size_i) - (size_i - 1) / 2) * spacing[0]
    y = (np.arange(size_j) - (size_j - 1) / 2) * spacing[1]
    z = middle + (np.arange(size_k) - (size_k - 1) / 2) * spacing[2]
    found = _scatter(person, rng, z, (0.85 * abs(x[0]), 0.85 * abs(y[0])), lesions)
    layers = [_slice(person, rng, found, x, y, height, spacing[0], 12.0) for height in z]
    pet, ct, labels, organs = (np.stack(stack) for stack in zip(*layers, strict=True))
    grid = Volume(pet, spacing, (float(x[0]), float(y[0]), float(z[0] - middle)), unit="SUVbw")
    maps = (grid.with_array(labels, "label"), grid.with_array(organs, "label"))
    return Phantom(grid, grid.with_array(ct, "HU"), *maps, tuple(found))


def _scatter(
    person: Person, rng: np.random.Generator, z: np.ndarray, box: tuple[float, float], count: int | None
) -> list[Lesion]:
    """Lesions at a distance from one another, with centres well inside the volume."""
    wanted = int(rng.integers(3, 9)) if count is None else count
    found: list[Lesion] = []
    depth = np.ptp(z)
    for _ in range(20 * wanted):
        if len(found) == wanted:
            break
        new = _place(person, rng, float(z.mean() + rng.uniform(-0.36, 0.36) * depth), box)
        if new is None or max(new.shape.radii) > 0.5 * depth + 6:
            continue
        if all(new.gap(old, 1.3) > 6 for old in found):
            found.append(new)
    return found


def random_stacks(
    seed: int,
    n: int,
    depth: int = 1,
    slice_mm: float = 0.0,
    size: int = 96,
    pixel_mm: float = 2.0,
    region: str | None = None,
    per_person: int = 6,
) -> tuple[np.ndarray, np.ndarray]:
    """``n`` random axial crops of random people: (pet SUVbw, ct HU), each ``(n, depth, size, size)`` float32.

    The ``depth`` slices are ``slice_mm`` apart, ``pixel_mm`` is the pixel's side; two thirds of the crops pass through
    a lesion. ``region`` keeps to one of thigh, pelvis, abdomen, thorax, head; ``per_person`` crops share one person
    (cheaper).
    """
    if region is not None and region not in REGIONS:
        raise InputError(f"Unknown phantom region '{region}': choose one of {', '.join(REGIONS)}.")
    rng = np.random.default_rng([seed, 2])
    shares = np.array([share for *_, share in REGIONS.values()])
    pets, cts = np.empty((n, depth, size, size), np.float32), np.empty((n, depth, size, size), np.float32)
    person = Person(int(rng.integers(2**31)))
    heights = slice_mm * (np.arange(depth) - (depth - 1) / 2)
    for number in range(n):
        if number and number % per_person == 0:
            person = Person(int(rng.integers(2**31)))
        name = region or str(rng.choice(list(REGIONS), p=shares / shares.sum()))
        z = float(rng.uniform(*REGIONS[name][:2]))
        pets[number], cts[number] = _crop(person, rng, z, size, pixel_mm, heights)
    return pets, cts


def _crop(
    person: Person, rng: np.random.Generator, z: float, size: int, pixel_mm: float, heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PET and CT at ``heights`` about ``z``, both ``(depth, size, size)``; lesions lie near ``z``."""
    width, depth = person.outline(z)
    half = 0.5 * size * pixel_mm
    spare = [max(0.0, width + 30 - half), max(0.0, depth + 30 - half)]
    centre = np.array([rng.uniform(-spare[0], spare[0]), rng.uniform(-spare[1], spare[1])])
    found = []
    if rng.random() < 0.67:
        placed = [_place(person, rng, z) for _ in range(int(rng.integers(1, 4)))]
        found = [lesion for lesion in placed if lesion is not None]
        if found and rng.random() < 0.8:
            centre = np.array(found[0].shape.centre[:2]) + rng.uniform(-0.6, 0.6, 2) * half
    step = (np.arange(size) - (size - 1) / 2) * pixel_mm
    z += float(rng.uniform(-3, 3))
    grain = float(rng.uniform(6, 20)) if len(heights) > 1 else None
    layers = []
    for height in z + heights:
        noise = float(rng.uniform(6, 20)) if grain is None else grain
        layers.append(_slice(person, rng, found, centre[0] + step, centre[1] + step, height, pixel_mm, noise)[:2])
    pet, ct = (np.stack(stack) for stack in zip(*layers, strict=True))
    return (pet[..., ::-1], ct[..., ::-1]) if rng.random() < 0.5 else (pet, ct)
