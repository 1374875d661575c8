"""Many cases in one call: a folder each, tables of all, going on, failures, two processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas
import pydicom
import pytest
import study_factory
from tiny import table, write_phantom

from PETSuperResLib import reconstruction
from PETSuperResLib.cli import run
from PETSuperResLib.cohort import batch, overview
from PETSuperResLib.cohort.batch import reconstruct_cases
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.errors import Cancelled, InputError
from PETSuperResLib.files import write_csv
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.volume import Volume

SCANNER = "Paper standard"


@pytest.fixture
def data(tmp_path):
    write_phantom(tmp_path / "data" / "one")
    write_phantom(tmp_path / "data" / "two", shift=3)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def plain(request, monkeypatch):
    """Neither a picture of a case nor its reconstruction takes time, but where a test is about pictures or values."""
    if "picture" not in request.node.name:
        monkeypatch.setattr(batch, "case_picture", lambda *_: None)
    if "values" not in request.fixturenames:
        monkeypatch.setattr(reconstruction, "solve", flat)


def flat(slabs, *_):
    """SUV 1 everywhere in the place of a reconstruction."""
    return np.ones(slabs.problem.grid.shape, np.float32), 1.0


@pytest.fixture
def values():
    """Asked for by tests that look at the values of results, which are the reconstruction's then."""


def options(data, prior_file, out):
    return ["--data", str(data), "--prior", str(prior_file), "--out", str(out), "--quality", "draft", "--spacing", "4"]


def test_every_case_has_its_folder_and_the_tables_have_all(data, prior_file, tmp_path, capsys, values):
    out = tmp_path / "out"
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 0
    assert "Wrote 2 of 2 cases" in capsys.readouterr().out
    states = table(out / "cases.csv")
    assert [(s["case"], s["result"], s["scanner"]) for s in states] == [
        ("one", "sr.nii.gz", SCANNER), ("two", "sr.nii.gz", SCANNER)]  # fmt: skip
    assert {(r["patient"], r["method"]) for r in table(out / "lesions.csv")} == {
        (case, method) for case in ("one", "two") for method in ("lr", "lr-on-grid", "ours-draft")}  # fmt: skip
    one, two = (Volume.read(out / case / "sr.nii.gz", "SUVbw").array for case in ("one", "two"))
    assert one.shape == two.shape and not np.allclose(one, two)
    assert json.loads((out / "one" / "report.json").read_text(encoding="utf-8"))["lesions"]


def test_a_patient_without_lesions_is_no_failure(data, prior_file, tmp_path):
    mask = Volume.read(data / "two" / "GTV.nii.gz", "label")
    mask.with_array(np.zeros(mask.shape)).write(data / "two" / "GTV.nii.gz")
    out = tmp_path / "out"
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 0
    assert {row["patient"] for row in table(out / "lesions.csv")} == {"one"}
    assert "No lesion is drawn in GTV.nii.gz." in json.loads((out / "two" / "report.json").read_text())["warnings"]


def test_a_warning_of_several_cases_is_told_once_with_their_names():
    rows = [{"case": "a", "warnings": ("cold", "late")}, {"case": "b", "warnings": ("late",)}, {"case": "c"}]
    assert batch.Outcome(rows).warnings() == {"cold": ["a"], "late": ["a", "b"]}


