"""The training patients' images, as the methods that learn get them; the prior saw the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...cohort.cases import Case
from ...cohort.manifest import split_cases
from ...files import fingerprint
from ...phantoms.painting import anatomy_of, paint
from ...volume import Volume
from ..methods import METHODS, FitOptions, Method, TrainingCase

PAINTING_SEED = 50_000  # beside those of the prior's training and of the sharp references
PIXEL_MM = 2.0


def training_cases(data: str | Path, split: str | Path | None = None, limit: int | None = None) -> list[TrainingCase]:
    """Two images of every ``train`` patient: the own PET, and sharp uptake without noise painted into the CT."""
    cases = split_cases(data, "train", split)[:limit]
    return [*_each(cases, Path(data), "real"), *_each(cases, Path(data), "painted")]


def fitted(
    names: Sequence[str], data: str | Path, split: str | Path | None, options: FitOptions, limit: int | None = None
) -> dict[str, Method]:
    """Methods by name, those that learn trained on the ``train`` patients of ``data`` (or read from the folder).

    ``limit``: on the first so many of the patients only.
    """
    methods = {name: METHODS[name] for name in names}
    learning = [name for name in names if methods[name].fit is not None]
    cases = training_cases(data, split, limit) if learning else []
    for name in learning:
        fit = methods[name].fit
        assert fit is not None
        methods[name] = fit(cases, options)
    return methods


def fit_facts(
    names: Sequence[str], data: str | Path, split: str | Path | None, minutes: float | None, limit: int | None = None
) -> dict[str, Any]:
    """What decides what methods learn, besides seed, counts and code; nothing if none of them learns."""
    if not any(METHODS[name].fit for name in names):
        return {}
    return {"minutes": minutes, "images": [case.decides for case in training_cases(data, split, limit)]}


def _each(cases: Sequence[Case], data: Path, kind: str) -> list[TrainingCase]:
    found = []
    for number, case in enumerate(cases):
        seed = PAINTING_SEED + number
        decides = {
            "kind": kind,
            "seed": seed if kind == "painted" else 0,
            "series": [case.pet_series, case.ct_series],
            "files": fingerprint(case.sources(lesions=kind == "painted"), data),
        }
        load = partial(_painted, case, seed) if kind == "painted" else partial(_real, case)
        found.append(TrainingCase(f"{case.name}-{kind}", decides, load))
    return found


def _real(case: Case) -> tuple[Volume, Volume]:
    return case.pet(), case.ct()


def _painted(case: Case, seed: int) -> tuple[Volume, Volume]:
    pet = case.pet()
    grid = pet.grid((PIXEL_MM, PIXEL_MM, pet.spacing[2]))
    made = paint(anatomy_of(case.ct().resample_to(grid, "linear", -1000.0), case.lesions(), seed), seed)
    return made.pet, made.ct
