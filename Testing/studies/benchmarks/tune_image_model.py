"""How the image model's values were tuned: variants on the validation subjects' images, over protocols.

    python Testing/studies/benchmarks/tune_image_model.py DIR [--protocols NAME ...] [--limit N] [--vary NAME=VALUE ...]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients. A column is the mean PSNR (dB) of
``standard`` over the subjects of one reference (own PET, or sharp uptake in the patients' CTs and torsos) by one
protocol, the last one the mean of the columns. Each row changes one value of ``physics/image_model.py`` or
``resolution.py``; ``--vary`` names others. A row takes about 20 s on one CPU core for each protocol.
"""

from __future__ import annotations

import argparse
from types import ModuleType

import numpy as np
from tune_image_peers import row, scans_of

from PETSuperResLib import resolution
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.physics import image_model
from PETSuperResLib.studies.evaluation.metrics import psnr
from PETSuperResLib.studies.methods import METHODS
from PETSuperResLib.studies.methods.interface import MethodCase

WHERE: dict[str, ModuleType] = {"CELL_MM3": image_model, "HOT_SUV": image_model}
WHERE |= dict.fromkeys(("NOISE_EXPONENT", "RESTORED"), resolution)
VARIANTS = (
    *("CELL_MM3=90", "CELL_MM3=180", "NOISE_EXPONENT=1.0", "NOISE_EXPONENT=1.6"),
    *("RESTORED=0", "RESTORED=0.6", "RESTORED=1.0", "HOT_SUV=6", "HOT_SUV=24"),
)


def scores(cases: dict[str, list[MethodCase]], change: str = "") -> dict[str, float]:
    """Of ``standard`` by column, with one value changed."""
    name, _, value = change.partition("=")
    kept = getattr(WHERE[name], name) if name else None
    if name:
        setattr(WHERE[name], name, float(value))
    try:
        return {
            column: float(np.mean([psnr(case.simulation.truth, METHODS["ours-standard"].restore(case)) for case in of]))
            for column, of in cases.items()
        }
    finally:
        if name:
            setattr(WHERE[name], name, kept)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    protocols = ["mct-osem", "mct-lesions", "mct-earl2", "vision", "dmi-qclear", "discovery-710-sharpir"]
    parser.add_argument("--protocols", nargs="+", default=protocols, metavar="NAME")
    parser.add_argument("--limit", type=int, default=3, metavar="N", help="only the first N validation patients")
    parser.add_argument("--slices", type=int, default=8, metavar="N", help="of each subject, about the hottest one")
    parser.add_argument("--vary", nargs="+", default=VARIANTS, metavar="NAME=VALUE", help=f"of {', '.join(WHERE)}")
    options = parser.parse_args()
    if unknown := {change.partition("=")[0] for change in options.vary} - set(WHERE):
        parser.error(f"Unknown value {unknown.pop()}: use {', '.join(WHERE)}.")
    try:
        scans = scans_of(options)
    except PETSuperResError as error:
        parser.error(str(error))
    print(f"{'':60s}" + "".join(f" | {column:19s}" for column in (*scans, "mean")))
    row("as it is", scores(scans))
    for change in options.vary:
        row(change, scores(scans, change))


if __name__ == "__main__":
    main()
