"""Lesions over time: which is which, what changed by how much, and whether that is more than repeated scans differ."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from dicom_factory import Scan, pet_slices, suv_pattern, write_series
from geometry import radius
from tiny import table
from visits import Pair, two_visits

from PETSuperResLib.cli import run
from PETSuperResLib.commands.followup import _changes
from PETSuperResLib.errors import Cancelled, GeometryError, InputError
from PETSuperResLib.followup import common_errors, figures
from PETSuperResLib.followup import compare as module
from PETSuperResLib.followup.body import Body
from PETSuperResLib.followup.change import Change, change
from PETSuperResLib.followup.compare import FollowUp, compare
from PETSuperResLib.followup.pairing import pair
from PETSuperResLib.followup.registration import register
from PETSuperResLib.followup.visit import Visit, facts, recovered_by_lesion
from PETSuperResLib.lesions.segments import Segment, segments_of
from PETSuperResLib.suv.body import lean_body_mass_kg
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.job import Tools
from PETSuperResLib.worker.jobs import JOBS
from PETSuperResLib.worker.raw_arrays import write_raw

GRID = Volume(np.zeros((30, 40, 40)), (4.0, 4.0, 4.0), (-78.0, -78.0, -58.0))
UNKNOWN = Body()
Ball = tuple[tuple[float, float, float], float, float]  # centre in mm, radius in mm, SUV


def study(*balls: Ball) -> tuple[Volume, Volume]:
    """A PET of background 1 with hot balls, and their label map."""
    pet, labels = np.ones(GRID.shape, np.float32), np.zeros(GRID.shape, np.float32)
    for label, (centre, size, suv) in enumerate(balls, 1):
        inside = radius(GRID, centre) <= size
        pet[inside], labels[inside] = suv, label
    return GRID.with_array(pet, "SUVbw"), GRID.with_array(labels, "label")


def visit(*balls: Ball, name: str = "", body: Body = UNKNOWN) -> Visit:
    pet, labels = study(*balls)
    return Visit(name, {"pet": pet}, tuple(segments_of(labels)) if balls else (), body=body)


A, B, C = ((-40, 0, 0), 14, 10.0), ((30, 10, 0), 12, 8.0), ((0, -40, 30), 10, 6.0)


def lesions(*visits: Visit) -> list[list[int]]:
    """The lesion of every segment, by visit."""
    links = pair([v.segments for v in visits])
    return [[link.lesion for link in links if link.visit == n] for n in range(1, len(visits) + 1)]


def hows(*visits: Visit) -> list[str]:
    return [link.how for link in pair([v.segments for v in visits]) if link.visit > 1]


# -- pairing --------------------------------------------------------------------------------------------
def test_lesions_are_paired_whatever_their_labels():
    assert lesions(visit(A, B, C), visit(C, A, B)) == [[1, 2, 3], [3, 1, 2]]


def test_a_moved_lesion_is_paired_and_a_far_one_is_new():
    near, far = ((-40, 20, 0), 6, 10.0), ((-40, 50, 0), 6, 10.0)
    small = ((-40, 0, 0), 6, 10.0)
    assert lesions(visit(small), visit(near)) == [[1], [1]]
    assert lesions(visit(small), visit(far)) == [[1], [2]] and hows(visit(small), visit(far)) == ["new"]


def test_overlap_decides_before_distance():
    """One lesion vanishes and another comes up beside its neighbour: the neighbour keeps its partner."""
    kept, gone, new = ((0, 0, 0), 6, 8.0), ((0, 20, 0), 6, 8.0), ((0, -20, 0), 6, 8.0)
    assert lesions(visit(kept, gone), visit(new, kept)) == [[1, 2], [3, 1]]


def test_a_lesion_that_splits_or_merges_stays_one():
    whole, parts = ((0, 0, 0), 22, 8.0), (((-12, 0, 0), 8, 8.0), ((12, 0, 0), 8, 8.0))
    assert lesions(visit(whole), visit(*parts)) == [[1], [1, 1]]
    assert sorted(hows(visit(whole), visit(*parts))) == ["paired", "split"]
    assert lesions(visit(*parts), visit(whole)) == [[1, 1], [1]] and hows(visit(*parts), visit(whole)) == ["merged"]


def test_a_lesion_that_comes_back_is_the_same_one():
    assert lesions(visit(A, B), visit(B), visit(B, A)) == [[1, 2], [2], [2, 1]]


# -- change ---------------------------------------------------------------------------------------------
def changed(measure: str, before: float, after: float) -> Change | None:
    return change(measure, {measure: before}, {measure: after})


def test_the_limits_of_an_suv_are_those_of_qibas_profile():
    at_12_percent = changed("suvmax", 10, 10)
    assert round(at_12_percent.low) == -28 and round(at_12_percent.high) == 39
    assert not changed("suvmax", 10, 13).real and changed("suvmax", 10, 14).real
    assert not changed("suvmax", 10, 7.5).real and changed("suvmax", 10, 7).real
    assert changed("suvmax", 0, 5) is None


def test_the_interval_holds_the_true_change_of_repeated_scans_in_95_percent():
    random = np.random.default_rng(0)
    before, after = 5 * np.exp(0.12 * random.standard_normal((2, 4000)))
    found = [changed("suvpeak", b, 0.7 * a) for b, a in zip(before, after, strict=True)]
    assert 0.94 < np.mean([f.low < -30 < f.high for f in found]) < 0.96


def test_what_was_recovered_changes_by_the_intervals_of_both_visits():
    """Intervals of 90 % whose ends are 5 and 12 % off: the change's holds the true one in 90 %, too."""
    random = np.random.default_rng(0)
    down, up = 0.05 / 1.645, 0.12 / 1.645
    found = []
    for truths in 5 * np.array([[1.0, 0.7]] * 4000):
        error = random.standard_normal(2)
        values = truths * np.exp(np.where(error > 0, down, up) * -error)  # of a low value the truth lies far above
        ends = [
            {"suvmean_recovered": v, "suvmean_low": v * np.exp(-0.05), "suvmean_high": v * np.exp(0.12)} for v in values
        ]
        found.append(change("suvmean_recovered", *ends))
    assert 0.88 < np.mean([f.low < -30 < f.high for f in found]) < 0.92
    sure, unsure = found[0], change("suvmean_recovered", {"suvmean_recovered": 5.0}, {"suvmean_recovered": 3.0})
    assert sure.real and unsure.percent == pytest.approx(-40) and unsure.real is None


