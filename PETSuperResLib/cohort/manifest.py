"""A list of a data folder's cases, checked and divided by patient into training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError, OutputError, PETSuperResError
from ..files import to_json, write_text
from ..progress import Callback, Reporter
from .cases import LAYOUTS, Case, data_folder, find_cases, inside, search, with_patients
from .checks import check_case
from .parallel import spread

FORMAT = "petsuperres-manifest-1"
PARTS = ("train", "validation", "test")
REMEDY = "give another split, or make a manifest of the data folder"
SHARE = 0.1  # of the patients, each for validation and for test


def write_manifest(
    data: str | Path,
    out: str | Path,
    split: str | Path | None = None,
    seed: int = 0,
    patient_pattern: str | None = None,
    progress: Callback | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """List, check and divide the cases of ``data`` and write the list to ``out`` (JSON); returns its content.

    Every case is read once (:func:`~PETSuperResLib.cohort.checks.check_case`); unfit ones are
    listed as skipped, with the reason. ``split`` (default: ``split.json`` in the folder, if there is one) is
    kept as it is and cases that it does not name are skipped; without one, patients are divided 80/10/10 by
    ``seed``. ``patient_pattern`` is a regular expression whose first group is the patient in a case's name.
    Raises :class:`InputError` when nothing is left, or when a split puts one patient into two parts.
    """
    folder, report = data_folder(data), Reporter(progress)
    report("searching", 0.0, f"searching {folder.name}")
    found = search(folder)
    cases = with_patients(found.cases.values(), patient_pattern)
    skipped = dict(found.skipped)
    parts = _parts_of(folder, split, cases)
    skipped |= {c.name: "the split does not name it" for c in cases if parts is not None and c.name not in parts}
    rows: dict[str, dict[str, Any]] = {}
    to_read = [c for c in cases if c.name not in skipped]
    with closing(spread(_checked, to_read, workers)) as results:
        for n, (case, facts, reason) in enumerate(results, 1):
            report("checking", n / len(to_read), case.name)
            if reason:
                skipped[case.name] = reason
            else:
                rows[case.name] = _row(case, folder) | facts
    if not rows:
        why = next((f" ({name or '.'}: {reason})" for name, reason in skipped.items()), "")
        raise InputError(f"No usable case in {folder}{why}: a case is {LAYOUTS}.")
    chosen = parts or divide({name: row["patient"] for name, row in rows.items()}, seed)
    ordered = {name: rows[name] | {"part": chosen[name]} for name in sorted(rows)}
    content = {
        "format": FORMAT,
        "seed": None if parts else seed,
        **{part: [name for name, row in ordered.items() if row["part"] == part] for part in PARTS},
        "cases": ordered,
        "skipped": dict(sorted(skipped.items())),
    }
    write_text(out, to_json(content))
    report("done", 1.0)
    return content


def divide(patients: Mapping[str, str], seed: int) -> dict[str, str]:
    """A part for every case name, given its patient: all of a patient's cases in one part, 80/10/10 of patients.

    Patients are ranked by a hash of seed and identity, so that added patients move few others. With three
    patients or more every part has one; with fewer, all are for training.
    """
    known = sorted(set(patients.values()), key=lambda p: hashlib.sha256(f"{seed} {p}".encode()).digest())
    held = max(1, round(SHARE * len(known))) if len(known) > 2 else 0
    part = {p: "test" if n < held else "validation" if n < 2 * held else "train" for n, p in enumerate(known)}
    return {name: part[patient] for name, patient in patients.items()}


def read_split(folder: str | Path, part: str, split: str | Path | None = None) -> list[str]:
    """Names of the ``train``, ``validation`` or ``test`` cases from ``split``: a manifest, or lists of names.

    Without ``split`` it is ``split.json`` or else ``manifest.json`` in the folder.
    """
    path = _split_file(Path(folder), split)
    names = read_split_file(path).get(part)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is not a split file with a list '{part}': {REMEDY}.", "split")
    return names


def split_cases(folder: str | Path, part: str, split: str | Path | None = None) -> list[Case]:
    """The cases of a part; from a manifest without searching the folder. :class:`InputError` when there are none."""
    names = read_split(folder, part, split)
    path = _split_file(Path(folder), split)
    if not names:
        raise InputError(f"{path} names no case to {part} with: {REMEDY}.", "split")
    content = read_split_file(path)
    if content.get("format") != FORMAT:
        return find_cases(folder, names)
    try:
        return [_case(name, content["cases"][name], Path(folder), path) for name in names]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged (no complete entry {error}): write it anew.", "split") from error


def _checked(case: Case) -> tuple[Case, dict[str, Any], str]:
    """The case's entry, or the reason why it is skipped."""
    try:
        return case, check_case(case), ""
    except OutputError:
        raise
    except PETSuperResError as error:
        return case, {}, str(error)


