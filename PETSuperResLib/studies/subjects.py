"""What studies train on and measure against: patients' own PET, sharp uptake in their and in torsos' CTs, torsos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..cohort.case import Case
from ..cohort.cts import CT
from ..cohort.manifest import split_cases
from ..files import fingerprint
from ..lesions.segments import split_segments
from ..phantoms.anatomy import Anatomy, anatomy_of
from ..phantoms.ct_organs import torso_anatomy
from ..phantoms.painting import paint
from ..phantoms.torso import Phantom, torso_phantom
from ..physics.protocols import Protocol
from ..physics.simulation import Simulation, simulate
from ..prior.denoiser import AIR_HU
from ..volume import Volume

REFERENCES = ("real", "sharp")
TRAINING_SEED = 50_000  # of the paintings that compared methods learn from; the prior's: to 40 000, and from 500 000
SHARP_SEED = 90_000  # of the paintings and torsos that methods are measured against
SHARP_TORSOS = {"validation": (SHARP_SEED, 2), "test": (98_000, 4)}  # of each part of the split: first seed, number
TORSO = "torso"  # in the names of generated ones
CTS = "cts"  # the reference of uptake painted into torso CTs
CT_STACKS, CT_SLICES, CT_SLICE_MM, CT_LESIONS = 2, 24, 3.0, 14  # measured of each CT; lesions in the whole of it
FRESH_SEED = 95_000  # of torsos that nothing was chosen on
PIXEL_MM = 2.0
CT_MARGIN_MM = 30.0  # around the body
MIN_LESION_ML = 0.5  # smaller parts of a contour are specks of its resampling
PART_ML = 1.0  # of a lesion that the slices cut; a smaller part is no small lesion


@dataclass(frozen=True)
class Subject:
    """One image of a study: ``load`` gives PET (SUVbw, taken as the truth), CT (HU) and lesion labels (or None).

    ``decides`` is all that decides them, as plain JSON values: what is made of them is kept under its hash.
    ``reference``: ``real``, the patient's own PET, ``sharp``, uptake without noise, or ``cts``, such in torso CTs.
    """

    name: str
    decides: dict[str, Any]
    load: Callable[[], tuple[Volume, Volume, Volume | None]] = field(repr=False)
    reference: str = "real"


@dataclass(frozen=True)
class Cohort:
    """The patients of a study and how they are scanned: at the standard setting or by a protocol, with ``counts``."""

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
    protocol: Protocol | str | None = None
    input: str = "sinogram"  # what methods get: the counts, or only the clinic's image of them ("image")

    def subjects(self) -> list[Subject]:
        """The references of the patients, one kind after the other."""
        cases = split_cases(self.data, self.part, self.split)[: self.limit]
        return [s for reference in self.references for s in subjects(cases, reference, self.slices, self.part)]

    @property
    def setting(self) -> str:
        """Name of the protocol, or of the setting."""
        return Protocol.get(self.protocol).name if self.protocol else "standard"

    def scan(self, pet: Volume, ct: Volume) -> Simulation:
        """The simulated scan of a subject."""
        return simulate(pet, ct, "standard", self.counts, seed=self.seed, device=self.device, protocol=self.protocol)


def subjects(
    cases: Sequence[Case], reference: str, slices: int | None = None, part: str = "validation"
) -> list[Subject]:
    """What methods are measured against on ``cases``; with ``slices``, so many of each by :func:`middle`.

    ``real``: each patient's PET, CT and contour. ``sharp``: uptake without noise painted into each
    patient's CT at 2 mm (:mod:`~PETSuperResLib.phantoms.painting`), and generated torsos, those of the ``test`` part
    others than those that methods are tuned on.
    """
    if reference == "real":
        found = [real(case) for case in cases]
    else:
        found = [painted(case, SHARP_SEED + n, lesions=5) for n, case in enumerate(cases)]
        first, number = SHARP_TORSOS.get(part, SHARP_TORSOS["validation"])
        name = f"test_{TORSO}" if part == "test" else TORSO
        found += [_torso(f"{name}_{n + 1}", first + n) for n in range(number)]
    return found if slices is None else [middle(subject, slices) for subject in found]


def training_subjects(data: str | Path, split: str | Path | None = None, limit: int | None = None) -> list[Subject]:
    """Two images of every ``train`` patient: the own PET, and sharp uptake without noise painted into the CT."""
    cases = split_cases(data, "train", split)[:limit]
    found = [*map(real, cases), *(painted(case, TRAINING_SEED + n) for n, case in enumerate(cases))]
    return [replace(subject, name=f"{subject.name}-{subject.reference}") for subject in found]


def fresh_torsos(count: int) -> list[Subject]:
    """Generated torsos of seeds of their own."""
    return [_torso(f"fresh_{TORSO}_{n + 1}", FRESH_SEED + n) for n in range(count)]


def is_torso(name: str) -> bool:
    """Whether a subject of this name is a generated torso."""
    return TORSO in name.split("_")


def real(case: Case) -> Subject:
    """A patient's own PET and CT, and the contour's connected parts as labels."""

    def load() -> tuple[Volume, Volume, Volume | None]:
        mask = case.lesions()
        return case.pet(), case.ct(), None if mask is None else _large(mask)

    return Subject(case.name, _facts(case), load)


def painted(case: Case, seed: int, lesions: int | None = None) -> Subject:
    """Sharp uptake without noise painted into a patient's CT at 2 mm, with ``lesions`` (None: 2 to 9)."""

    def load() -> tuple[Volume, Volume, Volume | None]:
        made = paint(case_anatomy(case, case.pet(), PIXEL_MM, seed), seed, lesions)
        return made.pet, made.ct, made.labels if made.labels.array.any() else None

    return Subject(case.name, _facts(case) | {"painting": [seed, lesions]}, load, "sharp")