IMAGE = {
    "measurement": "image",
    "sampler": {"name": "standard"},
    "prior": {"sha256": "ab"},
    "resolution": {"fwhm_mm": [6.0, 5.0], "psf_modelled": True, "penalised": False},
    "noise": {"percent_at_suv_1": 10.0},
}
SINOGRAM = {
    **IMAGE,
    "measurement": "sinogram",
    "scanner": {"fwhm_transaxial_mm": 8.0, "fwhm_axial_mm": 0.0},
    "trues_per_slice": 70000,
}
OTHERS = {
    "another FWHM": {"resolution": IMAGE["resolution"] | {"fwhm_mm": [6.0, 5.6]}},
    "another reconstruction": {"resolution": IMAGE["resolution"] | {"psf_modelled": False}},
    "another noise": {"noise": {"percent_at_suv_1": 16.0}},
    "another quality": {"sampler": {"name": "draft"}},
    "another prior": {"prior": {"sha256": "cd"}},
    "no report of it": {"noise": None},
}


@pytest.fixture
def shares(monkeypatch):
    found = {"image": {"suvpeak": 0.4, "suvmean": 1.1}, "sinogram": {"suvpeak": 0.5, "suvmean": 1.5}}
    monkeypatch.setattr(common_errors, "calibration", lambda: common_errors.ChangeCalibration(found, {}))
    return found


