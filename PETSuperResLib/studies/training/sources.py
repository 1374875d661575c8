"""The slices a prior learns from: patients' own, painted into their CTs and into torso CTs, and phantoms."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ...cohort.cases import Case
from ...cohort.cts import CT, split_cts
from ...cohort.manifest import split_cases
from ...cohort.parallel import spread
from ...errors import PETSuperResError
from ...files import fingerprint
from ...grid import axial
from ...phantoms.painting import paint
from ...phantoms.torso import random_stacks
from ...prior.denoiser import AIR_HU
from ...progress import Reporter
from ...suv.volumes import check_suv
from ...volume import Volume
from ..subjects import case_anatomy, ct_anatomy
from .cache import Stack, StoredSlices, cache_folder, entry_name, is_whole, write_entry
from .config import TrainingConfig
from .data import Resolutions, SliceBatches

GAPS_MM = (2.0, 2.5, 4.0, 5.0)  # slice spacings for a prior with neighbours, beside the patients' own
TORSO_SEED = 500_000  # of the first painting of a torso CT
PART_SLICES = 100  # of a phantom source that is made in parts, under a time limit
CT_GAPS = 2  # slice spacings of every torso CT for such a prior
PHANTOM_DEPTH = 8  # slices of a phantom volume for such a prior


@dataclass(frozen=True)
class SliceSource:
    """How one array of slices is made: ``real`` and ``painted`` from a case, ``torso`` from a CT, ``phantom``.

    ``number`` is how many paintings or phantom volumes, ``size`` a phantom slice's side in pixels, ``depth``
    its volume's slices and ``slice_mm`` their distance (for a painting 0: the patient's; a CT's at least its own).
    """

    kind: str
    pixel_mm: float
    seed: int = 0
    number: int = 1
    size: int = 0
    depth: int = 1
    slice_mm: float = 0.0
    case: Case | CT | None = None

    @property
    def title(self) -> str:
        """Its name in a progress bar."""
        return f"{self.kind} {self.case.name if self.case else self.seed}"

    def stack(self) -> Stack:
        """All its slices, PET in SUV and CT in HU."""
        stacks = list(self._stacks())
        return replace(stacks[0], array=np.concatenate([stack.array for stack in stacks]))

    def _stacks(self) -> Iterator[Stack]:
        if self.case is None:
            pet, ct = random_stacks(self.seed, self.number, self.depth, self.slice_mm, self.size, self.pixel_mm)
            shape = (-1, self.size, self.size)
            yield Stack(_pairs(pet.reshape(shape), ct.reshape(shape)), self.depth, self.slice_mm)
            return
        try:
            if self.kind == "real" and isinstance(self.case, Case):
                yield from _real(self.case, self.pixel_mm)
            else:
                yield from self._painted()
        except PETSuperResError as error:
            remedy = "as 'petsuperres manifest' does" if isinstance(self.case, Case) else "by a split"
            raise type(error)(f"Case {self.case.name}: {error} Or leave it out, {remedy}.") from error

    def _painted(self) -> Iterator[Stack]:
        if isinstance(self.case, CT):
            anatomy = ct_anatomy(self.case.volume(), self.pixel_mm, self.slice_mm, self.seed)
        else:
            assert self.case is not None
            anatomy = case_anatomy(self.case, self.case.pet(), self.pixel_mm, self.seed, self.slice_mm or None)
        for number in range(self.number):
            made = paint(anatomy, self.seed + number)
            yield Stack(_pairs(made.pet.array, made.ct.array), len(made.pet.array), made.pet.spacing[2])

    def entry(self, folder: Path) -> str:
        """The name of its file in a cache, given the data folder."""
        decides = {"kind": self.kind, "pixel_mm": self.pixel_mm, "seed": self.seed, "number": self.number}
        decides |= {"depth": self.depth, "slice_mm": self.slice_mm}
        if self.case is None:
            return entry_name("phantom", decides | {"size": self.size})
        if isinstance(self.case, CT):
            return entry_name(f"{self.case.name}-{self.kind}", decides | {"files": self.case.fingerprint()})
        # a patient's own slices do not depend on the contour
        files = self.case.sources(lesions=self.kind == "painted")
        decides |= {"series": [self.case.pet_series, self.case.ct_series], "files": fingerprint(files, folder)}
        return entry_name(f"{self.case.name}-{self.kind}", decides)


def training_slices(
    data: str | Path | None,
    split: str | Path | None,
    config: TrainingConfig,
    report: Reporter,
    cache: str | Path | None = None,
    workers: int | None = None,
    until: float = math.inf,
    cts: str | Path | None = None,
) -> tuple[SliceBatches, str]:
    """The slices of the training patients, of the torso CTs in ``cts`` and of the phantoms, and a line about them.

    With a ``cache`` folder (or the environment's PETSUPERRES_CACHE) slices are kept there, at about
    4 bytes a pixel, and read as they are needed; else all are held in memory. The slices are the same.
    With a cache they are made by ``workers`` processes (None: by cores and memory). At the time ``until``
    (:func:`time.monotonic`) no further ones are begun, once there are some of each kind.
    """
    cases = [] if data is None else split_cases(data, "train", split)
    size = int(config.size * 4 / 3)
    sources = [SliceSource("real", config.pixel_mm, case=case) for case in cases]
    neighbours = config.network.neighbours
    if config.painted_share > 0:
        for n, case in enumerate(cases):
            gap = GAPS_MM[n // 2 % len(GAPS_MM)] if neighbours and n % 2 else 0.0
            seed = config.seed + 1000 * n
            sources.append(SliceSource("painted", config.pixel_mm, seed, config.paintings, slice_mm=gap, case=case))
    if cts is not None and config.torso_share > 0:
        sources += _torsos(split_cts(cts, "train", split), config)
    if config.phantom_share > 0 or data is None:
        gaps, depth = (GAPS_MM, PHANTOM_DEPTH) if neighbours else ((0.0,), 1)
        volumes = -(-config.phantom_slices // (depth * len(gaps)))
        sources += [
            SliceSource("phantom", config.pixel_mm, config.seed + 1 + n, volumes, size, depth, gap)
            for n, gap in enumerate(gaps)
        ]
    if until < math.inf:
        sources = _in_turn(sources)
    folder = cache_folder(cache)
    made: Mapping[SliceSource, Path | Stack]
    if folder is None:
        made = _in_memory(sources, report, until)
    else:
        made = _in_cache(sources, folder, Path(data or "."), report, workers, until)
    cases = [case for case in cases if any(source.case == case for source in made)]
    torsos = {source.case for source in made if source.kind == "torso"}
    groups = {
        kind: StoredSlices([entry for source, entry in made.items() if source.kind == kind])
        for kind in dict.fromkeys(source.kind for source in made)
    }
    rest = 1 - config.phantom_share - config.painted_share - config.torso_share
    shares = {
        "real": max(0.0, rest),
        "painted": config.painted_share,
        "torso": config.torso_share,
        "phantom": config.phantom_share if data is not None else 1 - config.torso_share,
    }
    chosen, resolutions = [shares[kind] for kind in groups], None
    if config.stated_share:
        mm = [config.patient_mm if kind == "real" else config.pixel_mm for kind in groups]
        blurred = [0.0 if kind == "real" else config.blurred_share for kind in groups]
        resolutions = Resolutions(mm, blurred, config.stated_share, config.pixel_mm)
    batches = SliceBatches(list(groups.values()), chosen, config.size, config.seed, neighbours, resolutions)
    return batches, _described(groups, cases, data, len(torsos))


def _torsos(cts: Sequence[CT], config: TrainingConfig) -> list[SliceSource]:
    """The paintings of every CT, in slices of several spacings for a prior with neighbours."""
    gaps = CT_GAPS if config.network.neighbours else 1
    each = -(-config.ct_paintings // gaps)
    return [
        SliceSource(
            "torso",
            config.pixel_mm,
            config.seed + TORSO_SEED + 1000 * n + 100 * g,
            each,
            slice_mm=GAPS_MM[(n + g * len(GAPS_MM) // gaps) % len(GAPS_MM)] if gaps > 1 else 0.0,
            case=ct,
        )
        for n, ct in enumerate(cts)
        for g in range(gaps)
    ]


def _described(groups: dict[str, StoredSlices], cases: Sequence[Case], data: str | Path | None, torsos: int) -> str:
    patients = len({case.patient or case.name for case in cases})
    whose = f"{patients} patients" if patients == len(cases) else f"{len(cases)} studies of {patients} patients"
    texts = {"real": f"slices of {whose} in {Path(data or '').name}", "phantom": "phantom slices"}
    texts |= {"painted": "slices painted into their CTs", "torso": f"slices painted into {torsos} torso CTs"}
    return " and ".join(f"{len(slices)} {texts[kind]}" for kind, slices in groups.items())


def _in_turn(sources: Sequence[SliceSource]) -> list[SliceSource]:
    """The sources with their kinds in turn, and phantoms in small parts, so that any first few are a mixture."""
    kinds: dict[str, list[SliceSource]] = {}
    for source in sources:
        parts = [source]
        if source.kind == "phantom":
            numbers = range(0, source.number, max(1, PART_SLICES // source.depth))
            step = numbers.step
            parts = [
                replace(source, number=min(step, source.number - n), seed=source.seed + 100_000 * n) for n in numbers
            ]
        kinds.setdefault(source.kind, []).extend(parts)
    return [source for row in zip_longest(*kinds.values()) for source in row if source is not None]


def _enough(sources: Sequence[SliceSource], made: Mapping[SliceSource, object], until: float) -> bool:
    """Whether the time is over, and there are slices of every kind."""
    return time.monotonic() > until and {s.kind for s in sources} == {s.kind for s in made}


def _in_memory(sources: Sequence[SliceSource], report: Reporter, until: float) -> dict[SliceSource, Stack]:
    made: dict[SliceSource, Stack] = {}
    for n, source in enumerate(sources):
        if _enough(sources, made, until):
            break
        report("loading", n / len(sources), source.title)
        made[source] = source.stack()
    return made


def _in_cache(
    sources: Sequence[SliceSource], folder: Path, data: Path, report: Reporter, workers: int | None, until: float
) -> dict[SliceSource, Path]:
    """Each source's entry, made where it is missing or damaged."""
    paths = {source: folder / source.entry(data) for source in sources}
    kept = {source: path for source, path in paths.items() if is_whole(path)}
    missing = [source for source in sources if source not in kept]
    report("loading", 0.0, f"{len(sources) - len(missing)} of {len(sources)} kept from before")
    with closing(spread(partial(_make, data=data, folder=folder), missing, workers)) as made:
        for n, source in enumerate(made, 1):
            report("loading", n / len(missing), source.title)
            kept[source] = paths[source]
            if _enough(sources, kept, until):
                break
    return {source: kept[source] for source in sources if source in kept}


def _make(source: SliceSource, data: Path, folder: Path) -> SliceSource:
    write_entry(folder / source.entry(data), source.stack())
    return source


def _real(case: Case, pixel_mm: float) -> Iterator[Stack]:
    """A patient's own slices at ``pixel_mm``; :class:`UnitsError` for a PET that is not SUV."""
    pet = case.pet()
    check_suv(pet)
    yield slices_of(pet, case.ct(), pixel_mm)


def slices_of(pet: Volume, ct: Volume, pixel_mm: float) -> Stack:
    """The slices of a PET (SUV) and its CT (HU) with pixels of ``pixel_mm``."""
    pet = axial(pet)
    grid = pet.grid((pixel_mm, pixel_mm, pet.spacing[2]))
    own = pet.resample_to(grid, "cubic").array.clip(0, 200)
    guide = ct.resample_to(grid, "linear", AIR_HU).array
    return Stack(_pairs(own, guide), grid.shape[0], grid.spacing[2])


def _pairs(pet: np.ndarray, ct: np.ndarray) -> np.ndarray:
    return np.stack([pet.astype(np.float16), ct.astype(np.float16)], axis=1)
