"""The result of a reconstruction, and its files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from .errors import InputError, OutputError
from .files import file_hash, to_json, write_csv, write_together
from .lesions.measures import COLUMNS, Lesion, lesion_rows
from .outputs import check_folder, check_outputs
from .request import Request
from .volume import WRITABLE, Volume

FILES = {"sr": "sr.nii.gz", "report": "report.json", "lesions": "lesions.csv"}
FILES |= {"followup": "followup.csv", "pairs": "pairs.csv", "plot": "followup.png", "registration": "registration.png"}
FILES |= {"references": "references.png", "picture": "picture.png"}
HASHES = "outputs_sha256"  # of a report: SHA-256 of the files beside it, by name


@dataclass(frozen=True)
class Result:
    """The result of a reconstruction.

    ``volume``: the estimate (SUVbw). ``samples``: the posterior samples, where the request has more than one.
    ``maps``: further volumes on its grid by name; ``std`` is the spread of the samples (:mod:`.spread`),
    ``evidence``, ``residual`` and ``ct_effect`` are those of :class:`~.support.Support`.
    ``lesions``: by method (``lr`` for the PET), where there is a segmentation. ``report``: provenance and checks,
    JSON-ready.
    """

    volume: Volume
    samples: tuple[Volume, ...] = ()
    maps: Mapping[str, Volume] = field(default_factory=dict)
    lesions: Mapping[str, Sequence[Lesion]] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, patient: str = "") -> list[dict[str, Any]]:
        """The table of the lesions, with the keys of :data:`~.lesions.measures.COLUMNS`."""
        scanner = (self.report.get("scanner") or {}).get("name", "")  # none: an image of stated FWHM
        return [row for method, found in self.lesions.items() for row in lesion_rows(found, patient, scanner, method)]

    def write(
        self,
        out: str | Path,
        patient: str = "",
        save: Callable[[Volume, Path], object] | None = None,
        further: Mapping[str, Callable[[Path], object]] | None = None,
        before: str | None = None,
        **facts: Any,
    ) -> dict[str, Path]:
        """Write all files, or none, in place of an earlier result; see :func:`target`.

        ``before`` is what :func:`state` was when the work began. Raises :class:`OutputError` where another run has
        written since, or a file of another origin is in the way.

        Returns the paths: ``sr``, the maps by name, ``report`` and, with a segmentation, ``lesions``.

        ``patient`` is written into the table of lesions, ``facts`` into the report; ``save`` writes a volume,
        ``further`` other files by their keys.
        """
        save = save or Volume.write
        rows = self.rows(patient)
        writers: dict[str, Callable[[Path], object]] = {"sr": partial(save, self.volume)}
        writers |= {name: partial(save, volume) for name, volume in self.maps.items()}
        writers |= further or {}
        if self.lesions:
            writers["lesions"] = lambda path: write_csv(path, rows, COLUMNS)
        write_results(out, writers, {**self.report, **facts}, before=before)
        return {key: target(out, key) for key in (*writers, "report")}


def write_results(
    out: str | Path,
    writers: Mapping[str, Callable[[Path], object]],
    report: Mapping[str, Any],
    kept: Iterable[Path] = (),
    before: str | None = None,
) -> None:
    """Write files by their keys and a report with their SHA-256; what an earlier result left, but ``kept``, is removed.

    Raises :class:`OutputError` where a file of another origin is in the way, and where another run has written since
    the :func:`state` was ``before``.
    """
    hashes: dict[str, str] = {}

    def hashed(key: str, path: Path) -> None:
        writers[key](path)
        hashes[target(out, key).name] = file_hash(path)

    def conclude(path: Path) -> None:
        path.write_text(to_json({**report, HASHES: hashes}), encoding="utf-8")

    if before is not None and written_since(out, before):
        raise OutputError(f"Another run has written its result to {out} meanwhile: choose another place.", "out")
    earlier = earlier_results(out) - set(kept)
    together = {target(out, key): partial(hashed, key) for key in writers} | {target(out, "report"): conclude}
    check_outputs(dict.fromkeys(together, earlier.__contains__))
    write_together(together, earlier)


def check_results(out: str | Path, request: Request, inputs: Iterable[str | Path | None] = ()) -> Path:
    """The folder or volume file ``out``, if the results of a request can be written there without harm.

    Nothing is made. Raises :class:`OutputError` where it cannot be written to, and where an input (those of the
    request, and ``inputs``) or a file of another origin would be replaced or removed.
    """
    path, keys = Path(out), ["sr", "report"]
    keys += ["std"] if request.samples > 1 else []
    keys += ["evidence", "residual", "ct_effect"] if request.evidence else []
    keys += ["lesions"] if request.segmentation is not None else []
    check_folder(target(out, "sr").parent)
    earlier = earlier_results(out)
    files = {*(target(out, key) for key in keys), *earlier}
    check_outputs(dict.fromkeys(sorted(files), earlier.__contains__), [*request.files().values(), *inputs])
    return path


def state(out: str | Path) -> str:
    """What tells the result in ``out`` from any other: the SHA-256 of its report; empty where there is none."""
    report = target(out, "report")
    return file_hash(report) if report.is_file() else ""


def written_since(out: str | Path, before: str) -> bool:
    """Whether another run has written to ``out`` since its :func:`state` was ``before``."""
    return state(out) not in ("", before)


def place_for(out: str | Path, before: str) -> Path:
    """The folder or volume file ``out``; where another run has written to it since its :func:`state` was ``before``, a
    new one beside it, named by a number from 2 on."""
    path = Path(out)
    if not written_since(path, before):
        return path
    suffix = next((s for s in WRITABLE if path.name.lower().endswith(s)), "")
    if path.name in ("", ".."):  # a folder such as the current one
        path = Path(os.path.abspath(path))
    stem, suffix = path.name[: len(path.name) - len(suffix)], path.name[len(path.name) - len(suffix) :]
    numbered = (path.parent / f"{stem}-{number}{suffix}" for number in count(2))
    return next(place for place in numbered if not os.path.lexists(place) and not state(place))


def earlier_results(out: str | Path) -> set[Path]:
    """The report of an earlier result in ``out``, and those of its files that have not been changed since."""
    report = target(out, "report")
    recorded = _read(report)
    return {report, *_unchanged(report.parent, _hashes(recorded))} if HASHES in recorded else set()


def whole_report(out: str | Path) -> dict[str, Any]:
    """The report of a result in ``out`` all of whose files are there and unchanged; empty otherwise."""
    path = target(out, "report")
    report = _read(path)
    unchanged = _unchanged(path.parent, _hashes(report))
    whole = HASHES in report and all(path.parent / name in unchanged for name in _hashes(report))
    return report if whole else {}


def report_of(volume: str | Path, report: str | Path | None = None) -> dict[str, Any]:
    """The report of a super-resolved volume's file: the one beside it, or the one given.

    Raises :class:`InputError` where it is missing, or does not record this file's SHA-256.
    """
    path = Path(volume)
    beside = _beside(path)
    chosen = Path(report) if report else next((p for p in beside if p.is_file()), beside[0])
    if not path.is_file():
        raise InputError(f"No file {path}: check the path.")
    if not chosen.is_file():
        raise InputError(f"There is no report {chosen} of {path}: give the one of its reconstruction.", "report")
    found = _read(chosen)
    if file_hash(path) not in _hashes(found).values():
        raise InputError(
            f"{chosen} does not record {path} (by its SHA-256): give a super-resolved PET as it was written, and the "
            "report.json of the same reconstruction.",
            "report",
        )
    return found


def is_result(file: str | Path) -> bool:
    """Whether a report beside a file records it, by its SHA-256, as a file of a result."""
    path = Path(file)
    recorded = [digest for report in _beside(path) for digest in _hashes(_read(report)).values()]
    return bool(recorded) and path.is_file() and file_hash(path) in recorded


def lesions_of(volume: str | Path, report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of the lesion table that was written with a super-resolved volume; none where none was.

    ``report`` is the one of :func:`report_of`. Raises :class:`InputError` for a table that was changed since.
    """
    for path in (Path(volume).with_name(FILES["lesions"]), target(volume, "lesions")):
        if path.name in report[HASHES]:
            if not path.is_file() or file_hash(path) != report[HASHES][path.name]:
                raise InputError(f"{path} is missing or was changed since the reconstruction: make both again.")
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
    return []


def _beside(volume: Path) -> tuple[Path, Path]:
    """Where the report of a volume's file is: in a folder of one result, or named as the file."""
    return volume.with_name(FILES["report"]), target(volume, "report")


def _hashes(report: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 by name of the files that a report records."""
    found = report.get(HASHES)
    return found if isinstance(found, dict) else {}


def _unchanged(folder: Path, hashes: Mapping[str, str]) -> set[Path]:
    """The files in ``folder`` that have the SHA-256 recorded under their names."""
    paths = {folder / Path(name).name: digest for name, digest in hashes.items()}
    return {path for path, digest in paths.items() if path.is_file() and file_hash(path) == digest}


def _read(report: Path) -> dict[str, Any]:
    try:
        found = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