@pytest.mark.parametrize("name", OTHERS)
def test_errors_cancel_in_the_change_between_visits_that_were_measured_alike(name, shares):
    near = IMAGE | {"resolution": IMAGE["resolution"] | {"fwhm_mm": [6.5, 5.0]}, "noise": {"percent_at_suv_1": 14.0}}
    assert common_errors.shares_of(IMAGE, near) == shares["image"]
    assert common_errors.shares_of(SINOGRAM, SINOGRAM | {"trues_per_slice": 40000}) == shares["sinogram"]
    other = common_errors.shares_of(IMAGE, IMAGE | OTHERS[name])
    assert other["suvpeak"] == 1 and other["suvmean"] == 1.1 and other["tlg"] == 1
    assert common_errors.shares_of(SINOGRAM, SINOGRAM | {"trues_per_slice": 20000})["suvpeak"] == 1
    assert common_errors.shares_of(IMAGE, SINOGRAM)["suvmean"] == 1.5
    assert set(common_errors.shares_of({}, {}).values()) == {1.0}
    assert (common_errors.differing(IMAGE, IMAGE | OTHERS[name]) is None) == (name == "no report of it")
    assert common_errors.differing(IMAGE, SINOGRAM) == ["measurement (image or sinogram)"]
    assert common_errors.differing(IMAGE, IMAGE | OTHERS["another noise"] | OTHERS["another quality"]) == [
        "quality", "noise"]  # fmt: skip


def test_contours_that_differ_much_in_volume_are_told():
    larger = (A[0], 19, A[2])
    told = compare([visit(A, B, name="before"), visit(larger, B, name="after")]).warnings
    note = next(warning for warning in told if "drawn unlike" in warning)
    assert "of lesion 1 (10.2 mL in before, 27.6 mL in after): " in note
    assert not any("drawn unlike" in warning for warning in compare([visit(A), visit(A)]).warnings)


def test_the_interval_of_a_change_reaches_the_share_of_those_of_both_visits(shares):
    def found(*reports):
        visits = [
            replace(visit(A, name=str(n)), report=report, images={"pet": visit(A).pet, "sr": visit(A).pet},
                    recovered={"Lesion 1": {"suvpeak_recovered": 5.0, "suvpeak_low": 4.0, "suvpeak_high": 6.0}})
            for n, report in enumerate(reports)
        ]  # fmt: skip
        row = next(r for r in compare(visits).rows if r["visit"] == 2 and r["image"] == "sr")
        return [math.log1p(row[f"suvpeak_recovered_change_{end}"] / 100) for end in ("low", "high")]

    whole, part = found({}, {}), found(IMAGE, IMAGE)
    assert part == pytest.approx([0.4 * end for end in whole]) and whole[0] < -0.2 and whole[1] > 0.2


def test_the_shell_shows_the_recovered_suvpeak_with_its_change(shares):
    ends = {"suvpeak_low": 4.5, "suvpeak_high": 5.5}
    visits = [
        replace(visit(A, name=name), report=IMAGE, images={"pet": visit(A).pet, "sr": visit(A).pet},
                recovered={"Lesion 1": {"suvpeak_recovered": 5.0 * of, **{end: of * suv for end, suv in ends.items()}}})
        for name, of in (("before", 1.0), ("after", 0.9))
    ]  # fmt: skip
    text = _changes(compare(visits))
    assert "SUVpeak recovered" in text.splitlines()[0] and "4.50 (-10 %*, -15 to -5)" in text
    assert "SULpeak" not in text
    text = _changes(compare([replace(one, body=Body(80, 175, "F")) for one in visits]))
    assert (
        "SULpeak" in text.splitlines()[0] and "SULpeak is by lean body mass, SUVpeak recovered by body weight" in text
    )


