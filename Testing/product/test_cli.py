"""The command line: help, exit codes, one clear line on bad input, and never a half-written result."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner
from geometry import ROOT, ball
from tiny import small_phantom

from PETSuperResLib import __version__
from PETSuperResLib.cli import cli, run
from PETSuperResLib.commands.common import Bar, command_line, in_time, recovered_table
from PETSuperResLib.errors import Cancelled, OutputError
from PETSuperResLib.lesions.measures import MEASURES, measure_lesions
from PETSuperResLib.lesions.tables import COLUMNS, wide_rows
from PETSuperResLib.progress import Event
from PETSuperResLib.results import Result, place_for, state, write_results
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume

COMMANDS = [
    "batch", "benchmark", "compare", "demo", "dicom", "evaluate", "lesions", "manifest", "presets", "reconstruct",
    "report", "simulate", "study", "suv", "train", "worker",
]  # fmt: skip


@pytest.fixture
def case(tmp_path, sphere_pet) -> dict[str, str]:
    """A PET with one lesion, its CT and its mask, as files."""
    hu = np.where(sphere_pet.array > 2, 200.0, 30.0)
    hu[:, 0, 0] = -1000.0
    ct = sphere_pet.with_array(hu, "HU")
    volumes = {"pet": sphere_pet, "ct": ct, "mask": ball((3, 3, 3), 10)}
    return {name: str(v.write(tmp_path / f"{name}.nii.gz")) for name, v in volumes.items()} | {
        "out": str(tmp_path / "out")
    }


@pytest.fixture
def backend(monkeypatch) -> SimpleNamespace:
    """Stands in for the reconstruction: doubles the SUVs and records its inputs; ``fail`` is raised instead."""
    state = SimpleNamespace(fail=None, calls=[], volume=None, report={"loss": np.nan}, std=None, early=())

    def run(inputs, progress=None):
        state.calls.append(inputs)
        progress(Event("loading", 0.0, warnings=state.early))
        if state.fail is not None:
            raise state.fail
        volume = state.volume or inputs.pet.with_array(2 * inputs.pet.array)
        maps = {"std": state.std or volume} if inputs.request.samples > 1 else {}
        after = measure_lesions(volume, inputs.segments, skip_outside=inputs.region is not None)
        lesions = {"lr": inputs.lesions, "ours-standard": after} if inputs.segments else {}
        facts = {"lesions": wide_rows(pet=inputs.lesions, sr=after), **inputs.provenance, **state.report}
        return Result(volume, (), maps, lesions, facts)

    module = ModuleType("PETSuperResLib.reconstruction")
    module.run = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return state


def reconstruct(case: dict[str, str], *more: str) -> int:
    scanner = () if "--scanner" in more else ("--scanner", "Siemens Biograph mCT")
    return run(["reconstruct", "--pet", case["pet"], "--ct", case["ct"], *scanner, "--out", case["out"], *more])


def one_line(capsys) -> str:
    """What was said on standard error: exactly one line, no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("petsuperres: ") and error.count("\n") == 1 and "Traceback" not in error, error
    return error


def files(folder: str) -> set[str]:
    return {p.name for p in Path(folder).rglob("*")} if Path(folder).exists() else set()


# -- help ---------------------------------------------------------------------------------------------
def test_all_agreed_subcommands_are_there():
    assert sorted(cli.commands) == COMMANDS


@pytest.mark.parametrize("arguments", [[], ["--help"], *([c, "--help"] for c in COMMANDS)], ids=" ".join)
def test_help_exits_0_and_says_what_the_command_does(arguments, capsys):
    assert run(arguments) == 0
    answer = capsys.readouterr()
    assert "Usage: petsuperres" in answer.out and len(answer.out.splitlines()) > 4 and not answer.err


def test_the_help_names_every_study():
    study = cli.commands["study"]
    named = study.short_help.removeprefix("Experiments: ").removesuffix(".").split(", ")
    assert sorted(named) == sorted(study.commands)


def test_version(capsys):
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = "import sys, PETSuperResLib.cli; print(*{'torch', 'numpy', 'SimpleITK', 'scipy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


