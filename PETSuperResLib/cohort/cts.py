"""CTs without PET, into which uptake is painted: a folder of them, divided like cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import fingerprint
from ..volume import SUFFIXES, Volume
from .cases import data_folder
from .manifest import PARTS, read_split_file

CT_NAMES = ("CT_HU.nii.gz", "CTres.nii.gz")
KEPT_EVERY = 3  # without a split, the second of every three CTs is not trained on


@dataclass(frozen=True)
class CT:
    """A CT by name: a file, or the folder of a DICOM series."""

    name: str
    place: Path

    def volume(self) -> Volume:
        """The CT in HU."""
        return Volume.read(self.place, "HU", "CT" if self.place.is_dir() else None)

    def sources(self) -> list[Path]:
        """Every file of the CT, to detect changes."""
        return sorted(p for p in self.place.rglob("*") if p.is_file()) if self.place.is_dir() else [self.place]

    def fingerprint(self) -> list[list[Any]]:
        """Of :meth:`sources`, by their places in the CT's own folder."""
        return fingerprint(self.sources(), self.place if self.place.is_dir() else self.place.parent)


def find_cts(folder: str | Path) -> list[CT]:
    """The CTs in ``folder``, sorted by name: image files, folders with ``CT_HU.nii.gz``, folders of a DICOM series.

    Raises :class:`InputError` where there is none.
    """
    found = []
    for place in sorted(data_folder(folder).iterdir()):
        suffix = next((s for s in SUFFIXES if place.name.lower().endswith(s)), None)
        if place.is_dir():
            images = [place / name for name in CT_NAMES if (place / name).is_file()]
            if images or any(place.iterdir()):
                found.append(CT(place.name, images[0] if images else place))
        elif suffix:
            found.append(CT(place.name[: -len(suffix)], place))
    if not found:
        raise InputError(f"No CT in {folder}: give a folder of image files, or of folders with {CT_NAMES[0]} or DICOM.")
    return found


def split_cts(folder: str | Path, part: str, split: str | Path | None = None) -> list[CT]:
    """The CTs of a part (``train``, ``validation`` or ``test``).

    The parts are lists of names under ``"cts"`` in the ``split`` file, or else in ``split.json`` in the folder. Without
    either, the second of every three CTs is kept for testing and for validation in turn, the others train.
    """
    cts = {ct.name: ct for ct in find_cts(folder)}
    named = None if split is None else read_split_file(Path(split)).get("cts")
    own = Path(folder) / "split.json"
    if named is None and own.is_file():
        named = read_split_file(own)
    if named is None:
        kept = list(cts)[1::KEPT_EVERY]
        named = {"test": kept[::2], "validation": kept[1::2], "train": [name for name in cts if name not in kept]}
    names = named.get(part, []) if isinstance(named, dict) else None
    if not isinstance(names, list):
        raise InputError(f"The split of the CTs has no lists {', '.join(PARTS)}: correct it.", "split")
    if missing := [name for name in names if name not in cts]:
        raise InputError(f"The split names the CT {missing[0]}, which is not in {folder}: correct either.", "split")
    return [cts[name] for name in names]