def test_the_bundled_calibration_of_changes_is_one_and_no_other_file_is(tmp_path):
    bundled = common_errors.read_calibration()
    assert set(bundled.shares) == {"image", "sinogram"} and bundled.made["level"] == 0.9
    assert all(set(of) == set(common_errors.MEASURES) and min(of.values()) > 0.1 for of in bundled.shares.values())
    for wrong in ("{}", "[]", "nonsense", '{"format": "PETSuperRes change calibration 1", "shares": {"image": 3}}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(InputError, match="is not a calibration of changes"):
            common_errors.read_calibration(tmp_path / "wrong.json")


def test_values_changes_and_the_places_of_lesions_that_are_not_there():
    first, second = visit(A, B, name="before"), visit((A[0], A[1], 5.0), C, name="after")
    rows = {(r["lesion"], r["visit"]): r for r in compare([first, second]).rows}
    assert [rows[key]["status"] for key in sorted(rows)] == [
        "baseline", "paired", "baseline", "vanished", "not yet", "new"]  # fmt: skip
    assert rows[1, 2]["suvmax_change_percent"] == pytest.approx(-50) and rows[1, 2]["suvmax_change_real"] == "yes"
    assert rows[2, 2]["suvmax"] == rows[3, 1]["suvmax"] == 1.0  # the background at their places
    assert rows[2, 2]["mtv_ml"] == 0 and rows[2, 2]["labels"] == ""


def test_a_split_lesion_sums_volumes_and_keeps_the_highest_value():
    parts = (((-12, 0, 0), 8, 8.0), ((12, 0, 0), 8, 6.0))
    rows = compare([visit(((0, 0, 0), 22, 8.0)), visit(*parts)]).rows
    alone = compare([visit(parts[0]), visit(parts[0])]).rows[0]
    assert rows[1]["status"] == "split" and rows[1]["labels"] == "1 2" and rows[1]["suvmax"] == 8
    assert rows[1]["mtv_ml"] == pytest.approx(2 * alone["mtv_ml"])
    assert rows[1]["tlg"] == pytest.approx(alone["tlg"] * 14 / 8)


def test_sul_is_by_lean_body_mass_and_missing_where_it_is_not_known():
    known = compare([visit(A, body=Body(80, 175, "M"))] * 2).rows[0]
    assert known["sulpeak"] == pytest.approx(known["suvpeak"] * 9270 / (6680 + 216 * 80 / 1.75**2))
    assert compare([visit(A, body=Body(80, 175))] * 2).rows[0]["sulpeak"] is None


LEAN = {weight: lean_body_mass_kg(weight, 175.0, "M", "LBMJANMA") for weight in (80.0, 100.0)}


def body_of(stated: Body = UNKNOWN, **header: float | str | dict) -> tuple[Body, list[str]]:
    """By a PET whose header has 80 kg, 1.75 m and M, unless told otherwise."""
    return Body.of(replace(GRID, metadata={"weight_kg": 80.0, "height_m": 1.75, "sex": "M"} | header), stated)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, ""),
        ({"sex": "m"}, ""),
        ({"height_m": 175.0}, "Height 175 read as cm"),
        ({"weight_kg": 80000.0}, "Weight 80000 read as g"),
    ],
)
def test_sul_is_by_the_header_as_the_suvs_read_it(header, words):
    body, notes = body_of(**header)
    assert body.sul_factor == pytest.approx(LEAN[80.0] / 80)
    assert len(notes) == bool(words) and words in "".join(notes)


@pytest.mark.parametrize(
    ("header", "stated"),
    [
        ({"weight_kg": 0.0}, Body(weight_kg=80.0)),
        ({"weight_kg": 1.75, "height_m": 80.0}, Body(80.0, 175.0)),
        ({"height_m": 5.0}, Body(height_cm=175.0)),
        ({"sex": "X"}, Body(sex="M")),
    ],
)
def test_without_a_usable_body_in_the_header_there_is_no_sul_which_is_told(header, stated):
    body, notes = body_of(**header)
    assert body.sul_factor is None and any("Without it SUL is left out." in note for note in notes)
    body, notes = body_of(stated, **header)
    assert body.sul_factor == pytest.approx(LEAN[80.0] / 80) and notes == []


def test_sul_of_a_stated_weight_is_by_the_weight_that_made_the_suvs(tmp_path):
    """SUL is concentration x lean body mass / dose, whatever weight the SUVs were made with."""
    stated = Body(80.0, 175.0, "M")
    found = Visit.read(
        "v", write_series(pet_slices(Scan(weight_kg=100.0), suv_pattern()), tmp_path / "pet"), body=stated
    )
    assert found.body.sul_factor == pytest.approx(LEAN[80.0] / 100)
    assert any("The SUVs are by a body weight of 100 kg, not by the stated 80 kg" in note for note in found.notes)
    assert facts(found)["suv_weight_kg"] == 100
    body, notes = body_of(stated, weight_kg=80.3)
    assert body.sul_factor == pytest.approx(LEAN[80.0] / 80.3) and notes == []
    used = {"used": {"weight": {"value": 100.0}}}  # stated when the series was converted
    assert body_of(suv=used)[0].sul_factor == pytest.approx(LEAN[100.0] / 100)


