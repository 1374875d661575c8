"""Where results go, checked before the work: no command writes over a file that it reads or that it did not make.

A file that exists is replaced only if it is recognised as an earlier result of the same command: by texts in its first
bytes (:func:`marked`), as a table by its columns (:func:`begins`) and by what lies beside it (:func:`next_to`), or by
the SHA-256 in a report (:func:`~PETSuperResLib.results.earlier_results`). Other files in a folder of results, such as
the user's notes, are allowed and stay; only a folder for a DICOM series must be new or empty, as whoever reads a
series takes all of its folder.
"""

from __future__ import annotations

import csv
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import OutputError
from .files import probe

HEAD = 1 << 16  # bytes that are searched for the text of a command
Recognised = Callable[[Path], bool]


def marked(*texts: str) -> Recognised:
    """Whether the first 64 KiB of a file, uncompressed, hold texts that together only one command writes."""

    def recognised(path: Path) -> bool:
        try:
            with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
                head = stream.read(HEAD)
                return all(text.encode() in head for text in texts)
        except (OSError, EOFError, zlib.error):
            return False

    return recognised


def begins(columns: Sequence[str], **only: Collection[str]) -> Recognised:
    """Whether a file is a table (CSV) whose first columns are the first four of these.

    ``only`` are the values that columns have of the command's own tables, where those of others have others, too.
    """
    wanted = list(columns[:4])

    def recognised(path: Path) -> bool:
        try:
            with path.open(encoding="utf-8", errors="replace", newline="") as stream:
                table = csv.DictReader(stream)
                if list(table.fieldnames or ())[: len(wanted)] != wanted:
                    return False
                return all(row[name] in values for row in table for name, values in only.items())
        except (OSError, csv.Error):
            return False

    return recognised


def next_to(name: str, its: Recognised, own: Recognised) -> Recognised:
    """Whether a file is ``own``, and the file ``name`` beside it is ``its``: one command writes both."""
    return lambda path: own(path) and its(path.with_name(name))


def check_outputs(files: Mapping[Path, Recognised], inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise :class:`OutputError` for a file to write or remove that is an input, not the command's own, or locked.

    ``files`` are those that the command may replace or remove, with how an earlier result is recognised. A file is an
    input under any of its names: by a link, or as a file of an input folder.
    """
    there = [path for path in files if os.path.lexists(path)]
    read = set(_identities(inputs)) if there else set()
    for path in there:
        if path.is_dir():
            raise OutputError(f"{path} is a folder and cannot be replaced by a file: choose another place.", "out")
        if path.exists() and _identity(path.stat()) in read:
            raise OutputError(f"{path} is an input and would be overwritten: choose another place.", "out")
        if not path.exists() or not files[path](path):
            raise OutputError(
                f"{path} exists and is no earlier result of this command: choose another place, or remove that file.",
                "out",
            )
        probe(path)


def check_folder(
    folder: str | Path, files: Mapping[str, Recognised] | None = None, inputs: Iterable[str | Path | None] = ()
) -> Path:
    """The folder, if it exists or can be made and written to; makes nothing.

    ``files``: the names that the command writes into it, checked by :func:`check_outputs`.
    Raises :class:`OutputError` otherwise.
    """
    folder = Path(folder)
    _try_writing(folder)
    check_outputs({folder / name: recognised for name, recognised in (files or {}).items()}, inputs)
    return folder


def check_file(
    path: str | Path, suffixes: Sequence[str], recognised: Recognised, inputs: Iterable[str | Path | None] = ()
) -> Path:
    """The file's path, if it has one of the suffixes and can be written; as :func:`check_folder`."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file.", "out")
    if not path.name.lower().endswith(tuple(suffixes)):
        raise OutputError(f"{path} does not end with {' or '.join(suffixes)}: give another name.", "out")
    _try_writing(path.parent, path.name)
    check_outputs({path: recognised}, inputs)
    return path


def _try_writing(folder: Path, name: str = "") -> None:
    """Raise unless files can be made in a folder that exists or can be made, by trying it beside."""
    parent = next((p for p in (folder, *folder.absolute().parents) if os.path.lexists(p)), Path("/"))
    if not parent.is_dir():
        raise OutputError(f"{parent} is a file, not a folder: choose another place for the results.", "out")
    missing = folder.absolute().relative_to(parent.absolute())
    try:
        trial = Path(tempfile.mkdtemp(prefix=".part-", dir=parent))
        try:
            (trial / missing).mkdir(parents=True, exist_ok=True)
            (trial / missing / (name or "file")).touch()
        finally:
            shutil.rmtree(trial, ignore_errors=True)
    except OSError as error:
        reason = f"{folder} cannot be written to ({error.strerror or error})"
        raise OutputError(f"{reason}: choose another place for the results.", "out") from error


def _identities(inputs: Iterable[str | Path | None]) -> Iterator[tuple[int, int]]:
    """Device and number of every input file, and of every file in an input folder."""
    for place in inputs:
        if place is None or not os.path.exists(place):
            continue
        if not os.path.isdir(place):
            yield _identity(os.stat(place))
            continue
        for folder, _, names in os.walk(place):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.exists(path):
                    yield _identity(os.stat(path))


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
