"""DICOM studies in a data folder: the choice of the PET and CT series to train on.

The Cancer Imaging Archive delivers a study as a folder with a folder for each series. Any other arrangement
is read too, as series and studies are identified by their UIDs, not by their folders.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from ..dicom.files import SeriesInfo, chosen_among, list_series, read_dataset, suitable
from ..errors import InputError
from ..headers.attributes import items, number, text
from ..headers.mark import looks_like_dicom
from .case import Case

OTHER_SUFFIXES = (
    *(".nii", ".gz", ".nrrd", ".json", ".csv", ".txt", ".md", ".png", ".jpg", ".pdf", ".html", ".xml", ".zip"),
)
WANTED = ["Modality", "StudyInstanceUID", "PatientID", "FrameOfReferenceUID", "SliceThickness", "SpacingBetweenSlices"]

FRAMES = ["FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence"]


@dataclass
class DicomFiles:
    """Collects folders' DICOM series and contours, and sorts them into studies."""

    series: dict[str, list[SeriesInfo]] = field(default_factory=lambda: defaultdict(list))  # by study
    contours: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    places: dict[str, set[Path]] = field(default_factory=lambda: defaultdict(set))  # all folders of a study
    taken: list[Path] = field(default_factory=list)
    damaged: dict[Path, str] = field(default_factory=dict)  # folders of nothing but damaged files, with the reason

    def add(self, place: Path, names: Sequence[str]) -> None:
        """Add a folder with its files' names; a folder with DICOM files is searched with all below it."""
        if any(place.is_relative_to(folder) for folder in self.taken[-1:]):
            return
        files = [place / n for n in names if not n.lower().endswith(OTHER_SUFFIXES) and n != "DICOMDIR"]
        if not any(looks_like_dicom(file) for file in files):
            return
        self.taken.append(place)
        try:
            found = list_series(place)
        except InputError as error:
            self.damaged[place] = str(error)
            return
        for series in found:
            self.places[series.study_uid].update(file.parent for file in series.files)
            if series.modality in ("PT", "CT"):
                self.series[series.study_uid].append(series)
        images = {f for s in found if s.modality != "SEG" for f in s.files}
        for file in sorted(set(place.rglob("*")) - images):
            head = _head(file) if file.is_file() and looks_like_dicom(file) else None
            if head is not None:
                self.places[text(head, "StudyInstanceUID")].add(file.parent)
            if head is not None and text(head, "Modality") in ("RTSTRUCT", "SEG"):
                self.contours[text(head, "StudyInstanceUID")].append(file)

    def folders(self) -> set[Path]:
        """All folders of the studies that have a PET or a CT, those of series that are not read among them."""
        return {place for uid in self.series for place in self.places[uid]}

    def studies(self, folder: Path) -> Iterator[Case | tuple[str, str]]:
        """A case for every study with PET and CT, and ``(name, reason)`` for every other."""
        strangers = {
            file: _frames(file) for uid, files in self.contours.items() if uid not in self.series for file in files
        }
        taken: set[Path] = set()
        places = {uid: _common(f.parent for s in series for f in s.files) for uid, series in self.series.items()}
        for uid, series in sorted(self.series.items()):
            place = places[uid]
            name = "" if place == folder else place.relative_to(folder).as_posix()
            if not name or sum(other == place for other in places.values()) > 1:
                name = f"{name}/{uid}".lstrip("/")  # several studies in one folder
            frames = set().union(*(_frames(s.files[0]) for s in series))
            drawn_here = [file for file, own in strangers.items() if own & frames]  # under another study's UID
            taken.update(drawn_here)
            yield _case(name, series, [*self.contours.get(uid, []), *drawn_here])
        for file in sorted(set(strangers) - taken):
            yield file.relative_to(folder).as_posix(), "no PET has the study or the frame of reference of its contours"


def _case(name: str, series: list[SeriesInfo], contours: list[Path]) -> Case | tuple[str, str]:
    heads = {s.uid: head for s in series if (head := _head(s.files[0])) is not None}
    pets, cts = ([s for s in series if s.modality == kind and s.uid in heads] for kind in ("PT", "CT"))
    if not pets or not cts:
        return name, f"the DICOM study has no {'CT' if pets else 'PET'} series"
    pet = max(suitable(pets) or pets, key=lambda s: (len(s.files), s.uid))
    frame = text(heads[pet.uid], "FrameOfReferenceUID")

    def fits(s: SeriesInfo) -> tuple[bool, bool, int, int, str]:
        head = heads[s.uid]
        same = text(head, "FrameOfReferenceUID") == frame
        return same, not s.drawback, _length_cm(head, s), len(s.files), s.uid

    ct = max(cts, key=fits)
    identity = text(heads[pet.uid], "PatientID")
    patient = hashlib.sha256(identity.encode()).hexdigest()[:12] if identity else name.rpartition("/")[0] or name
    pet_place, ct_place = (_common(f.parent for f in s.files) for s in (pet, ct))
    notes = (*chosen_among(pet, pets), *chosen_among(ct, cts))
    return Case(name, pet_place, ct_place, tuple(sorted(contours)), "dicom", patient, pet.uid, ct.uid, notes)


def _length_cm(head: Dataset, series: SeriesInfo) -> int:
    """Approximate length of the patient that a series covers, in cm."""
    try:
        thickness = number(head, "SpacingBetweenSlices") or number(head, "SliceThickness") or 1.0
    except InputError:
        thickness = 1.0
    return round(abs(thickness) * len(series.files) / 10)


def _common(places: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([str(p) for p in places]))


def _frames(path: Path) -> set[str]:
    """The UIDs of the frames of reference of an image, or of contours."""
    try:
        head = read_dataset(path, pixels=False, tags=FRAMES)
        frames = [head, *items(head, FRAMES[1])]
        found = {text(item, FRAMES[0]) for item in frames}
        return (found | {text(roi, "ReferencedFrameOfReferenceUID") for roi in items(head, FRAMES[2])}) - {""}
    except InputError:
        return set()


def _head(path: Path) -> Dataset | None:
    try:
        return read_dataset(path, pixels=False, tags=WANTED)
    except InputError:
        return None