def test_what_was_recovered_is_followed_too():
    both = [
        replace(
            v,
            images=v.images | {"sr": v.pet},
            recovered={"Lesion 1": {"suvmean_recovered": suv, "suvmean_low": 0.9 * suv, "suvmean_high": 1.2 * suv}},
        )
        for v, suv in ((visit(A), 12.0), (visit(A), 6.0))
    ]
    rows = compare(both).rows
    assert [row.get("suvmean_recovered") for row in rows] == [None, 12.0, None, 6.0]
    assert rows[3]["suvmean_high"] == pytest.approx(7.2)
    assert rows[3]["suvmean_recovered_change_percent"] == pytest.approx(-50)
    assert rows[3]["suvmean_recovered_change_real"] == "yes" and rows[2]["suvmean_change_real"] == "no"


def test_nothing_recovered_is_told_of_lesions_that_share_a_name():
    both = visit(A, B)
    same = tuple(replace(segment, name="node") for segment in both.segments)
    known = replace(
        both, images=both.images | {"sr": both.pet}, recovered={"node": {"suvmean_recovered": 6.0}}, segments=same
    )
    rows = compare([visit(A, B), known]).rows
    assert len(rows) == 6 and not any("suvmean_recovered" in row for row in rows)


@pytest.mark.parametrize("image", ["pet", "sr"])
@pytest.mark.parametrize("number", [0, 1])
def test_of_a_lesion_that_an_image_holds_in_part_no_change_of_the_whole_is_told(image, number):
    """The images end in the middle of lesion A at one visit; nothing has changed."""
    known = {f"Lesion {n}": {"suvpeak_recovered": 6.0, "suvpeak_low": 5.5, "suvpeak_high": 6.5} for n in (1, 2)}
    visits = [visit(A, C, name=name) for name in ("before", "after")]
    visits = [replace(one, images=one.images | {"sr": one.pet}, recovered=known) for one in visits]
    whole = compare(visits, aligned=True)
    cut = visits[number].images | {image: visits[number].pet.slices(15, 30)}
    visits[number] = replace(visits[number], images=cut)
    done = compare(visits, aligned=True)
    assert not any("holds a part only" in note for note in whole.warnings)
    (told,) = (note for note in done.warnings if "holds a part only" in note)
    called = {"pet": "PET", "sr": "result"}[image], visits[number].name
    assert told.startswith("The {} of {} holds a part only: 5".format(*called)) and "lesion 2" not in told
    changes = {
        (row["image"], row["lesion"]): {name.removesuffix("_change_percent") for name in row if "_percent" in name}
        for row in done.rows
        if row["visit"] == 2
    }
    flagged = {(row["image"], row["lesion"], row["visit"]) for row in done.rows if row["cut"]}
    assert flagged == {(image, 1, number + 1)} and not any(row["cut"] for row in whole.rows)
    kept = {"suvmax", "suvpeak"}
    for (of, lesion), found in changes.items():
        every = kept | {"suvmean", "mtv_ml", "tlg"} | ({"suvpeak_recovered"} if of == "sr" else set())
        assert found == (kept if (of, lesion) == (image, 1) else every)


def test_an_unchanged_lesion_that_the_first_pet_holds_in_part_is_no_progression():
    before, after = visit(A), visit(A)
    done = compare([replace(before, images={"pet": before.pet.slices(15, 30)}), after], aligned=True)
    (found,) = done.responses
    assert found.percist == "SMD" and "TLG is without lesion 1, of which a PET holds a part only." in found.why


def test_a_lesion_that_was_not_drawn_again_is_told():
    undrawn = Visit("after", visit(A, B).images, visit(A).segments)
    later = replace(undrawn, name="later")
    done = compare([visit(A, B, name="before"), undrawn, later], aligned=True)
    told = [note.split(",")[0] for note in done.warnings]
    assert told == ["Lesion 2 (Lesion 2) is not drawn in after", "Lesion 2 (Lesion 2) is not drawn in later"]
    assert {(row["lesion"], row["visit"]) for row in done.rows if row["still_hot"]} == {(2, 2), (2, 3)}
    lines = [line for line in _changes(done).splitlines() if "vanished" in line]
    assert len(lines) == 2 and all("vanished, place still hot" in line for line in lines)
    gone = compare([visit(A, B), visit(A, name="after")], aligned=True)
    assert "vanished" in _changes(gone) and not any(row["still_hot"] for row in gone.rows)


