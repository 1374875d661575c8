"""Which lesion of one visit is which of another: by overlap and distance, as one assignment of least cost.

Every segment is a mask in the space of the first visit. Lesions that one contour now covers have merged, and a lesion
that several contours cover has split: all contours of a lesion are one row of the tables.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from ..errors import InputError
from ..lesions.segments import HALF, Segment

DISTANCE_MM = 15.0  # between surfaces, within which lesions that do not overlap may be one
Key = tuple[int, int]  # of a segment: visit from 1, and label
SHARED = 0.5  # of the smaller mask that two hold in common, from which on a further one belongs to the lesion


@dataclass(frozen=True)
class Link:
    """One segment of one visit and the lesion that it belongs to; ``visit``, ``lesion`` count from 1.

    ``how`` is baseline, paired, new, split, merged or given; ``overlap`` (share of the smaller mask) and ``gap_mm``
    (between surfaces) are those with the lesion's last contour, None where there is none.
    """

    visit: int
    label: int
    name: str
    lesion: int
    how: str
    overlap: float | None = None
    gap_mm: float | None = None


COLUMNS = tuple(field.name for field in fields(Link))


def pair(visits: Sequence[Sequence[Segment]], distance_mm: float = DISTANCE_MM) -> list[Link]:
    """The lesion of every segment; ``visits`` holds each visit's segments as masks in the first visit's space.

    A pair that overlaps by the share s of the smaller mask costs 1 - s, one without overlap 1 + gap / ``distance_mm``;
    a lesion or segment that stays alone costs 1. The sum is least (Hungarian method).
    """
    last: dict[int, list[Segment]] = {}
    links: list[Link] = []
    for number, segments in enumerate(visits, 1):
        overlap, gap = _relations(list(last.values()), segments, distance_mm)
        old, chosen = list(last), _assigned(overlap, gap, distance_mm)
        current: dict[int, list[Segment]] = {}
        for n, segment in enumerate(segments):
            best = int(overlap[:, n].argmax()) if old else -1
            how, row = "baseline" if number == 1 else "new", chosen.get(n, -1)
            if row >= 0:
                how = "paired"
            elif best >= 0 and overlap[best, n] >= SHARED:
                how, row = "split", best
            lesion = old[row] if row >= 0 else max([*last, *current], default=0) + 1
            relation = (float(overlap[row, n]), float(gap[row, n])) if row >= 0 else (None, None)
            links.append(Link(number, segment.label, segment.name, lesion, how, *relation))
            current.setdefault(lesion, []).append(segment)
        taken = {old[row]: n for n, row in chosen.items()}
        for row, lesion in enumerate(old):
            covering = int(overlap[row].argmax()) if len(segments) else -1
            if lesion in taken or covering < 0 or overlap[row, covering] < SHARED:
                continue
            into = next(link.lesion for link in links if (link.visit, link.label) == (number, segments[covering].label))
            if into != lesion:
                links = [_joined(link, lesion, into, number) for link in links]
                last.pop(lesion)
        last |= current
    numbers = {lesion: n for n, lesion in enumerate(dict.fromkeys(link.lesion for link in links), 1)}
    return [replace(link, lesion=numbers[link.lesion]) for link in links]


def _joined(link: Link, lesion: int, into: int, visit: int) -> Link:
    """A link after a lesion has merged into another at a visit."""
    if link.lesion == lesion:
        return replace(link, lesion=into)
    return replace(link, how="merged") if (link.lesion, link.visit) == (into, visit) else link


def _relations(
    lesions: Sequence[Sequence[Segment]], segments: Sequence[Segment], far_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """(lesions, segments) overlap as a share of the smaller mask, and gap between surfaces in mm (inf: far)."""
    overlap, gap = np.zeros((len(lesions), len(segments))), np.full((len(lesions), len(segments)), np.inf)
    for row, parts in enumerate(lesions):
        for column, segment in enumerate(segments):
            found = [relation(part, segment, far_mm) for part in parts]
            overlap[row, column] = max(share for share, _ in found)
            gap[row, column] = min(distance for _, distance in found)
    return overlap, gap


def relation(one: Segment, other: Segment, far_mm: float = np.inf) -> tuple[float, float]:
    """Overlap as a share of the smaller mask, and the gap between surfaces in mm (inf beyond ``far_mm``)."""
    (low, high), (from_, to) = ((s.mask.corners().min(0), s.mask.corners().max(0)) for s in (one, other))
    if np.linalg.norm(np.maximum(0, np.maximum(from_ - high, low - to))) > far_mm:
        return 0.0, np.inf
    fine, coarse = sorted((one, other), key=lambda s: s.mask.voxel_ml)
    near = coarse.mask.resample_to(fine.mask, "nearest").array
    both = float(np.minimum(fine.mask.array, near).sum(dtype=np.float64)) * fine.mask.voxel_ml
    least = min(float(s.mask.array.sum(dtype=np.float64)) * s.mask.voxel_ml for s in (one, other))
    if both > 0:
        return min(1.0, both / least), 0.0
    distance = float(cKDTree(_points(one)).query(_points(other))[0].min())
    gap = max(0.0, distance - sum(min(s.mask.spacing) for s in (one, other)) / 2)
    return 0.0, gap if gap <= far_mm else np.inf


def _points(segment: Segment) -> np.ndarray:
    """(n, 3) LPS positions in mm of the mask's voxels."""
    mask = segment.mask
    k, j, i = np.nonzero(mask.array >= min(HALF, float(mask.array.max())))
    return (np.stack([i, j, k, np.ones_like(i)], 1) @ mask.ijk_to_lps.T)[:, :3]


