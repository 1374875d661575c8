"""Writing a derived DICOM series on request: what the worker is sent and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..progress import Callback
from .jobs import checked_fields
from .raw_arrays import read_raw

KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("volume", "out", "private"), (str,)),
    "source": (str, list, tuple),
    "report": (dict,),
}


@dataclass(frozen=True)
class DicomJob:
    """One series. ``source`` is the PET series that the volume was made from: its folder, or all its files."""

    volume: str
    source: str | Sequence[str]
    out: str
    report: dict[str, Any] | None = None
    private: str | None = None  # the client's folder, removed by a worker whose client has died

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> DicomJob:
        """The job of a message; raises :class:`InputError` naming a missing, unknown or wrong field."""
        return cls(**checked_fields(cls, KINDS, message))

    def run(self, _load: object, progress: Callback, _show: object) -> tuple[dict[str, Path], dict[str, Any]]:
        """Write the series, whole or not at all; (no volumes to read back, ``files``: the paths)."""
        from ..dicom.write import write_derived

        files = write_derived(read_raw(self.volume), self.source, self.out, self.report, progress=progress)
        return {}, {"files": [str(file) for file in files]}
