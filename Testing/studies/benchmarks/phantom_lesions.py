"""What is recovered of the spheres of a real phantom, against what they hold: the yardstick that no simulation is.

    python Testing/studies/benchmarks/phantom_lesions.py PET SPHERES SEGMENTATION OUT [OUT ...]

``SPHERES`` is the JSON file of ``petsuperres study phantom --spheres``, ``SEGMENTATION`` has the spheres as segments,
the largest first, and ``OUT`` are folders of ``petsuperres reconstruct --segmentation`` or ``petsuperres lesions
--out`` files of this PET. All spheres hold one activity: the PET's mean in the middle of the largest one, which the
resolution does not reach. The truth is that activity in spheres of the stated diameters over an even background, within
each segment: SUVmean, and SUVpeak. A whole PET takes two minutes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from PETSuperResLib.lesions.measures import Lesion, measure_lesions
from PETSuperResLib.lesions.read import read_segmentation
from PETSuperResLib.studies.evaluation.spheres import Sphere, read_spheres, sphere_map
from PETSuperResLib.volume import Volume

DEPTH_MM = 4.0  # from the border of the largest sphere, within which its activity is measured
AROUND_MM = (15.0, 25.0)  # from its border, where the background is measured
PARTS = 5  # of a voxel along each axis, for the part of it that a sphere fills


def inside(grid: Volume, sphere: Sphere, wider_mm: float = 0.0) -> np.ndarray:
    """The voxels whose centres lie in a sphere, its radius changed by so much."""
    return sphere_map(grid, [replace(sphere, diameter_mm=sphere.diameter_mm + 2 * wider_mm)]).array > 0


def filled(pet: Volume, spheres: Sequence[Sphere]) -> Volume:
    """The phantom as it is filled, on the PET's grid: activity and background of the PET, sharp spheres."""
    largest, share = spheres[0], np.zeros(pet.shape, np.float32)
    activity = float(pet.array[inside(pet, largest, -DEPTH_MM)].mean())
    near, far = (inside(pet, largest, wider_mm) for wider_mm in AROUND_MM)
    background = float(np.median(pet.array[far & ~near]))
    print(f"Activity {activity:.2f}, background {background:.2f} g/mL.")
    steps = (np.arange(PARTS) - (PARTS - 1) / 2) / PARTS
    for shift in product(steps, repeat=3):  # in voxels
        origin = tuple(o + part * step for o, part, step in zip(pet.origin, shift, pet.spacing, strict=True))
        share += sphere_map(replace(pet, origin=origin), spheres).array > 0
    return pet.with_array(background + (activity - background) * share / PARTS**3, "SUVbw")


def recovered(path: Path) -> dict[str, dict[str, str]]:
    """By segment, the row of a table of lesions that has what was recovered; ``path`` is it, or a result's folder."""
    with (path / "lesions.csv" if path.is_dir() else path).open(newline="", encoding="utf-8") as file:
        return {row["lesion"]: row for row in csv.DictReader(file) if row["suvpeak_low"]}


def cell(row: dict[str, str], name: str, truth: float) -> str:
    """``9.2 (7.9 to 9.9)``, with a star where the interval does not hold the truth."""
    if not row[f"{name}_low"]:
        return "-"
    value, low, high = (float(row[f"{name}_{part}"]) for part in ("recovered", "low", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})" + ("" if low <= truth <= high else " *")


def main() -> None:
    """Print a table for every result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pet", metavar="PET")
    parser.add_argument("spheres", metavar="SPHERES")
    parser.add_argument("segmentation", metavar="SEGMENTATION")
    parser.add_argument("out", metavar="OUT", nargs="+", type=Path)
    options = parser.parse_args()
    pet, spheres = Volume.read(options.pet, "SUVbw"), read_spheres(options.spheres)
    truth: list[Lesion] = measure_lesions(filled(pet, spheres), read_segmentation(options.segmentation, pet).segments)
    for out in options.out:
        rows = recovered(out)
        print(f"\n{out}\n\n| diameter mm | true SUVmean | recovered | true SUVpeak | recovered |")
        print("|---|---|---|---|---|")
        for sphere, one in zip(spheres, truth, strict=True):
            row, cells = rows[one.name], [f"{sphere.diameter_mm:g}"]
            for name, value in (("suvmean", one.suvmean), ("suvpeak", one.suvpeak)):
                cells += [f"{value:.2f}", cell(row, name, value)]
            print(f"| {' | '.join(cells)} |")
    print("\n*: the interval does not hold the truth. Research use only.")


if __name__ == "__main__":
    main()
