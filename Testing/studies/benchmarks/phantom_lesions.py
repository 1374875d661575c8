"""What is recovered of the spheres of a real phantom, against what they hold: the yardstick that no simulation is.

    python Testing/studies/benchmarks/phantom_lesions.py PET SPHERES SEGMENTATION OUT [OUT ...]

``SPHERES`` is the JSON file of ``petsuperres study phantom --spheres``, ``SEGMENTATION`` has the spheres as segments,
the largest first, and ``OUT`` are folders of ``petsuperres reconstruct --segmentation`` or ``petsuperres lesions
--out`` files of this PET. All spheres hold one activity: the PET's mean in the middle of the largest one, which the
resolution does not reach. The truth is that activity in spheres of the stated diameters over an even background, within
each segment: SUVmean, and SUVpeak.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PETSuperResLib.lesions.measures import Lesion, measure_lesions
from PETSuperResLib.lesions.read import read_segmentation
from PETSuperResLib.studies.evaluation.spheres import Sphere, read_spheres
from PETSuperResLib.volume import Volume

DEPTH_MM = 4.0  # from the border of the largest sphere, within which its activity is measured
AROUND_MM = (15.0, 25.0)  # from its border, where the background is measured
PARTS = 5  # of a voxel along each axis, for the part of it that a sphere fills


def distances(grid: Volume, sphere: Sphere, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """From a sphere's centre, in mm, of the voxels' centres moved by parts of a voxel (i, j, k)."""
    k, j, i = np.indices(grid.shape, dtype=np.float32)
    axes = (
        origin + (at + part) * step - centre
        for origin, at, part, step, centre in zip(
            grid.origin, (i, j, k), shift, grid.spacing, sphere.centre_lps_mm, strict=True
        )
    )
    return np.sqrt(sum(axis**2 for axis in axes))


def filled(pet: Volume, spheres: Sequence[Sphere]) -> Volume:
    """The phantom as it is filled, on the PET's grid: activity and background of the PET, sharp spheres."""
    largest, radius = distances(pet, spheres[0]), spheres[0].diameter_mm / 2
    activity = float(pet.array[largest < radius - DEPTH_MM].mean())
    around = (largest > radius + AROUND_MM[0]) & (largest < radius + AROUND_MM[1])
    background = float(np.median(pet.array[around]))
    print(f"Activity {activity:.2f}, background {background:.2f} g/mL.")
    steps = (np.arange(PARTS) - (PARTS - 1) / 2) / PARTS
    share = np.zeros(pet.shape, np.float32)
    for sphere in spheres:
        for shift in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
            share += distances(pet, sphere, tuple(shift)) <= sphere.diameter_mm / 2
    share /= PARTS**3
    return pet.with_array(background + (activity - background) * share, "SUVbw")


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
