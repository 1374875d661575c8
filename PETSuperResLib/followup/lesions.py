"""The lesions of all visits in all images: one row each, measured where they are drawn or where they would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lesions.measures import INTERVALS, MTV, OF_WHOLE, RECOVERED, Lesion, measure_lesions
from ..lesions.segments import SHARE_TOLD, Segment
from ..volume import Volume
from .change import ABSENT, FOLLOWED, NOT_YET, change_columns
from .common_errors import shares_of
from .pairing import Link
from .visit import Visit

#: from a segment of one visit (number from 1) to where it lies in another, or None outside it
Carry = Callable[[Segment, int, int], Segment | None]
COLUMNS = (
    *("lesion", "name", "visit", "visit_name", "date", "image", "status", "labels", "cut", "still_hot", "voxels"),
    *FOLLOWED,
    *("evidence_sigma", *INTERVALS),
    *(f"{m}_change_{part}" for m in FOLLOWED for part in ("percent", "low", "high", "real")),  # since its first visit
)
PARTIAL = (*OF_WHOLE, *RECOVERED)  # of which no change is told where an image holds a part only of the lesion
IMAGES = {"pet": "PET", "sr": "result"}
NOT_DRAWN = 0.7  # of the SUVpeak before, from which on a lesion that is not drawn may have been forgotten


@dataclass(frozen=True)
class Found:
    """A lesion at a visit: its segments there (drawn, or its place carried from another visit), and its status."""

    lesion: int
    visit: int
    status: str
    segments: tuple[Segment, ...]

    @property
    def drawn(self) -> bool:
        """Whether the lesion is drawn at this visit."""
        return self.status not in ABSENT

    def share_within(self, image: Volume) -> float:
        """The part (0 to 1) of its segments that lies within an image's box; 1 where it has none."""
        volumes = [float(s.mask.array.sum(dtype=np.float64)) * s.mask.voxel_ml for s in self.segments]
        shares = [segment.share_within(image) for segment in self.segments]
        return float(np.average(shares, weights=volumes)) if volumes else 1.0


def found_lesions(visits: Sequence[Visit], links: Sequence[Link], carry: Carry) -> list[Found]:
    """Every lesion at every visit, by lesion and visit.

    The status is baseline, paired, new, split, merged, vanished (drawn before, its place is measured) or "not yet"
    (drawn later). A place outside a visit has no segments.
    """
    drawn: dict[tuple[int, int], list[Segment]] = {}
    for link in links:
        segment = next(s for s in visits[link.visit - 1].segments if s.label == link.label)
        drawn.setdefault((link.lesion, link.visit), []).append(segment)
    rows = []
    for lesion in sorted({link.lesion for link in links}):
        at = [n for n in range(1, len(visits) + 1) if (lesion, n) in drawn]
        for visit in range(1, len(visits) + 1):
            before = [n for n in at if n < visit]
            segments = drawn.get((lesion, visit))
            status = _status(visit, len(segments or ()), len(drawn[lesion, before[-1]]) if before else 0)
            if segments is None:
                source = before[-1] if before else at[0]
                carried = [carry(segment, source, visit) for segment in drawn[lesion, source]]
                segments = [segment for segment in carried if segment is not None]
            rows.append(Found(lesion, visit, status, tuple(segments)))
    return rows


def _status(visit: int, count: int, before: int) -> str:
    """The status by the number of contours at this visit and at the last one that had the lesion."""
    if not count:
        return "vanished" if before else NOT_YET
    if not before:
        return "baseline" if visit == 1 else "new"
    return "split" if count > before else "merged" if count < before else "paired"


def measured(
    visits: Sequence[Visit], found: Sequence[Found], threshold: float | str = MTV
) -> Iterator[tuple[Found, str, dict[str, Any]]]:
    """Every lesion at every visit in every image: (lesion, image, measures by name).

    SULpeak and, of a lesion of one contour, what was recovered with intervals and evidence where they are known.
    """
    for one in found:
        visit = visits[one.visit - 1]
        for image, volume in visit.images.items():
            figures = measure_lesions(volume, one.segments, threshold=threshold, skip_outside=True)
            if not figures:
                continue
            values = together(figures)
            factor = visit.body.sul_factor
            values["sulpeak"] = None if factor is None else factor * values["suvpeak"]
            if image == "sr" and one.drawn and len(one.segments) == 1:
                values |= _recovered(visit, one.segments[0])
            yield one, image, values


