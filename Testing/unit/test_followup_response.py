"""Reference regions lie in liver and aorta; PERCIST and Deauville classes follow their rules."""

from __future__ import annotations

import numpy as np
import pytest

from PETSuperResLib.errors import Note
from PETSuperResLib.followup.compare import compare
from PETSuperResLib.followup.references import Reference, place_references
from PETSuperResLib.followup.response import classes, deauville, percist
from PETSuperResLib.followup.visit import Visit
from PETSuperResLib.phantoms.codes import CODE
from PETSuperResLib.phantoms.torso import Phantom, torso_phantom
from PETSuperResLib.volume import Volume

LIVER, BLOOD = {"mean": 2.0, "sd": 0.2, "max": 2.6}, {"mean": 1.5, "sd": 0.1, "max": 1.8}
REGIONS = {"liver": LIVER, "blood": BLOOD}


@pytest.fixture(scope="module")
def torso() -> Phantom:
    return torso_phantom(1, (60, 52, 80), (5.0, 5.0, 5.0), 0)


@pytest.fixture(scope="module")
def placed(torso) -> tuple[dict[str, Reference], dict[str, Note]]:
    """The regions found in the torso, and why one was not."""
    return place_references(torso.ct, torso.pet)


def tissue(phantom: Phantom, reference: Reference) -> set[int]:
    """The tissues' codes in a region."""
    weights, block = reference.segment().weights(phantom.organs)
    return {int(code) for code in phantom.organs.array[block][weights > 0.5]}


@pytest.mark.parametrize("turned", [False, True])
def test_the_regions_lie_in_liver_and_aorta_however_the_ct_is_stored(torso, placed, turned):
    found, notes = placed
    if turned:  # the same voxels stored from the other ends
        ct = torso.ct
        origin = (ct.ijk_to_lps @ [*(n - 1 for n in ct.shape[::-1]), 1.0])[:3]
        ct = Volume(ct.array[::-1, ::-1, ::-1], ct.spacing, tuple(origin), tuple(-v for v in ct.direction), "HU")
        found, notes = place_references(ct, torso.pet)
    assert not notes and tissue(torso, found["liver"]) == {CODE["liver"]}
    assert tissue(torso, found["blood"]) == {CODE["blood"]} and found["liver"].centre[0] < 0


def test_a_lesion_is_avoided_and_what_is_not_there_is_told(torso, placed):
    first, _ = placed
    lesion = Reference("liver", first["liver"].centre).segment()
    again, _ = place_references(torso.ct, torso.pet, [lesion])
    assert np.linalg.norm(np.subtract(again["liver"].centre, first["liver"].centre)) > 30
    legs = torso_phantom(1, (8, 52, 80), (5.0, 5.0, 5.0), 0, "thigh")
    found, notes = place_references(legs.ct, legs.pet)
    assert not found and all("unless its centre x,y,z in LPS mm is stated" in note for note in notes.values())
    lesion = Reference("blood", legs.pet.corners().mean(0)).segment()
    visit = Visit("later", {"pet": legs.pet}, (lesion,), legs.ct)
    warnings = compare([visit, visit], aligned=True).warnings
    assert {(str(w), w.option) for w in warnings if isinstance(w, Note)} == {
        (f"later: {note}", name) for name, note in notes.items()}  # fmt: skip


def test_a_region_is_a_sphere_of_3_cm_or_a_cylinder_of_1_by_2_cm():
    grid = Volume(np.ones((60, 60, 60)), (1.0, 1.0, 1.0), unit="SUVbw")
    volume = {n: Reference(n, (30, 30, 30)).segment().mask.array.sum() / 1000 for n in ("liver", "blood")}
    assert volume["liver"] == pytest.approx(14.1, rel=0.02) and volume["blood"] == pytest.approx(1.57, rel=0.1)
    assert Reference("liver", (30, 30, 30)).measure(grid) == {"mean": 1, "sd": 0, "max": 1}
    assert Reference("liver", (5, 30, 30)).measure(grid) is None


