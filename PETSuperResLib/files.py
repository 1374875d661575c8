"""Writing a job's results: all files or none, and JSON that every parser reads."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError


def strict(value: Any) -> Any:
    """The value as plain JSON types; numbers without a form in JSON (NaN, infinity) become None."""
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [strict(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def to_json(value: Any) -> str:
    """Strict JSON text with an indent of two."""
    return json.dumps(strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(files: Mapping[str, str | None]) -> dict[str, str]:
    """SHA-256 of each input that is a file (a DICOM folder is none)."""
    return {name: file_hash(Path(path)) for name, path in files.items() if path and Path(path).is_file()}


def write_together(writers: Mapping[Path, Callable[[Path], object]], stale: Iterable[Path] = ()) -> None:
    """Call each writer with a temporary path beside its target; the targets appear only when all have succeeded.

    The ``stale`` files, of an earlier result, are removed then. Raises :class:`OutputError` where a file cannot be
    written, replaced or removed; all that was there is there unchanged then, and nothing else.
    """
    folders = {folder for path in writers for folder in path.parents if not folder.exists()}
    try:
        with ExitStack() as stack:
            temporary = {path: stack.enter_context(_part_of(path)) for path in writers}
            for path, write in writers.items():
                try:
                    with _naming(path):
                        write(temporary[path])
                        _with_usual_mode(temporary[path])
                except OutputError as error:  # the target is named instead
                    raise OutputError(str(error).replace(str(temporary[path]), str(path))) from error
            _exchange(temporary, set(stale) - set(writers))
    except BaseException:
        for folder in sorted(folders, reverse=True):  # the innermost first
            with suppress(OSError):
                folder.rmdir()
        raise


def _exchange(parts: Mapping[Path, Path], stale: Iterable[Path]) -> None:
    """Put the parts, by their targets, in the targets' place, in order, and remove the stale files before the last one:
    all or nothing.

    A program that has a file open, as a spreadsheet has on Windows, prevents that before anything is replaced. What is
    there keeps its name until its successor has it, also where the power is cut.
    """
    there = [path for path in (*parts, *stale) if path.is_symlink() or path.is_file()]
    aside = {path: path.with_name(f".part-{secrets.token_hex(8)}{path.suffix}") for path in there}
    moves = [(part, path) for path, part in parts.items()]
    moves[-1:-1] = [(path, kept) for path, kept in aside.items() if path not in parts]
    begun = []
    try:
        for path in there:
            probe(path)
        for path in parts.keys() & aside.keys():
            _keep(path, aside[path])
        for source, target in moves:
            begun.append(target)
            _replace(source, target, target if target in parts else source)
    except BaseException as error:
        for path in parts.keys() & set(begun) - aside.keys():
            if not parts[path].exists():  # it is in its place
                with suppress(OSError):
                    path.unlink()
        lost = [f"{kept} is {path}" for path, kept in aside.items() if not _is_back(kept, path)]
        if lost:
            raise OutputError(f"{error} Files of the earlier result have other names: {', '.join(lost)}.") from error
        raise
    for kept in aside.values():
        with suppress(OSError):
            kept.unlink()


def probe(path: Path) -> None:
    """Raise :class:`OutputError` for a file that cannot be replaced or removed, as another program has it open."""
    try:
        os.rename(path, path)  # changes nothing; Windows refuses it
    except PermissionError as error:
        raise locked(path, error) from error


def _keep(path: Path, kept: Path) -> None:
    """Give a file a second name; where the file system has no hard links, that name alone."""
    try:
        if path.is_symlink():
            raise OSError
        os.link(path, kept)
    except (OSError, NotImplementedError):
        _replace(path, kept, path)


def _is_back(kept: Path, path: Path) -> bool:
    """Whether a file that was given another name, or was not yet, has its own again, and no other."""
    if not os.path.lexists(kept):
        return True
    try:
        if os.path.lexists(path) and os.path.samestat(os.lstat(kept), os.lstat(path)):
            kept.unlink()
        else:
            shutil.move(kept, path)
    except OSError:
        if os.path.lexists(path) and not path.is_dir():
            with suppress(OSError):
                path.unlink()
        return False
    return True


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that becomes ``path`` only on success; raises :class:`OutputError`."""
    path = Path(path)
    with _part_of(path) as temporary, _naming(path):
        yield temporary
        _with_usual_mode(temporary)
        _replace(temporary, path, path)


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """An empty temporary file beside ``path``, in a folder that is made; it is removed if it is still there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"Cannot write to {path.parent}: {error.strerror}; choose another folder.") from error
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raise :class:`OutputError` that names ``path`` for an error of the system."""
    try:
        yield
    except Exception as error:
        # safetensors wraps the system's error; it is not imported for it, as Slicer may not have it yet
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{path} could not be written: {reason}; free space or use another folder.") from error
        raise


def _with_usual_mode(temporary: Path) -> None:
    """Give a temporary file, which its owner alone may read, the mode of other new files."""
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)


def _replace(source: Path, target: Path, named: Path) -> None:
    """Rename a file; an error that names ``named`` is raised where the system refuses."""
    with _naming(named):
        try:
            os.replace(source, target)
        except PermissionError as error:
            raise locked(named, error) from error


def locked(path: Path, error: OSError) -> OutputError:
    """The error where the system does not let a file be replaced or removed."""
    return OutputError(
        f"{path} is locked ({error.strerror or error}), so that nothing was written: close the program that has it "
        "open, or choose another place.",
        "out",
    )


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows as comma-separated text, whole or not at all; missing values stay empty, further keys are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return write_text(path, text.getvalue())


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file, whole or not at all; returns the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text in columns: the first one to the left, the others to the right."""
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return [
        "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]


def fingerprint(files: Sequence[Path], folder: Path) -> list[list[Any]]:
    """Place in ``folder``, size and time of change of every file, so that changed data are not taken from a cache."""
    rows = []
    for file in files:
        stat = file.stat()
        place = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()
        rows.append([place, stat.st_size, stat.st_mtime_ns])
    return rows


def hash_of(decides: Mapping[str, Any]) -> str:
    """20 hexadecimal digits of plain values and of the package; a stored result is valid as long as they are equal."""
    text = json.dumps({"package": package_hash(), **decides}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def package_hash() -> str:
    """SHA-256 of the package's code (comments apart) and of its presets: another one may give other values."""
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(ast.dump(ast.parse(file.read_bytes())).encode())
    for file in sorted((folder / "Resources").glob("*.json")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the C libraries on standard error, which print beside the one line of an exception."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error, as in a program without a console
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
