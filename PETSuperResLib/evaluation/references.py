"""What the methods are measured against: patients' own PET, or sharp noise-free uptake in the same anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..lesions import split_segments
from ..physics.simulation import Simulation, simulate
from ..training.data import Case, find_cases, read_split
from ..training.painting import anatomy_of, paint
from ..training.phantoms import torso_phantom
from ..volume import Volume

REFERENCES = ("real", "sharp")
SHARP_SEED = 90_000  # of the paintings and torsos; training draws its seeds below 40 000
SHARP_TORSOS = 2
PIXEL_MM = 2.0
MIN_LESION_ML = 0.5  # smaller parts of a contour are specks of its resampling


@dataclass(frozen=True)
class Subject:
    """One reference: ``load`` gives PET (SUVbw, taken as the truth), CT (HU) and lesion labels (or None)."""

    name: str
    reference: str
    load: Callable[[], tuple[Volume, Volume, Volume | None]]


@dataclass(frozen=True)
class Cohort:
    """The patients of a study and how they are scanned: all at the standard setting with ``counts``."""

    data: str | Path  # folder of case folders
    part: str = "validation"  # of the split
    references: Sequence[str] = REFERENCES
    counts: str = "realistic"
    split: str | Path | None = None
    limit: int | None = None
    prior: str | Path | None = None  # None: the bundled one
    seed: int = 0
    device: str = "auto"

    def subjects(self) -> list[Subject]:
        """The references of the patients, one kind after the other."""
        cases = find_cases(self.data, read_split(self.data, self.part, self.split))[: self.limit]
        return [subject for reference in self.references for subject in subjects(cases, reference)]

    def scan(self, pet: Volume, ct: Volume) -> Simulation:
        """The simulated scan of a subject."""
        return simulate(pet, ct, "standard", self.counts, seed=self.seed, device=self.device)


def subjects(cases: Sequence[Case], reference: str) -> list[Subject]:
    """The references made of ``cases``.

    ``real``: each patient's PET, CT and contour. ``sharp``: uptake without noise painted into each
    patient's CT at 2 mm (:mod:`~PETSuperResLib.training.painting`), and generated torsos.
    """
    if reference == "real":
        return [Subject(case.name, reference, lambda case=case: _real(case)) for case in cases]  # type: ignore[misc]
    painted = [
        Subject(case.name, reference, lambda case=case, n=n: _painted(case, SHARP_SEED + n))  # type: ignore[misc]
        for n, case in enumerate(cases)
    ]
    torsos = [
        Subject(f"torso_{n + 1}", reference, lambda n=n: _torso(SHARP_SEED + n))  # type: ignore[misc]
        for n in range(SHARP_TORSOS)
    ]
    return painted + torsos


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
