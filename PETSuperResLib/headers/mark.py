"""Whether a file is DICOM, by its first bytes."""

from __future__ import annotations

from pathlib import Path


def has_dicom_mark(path: Path) -> bool:
    """Whether a file has DICOM's mark after its preamble (many have no suffix)."""
    return _first_bytes(path)[128:] == b"DICM"


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark, or begins with a data element of group 2 or 8 as old files without it do."""
    first = _first_bytes(path)
    bare = first[:2] in (b"\x02\0", b"\x08\0") and first[3:4] == b"\0" and len(first) == 132
    return first[128:] == b"DICM" or bare


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError:
        return b""
