"""PET/CT cases in a data folder: folders of NIfTI files, nnU-Net's raw form, and DICOM studies.

A case is one study of one patient: a PET, its CT and perhaps the lesions' contours. Its name is its path in
the data folder, so a list of names gives the same cases without a search.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import InputError
from .case import Case
from .dicom_studies import DicomFiles

CASE_FILES = (("PET_SUV.nii.gz", "CT_HU.nii.gz", "GTV.nii.gz"), ("SUV.nii.gz", "CTres.nii.gz", "SEG.nii.gz"))
NNUNET_CT, NNUNET_PET = "_0000.nii.gz", "_0001.nii.gz"
AUTOPET = re.compile(r"(?:fdg|psma)_([0-9a-f]+)_")  # autoPET's nnU-Net names: tracer, patient, study
LAYOUTS = (
    f"a folder with {CASE_FILES[0][0]} and {CASE_FILES[0][1]} (or {CASE_FILES[1][0]} and {CASE_FILES[1][1]}), "
    f"imagesTr/X{NNUNET_CT} (CT) with X{NNUNET_PET} (SUV), or a DICOM study"
)


@dataclass
class Found:
    """Result of a search: cases by name, and folders that are no case with the reason."""

    cases: dict[str, Case] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def find_cases(folder: str | Path, names: Iterable[str] | None = None) -> list[Case]:
    """Cases below ``folder`` in every layout (:data:`LAYOUTS`), by name: all, or those of ``names`` in their order.

    A name may also be a folder of several cases (a patient with several studies): all of them are taken.
    Raises :class:`InputError` when the folder, a named case or any case at all is missing.
    """
    folder = data_folder(folder)
    if names is None:
        found = search(folder)
        if not found.cases:
            reason = next((f" ({name or '.'}: {why})" for name, why in found.skipped.items()), "")
            raise InputError(f"No case in {folder}{reason}: a case is {LAYOUTS}.")
        return list(found.cases.values())
    chosen: dict[str, Case] = {}
    searched: dict[Path, Found] = {}
    for name in names:
        start = folder / inside(name)
        while not start.is_dir():
            start = start.parent
        if start not in searched:
            searched[start] = search(folder, start)
        cases = searched[start].cases
        meant = [cases[name]] if name in cases else [c for n, c in cases.items() if n.startswith(name + "/")]
        if not meant:
            reason = f" ({why})" if (why := searched[start].skipped.get(name)) else ""
            raise InputError(f"No case {name} in {folder}{reason}: a case is {LAYOUTS}.")
        chosen.update((case.name, case) for case in meant)
    return list(chosen.values())


def search(folder: Path, start: Path | None = None) -> Found:
    """Cases at or below ``start`` (default: all of ``folder``), named by their path in ``folder``."""
    found, dicom, places = Found(), DicomFiles(), dict[Path, list[str]]()
    closed: dict[Path, str] = {}
    for place, files in _folders(start or folder, closed):
        places[place] = files
        name = "" if place == folder else place.relative_to(folder).as_posix()
        here = set(files)
        for case in (*_nifti(place, name, here), *_nnunet(place, name, here)):
            found.cases.setdefault(case.name, case)
        dicom.add(place, files)
    for study in dicom.studies(folder):
        if isinstance(study, Case):
            found.cases.setdefault(study.name, study)
        elif study[0] not in found.cases:
            found.skipped.setdefault(*study)
    found.skipped |= {place.relative_to(folder).as_posix(): why for place, why in dicom.damaged.items()}
    found.skipped |= _without_case(folder, places, found, closed, dicom.folders())
    found.cases = {name: found.cases[name] for name in sorted(found.cases)}
    return found


def with_patients(cases: Iterable[Case], pattern: str | None) -> list[Case]:
    """The cases with the patient read from their names: the first group (or all) of the regular expression.

    None keeps the patient of the layout. Raises :class:`InputError` for a name without a match.
    """
    if pattern is None:
        return list(cases)
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise InputError(f"The patient pattern '{pattern}' is not a regular expression: {error}.") from error
    named = []
    for case in cases:
        match = form.search(case.name)
        if match is None:
            raise InputError(f"The patient pattern '{pattern}' does not match the case {case.name}: correct it.")
        named.append(replace(case, patient=match.group(1 if form.groups else 0) or case.name))
    return named


def inside(name: str) -> PurePosixPath:
    """A name or file of a list as a path within the data folder; a path outside is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name:
        raise InputError(f"'{name}' is not a path within the data folder: correct the list of cases.")
    return path


