"""Compare the visits of a patient: register, pair the lesions, measure each everywhere; the one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..lesions.measures import MTV, check_threshold
from ..lesions.segments import Segment
from ..progress import Callback, Reporter
from ..version import __version__
from .lesions import Found, found_lesions, lesion_table
from .pairing import DISTANCE_MM, Link, pair, read_pairs
from .registration import Registration, carried, register
from .visit import Visit, facts

NOT_DRAWN = 0.7  # of the SUVpeak before, from which on a lesion that is not drawn may have been forgotten


@dataclass(frozen=True)
class FollowUp:
    """The lesions of a patient over time.

    ``links``: the pairing, a row per segment. ``found``: every lesion at every visit. ``rows``: the table of lesions
    (:data:`~.lesions.COLUMNS`). ``registrations`` of the later visits to the first, by number from 2; empty where the
    visits are taken as aligned. ``warnings`` are to be told.
    """

    visits: tuple[Visit, ...]
    links: tuple[Link, ...]
    found: tuple[Found, ...]
    rows: tuple[Mapping[str, Any], ...]
    registrations: Mapping[int, Registration] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def report(self) -> dict[str, Any]:
        """Provenance and results, JSON-ready."""
        return {
            "followup": __version__,
            "visits": [facts(visit) for visit in self.visits],
            "registration": {self.visits[n - 1].name: r.to_dict() for n, r in self.registrations.items()},
            "warnings": list(self.warnings),
        }


def compare(
    visits: Sequence[Visit],
    pairs: str | Path | None = None,
    aligned: bool = False,
    distance_mm: float = DISTANCE_MM,
    threshold: float | str = MTV,
    progress: Callback | None = None,
) -> FollowUp:
    """Compare two or more visits, in the order of time.

    The later CTs are registered to the first one, unless the visits are ``aligned`` or have no CT. ``pairs`` is an
    edited table of pairs (:func:`~.pairing.read_pairs`). Raises :class:`InputError` for fewer than two visits, none
    with a lesion, or a CT at some of them only, and :class:`GeometryError` where the registration failed.
    """
    check_threshold(threshold)
    if len(visits) < 2:
        raise InputError("A comparison needs two or more studies: give each a PET and a segmentation.")
    if not any(visit.segments for visit in visits):
        raise InputError("None of the studies has a lesion: give their segmentations.", "segmentation")
    report = Reporter(progress)
    warnings: list[str] = []
    registrations = {} if aligned else _registered(visits, report.part(0.0, 0.7), warnings)
    carry = partial(_carry, registrations)
    report("pairing the lesions", 0.7)
    if pairs is None:
        first = [[carry(s, n, 1) for s in visit.segments] for n, visit in enumerate(visits, 1)]
        links = pair([[s for s in segments if s is not None] for segments in first], distance_mm)
    else:
        links = read_pairs(pairs, [visit.segments for visit in visits])
    found = found_lesions(visits, links, carry)
    report("measuring the lesions", 0.8)
    rows = lesion_table(visits, links, found, threshold)
    warnings += _forgotten(rows)
    report("done", 1.0)
    return FollowUp(tuple(visits), tuple(links), tuple(found), tuple(rows), registrations, tuple(warnings))


def _registered(visits: Sequence[Visit], report: Reporter, warnings: list[str]) -> dict[int, Registration]:
    """The registration of each later visit to the first, by number from 2; none where no visit has a CT."""
    if all(visit.ct is None for visit in visits):
        warnings.append("There are no CTs, so the studies are taken as aligned: give the CTs to have them registered.")
        return {}
    found = {}
    for number, visit in enumerate(visits[1:], 2):
        if visit.ct is None or visits[0].ct is None:
            raise InputError("Some studies have a CT and some have none: give one for each, or say aligned.", "ct")
        part = report.part((number - 2) / (len(visits) - 1), (number - 1) / (len(visits) - 1))
        found[number] = register(visits[0].ct, visit.ct, part)
        warnings += found[number].check(visit.name)
    return found


def _carry(registrations: Mapping[int, Registration], segment: Segment, source: int, target: int) -> Segment | None:
    """A segment of one visit in the space of another, by way of the first visit's."""
    moved: Segment | None = segment
    if source != target and source in registrations:
        moved = carried(segment, registrations[source].to_first, registrations[source].to_later)
    if moved is not None and source != target and target in registrations:
        moved = carried(moved, registrations[target].to_later, registrations[target].to_first)
    return moved


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