def _assigned(overlap: np.ndarray, gap: np.ndarray, distance_mm: float) -> dict[int, int]:
    """Column to row of the assignment of least cost, in which each may stay alone."""
    rows, columns = overlap.shape
    cost = np.where(overlap > 0, 1 - overlap, 1 + gap / max(distance_mm, 1e-6))
    alone = np.full((rows, rows + columns), 1.0)
    padded = np.hstack([np.where(np.isfinite(cost), cost, 1e6), alone[:, :rows]])
    padded = np.vstack([padded, np.hstack([np.ones((columns, columns)), np.zeros((columns, rows))])])
    found = zip(*linear_sum_assignment(padded), strict=True)
    return {int(c): int(r) for r, c in found if r < rows and c < columns and gap[r, c] <= distance_mm}


def rows(links: Sequence[Link]) -> list[dict]:
    """Rows with the keys of :data:`COLUMNS`, to be written and edited."""
    return [asdict(link) for link in links]


def read_pairs(path: str | Path, visits: Sequence[Sequence[Segment]]) -> list[Link]:
    """The pairing of a table as it is written, its column ``lesion`` perhaps edited.

    Raises :class:`InputError` where a segment is missing, stands twice, or has no whole number from 1 as its lesion.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = list(csv.DictReader(file))
        lesions = {(int(row["visit"]), int(row["label"])): int(row["lesion"]) for row in found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no table of pairs (columns visit, label, lesion, all whole numbers): edit the pairs.csv of an "
            "earlier comparison.",
            "pairs",
        ) from error
    return given(lesions if len(lesions) == len(found) else {}, visits, path)


def given(
    lesions: Mapping[Key, int], visits: Sequence[Sequence[Segment]], source: str | Path = "The pairing"
) -> list[Link]:
    """The pairing by a lesion's number for every (visit, label).

    Raises :class:`InputError`, naming the ``source``, where a segment is missing or a number is below 1.
    """
    drawn = {(n, s.label): s for n, segments in enumerate(visits, 1) for s in segments}
    if set(lesions) != set(drawn) or min(lesions.values(), default=1) < 1:
        raise InputError(
            f"{source} does not have every segment of these visits once, with a lesion from 1: edit only the column "
            "lesion of the pairs that these studies gave.",
            "pairs",
        )
    return [Link(*key, segment.name, lesions[key], "given") for key, segment in drawn.items()]
