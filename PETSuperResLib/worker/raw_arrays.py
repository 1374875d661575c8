"""Volumes between two processes: uncompressed NRRD, read and written in steps of one block.

Compressing a whole-body PET takes longer than a draft of it, and the general readers and writers return only when
they are done, which freezes a GUI. The files are ordinary NRRD: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError
from ..files import atomic_path
from ..progress import at_once
from ..vendor_strings import HEADER
from ..volume import Volume

MAGIC = b"NRRD0004\n"
MARK = "petsuperres raw array"
BLOCK = 1 << 22  # bytes


def write_raw(volume: Volume, path: str | Path) -> Path:
    """Write ``volume`` with its geometry (LPS, mm), unit, name and what its header says of scanner and reconstruction.

    Returns the path.

    Raises :class:`OutputError` when the disk is full or the folder cannot be written to; no part of a
    file is left.
    """
    return at_once(write_steps(volume, path))


def read_raw(path: str | Path, modality: str | None = None) -> Volume:
    """Read what :func:`write_raw` wrote; any other image goes to :meth:`Volume.read`.

    Raises :class:`InputError` for a missing or incomplete file.
    """
    return at_once(read_steps(path, modality))


def write_steps(volume: Volume, path: str | Path) -> Generator[None, None, Path]:
    """:func:`write_raw` as a generator that stops after each block; no part of a file is left when it is closed."""
    path = Path(path)
    matrix = volume.ijk_to_lps
    axes = " ".join(f"({','.join(repr(float(v)) for v in matrix[:3, n])})" for n in range(3))
    lines = [
        f"# {MARK}",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in volume.shape[::-1])}",
        f"space directions: {axes}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: ({','.join(repr(float(v)) for v in volume.origin)})",
        f"unit:={volume.unit}",
        f"name:={' '.join(str(volume.metadata.get('file', '')).split())}",
        f"header:={json.dumps({name: volume.metadata[name] for name in HEADER if name in volume.metadata})}",
    ]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + "\n".join(lines).encode() + b"\n\n")
        data = np.ascontiguousarray(volume.array, "<f4").data.cast("B")
        for first in range(0, len(data), BLOCK):
            file.write(data[first : first + BLOCK])
            yield
    return path


def read_steps(path: str | Path, modality: str | None = None) -> Generator[None, None, Volume]:
    """:func:`read_raw` as a generator that stops after each block."""
    path = Path(path)
    if not path.is_file():
        return Volume.read(path, modality=modality)
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC) + len(MARK) + 3)
            if start != MAGIC + f"# {MARK}\n".encode():
                return Volume.read(path, modality=modality)
            fields = {}
            while line := file.readline(4096).decode().strip():
                name, _, value = line.partition(":")
                fields[name] = value.lstrip("=").strip()
            shape = tuple(int(n) for n in reversed(fields["sizes"].split()))
            array = np.empty(shape, "<f4")
            data, done = array.data.cast("B"), 0
            while done < len(data) and (got := file.readinto(data[done : done + BLOCK])):
                done += got
                yield
            if done < len(data):
                raise ValueError("the file is cut off")
            columns = [np.array(_numbers(axis)) for axis in fields["space directions"].split()]
            spacing = [float(np.linalg.norm(c)) for c in columns]
            direction = np.stack([c / s for c, s in zip(columns, spacing, strict=True)], axis=1).ravel()
            origin = _numbers(fields["space origin"])
            header = json.loads(fields.get("header") or "{}")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as an image (missing, damaged or incomplete): run again.") from error
    x, y, z = origin
    i, j, k = spacing
    metadata = {**header, "file": fields.get("name") or path.name}
    return Volume(array, (i, j, k), (x, y, z), tuple(direction), fields.get("unit", ""), metadata)


def without_private_folder(error: Exception, folder: str | Path) -> Exception:
    """An error of writing into the client's private ``folder`` without the name of that folder; others as they are."""
    if not isinstance(error, OutputError) or str(folder) not in str(error):
        return error
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return no_temporary_files(Path(folder).parent, cause)


def no_temporary_files(folder: str | Path, cause: BaseException | None) -> OutputError:
    """The error where temporary files cannot be written into ``folder``."""
    reason = getattr(cause, "strerror", None) or cause or "it cannot be written"
    return OutputError(f"No place for temporary files in {folder} ({reason}): free some space and try again.")


def _numbers(text: str) -> list[float]:
    return [float(v) for v in text.strip("()").split(",")]
