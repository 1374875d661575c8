"""Writing a job's results: all files or none, and JSON that every parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError
from .volume import atomic_path


def strict(value: Any) -> Any:
    """The value as plain JSON types; numbers that JSON does not know (NaN, infinity) become None."""
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


def check_folder(folder: str | Path) -> Path:
    """The folder, if it exists or can be made; raises :class:`OutputError` before any work is done. Makes nothing."""
    folder = Path(folder)
    parent = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    if not parent.is_dir():
        raise OutputError(f"{parent} is a file, not a folder: choose another --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"No permission to write to {parent}: choose another --out.")
    return folder


def check_file(path: str | Path) -> Path:
    """The file's path, if its folder exists or can be made and it is none itself; else as :func:`check_folder`."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give --out the name of a file.")
    check_folder(path.parent)
    return path


def file_hashes(files: Mapping[str, str | None]) -> dict[str, str]:
    """SHA-256 of each input that is a file (a DICOM folder is none)."""
    found = {}
    for name, path in files.items():
        if path and Path(path).is_file():
            digest = hashlib.sha256()
            with Path(path).open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            found[name] = digest.hexdigest()
    return found


def write_together(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Call each writer with a temporary path beside its target; the targets appear only when all have succeeded."""
    folders = {folder for path in writers for folder in path.parents if not folder.exists()}
    try:
        with ExitStack() as stack:
            temporary = {path: stack.enter_context(atomic_path(path)) for path in writers}
            for path, write in writers.items():
                try:
                    write(temporary[path])
                except OutputError as error:  # tell the name that was asked for
                    raise OutputError(str(error).replace(str(temporary[path]), str(path))) from error
    except BaseException:
        for folder in sorted(folders, reverse=True):  # the innermost first
            with suppress(OSError):
                folder.rmdir()
        raise
