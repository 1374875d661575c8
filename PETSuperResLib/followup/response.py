"""Response of the patient: PERCIST 1.0 from the hottest lesions' SULpeak, and the Deauville five-point score.

PERCIST: Wahl et al., J Nucl Med 2009;50 Suppl 1:122S, as summarised by O, Lodge and Wahl, Radiology 2016;280:576.
Deauville: Barrington et al., J Clin Oncol 2014;32:3048. Both are aids: a reader decides what a lesion is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..vendor_strings import FDG
from .change import ABSENT, NOT_YET

CHANGE_PERCENT, CHANGE_SUL = 30.0, 0.8  # of the hottest SULpeak, both needed for PMR and PMD
TLG_PERCENT = 75.0  # more of it is progression
LIVER_STABLE = (20.0, 0.3)  # per cent and SUL that the liver's mean may differ
MARKED = 2.0  # times the liver's SUVmax: score 5
CLASSES = {
    "CMR": "complete metabolic response",
    "PMR": "partial metabolic response",
    "SMD": "stable metabolic disease",
    "PMD": "progressive metabolic disease",
}
Figures = Mapping[str, float]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Response:
    """What a later visit shows against the first one; a class is empty where it cannot be told, and ``why`` says so.

    ``unit`` is SUL, or SUVbw where lean body mass is not known at both visits: then the rules are PERCIST's, the values
    are not.
    """

    visit: int
    percist: str
    unit: str
    hottest_percent: float | None
    measurable: bool | None
    why: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self) | {"percist_meaning": CLASSES.get(self.percist, "")}


def classes(
    rows: Sequence[Row], uptake: Sequence[Mapping[str, Figures]], sul: Sequence[float | None], tracers: Sequence[str]
) -> tuple[tuple[Response, ...], tuple[int | None, ...]]:
    """PERCIST of the later visits against the first one, and Deauville of all, by the PETs in a table of lesions.

    ``uptake``: of each visit the figures in SUVbw of ``liver`` and ``blood`` where they are known; ``sul``: of each the
    factor from SUVbw to SUL, or None; ``tracers``: of each, as :attr:`~.visit.Visit.tracer`. Both rules are of FDG: of
    PETs of another tracer there is no class.
    """
    others = sorted({tracer.upper() for tracer in tracers if tracer not in ("", FDG)})
    if others:
        why = f"PERCIST and Deauville are of FDG, not of {', '.join(others)}."
        none = (Response(n, "", "", None, None, (why,)) for n in range(2, len(uptake) + 1))
        return tuple(none), (None,) * len(uptake)
    by_visit = [[r for r in rows if r["visit"] == n and r["image"] == "pet"] for n in range(1, len(uptake) + 1)]
    factors = [factor or 1.0 for factor in sul]
    responses = tuple(
        percist(n + 1, by_visit[0], by_visit[n], (uptake[0], uptake[n]), (factors[0], factors[n]))
        for n in range(1, len(uptake))
    )
    return responses, tuple(deauville(by_visit[0], *visit) for visit in zip(by_visit, uptake, strict=True))


def percist(
    visit: int,
    before: Sequence[Row],
    after: Sequence[Row],
    regions: Sequence[Mapping[str, Figures]],
    sul: Sequence[float],
) -> Response:
    """PERCIST 1.0 of the rows of the first visit (``before``) and a later one (``after``), by lesion.

    New is a lesion that is drawn at the later visit and was not at the first one, though it may have been in between.
    ``regions``: of both visits, the figures in SUVbw of ``liver`` and ``blood`` where they are known; ``sul``: of both,
    the factor from SUVbw to SUL, 1 where it is not known. TLG is without lesions whose rows have ``cut``, of which a
    PET holds a part only.
    """
    why: list[str] = []
    unit = "SUL" if all(factor != 1 for factor in sul) else "SUVbw"
    factors = sul if unit == "SUL" else (1.0, 1.0)
    if unit == "SUVbw":
        why.append("Weight, height or sex is not known at both studies, so SUVbw stands for SUL.")
    after = [r for r in after if r["status"] != NOT_YET]
    old = {r["lesion"]: r["suvpeak"] * factors[0] for r in before if r["status"] != NOT_YET}
    new = {r["lesion"]: r["suvpeak"] * factors[1] for r in after}
    fresh, lost = _fresh(before, after), _lost(before, after)
    if not old:
        return Response(visit, "PMD" if fresh else "", unit, None, None, (*why, "The first study has no lesion."))
    liver = [region.get("liver") for region in regions]
    first = liver[0]
    hottest = max(old.values())
    measurable = None if first is None else hottest >= factors[0] * (1.5 * first["mean"] + 2 * first["sd"])
    if measurable is False:
        why.append("The hottest lesion is below 1.5 x liver + 2 SD, PERCIST's least for a measurable one.")
    if liver[0] and liver[1]:
        means = [f * region["mean"] for f, region in zip(factors, liver, strict=True) if region]
        if abs(means[1] - means[0]) > min(LIVER_STABLE[0] / 100 * means[0], LIVER_STABLE[1]):
            why.append(
                f"The liver's mean differs ({means[0]:.2f} and {means[1]:.2f} {unit}) by more than 20 % or 0.3: the "
                "studies are not comparable by PERCIST."
            )
    drawn = {r["lesion"]: new[r["lesion"]] for r in after if _drawn(r)}
    level = max(drawn.values(), default=max(new.values(), default=0.0))
    percent, difference = 100 * (level / hottest - 1), level - hottest
    clear = _cleared(after, regions[1])
    if clear is None:
        why.append("Without liver and blood pool at the later study, a complete response cannot be told.")
    parts = _parts(before, after)
    if parts:
        why.append(f"TLG is without {_called(parts)}, of which a PET holds a part only.")
    grown = _tlg(after, parts) > (1 + TLG_PERCENT / 100) * _tlg(before, parts) > 0
    risen = [n for n in old if n in new and new[n] > 1.3 * old[n] and new[n] - old[n] > CHANGE_SUL]
    if fresh:
        found = "PMD"
        why.append(f"New: lesion {', '.join(map(str, fresh))}.")
    elif (percent > CHANGE_PERCENT and difference > CHANGE_SUL) or grown:
        found = "PMD"
        why.append("TLG has grown by more than 75 %." if grown else "The hottest lesion has risen by more than 30 %.")
    elif lost:
        found = ""
    elif clear:
        found = "CMR"
    elif percent <= -CHANGE_PERCENT and difference <= -CHANGE_SUL and not risen:
        found = "PMR"
    else:
        found = "SMD"
        if risen:
            why.append(f"Risen by more than 30 %: lesion {', '.join(map(str, risen))}.")
    if lost:
        why.append(f"The place of {_called(lost)} lies outside this PET, so that only progression can be told.")
    return Response(visit, found, unit, None if lost else percent, measurable, tuple(why))


def deauville(before: Sequence[Row], rows: Sequence[Row], regions: Mapping[str, Figures]) -> int | None:
    """The score 1 to 5 of a visit, by the highest SUVmax of its lesions; None without liver or blood pool.

    ``before`` are the first visit's rows. 1 no lesion is drawn and no place is above the blood pool, 2 up to the blood
    pool's SUVmax, 3 up to the liver's, 4 above it, 5 from twice the liver's on, or a lesion that is new since the first
    visit. None also where a lower score would be of a part of the lesions, as the place of one lies outside the PET.
    """
    if "liver" not in regions or "blood" not in regions:
        return None
    present = [row for row in rows if _drawn(row)]
    seen = present or [row for row in rows if row["status"] != NOT_YET]
    highest = max((row["suvmax"] for row in seen), default=0.0)
    liver, blood = regions["liver"]["max"], regions["blood"]["max"]
    if _fresh(before, rows) or highest >= MARKED * liver:
        return 5
    if _lost(before, rows):
        return None
    if highest > max(liver, blood):
        return 4
    if highest > blood:
        return 3
    return 2 if present else 1


def _drawn(row: Row) -> bool:
    """Whether a lesion is drawn at the visit of its row."""
    return row["status"] not in ABSENT


def _fresh(before: Sequence[Row], rows: Sequence[Row]) -> list[int]:
    """The lesions that are drawn in rows of a visit and were not at the first one (``before``)."""
    known = {row["lesion"] for row in before if row["status"] != NOT_YET}
    return [row["lesion"] for row in rows if _drawn(row) and row["lesion"] not in known]


def _lost(before: Sequence[Row], rows: Sequence[Row]) -> list[int]:
    """The lesions of the first visit (``before``) whose place the PET of another one does not hold."""
    held = {row["lesion"] for row in rows}
    return [row["lesion"] for row in before if row["status"] != NOT_YET and row["lesion"] not in held]


def _cleared(rows: Sequence[Row], regions: Mapping[str, Figures]) -> bool | None:
    """Whether no lesion or its place stands out: SUVpeak below the liver's mean and within 2 SD of the blood pool."""
    if "liver" not in regions or "blood" not in regions:
        return None
    blood = regions["blood"]
    limit = min(regions["liver"]["mean"], blood["mean"] + 2 * blood["sd"])
    return all(row["suvpeak"] <= limit for row in rows)


def _parts(before: Sequence[Row], after: Sequence[Row]) -> list[int]:
    """The lesions drawn at the later visit of which the PET of one of both visits holds a part only."""
    cut = {row["lesion"] for row in (*before, *after) if row.get("cut") and _drawn(row)}
    return [row["lesion"] for row in after if _drawn(row) and row["lesion"] in cut]


def _called(lesions: Sequence[int]) -> str:
    return f"lesion{'s' if len(lesions) > 1 else ''} {', '.join(map(str, lesions))}"


def _tlg(rows: Sequence[Row], without: Sequence[int]) -> float:
    return float(sum(row["tlg"] for row in rows if _drawn(row) and row["lesion"] not in without))