def _recovered(visit: Visit, segment: Segment) -> Mapping[str, Any]:
    """What was recovered of a segment; nothing where another one of the visit has its name, by which it is known."""
    alone = [other.name for other in visit.segments].count(segment.name) == 1
    return visit.recovered.get(segment.name, {}) if alone else {}


def together(figures: Sequence[Lesion]) -> dict[str, Any]:
    """The measures of a lesion that several segments make up: maxima of SUVmax and SUVpeak, sums of MTV and TLG."""
    sizes = np.array([max(f.voxels, 1) for f in figures])
    return {
        "voxels": int(sum(f.voxels for f in figures)),
        "suvmax": max(f.suvmax for f in figures),
        "suvmean": float(np.average([f.suvmean for f in figures], weights=sizes)),
        "suvpeak": max(f.suvpeak for f in figures),
        "mtv_ml": sum(f.mtv_ml for f in figures),
        "tlg": sum(f.tlg for f in figures),
    }


def cut_lesions(visits: Sequence[Visit], found: Sequence[Found]) -> list[str]:
    """A note for each image that holds a part only of lesions, or of their places, with those and their shares."""
    notes = []
    for number, visit in enumerate(visits, 1):
        for image, volume in visit.images.items():
            shares = {o.lesion: o.share_within(volume) for o in found if o.visit == number and o.status != NOT_YET}
            cut = [f"{100 * s:.0f} % of lesion {n}" for n, s in shares.items() if 0 < s < 1 - SHARE_TOLD]
            if cut:
                notes.append(
                    f"The {IMAGES.get(image, image)} of {visit.name} holds a part only: {', '.join(cut)}. No change of "
                    "their SUVmean, MTV, TLG or recovered uptake is told; give images of the whole lesions."
                )
    return notes


def lesion_table(
    visits: Sequence[Visit], links: Sequence[Link], found: Sequence[Found], threshold: float | str = MTV
) -> list[dict[str, Any]]:
    """Rows with the keys of :data:`COLUMNS`: a row per lesion, visit and image, with changes since its first.

    Where an image holds a part only of a lesion, ``cut`` is ``yes`` and changes of :data:`PARTIAL` are left out. Where
    the place of one that is not drawn any more has nearly the uptake of the last visit that had it, ``still_hot`` is
    ``yes``.
    """
    names = {link.lesion: link.name for link in reversed(links)}
    rows: list[dict[str, Any]] = []
    first: dict[tuple[int, str], tuple[dict[str, Any], Visit, bool]] = {}
    last: dict[tuple[int, str], float] = {}  # SUVpeak where the lesion was drawn last
    for one, image, values in measured(visits, found, threshold):
        visit = visits[one.visit - 1]
        cut = one.status != NOT_YET and one.share_within(visit.images[image]) < 1 - SHARE_TOLD
        hot = one.status == "vanished" and values["suvpeak"] > NOT_DRAWN * last.get((one.lesion, image), np.inf)
        if one.drawn:
            last[one.lesion, image] = values["suvpeak"]
        row = {
            **{"lesion": one.lesion, "name": names[one.lesion], "visit": one.visit, "visit_name": visit.name},
            **{"date": visit.pet.metadata.get("series_date", ""), "image": image, "status": one.status},
            "labels": " ".join(str(segment.label) for segment in one.segments) if one.drawn else "",
            "cut": "yes" if cut else "",
            "still_hot": "yes" if hot else "",
            **values,
        }
        if one.status != NOT_YET:
            before, then, was_cut = first.setdefault((one.lesion, image), (values, visit, cut))
            if before is not values:
                known = {name: value for name, value in values.items() if not (cut or was_cut) or name not in PARTIAL}
                row |= change_columns(known, before, shares_of(then.report, visit.report))
        rows.append(row)
    return rows