# -- bad input ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "nonsense"),
        (["reconstruct"], "--pet"),
        (["reconstruct", "--pet", "a", "--ct", "b", "--out", "c", "--quality", "best"], "best"),
        (["reconstruct", "--pet", "a", "--ct", "b", "--out", "c", "--samples", "0"], "--samples"),
        (
            ["reconstruct", "--pet", "a", "--ct", "b", "--scanner", "Foo", "--out", "c"],
            "(--scanner; 'petsuperres presets' lists",
        ),
        (["reconstruct", "--pet", "a", "--ct", "b", "--region", "1,2,3", "--out", "c"], "LPS mm"),
        (["reconstruct", "--pet", "a", "--ct", "b", "--region", "5,1,0,1,0,1", "--out", "c"], "x0 < x1"),
        (["simulate", "--pet", "no.nii.gz", "--setting", "worse", "--out", "c"], "worse"),
        (["simulate", "--pet", "no.nii.gz", "--setting", "ood", "--out", "c"], "no.nii.gz"),
        (["lesions", "--pet", "no.nii.gz", "--segmentation", "b"], "no.nii.gz"),
        (["lesions", "--pet", "a", "--segmentation", "b", "--threshold", "141%"], "141%"),
        (["simulate", "--pet", "a", "--setting", "standrad", "--out", "c"], "use standard or ood"),
        (["simulate", "--pet", "a", "--out", "c"], "--setting"),
        (["simulate", "--pet", "a", "--setting", "ood", "--scanner", "GE Discovery ST", "--out", "c"], "either"),
        (
            ["simulate", "--pet", "a", "--scanner", "GE Discovery ST", "--protocol", "vision", "--out", "c"],
            "'Siemens Biograph Vision 600': leave --scanner out",
        ),
        (["suv", "no_folder", "--out", "suv.nii.gz"], "no_folder"),
        (["presets", "Siemens mCT"], "did you mean 'Siemens Biograph mCT'?"),
        (["presets", "mct"], "did you mean 'Siemens Biograph mCT'?"),
        (["evaluate", "--data", "nope", "--out", "c"], "No data folder nope"),
        (["reconstruct", "--pet", "a", "--ct", "b", "--out", "c", "--noise", "0"], "--noise"),
        (
            ["reconstruct", "--pet", "a", "--ct", "b", "--out", "c", "--measurement", "m", "--noise", "9"],
            "(--noise)",
        ),
        (["presets", "Siemens Biograph V"], "Vision 600"),
        (["evaluate", "--data", "d", "--out", "c", "--setting", "standard", "worse"], "worse"),
        (["evaluate", "--data", "d", "--out", "c", "stray"], "stray"),
    ],
)
def test_bad_arguments_exit_2_with_one_line(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert told in one_line(capsys)
    assert files(".") == set()


def valued(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words up to each option that takes a value, of a command and its subcommands."""
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from valued(one, (*words, name))
    options = [one for one in command.params if isinstance(one, click.Option)]
    yield from ((*words, name) for one in options if not one.is_flag for name in one.opts)


def test_a_value_that_is_missing_is_told(capsys):
    """click would take the option that follows for the value; it keeps the first names of --help that it met."""
    for command in cli.commands.values():
        command.get_help(click.Context(command))
    found = list(valued(cli))
    assert len(found) > 150
    for words in found:
        path = " ".join(("petsuperres", *words[:-1]))
        for after in ((), ("--help",), ("-h",), ("--quality", "draft"), (words[-1], "a")):
            assert run([*words, *after]) == 2
            assert one_line(capsys) == f"petsuperres: {words[-1]} needs a value. See '{path} --help'.\n"


def test_a_value_may_begin_with_a_dash(case, backend, monkeypatch, capsys):
    monkeypatch.chdir(Path(case["pet"]).parent)
    case |= {"out": "-out"}
    assert reconstruct(case, "--region", "-5,50,-50,50,-50,50", "--seed", "1") == 0
    assert backend.calls[0].region[0] == -5 and Path("-out/sr.nii.gz").exists()
    assert reconstruct(case | {"out": "other"}, "--segmentation=--seed") == 2  # after '=' it is a value
    error = one_line(capsys)
    assert "--seed" in error and "needs a value" not in error


def test_a_scanner_that_nobody_named_is_asked_for_before_torch_is_loaded(case):
    arguments = ["reconstruct", "--pet", case["pet"], "--ct", case["ct"], "--out", case["out"]]
    code = f"import sys; from PETSuperResLib.cli import run; print(run({arguments}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"]
    assert "Which scanner made the PET" in done.stderr and "--scanner" in done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.with_array(0 * m.array), "empty"),
        (lambda m: m.with_array(m.array + 0.4), "not a label map"),
        (lambda m: Volume(m.array, m.spacing, (999.0, 0, 0), unit="label"), "of odd.nii.gz: no voxel inside"),
    ],
)
def test_unusable_segmentation_is_told_before_the_long_run(case, backend, capsys, change, told):
    change(Volume.read(case["mask"])).write(case["mask"].replace("mask", "odd"))
    assert reconstruct(case, "--segmentation", case["mask"].replace("mask", "odd")) == 2
    assert told in one_line(capsys)
    assert backend.calls == [] and files(case["out"]) == set()


def test_out_that_is_a_file_is_told_before_the_long_run(case, backend, capsys):
    file = Path(case["out"])
    file.write_text("kept")
    for out in (file, file / "below"):
        assert reconstruct({**case, "out": str(out)}) == 2
        assert "is a file, not a folder" in one_line(capsys)
    assert backend.calls == [] and file.read_text() == "kept"


# -- reconstruct ------------------------------------------------------------------------------------------
def test_reconstruct_writes_volume_report_and_lesions(case, backend, capsys):
    assert reconstruct(case, "--segmentation", case["mask"], "--seed", "3", "--samples", "2") == 0
    assert files(case["out"]) == {"sr.nii.gz", "std.nii.gz", "report.json", "lesions.csv"}
    text = (Path(case["out"]) / "report.json").read_text()
    report = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert report["loss"] is None
    assert report["lesions"][0]["suvmax_change_percent"] == pytest.approx(100)
    with (Path(case["out"]) / "lesions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["method"], float(r["suvmax"])) for r in rows] == [("lr", 8), ("ours-standard", 16)]
    assert [r["patient"] for r in rows] == ["", ""]
    assert report["files"]["pet"] == case["pet"] and report["files"]["measurement"] is None
    digest = hashlib.sha256(Path(case["pet"]).read_bytes()).hexdigest()
    assert report["files_sha256"]["pet"] == digest and set(report["files_sha256"]) == {"pet", "ct", "segmentation"}
    assert (backend.calls[0].request.seed, backend.calls[0].request.samples) == (3, 2)
    answer = capsys.readouterr()
    assert "8.00 -> 16.00" in answer.out and answer.err == ""
    assert "recovered" not in answer.out  # the stand-in recovers nothing


def test_what_was_recovered_is_printed_with_interval_evidence_and_doubts():
    row = {"lesion": "node", "suvmean_recovered": 4.0, "suvmean_low": 3.0, "suvmean_high": 6.0, "evidence_sigma": 2.5}
    row |= {"suvpeak_recovered": None, "suvpeak_low": None, "suvpeak_high": None, "doubts": "Not supported."}
    row |= {"suvmax_recovered": None, "suvmax_low": None, "suvmax_high": None}
    heading, line = recovered_table([row]).splitlines()
    assert "SUVmean recovered (90 %)" in heading and "SUVmax" not in heading
    assert " ".join(line.split()) == "node 4.00 (3.00 to 6.00) - 2.5 sigma Not supported."
    row |= {"suvmax_recovered": 7.0, "suvmax_low": 6.0, "suvmax_high": 9.0, "evidence_sigma": -285.81, "doubts": None}
    heading, line = recovered_table([row]).splitlines()
    assert "SUVmax recovered (90 %)" in heading
    assert " ".join(line.split()) == "node 4.00 (3.00 to 6.00) - 7.00 (6.00 to 9.00) -286 sigma -"


def test_what_is_not_to_be_trusted_of_several_lesions_is_said_once_below_the_table():
    row = dict.fromkeys(COLUMNS) | {"evidence_sigma": 12.0}
    guess, tiny = (
        "Scanner, PSF or filter of the PET are a guess: the interval is wider.",
        "Smaller than 0.1 mL: not told.",
    )
    rows = [row | {"lesion": "A", "doubts": f"{tiny} {guess}"}, row | {"lesion": "B", "doubts": guess}]
    assert [" ".join(line.split()) for line in recovered_table(rows).splitlines()[1:]] == [
        f"A - - 12 sigma {tiny}", "B - - 12 sigma see below", f"All lesions: {guess}"]  # fmt: skip
    heading, *_, last = recovered_table([*rows[1:], rows[1] | {"lesion": "C"}, row | {"lesion": "D"}]).splitlines()
    assert last == f"B, C: {guess}" and "not to be trusted" not in heading


@pytest.mark.parametrize(
    ("blobs", "below", "told"),
    [(7, 2, "7 hot blobs, 2 below 3 sigma"), (1, 0, "1 hot blob, 0 below 3 sigma"), (0, 0, "No hot blobs")],
)
def test_how_many_hot_blobs_the_data_support_is_printed(case, backend, capsys, blobs, below, told):
    backend.report = {"evidence": {"blobs": [{}] * blobs, "not_supported": below}}
    assert reconstruct(case, "--evidence") == 0
    assert f"\n{told}: see report.json.\n" in capsys.readouterr().out


def test_the_patient_of_a_dicom_header_stands_in_the_table(case, backend, monkeypatch):
    read = Volume.read

    def known(path, *more, **options):
        volume = read(path, *more, **options)
        return replace(volume, metadata={**volume.metadata, "patient": "ab12"})

    monkeypatch.setattr(Volume, "read", known)
    assert reconstruct(case, "--segmentation", case["mask"]) == 0
    with (Path(case["out"]) / "lesions.csv").open() as stream:
        assert [r["patient"] for r in csv.DictReader(stream)] == ["ab12", "ab12"]


def test_stated_noise_reaches_the_reconstruction_and_its_warnings_are_printed(case, backend, capsys):
    backend.report = {"warnings": ["look twice"]}
    assert reconstruct(case, "--noise", "12") == 0
    assert backend.calls[0].request.noise == 12
    assert "Note: look twice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (
            {"recovered_from": "PET and result", "suvpeak_recovered": 4.0, "suvpeak_low": 3.0, "suvpeak_high": 6.0},
            "4.00",
        ),
        ({"evidence_sigma": -5.0, "doubts": "Colder than its surroundings."}, "Colder than its surroundings."),
        ({}, None),
    ],
)
def test_what_is_known_of_a_lesion_is_printed_also_without_a_recovered_mean(case, backend, capsys, known, words):
    read_off = {f"{image}_{measure}": 1.0 for image in ("pet", "sr") for measure in MEASURES}
    backend.report = {"lesions": [dict.fromkeys(COLUMNS) | read_off | {"lesion": "node"} | known]}
    assert reconstruct(case, "--segmentation", case["mask"]) == 0
    said = capsys.readouterr().out
    assert ("recovered (90 %)" in said) == bool(words) and (not words or words in said)


def test_what_the_inputs_tell_is_printed_before_the_work_and_once(case, backend, capsys):
    backend.early, backend.report = ("a wrong SUV",), {"warnings": ["a wrong SUV", "a poor fit"]}
    assert reconstruct(case) == 0
    said = capsys.readouterr().out
    assert said.count("Note: a wrong SUV") == said.count("Note: a poor fit") == 1
    backend.fail = Cancelled()
    assert reconstruct(case) == 130 and "Note: a wrong SUV" in capsys.readouterr().out


def test_notes_on_the_pet_are_printed_before_the_ct_is_read(case, backend, capsys):
    case["ct"] = case["out"] + "/nowhere.nii.gz"
    assert reconstruct(case) == 2
    said = capsys.readouterr()
    line, note = said.out.splitlines()
    assert line.startswith("Siemens Biograph mCT (stated); 4.3 mm scanner") and note.startswith(
        "Note: A PET without a DICOM header"
    )
    assert "nowhere" in said.err


def test_a_result_given_as_the_pet_is_told(case, backend, capsys):
    """By the report beside it, under any name of the result; a file of one's own in that folder is none."""
    assert reconstruct(case) == 0
    out = Path(case["out"])
    own = case["pet"] = str(Volume.read(case["pet"]).write(out / "mine.nii.gz"))
    named = str(out.parent / "named.nii.gz")
    assert reconstruct(case | {"out": named}) == 0
    assert "is a result" not in capsys.readouterr().out
    for pet, told in ((str(out / "sr.nii.gz"), True), (named, True), (own, False)):
        assert reconstruct(case | {"pet": pet, "out": str(out.parent / "again")}) == 0
        words = f"{Path(pet).name} is a result of PETSuperRes"
        assert (f"Note: {words}" in capsys.readouterr().out) == told
        assert [words in warning for warning in backend.calls[-1].warnings].count(True) == told


def test_region_as_a_box_leaves_lesions_elsewhere_out(case, backend):
    pet = Volume.read(case["pet"])
    backend.volume = pet.crop((0, 0, 0), (6, 6, 6))
    assert reconstruct(case, "--segmentation", case["mask"], "--region", "-33,-23,-31,-21,-29,-19") == 0
    assert backend.calls[0].region == (-33, -23, -31, -21, -29, -19)
    assert json.loads((Path(case["out"]) / "report.json").read_text())["lesions"] == []


def test_printed_preset_serves_as_a_scanner_of_ones_own(case, backend, capsys, tmp_path):
    assert run(["presets", "GE Discovery ST"]) == 0
    own = tmp_path / "own.json"
    own.write_text(capsys.readouterr().out)
    assert reconstruct(case, "--scanner", str(own)) == 0
    assert backend.calls[0].scanner == Scanner.get("GE Discovery ST")


@pytest.mark.parametrize(
    ("failure", "told", "code"),
    [
        (KeyboardInterrupt(), "Cancelled", 130),
        (Cancelled(), "Cancelled", 130),
        (MemoryError(), "memory", 2),
        (OSError(28, "No space left on device"), "No space left", 2),
    ],
)
def test_a_run_that_stops_half_way_says_so_and_leaves_nothing(case, backend, capsys, failure, told, code):
    backend.fail = failure
    assert reconstruct(case, "--segmentation", case["mask"]) == code
    assert told in one_line(capsys)
    assert files(case["out"]) == set()


def test_a_disk_that_fills_while_writing_leaves_none_of_the_files(case, backend, capsys, monkeypatch):
    def full(volume, path):
        if volume is backend.std:
            raise OSError(28, "No space left on device")
        return write(volume, path)

    backend.std, write = Volume.read(case["pet"]), Volume.write
    monkeypatch.setattr(Volume, "write", full)
    assert reconstruct(case, "--samples", "2") == 2
    assert "No space left" in one_line(capsys)
    assert files(case["out"]) == set()


def test_a_dicom_series_that_cannot_be_written_is_told_with_what_is_saved(case, backend, capsys, monkeypatch, tmp_path):
    from PETSuperResLib.dicom import write
    from PETSuperResLib.errors import OutputError

    def known(path, *more, **options):
        return replace(read(path, *more, **options), metadata={"series_uid": "1"})

    read = Volume.read
    monkeypatch.setattr(Volume, "read", known)
    monkeypatch.setattr(write, "source_slices", lambda *given: [])
    for failure, code in ((OutputError("The disk is full."), 2), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(write, "write_derived", lambda *given, failure=failure, **more: raised(failure))
        assert reconstruct(case, "--dicom-out", str(tmp_path / "series")) == code
        assert "sr.nii.gz, report.json are saved" in one_line(capsys) and "sr.nii.gz" in files(case["out"])


def raised(error: BaseException) -> None:
    raise error


# -- the others -------------------------------------------------------------------------------------------
def test_lesions_prints_a_table_and_writes_it(case, capsys, tmp_path):
    out = tmp_path / "t.csv"
    arguments = ["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--reference", case["pet"]]
    assert run([*arguments, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "SUVpeak" in text and "NMSE" in text and "8.00" in text
    assert "MTV mL (>= 2.5)" in text
    with out.open() as stream:
        row, reference = csv.DictReader(stream)
    assert row["method"] == "lr"  # as in the tables of reconstruct and evaluate
    assert (float(row["suvmax"]), float(row["delta_suvmax_percent"]), float(row["nmse"])) == (8, 0, 0)
    assert (reference["method"], float(reference["suvmax"]), reference["nmse"]) == ("reference", 8, "")
    assert "reference" in text


def test_lesions_recovers_uptake_where_the_resolution_is_known(case, capsys, tmp_path):
    arguments = ["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--out", str(tmp_path / "t.csv")]

    def columns():
        with (tmp_path / "t.csv").open() as stream:
            [row] = csv.DictReader(stream)
        return row["recovered_from"], row["suvmean_recovered"] != "" and row["evidence_sigma"] != ""

    for more, told, filled in (
        ((), "Note: nothing is recovered. Which scanner made the PET?", ("", False)),
        (("--fwhm", "6"), "Recovered from the PET alone (6.0 mm, stated):", ("PET alone", True)),
        (("--fwhm", "6", "--no-recover"), "", ("", False)),
    ):
        assert run([*arguments, *more]) == 0
        text = capsys.readouterr().out
        assert told in text and ("ecovered" in text) == bool(told) and columns() == filled
    assert run([*arguments, "--scanner", "Nowhere 1"]) == 2  # what is stated has to be right
    assert "Nowhere 1" in one_line(capsys)
    assert run([*arguments, "--recover"]) == 2  # asked for, so it has to be possible
    assert "(--scanner; " in one_line(capsys)


def test_why_nothing_is_recovered_names_the_options_that_help(case, capsys):
    assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"]]) == 0
    said = capsys.readouterr().out
    assert "A PET without a DICOM header, such as a NIfTI file, names none" in said
    assert "(--scanner; 'petsuperres presets' lists the names, --fwhm states the FWHM)." in said


def test_the_headings_tell_the_threshold(case, capsys):
    arguments = ["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--after", case["pet"]]
    assert run([*arguments, "--threshold", "41%"]) == 0
    assert capsys.readouterr().out.count("MTV mL (>= 41% of max)") == 2


def test_a_threshold_below_1_is_told_by_every_command_that_takes_one(case, backend, capsys):
    words = ["--segmentation", case["mask"], "--threshold", "0.41"]
    assert run(["lesions", "--pet", case["pet"], *words]) == 0 and reconstruct(case, *words) == 0
    told = (
        "Note: The threshold of MTV and TLG is an SUV of 0.41, which most tissue has: if a share of SUVmax was meant, "
    )
    assert capsys.readouterr().out.count(f"{told}give 41%.") == 2


def test_the_images_are_told_apart_under_a_heading_that_is_no_measure(case, capsys):
    words = ["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--after", case["pet"], "--no-recover"]
    assert run(words) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()[:3]]
    assert table[0][:2] == ["lesion", "image"] and [row[-6] for row in table[1:]] == ["PET", "after"]


@pytest.mark.parametrize(
    ("threshold", "told"),
    [("50", "50%"), ("41", "41%"), ("12.5", "41%"), ("41.0", "41%"), ("150", "41%"), ("41%", None), ("0.1", None)],
)
def test_a_share_of_the_maximum_is_named_where_nothing_reaches_the_threshold(case, capsys, threshold, told):
    """The number that was given, where it was probably meant as a percentage; else the usual one."""
    assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--threshold", threshold]) == 0
    said = capsys.readouterr().out
    assert ("for a share of each SUVmax give" in said) == (told is not None)
    assert told is None or f"give '{told}'" in said


def test_pet_and_ct_that_are_swapped_are_told_as_that(case, capsys):
    for kind, volume in {"pet": small_phantom().pet, "ct": small_phantom().ct}.items():
        volume.write(case[kind])
    case["pet"], case["ct"] = case["ct"], case["pet"]
    assert reconstruct(case) == 2
    assert "PET and CT may be swapped" in one_line(capsys)


@pytest.mark.parametrize("out", ["out", "sr.nii.gz"])
def test_what_another_run_wrote_meanwhile_stays_and_the_result_is_kept_beside_it(
    case, backend, capsys, monkeypatch, tmp_path, out
):
    case["out"] = str(tmp_path / out)
    module, began = sys.modules["PETSuperResLib.reconstruction"], []
    own = module.run

    def slower(inputs, progress=None):
        if not began:  # the other run begins and ends while this one works
            began.append(0)
            began.append(reconstruct(case, "--seed", "1"))
            backend.volume = inputs.pet
        return own(inputs, progress)

    monkeypatch.setattr(module, "run", slower)
    assert reconstruct(case) == 2 and began == [0, 0]
    beside = tmp_path / out.replace("out", "out-2").replace("sr", "sr-2")
    assert f"Another run has written its result to {case['out']} meanwhile, which stays: this one is in {beside}" in (
        one_line(capsys)
    )
    suvs = Volume.read(case["pet"]).array.max()
    found = (Path(place) / "sr.nii.gz" if out == "out" else Path(place) for place in (case["out"], beside))
    assert [Volume.read(place).array.max() for place in found] == [2 * suvs, suvs]


def test_a_result_beside_the_current_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert place_for(".", "") == Path(".")
    Path("report.json").write_text("{}", encoding="utf-8")
    assert place_for(".", state(".")) == Path(".")
    assert place_for(".", "") == tmp_path / "here-2"
    (tmp_path / "here" / "within").mkdir()
    monkeypatch.chdir("within")
    assert place_for("..", "") == tmp_path / "here-2"
    with pytest.raises(OutputError, match="Another run has written its result"):
        write_results("..", {}, {}, before="")


def test_that_an_earlier_result_was_replaced_is_told(case, backend, capsys):
    for place in (None, ", in place of an earlier result"):
        assert reconstruct(case) == 0
        assert (f"to {case['out']}{place or ''}.\n") in capsys.readouterr().out


def test_a_result_that_changed_since_is_not_written_over(sphere_pet, tmp_path):
    result = Result(sphere_pet)
    before = state(tmp_path)
    result.write(tmp_path, before=before)
    with pytest.raises(OutputError, match="Another run has written its result to .* choose another place"):
        result.write(tmp_path, before=before)
    result.write(tmp_path, before=state(tmp_path))
    earlier = state(tmp_path)
    (tmp_path / "report.json").unlink()
    (tmp_path / "sr.nii.gz").unlink()
    result.write(tmp_path, before=earlier)  # what was there has gone, so that nothing is lost


def test_a_pet_after_a_result_is_told(case, capsys, tmp_path):
    pet = Volume.read(case["pet"])
    fine = str(pet.resample_to(pet.grid([s / 2 for s in pet.spacing]), "nearest").write(tmp_path / "fine.nii.gz"))
    for order, told in (((case["pet"], fine), False), ((fine, case["pet"]), True)):
        assert run(["lesions", "--pet", order[0], "--segmentation", case["mask"], "--after", order[1]]) == 0
        assert ("larger pixels than the PET" in capsys.readouterr().out) == told


def test_a_segment_of_which_the_image_after_holds_a_part_is_told(case, capsys, tmp_path):
    pet, mask = Volume.read(case["pet"]), Volume.read(case["mask"], "label")
    middle = int(np.argwhere(mask.array > 0).mean(0)[0]) + 1
    below = str(pet.slices(0, middle).write(tmp_path / "below.nii.gz"))
    for after, told in ((case["pet"], False), (below, True)):
        assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--after", after]) == 0
        assert ("Note: the image after holds " in capsys.readouterr().out) == told


def test_lesions_of_another_patient_name_the_file_that_does_not_fit(case, capsys, tmp_path):
    pet = Volume.read(case["pet"])
    later = Volume(pet.array, pet.spacing, (900.0, 0.0, 0.0)).write(tmp_path / "later.nii.gz")
    assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--after", str(later)]) == 2
    assert f"inside {later} (--after)" in one_line(capsys)


def test_lesions_checks_where_to_write_before_it_prints(case, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for out, told in ((tmp_path / "file" / "t.csv", "not a folder"), (tmp_path, "is a folder")):
        assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--out", str(out)]) == 2
        answer = capsys.readouterr()
        assert told in answer.err and answer.out == ""


def test_lesions_refuses_becquerels_and_a_ct(case, capsys):
    pet = Volume.read(case["pet"])
    for array, told in ((5000 * pet.array, "Bq/mL"), (pet.array - 900, "CT")):
        pet.with_array(array).write(case["pet"])
        assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"]]) == 2
        assert told in one_line(capsys)


def test_volumes_are_refused_by_what_they_hold(case, capsys):
    """A CT given in place of a PET, in every place where a PET is read."""
    phantom = small_phantom()
    for name, volume in {"pet": phantom.pet, "ct": phantom.ct, "mask": phantom.labels}.items():
        volume.write(case[name])
    words = ["lesions", "--pet", case["pet"], "--segmentation", case["mask"]]
    for which in ("--after", "--reference"):
        assert run([*words, which, case["ct"]]) == 2
        told = one_line(capsys)
        assert "CT" in told and which in told
    assert run(["simulate", "--pet", case["ct"], "--setting", "standard", "--out", case["out"]]) == 2
    assert "CT" in one_line(capsys)
    assert run(["simulate", "--pet", case["pet"], "--ct", case["pet"], "--setting", "ood", "--out", case["out"]]) == 2
    assert "not a CT in HU" in one_line(capsys) and files(case["out"]) == set()


def test_a_split_file_that_is_not_there_is_told_as_that(case, capsys, tmp_path):
    words = ["batch", "--data", str(tmp_path), "--part", "train", "--out", case["out"]]
    assert run(words) == 2
    assert f"There is no split file {tmp_path / 'split.json'}" in one_line(capsys)


def test_a_file_that_may_not_be_read_is_told_as_that(case, capsys, monkeypatch):
    opened = Path.open

    def closed(path, *given, **more):
        if str(path) == case["pet"]:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *given, **more)

    monkeypatch.setattr(Path, "open", closed)
    assert reconstruct(case) == 2
    told = one_line(capsys)
    assert f"{case['pet']} cannot be opened: Permission denied" in told and "damaged" not in told


def test_an_interrupt_that_a_library_turns_into_an_error_of_its_own_is_a_cancel(case, backend, capsys, monkeypatch):
    from PETSuperResLib import cli

    class Kept(list):
        def clear(self):
            """The signal comes while the command runs."""

    monkeypatch.setattr(cli, "_interrupted", Kept([signal.SIGINT]))
    backend.fail = ImportError("half a module")
    assert reconstruct(case) == 130
    assert "Cancelled; nothing was written." in one_line(capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("wait_s", [0.05, 0.2, 0.6, 1.0])
def test_an_interrupt_in_the_first_second_of_the_demo_is_a_cancel(tmp_path, wait_s):
    """As a terminal's Ctrl-C; from where the command's own code begins."""
    code = "import sys; print(flush=True); from PETSuperResLib.__main__ import main; print(flush=True); main()"
    words = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline(), process.stdout.readline()
    time.sleep(wait_s)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert error == "petsuperres: Cancelled; nothing was written.\n"
    assert process.returncode == 130 and not (tmp_path / "out").exists()


def test_presets_lists_every_scanner(capsys):
    assert run(["presets"]) == 0
    text = capsys.readouterr().out
    assert "Siemens Biograph mCT" in text and "Paper OOD" in text and "not found" in text


def test_several_values_after_one_option(monkeypatch, tmp_path):
    import PETSuperResLib.studies.evaluation as evaluation

    calls: list[dict] = []
    monkeypatch.setattr(evaluation, "evaluate", lambda **options: calls.append(options), raising=False)
    start = ["evaluate", "--data", "d", "--out", str(tmp_path)]
    assert run([*start, "--setting", "standard", "ood", "--methods", "lr", "osem", "dps", "--counts", "high"]) == 0
    assert calls[0]["settings"] == ("standard", "ood")
    assert calls[0]["methods"] == ("lr", "osem", "dps")
    assert calls[0]["counts"] == ("high",) and calls[0]["references"] == ("real",)
    said = "--setting standard ood --counts high --methods lr osem dps --out OUT"
    assert calls[0]["command"] == f"petsuperres evaluate --data DATA {said}"


def test_simulate_writes_what_reconstruct_needs(case, capsys):
    pytest.importorskip("PETSuperResLib.physics.simulation")
    pet = Volume.read(case["pet"]).crop((0, 0, 14), (34, 32, 16))
    pet.write(case["pet"])
    assert run(["simulate", "--pet", case["pet"], "--ct", case["ct"], "--setting", "ood", "--out", case["out"]]) == 0
    assert files(case["out"]) == {"truth.nii.gz", "lr.nii.gz", "measurement.safetensors"}
    assert Volume.read(Path(case["out"]) / "lr.nii.gz").spacing[:2] == (12.0, 12.0)
    assert "the CT is not used without --attenuation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("vision", "--scanner 'Siemens Biograph Vision 600' --psf-modelled --post-filter 4."),
        ("mct-osem", "--scanner 'Siemens Biograph mCT' --no-psf-modelled --post-filter 5."),
        (
            "dmi-qclear",
            "--scanner 'GE Discovery MI (4 rings)' --psf-modelled --post-filter 0; that it is penalised, its DICOM "
            "series alone tells (--dicom-out).",
        ),
    ],
)
def test_simulate_says_what_reconstruct_is_to_be_told_of_a_protocol_s_image(case, capsys, monkeypatch, protocol, told):
    from PETSuperResLib.physics import simulation

    made = SimpleNamespace(write=lambda folder: ["lr.nii.gz"])
    monkeypatch.setattr(simulation, "simulate", lambda *_, **options: made)
    assert run(["simulate", "--pet", case["pet"], "--protocol", protocol, "--out", case["out"]]) == 0
    assert capsys.readouterr().out.endswith(f"\nTo reconstruct lr.nii.gz, give {told}\n")


@pytest.mark.parametrize(
    ("words", "scanner"),
    [
        (["--setting", "ood"], "Paper OOD"),
        (["--scanner", "Siemens Biograph mCT"], "Siemens Biograph mCT"),
        (["--protocol", "vision"], "Siemens Biograph Vision 600"),
        (["--scanner", "Siemens Biograph Vision 600", "--protocol", "vision"], "Siemens Biograph Vision 600"),
    ],
)
def test_simulate_takes_a_setting_a_scanner_or_a_protocol_of_that_scanner(case, monkeypatch, words, scanner):
    from PETSuperResLib.physics import simulation

    made, taken = SimpleNamespace(write=lambda folder: ["lr.nii.gz"]), []
    monkeypatch.setattr(simulation, "simulate", lambda _pet, _ct, scanner, *_, **options: taken.append(scanner) or made)
    assert run(["simulate", "--pet", case["pet"], *words, "--out", case["out"]]) == 0
    assert [one.name for one in taken] == [scanner]


def test_a_scanner_that_differs_from_its_protocol_s_in_any_value_is_not_left_aside(case, tmp_path, capsys):
    """The protocol is of the preset: the file's FWHM would not count."""
    from PETSuperResLib.scanner import Scanner

    own = Scanner.get("Siemens Biograph Vision 600", fwhm_transaxial_mm=5.0)
    (tmp_path / "own.json").write_text(json.dumps(own.to_dict()))
    words = ["--scanner", str(tmp_path / "own.json"), "--protocol", "vision"]
    assert run(["simulate", "--pet", case["pet"], *words, "--out", case["out"]]) == 2
    assert "leave --scanner out" in capsys.readouterr().err


def test_what_an_suv_lacks_is_told_with_the_option_that_states_it(tmp_path, capsys):
    """Only the command suv has such options; the others say so."""
    from dicom_factory import pet_slices, tracer, write_series

    datasets = pet_slices()
    for dataset in datasets:
        dataset.PatientWeight = None
    light = str(write_series(datasets, tmp_path / "weight"))
    for dataset in datasets:
        dataset.PatientWeight = 70
        tracer([dataset])[0].RadionuclideTotalDose = None
    empty = str(write_series(datasets, tmp_path / "dose"))
    out = str(tmp_path / "suv.nii.gz")
    assert run(["suv", light, "--out", out]) == 2
    assert "state the patient's weight in kg (--weight)." in capsys.readouterr().err
    assert run(["reconstruct", "--pet", empty, "--ct", light, "--out", str(tmp_path / "sr")]) == 2
    told = "state the administered dose ('petsuperres suv --dose' makes an SUV file with it, to be given as the PET)."
    assert told in capsys.readouterr().err
    assert run(["suv", empty, "--dose", "350e6", "--out", out]) == 2  # Bq
    assert "where about 1 is possible: check dose" in capsys.readouterr().err and not Path(out).exists()
    assert run(["suv", empty, "--dose", "350", "--out", out]) == 0  # MBq


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fwhm", "20"], "A FWHM of 20 mm is that of no clinical PET image"),
        (["--samples", "0"], "samples must be a whole number from 1, not 0 (--samples)."),
        (["--noise", "0"], "noise must be a number above 0 to 200, not 0 (--noise)."),
        (["--fwhm", "wide"], "'wide' is not a valid float"),
        (["--fwhm", "6,1"], "'6,1' is no number: write 6.1, with a decimal point."),
    ],
)
def test_a_number_beyond_its_limits_is_refused_as_in_python(case, capsys, words, told):
    """With the reason, where the option has one; the help shows the limits."""
    assert reconstruct(case, *words) == 2
    assert told in one_line(capsys) and files(case["out"]) == set()
    assert run(["lesions", "--pet", case["pet"], "--segmentation", case["mask"], "--fwhm", "20"]) == 2
    assert one_line(capsys).endswith("filter included (--fwhm).\n")
    assert run(["reconstruct", "--help"]) == 0 and "1.0<=x<=18.0" in capsys.readouterr().out


def numbers(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(words of the command, option) of every option that takes a number with decimals."""
    for name, one in getattr(command, "commands", {}).items():
        yield from numbers(one, (*path, name))
    for option in command.params:
        if isinstance(option.type, click.types.FloatParamType):
            yield path, option.opts[0]


@pytest.mark.parametrize(("path", "option"), list(numbers(cli)), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_every_number_with_a_decimal_comma_is_told_of_the_point(capsys, path, option):
    assert run([*path, option, "70,5"]) == 2
    assert f"'{option}': '70,5' is no number: write 70.5, with a decimal point. See" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["suv", "--dose", "1,850"], "'1,850' is no number: write 1.850, with a decimal point, or 1850."),
        (["suv", "--weight", "0,500"], "'0,500' is no number: write 0.500, with a decimal point."),
        (["suv", "--weight", "heavy"], "'heavy' is not a valid float"),
        (["study", "nema", "--ratio", "1"], "1 is not above 1 and at most 100."),
        (["evaluate", "--fit-minutes", "0"], "0 is not within 0.1 or more."),
    ],
)
def test_what_else_is_no_number_or_not_within_limits_is_told(capsys, words, told):
    assert run(words) == 2 and told in one_line(capsys)


@pytest.mark.parametrize("time", ["25:00:00", "12:61:00", "noon", "2460"])
def test_an_injection_at_an_impossible_time_is_refused_with_the_option(tmp_path, capsys, time):
    """In units that need no injection, too, in which a possible time is told as not used."""
    from dicom_factory import Scan, pet_slices, write_series

    series, out = str(write_series(pet_slices(Scan(units="GML")), tmp_path / "gml")), tmp_path / "suv.nii.gz"
    assert run(["suv", series, "--injection-time", time, "--out", str(out)]) == 2 and not out.exists()
    told = one_line(capsys)
    assert f"injection_time='{time}' is not a time" in told and told.endswith("(--injection-time).\n")
    assert run(["suv", series, "--injection-time", "10:00", "--out", str(out)]) == 0
    assert "injection_time is not used" in capsys.readouterr().out


def test_progress_bar_shows_the_time_left_on_a_terminal(monkeypatch):
    import io

    from PETSuperResLib.progress import Reporter

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Bar() as bar:
        report = Reporter(bar)
        report.began = time.monotonic() - 60
        report("sampling", 0.5, "step 25 of 50")
    assert "step 25 of 50" in screen.getvalue() and "50%" in screen.getvalue() and "60 s left" in screen.getvalue()


def test_progress_is_a_line_every_10_s_where_there_is_no_terminal(monkeypatch, capsys):
    """Also while nothing is reported, as by a long step or at the start."""
    from PETSuperResLib.commands import common
    from PETSuperResLib.progress import Event

    assert common.EVERY_S == 10
    monkeypatch.setattr(common, "EVERY_S", 0.2)
    with Bar("reading") as bar:
        time.sleep(0.3)
        bar(Event("slices 1-64 of 90", 0.1, "step 2", 7500.0))
        time.sleep(0.4)
    time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["  0.0 %  reading", " 10.0 %  slices 1-64 of 90, step 2, 2 h 05 min left"]
    assert 3 <= len(lines) <= 4  # none after the end


def test_a_step_that_takes_longer_than_expected_has_no_time_left(monkeypatch, capsys):
    from PETSuperResLib.commands import common

    monkeypatch.setattr(common, "EVERY_S", 0.2)
    with Bar("reading") as bar:
        bar(Event("recovering the uptake", 1.0, "", 0.0))
        time.sleep(0.3)
    assert capsys.readouterr().err.splitlines() == ["100.0 %  recovering the uptake"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "1 s"), (99.0, "99 s"), (99.9, "2 min"), (5900.0, "98 min"), (7140.0, "1 h 59 min")]
)
def test_the_time_left_is_never_0(seconds, words):
    assert in_time(seconds) == words


def test_the_time_left_of_a_part_is_that_of_the_whole_job():
    from PETSuperResLib.progress import Reporter

    events: list[Event] = []
    report = Reporter(events.append)
    report.start_clock(0.1)
    report.began -= 20  # seconds, in which 30 % were done
    report.part(0.4, 1.0)("sampling", 0.0)
    assert events[0].fraction == pytest.approx(0.4) and events[0].remaining_s == pytest.approx(40, abs=1)


@pytest.mark.parametrize("own", [None, "7"])
def test_threads_do_not_wait_actively_unless_the_user_says_so(own, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own:
        monkeypatch.setenv("GOMP_SPINCOUNT", own)
    code = "import os, PETSuperResLib, sys; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", own or "1000"]


def test_a_document_names_the_command_that_made_it_as_a_shell_takes_it():
    """Values with blanks are quoted, a switch that was turned off has its own name, and paths are left out."""

    @click.command("made")
    @click.option("--scanner")
    @click.option("--psf/--no-psf", default=None)
    @click.option("--limit", type=int)
    @click.option("--out", metavar="DIR")
    def made(**_given: object) -> None:
        click.echo(command_line())

    words = ["--scanner", "GE Signa PET/MR", "--no-psf", "--out", "/home/somebody"]
    told = CliRunner().invoke(made, words, prog_name="petsuperres made").output
    assert told == "petsuperres made --scanner 'GE Signa PET/MR' --no-psf --out OUT\n"
