"""What the methods are measured against: patients' own PET, or sharp noise-free uptake in the same anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...cohort.cases import Case, find_cases
from ...cohort.manifest import read_split
from ...files import fingerprint
from ...lesions.measures import split_segments
from ...phantoms.painting import anatomy_of, paint
from ...phantoms.torso import torso_phantom
from ...physics.simulation import Simulation, simulate
from ...volume import Volume

REFERENCES = ("real", "sharp")
SHARP_SEED = 90_000  # of the paintings and torsos; training draws its seeds below 40 000
SHARP_TORSOS = 2
PIXEL_MM = 2.0
MIN_LESION_ML = 0.5  # smaller parts of a contour are specks of its resampling


@dataclass(frozen=True)
class Subject:
    """One reference: ``load`` gives PET (SUVbw, taken as the truth), CT (HU) and lesion labels (or None).

    ``decides`` is what decides them, as plain JSON values.
    """

    name: str
    reference: str
    load: Callable[[], tuple[Volume, Volume, Volume | None]]
    decides: dict[str, Any]


@dataclass(frozen=True)
class Cohort:
    """The patients of a study and how they are scanned: all at the standard setting with ``counts``."""

    data: str | Path  # folder of case folders
    part: str = "validation"  # of the split
    references: Sequence[str] = REFERENCES
    counts: str = "realistic"
    split: str | Path | None = None
    limit: int | None = None
    slices: int | None = None  # of each, about the hottest one in the lesions; None: all
    prior: str | Path | None = None  # None: the bundled one
    seed: int = 0
    device: str = "auto"

    def subjects(self) -> list[Subject]:
        """The references of the patients, one kind after the other."""
        cases = find_cases(self.data, read_split(self.data, self.part, self.split))[: self.limit]
        return [subject for reference in self.references for subject in subjects(cases, reference, self.slices)]

    def scan(self, pet: Volume, ct: Volume) -> Simulation:
        """The simulated scan of a subject."""
        return simulate(pet, ct, "standard", self.counts, seed=self.seed, device=self.device)


def subjects(cases: Sequence[Case], reference: str, slices: int | None = None) -> list[Subject]:
    """The references made of ``cases``; with ``slices``, so many of each by :func:`middle`.

    ``real``: each patient's PET, CT and contour. ``sharp``: uptake without noise painted into each
    patient's CT at 2 mm (:mod:`~PETSuperResLib.phantoms.painting`), and generated torsos.
    """
    if slices is not None:
        return [middle(subject, slices) for subject in subjects(cases, reference)]
    if reference == "real":
        return [Subject(case.name, reference, partial(_real, case), _facts(case)) for case in cases]
    painted = [
        Subject(case.name, reference, partial(_painted, case, SHARP_SEED + n), _facts(case) | {"seed": SHARP_SEED + n})
        for n, case in enumerate(cases)
    ]
    torsos = [
        Subject(f"torso_{n + 1}", reference, partial(_torso, SHARP_SEED + n), {"torso": SHARP_SEED + n})
        for n in range(SHARP_TORSOS)
    ]
    return painted + torsos


def middle(subject: Subject, slices: int) -> Subject:
    """The same subject with its PET cut to so many axial slices about the hottest one in the lesions."""

    def load() -> tuple[Volume, Volume, Volume | None]:
        pet, ct, mask = subject.load()
        inside = None if mask is None else mask.resample_to(pet, "nearest").array > 0
        hot = np.where(inside, pet.array, 0) if inside is not None and inside.any() else pet.array
        first = int(np.argmax(hot.max((1, 2)))) - slices // 2
        first = max(0, min(first, pet.shape[0] - slices))
        part = pet.crop((0, 0, first), (pet.shape[2], pet.shape[1], min(pet.shape[0], first + slices)))
        return part, ct, None if mask is None else mask.resample_to(part, "nearest")

    return Subject(subject.name, subject.reference, load, subject.decides | {"slices": slices})


def _facts(case: Case) -> dict[str, Any]:
    files = case.sources()
    return {"series": [case.pet_series, case.ct_series], "files": fingerprint(files, files[0].parent.parent)}


def _real(case: Case) -> tuple[Volume, Volume, Volume | None]:
    mask = case.lesions()
    return case.pet(), case.ct(), None if mask is None else _large(mask)


def _painted(case: Case, seed: int) -> tuple[Volume, Volume, Volume | None]:
    pet = case.pet()
    ct = case.ct().resample_to(pet.grid((PIXEL_MM, PIXEL_MM, pet.spacing[2])), "linear", -1000.0)
    made = paint(anatomy_of(ct, case.lesions(), seed), seed, lesions=5)
    return made.pet, made.ct, made.labels if made.labels.array.any() else None


def _torso(seed: int) -> tuple[Volume, Volume, Volume]:
    made = torso_phantom(seed, (24, 128, 176), (PIXEL_MM, PIXEL_MM, 3.0))
    return made.pet, made.ct, made.labels


def _large(mask: Volume) -> Volume:
    """The contour's connected parts as labels, without specks (the largest is always kept)."""
    parts = split_segments(mask)
    array = parts.array.copy()
    for label in range(2, int(array.max()) + 1):
        inside = array == label
        if inside.sum() * parts.voxel_ml < MIN_LESION_ML:
            array[inside] = 0
    return parts.with_array(array, "label")