@pytest.mark.slow
def test_an_equal_call_does_nothing_and_other_settings_do_it_anew(data, prior_file, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(batch, "run", lambda inputs, *rest: (done.append(inputs), original(inputs, *rest))[1])

    def go(seed=0, device="auto"):
        done.clear()
        given = {"seed": seed, "device": device, "prior": prior_file}
        reconstruct_cases(find_cases(data), tmp_path / "out", SCANNER, "draft", **given)
        return len(done)

    original = reconstruction.run
    assert go() == 2 and go() == 0 and go(device="cpu") == 0
    (tmp_path / "out" / "two" / "sr.nii.gz").unlink()
    assert go() == 1
    assert go(seed=1) == 2


def test_a_case_that_fails_is_told_and_the_others_go_on(data, prior_file, tmp_path, capsys):
    ct = Volume.read(data / "one" / "CT_HU.nii.gz", "HU")
    ct.with_array(np.full_like(ct.array, np.nan)).write(data / "one" / "CT_HU.nii.gz")
    out = tmp_path / "out"
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 2
    told = capsys.readouterr()
    assert "Wrote 1 of 2 cases" in told.out and "1 of 2 cases failed, see cases.csv; the first, one: " in told.err
    states = {s["case"]: s for s in table(out / "cases.csv")}
    assert states["one"]["result"] == "failed" and "CT" in states["one"]["message"]
    assert states["two"]["result"] == "sr.nii.gz" and not (out / "one" / "sr.nii.gz").exists()
    assert {r["patient"] for r in table(out / "lesions.csv")} == {"two"}


def broken(*given, **more):
    raise IndexError("index 76 is out of bounds")


def test_an_error_that_nobody_foresaw_costs_its_case_alone(data, prior_file, tmp_path, capsys, monkeypatch):
    own = batch.run

    def once(inputs, *rest):
        return broken() if not (tmp_path / "out" / "one").exists() else own(inputs, *rest)

    monkeypatch.setattr(batch, "run", once)
    assert run(["batch", *options(data, prior_file, tmp_path / "out"), "--scanner", SCANNER]) == 2
    told = capsys.readouterr()
    assert "Wrote 1 of 2 cases" in told.out and "1 of 2 cases failed" in told.err
    states = {s["case"]: s for s in table(tmp_path / "out" / "cases.csv")}
    assert "(IndexError: index 76 is out of bounds): report it" in states["one"]["message"]
    assert (states["one"]["result"], states["two"]["result"]) == ("failed", "sr.nii.gz")
    report = json.loads((tmp_path / "out" / "one" / "report.json").read_text(encoding="utf-8"))
    assert "in broken" in report["traceback"]


def test_a_picture_that_fails_costs_the_picture_alone(data, prior_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(batch, "case_picture", broken)
    out = tmp_path / "out"
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 0
    said = capsys.readouterr().out
    assert "Wrote 2 of 2 cases" in said and "Note: one, two: There is no picture of this case. " in said
    assert not (out / "one" / "picture.png").exists() and "<img" not in (out / "index.html").read_text("utf-8")
    monkeypatch.undo()
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 0
    assert "kept 2 of an earlier run" in capsys.readouterr().out


@pytest.fixture
def study(tmp_path):
    """A folder of one DICOM study, ``study``."""
    scan = study_factory.Scan(spacing=(4.0, 4.0, 5.0))
    suv, hu = (np.kron(v.array, np.ones((2, 1, 1))) for v in study_factory.body(shape=(4, 24, 24)))
    pet, ct = study_factory.pet_slices(scan, suv), study_factory.ct_slices(np.where(hu > 70, 300, hu), scan)
    for one in ct:
        one.StudyInstanceUID, one.FrameOfReferenceUID = pet[0].StudyInstanceUID, pet[0].FrameOfReferenceUID
    study_factory.write_series(pet, tmp_path / "data" / "study" / "PET")
    study_factory.write_series(ct, tmp_path / "data" / "study" / "CT")
    return tmp_path / "data"


def slowed(monkeypatch, other, fails=(), then=lambda: None) -> list[int]:
    """The exit codes (0 first) of another batch, which begins and ends while the first case is reconstructed.

    ``then`` is called when it has ended. Its cases are out of memory where ``fails`` has "other", those of the slower
    batch where it has "own".
    """
    own, began = batch.run, []

    def slower(inputs, *rest):
        if not began:
            began.append(0)
            began.append(run(other))
            then()
        if ("other" if len(began) == 1 else "own") in fails:
            raise MemoryError
        return own(inputs, *rest)

    monkeypatch.setattr(batch, "run", slower)
    return began


def test_a_series_that_cannot_be_written_leaves_the_result_and_is_written_later(
    study, prior_file, tmp_path, capsys, monkeypatch
):
    words = ["batch", *options(study, prior_file, tmp_path / "out"), "--scanner", SCANNER]
    words += ["--dicom-out", str(tmp_path / "dicom")]
    monkeypatch.setattr(batch, "write_derived", broken)
    for made in ("Wrote 1 of 1 cases", "Wrote 0 of 1 cases and kept 1"):
        assert run(words) == 0
        said = capsys.readouterr().out
        assert made in said and "is saved, but not the DICOM series of study: An error of this software" in said
    monkeypatch.undo()
    assert run(words) == 0
    assert "not the DICOM series" not in capsys.readouterr().out
    made = list((tmp_path / "dicom" / "study").glob("PT*.dcm"))
    assert len(made) == len(list((study / "study" / "PET").iterdir()))


def test_a_series_is_written_where_an_equal_batch_without_it_was_faster(study, prior_file, tmp_path, monkeypatch):
    words = ["batch", *options(study, prior_file, tmp_path / "out"), "--scanner", SCANNER]
    result, files = tmp_path / "out" / "study" / "sr.nii.gz", []
    began = slowed(monkeypatch, words, then=lambda: files.append(result.stat().st_ino))
    assert run([*words, "--dicom-out", str(tmp_path / "dicom")]) == 0 and began == [0, 0]
    assert list((tmp_path / "dicom" / "study").glob("PT*.dcm"))
    assert [result.stat().st_ino] == files  # of the faster one: not written again


def test_an_interrupt_that_a_library_makes_an_error_of_is_no_failed_case(data, prior_file, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "run", broken)
    monkeypatch.setattr(batch, "interrupted", [2])
    with pytest.raises(Cancelled):
        reconstruct_cases(find_cases(data), tmp_path / "out", SCANNER, "draft", prior=prior_file)
    assert not (tmp_path / "out").exists()


def test_results_that_are_replaced_are_told_and_those_of_another_run_stay(
    data, prior_file, tmp_path, capsys, monkeypatch
):
    shutil.rmtree(data / "two")
    out = tmp_path / "out"
    words = ["batch", *options(data, prior_file, out), "--scanner", SCANNER]
    began = slowed(monkeypatch, [*words, "--seed", "1"])
    assert run(words) == 2 and began == [0, 0]
    said = capsys.readouterr()
    assert f"Another run has written its result to {out / 'one'} meanwhile" in said.err
    assert "were replaced" not in said.out
    assert json.loads((out / "one" / "report.json").read_text(encoding="utf-8"))["seed"] == 1
    monkeypatch.undo()
    began = slowed(monkeypatch, words)  # equal: what it has made is what this one would make
    assert run(words) == 0 and began == [0, 0]
    assert capsys.readouterr().out.count("Note: earlier results were replaced, of one.") == 2


def test_a_case_that_another_run_has_written_costs_itself_alone(data, prior_file, tmp_path, capsys, monkeypatch):
    out, only = tmp_path / "out", tmp_path / "only"
    shutil.copytree(data / "one", only / "one")
    words = ["batch", *options(data, prior_file, out), "--scanner", SCANNER]
    began = slowed(monkeypatch, ["batch", *options(only, prior_file, out), "--scanner", SCANNER, "--seed", "1"])
    assert run(words) == 2 and began == [0, 0]
    said = capsys.readouterr()
    assert (
        "Wrote 1 of 2 cases" in said.out and "1 of 2 cases failed, see cases.csv; the first, one: Another" in said.err
    )
    assert [s["result"] for s in table(out / "cases.csv")] == ["failed", "sr.nii.gz"]
    assert {r["patient"] for r in table(out / "lesions.csv")} == {"two"}
    assert json.loads((out / "one" / "report.json").read_text(encoding="utf-8"))["seed"] == 1


@pytest.mark.parametrize(("fails", "code", "made"), [(("other",), 0, 2), (("other", "own"), 2, 0)])
def test_a_case_that_failed_in_an_equal_batch_meanwhile_does_not_stop_this_one(
    data, prior_file, tmp_path, capsys, monkeypatch, fails, code, made
):
    out = tmp_path / "out"
    words = ["batch", *options(data, prior_file, out), "--scanner", SCANNER]
    began = slowed(monkeypatch, words, fails)
    assert run(words) == code and began == [0, 2]
    said = capsys.readouterr()
    assert f"Wrote {made} of 2 cases" in said.out and "Another run" not in said.err
    assert len([s for s in table(out / "cases.csv") if s["result"] == "sr.nii.gz"]) == made


def test_that_a_failed_case_has_removed_its_earlier_result_is_told(data, prior_file, tmp_path, capsys, monkeypatch):
    shutil.rmtree(data / "two")
    words = ["batch", *options(data, prior_file, tmp_path / "out"), "--scanner", SCANNER]
    assert run(words) == 0
    assert "were removed" not in capsys.readouterr().out
    monkeypatch.setattr(batch, "run", broken)
    assert run([*words, "--seed", "1"]) == 2
    assert "Note: earlier results were removed, of one: there is no new one." in capsys.readouterr().out
    assert not (tmp_path / "out" / "one" / "sr.nii.gz").exists()


def test_a_name_that_looks_like_a_formula_has_a_picture(sphere_pet, tmp_path):
    overview.case_picture("p$1_{$x", sphere_pet, sphere_pet, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").is_file()


def pictured(pet: Volume, sr: Volume, monkeypatch, path, segments=()) -> list:
    """The axes with images of a case's picture."""
    drawn = []
    monkeypatch.setattr(overview, "save", lambda figure, place: drawn.append(figure))
    overview.case_picture("one", pet, sr, path, segments)
    monkeypatch.undo()
    overview.case_picture("one", pet, sr, path, segments)
    assert path.read_bytes().startswith(b"\x89PNG")
    return drawn[0].axes


@pytest.mark.parametrize("shape", [(40, 8, 9), (9, 40, 8), (8, 9, 40)])
def test_a_picture_shows_images_of_any_shape(shape, tmp_path, monkeypatch):
    array = np.zeros(shape, np.float32)
    array[-1, -1, -1] = 10.0
    volume = Volume(array, (4.0, 4.0, 4.0), unit="SUVbw")
    axes = pictured(volume, volume, monkeypatch, tmp_path / "picture.png")
    assert [np.asarray(axis.images[0].get_array()).max() > 0 for axis in axes[:4]] == [True] * 4


def test_a_picture_has_both_images_in_one_extent_with_true_lengths_and_the_range_of_suv(tmp_path, monkeypatch):
    """A hot spot outside of the region that was reconstructed is not what is shown."""
    pet = Volume(np.ones((40, 60, 50), np.float32), (4.0, 4.0, 3.0), unit="SUVbw")
    pet.array[2, 2, 2], pet.array[20, 30, 25] = 90.0, 12.0
    grid = pet.slices(15, 26)
    sr = Volume(grid.array[:, 20:40, 15:35], grid.spacing, tuple((grid.ijk_to_lps @ (15, 20, 0, 1))[:3]), unit="SUVbw")
    axes = pictured(pet, sr, monkeypatch, tmp_path / "picture.png")
    planes, scale = axes[:4], axes[4]
    shown = [np.asarray(axis.images[0].get_array()) for axis in planes]
    assert [image.shape for image in shown] == 2 * [(17, 40), (40, 40)]  # mm of the result over 2
    np.testing.assert_allclose(shown[1], shown[3], atol=1e-4)
    assert shown[1].max() > 5 and all(axis.images[0].get_clim() == (0, scale.get_ylim()[1]) for axis in planes)
    assert scale.get_ylabel() == "SUV"
    for axis in planes:
        (bar,), (length,) = axis.lines, axis.texts
        assert axis.get_aspect() == 1 and 2 * np.ptp(bar.get_xdata()) == float(length.get_text().split()[0]) == 20


@pytest.mark.parametrize(("highest", "top"), [(3.0, 5.0), (8.0, 8.0), (60.0, 10.0)])
def test_a_picture_shows_where_the_lesions_are_and_their_range_of_suv(highest, top, tmp_path, monkeypatch):
    """The scale reaches them up to twice what the rest needs; a hotter organ is not the slice that is shown."""
    pet = Volume(np.ones((40, 40, 40), np.float32), (2.0, 2.0, 2.0), unit="SUVbw")
    pet.array[5, 5, 5] = 90.0  # a voxel of 64000
    pet.array[20:23, 10:13, 25:30] = highest
    segments = segments_of(pet.with_array((pet.array == highest).astype(np.float32), "label"))
    axes = pictured(pet, pet, monkeypatch, tmp_path / "picture.png", segments)
    assert [axis.images[0].get_clim()[1] for axis in axes[:4]] == pytest.approx([top] * 4)
    for axis, high in zip(axes[:4], (40 - 23, 10, 40 - 23, 10), strict=True):
        (outline,) = axis.collections
        ends = np.concatenate([path.vertices for path in outline.get_paths()])
        np.testing.assert_allclose([ends.min(0), ends.max(0)], [(24.5, high - 0.5), (29.5, high + 2.5)])
        assert axis.get_xlim() == (-0.5, 39.5) and axis.get_ylim() == (39.5, -0.5)
        assert np.asarray(axis.images[0].get_array())[high + 1, 27] == highest


def test_a_scanner_that_no_one_names_is_asked_for(data, prior_file, tmp_path, capsys):
    assert run(["batch", *options(data, prior_file, tmp_path / "out")]) == 2
    assert "name the scanner" in capsys.readouterr().err


def test_a_wrong_name_is_told_before_anything_is_done(data, prior_file, tmp_path, capsys):
    with pytest.raises(InputError, match="best"):
        reconstruct_cases(find_cases(data), tmp_path / "out", SCANNER, "best", prior=prior_file)
    assert run(["batch", *options(data, prior_file, tmp_path / "out"), "--scanner", "Nobody"]) == 2
    assert run(["batch", *options(data, prior_file, tmp_path / "out"), "--split", "some.json"]) == 2
    assert "--split needs --part" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_processes_of_torchrun_share_the_cases(data, prior_file, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun's processes have it

    def go(out, *launch):
        command = [sys.executable, *launch, "-m", "PETSuperResLib", "batch", "--scanner", SCANNER]
        command += options(data, prior_file, tmp_path / out)
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert ended.stdout.count("Wrote 2 of 2 cases") == 1

    go("one")
    go("two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for case in ("one", "two"):
        alone, shared = (Volume.read(tmp_path / n / case / "sr.nii.gz", "SUVbw").array for n in ("one", "two"))
        assert np.array_equal(shared, alone)


def test_warnings_folders_without_a_case_and_what_was_kept_are_told(data, prior_file, tmp_path, capsys):
    """A patient without lesions is no failure; folders that are no case have a reason each."""
    pet = Volume.read(data / "one" / "PET_SUV.nii.gz")
    pet.with_array(np.where(pet.array > 0.1, pet.array, -0.01)).write(data / "one" / "PET_SUV.nii.gz")
    labels = Volume.read(data / "two" / "GTV.nii.gz", "label")
    labels.with_array(0 * labels.array).write(data / "two" / "GTV.nii.gz")
    (data / "no_ct").mkdir()
    pet.write(data / "no_ct" / "PET_SUV.nii.gz")
    (data / "empty" / "below").mkdir(parents=True)
    (data / "notes").mkdir()
    (data / "notes" / "letter.txt").write_text("to the clinic")
    out = tmp_path / "out"
    words = ["batch", *options(data, prior_file, out), "--scanner", SCANNER]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "Wrote 2 of 2 cases; cases.csv, index.html, lesions.csv, lesions_wide.csv in" in said and "kept" not in said
    states = {s["case"]: s for s in table(out / "cases.csv")}
    assert "negative voxels" in states["one"]["warnings"] and "Note: one: " in said
    assert states["two"]["result"] == "sr.nii.gz" and "No lesion is drawn" in states["two"]["warnings"]
    reasons = {name: states[name]["message"] for name in states if states[name]["result"] == "skipped"}
    assert reasons == {
        "empty": "an empty folder",
        "no_ct": "there is no CT_HU.nii.gz beside PET_SUV.nii.gz",
        "notes": "no PET and CT by their names, and no DICOM study",
    }
    assert all(f"Skipped: {name}: {reason}" in said for name, reason in reasons.items())
    assert {r["patient"] for r in table(out / "lesions.csv")} == {"one"}
    (out / "two" / "sr.nii.gz").unlink()
    assert run(words) == 0
    assert "Wrote 1 of 2 cases and kept 1 of an earlier run" in capsys.readouterr().out
    assert {s["case"]: s["made"] for s in table(out / "cases.csv") if s["made"]} == {"one": "earlier", "two": "now"}


def test_tables_that_are_not_there_are_not_named_and_results_of_other_cases_are(data, prior_file, tmp_path, capsys):
    (data / "one" / "GTV.nii.gz").unlink()
    out = tmp_path / "out"
    words = [*options(data, prior_file, out)[2:], "--scanner", SCANNER]
    assert run(["batch", "--data", str(data), *words]) == 0
    (data / "two").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(["batch", "--data", str(data), *words]) == 0
    said = capsys.readouterr().out
    assert (
        "Wrote 0 of 1 cases and kept 1 of an earlier run; cases.csv, index.html in" in said
        and "lesions.csv" not in said
    )
    assert "results of other cases of an earlier run stay: two" in said
    assert {p.name for p in out.iterdir()} == {"cases.csv", "index.html", "one", "two"}


def reported(folder) -> list[float]:
    """The numbers of a structured report, of a segment that the SEG beside it holds."""
    seg, report = (pydicom.dcmread(folder / name) for name in ("SEG.dcm", "SR.dcm"))
    uids = {element.value for element in report.iterall() if element.keyword == "UID"}
    assert {segment.TrackingUID for segment in seg.SegmentSequence} <= uids
    found = [float(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
    assert len(found) >= 10
    return found


def test_region_spacing_threshold_and_dicom_are_those_of_reconstruct(prior_file, tmp_path, capsys):
    scan = study_factory.Scan(spacing=(4.0, 4.0, 5.0))
    suv, hu = (np.kron(v.array, np.ones((2, 1, 1))) for v in study_factory.body(shape=(4, 24, 24)))
    pet, ct = study_factory.pet_slices(scan, suv), study_factory.ct_slices(np.where(hu > 70, 300, hu), scan)
    for one in (*pet, *ct):
        one.StudyInstanceUID, one.FrameOfReferenceUID = pet[0].StudyInstanceUID, pet[0].FrameOfReferenceUID
    study_factory.write_series(pet, tmp_path / "data" / "study" / "PET")
    study_factory.write_series(ct, tmp_path / "data" / "study" / "CT")
    mask = np.zeros(suv.shape, bool)
    mask[2:5, 8:14, 8:14] = True
    study_factory.write_series([study_factory.seg(pet, mask)], tmp_path / "data" / "study" / "SEG")
    write_phantom(tmp_path / "data" / "volumes")
    words = options(tmp_path / "data", prior_file, tmp_path / "out")
    words += ["--spacing", "5", "--dicom-out", str(tmp_path / "dicom"), "--threshold", "41%", "--scanner", SCANNER]
    assert run(["batch", *words]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count(f"Note: volumes: {batch.NO_DICOM}") == 1
    warnings = {s["case"]: s["warnings"] for s in table(tmp_path / "out" / "cases.csv")}
    assert batch.NO_DICOM in warnings["volumes"] and batch.NO_DICOM not in warnings["study"]
    report = json.loads((tmp_path / "out" / "study" / "report.json").read_text(encoding="utf-8"))
    assert report["grid"]["spacing_mm"][:2] == [5.0, 5.0] and report["threshold"] == "41%"
    assert len(list((tmp_path / "dicom" / "study").glob("PT*.dcm"))) == report["grid"]["shape"][0]
    made = reported(tmp_path / "dicom" / "study")
    assert [p.name for p in (tmp_path / "dicom").iterdir()] == ["study"]
    capsys.readouterr()
    assert run(["batch", *words]) == 0  # the series that is there belongs to the result that is kept
    shutil.rmtree(tmp_path / "dicom" / "study")
    assert run(["batch", *words]) == 0  # it is written again, of the result that is kept
    assert reported(tmp_path / "dicom" / "study") == pytest.approx(made, rel=1e-4)
    assert run(["batch", *words, "--seed", "3"]) == 2
    assert "not empty" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "data" / "study" / "SEG")
    around = ["--region", "segments", "--scanner", SCANNER]
    assert run(["batch", *around, *options(tmp_path / "data", prior_file, tmp_path / "regions")]) == 0
    assert "The result covers" not in capsys.readouterr().out  # of every region: in each case's report
    assert "The result covers" in (tmp_path / "regions" / "volumes" / "report.json").read_text()
    states = {s["case"]: s for s in table(tmp_path / "regions" / "cases.csv")}
    assert batch.NO_DICOM not in states["volumes"]["warnings"]  # nobody asked for one
    assert states["volumes"]["result"] == "sr.nii.gz" and states["study"]["result"] == "skipped"
    assert "no lesion to reconstruct a region around" in states["study"]["message"]
    part, whole = (Volume.read(tmp_path / n / "volumes" / "sr.nii.gz") for n in ("regions", "out"))
    assert part.array.size * (4.0 / 5.0) ** 2 < 0.9 * whole.array.size


def test_a_wide_table_a_picture_of_each_case_and_an_index_show_all(data, prior_file, tmp_path, values):
    out = tmp_path / "out"
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 0
    rows, long = table(out / "lesions_wide.csv"), table(out / "lesions.csv")
    assert len(rows) == len(long) / 3 and {row["case"] for row in rows} == {"one", "two"}
    first, found = rows[0], [r for r in long if (r["patient"], r["lesion"]) == ("one", rows[0]["lesion"])]
    assert [first[f"{image}_suvmax"] for image in ("pet", "pet_on_grid", "sr")] == [r["suvmax"] for r in found]
    before, _, after = found
    names = ("suvmean_recovered", "suvmean_low", "suvmean_high", "evidence_sigma", "volume_ml", "threshold", "suv_unit")
    assert all(first[name] and first[name] == after[name] for name in names)
    change = 100 * (float(after["suvmax"]) / float(before["suvmax"]) - 1)
    assert float(first["suvmax_change_percent"]) == pytest.approx(change, rel=1e-3)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'src="one/picture.png"' in page and "http" not in page and first["lesion"] in page
    assert (out / "one" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert float(first["suvmean_low"]) < float(first["suvmean_recovered"]) < float(first["suvmean_high"])
    for name in ("suvmean_recovered", "suvmean_high"):
        assert f"{float(first[name]):.2f}" in page
    (out / "index.html").write_text("mine", encoding="utf-8")
    assert run(["batch", *options(data, prior_file, out), "--scanner", SCANNER]) == 2


def test_an_index_shows_what_was_recovered_and_its_doubts(tmp_path):
    """SUVpeak is the figure to follow, and a doubt belongs beside the figures that it is of."""
    lesion = {"setting": "", "lesion": "node"} | dict.fromkeys(overview.MEASURES, "2")
    fitted = {"suvpeak_recovered": "3.456", "suvpeak_low": "3.1", "suvpeak_high": "4.2", "suvmean_recovered": "2.71"}
    fitted |= {"doubts": "SR's SUVpeak, SUVmax outside the interval."}
    lesions = [lesion | {"method": "lr"}, lesion | {"method": "ours-draft"} | fitted]
    rows = overview.wide_rows([{"case": "one", "patient": "P", "date": "", "lesions": lesions}])
    overview.write_index(tmp_path / "index.html", [{"case": "one", "result": "sr.nii.gz"}], rows)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    heads, values = (re.findall(rf"<{kind}(?: [^>]*)?>(.*?)</{kind}>", page)[4:] for kind in ("th", "td"))
    cells = dict(zip(heads, values, strict=True))
    assert cells["recovered SUVpeak (g/mL)"] == "3.46 (3.10 to 4.20)" and cells["recovered SUVmean (g/mL)"] == "2.71"
    assert cells["doubts"] == "SR&#39;s SUVpeak, SUVmax outside the interval." and cells["lesion"] == "node"


def test_time_points_of_a_patient_count_by_date():
    lesion = {"setting": "", "lesion": "Lesion 1"} | dict.fromkeys(overview.MEASURES, "2")
    rows = [lesion | {"method": method} for method in ("lr", "ours-draft")]
    cases = [
        {"case": case, "patient": patient, "date": date, "lesions": rows}
        for case, patient, date in (("b", "P", "20250101"), ("a", "P", "20250601"), ("c", "Q", "20240101"))
    ]
    rows = overview.wide_rows(cases)
    assert [(r["case"], r["time_point"]) for r in rows] == [("b", 1), ("a", 2), ("c", 1)]
    assert rows[0]["date"] == "2025-01-01"


def test_pandas_and_r_read_the_wide_table_without_options(tmp_path):
    """Numbers as numbers, names as text whatever they have in them, gaps as missing; R changes no column's name."""
    names = ['left "hilar", 2', "Läsion\n3", "d'Arc #4"]
    lesions = []
    for name in names:
        figures = {"setting": "", "lesion": name} | dict.fromkeys(overview.MEASURES, "2.5")
        fitted = {"suvmean_recovered": "3.25", "suvmean_low": "3", "evidence_sigma": "7"} if name == names[0] else {}
        lesions += [figures | {"method": "lr"}, figures | {"method": "sr", **fitted}]
    cases = [{"case": "1", "patient": "P123456789012", "date": "20250601", "lesions": lesions}]
    file = write_csv(tmp_path / "wide.csv", overview.wide_rows(cases), overview.WIDE_COLUMNS)
    frame = pandas.read_csv(file)
    assert list(frame.lesion) == names and set(frame.patient) == {"P123456789012"}
    assert pandas.to_datetime(frame.date).dt.month.eq(6).all() and frame.time_point.dtype.kind == "i"
    figures = [name for name in frame if name.endswith(("suvmax", "tlg", "percent", "_recovered", "_low", "_sigma"))]
    assert len(figures) > 12 and all(frame[name].dtype.kind in "fi" for name in figures)
    assert frame.suvmean_recovered.isna().tolist() == [False, True, True] and frame.evidence_sigma[0] == 7
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9._]*", name) for name in frame)  # as R's make.names leaves them
