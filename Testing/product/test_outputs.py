"""No command writes over a file that it reads or did not make; a folder of results holds one run's results."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import pet_slices, write_series
from tiny import small_phantom, without_progress, write_phantom

from PETSuperResLib.cli import run
from PETSuperResLib.lesions.measures import COLUMNS
from PETSuperResLib.volume import Volume

FOREIGN = b"the work of a day"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data folder with a case, and its volumes as files of other names."""
    folder = tmp_path_factory.mktemp("files")
    phantom = small_phantom()
    write_phantom(folder / "data" / "one")
    for name, volume in {"pet": phantom.pet, "ct": phantom.ct, "seg": phantom.labels}.items():
        volume.write(folder / f"{name}.nii.gz")
    write_series(pet_slices(), folder / "dicom")
    return folder


@pytest.fixture
def reconstruct(folder, prior_file):
    """Runs ``reconstruct`` as a draft: (folder of results, further or replaced options) to the exit code."""

    def call(out: Path, *more: str, **replaced: Path) -> int:
        files = {"pet": folder / "pet.nii.gz", "ct": folder / "ct.nii.gz", "prior": prior_file, **replaced}
        words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
        fixed = ["--scanner", "Paper standard", "--quality", "draft", "--spacing", "4", "--device", "cpu"]
        return run(["reconstruct", *words, *fixed, "--out", str(out), *more])

    return call


def told(capsys) -> str:
    error = without_progress(capsys.readouterr().err)
    assert error.startswith("petsuperres: ") and error.count("\n") == 1, error
    return error


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- never over an input --------------------------------------------------------------------------------
@pytest.mark.parametrize("link", ["", "hard", "symbolic"])
@pytest.mark.parametrize("which", ["pet", "ct", "segmentation", "prior"])
def test_reconstruct_refuses_to_write_over_its_input(reconstruct, folder, prior_file, tmp_path, capsys, which, link):
    own = {"pet": "pet.nii.gz", "ct": "ct.nii.gz", "segmentation": "seg.nii.gz"}
    source = folder / own[which] if which in own else prior_file
    (tmp_path / "sr.nii.gz").write_bytes(source.read_bytes())
    given = tmp_path / "sr.nii.gz"
    if link:
        given = tmp_path / f"elsewhere{source.suffix if which == 'prior' else '.nii.gz'}"
        os.replace(tmp_path / "sr.nii.gz", given)
        (os.link if link == "hard" else os.symlink)(given, tmp_path / "sr.nii.gz")
    before = tree(tmp_path)
    assert reconstruct(tmp_path, **{which: given}) == 2
    assert "sr.nii.gz is an input and would be overwritten" in told(capsys)
    assert tree(tmp_path) == before


def test_reconstruct_does_not_remove_an_earlier_result_that_is_its_input(reconstruct, tmp_path, capsys):
    assert reconstruct(tmp_path, "--samples", "2") == 0
    before = tree(tmp_path)
    assert reconstruct(tmp_path, pet=tmp_path / "sr.nii.gz") == 2
    assert reconstruct(tmp_path, pet=tmp_path / "std.nii.gz") == 2
    assert "is an input" in capsys.readouterr().err and tree(tmp_path) == before


@pytest.mark.parametrize("command", ["simulate", "lesions", "suv", "manifest", "train"])
def test_no_other_command_writes_over_its_input(command, folder, tmp_path, capsys):
    names = {"simulate": "truth.nii.gz", "lesions": "t.csv", "suv": "s.nrrd", "manifest": "m.json"}
    given = tmp_path / names.get(command, "config.json")
    source = folder / "dicom" / "PT0000.dcm" if command == "suv" else folder / "pet.nii.gz"
    given.write_bytes(b'{"train": ["one"]}' if command in ("manifest", "train") else source.read_bytes())
    pet = str(folder / "pet.nii.gz")
    words = {
        "simulate": ["--pet", str(given), "--setting", "standard", "--out", str(tmp_path)],
        "lesions": ["--pet", pet, "--segmentation", str(given), "--out", str(given)],
        "suv": [str(given), "--out", str(given)],
        "manifest": ["--data", str(folder / "data"), "--split", str(given), "--out", str(given)],
        "train": ["--config", str(given), "--out", str(tmp_path)],
    }
    if command == "train":
        given.write_text('{"steps": 1}')
    before = tree(tmp_path)
    assert run([command, *words[command]]) == 2
    assert f"{given} is an input" in told(capsys) and tree(tmp_path) == before


