"""Anatomies with painted lesions, and their simulated scans: what recovered lesion uptake is calibrated and checked on.

Each anatomy is a few slices: of generated torsos, of patients' CTs and of CTs without PET, with sharp uptake painted
into them. Those of the part ``validation`` calibrate, those of ``test`` check; no anatomy is in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...cohort.case import Case
from ...cohort.manifest import split_cases
from ...device import pick_device
from ...errors import InputError
from ...files import atomic_path, fingerprint, hash_of
from ...inputs import Inputs
from ...phantoms.anatomy import anatomy_of
from ...phantoms.painting import paint
from ...phantoms.torso import Phantom, torso_phantom
from ...physics.protocols import protocols
from ...physics.simulation import Simulation, simulate
from ...prior import Prior
from ...prior.denoiser import AIR_HU
from ...problem import Problem
from ...reconstruction import sample_measurement
from ...request import Request
from ...resolution import resolution_of
from ...sampling import Sampler
from ...scanner import Scanner
from ...vendor_strings import RECONSTRUCTION
from ...volume import Volume
from ..subjects import PIXEL_MM, SHARP_SEED, Subject, case_anatomy

PARTS = {"validation": SHARP_SEED + 4000, "test": SHARP_SEED + 6000}  # first seed of each
SEED_STEP = 1_000_000  # between the noise of a scan by one seed of a study and by the next
REGIONS = ("thorax", "abdomen", "pelvis", "torso", "thigh", "head")
SLICES, SLICE_MM, THICK_MM = 12, 3.0, 5.0  # thick ones hold large lesions as a whole
PAINTED, PAINTED_CT = 9, 14  # lesions painted into a patient, and into the slices of a CT
TORSO_SHAPE, TORSO_LESIONS = (16, 128, 176), 10
CT_SLICES = 40  # of a CT that are painted
MARGIN = 5  # pixels around the body
LEAST_ML = 0.0335  # a sphere of 4 mm
SETTINGS = ("standard", "ood")


@dataclass(frozen=True)
class Scan:
    """A subject scanned by a setting (its sinogram is reconstructed) or by a protocol (its image is).

    Without ``header`` nothing but the scanner is known of the image: neither PSF nor filter.
    """

    subject: Subject
    condition: str
    input: str = "sinogram"
    seed: int = 0
    header: bool = True

    @property
    def patient(self) -> str:
        """The anatomy, of which there may be several paintings."""
        return self.subject.name.partition(" ")[0]

    def decides(self, prior: Prior, quality: str) -> dict[str, Any]:
        """All that decides the result of the scan, as plain values."""
        scanned: dict[str, Any] = {"subject": self.subject.decides, "scan": [self.condition, self.input, self.seed]}
        scanned |= {} if self.header else {"header": False}
        return scanned | {"quality": quality, "prior": prior.sha256}

    def simulate(self, pet: Volume, ct: Volume, device: str = "auto") -> Simulation:
        """The scan, without attenuation."""
        setting, protocol = (self.condition, None) if self.input == "sinogram" else ("standard", self.condition)
        found = simulate(pet, ct, setting, seed=self.seed, device=device, protocol=protocol)
        return found if self.header else replace(found, lr=_without_header(found.lr))

    def problem(self, simulation: Simulation, ct: Volume, device: str = "auto") -> Problem:
        """The problem that a reconstruction solves."""
        target = pick_device(device)
        if self.input == "sinogram":
            return Problem.make(simulation.measurement, simulation.truth, ct, target)
        inputs = Inputs.of(Request(simulation.lr, ct, device=device))
        return inputs.problem(inputs.spacing(PIXEL_MM), target)

    def restored(self, problem: Problem, ct: Volume, prior: Prior, quality: str, folder: Path) -> Volume:
        """The super-resolved volume (SUVbw) on the problem's grid; kept in ``folder`` and read from there again."""
        grid = problem.grid
        file = folder / f"{hash_of(self.decides(prior, quality))}.safetensors"
        if file.is_file():
            try:
                with safe_open(file, framework="np") as kept:
                    return grid.with_array(kept.get_tensor("sr"), "SUVbw")
            except SafetensorError:
                pass  # cut short: made again
        sampler = Sampler.get(quality, self.input)
        volume = sample_measurement(problem.measurement, grid, ct, prior, sampler, self.seed, str(problem.device))  # type: ignore[arg-type]
        with atomic_path(file) as temporary:
            save_file({"sr": volume.array}, temporary)
        return volume


def scans(
    part: str,
    data: str | Path,
    cts: str | Path | None = None,
    of: Sequence[str] = (),
    seed: int = 0,
    paintings: int = 2,
    torsos: int = 12,
) -> list[Scan]:
    """Every subject of a part twice: a sinogram at the paper's settings in turn, an image by the protocols in turn.

    With protocols ``of`` which: an image by each of them instead. ``data``: folder of case folders with a split.
    ``cts``: folder of folders with ``CT_HU.nii.gz``; every second one belongs to ``validation``, the others to
    ``test``. ``paintings`` of each CT. Another ``seed`` is another noise of the same anatomies.
    """
    names, found = list(protocols()), list[Scan]()
    for n, subject in enumerate(lesion_subjects(part, data, cts, paintings, torsos)):
        own = PARTS[part] + n + SEED_STEP * seed
        if not of:
            found.append(Scan(subject, SETTINGS[n % 2], "sinogram", own))
        found += [Scan(subject, name, "image", own) for name in of or [names[n % len(names)]]]
    return found


