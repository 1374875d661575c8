"""Training slices kept on disk: made once per case and setting, then read slice by slice.

Every entry is one safetensors file whose name holds a hash of everything that decides its values: files, settings and
the code that makes them. So an entry is never stale, several runs share a cache, and a cohort need not fit into
memory.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...files import atomic_path, hash_of

ENVIRONMENT = "PETSUPERRES_CACHE"
Pair = tuple[np.ndarray, np.ndarray]  # (PET in SUV, CT in HU), float16 ``(J, I)``


def cache_folder(folder: str | Path | None) -> Path | None:
    """Where slices are kept: ``folder``, else the environment's PETSUPERRES_CACHE, else nowhere (None)."""
    folder = folder or os.environ.get(ENVIRONMENT)
    return Path(folder) if folder else None


def entry_name(title: str, decides: dict[str, Any]) -> str:
    """The file name of an entry: a readable part, and a hash of all that decides its values."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", title)[-60:].strip("_.")
    return f"{readable}-{hash_of(decides)}.safetensors"


@dataclass(frozen=True)
class Stack:
    """Volumes of one shape in a row, ``array`` float16 ``(volumes * depth, 2, J, I)``, slices ``slice_mm`` apart."""

    array: np.ndarray
    depth: int
    slice_mm: float


def write_entry(path: Path, stack: Stack) -> None:
    """Write a stack, whole or not at all."""
    with atomic_path(path) as temporary:
        facts = json.dumps([stack.depth, stack.slice_mm])
        save_file({"slices": np.ascontiguousarray(stack.array)}, temporary, {"depth, slice_mm": facts})


def is_whole(path: Path) -> bool:
    """Whether an entry is there and not damaged."""
    try:
        return StoredSlices([path]).ends[-1] > 0
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return False


class StoredSlices(Sequence[Pair]):
    """The slices of several entries (files, or stacks in memory) in a row.

    A file is opened for each reading anew, so that neither memory nor open files grow with the cohort.
    """

    def __init__(self, entries: Sequence[Path | Stack]):
        self.entries = list(entries)
        facts = [_facts(entry) for entry in entries]
        self.ends = list(accumulate(length for length, _, _ in facts))
        self.depths, self.spacings = [depth for _, depth, _ in facts], [mm for _, _, mm in facts]

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
        pair = self._read(place, k, k + 1)[0]
        return pair[0], pair[1]

    def around(self, index: int, neighbours: int, stride: int = 1) -> tuple[np.ndarray, np.ndarray, float]:
        """A slice between its neighbours in its volume, every ``stride``-th: PET ``(1 + 2 neighbours, J, I)``,
        CT ``(J, I)`` and their distance in mm; mirrored at the volume's ends."""
        place, k = self._find(index)
        depth = self.depths[place]
        first, own = k - k % depth, k % depth
        near = (own + stride * np.arange(-neighbours, neighbours + 1)) % max(1, 2 * (depth - 1))
        near = np.minimum(near, 2 * (depth - 1) - near)
        low = int(near.min())
        read = self._read(place, first + low, first + int(near.max()) + 1)
        return read[near - low, 0], read[own - low, 1], stride * self.spacings[place]

    def slice_mm(self, index: int) -> float:
        """The slice spacing of the volume that slice ``index`` belongs to."""
        return self.spacings[self._find(index)[0]]

    def _find(self, index: int) -> tuple[int, int]:
        index = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self.ends, index)
        return place, index - (self.ends[place - 1] if place else 0)

    def _read(self, place: int, first: int, last: int) -> np.ndarray:
        entry = self.entries[place]
        if isinstance(entry, Stack):
            return entry.array[first:last]
        with safe_open(entry, framework="np") as file:
            return file.get_slice("slices")[first:last]  # type: ignore[no-any-return]


def _facts(entry: Path | Stack) -> tuple[int, int, float]:
    """Slices, slices of each volume, and mm from slice to slice."""
    if isinstance(entry, Stack):
        return len(entry.array), entry.depth, entry.slice_mm
    with safe_open(entry, framework="np") as file:
        depth, slice_mm = json.loads(file.metadata()["depth, slice_mm"])
        return file.get_slice("slices").get_shape()[0], depth, slice_mm