def _parts_of(folder: Path, split: str | Path | None, cases: Sequence[Case]) -> dict[str, str] | None:
    """The part of every case that an existing split names (itself, or the folder above it: its patient)."""
    if split is None and not (folder / "split.json").is_file():
        return None
    path = _split_file(folder, split)
    content = read_split_file(path)
    known = [part for part in PARTS if part in content]
    if not known:
        raise InputError(f"{path} is not a split file with lists {', '.join(PARTS)}: {REMEDY}.", "split")
    named: dict[str, str] = {}
    for part in known:
        for name in read_split(folder, part, path):
            if named.setdefault(name, part) != part:
                raise InputError(f"{path} names {name} in {named[name]} and in {part}: keep one.")
    parts: dict[str, str] = {}
    together: dict[str, str] = {}
    for case in cases:
        above = [case.name, *(p.as_posix() for p in PurePosixPath(case.name).parents)]
        if not (meant := [name for name in above if name in named]):
            continue
        parts[case.name] = named[meant[0]]
        if together.setdefault(case.patient, parts[case.name]) != parts[case.name]:
            raise InputError(
                f"{path} puts studies of one patient ({case.name} and another) into {together[case.patient]} and "
                f"{parts[case.name]}: keep a patient in one part, or tell patients apart by the patient pattern.",
                "patient_pattern",
            )
    return parts


def _split_file(folder: Path, split: str | Path | None) -> Path:
    data_folder(folder)
    if split is not None:
        return Path(split)
    own = folder / "split.json", folder / "manifest.json"
    return next((path for path in own if path.is_file()), own[0])


def read_split_file(path: Path) -> dict[str, Any]:
    """The content of a split file or manifest; :class:`InputError` for what is none."""
    if not path.is_file():
        raise InputError(f"There is no split file {path}: {REMEDY}.", "split")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a split file: {REMEDY}.", "split") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a split file with lists {', '.join(PARTS)}: {REMEDY}.", "split")
    return content


def _row(case: Case, folder: Path) -> dict[str, Any]:
    files = {"pet": case.pet_file, "ct": case.ct_file}
    series = {"pet_series": case.pet_series, "ct_series": case.ct_series}
    return {
        "kind": case.kind,
        "patient": case.patient,
        **{name: path.relative_to(folder).as_posix() for name, path in files.items()},
        **(
            {"lesions": [path.relative_to(folder).as_posix() for path in case.lesion_files]}
            if case.lesion_files
            else {}
        ),
        **{name: uid for name, uid in series.items() if uid},
    }


def _case(name: str, row: Mapping[str, Any], folder: Path, manifest: Path) -> Case:
    pet, ct = (folder / inside(row[kind]) for kind in ("pet", "ct"))
    lesions = tuple(folder / inside(path) for path in row.get("lesions", ()))
    for path in (pet, ct, *lesions):
        if not path.exists():
            raise InputError(
                f"{manifest} names {path}, which is not there: give the data folder as it was, or {REMEDY}.", "split"
            )
    return Case(name, pet, ct, lesions, row["kind"], row["patient"], row.get("pet_series"), row.get("ct_series"))


def summary(content: Mapping[str, Any]) -> str:
    """A manifest in lines: cases and patients by part, and the skipped cases."""
    cases: Mapping[str, Mapping[str, Any]] = content["cases"]
    lines = []
    for part in PARTS:
        patients = {row["patient"] for row in cases.values() if row["part"] == part}
        lines.append(f"{part:<11} {len(content[part])} cases of {len(patients)} patients")
    kinds = Counter(row["kind"] for row in cases.values())
    lines.append("read as     " + ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items())))
    warned = [f"{name}: {text}" for name, row in cases.items() for text in row.get("warnings", [])]
    skipped = [f"{name or '.'}: {reason}" for name, reason in content["skipped"].items()]
    for title, rows in (("to look at", warned), ("skipped", skipped)):
        if rows:
            lines += [f"{title:<11} {len(rows)}", *(f"  {row}" for row in rows)]
    if len({row["patient"] for row in cases.values()}) < 3:
        lines.append("All cases train: to divide them, three patients are needed (see the patient pattern).")
    return "\n".join(lines)