def data_folder(folder: str | Path) -> Path:
    """The folder's path; raises :class:`InputError` where it is missing."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No data folder {folder}: give a folder of case folders.")
    return folder


def _without_case(
    folder: Path, places: Mapping[Path, Sequence[str]], found: Found, closed: Mapping[Path, str], studies: set[Path]
) -> dict[str, str]:
    """The uppermost folders at or below which no case lies, and which are no part of one, with the reason.

    ``studies`` are the folders of the DICOM studies.
    """
    used = studies | {file if file.is_dir() else file.parent for case in found.cases.values() for file in case.files()}
    used |= {folder / name for name in found.skipped}
    above = {parent for place in used for parent in place.parents}
    listed: dict[Path, str] = {place: f"it cannot be opened: {why}" for place, why in closed.items()}
    for place, files in places.items():
        if place == folder or place in used | above or not (used | set(listed)).isdisjoint(place.parents):
            continue
        if place in listed:
            continue
        below = [name for other, names in places.items() if other.is_relative_to(place) for name in names]
        listed[place] = _reason(files) if below else "an empty folder"
    return {place.relative_to(folder).as_posix(): why for place, why in sorted(listed.items())}


def _reason(files: Sequence[str]) -> str:
    """Why a folder with these files is no case."""
    for pet, ct, _ in CASE_FILES:
        for there, missing in ((pet, ct), (ct, pet)):
            if there in files and missing not in files:
                return f"there is no {missing} beside {there}"
    return "no PET and CT by their names, and no DICOM study"


def _folders(start: Path, closed: dict[Path, str] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from ``start`` down with its files' names, sorted; links are followed, but not in circles.

    ``closed`` gets those that cannot be opened, with the reason.
    """
    seen: set[str] = set()

    def note(error: OSError) -> None:
        if closed is not None:
            closed[Path(error.filename)] = str(error.strerror)

    for place, folders, files in os.walk(start, onerror=note, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield Path(place), sorted(files)


def _nifti(place: Path, name: str, files: set[str]) -> Iterator[Case]:
    """A case folder. From the second level on, the folder above is the patient, and the case one of its studies."""
    for pet, ct, lesions in CASE_FILES:
        if pet in files and ct in files:
            patient = name.rpartition("/")[0] or name or "."
            contours = (place / lesions,) if lesions in files else ()
            yield Case(name or ".", place / pet, place / ct, contours, "nifti", patient)


def _nnunet(place: Path, name: str, files: set[str]) -> Iterator[Case]:
    """nnU-Net's raw training form: ``imagesTr/X_0000.nii.gz`` CT, ``X_0001.nii.gz`` SUV, ``labelsTr/X.nii.gz``."""
    if place.name != "imagesTr":
        return
    above = name.rpartition("/")[0]
    prefix = f"{above}/" if above else ""
    for ct in sorted(f for f in files if f.endswith(NNUNET_CT)):
        title = ct[: -len(NNUNET_CT)]
        if title + NNUNET_PET in files:
            labels = place.parent / "labelsTr" / f"{title}.nii.gz"
            match = AUTOPET.match(title)
            patient = match.group(1) if match else prefix + title
            contours = (labels,) if labels.is_file() else ()
            yield Case(prefix + title, place / (title + NNUNET_PET), place / ct, contours, "nnunet", patient)