def test_one_study_or_none_with_a_lesion_is_refused():
    with pytest.raises(InputError, match="two or more"):
        compare([visit(A)])
    with pytest.raises(InputError, match="has a lesion"):
        compare([visit(), visit()])


# -- the command ----------------------------------------------------------------------------------------
@pytest.fixture
def words(tmp_path) -> list[str]:
    """The command for two studies: lesion A falls, B vanishes, C is new."""
    for name, balls in {"one": (A, B), "two": ((A[0], A[1], 5.0), C)}.items():
        pet, labels = study(*balls)
        pet.write(tmp_path / f"{name}.nii.gz")
        labels.write(tmp_path / f"{name}_seg.nii.gz")
    pets, masks = ([str(tmp_path / f"{n}{end}.nii.gz") for n in ("one", "two")] for end in ("", "_seg"))
    return ["compare", "--pet", *pets, "--segmentation", *masks, "--out", str(tmp_path / "out")]


def test_the_command_writes_and_tells_the_table(words, tmp_path, capsys):
    assert run([*words, "--name", "before", "after"]) == 0
    text = capsys.readouterr().out
    assert "(-50 %*)" in text and "vanished" in text and "new" in text and "SULpeak" not in text
    rows = table(tmp_path / "out" / "followup.csv")
    assert [(r["lesion"], r["visit_name"], r["status"]) for r in rows if r["visit"] == "2"] == [
        ("1", "after", "paired"), ("2", "after", "vanished"), ("3", "after", "new")]  # fmt: skip
    assert run([*words, "--weight", "80", "--height", "175", "--sex", "F"]) == 0
    assert "SULpeak" in capsys.readouterr().out


def test_notes_name_the_option_and_numbers_their_unit(words, capsys):
    assert run([*words, "--liver", "900,0,0", "--threshold", "0.41"]) == 0
    said = capsys.readouterr().out
    assert "the liver reference lies outside the PET and is left out; give another centre (--liver)." in said
    assert "if a share of SUVmax was meant, give 41%." in said
    for given, told in (
        ("1.75", "1.75 cm is not within 30 to 250 cm."),
        ("175,5", "'175,5' is no number: write 175.5"),
    ):
        assert run([*words, "--height", given]) == 2
        assert told in capsys.readouterr().err
    assert run([*words, "--distance", "-1"]) == 2
    assert "-1 mm is not within 0 mm or more" in capsys.readouterr().err


def test_edited_pairs_are_taken_and_kept(words, tmp_path, capsys):
    assert run(words) == 0
    pairs = tmp_path / "out" / "pairs.csv"
    edited = pairs.read_text(encoding="utf-8").replace("Lesion 2,3,new", "Lesion 2,2,new")
    pairs.write_text(edited, encoding="utf-8")
    assert run(words) == 2  # it would be lost
    assert "no earlier result" in capsys.readouterr().err
    assert run([*words, "--pairs", str(pairs)]) == 0
    assert pairs.read_text(encoding="utf-8") == edited
    rows = table(tmp_path / "out" / "followup.csv")
    assert [(r["lesion"], r["status"]) for r in rows if r["visit"] == "2"] == [("1", "paired"), ("2", "paired")]
    pairs.write_text(edited.replace("1,2,Lesion 2,2", "1,2,Lesion 2,x"), encoding="utf-8")
    assert run([*words, "--pairs", str(pairs)]) == 2
    assert "--pairs" in capsys.readouterr().err


def test_a_folder_of_another_command_and_an_uneven_number_of_studies_are_refused(words, tmp_path, capsys):
    assert run([*words, "--name", "before"]) == 2
    assert "Give one --name for each PET: 2, not 1." in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text('{"outputs_sha256": {}}', encoding="utf-8")
    assert run(words) == 2
    assert "results of another command" in capsys.readouterr().err