def rows(**peaks: tuple[str, float]) -> list[dict]:
    """Rows of lesions by number: (status, SUVpeak)."""
    return [
        {"lesion": int(n[1:]), "status": status, "suvpeak": peak, "suvmax": 1.2 * peak, "tlg": 10 * peak}
        for n, (status, peak) in peaks.items()
    ]


FIRST = rows(_1=("baseline", 10.0), _2=("baseline", 5.0))


def judged(*after: dict, sul: tuple[float, float] = (0.7, 0.7), regions=(REGIONS, REGIONS)):
    return percist(2, FIRST, after, regions, sul)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (("paired", 6.0), ("paired", 5.0), "PMR"),
        (("paired", 8.0), ("paired", 5.0), "SMD"),
        (("paired", 13.5), ("paired", 5.0), "PMD"),
        (("vanished", 1.0), ("vanished", 1.2), "CMR"),
        (("vanished", 1.0), ("vanished", 3.0), "PMR"),  # its place still stands out
        (("paired", 6.0), ("paired", 6.8), "SMD"),  # another lesion has risen
    ],
)
def test_percist(one, two, expected):
    assert judged(*rows(_1=one, _2=two)).percist == expected


def test_the_hottest_lesion_need_not_be_the_same():
    found = judged(*rows(_1=("vanished", 1.0), _2=("paired", 6.0)))
    assert found.percist == "PMR" and found.hottest_percent == pytest.approx(-40)


def test_a_new_lesion_or_much_more_tlg_is_progression():
    assert judged(*rows(_1=("paired", 5.0), _2=("paired", 3.0), _3=("new", 3.0))).percist == "PMD"
    grown = rows(_1=("paired", 10.0), _2=("paired", 5.0))
    grown[0]["tlg"] = 300.0
    assert judged(*grown).percist == "PMD"


@pytest.mark.parametrize("cut", [0, 1])
def test_tlg_of_a_lesion_that_a_pet_holds_in_part_is_no_progression(cut):
    visits = FIRST, rows(_1=("paired", 10.0), _2=("paired", 5.0))
    visits[1][0]["tlg"] = 300.0
    visits = [[row | ({"cut": "yes"} if n == cut and row["lesion"] == 1 else {}) for row in visits[n]] for n in (0, 1)]
    found = percist(2, *visits, (REGIONS, REGIONS), (0.7, 0.7))
    assert found.percist == "SMD" and found.why == ("TLG is without lesion 1, of which a PET holds a part only.",)
    visits[1][1]["tlg"] = 100.0  # of a whole one it is
    assert percist(2, *visits, (REGIONS, REGIONS), (0.7, 0.7)).percist == "PMD"


def test_a_vanished_lesion_that_was_held_in_part_still_counts_in_the_tlg_before():
    before = [row | {"cut": "yes" if row["lesion"] == 1 else ""} for row in FIRST]
    after = rows(_1=("vanished", 1.0), _2=("paired", 6.0))
    after[1]["tlg"] = 100.0  # twice its own, less than both had
    assert percist(2, before, after, (REGIONS, REGIONS), (0.7, 0.7)).percist == "PMR"


def course(*visits: dict[str, tuple[str, float]], tracer: str = "fdg"):
    """Responses and scores of visits, each with (status, SUVpeak) by lesion; ``tracer`` is that of the last one."""
    table = [row | {"visit": n, "image": "pet"} for n, found in enumerate(visits, 1) for row in rows(**found)]
    tracers = [*[""] * (len(visits) - 1), tracer]
    return classes(table, [REGIONS] * len(visits), [0.7] * len(visits), tracers)


def test_of_another_tracer_than_fdg_there_is_no_class():
    visits = {"_1": ("baseline", 10.0)}, {"_1": ("paired", 5.0)}
    (known,), scores = course(*visits)
    assert known.percist == "PMR" and None not in scores
    (other,), scores = course(*visits, tracer="ga-68 dotatate")
    assert (other.percist, other.hottest_percent, scores) == ("", None, (None, None))
    assert other.why == ("PERCIST and Deauville are of FDG, not of GA-68 DOTATATE.",)


