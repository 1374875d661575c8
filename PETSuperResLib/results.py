"""The result of a reconstruction, and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .files import to_json, write_csv, write_together
from .lesions.measures import COLUMNS, Lesion, lesion_rows
from .volume import WRITABLE, Volume

FILES = {"sr": "sr.nii.gz", "report": "report.json", "lesions": "lesions.csv"}


@dataclass(frozen=True)
class Result:
    """The result of a reconstruction.

    ``volume``: the estimate (SUVbw). ``samples``: the posterior samples, where the request has more than one.
    ``maps``: further volumes on its grid by name; ``std`` is the samples' voxel-wise standard deviation.
    ``lesions``: by method (``lr`` for the PET), where there is a segmentation. ``report``: provenance and checks,
    JSON-ready.
    """

    volume: Volume
    samples: tuple[Volume, ...] = ()
    maps: Mapping[str, Volume] = field(default_factory=dict)
    lesions: Mapping[str, Sequence[Lesion]] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def write(
        self, out: str | Path, patient: str = "", save: Callable[[Volume, Path], object] | None = None, **facts: Any
    ) -> dict[str, Path]:
        """Write all files, or none; see :func:`target`. Returns the paths: ``sr``, the maps by name, ``report`` and,
        with a segmentation, ``lesions``.

        ``patient`` is written into the table of lesions, ``facts`` into the report; ``save`` writes a volume.
        """
        save = save or Volume.write
        scanner = (self.report.get("scanner") or {}).get("name", "")
        rows = [row for method, found in self.lesions.items() for row in lesion_rows(found, patient, scanner, method)]
        report = to_json({**self.report, **facts})
        writers: dict[str, Callable[[Path], object]] = {"sr": partial(save, self.volume)}
        writers |= {name: partial(save, volume) for name, volume in self.maps.items()}
        if self.lesions:
            writers["lesions"] = lambda path: write_csv(path, rows, COLUMNS)
        writers["report"] = lambda path: path.write_text(report, encoding="utf-8")
        write_together({target(out, key): write for key, write in writers.items()})
        return {key: target(out, key) for key in writers}


def target(out: str | Path, key: str) -> Path:
    """The file of ``key``: ``sr``, ``report``, ``lesions`` or a map.

    In a folder ``out`` their names are fixed: sr.nii.gz, report.json, lesions.csv, std.nii.gz. Where ``out`` is a
    volume file, that is ``sr``, and the others' names begin with its name.
    """
    path = Path(out)
    suffix = next((s for s in WRITABLE if path.name.lower().endswith(s)), None)
    if suffix is None:
        return path / FILES.get(key, f"{key}.nii.gz")
    stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
    names = {"sr": path.name, "report": f"{stem}.json", "lesions": f"{stem}_lesions.csv"}
    return path.with_name(names.get(key, f"{stem}_{key}{suffix}"))
