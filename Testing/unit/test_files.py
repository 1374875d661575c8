"""Results appear together or not at all, whatever the system refuses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from PETSuperResLib.errors import OutputError
from PETSuperResLib.files import atomic_path, write_together
from PETSuperResLib.lesions.measures import Lesion
from PETSuperResLib.outputs import check_outputs
from PETSuperResLib.results import Result, report_of
from PETSuperResLib.volume import Volume


def result(value: float, **maps: Volume) -> Result:
    """A result of one lesion, whose every value is ``value``."""
    measured = dict.fromkeys(("suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg"), value)
    lesions = {"ours-draft": [Lesion(label=1, name="a", voxels=1, **measured)]}
    return Result(Volume(np.full((2, 3, 4), value), unit="SUVbw"), maps=maps, lesions=lesions, report={"value": value})


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def lock(monkeypatch):
    """Makes the system refuse names: of what is moved (``from``), of where it is moved (``to``), or both."""

    def start(name: str, *ends: str) -> None:
        def refuses(call):
            def refusing(source, target):
                places = {"from": source, "to": target}
                if any(Path(places[end]).name == name for end in ends):
                    raise PermissionError(13, "it is being used by another process", str(target))
                return call(source, target)

            return refusing

        for call in ("replace", "rename"):
            monkeypatch.setattr(os, call, refuses(getattr(os, call)))

    return start


@pytest.mark.parametrize("ends", [("from", "to"), ("to",)], ids=["as Windows", "new ones only"])
@pytest.mark.parametrize("name", ["sr.nii.gz", "lesions.csv", "std.nii.gz", "report.json"])
def test_one_locked_file_keeps_the_earlier_result_whole(tmp_path, lock, monkeypatch, name, ends):
    result(1.0, std=Volume(np.ones((2, 3, 4)), unit="SUVbw")).write(tmp_path)
    before = tree(tmp_path)
    later = result(2.0) if name == "std.nii.gz" and "from" in ends else result(2.0, std=Volume(np.zeros((2, 3, 4))))
    lock(name, *ends)
    with pytest.raises(OutputError, match=rf"{name} is locked \(it is .*process\), so that nothing was written: close"):
        later.write(tmp_path)
    assert tree(tmp_path) == before and report_of(tmp_path / "sr.nii.gz")["value"] == 1
    monkeypatch.undo()
    later.write(tmp_path)
    report = report_of(tmp_path / "sr.nii.gz")
    assert report["value"] == 2 and set(tree(tmp_path)) == {*report["outputs_sha256"], "report.json"}


def test_a_locked_file_of_a_new_folder_leaves_nothing(tmp_path, lock):
    lock("lesions.csv", "to")
    with pytest.raises(OutputError, match=r"lesions\.csv"):
        result(1.0).write(tmp_path / "new" / "folder")
    assert not any(tmp_path.iterdir())


def test_an_interrupt_while_files_are_replaced_keeps_the_earlier_ones(tmp_path, monkeypatch):
    result(1.0).write(tmp_path)
    before, replace = tree(tmp_path), os.replace

    def interrupted(source, target):
        replace(source, target)
        if Path(target).name == "lesions.csv":
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result(2.0).write(tmp_path)
    assert tree(tmp_path) == before


def test_every_file_of_an_earlier_result_is_there_at_any_time_and_the_report_is_replaced_last(tmp_path, monkeypatch):
    """A power cut then leaves a result under its name."""
    result(1.0, std=Volume(np.ones((2, 3, 4)), unit="SUVbw")).write(tmp_path)
    names = {"sr.nii.gz", "lesions.csv", "report.json"}
    replace, seen, moved = os.replace, [], []

    def watched(source, target):
        replace(source, target)
        seen.append(names - set(tree(tmp_path)))
        moved.append(Path(target).name)

    monkeypatch.setattr(os, "replace", watched)
    result(2.0).write(tmp_path)
    assert not any(seen) and moved[-1] == "report.json" and set(moved) > names
    assert set(tree(tmp_path)) == names


def test_without_hard_links_files_are_replaced_and_come_back_too(tmp_path, monkeypatch):
    result(1.0).write(tmp_path)
    before, replace = tree(tmp_path), os.replace

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "replace", lambda a, b: refused() if Path(b).name == "report.json" else replace(a, b))
    with pytest.raises(OutputError, match=r"report\.json is locked"):
        result(2.0).write(tmp_path)
    assert tree(tmp_path) == before
    monkeypatch.setattr(os, "replace", replace)
    result(2.0).write(tmp_path)
    assert set(tree(tmp_path)) == set(before) and report_of(tmp_path / "sr.nii.gz")["value"] == 2


def test_a_file_that_cannot_be_moved_back_is_told_by_its_name(tmp_path, monkeypatch):
    old, new = tmp_path / "a.txt", tmp_path / "b.txt"
    old.write_text("old")

    def refused(*_: object) -> None:
        raise PermissionError(13, "it is open")

    replace = os.replace
    monkeypatch.setattr("os.replace", lambda a, b: refused() if Path(b) == new else replace(a, b))
    monkeypatch.setattr("shutil.move", refused)
    with pytest.raises(OutputError, match=r"b\.txt is locked.*other names: .*\.part-.* is .*a\.txt") as told:
        write_together({path: lambda part: part.write_text("new") for path in (old, new)})
    (kept,) = tmp_path.iterdir()
    assert kept.read_text() == "old" and str(kept) in str(told.value)


def test_a_file_that_cannot_be_written_is_the_one_that_is_named(tmp_path):
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.txt could not be written: No space left"):
        write_together({tmp_path / "a.txt": full, tmp_path / "b.txt": lambda path: path.write_text("b")})
    assert not any(tmp_path.iterdir())


def test_a_locked_file_is_told_before_the_work_and_when_it_is_written_alone(tmp_path, lock):
    table = tmp_path / "lesions.csv"
    table.write_text("old")
    check_outputs({table: lambda path: True})
    lock("lesions.csv", "from", "to")
    with pytest.raises(OutputError, match=r"lesions\.csv is locked .* close the program"):
        check_outputs({table: lambda path: True})
    with pytest.raises(OutputError, match=r"lesions\.csv is locked"), atomic_path(table) as part:
        part.write_text("new")
    assert tree(tmp_path) == {"lesions.csv": b"old"}