def without_header(known: Sequence[Scan]) -> list[Scan]:
    """The same scans of images whose headers say PSF and filter, with headers that do not."""
    says = {name for name, one in protocols().items() if resolution_of(Scanner.get(one.scanner), one.header).described}
    return [replace(scan, header=False) for scan in known if scan.input == "image" and scan.condition in says]


def _without_header(image: Volume) -> Volume:
    """Of whose header the scanner and the tracer alone are left."""
    kept = {name: value for name, value in image.metadata.items() if name not in RECONSTRUCTION}
    return replace(image, metadata=kept)


def lesion_subjects(
    part: str, data: str | Path, cts: str | Path | None = None, paintings: int = 2, torsos: int = 12
) -> list[Subject]:
    """The anatomies of a part: torsos and painted CTs in turn, then a third as many torsos in thick slices."""
    first, regions = PARTS[part], len(REGIONS)
    thin = [_torso(REGIONS[n % regions], first + n) for n in range(torsos)]
    thick = [_torso(REGIONS[n % regions], first + 50 + n, THICK_MM) for n in range(torsos // 3)]
    cases, folders = split_cases(data, part), [] if cts is None else sorted(Path(cts).glob("*/CT_HU.nii.gz"))
    if cts is not None and not folders:
        raise InputError(f"{cts} has no folder with CT_HU.nii.gz: give a folder of such folders.", "cts")
    mine = folders[list(PARTS).index(part) :: 2]
    painted = [_patient(case, first + 100 * n + m) for n in range(paintings) for m, case in enumerate(cases, 100)]
    painted += [_ct(file, first + 100 * n + m) for n in range(paintings) for m, file in enumerate(mine, 150)]
    pairs = zip_longest(thin, painted)
    return [subject for pair in pairs for subject in pair if subject is not None] + thick


def _torso(region: str, seed: int, slice_mm: float = SLICE_MM) -> Subject:
    def make() -> Phantom:
        return torso_phantom(seed, TORSO_SHAPE, (PIXEL_MM, PIXEL_MM, slice_mm), TORSO_LESIONS, region)

    decides = {"torso": [seed, region]} | ({} if slice_mm == SLICE_MM else {"slice_mm": slice_mm})
    return Subject(f"torso-{seed}", decides, _loader(make), "sharp")


def _patient(case: Case, seed: int) -> Subject:
    def make() -> Phantom:
        return paint(case_anatomy(case, case.pet(), PIXEL_MM, seed), seed, PAINTED)

    files = case.sources()
    decides = {"files": fingerprint(files, files[0].parent.parent), "painting": [seed, PAINTED]}
    return Subject(f"{case.name} painting {seed}", decides, _loader(make), "sharp")


def _ct(file: Path, seed: int) -> Subject:
    def make() -> Phantom:
        ct = Volume.read(file, "HU")
        grid = ct.grid((PIXEL_MM, PIXEL_MM, SLICE_MM))
        spare = max(0, grid.shape[0] - CT_SLICES)
        low = int(np.random.default_rng(seed).integers(spare + 1))
        grid = grid.slices(low, low + min(CT_SLICES, grid.shape[0]))
        return paint(anatomy_of(ct.resample_to(grid, "linear", AIR_HU), None, seed), seed, PAINTED_CT)

    decides = {"files": fingerprint([file], file.parent.parent), "painting": [seed, PAINTED_CT]}
    return Subject(f"{file.parent.name} painting {seed}", decides, _loader(make), "sharp")


def _loader(make: Callable[[], Phantom]) -> Callable[[], tuple[Volume, Volume, Volume | None]]:
    """PET, CT and labels of the :data:`SLICES` of a phantom that hold the most whole lesions, cut to the body."""

    def load() -> tuple[Volume, Volume, Volume | None]:
        made = make()
        depth = made.labels.array
        sizes = np.stack([(depth == n).sum((1, 2)) for n in range(1, int(depth.max()) + 1)])
        whole = [
            (sizes.sum(1) > 0) & (sizes[:, first + 1 : first + SLICES - 1].sum(1) == sizes.sum(1))
            for first in range(len(depth) - SLICES + 1)
        ]
        best = int(np.argmax([held.sum() for held in whole]))
        body = np.argwhere((made.organs.array > 0).any(0))
        low, high = np.maximum(body.min(0) - MARGIN, 0), body.max(0) + MARGIN + 1
        lower, upper = (*low[::-1], best), (*high[::-1], best + SLICES)
        pet, ct, labels = (volume.crop(lower, upper) for volume in (made.pet, made.ct, made.labels))
        large = sizes.sum(1) * labels.voxel_ml >= LEAST_ML
        kept = np.flatnonzero(whole[best] & large) + 1
        labels = labels.with_array(np.where(np.isin(labels.array, kept), labels.array, 0), "label")
        return pet, ct, labels if len(kept) else None

    return load
