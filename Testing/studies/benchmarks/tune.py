"""How the profiles and the compared methods were tuned: variants on the validation patients.

    python Testing/studies/benchmarks/tune.py DIR standard [--reference sharp] [--counts high] [--limit N]
        [--prior FILE] [--protocols NAME ...] [--vary '{"tissue_beta": 0}' ...]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients; after it stands what is tuned:
``standard``, ``draft``, ``map-rdp``, ``map-bowsher``, ``map-bowsher-sharp``, ``dps`` or ``scorepet``. Eight slices of
each subject and setting, about the hottest lesion. A row is the mean PSNR (dB), SSIM and NMSE over subjects at each
setting, and the processor time: first the methods to compare with, then each variant; ``--vary`` gives others. With
``--limit 1``, the first patient only, ``standard`` takes about 5 minutes on one busy CPU core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from PETSuperResLib import Prior, Sampler, Volume
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.physics.simulation import COUNT_LEVELS, simulate
from PETSuperResLib.studies.evaluation.metrics import whole_field
from PETSuperResLib.studies.methods import METHODS, MethodCase
from PETSuperResLib.studies.methods.map import MAP_BOWSHER, MAP_BOWSHER_SHARP, MAP_RDP, restore_map
from PETSuperResLib.studies.methods.posterior import DPS, ScorePET, run_sampler
from PETSuperResLib.studies.subjects import REFERENCES, Cohort

SLICES = 8
SETTINGS = ("standard", "ood")
PEERS = ("lr", "psf-osem", "psf-osem-oracle", "map-rdp", "map-bowsher", "map-bowsher-sharp", "ours-standard")
UPDATES = (20, 40, 80)


def every(**choices: tuple[float, ...]) -> list[dict[str, Any]]:
    """All combinations of the choices."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


STANDARD = [
    {},
    *({"steps": n} for n in (4, 16)),
    *({"start_sigma": 0.6}, {"end_sigma": 0.1}, {"end_sigma": 0.3}),
    *({"inner_last": n} for n in (8, 40)),
    *({"prior_width": width} for width in (3.0, 6.0)),
    *({"tissue_beta": beta} for beta in (0.0, 0.1, 0.4)),
    *({"tissue_neighbours": n} for n in (6, 13)),
    *(
        {"tissue_beta": 0.0, "prior_width": 1.8, "inner_last": 4},
        {"axial_fwhm_slices": 0.0},
        {"flips": 2},
        {"noise": 1.0},
    ),
]
TUNED: dict[str, tuple[Any, Callable[[Any, MethodCase], Volume], list[dict[str, Any]]]] = {
    "standard": (Sampler.get("standard"), run_sampler, STANDARD),
    "draft": (Sampler.get("draft"), run_sampler, STANDARD),
    "map-rdp": (
        *(MAP_RDP, restore_map),
        every(gamma=(0.0, 2.0, 10.0), beta=(0.1, 0.2, 0.3, 0.5), iterations=UPDATES),
    ),
    "map-bowsher": (
        *(MAP_BOWSHER, restore_map),
        every(ct_fwhm_mm=(0.0, 8.0, 12.0), neighbours=(7, 13, 20), beta=(0.1, 0.15, 0.3), iterations=UPDATES),
    ),
    "map-bowsher-sharp": (
        *(MAP_BOWSHER_SHARP, restore_map),
        every(ct_fwhm_mm=(0.0, 2.0, 4.0), neighbours=(9, 13, 16, 20), beta=(0.05, 0.07, 0.1, 0.15, 0.25)),
    ),
    "dps": (DPS(), run_sampler, [*every(steps=(50, 100), zeta=(0.3, 1.0, 3.0)), {"steps": 50, "eta": 0.0}]),
    "scorepet": (
        *(ScorePET(), run_sampler),
        [
            *every(beta=(0.1, 0.5, 1.0, 4.0, 30.0)),
            *every(beta=(0.025,), inner=(15, 30)),
            *every(beta=(0.5,), inner=(2, 8)),
        ],
    ),
}


def row(name: str, scans: dict[str, list[MethodCase]], restore: Callable[[MethodCase], Volume]) -> None:
    """Print the means of a method, a column group for each setting."""
    cells, began = [], time.process_time()
    for cases in scans.values():
        scores = [whole_field(case.simulation.truth, restore(case)) for case in cases]
        psnr, ssim, nmse = (np.mean([score[key] for score in scores]) for key in ("psnr", "ssim", "nmse"))
        cells.append(f"{psnr:7.2f} {ssim:7.4f} {nmse:7.4f}")
    print(f"{name:60s} | {' | '.join(cells)} | {time.process_time() - began:6.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("what", choices=TUNED, help="a profile or a compared method")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N validation patients")
    parser.add_argument("--prior", metavar="FILE", help="another prior (safetensors) than the bundled one")
    parser.add_argument("--reference", choices=REFERENCES, default="real", help="own PET, or sharp painted uptake")
    parser.add_argument("--counts", choices=tuple(COUNT_LEVELS), default="realistic")
    parser.add_argument("--protocols", nargs="+", default=(), help="sinograms of these scanners, not of the settings")
    parser.add_argument("--vary", type=json.loads, nargs="+", metavar="JSON", help="fields to change")
    options = parser.parse_args()
    settings, restore, variants = TUNED[options.what]
    cohort = Cohort(options.data, references=[options.reference], limit=options.limit, slices=SLICES)
    try:
        prior = Prior.load(options.prior)
        scans: dict[str, list[MethodCase]] = {name: [] for name in options.protocols or SETTINGS}
        for subject in cohort.subjects():
            pet, ct, _ = subject.load()
            for name, cases in scans.items():
                setting, protocol = ("standard", name) if options.protocols else (name, None)
                cases.append(MethodCase(simulate(pet, ct, setting, options.counts, protocol=protocol), ct, prior))
    except PETSuperResError as error:
        parser.error(str(error))
    print(f"{'':60s} | " + " | ".join(f"{name[:24]:24s}" for name in scans) + " | CPU s")
    for name in PEERS:
        row(name, scans, METHODS[name].restore)
    for change in options.vary or variants:
        name = options.what + "".join(f", {key} {value}" for key, value in change.items())
        row(name, scans, partial(restore, replace(settings, **change)))


if __name__ == "__main__":
    main()
