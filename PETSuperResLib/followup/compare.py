"""Compare the visits of a patient: register, pair the lesions, measure each everywhere; the one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..lesions.measures import MTV, check_threshold
from ..lesions.segments import Segment
from ..progress import Callback, Reporter
from ..version import __version__
from .lesions import Found, found_lesions, lesion_table
from .pairing import DISTANCE_MM, Link, pair, read_pairs
from .visit import Visit, facts

NOT_DRAWN = 0.7  # of the SUVpeak before, from which on a lesion that is not drawn may have been forgotten


@dataclass(frozen=True)
class FollowUp:
    """The lesions of a patient over time.

    ``links``: the pairing, a row per segment. ``found``: every lesion at every visit. ``rows``: the table of lesions
    (:data:`~.lesions.COLUMNS`). ``warnings`` are to be told.
    """

    visits: tuple[Visit, ...]
    links: tuple[Link, ...]
    found: tuple[Found, ...]
    rows: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()

    def report(self) -> dict[str, Any]:
        """Provenance and results, JSON-ready."""
        return {
            "followup": __version__,
            "visits": [facts(visit) for visit in self.visits],
            "warnings": list(self.warnings),
        }


def compare(
    visits: Sequence[Visit],
    pairs: str | Path | None = None,
    distance_mm: float = DISTANCE_MM,
    threshold: float | str = MTV,
    progress: Callback | None = None,
) -> FollowUp:
    """Compare two or more visits, in the order of time.

    ``pairs`` is an edited table of pairs (:func:`~.pairing.read_pairs`). Raises :class:`InputError` for fewer than
    two visits, or none with a lesion.
    """
    check_threshold(threshold)
    if len(visits) < 2:
        raise InputError("A comparison needs two or more studies: give each a PET and a segmentation.")
    if not any(visit.segments for visit in visits):
        raise InputError("None of the studies has a lesion: give their segmentations.", "segmentation")
    report = Reporter(progress)
    carry = _aligned
    report("pairing the lesions", 0.6)
    if pairs is None:
        first = [[carry(s, n, 1) for s in visit.segments] for n, visit in enumerate(visits, 1)]
        links = pair([[s for s in segments if s is not None] for segments in first], distance_mm)
    else:
        links = read_pairs(pairs, [visit.segments for visit in visits])
    found = found_lesions(visits, links, carry)
    report("measuring the lesions", 0.7)
    rows = lesion_table(visits, links, found, threshold)
    report("done", 1.0)
    return FollowUp(tuple(visits), tuple(links), tuple(found), tuple(rows), tuple(_forgotten(rows)))


def _aligned(segment: Segment, source: int, target: int) -> Segment:
    """The segment where it is: all visits lie in one space."""
    return segment


def _forgotten(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lesions that are not drawn at a visit though their place has nearly the uptake of the visit before."""
    told = []
    last: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if row["image"] != "pet":
            continue
        before = last.get(row["lesion"])
        if row["status"] == "vanished" and before and row["suvpeak"] > NOT_DRAWN * before["suvpeak"]:
            told.append(
                f"Lesion {row['lesion']} ({row['name']}) is not drawn in {row['visit_name']}, yet its place has "
                f"SUVpeak {row['suvpeak']:.1f} (before: {before['suvpeak']:.1f}): draw it there, or correct its pair."
            )
        if row["status"] not in ("vanished", "not yet"):
            last[row["lesion"]] = row
    return told
