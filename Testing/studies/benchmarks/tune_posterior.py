"""Search of DPS's step and ScorePET's anchor on slices of the validation patients, standard setting.

python Testing/benchmarks/tune_posterior.py DATA [--slices 5] [--limit 2]

Prints PSNR (whole field) of each choice and each patient; the values chosen are those of methods/posterior.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.cohort.manifest import read_split
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.prior import Prior
from PETSuperResLib.studies.evaluation.metrics import whole_field
from PETSuperResLib.studies.methods import METHODS, MethodCase
from PETSuperResLib.studies.methods.posterior import DPS, ScorePET, run_sampler
from PETSuperResLib.volume import Volume

DPS_CHOICES = (
    *(DPS(steps=50, zeta=zeta) for zeta in (0.3, 1.0, 3.0)),
    DPS(steps=50, zeta=1.0, eta=0.0),
    DPS(steps=100, zeta=1.0),
)
SCOREPET_CHOICES = (
    *(ScorePET(beta=beta) for beta in (0.1, 0.5, 1.0, 4.0, 30.0)),
    *(ScorePET(beta=0.025, inner=inner) for inner in (15, 30)),
    *(ScorePET(beta=0.5, inner=inner) for inner in (2, 8)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="DPS and ScorePET on slices of the validation patients.")
    parser.add_argument("data")
    parser.add_argument("--slices", type=int, default=5, help="in the middle of every patient")
    parser.add_argument("--limit", type=int, default=2, help="patients")
    options = parser.parse_args()
    prior, cases = Prior.load(), []
    for case in find_cases(options.data, read_split(options.data, "validation"))[: options.limit]:
        pet, ct = case.pet(), case.ct()
        k, j, i = pet.shape
        first = max(0, (k - options.slices) // 2)
        part = pet.crop((0, 0, first), (i, j, min(k, first + options.slices)))
        cases.append(MethodCase(simulate(part, ct, "standard"), ct, prior))

    def show(name: str, restore: Callable[[MethodCase], Volume]) -> None:
        began = time.monotonic()
        found = [f"{whole_field(c.simulation.truth, restore(c))['psnr']:6.2f}" for c in cases]
        print(f"{name:<100}", *found, f"dB  {time.monotonic() - began:.0f} s", flush=True)

    for name in ("lr", "psf-osem", "ours-standard"):
        show(name, METHODS[name].restore)
    for profile in (*DPS_CHOICES, *SCOREPET_CHOICES):
        show(str(profile), partial(run_sampler, profile))


if __name__ == "__main__":
    main()