def test_a_follow_up_that_is_replaced_is_told_and_another_run_s_is_not_replaced(words, tmp_path, capsys, monkeypatch):
    for place in ("", ", in place of an earlier result"):
        assert run(words) == 0
        assert capsys.readouterr().out.endswith(f" to {tmp_path / 'out'}{place}.\n")
    original, began = module.compare, []

    def slower(*given, **more):
        if not began:
            began.append(0)
            began.append(run([*words, "--name", "other", "later"]))
        return original(*given, **more)

    monkeypatch.setattr(module, "compare", slower)
    assert run(words) == 2 and began == [0, 0]
    assert "Another run has written its result to" in capsys.readouterr().err
    assert {row["visit_name"] for row in table(tmp_path / "out" / "followup.csv")} == {"other", "later"}


def test_a_visit_without_lesions_has_them_all_vanished(words, tmp_path):
    GRID.with_array(np.zeros(GRID.shape), "label").write(tmp_path / "two_seg.nii.gz")
    assert run(words) == 0
    rows = table(tmp_path / "out" / "followup.csv")
    assert [r["status"] for r in rows if r["visit"] == "2"] == ["vanished", "vanished"]


def test_in_the_plot_a_star_marks_the_changes_that_are_larger_than_their_uncertainty(tmp_path, monkeypatch):
    done = compare([visit(A, B, name="before"), visit((*A[:2], 2 * A[2]), B, name="after")])
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    figures.time_figure(done.rows, tmp_path / "plot.png")
    stars = {axis.get_title(): [text.xy for text in axis.texts] for axis in drawn[0].axes}
    (real,) = (row for row in done.rows if row["visit"] == 2 and row["suvpeak_change_real"] == "yes")
    assert stars["SUVpeak (g/mL)"] == [(2, real["suvpeak"])] and stars["MTV (mL)"] == []
    figures.time_figure(compare([visit(A, B, name="before"), visit(A, B, name="after")]).rows, tmp_path / "plot.png")
    legends = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in drawn]
    assert ["changed by more than\nits uncertainty" in legend for legend in legends] == [True, False]


# -- registration ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def moved() -> tuple[Pair, FollowUp]:
    """Two visits, the second one turned, shifted and deformed, and their comparison."""
    visits = two_visits(1, mm=6.0)
    return visits, compare([visits.first, visits.second])


def test_lesions_of_a_moved_patient_are_paired_and_new_and_vanished_ones_found(moved):
    visits, done = moved
    first, second = ({link.label: link.lesion for link in done.links if link.visit == n} for n in (1, 2))
    assert {a: b for a, n in first.items() for b, m in second.items() if n == m} == visits.partner
    statuses = [row["status"] for row in done.rows if row["visit"] == 2]
    assert statuses == ["paired", "paired", "paired", "vanished", "new"]


def test_without_registration_they_are_not(moved):
    visits, _ = moved
    links = pair([visits.first.segments, visits.second.segments])
    assert {
        (a.label, b.label) for a in links for b in links if (a.visit, b.visit) == (1, 2) and a.lesion == b.lesion
    } != {*visits.partner.items()}


def test_the_place_of_a_vanished_lesion_lies_where_it_was(moved):
    visits, done = moved
    place = next(f for f in done.found if f.status == "vanished").segments[0]
    gone = next(s for s in visits.first.segments if s.label not in visits.partner)
    back = np.array(visits.to_first.TransformPoint(place.centre()))
    assert np.linalg.norm(back - gone.centre()) < 12
    assert place.mask.array.sum() * place.mask.voxel_ml == pytest.approx(
        gone.mask.array.sum() * gone.mask.voxel_ml, rel=0.25
    )


def test_the_way_back_undoes_the_way_there(moved):
    found = moved[1].registrations[2]
    for point in np.random.default_rng(0).uniform(-80, 80, (20, 3)).tolist():
        assert (
            np.linalg.norm(np.subtract(found.to_first.TransformPoint(found.to_later.TransformPoint(point)), point))
            < 0.5
        )


def test_one_pair_of_cts_has_one_registration(moved):
    """ITK draws the voxels that it compares by the clock, unless a seed is given."""
    cts = []
    for ct in (moved[0].first.ct, moved[0].second.ct):
        middle = ct.shape[0] // 2
        cts.append(ct.crop((0, 0, middle - 8), (ct.shape[2], ct.shape[1], middle + 8)))
    once, again = (register(*cts).to_later for _ in range(2))
    for point in np.random.default_rng(0).uniform(-80, 80, (5, 3)).tolist():
        np.testing.assert_allclose(once.TransformPoint(point), again.TransformPoint(point), atol=0.01)


