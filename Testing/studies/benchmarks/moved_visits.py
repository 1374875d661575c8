"""Pairing of lesions in two visits of a moved, deformed torso: ``moved_visits.py [SEEDS]`` prints a table.

Of five lesions one loses 30 % of its uptake, one stays, one gains 15 %, one vanishes and one is new; the second visit
is turned, shifted by 4 cm and deformed, both have noise. The CTs are registered by ``compare``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parents[2] / "support")]

from visits import two_visits  # noqa: E402

from PETSuperResLib.errors import GeometryError  # noqa: E402
from PETSuperResLib.followup.compare import compare  # noqa: E402

STATUSES = ["paired", "paired", "paired", "vanished", "new"]


def main(seeds: int) -> None:
    """Print a line for every seed, and how many torsos are right in all lesions."""
    right, counted, apart = 0, 0, list[float]()
    for seed in range(seeds):
        visits = two_visits(seed, noise=0.1)
        if any(len(visit.segments) < 4 for visit in (visits.first, visits.second)):
            print(f"{seed}: too narrow for five lesions, or one lies outside the second study: left out")
            continue
        counted += 1
        try:
            done = compare([visits.first, visits.second])
        except GeometryError as error:
            print(f"{seed}: refused: {error}")
            continue
        first, second = ({link.label: link.lesion for link in done.links if link.visit == n} for n in (1, 2))
        found = {a: b for a, n in first.items() for b, m in second.items() if n == m}
        statuses = [row["status"] for row in done.rows if row["visit"] == 2]
        whole = found == visits.partner and statuses == STATUSES
        right += whole
        moved = done.registrations[2]
        places = [{s.label: s.centre() for s in visit.segments} for visit in (visits.first, visits.second)]
        pairs = [(moved.to_later.TransformPoint(places[0][a]), places[1][b]) for a, b in visits.partner.items()]
        off = [float(np.linalg.norm(np.subtract(*pair))) for pair in pairs]
        apart += off
        print(f"{seed}: {'right' if whole else 'wrong'}; bone {moved.bone:.2f}, centres within {max(off):.1f} mm")
    print(f"{right} of {counted} torsos with all five lesions right; centres {np.median(apart):.1f} mm apart (median)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
