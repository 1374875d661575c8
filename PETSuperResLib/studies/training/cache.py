"""Training slices kept on disk: made once per case and setting, then read slice by slice.

Every entry is one ``.npy`` file (float16, ``(K, 2, J, I)``: PET in SUV and CT in HU; after the array, where numpy
does not look, the slices of a volume and their spacing in mm) whose name holds a hash of everything that decides
its values: files, settings and the code that makes them. So an entry is never stale, several runs share a
cache, and a cohort need not fit into memory.
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.lib import format as npy

from ...errors import OutputError
from ...files import atomic_path, hash_of

ENVIRONMENT = "PETSUPERRES_CACHE"
Pair = tuple[np.ndarray, np.ndarray]  # (PET in SUV, CT in HU), float16 ``(J, I)``
TAIL = struct.Struct("<qd")  # slices of each volume, mm from slice to slice


def cache_folder(folder: str | Path | None) -> Path | None:
    """Where slices are kept: ``folder``, else the environment's PETSUPERRES_CACHE, else nowhere (None)."""
    folder = folder or os.environ.get(ENVIRONMENT)
    return Path(folder) if folder else None


def entry_name(title: str, decides: dict[str, Any]) -> str:
    """The file name of an entry: a readable part, and a hash of all that decides its values."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", title)[-60:].strip("_.")
    return f"{readable}-{hash_of(decides)}.npy"


@dataclass(frozen=True)
class Stack:
    """Volumes of one shape in a row, ``array`` ``(volumes * depth, 2, J, I)``, slices ``slice_mm`` apart."""

    array: np.ndarray
    depth: int
    slice_mm: float


def write_entry(path: Path, stacks: Iterator[Stack], number: int) -> None:
    """Write ``number`` stacks of one shape one after the other, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for n, stack in enumerate(stacks):
            if n == 0:
                shape = (number * len(stack.array), *stack.array.shape[1:])
                npy.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
            # by write and not through a memory map, which would end the process on a full disk
            file.write(np.ascontiguousarray(stack.array, "<f2").tobytes())
        file.write(TAIL.pack(stack.depth, stack.slice_mm))
    if shape_of(path) is None:
        raise OutputError(f"{path} could not be written whole: check free space, or choose another cache folder.")


def shape_of(path: Path) -> tuple[int, ...] | None:
    """The shape of a whole entry, None for one that is missing or damaged."""
    try:
        with path.open("rb") as file:
            shape, offset = _header(file)
            file.seek(0, os.SEEK_END)
            return shape if file.tell() == offset + 2 * int(np.prod(shape)) + TAIL.size else None
    except (OSError, ValueError, EOFError):
        return None


def _header(file: Any) -> tuple[tuple[int, ...], int]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran or dtype != np.dtype("<f2") or len(shape) != 4 or shape[1] != 2:
        raise ValueError("another kind of array")
    return shape, file.tell()


class StoredSlices(Sequence[Pair]):
    """The slices of several entries (files, or stacks in memory) in a row, read when they are asked for.

    A file is mapped for each slice anew, so that neither memory nor open files grow with the cohort.
    """

    def __init__(self, entries: Sequence[Path | Stack]):
        self.entries: list[tuple[np.ndarray | tuple[Path, int, tuple[int, ...]], int, float]] = []
        lengths = []
        for entry in entries:
            if isinstance(entry, Stack):
                self.entries.append((entry.array, entry.depth, entry.slice_mm))
                lengths.append(len(entry.array))
                continue
            with entry.open("rb") as file:
                shape, offset = _header(file)
                file.seek(-TAIL.size, os.SEEK_END)
                depth, slice_mm = TAIL.unpack(file.read(TAIL.size))
            self.entries.append(((entry, offset, shape[1:]), depth, slice_mm))
            lengths.append(shape[0])
        self.ends = list(accumulate(lengths))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        place, k = self._find(index)
        return self._read(place, k)

    def around(self, index: int, neighbours: int, stride: int = 1) -> tuple[np.ndarray, np.ndarray, float]:
        """A slice between its neighbours in its volume, every ``stride``-th: PET ``(1 + 2 neighbours, J, I)``,
        CT ``(J, I)`` and their distance in mm; mirrored at the volume's ends."""
        place, k = self._find(index)
        _, depth, slice_mm = self.entries[place]
        first, own = k - k % depth, k % depth
        near = (own + stride * np.arange(-neighbours, neighbours + 1)) % max(1, 2 * (depth - 1))
        near = np.minimum(near, 2 * (depth - 1) - near)
        pets = [self._read(place, first + int(n))[0] for n in near]
        return np.stack(pets), self._read(place, k)[1], stride * slice_mm

    def slice_mm(self, index: int) -> float:
        """The slice spacing of the volume that slice ``index`` belongs to."""
        return self.entries[self._find(index)[0]][2]

    def _find(self, index: int) -> tuple[int, int]:
        index = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self.ends, index)
        return place, index - (self.ends[place - 1] if place else 0)

    def _read(self, place: int, k: int) -> Pair:
        entry, _, _ = self.entries[place]
        if isinstance(entry, np.ndarray):
            return entry[k, 0], entry[k, 1]
        path, offset, shape = entry
        pair = np.memmap(path, "<f2", "r", offset + k * 2 * int(np.prod(shape)), shape)
        return pair[0], pair[1]
