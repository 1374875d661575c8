"""Compare the visits of a patient: register, pair the lesions, measure each everywhere; the one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError, Note
from ..lesions.measures import MTV, about_threshold
from ..lesions.segments import Segment
from ..progress import Callback, Reporter
from ..version import __version__
from .belonging import check_studies
from .change import ABSENT
from .lesions import Found, cut_lesions, found_lesions, lesion_table
from .pairing import DISTANCE_MM, Key, Link, given, pair, read_pairs
from .references import Reference, place_references
from .registration import Registration, carried, register
from .response import Response, classes
from .visit import Visit, facts, recovered_of

Point = tuple[float, float, float]
UNLIKE = 2.0  # ratio of a lesion's volumes at two visits from which on it may have been drawn unlike


@dataclass(frozen=True)
class FollowUp:
    """The lesions of a patient over time.

    ``links``: the pairing, a row per segment. ``found``: every lesion at every visit. ``rows``: the table of lesions
    (:data:`~.lesions.COLUMNS`). ``registrations`` of the later visits to the first, by number from 2; empty where the
    visits are taken as aligned. ``references``: of each visit the regions by name (``liver``, ``blood``), and
    ``uptake`` their figures in its PET; ``responses`` of the later visits, ``scores`` (Deauville) of all, None where it
    cannot be told. ``warnings`` are to be told.
    """

    visits: tuple[Visit, ...]
    links: tuple[Link, ...]
    found: tuple[Found, ...]
    rows: tuple[Mapping[str, Any], ...]
    registrations: Mapping[int, Registration] = field(default_factory=dict)
    references: tuple[Mapping[str, Reference], ...] = ()
    uptake: tuple[Mapping[str, Mapping[str, float]], ...] = ()
    responses: tuple[Response, ...] = ()
    scores: tuple[int | None, ...] = ()
    warnings: tuple[str, ...] = ()

    def report(self) -> dict[str, Any]:
        """Provenance and results, JSON-ready."""
        return {
            "followup": __version__,
            "visits": [facts(visit) for visit in self.visits],
            "registration": {self.visits[n - 1].name: r.to_dict() for n, r in self.registrations.items()},
            "references": [
                {name: found.to_dict() | dict(figures.get(name, {})) for name, found in regions.items()}
                for regions, figures in zip(self.references, self.uptake, strict=True)
            ],
            "percist": [response.to_dict() for response in self.responses],
            "deauville": list(self.scores),
            "warnings": list(self.warnings),
        }


def compare(
    visits: Sequence[Visit],
    pairs: str | Path | Mapping[Key, int] | None = None,
    aligned: bool = False,
    distance_mm: float = DISTANCE_MM,
    threshold: float | str = MTV,
    stated: Mapping[str, Sequence[Point]] | None = None,
    progress: Callback | None = None,
    known: Mapping[int, Registration] | None = None,
) -> FollowUp:
    """Compare two or more visits, in the order of time.

    The later CTs are registered to the first one, unless the visits are ``aligned`` or have no CT, or their
    registration is ``known`` (by the visit's number, from 2). ``pairs`` is an edited table of pairs
    (:func:`~.pairing.read_pairs`), or the lesion by (visit, label). ``stated`` has the centres of ``liver`` and
    ``blood`` in LPS mm: of each visit, or of the first one alone; others are placed on the CTs.

    Raises :class:`InputError` for fewer than two visits, none with a lesion, a CT at some of them only, or results of
    another PET, and :class:`GeometryError` for different patients or where the registration failed.
    """
    of_threshold = about_threshold(threshold)
    if len(visits) < 2:
        raise InputError("A comparison needs two or more studies: give each a PET and a segmentation.")
    if not any(visit.segments for visit in visits):
        raise InputError("None of the studies has a lesion: give their segmentations.", "segmentation")
    report = Reporter(progress)
    warnings = [*of_threshold, *check_studies(visits)]
    registrations = {} if aligned else _registered(visits, known or {}, report.part(0.0, 0.7), warnings)
    carry = partial(_carry, registrations)
    report("pairing the lesions", 0.7)
    if pairs is None:
        first = [[carry(s, n, 1) for s in visit.segments] for n, visit in enumerate(visits, 1)]
        links = pair([[s for s in segments if s is not None] for segments in first], distance_mm)
    else:
        drawn = [visit.segments for visit in visits]
        links = given(pairs, drawn) if isinstance(pairs, Mapping) else read_pairs(pairs, drawn)
    found = found_lesions(visits, links, carry)
    visits = _with_recovered(visits, threshold, report.part(0.75, 0.85), warnings)
    report("measuring the lesions", 0.85)
    rows = lesion_table(visits, links, found, threshold)
    warnings += [*_forgotten(rows), *_drawn_unlike(visits, found), *cut_lesions(visits, found)]
    report("placing references", 0.9)
    references = [_references(n, visits, stated or {}, registrations, warnings) for n in range(1, len(visits) + 1)]
    uptake = [_uptake(visit, regions, warnings) for visit, regions in zip(visits, references, strict=True)]
    sul, tracers = zip(*((visit.body.sul_factor, visit.tracer) for visit in visits), strict=True)
    responses, scores = classes(rows, uptake, sul, tracers)
    report("done", 1.0)
    return FollowUp(
        visits=tuple(visits),
        links=tuple(links),
        found=tuple(found),
        rows=tuple(rows),
        registrations=registrations,
        references=tuple(references),
        uptake=tuple(uptake),
        responses=responses,
        scores=scores,
        warnings=tuple(warnings),
    )


def _with_recovered(
    visits: Sequence[Visit], threshold: float | str, report: Reporter, warnings: list[str]
) -> list[Visit]:
    """The visits with what is recovered of their lesions from PET and result, where it is not known already."""
    from ..remeasure import remeasured  # which imports torch

    found = []
    for number, visit in enumerate(visits):
        if "sr" in visit.images and visit.segments and not visit.recovered:
            report("recovering the uptake", number / len(visits), visit.name)
            try:
                lesions = remeasured(visit.images["sr"], visit.pet, visit.report, visit.segments, threshold)
                visit = replace(visit, recovered={lesion.name: recovered_of(vars(lesion)) for lesion in lesions})
            except InputError as error:
                warnings.append(f"{visit.name}: The uptake cannot be recovered: {error}")
        found.append(visit)
    return found


def _references(
    number: int,
    visits: Sequence[Visit],
    stated: Mapping[str, Sequence[Point]],
    registrations: Mapping[int, Registration],
    warnings: list[str],
) -> dict[str, Reference]:
    """The reference regions of a visit: as stated for it, or for the first visit and registered, or placed."""
    visit, found = visits[number - 1], {}
    for name, centres in stated.items():
        if len(centres) not in (1, len(visits)):
            raise InputError(f"Give one centre of the {name}, of the first study, or one for each study.", name)
        centre = centres[min(number, len(centres)) - 1]
        if len(centres) == 1 and number in registrations:
            centre = registrations[number].to_later.TransformPoint(centre)
        found[name] = Reference(name, centre, "stated")
    if visit.ct is not None and len(found) < 2:
        placed, notes = place_references(visit.ct, visit.pet, visit.segments)
        found = placed | found
        warnings += [Note(f"{visit.name}: {note}", name) for name, note in notes.items() if name not in found]
    return found


def _uptake(visit: Visit, regions: Mapping[str, Reference], warnings: list[str]) -> dict[str, Mapping[str, float]]:
    """The figures of the reference regions in a visit's PET, where they lie in it."""
    measured = {name: region.measure(visit.pet) for name, region in regions.items()}
    warnings += [
        Note(f"{visit.name}: the {name} reference lies outside the PET and is left out; give another centre.", name)
        for name, figures in measured.items()
        if figures is None
    ]
    return {name: figures for name, figures in measured.items() if figures is not None}


def _registered(
    visits: Sequence[Visit], known: Mapping[int, Registration], report: Reporter, warnings: list[str]
) -> dict[int, Registration]:
    """The registration of each later visit to the first, by number from 2; none where no visit has a CT."""
    if all(visit.ct is None for visit in visits):
        warnings.append("There are no CTs, so the studies are taken as aligned: give the CTs to have them registered.")
        return {}
    found = {}
    for number, visit in enumerate(visits[1:], 2):
        if visit.ct is None or visits[0].ct is None:
            raise InputError("Some studies have a CT and some have none: give one for each, or say aligned.", "ct")
        part = report.part((number - 2) / (len(visits) - 1), (number - 1) / (len(visits) - 1))
        found[number] = known.get(number) or register(visits[0].ct, visit.ct, part)
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


def _drawn_unlike(visits: Sequence[Visit], found: Sequence[Found]) -> list[str]:
    """A note on lesions whose contours differ much in volume from the visit before: they grew, or were drawn unlike."""
    told, last = [], dict[int, tuple[float, Visit]]()
    for one in found:
        if not one.drawn or not one.segments:
            continue
        visit = visits[one.visit - 1]
        volume = sum(float(s.mask.array.sum(dtype=float)) * s.mask.voxel_ml for s in one.segments)
        before, then = last.get(one.lesion, (volume, visit))
        if max(volume, before) > UNLIKE * min(volume, before):
            told.append(f"{one.lesion} ({before:.1f} mL in {then.name}, {volume:.1f} mL in {visit.name})")
        last[one.lesion] = volume, visit
    if not told:
        return []
    return [
        f"The contours differ much in volume, of lesion {', '.join(told)}: where they were drawn unlike, SUVmean, MTV "
        "and TLG change by that alone, and SUVpeak is what to compare."
    ]


def _forgotten(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lesions that are not drawn at a visit though their place has nearly the uptake of the visit before."""
    told = []
    last: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if row["image"] != "pet":
            continue
        if row["still_hot"]:
            before = last[row["lesion"]]
            told.append(
                f"Lesion {row['lesion']} ({row['name']}) is not drawn in {row['visit_name']}, yet its place has "
                f"SUVpeak {row['suvpeak']:.1f} (before: {before['suvpeak']:.1f}): draw it there, or correct its pair."
            )
        if row["status"] not in ABSENT:
            last[row["lesion"]] = row
    return told