@pytest.mark.slow
def test_another_patients_ct_is_refused(moved):
    visits, _ = moved
    other = replace(visits.second, ct=two_visits(2, moved=False).first.ct, name="march")
    with pytest.raises(GeometryError, match="CT of march cannot be registered"):
        compare([visits.first, other])


def test_a_cancel_stops_the_registration(moved):
    def cancel(event):
        if event.fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        compare([moved[0].first, moved[0].second], progress=cancel)


def test_a_ct_at_one_visit_only_is_refused_and_none_is_told(moved):
    visits, _ = moved
    with pytest.raises(InputError, match="give one for each"):
        compare([visits.first, replace(visits.second, ct=None)])
    assert "taken as aligned" in compare([visit(A), visit(A)]).warnings[0]


def test_masks_on_different_grids_are_related_by_where_they_lie():
    fine = Volume(np.ones((20, 20, 20)), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5))
    coarse = Volume(np.ones((5, 5, 5)), (4.0, 4.0, 4.0), (12.0, 2.0, 2.0))
    links = pair([[Segment(1, "", fine)], [Segment(1, "", coarse)]])
    assert links[1].overlap == pytest.approx(0.5, abs=0.03) and not math.isnan(links[1].gap_mm)


# -- the worker's job -----------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_worker_s_job_compares_registers_once_and_takes_corrected_pairs(moved, tmp_path, monkeypatch):
    visits, done = moved
    registered = []
    monkeypatch.setattr(module, "register", lambda *_: registered.append(1) or done.registrations[2])
    both = [visits.first, visits.second]
    masks = [s for v in both for s in v.segments]
    studies = [{"name": v.name, "masks": [s.name for s in v.segments], "about": {"weight_kg": 80.0}} for v in both]
    studies[1] |= {"report": {}}
    files = {
        "pets": [str(write_raw(v.pet, tmp_path / f"pet{n}.nrrd")) for n, v in enumerate(both)],
        "cts": [str(write_raw(v.ct, tmp_path / f"ct{n}.nrrd")) for n, v in enumerate(both)],
        "results": [str(write_raw(visits.second.pet, tmp_path / "sr.nrrd"))],
        "masks": [str(write_raw(s.mask, tmp_path / f"mask{n}.nrrd")) for n, s in enumerate(masks)],
        "out": str(tmp_path / "out"),
    }
    tools = Tools(None, lambda event: None, lambda file: None)
    written, report = JOBS["followup"].from_message({"studies": studies, **files}).run(tools)
    assert [link["lesion"] for link in report["links"]] == [link.lesion for link in done.links]
    assert [r["suvmax"] for r in report["rows"] if r["image"] == "pet"] == [r["suvmax"] for r in done.rows]
    assert {r["image"] for r in report["rows"] if r["visit"] == 2} == {"pet", "sr"}
    assert any("does not describe the PET's resolution" in told for told in report["warnings"])
    assert set(written) == {"first", "later2"}
    first, later = (Volume.read(written[name]) for name in ("first", "later2"))
    unmoved = visits.second.ct.resample_to(first, "linear", -1000.0)
    both = (first.array > -300) & (later.array > -990) & (unmoved.array > -990)
    error, other = (np.abs(ct.array - first.array)[both].mean() for ct in (later, unmoved))
    assert first.same_grid(later) and error < 0.6 * other
    apart = list(range(1, len(masks) + 1))
    _, again = JOBS["followup"].from_message({"studies": studies, **files, "pairs": apart}).run(tools)
    assert [link["lesion"] for link in again["links"]] == apart and len(registered) == 1


def test_a_lesion_whose_suvmean_is_not_told_keeps_what_is():
    rows = [
        {"lesion": "A", "method": "lr", "suvmean_recovered": "", "suvpeak_recovered": ""},
        {"lesion": "A", "method": "ours-draft", "suvmean_recovered": "", "suvpeak_recovered": "3.5"},
    ]
    assert recovered_by_lesion(rows) == {"A": {"suvpeak_recovered": 3.5}}
