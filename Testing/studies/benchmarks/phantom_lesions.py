"""What is recovered of the spheres of a real phantom, against what they hold: the yardstick that no simulation is.

    python Testing/studies/benchmarks/phantom_lesions.py PET SPHERES SEGMENTATION [OUT ...]

``SPHERES`` is the JSON file of ``petsuperres study phantom --spheres``. Without ``OUT``, the spheres are written to
``SEGMENTATION`` where the PET shows them, the largest first: the voxels whose centres they hold. ``OUT`` are folders of
``petsuperres reconstruct --segmentation SEGMENTATION`` or ``petsuperres lesions --out`` files of this PET. All spheres
hold one activity: the PET's mean in the middle of the largest one, which the resolution does not reach. The truth is
that activity in spheres of the stated diameters over an even background, within each segment: SUVmean, and SUVpeak.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from PETSuperResLib.lesions.measures import Lesion, measure_lesions
from PETSuperResLib.lesions.read import read_segmentation
from PETSuperResLib.studies.evaluation.spheres import filled, located, read_spheres, sphere_map
from PETSuperResLib.volume import Volume


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
    parser.add_argument("out", metavar="OUT", nargs="*", type=Path)
    options = parser.parse_args()
    pet = Volume.read(options.pet, "SUVbw")
    spheres = located(pet, read_spheres(options.spheres))
    if not options.out:
        sphere_map(pet, spheres).write(options.segmentation)
        print(f"Wrote {options.segmentation}.")
        return
    holds = filled(pet, spheres)
    print(f"Activity {holds.array.max():.2f}, background {holds.array.min():.2f} g/mL.")
    truth: list[Lesion] = measure_lesions(holds, read_segmentation(options.segmentation, pet).segments)
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
