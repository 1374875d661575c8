"""How the profile ``standard`` was chosen: variants of the sampler on the validation patients.

    python Testing/benchmarks/tune_sampler.py DIR [--reference sharp] [--counts high] [--limit N] [--prior FILE]
        [--profile draft] [--vary '{"tissue_beta": 0}' ...]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients; the package must be
installed. Eight middle slices of each reference and setting; a row is the mean PSNR (dB), SSIM and NMSE
over references, and the processor time. First the peers: PSF-OSEM at several numbers of updates, with the
updates and filter that are best for each scan, and the MAP subjects. Then the sampler, one variant in each
row; ``--vary`` gives them.
``--limit 1``, the first patient only, takes about 5 minutes on one busy CPU core; all take accordingly more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from PETSuperResLib import Prior, Sampler, Volume
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.cohort.manifest import read_split
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.physics.model import ForwardModel, osem
from PETSuperResLib.physics.psf import FWHM_PER_SIGMA
from PETSuperResLib.physics.simulation import COUNT_LEVELS, simulate
from PETSuperResLib.prior import Denoiser
from PETSuperResLib.problem import UNKNOWN_HU
from PETSuperResLib.studies.evaluation.metrics import whole_field
from PETSuperResLib.studies.methods.map import MAP_BOWSHER, MAP_BOWSHER_SHARP, MAP_RDP, map_image
from PETSuperResLib.studies.subjects import REFERENCES, subjects

SLICES = 8
SETTINGS = ("standard", "ood")
UPDATES = (12, 18, 24, 32, 45)
FILTERS_MM = (0.0, 3.0, 4.0, 5.0, 6.0, 8.0)
VARIANTS: tuple[dict[str, object], ...] = (
    {},
    {"steps": 4},
    {"steps": 16},
    {"start_sigma": 0.6},
    {"end_sigma": 0.1},
    {"end_sigma": 0.3},
    {"inner_last": 8},
    {"inner_last": 40},
    {"prior_width": 3.0},
    {"prior_width": 6.0},
    {"tissue_beta": 0.1},
    {"tissue_beta": 0.4},
    {"tissue_neighbours": 6},
    {"tissue_neighbours": 13},
    {"tissue_beta": 0.0},
    {"tissue_beta": 0.0, "prior_width": 1.8, "inner_last": 4},
    {"axial_fwhm_slices": 0.0},
    {"flips": 2},
    {"noise": 1.0},
)


@dataclass
class Scan:
    """One patient at one setting: the truth, the counts and their model, the CT, and PSF-OSEM's iterates."""

    setting: str
    truth: Volume
    model: ForwardModel
    counts: torch.Tensor
    ct: torch.Tensor
    iterates: dict[int, np.ndarray]


def scans(data: str, limit: int | None = None, reference: str = "real", counts: str = "realistic") -> list[Scan]:
    """The middle slices of the validation patients, or of the first ``limit`` of them, at both settings."""
    made = []
    for subject in subjects(find_cases(data, read_split(data, "validation"))[:limit], reference):
        pet, ct, _ = subject.load()
        for setting in SETTINGS:
            simulation = simulate(pet, None, setting, counts)
            first = simulation.truth.shape[0] // 2 - SLICES // 2
            j, i = simulation.truth.shape[1:]
            truth = simulation.truth.crop((0, 0, first), (i, j, first + SLICES))
            part = simulation.measurement.part(first, first + SLICES)
            model = part.model(truth)
            scan = Scan(setting, truth, model, part.counts, _ct(ct, truth), {})
            osem(model, part.counts, max(UPDATES), callback=lambda n, z, s=scan: s.iterates.update({n: z.numpy()}))  # type: ignore[misc]
            made.append(scan)
    return made


def _ct(ct: Volume, grid: Volume) -> torch.Tensor:
    return torch.from_numpy(ct.resample_to(grid, "linear", UNKNOWN_HU).array)


def row(name: str, all_scans: list[Scan], estimate: Callable[[Scan], np.ndarray]) -> None:
    """Print the means of an estimate, a column group per setting."""
    cells, began = [], time.process_time()
    for setting in SETTINGS:
        scores = [whole_field(s.truth.array, estimate(s)) for s in all_scans if s.setting == setting]
        mean = {k: np.mean([s[k] for s in scores]) for k in scores[0]}
        cells.append(f"{mean['psnr']:7.2f} {mean['ssim']:7.4f} {mean['nmse']:7.4f}")
    print(f"{name:45s} | {' | '.join(cells)} | {time.process_time() - began:6.1f}", flush=True)


def filtered(scan: Scan, updates: int, fwhm_mm: float) -> np.ndarray:
    """A PSF-OSEM iterate after a 3D Gaussian filter."""
    sigma = [fwhm_mm / FWHM_PER_SIGMA / v for v in scan.truth.spacing[::-1]]
    return gaussian_filter(scan.iterates[updates], sigma, mode="nearest")


def oracle(scan: Scan) -> np.ndarray:
    """The iterate and filter with the best PSNR: needs the truth, which no clinic has."""
    tried = [filtered(scan, n, f) for n in UPDATES for f in FILTERS_MM]
    return max(tried, key=lambda z: whole_field(scan.truth.array, z)["psnr"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N validation patients")
    parser.add_argument("--prior", metavar="FILE", help="another prior (safetensors) than the bundled one")
    parser.add_argument("--reference", choices=REFERENCES, default="real", help="own PET, or sharp painted uptake")
    parser.add_argument("--counts", choices=tuple(COUNT_LEVELS), default="realistic")
    parser.add_argument("--profile", choices=("draft", "standard"), default="standard")
    parser.add_argument("--vary", type=json.loads, nargs="+", default=VARIANTS, metavar="JSON", help="fields to change")
    arguments = parser.parse_args()
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be 1 or more, not {arguments.limit}.")
    try:
        prior = Prior.load(arguments.prior)
        all_scans = scans(arguments.data, arguments.limit, arguments.reference, arguments.counts)
    except PETSuperResError as error:
        parser.error(str(error))
    print(f"{'':45s} | standard: PSNR SSIM NMSE   | ood                      | CPU s")
    for n in UPDATES:
        row(f"PSF-OSEM, {n} updates", all_scans, lambda s, n=n: s.iterates[n])  # type: ignore[misc]
    row("PSF-OSEM, oracle updates and filter", all_scans, oracle)
    for name, settings in (
        ("map-rdp", MAP_RDP),
        ("map-bowsher", MAP_BOWSHER),
        ("map-bowsher-sharp", MAP_BOWSHER_SHARP),
    ):
        row(name, all_scans, lambda s, m=settings: map_image(m, s.model, s.counts, s.ct).numpy())  # type: ignore[misc]
    for change in arguments.vary:
        profile = Sampler.get(arguments.profile, **change)
        name = arguments.profile + "".join(f", {k} {v}" for k, v in change.items())

        def estimate(scan: Scan, profile: Sampler = profile) -> np.ndarray:
            denoiser = Denoiser(prior, scan.ct, scan.model.spacing[2])
            return profile.sample(denoiser, scan.model, scan.counts, profile).numpy()

        row(name, all_scans, estimate)


if __name__ == "__main__":
    main()
