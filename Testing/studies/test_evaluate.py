"""Evaluation end to end on small generated cases: tables, references, the oracle."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from study_factory import body
from tiny import table, write_phantom

from PETSuperResLib import __version__
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.errors import InputError
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.studies import subjects
from PETSuperResLib.studies.evaluation.evaluate import METRIC_COLUMNS, evaluate
from PETSuperResLib.studies.evaluation.nema import nema_study
from PETSuperResLib.studies.methods import METHODS, named


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    write_phantom(folder / "one")
    (folder / "split.json").write_text(json.dumps({"test": ["one"]}))
    return folder


@pytest.fixture(scope="module")
def tables(data, prior_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subjects, "SHARP_TORSOS", {"validation": (0, 0)})
        patch.setattr("PETSuperResLib.studies.methods.classical.ORACLE_UPDATES", (6, 12, 18, 24))
        evaluate(data, out, settings=["standard"], references=["real", "sharp"], prior=prior_file,
                 methods=["lr", "psf-osem", "psf-osem-oracle", "ours-draft"])  # fmt: skip
    return out


def test_every_method_has_a_row_on_every_reference(tables):
    found = table(tables / "metrics.csv")
    assert tuple(found[0]) == METRIC_COLUMNS
    assert {(r["reference"], r["method"]) for r in found} == {
        (reference, method)
        for reference in ("real", "sharp")
        for method in ("lr", "psf-osem", "psf-osem-oracle", "ours-draft")
    }
    assert all(np.isfinite(float(r["psnr"])) for r in found)


def test_the_oracle_is_at_least_as_good_as_a_fixed_iteration(tables):
    found = {(r["reference"], r["method"]): float(r["psnr"]) for r in table(tables / "metrics.csv")}
    for reference in ("real", "sharp"):
        assert found[reference, "psf-osem-oracle"] >= found[reference, "psf-osem"]


def test_lesions_of_both_references_are_measured(tables):
    found = table(tables / "lesions.csv")
    assert {r["reference"] for r in found} == {"real", "sharp"}
    assert all(float(r["suvmax"]) > 0 for r in found)


def test_the_summary_keeps_references_apart_and_says_what_it_is_for(tables):
    text = (tables / "summary.md").read_text(encoding="utf-8")
    assert "## Real references, setting standard" in text and "## Sharp references, setting standard" in text
    assert "Research use only" in text and (tables / "report.html").is_file()


def test_a_sharp_reference_is_the_same_every_time_and_on_2_mm(data):
    cases = find_cases(data)
    one, again = (subjects.subjects(cases, "sharp")[0].load()[0] for _ in range(2))
    assert np.array_equal(one.array, again.array) and one.spacing[:2] == (2.0, 2.0)


def test_the_torsos_of_the_test_part_are_none_that_methods_are_tuned_on(data, tmp_path, monkeypatch):
    torsos = {part: [s.decides for s in subjects.subjects([], "sharp", part=part)] for part in ("validation", "test")}
    assert len(torsos["validation"]) == 2 and len(torsos["test"]) == 4
    assert not [one for one in torsos["test"] if one in torsos["validation"]]
    assert all(subjects.is_torso(s.name) for s in subjects.subjects([], "sharp", part="test"))
    assert [s.name for s in subjects.Cohort(data, part="test", references=["sharp"]).subjects()][-1] == "test_torso_4"

    class Seen(Exception):
        """What an evaluation would measure against."""

    def stop(trials, *_):
        raise Seen([trial.subject.name for trial in trials])

    monkeypatch.setattr(importlib.import_module("PETSuperResLib.studies.evaluation.evaluate"), "_run", stop)
    with pytest.raises(Seen, match="'test_torso_1'"):
        evaluate(data, tmp_path / "out", references=["sharp"], settings=["ood"], methods=["lr"])


@pytest.fixture
def quick(monkeypatch):
    """Evaluations without pictures, report and expectations: only tables and summary."""
    module = importlib.import_module("PETSuperResLib.studies.evaluation.evaluate")
    for name in ("method_figure", "write_report", "write_expectations"):
        monkeypatch.setattr(module, name, lambda *_: None)


@pytest.fixture
def runs(monkeypatch):
    """Which methods ran on which scan, in the order they did."""
    seen = []

    def count(name):
        method = METHODS[name]

        def run(case):
            seen.append((name, round(float(case.simulation.measurement.counts.sum()))))
            return method.run(case)

        monkeypatch.setitem(METHODS, name, replace(method, run=run))

    count("lr")
    count("osem")
    return seen


def test_an_equal_call_runs_nothing_and_another_method_runs_alone(data, prior_file, tmp_path, runs, quick):
    def go(*methods, **other):
        runs.clear()
        evaluate(data, tmp_path, settings=["standard"], prior=prior_file, methods=methods, **other)
        return [name for name, _ in runs]

    assert go("lr") == ["lr"] and go("lr") == []
    first = table(tmp_path / "metrics.csv")
    assert go("lr", "osem") == ["osem"]
    both = table(tmp_path / "metrics.csv")
    assert both[0] == first[0] and [r["method"] for r in both] == ["lr", "osem"]
    assert go("lr", seed=1) == ["lr"] and table(tmp_path / "metrics.csv")[0]["psnr"] != first[0]["psnr"]


def test_what_is_named_twice_counts_once(data, prior_file, tmp_path, quick):
    twice = {"settings": ["standard"] * 2, "counts": ["realistic"] * 2, "references": ["real"] * 2}
    evaluate(data, tmp_path, **twice, prior=prior_file, methods=["lr"])
    assert len(table(tmp_path / "metrics.csv")) == 1
    own = Protocol.get("mct-osem")
    bare = replace(own, filter_fwhm_mm=(0.0, 0.0))
    with pytest.raises(InputError, match="Two protocols have the name 'mct-osem'"):  # their rows would be one's
        evaluate(data, tmp_path, protocols=[own, bare], prior=prior_file, methods=["lr"])
    with pytest.raises(InputError, match="Two protocols have the name 'mct-osem'"):
        nema_study(tmp_path, ["lr"], protocols=[own, bare], prior=prior_file)


def test_a_stopped_run_with_other_options_shows_none_of_the_earlier_ones(
    data, prior_file, tmp_path, monkeypatch, quick
):
    module = importlib.import_module("PETSuperResLib.studies.evaluation.evaluate")
    (tmp_path / "data").mkdir()
    for name in ("one", "two"):
        shutil.copytree(data / "one", tmp_path / "data" / name)
    (tmp_path / "data" / "split.json").write_text(json.dumps({"test": ["one", "two"]}))
    given = dict(data=tmp_path / "data", out=tmp_path / "out", settings=["standard"], prior=prior_file, methods=["lr"])
    evaluate(**given)
    run_trial, begun = module.run_trial, []

    def stop_at_the_second(trial, *rest):
        begun.append(trial)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run_trial(trial, *rest)

    monkeypatch.setattr(module, "run_trial", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        evaluate(**given, seed=1)
    assert [r["patient"] for r in table(tmp_path / "out" / "metrics.csv")] == ["one"]


def test_tables_that_a_run_does_not_make_are_none_of_an_earlier_run(data, prior_file, tmp_path, monkeypatch):
    module = importlib.import_module("PETSuperResLib.studies.evaluation.evaluate")
    for name in ("method_figure", "write_report"):
        monkeypatch.setattr(module, name, lambda *_: None)
    given = dict(prior=prior_file, slices=3, protocols=["mct-osem"])
    evaluate(data, tmp_path / "out", input="image", methods=["ours-draft"], **given)
    assert {"lesions.csv", "protocols.md", "protocols.png"} <= {file.name for file in (tmp_path / "out").iterdir()}
    shutil.copytree(data, tmp_path / "bare")
    (tmp_path / "bare" / "one" / "GTV.nii.gz").unlink()
    evaluate(tmp_path / "bare", tmp_path / "out", methods=["lr"], **given)
    assert not {"lesions.csv", "protocols.md", "protocols.png"} & {file.name for file in (tmp_path / "out").iterdir()}


def test_a_refused_case_is_told_and_the_others_go_on(data, prior_file, tmp_path, monkeypatch, quick):
    def refuse(case):
        raise InputError("The CT is of another patient.")

    monkeypatch.setitem(METHODS, "osem", replace(METHODS["osem"], run=refuse))
    evaluate(data, tmp_path, settings=["standard"], prior=prior_file, methods=["osem", "lr"])
    assert [r["method"] for r in table(tmp_path / "metrics.csv")] == ["lr"]
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "osem refused one (Real references, setting standard, realistic counts): The CT is of another" in text


@pytest.mark.slow
def test_damaged_results_and_results_of_changed_data_are_made_again(data, prior_file, tmp_path, runs):
    shutil.copytree(data, tmp_path / "data")

    def go():
        runs.clear()
        evaluate(tmp_path / "data", tmp_path / "out", settings=["standard"], prior=prior_file, methods=["lr"])
        return len(runs)

    assert go() == 1
    (kept,) = (tmp_path / "out" / "cases").iterdir()
    kept.write_bytes(kept.read_bytes()[:-40])
    assert go() == 1 and go() == 0
    for file in (tmp_path / "data" / "one").iterdir():
        os.utime(file, (1e9, 1e9))
    assert go() == 1


@pytest.mark.slow
def test_processes_of_torchrun_share_the_scans_and_write_what_one_does(data, prior_file, tmp_path):
    def command(out):
        where = ["--data", str(data), "--prior", str(prior_file), "--out", str(tmp_path / out)]
        return ["evaluate", *where, "--methods", "lr", "osem"]

    subprocess.run([sys.executable, "-m", "PETSuperResLib", *command("one")], check=True, timeout=120)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([*launch, "-m", "PETSuperResLib", *command("two")], check=True, timeout=180)
    one, two = (table(tmp_path / out / "metrics.csv") for out in ("one", "two"))
    assert len(one) == 4
    assert [r | {"seconds": ""} for r in one] == [r | {"seconds": ""} for r in two]
    assert (tmp_path / "two" / "report.html").is_file()
    head = (tmp_path / "two" / "summary.md").read_text(encoding="utf-8")
    assert "petsuperres evaluate --data DATA --methods lr osem --prior PRIOR --out OUT" in head
    assert str(tmp_path) not in head and f"PETSuperRes {__version__}" in head


def test_quick_takes_a_few_slices_of_two_patients_and_trains_shortly(data, prior_file, tmp_path, quick):
    write_phantom(tmp_path / "data" / "one")
    write_phantom(tmp_path / "data" / "two", shift=3)
    (tmp_path / "data" / "split.json").write_text(json.dumps({"test": ["one"], "train": ["two"]}))
    began = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("PETSuperResLib.studies.evaluation.evaluate"), "QUICK_MINUTES", 0.02)
        evaluate(tmp_path / "data", tmp_path / "out", settings=["standard"], quick=True, prior=prior_file,
                 methods=["lr", "srcnn"])  # fmt: skip
    assert time.process_time() - began < 60  # it would go on for minutes
    assert [r["method"] for r in table(tmp_path / "out" / "metrics.csv")] == ["lr", "srcnn"]


def test_a_subject_is_cut_about_its_hottest_lesion(data):
    (subject,) = subjects.subjects(find_cases(data), "real")
    pet, _, mask = subject.load()
    part, _, labels = subjects.middle(subject, 4).load()
    assert part.shape[0] == 4 and labels.shape == part.shape
    inside = mask.resample_to(pet, "nearest").array > 0
    assert part.array[labels.array > 0].max() == pet.array[inside].max()


def test_a_small_part_of_a_lesion_that_the_slices_cut_is_no_small_lesion():
    pet, ct = body(0, (20, 24, 24))
    labels = np.zeros(pet.shape, np.float32)
    labels[8:13, 8:13, 8:13], pet.array[10, 10, 10] = 1, 9.0
    labels[13:18, 14:17, 14:17] = 2  # 5.6 mL, of which the slices hold none but the first
    labels[9, 18, 8:11] = 3  # 0.4 mL, whole
    labels[0:9, 4:6, 4:6] = 4  # 4.5 mL, of which one slice is left
    subject = subjects.Subject("drawn", {}, lambda: (pet, ct, pet.with_array(labels, "label")))
    cut = subjects.middle(subject, 6).load()[2].array  # from slice 7 on, to slice 12
    assert set(np.unique(cut)) == {0, 1, 3, 4} and (cut == 4).sum() == 8
    cut = subjects.middle(subject, 4).load()[2].array
    assert set(np.unique(cut)) == {0, 1, 3}


def test_a_run_on_some_slices_takes_them_of_every_subject(data, prior_file, tmp_path, quick):
    evaluate(data, tmp_path, settings=["standard"], methods=["lr"], prior=prior_file, slices=3)
    evaluate(data, tmp_path / "all", settings=["standard"], methods=["lr"], prior=prior_file)
    some, every = table(tmp_path / "metrics.csv"), table(tmp_path / "all" / "metrics.csv")
    assert [r["patient"] for r in some] == ["one"] and some[0]["psnr"] != every[0]["psnr"]
    cohort = subjects.Cohort(data, part="test", references=["real"], slices=3)
    assert [subject.load()[0].shape[0] for subject in cohort.subjects()] == [3]


def test_tables_stand_for_their_methods_and_a_typo_is_named():
    assert named(["lr", "table3", "lr"])[:2] == ("lr", "no-dc") and set(named(["all", "images"])) == set(METHODS)
    assert set(named(["table2", "table3", "table3-standard"])) == set(named(["all"]))
    assert named(["table3-standard"])[-1] == "ours-standard" and "no-dc" not in named(["table2", "table3-standard"])
    with pytest.raises(InputError, match="'unett' is not in this version: use lr, .*table2"):
        named(["unett"])


def test_an_unknown_reference_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="real, sharp"):
        evaluate(data, tmp_path, references=["smooth"])


def test_packages_that_tables_need_are_named_before_the_work(data, tmp_path, monkeypatch):
    module = importlib.import_module("PETSuperResLib.studies.evaluation.evaluate")
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="pandas and jinja2"):
        evaluate(data, tmp_path)


def test_uptake_painted_into_torso_cts_is_a_reference_of_its_own(data, prior_file, tmp_path, quick):
    (folder := tmp_path / "cts").mkdir()
    body(0, (60, 24, 24))[1].write(folder / "A" / "CT_HU.nii.gz")
    body(1, (60, 24, 24))[1].write(folder / "B" / "CT_HU.nii.gz")
    given = dict(settings=["standard"], prior=prior_file, methods=["lr"], references=["cts"])
    evaluate(data, tmp_path / "out", cts=folder, slices=4, **given)
    rows = table(tmp_path / "out" / "metrics.csv")
    assert [(r["patient"], r["reference"]) for r in rows] == [("B_1", "cts"), ("B_2", "cts")]  # A is trained on
    assert rows[0]["psnr"] != rows[1]["psnr"]
    assert "## Painted torso CT references" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="--cts"):
        evaluate(data, tmp_path / "out", **given)