def painted_cts(cts: Sequence[CT], slices: int | None = None) -> list[Subject]:
    """Sharp uptake painted into torso CTs: :data:`CT_STACKS` stacks of :data:`CT_SLICES` slices of each."""
    found = [_painted_ct(ct, SHARP_SEED + 2000 + n, stack) for n, ct in enumerate(cts) for stack in range(CT_STACKS)]
    return found if slices is None else [middle(subject, slices) for subject in found]


@lru_cache(maxsize=1)  # all stacks and scans of a CT follow one another
def _painting_of(ct: CT, seed: int) -> Phantom:
    return paint(ct_anatomy(ct.volume(), PIXEL_MM, CT_SLICE_MM, seed), seed, CT_LESIONS)


def _painted_ct(ct: CT, seed: int, stack: int) -> Subject:
    def load() -> tuple[Volume, Volume, Volume | None]:
        made = _painting_of(ct, seed)
        spare = max(0, made.pet.shape[0] - CT_SLICES)
        first = round(spare * (stack + 0.5) / CT_STACKS)
        pet, shown, labels = (v.slices(first, first + CT_SLICES) for v in (made.pet, made.ct, made.labels))
        labels = without_small_parts(labels, made.labels)
        return pet, shown, labels if labels.array.any() else None

    return Subject(
        f"{ct.name}_{stack + 1}", {"files": ct.fingerprint(), "painting": [seed, CT_LESIONS, stack]}, load, CTS
    )


def case_anatomy(case: Case, pet: Volume, pixel_mm: float, seed: int, slice_mm: float | None = None) -> Anatomy:
    """The anatomy of a case's CT and contour on the grid of ``pet`` with pixels of ``pixel_mm``, to be painted."""
    grid = pet.grid((pixel_mm, pixel_mm, slice_mm or pet.spacing[2]))
    return anatomy_of(case.ct().resample_to(grid, "linear", AIR_HU), case.lesions(), seed)


def ct_anatomy(ct: Volume, pixel_mm: float, slice_mm: float, seed: int) -> Anatomy:
    """The anatomy with organs of a torso's CT (HU) alone, cut to the body, on axial slices to be painted.

    The slices are ``slice_mm`` apart, or as far as those of the CT where that is more.
    """
    ct = Volume.from_sitk(sitk.DICOMOrient(ct.to_sitk(), "LPS"), ct.unit)
    ct = ct.resample_to(ct.grid((pixel_mm, pixel_mm, max(slice_mm, ct.spacing[2]))), "linear", AIR_HU)
    body = ndimage.binary_opening(ct.array > -300, np.ones((1, 5, 5)))
    places = np.argwhere(body.any(0))
    if len(places):
        margin = round(CT_MARGIN_MM / pixel_mm)
        low, high = (places.min(0) - margin).clip(0), places.max(0) + margin + 1
        ct = ct.crop((*low[::-1], 0), (*high[::-1], ct.shape[0]))
    return torso_anatomy(ct, seed)


def middle(subject: Subject, slices: int) -> Subject:
    """The same subject with its PET cut to so many axial slices about the hottest one in the lesions.

    The labels are those of the slices, by :func:`without_small_parts`.
    """

    def load() -> tuple[Volume, Volume, Volume | None]:
        pet, ct, mask = subject.load()
        inside = None if mask is None else mask.resample_to(pet, "nearest").array > 0
        hot = np.where(inside, pet.array, 0) if inside is not None and inside.any() else pet.array
        first = int(np.argmax(hot.max((1, 2)))) - slices // 2
        first = max(0, min(first, pet.shape[0] - slices))
        part = pet.slices(first, first + slices)
        return part, ct, None if mask is None else without_small_parts(mask.resample_to(part, "nearest"), mask)

    return replace(subject, load=load, decides=subject.decides | {"slices": slices})


def without_small_parts(part: Volume, whole: Volume) -> Volume:
    """Labels of some slices without lesions of which these hold a part only, of less than :data:`PART_ML`.

    The largest of all stays.
    """
    array = part.array.copy()
    held = {n: float((array == n).sum()) * part.voxel_ml for n in np.unique(array) if n > 0}
    for n, ml in held.items():
        cut = ml < 0.99 * float((whole.array == n).sum()) * whole.voxel_ml
        if cut and ml < PART_ML and ml < max(held.values()):
            array[array == n] = 0
    return part.with_array(array, "label")


def _facts(case: Case) -> dict[str, Any]:
    files = case.sources()
    return {"series": [case.pet_series, case.ct_series], "files": fingerprint(files, files[0].parent.parent)}


def _torso(name: str, seed: int) -> Subject:
    def load() -> tuple[Volume, Volume, Volume | None]:
        made = torso_phantom(seed, (24, 128, 176), (PIXEL_MM, PIXEL_MM, 3.0))
        return made.pet, made.ct, made.labels

    return Subject(name, {"torso": seed}, load, "sharp")


def _large(mask: Volume) -> Volume:
    """The contour's connected parts as labels, without specks (the largest is always kept)."""
    parts = split_segments(mask)
    array = parts.array.copy()
    for label in range(2, int(array.max()) + 1):
        inside = array == label
        if inside.sum() * parts.voxel_ml < MIN_LESION_ML:
            array[inside] = 0
    return parts.with_array(array, "label")