@pytest.mark.parametrize("first", [("baseline", 10.0), ("not yet", 1.0)])
def test_a_lesion_that_was_new_at_an_earlier_visit_is_still_progression(first):
    """Also where the first study has no lesion."""
    old = {} if first[0] == "not yet" else {"_1": first}
    later = {"_1": ("paired", 4.0)} if old else {}
    begun, seen, gone = ({"_2": found} for found in (("new", 3.0), ("paired", 3.5), ("vanished", 1.0)))
    responses, scores = course(old | {"_2": ("not yet", 1.0)}, later | begun, later | seen, later | gone)
    assert [r.percist for r in responses] == ["PMD", "PMD", "PMR" if old else ""]
    assert scores[1:3] == (5, 5) and scores[3] < 5
    assert not old or "New: lesion 2." in responses[1].why


def test_of_a_lesion_outside_the_later_pet_only_progression_is_told():
    begun = {"_1": ("baseline", 10.0), "_2": ("baseline", 5.0)}
    (found,), scores = course(begun, {"_2": ("vanished", 1.0)})
    assert (found.percist, found.hottest_percent, scores[1]) == ("", None, None)
    assert found.why == ("The place of lesion 1 lies outside this PET, so that only progression can be told.",)
    (found,), scores = course(begun, {})
    assert (found.percist, scores[1]) == ("", None) and "lesions 1, 2 lies" in found.why[-1]
    (found,), scores = course(begun, {"_2": ("paired", 14.0)})
    assert (found.percist, found.hottest_percent, scores[1]) == ("PMD", None, 5)


@pytest.mark.parametrize("second", [("paired", 5.0), ("vanished", 1.0)])
def test_what_a_later_study_shows_does_not_change_the_response_of_an_earlier_one(second):
    begun, ended = {"_1": ("baseline", 10.0)}, {"_1": ("paired", 5.0)}
    alone = course(begun, {"_1": second})
    later = course(begun | {"_2": ("not yet", 6.0)}, {"_1": second, "_2": ("not yet", 8.0)}, ended | {"_2": ("new", 9)})
    assert alone[0][0] == later[0][0] and alone[1] == later[1][:2]


def test_a_change_below_08_sul_is_stable():
    faint = rows(_1=("baseline", 2.6))
    assert percist(2, faint, rows(_1=("paired", 1.75)), (REGIONS, REGIONS), (0.7, 0.7)).percist == "SMD"
    assert percist(2, faint, rows(_1=("paired", 1.75)), (REGIONS, REGIONS), (0.7, 0.7)).measurable is False


def test_what_is_missing_or_not_comparable_is_told():
    same = rows(_1=("paired", 10.0), _2=("paired", 5.0))
    assert judged(*same, sul=(0.7, 1.0)).unit == "SUVbw"
    assert "cannot be told" in " ".join(judged(*same, regions=({}, {})).why)
    other = REGIONS | {"liver": LIVER | {"mean": 3.0}}
    assert "not comparable" in " ".join(judged(*same, regions=(REGIONS, other)).why)
    assert judged(*same).why == ()


@pytest.mark.parametrize(
    ("row", "score"),
    [
        (("vanished", 1.0), 1),
        (("paired", 1.4), 2),
        (("paired", 2.0), 3),
        (("paired", 3.0), 4),
        (("paired", 5.0), 5),
        (("new", 1.9), 5),
    ],
)
def test_deauville(row, score):
    assert deauville(FIRST[:1], rows(**{"_3" if row[0] == "new" else "_1": row}), REGIONS) == score


def test_without_references_there_is_no_score():
    assert deauville(FIRST[:1], rows(_1=("paired", 3.0)), {"liver": LIVER}) is None
