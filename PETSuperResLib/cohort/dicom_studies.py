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

from ..dicom.series import SeriesInfo, list_series, read_dataset
from ..errors import InputError
from ..suv.evidence import text
from ..volume import has_dicom_mark
from .case import Case

OTHER_SUFFIXES = (
    *(".nii", ".gz", ".nrrd", ".json", ".csv", ".txt", ".md", ".png", ".jpg", ".pdf", ".html", ".xml", ".zip"),
)
WANTED = ["Modality", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "FrameOfReferenceUID", "CorrectedImage",
          "ImageType", "SliceThickness", "SpacingBetweenSlices", "SOPInstanceUID"]  # fmt: skip
QUANTIFIED = ("BQML", "GML", "CM2ML", "CNTS", "CPS")


@dataclass
class DicomFiles:
    """Collects folders' DICOM series and contours, and sorts them into studies."""

    series: dict[str, list[SeriesInfo]] = field(default_factory=lambda: defaultdict(list))  # by study
    contours: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    taken: list[Path] = field(default_factory=list)

    def add(self, place: Path, names: Sequence[str]) -> None:
        """Add a folder with its files' names; a folder with DICOM files is searched with all below it."""
        if any(place.is_relative_to(folder) for folder in self.taken[-1:]):
            return
        files = [place / n for n in names if not n.lower().endswith(OTHER_SUFFIXES) and n != "DICOMDIR"]
        if not any(has_dicom_mark(file) for file in files):
            return
        self.taken.append(place)
        found = list_series(place)
        for series in found:
            if series.modality in ("PT", "CT"):
                self.series[series.study_uid].append(series)
        images = {f for s in found if s.modality != "SEG" for f in s.files}
        for file in sorted(set(place.rglob("*")) - images):
            head = _head(file) if file.is_file() and has_dicom_mark(file) else None
            if head is not None and text(head, "Modality") in ("RTSTRUCT", "SEG"):
                self.contours[text(head, "StudyInstanceUID")].append(file)

    def studies(self, folder: Path) -> Iterator[Case | tuple[str, str]]:
        """A case for every study with PET and CT, and ``(name, reason)`` for every other."""
        places = {uid: _common(f.parent for s in series for f in s.files) for uid, series in self.series.items()}
        for uid, series in sorted(self.series.items()):
            place = places[uid]
            name = "" if place == folder else place.relative_to(folder).as_posix()
            if not name or sum(other == place for other in places.values()) > 1:
                name = f"{name}/{uid}".lstrip("/")  # several studies in one folder
            yield _case(name, series, self.contours.get(uid, []))


def _case(name: str, series: list[SeriesInfo], contours: list[Path]) -> Case | tuple[str, str]:
    heads = {s.uid: head for s in series if (head := _head(s.files[0], [*WANTED, "Units"])) is not None}
    pets = [s for s in series if s.modality == "PT" and s.uid in heads]
    cts = [s for s in series if s.modality == "CT" and s.uid in heads]
    if not pets or not cts:
        return name, f"the DICOM study has no {'CT' if pets else 'PET'} series"
    pet = max(pets, key=lambda s: (_quantitative(heads[s.uid]), len(s.files), s.uid))
    frame = text(heads[pet.uid], "FrameOfReferenceUID")
    ct = max(cts, key=lambda s: (*_of_the_pet(heads[s.uid], frame), _length_cm(heads[s.uid], s), len(s.files), s.uid))
    identity = text(heads[pet.uid], "PatientID")
    patient = hashlib.sha256(identity.encode()).hexdigest()[:12] if identity else name.rpartition("/")[0] or name
    lesions = sorted(contours)[0] if contours else None
    pet_place, ct_place = (_common(f.parent for f in s.files) for s in (pet, ct))
    return Case(name, pet_place, ct_place, lesions, "dicom", patient, pet.uid, ct.uid)


def _quantitative(head: Dataset) -> bool:
    """Whether a PET series is attenuation-corrected (or has no entry on it) and in units that allow an SUV."""
    corrections = head.get("CorrectedImage") or ["ATTN"]
    return "ATTN" in ([corrections] if isinstance(corrections, str) else corrections) and (
        text(head, "Units").upper() in QUANTIFIED
    )


def _of_the_pet(head: Dataset, frame: str) -> tuple[bool, bool]:
    """Whether a CT is in the PET's frame of reference, and not a localiser."""
    return text(head, "FrameOfReferenceUID") == frame, "LOCALIZER" not in (head.get("ImageType") or [])


def _length_cm(head: Dataset, series: SeriesInfo) -> int:
    """Approximate length of the patient that a series covers, in cm."""
    try:
        thickness = float(text(head, "SpacingBetweenSlices") or text(head, "SliceThickness"))
    except ValueError:
        thickness = 1.0
    return round(abs(thickness) * len(series.files) / 10)


def _common(places: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([str(p) for p in places]))


def _head(path: Path, tags: list[str] | None = None) -> Dataset | None:
    try:
        return read_dataset(path, pixels=False, tags=tags or WANTED)
    except InputError:
        return None
