"""How the methods for images were tuned: all their choices on the validation patients' images, over protocols.

    python Testing/studies/benchmarks/tune_image_peers.py DIR [--protocols NAME ...] [--methods NAME ...] [--slices N]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients. A column is the mean PSNR (dB) over
the subjects of one reference (own PET, or sharp uptake in the patients' CTs and torsos) by one protocol, the last one
the mean of the columns. For each method: its values as they are, those of the highest mean, and the oracle's. With two
protocols it takes some 10 minutes on one CPU core.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from PETSuperResLib import Prior
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.studies.evaluation.metrics import psnr
from PETSuperResLib.studies.methods import METHODS, MethodCase
from PETSuperResLib.studies.methods.image_peers import ITERATIVE, Iterative, PeerInput
from PETSuperResLib.studies.subjects import Cohort

Scans = dict[str, list[MethodCase]]  # by column


def scans_of(options: argparse.Namespace) -> Scans:
    """The validation subjects' images by each protocol."""
    scans, prior = defaultdict(list), Prior.load()
    for subject in Cohort(options.data, limit=options.limit, slices=options.slices).subjects():
        pet, ct, lesions = subject.load()
        for protocol in options.protocols:
            simulation = simulate(pet, ct, protocol=protocol)
            case = MethodCase(simulation, ct, prior, input="image", lesions=lesions)
            scans[f"{protocol} {subject.reference}"].append(case)
    return dict(scans)


def every(method: Iterative, case: MethodCase) -> Iterator[tuple[str, Tensor]]:
    """Each of a method's choices, in words, with its image."""
    peer = PeerInput.of(case)
    for values in method.choices:
        words = "".join(f", {key} {value:g}" for key, value in values.items())
        for number, image in enumerate(islice(method.run(peer, **values), max(method.numbers)), 1):
            if number in method.numbers:
                yield f"iterate {number}{words}", image


def row(name: str, scores: dict[str, float]) -> None:
    """Print one row of means."""
    print(f"{name:60s}" + "".join(f" | {score:19.2f}" for score in (*scores.values(), np.mean([*scores.values()]))))


def means(name: str, scans: Scans) -> dict[str, float]:
    """Of a method of the registry, by column."""
    return {
        column: float(np.mean([psnr(case.simulation.truth, METHODS[name].restore(case)) for case in cases]))
        for column, cases in scans.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("--protocols", nargs="+", default=["mct-osem", "mct-lesions"], metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=ITERATIVE, default=list(ITERATIVE), metavar="NAME")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N validation patients")
    parser.add_argument("--slices", type=int, default=12, metavar="N", help="of each subject, about the hottest one")
    options = parser.parse_args()
    try:
        scans = scans_of(options)
    except PETSuperResError as error:
        parser.error(str(error))
    print(f"{'':60s}" + "".join(f" | {column:19s}" for column in (*scans, "mean")))
    row("interpolated", means("interpolated", scans))
    for name in options.methods:
        scores: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(list))
        for column, cases in scans.items():
            for case in cases:
                for words, image in every(ITERATIVE[name], case):
                    scores[words][column].append(psnr(case.simulation.truth, case.volume(image)))
        table = {words: {c: float(np.mean(found)) for c, found in by.items()} for words, by in scores.items()}
        best = max(table, key=lambda words: np.mean([*table[words].values()]))
        row(name, means(name, scans))
        row(f"{name}: {best}", table[best])
        row(f"{name}-oracle", means(f"{name}-oracle", scans))


if __name__ == "__main__":
    main()
