"""How often the check of a CT's place tells of right CTs, and of CTs moved, turned or of another patient.

    python Testing/studies/benchmarks/misplaced_ct.py --data DIR [--part NAME ...]

The package must be installed. Of each patient of the parts of the split, the whole PET and a crop of 120 x 120 x 70 mm
about a random place with uptake are compared with its own CT, with this CT moved by 30 mm along a random axis and
turned by 180 degrees, and with the next patient's CT, centre on centre. Printed are the share that is told, by
:data:`~PETSuperResLib.alignment.BETTER` and by other limits, and the extreme information of another place over that
of the given one: the highest of right CTs, the lowest of the others.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace

import numpy as np

from PETSuperResLib.alignment import BETTER, information
from PETSuperResLib.cohort.manifest import split_cases
from PETSuperResLib.grid import axial, crop_to_region
from PETSuperResLib.volume import Volume

LIMITS = (1.05, 1.1, BETTER, 1.2, 1.3)
MOVED_MM, CROP_MM = 30.0, np.array([120.0, 120.0, 70.0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--part", nargs="+", default=["train"], metavar="NAME")
    given = parser.parse_args()
    cases = [case for part in given.part for case in split_cases(given.data, part)]
    gains: dict[tuple[str, str], list[float]] = defaultdict(list)
    for n, case in enumerate(cases):
        random = np.random.default_rng([0, n])
        pet, ct, other = axial(case.pet()), axial(case.ct()), axial(cases[(n + 1) % len(cases)].ct())
        by = MOVED_MM * random.choice([-1, 1]) * np.eye(3)[random.integers(3)]
        cts = {"right": ct, f"moved {MOVED_MM:g} mm": moved(ct, by), "turned": ct.with_array(ct.array[:, ::-1, ::-1])}
        cts["another's"] = moved(other, middle(ct) - middle(other))
        for view, image in (("whole", pet), ("crop", crop(pet, random))):
            for kind, one in cts.items():
                if found := information(image, one):
                    elsewhere = max(value for name, value in found.items() if name)
                    gains[kind, view].append(elsewhere / max(found[""], 1e-9))
    print(f"{'CT':12s} {'PET':6s} {'n':>3s}", *(f"{limit:6.2f}" for limit in LIMITS), "extreme")
    for (kind, view), values in sorted(gains.items()):
        told = [f"{100 * np.mean(np.array(values) > limit):4.0f} %" for limit in LIMITS]
        print(
            f"{kind:12s} {view:6s} {len(values):3d}", *told, f"{max(values) if kind == 'right' else min(values):7.2f}"
        )


def moved(ct: Volume, by: np.ndarray) -> Volume:
    """The CT with another origin, ``by`` in LPS mm."""
    x, y, z = np.add(ct.origin, by)
    return replace(ct, origin=(float(x), float(y), float(z)))


def middle(volume: Volume) -> np.ndarray:
    """Its middle in LPS mm."""
    return np.array((volume.ijk_to_lps @ [*((n - 1) / 2 for n in volume.shape[::-1]), 1.0])[:3])


def crop(pet: Volume, random: np.random.Generator) -> Volume:
    """A box of :data:`CROP_MM` about a random voxel with uptake, within the PET."""
    k, j, i = random.choice(np.argwhere(pet.array > 0.3))
    ends = [pet.ijk_to_lps @ [*ijk, 1.0] for ijk in ((0, 0, 0), np.subtract(pet.shape[::-1], 1))]
    low, high = np.min(ends, axis=0)[:3], np.max(ends, axis=0)[:3]
    centre = (pet.ijk_to_lps @ [i, j, k, 1.0])[:3]
    first = np.clip(centre - CROP_MM / 2, low, np.maximum(low, high - CROP_MM))
    last = np.minimum(first + CROP_MM, high)
    return crop_to_region(pet, tuple(np.stack([first, last], axis=1).ravel()), margin_mm=0.0)


if __name__ == "__main__":
    main()
