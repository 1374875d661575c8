"""Scans of many scanners and hospitals, and what a network reads of a scan by any of them, as counts or as an image.

A scan is read as three estimates of one kind each, with a number for what is known of it:

- ``map``: the MAP image with Bowsher's CT-guided prior,
- ``early``: PSF-OSEM after a few updates; of an image the image itself, interpolated,
- ``late``: PSF-OSEM after many updates; of an image Richardson-Lucy,
- ``told``: :data:`TOLD`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...inputs import noise_of_pet
from ...phantoms.uptake import log_uniform
from ...physics.model import osem
from ...physics.penalised import penalised
from ...physics.protocols import Protocol, protocols
from ...physics.simulation import Simulation, simulate
from ...prior.denoiser import AIR_HU
from ...scanner import SETTINGS, Scanner, presets
from ...volume import Volume
from ..subjects import Subject
from .deconvolution import iterate, richardson_lucy
from .image_peers import ITERATIVE, PeerInput
from .interface import FitOptions, MethodCase
from .map import MAP_BOWSHER_SHARP, map_penalty
from .pairs import Scan

ESTIMATES = ("map", "early", "late")
EARLY_UPDATES, LATE_UPDATES, MAP_UPDATES = 12, 48, 30
LATE_ITERATIONS = 8  # of Richardson-Lucy
#: in their order: mm from slice to slice, the logarithms of the FWHM in the slice over 8 mm and of the noise over
#: :data:`USUAL_NOISE`, the axial FWHM and that of the noise's correlation over 8 mm, and whether the input is an image
TOLD = ("slice_mm", "fwhm", "noise", "axial_fwhm", "noise_fwhm", "image")
USUAL_FWHM_MM = 8.0
USUAL_NOISE = {"sinogram": 0.005, "image": 0.5}  # of Measurement.noise_level; of an image's voxel of 1 mm3 and 1 SUV
IMAGES = ("truth", *ESTIMATES, "ct", "told")

SCANS = 3  # of each training image
SLICES = 10  # of each scan
SEED = 700_000  # of their noise: apart from those of evaluated scans and of the standard pairs
FWHM_MM, TRUES = (4.0, 14.0), (2e4, 1e7)  # of random scanners; trues per slice
DOSE = (0.05, 3.0)  # counts of random scans by protocol, over those of the scanner's preset
FILTER_MM = (2.0, 8.0)  # of random protocols
SHARES = {"scanner": 0.5, "protocol": 0.4, "scanner's image": 0.1}
UNUSED_MM = 12.0  # voxels of an image that is made and not read


def readings(case: MethodCase) -> dict[str, Tensor]:
    """:data:`ESTIMATES` of a case and ``ct``, each ``(S, J, I)`` on the SR grid, and ``told`` ``(6,)``; float32."""
    hu = torch.from_numpy(case.ct.resample_to(case.simulation.truth, "linear", AIR_HU).array)
    found = _of_counts(case, hu) if case.input == "sinogram" else _of_image(case)
    return {name: found[name].float().cpu() for name in (*ESTIMATES, "told")} | {"ct": hu}


def _of_counts(case: MethodCase, hu: Tensor) -> dict[str, Tensor]:
    model, counts = case.model()
    measurement, kept = case.simulation.measurement, {}

    def keep(number: int, image: Tensor) -> None:
        if number in (EARLY_UPDATES, LATE_UPDATES):
            kept[number] = image.contiguous()

    osem(model, counts, LATE_UPDATES, callback=keep)
    penalty = map_penalty(MAP_BOWSHER_SHARP, model.spacing, hu.to(counts.device))
    tied = penalised(model, counts, penalty, MAP_BOWSHER_SHARP.beta, MAP_UPDATES, kept[EARLY_UPDATES])
    scanner = measurement.scanner
    fwhm_mm = scanner.fwhm_transaxial_mm, scanner.fwhm_axial_mm
    told = _told(case, fwhm_mm, measurement.noise_level / USUAL_NOISE["sinogram"], 0.0)
    return {"map": tied, "early": kept[EARLY_UPDATES], "late": kept[LATE_UPDATES], "told": told}


def _of_image(case: MethodCase) -> dict[str, Tensor]:
    peer, tied = PeerInput.of(case), ITERATIVE["map-bowsher-image"]
    image, resolution = case.simulation.lr, case.resolution
    noise, _ = noise_of_pet(image, resolution, case.stated.get("noise"))
    level = math.sqrt(noise.variance_ratio * math.prod(image.spacing)) / USUAL_NOISE["image"]
    return {
        "map": iterate(tied.run(peer, **tied.values), tied.number),
        "early": peer.y,
        "late": iterate(richardson_lucy(peer.y, peer.psf), LATE_ITERATIONS),
        "told": _told(case, resolution.fwhm_mm, level, noise.fwhm_mm),
    }


def _told(case: MethodCase, fwhm_mm: tuple[float, float], noise: float, noise_fwhm_mm: float) -> Tensor:
    across, along = fwhm_mm
    values = math.log(across / USUAL_FWHM_MM), math.log(noise), along / USUAL_FWHM_MM, noise_fwhm_mm / USUAL_FWHM_MM
    return torch.tensor([case.simulation.truth.spacing[2], *values, float(case.input == "image")])


@dataclass(frozen=True)
class RandomScan:
    """How one scan is made: by a scanner or by a protocol, with ``counts`` over its own, read as ``input``.

    ``place`` in 0..1 is that of its :data:`SLICES` in the training image.
    """

    seed: int
    place: float
    input: str
    scanner: Scanner | None = None
    protocol: Protocol | None = None
    counts: float = 1.0

    def simulate(self, pet: Volume, ct: Volume, device: str) -> Simulation:
        """The scan of its slices of a PET in SUV."""
        first = round(self.place * max(0, pet.shape[0] - SLICES))
        part = pet.slices(first, min(first + SLICES, pet.shape[0]))
        setting = self.scanner or "standard"
        return simulate(part, ct, setting, self.counts, seed=self.seed, device=device, protocol=self.protocol)

    @property
    def decides(self) -> dict[str, Any]:
        """Plain JSON values."""
        by = {"scanner": self.scanner, "protocol": self.protocol}
        return {name: value and value.to_dict() for name, value in by.items()} | {
            name: getattr(self, name) for name in ("seed", "place", "input", "counts")
        }


def random_scans(cases: Sequence[Subject], options: FitOptions) -> list[Scan]:
    """:data:`SCANS` of each training image by random scanners and protocols, whatever ``options.counts``."""

    @lru_cache(maxsize=1)  # the scans of an image follow one another
    def loaded(number: int) -> tuple[Volume, Volume]:
        pet, ct, _ = cases[number].load()
        return pet, ct

    def scan(number: int, copy: int) -> Scan:
        how = draw(np.random.default_rng([SEED, options.seed, number, copy]))

        def make() -> dict[str, Tensor]:
            pet, ct = loaded(number)
            simulation = how.simulate(pet, ct, options.device)
            case = MethodCase(simulation, ct, None, device=options.device, input=how.input)  # type: ignore[arg-type]
            return {"truth": torch.from_numpy(simulation.truth.array)} | readings(case)

        decides = {"case": cases[number].decides, "scan": how.decides}
        return Scan(cases[number].name, decides, IMAGES, make)

    return [scan(number, copy) for number in range(len(cases)) for copy in range(SCANS)]


def draw(random: np.random.Generator) -> RandomScan:
    """One of the :data:`SHARES`, with its values."""
    kind = str(random.choice(list(SHARES), p=list(SHARES.values())))
    seed, place = int(random.integers(SEED, 2**31)), float(random.random())
    if kind == "protocol":
        found = _protocol(random)
        return RandomScan(seed, place, "image", protocol=found, counts=log_uniform(random, *DOSE))
    return RandomScan(seed, place, "sinogram" if kind == "scanner" else "image", _scanner(random, kind != "scanner"))


def _scanner(random: np.random.Generator, image: bool) -> Scanner:
    """The paper's geometry or a preset's, of another FWHM and other counts."""
    fwhm, trues = log_uniform(random, *FWHM_MM), log_uniform(random, *TRUES)
    voxel = float(np.clip(fwhm * random.uniform(0.5, 1.0), 2.0, 8.0)) if image else UNUSED_MM
    changes: dict[str, Any] = {"fwhm_transaxial_mm": fwhm, "trues_per_slice": trues, "dose_fraction": 1.0}
    changes["target_spacing_mm"] = voxel
    if random.random() < 0.5:
        return Scanner.get(SETTINGS[str(random.choice(list(SETTINGS)))], **changes)
    clinical = [scanner for scanner in presets().values() if scanner.name not in SETTINGS.values()]
    scanner = clinical[int(random.integers(len(clinical)))]
    axial = scanner.fwhm_axial_mm * fwhm / scanner.fwhm_transaxial_mm
    return replace(scanner, fwhm_axial_mm=axial, **changes)


def _protocol(random: np.random.Generator) -> Protocol:
    """A bundled one; half of those whose header tells the filter with another one."""
    known = list(protocols().values())
    protocol = known[int(random.integers(len(known)))]
    width, changed = round(float(random.uniform(*FILTER_MM)), 1), random.random() < 0.5
    across, along = protocol.filter_fwhm_mm
    told = protocol.kernel.startswith("XYZ Gauss") or (protocol.header.get("post_filter_mm") and along > 0)
    if not (changed and told):
        return protocol
    kernel = f"XYZ Gauss{width:.2f}" if protocol.kernel else ""
    filters = (width, width if protocol.kernel else along)
    return replace(protocol, filter_fwhm_mm=filters, kernel=kernel)