# -- never over a file of another origin ----------------------------------------------------------------
def commands(folder: Path, out: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Of every command that writes: its words with ``out``, and the names that it writes."""
    pet, ct, seg, data = (str(folder / name) for name in ("pet.nii.gz", "ct.nii.gz", "seg.nii.gz", "data"))
    both = ["--pet", pet, "--ct", ct]
    scanner = ["--scanner", "Paper standard", "--quality", "draft"]
    lesions = ["--segmentation", seg, "--samples", "2"]
    cases = ["sr.nii.gz", "report.json", "std.nii.gz", "lesions.csv"]
    runs = ["config.json", "prior.safetensors", "state.safetensors", "log.csv", "validation.csv"]
    figures = ["report.html", "summary.md", "metrics.csv", "lesions.csv"]
    found = {
        "reconstruct": (["reconstruct", *both, *scanner, *lesions], cases),
        "simulate": (
            ["simulate", "--pet", pet, "--setting", "standard"],
            ["truth.nii.gz", "lr.nii.gz", "measurement.safetensors", "protocol.json"],
        ),
        "batch": (
            ["batch", "--data", data, *scanner, "--samples", "2"],
            ["cases.csv", "lesions.csv", *(f"one/{n}" for n in cases)],
        ),
        "train": (["train"], runs),
        "evaluate": (["evaluate", "--data", data], figures),
        "demo": (["demo"], ["pet.nii.gz", "ct.nii.gz", "scene.mrml", "report.png", "lesions.csv", "lesions.seg.nrrd"]),
        "benchmark": (["benchmark"], ["benchmark.json"]),
        "study nema": (["study", "nema"], ["nema.csv", "nema.png"]),
        "study bias-noise": (["study", "bias-noise"], ["bias_noise.csv", "bias_noise.png"]),
        "study robustness": (
            ["study", "robustness", "--data", data],
            ["robustness.csv", "robustness.md", "robustness.png", "robustness_blobs.csv"],
        ),
        "study spread": (["study", "spread", "--data", data], ["spread.csv", "spread.md", "spread.png", "spread.json"]),
        "study quality-vs-time": (
            ["study", "quality-vs-time", "--data", data],
            ["quality_vs_time.csv", "quality_vs_time.png"],
        ),
        "study scaling": (["study", "scaling"], ["scaling.csv", "scaling.png"]),
    }
    return {name: ([*words, "--out", str(out)], names) for name, (words, names) in found.items()}


def files(folder: Path, out: Path) -> dict[str, list[str]]:
    """Of every command that writes one file: its words."""
    pet, seg, data = (str(folder / name) for name in ("pet.nii.gz", "seg.nii.gz", "data"))
    return {
        "suv": ["suv", str(folder / "dicom"), "--out", str(out / "suv.nii.gz")],
        "lesions": ["lesions", "--pet", pet, "--segmentation", seg, "--out", str(out / "table.csv")],
        "manifest": ["manifest", "--data", data, "--out", str(out / "list.json")],
    }


NAMES = [(command, name) for command, (_, names) in commands(Path(), Path()).items() for name in names]


@pytest.mark.parametrize(("command", "name"), NAMES, ids=str)
def test_a_file_that_the_command_did_not_make_is_refused_before_the_work(folder, tmp_path, capsys, command, name):
    words, _ = commands(folder, tmp_path / "out")[command]
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_bytes(FOREIGN)
    assert run(words) == 2
    error = told(capsys)
    assert f"{tmp_path / 'out' / name} exists and is no earlier result of this command" in error
    assert tree(tmp_path / "out") == {name: FOREIGN}


NOTES = "What I think of PETSuperRes"
LESION_TABLE = f"{','.join(COLUMNS)}\n,,lr,1{',' * (len(COLUMNS) - 4)}\n"


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        ("batch", "lesions.csv", LESION_TABLE),
        ("evaluate", "lesions.csv", LESION_TABLE),
        ("evaluate", "metrics.csv", LESION_TABLE),
        ("evaluate", "summary.md", NOTES),
        ("study nema", "nema.md", NOTES),
        ("benchmark", "benchmark.json", '{"machine": "mine"}'),
    ],
)
def test_what_looks_alike_is_refused(folder, tmp_path, capsys, command, name, text):
    (tmp_path / name).write_text(text)
    assert run(commands(folder, tmp_path)[command][0]) == 2
    assert f"{tmp_path / name} exists and is no earlier result" in told(capsys)
    assert tree(tmp_path) == {name: text.encode()}


def test_lesions_does_not_write_over_the_table_of_a_result(reconstruct, folder, tmp_path, capsys):
    assert reconstruct(tmp_path, segmentation=folder / "seg.nii.gz") == 0
    before = tree(tmp_path)
    assert run([*files(folder, tmp_path)["lesions"][:-1], str(tmp_path / "lesions.csv")]) == 2
    assert "lesions.csv exists and is no earlier result" in capsys.readouterr().err and tree(tmp_path) == before


@pytest.mark.parametrize("command", files(Path(), Path()))
def test_a_file_is_replaced_by_the_command_that_made_it_and_by_no_other(folder, tmp_path, capsys, command):
    words = files(folder, tmp_path)[command]
    assert run(words) == 0 and "in place of" not in capsys.readouterr().out
    assert run(words) == 0 and "in place of an earlier result" in capsys.readouterr().out
    path = Path(words[-1])
    text = "lesion,suvmax\n1,9.9\n" if command == "lesions" else '{"train": []}'
    path.write_text(text) if command != "suv" else Volume(np.zeros((2, 3, 4)), unit="SUVbw").write(path)
    mine = path.read_bytes()
    capsys.readouterr()
    assert run(words) == 2
    assert "no earlier result" in told(capsys) and path.read_bytes() == mine


MADE = "PETSuperRes. Research use only."  # in the documents of studies and evaluations
STUDIES = {  # a command: where its work is done
    "nema": "evaluation.nema.nema_study",
    "phantom --pet p --ct c --spheres s --scanner s": "evaluation.phantom.phantom_study",
    "protocols": "evaluation.protocols.protocols_study",
    "robustness --data d": "evaluation.robustness.robustness_study",
    "spread --data d": "evaluation.spread.spread_study",
    "quality-vs-time --data d": "evaluation.quality_vs_time.quality_vs_time",
    "bias-noise": "evaluation.bias_noise.bias_noise_study",
    "lesions --data d": "evaluation.lesions.lesions_study",
    "changes --data d": "evaluation.changes.changes_study",
    "scaling": "benchmarks.scaling.scaling",
}
LONG = {
    **{f"study {words}": (f"{words.split()[0].replace('-', '_')}.md", MADE) for words in STUDIES},
    "evaluate --data d": ("summary.md", MADE),
    "benchmark": ("benchmark.json", '{"machine": {}, "projector": []}'),
}


@pytest.fixture
def no_work(monkeypatch):
    """Studies, ``evaluate`` and ``benchmark`` end at once, without results."""
    for place in (*STUDIES.values(), "benchmarks.benchmark.benchmark"):
        module, _, name = place.rpartition(".")
        monkeypatch.setattr(import_module(f"PETSuperResLib.studies.{module}"), name, lambda *_, **__: [])
    monkeypatch.setattr(import_module("PETSuperResLib.studies.evaluation"), "evaluate", lambda *_, **__: None)


@pytest.mark.parametrize("command", LONG)
def test_a_study_says_when_it_has_replaced_an_earlier_result(no_work, tmp_path, capsys, command):
    name, text = LONG[command]
    for end in (".", ", in place of an earlier result."):
        assert run([*command.split(), "--out", str(tmp_path)]) == 0
        [told] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Wrote ")]
        assert told.endswith(end) and ("in place" in told) == ("in place" in end)
        (tmp_path / name).write_text(text)


def test_a_stopped_evaluation_that_is_continued_replaces_no_result(no_work, tmp_path, capsys):
    from PETSuperResLib.studies.evaluation.evaluate import METRIC_COLUMNS

    (tmp_path / "metrics.csv").write_text(",".join(METRIC_COLUMNS) + "\n")
    assert run(["evaluate", "--data", "d", "--out", str(tmp_path)]) == 0
    assert "in place of" not in capsys.readouterr().out


@pytest.mark.parametrize("command", files(Path(), Path()))
def test_missing_folders_of_a_file_are_made_as_those_of_a_folder_of_results(folder, tmp_path, command):
    words = files(folder, tmp_path / "new" / "folder")[command]
    assert run(words) == 0 and Path(words[-1]).is_file()


@pytest.mark.parametrize("command", files(Path(), Path()))
def test_a_file_of_another_kind_by_its_suffix_is_refused(folder, tmp_path, capsys, command):
    assert run([*files(folder, tmp_path)[command][:-1], str(tmp_path / "odd.docx")]) == 2
    assert "does not end with" in told(capsys) and not any(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("command", [*commands(Path(), Path()), *files(Path(), Path())])
def test_a_place_that_cannot_be_written_to_is_told_before_the_work(folder, capsys, command):
    place = Path("/proc/petsuperres")
    words = commands(folder, place)[command][0] if command in commands(folder, place) else files(folder, place)[command]
    assert run(words) == 2
    answer = capsys.readouterr()
    assert "cannot be written to" in answer.err and answer.err.count("\n") == 1 and not answer.out


def test_a_dangling_link_in_the_way_is_kept(reconstruct, tmp_path, capsys):
    (tmp_path / "sr.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    assert reconstruct(tmp_path) == 2
    assert "no earlier result" in told(capsys) and (tmp_path / "sr.nii.gz").is_symlink()


# -- one run's results ----------------------------------------------------------------------------------
def test_a_second_run_leaves_nothing_of_the_first_and_all_of_others(reconstruct, folder, tmp_path):
    assert reconstruct(tmp_path, "--samples", "2", segmentation=folder / "seg.nii.gz") == 0
    first = tree(tmp_path)
    assert set(first) == {"sr.nii.gz", "std.nii.gz", "report.json", "lesions.csv"}
    (tmp_path / "notes.txt").write_bytes(FOREIGN)
    assert reconstruct(tmp_path, "--seed", "1", pet=folder / "data" / "one" / "PET_SUV.nii.gz") == 0
    second = tree(tmp_path)
    assert set(second) == {"sr.nii.gz", "report.json", "notes.txt"} and second["notes.txt"] == FOREIGN
    assert second["report.json"] != first["report.json"]


@pytest.mark.slow
def test_a_changed_file_of_the_first_run_is_kept(reconstruct, tmp_path, capsys):
    assert reconstruct(tmp_path, "--samples", "2") == 0
    (tmp_path / "std.nii.gz").write_bytes(FOREIGN)
    assert reconstruct(tmp_path) == 0
    assert (tmp_path / "std.nii.gz").read_bytes() == FOREIGN
    assert reconstruct(tmp_path, "--samples", "2") == 2
    assert "std.nii.gz exists and is no earlier result" in told(capsys)


def test_a_second_simulation_says_so_and_leaves_no_protocol_of_the_first(folder, tmp_path, capsys):
    from PETSuperResLib.files import to_json

    words = ["simulate", "--pet", str(folder / "pet.nii.gz"), "--setting", "standard", "--out", str(tmp_path)]
    assert run(words) == 0
    (tmp_path / "protocol.json").write_text(to_json({"protocol": {}, "trues_per_slice": 1}))
    assert run([*words, "--seed", "1"]) == 0 and capsys.readouterr().out.count("in place of an earlier result") == 1
    assert set(tree(tmp_path)) == {"truth.nii.gz", "lr.nii.gz", "measurement.safetensors"}
