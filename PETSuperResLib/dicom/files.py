"""Finding DICOM image series: which files belong together, and which series of several is meant."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

from ..errors import InputError
from ..headers.attributes import UNREADABLE, text, vector, whole, words
from ..headers.mark import has_dicom_mark, looks_like_dicom

MODALITIES = {"PT": "PET", "CT": "CT"}
QUANTIFIED = ("BQML", "GML", "CM2ML", "CNTS", "CPS")
IMAGES = ("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2")  # storage of PET and CT images
DIRECTORY = "1.2.840.10008.1.3.10"
PROJECTIONS = {"MIP", "PROJECTION IMAGE", "REPROJECTION", "MPR THICK", "VOLUME RENDERED"}  # of ImageType, SeriesType
NAC = re.compile(r"(?<![a-z])(?:nac|no[nt]?[\s_-]*ac|uncorrected)(?![a-z])", re.IGNORECASE)  # names such a series
AXIAL = 0.7  # cosine between the slices' normal and the patient's length
HEAD = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription", "Rows",
    "Columns", "ImageType", "SeriesType", "CorrectedImage", "Units", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "AcquisitionTime", "FrameReferenceTime",
]  # fmt: skip


@dataclass(frozen=True)
class SeriesInfo:
    """One image series in a folder.

    ``drawback``: why another series is to be preferred, empty for axial slices of a quantitative image. ``derived``:
    made from another series. ``damaged``: files beside it that carry DICOM's mark but cannot be read. ``notes``: what
    is to be told about the choice of this series.
    """

    uid: str
    study_uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    drawback: str = ""
    derived: bool = False
    damaged: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        described = f" '{self.description}'" if self.description else ""
        drawback = f" ({self.drawback})" if self.drawback else ""
        return f"{self.modality}{described}, {len(self.files)} files, {self.uid}{drawback}"

    def named(self, name: str) -> bool:
        """Whether ``name`` is its UID or its description."""
        return name == self.uid or name.strip().casefold() == self.description.casefold()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings about sloppy values (long strings, odd UIDs), which the user cannot correct."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_dataset(path: Path, pixels: bool = True, tags: list[str] | None = None) -> Dataset:
    """One DICOM file, with or without its pixels, or some ``tags`` of it; raises :class:`InputError` for another.

    A file without DICOM's mark is read if it begins as a data set does.
    """
    bare = not has_dicom_mark(path) and looks_like_dicom(path)
    try:
        with quiet_pydicom():
            return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags, force=bare)
    except PermissionError as error:
        raise InputError(f"{path} cannot be opened: you have no permission to read it.") from error
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read as DICOM (damaged or not complete): export it again.") from error


def save_dataset(dataset: Dataset, meta: FileMetaDataset, path: Path) -> None:
    """Write a data set as little endian with explicit VR, under either interface of pydicom."""
    dataset.file_meta = meta
    save: Callable[..., None] = dataset.save_as
    memory = BytesIO()  # so that a full disk is the system's error, which pydicom would wrap with its traceback
    if int(pydicom.__version__.split(".")[0]) >= 3:
        save(memory, enforce_file_format=True, little_endian=True, implicit_vr=False)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        save(memory, write_like_original=False)
    path.write_bytes(memory.getvalue())


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """The image series below ``folder``, largest first; files that are not DICOM images are skipped.

    Raises :class:`InputError` when the folder is missing, or holds nothing but damaged DICOM files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No folder {folder}: check the path.")
    return _group(p for p in folder.rglob("*") if p.is_file())


def find_series(path: Path, name: str | None, modality: str | None) -> SeriesInfo:
    """The series of a modality in a folder, or the one of a file; ``name`` is its UID or description.

    Of several, the only one with axial slices of a quantitative image is taken, an original before a derived one, and
    the choice is noted. Raises :class:`InputError` that lists the series where none or more than one fits.
    """
    own: Path | None = None
    if path.is_file():
        if not looks_like_dicom(path):
            raise InputError(f"{path} is not a DICOM image: give a PET or CT series.")
        head = read_dataset(path, pixels=False, tags=HEAD)
        if path.name == "DICOMDIR" or text(head, "SOPClassUID") == DIRECTORY or _storage(head) == DIRECTORY:
            path = path.parent
        elif _image_head(path) is None:
            kind = text(head, "Modality") or "no modality"
            raise InputError(f"{path} is not a DICOM image but another object ({kind}): give a PET or CT series.")
        else:
            own = path
    elif not path.is_dir():
        raise InputError(f"No file or folder {path}: check the path.")
    present = _group(p for p in path.parent.iterdir() if p.is_file()) if own else list_series(path)
    if not present:
        raise InputError(
            f"{path} holds no DICOM images: give the folder of a PET or CT series, or a NIfTI file itself."
        )
    wanted = [
        s
        for s in present
        if modality in (None, s.modality) and (name is None or s.named(name)) and (own is None or own in s.files)
    ]
    kind = MODALITIES.get(modality or "", modality or "image")
    if not wanted:
        asked = f" '{name}'" if name else ""
        raise InputError(
            f"{path} holds no {kind} series{asked}, only: {_listing(present)}; give the folder of the {kind} series.",
            "series" if name else "",
        )
    chosen = suitable(wanted) if len(wanted) > 1 else wanted
    if len(chosen) != 1:
        listed = _listing(chosen or wanted)
        option = "ct_series" if modality == "CT" else "series" if modality == "PT" else ""
        raise InputError(
            f"{path} holds {len(chosen or wanted)} series to choose from: {listed}; "
            "give one series' folder, or name it by its UID or description.",
            option,
        )
    found = chosen[0]
    if found.damaged:
        named = ", ".join(file.name for file in found.damaged[:3])
        count = f"{len(found.damaged)} damaged DICOM file{'s' * (len(found.damaged) > 1)}"
        raise InputError(
            f"{path} holds {count} beside the {kind} series ({named}): "
            "copy the series again, or move them elsewhere if they are not part of it."
        )
    return replace(found, notes=chosen_among(found, wanted))


def suitable(series: Sequence[SeriesInfo]) -> list[SeriesInfo]:
    """Series without a drawback; of these the originals, if there are any. Empty when every one has a drawback."""
    good = [s for s in series if not s.drawback]
    return [s for s in good if not s.derived] or good


def chosen_among(found: SeriesInfo, series: Sequence[SeriesInfo]) -> tuple[str, ...]:
    """What to tell about a choice: nothing where there was one series only."""
    others = [s for s in series if s != found]
    if not others:
        return ()
    why = "; ".join(f"'{s.description or s.uid}' ({s.drawback or ('derived' if s.derived else 'another series')})"
                    for s in others[:4]) + ("; ..." if len(others) > 4 else "")  # fmt: skip
    kind = MODALITIES.get(found.modality, found.modality)
    return (f"Of {len(series)} {kind} series '{found.description or found.uid}' is read, not {why}.",)


def _listing(series: Sequence[SeriesInfo]) -> str:
    return "; ".join(str(s) for s in series[:8]) + ("; ..." if len(series) > 8 else "")


def _group(paths: Iterable[Path]) -> list[SeriesInfo]:
    groups: dict[tuple[str, str, str], list[tuple[Dataset, Path]]] = defaultdict(list)
    seen: dict[tuple[str, ...], Path] = {}
    damaged: list[Path] = []
    for path in sorted(p for p in paths if not p.name.startswith(".")):
        try:
            with quiet_pydicom():
                head = _image_head(path)
                if head is None:
                    continue
                key = tuple(text(head, k) for k in ("SOPInstanceUID", "SeriesInstanceUID", "Modality", *HEAD[11:]))
                if key[0] and key in seen and _same_pixels(path, seen[key]):
                    continue  # a copy of the same file is the same image
                seen.setdefault(key, path)
                groups[text(head, "SeriesInstanceUID"), text(head, "Modality"), _kind(head)].append((head, path))
        except InputError:
            damaged.append(path)
    if damaged and not groups:
        raise InputError(f"{damaged[0]} cannot be read as DICOM (damaged or not complete): export the series again.")
    with quiet_pydicom():
        found = [_info(key, rows, damaged) for key, rows in groups.items()]
    return sorted(found, key=lambda s: (-len(s.files), s.modality, s.uid))


def _info(key: tuple[str, str, str], rows: list[tuple[Dataset, Path]], damaged: list[Path]) -> SeriesInfo:
    uid, modality, kind = key
    first, files = rows[0][0], tuple(path for _, path in rows)
    places = {file.parent for file in files}
    beside = tuple(file for file in damaged if file.parent in places)
    try:
        drawback = kind or _drawback([head for head, _ in rows])
    except InputError:
        drawback = ""  # found again, and told, when the series is read
    study, named = text(first, "StudyInstanceUID"), text(first, "SeriesDescription")
    derived = words(first, "ImageType")[:1] == ["DERIVED"]
    return SeriesInfo(uid, study, modality, named, files, drawback, derived, beside)


def _kind(head: Dataset) -> str:
    """What is no slice of the patient; empty for slices."""
    types = {*words(head, "ImageType"), *words(head, "SeriesType")}
    if "LOCALIZER" in types:
        return "a localiser"
    return "projections" if types & PROJECTIONS else ""


def _drawback(heads: Sequence[Dataset]) -> str:
    """Why a series is not the one to read where there is another; empty for axial slices of a quantitative image."""
    first = heads[0]
    axes = [vector(head, "ImageOrientationPatient", 6) for head in heads]
    positions = [vector(head, "ImagePositionPatient", 3) for head in heads]
    if any(a is None for a in axes) or any(p is None for p in positions):
        return "images without a position"
    orientation, places = np.array(axes), np.array(positions)
    if np.abs(orientation - orientation[0]).max() > 1e-2:
        return "images in several directions"
    normal = np.cross(orientation[0, :3], orientation[0, 3:])
    if len(heads) > 1 and len(np.unique(np.round(places @ normal, 2))) < len(heads):
        return "several images at one position: dynamic, gated or doubled"
    if text(first, "Modality") == "PT":
        corrected = words(first, "CorrectedImage")
        if "ATTN" not in corrected and (corrected or NAC.search(text(first, "SeriesDescription"))):
            return "not attenuation-corrected"
        if text(first, "Units").upper() not in QUANTIFIED:
            return f"in units without SUV ({text(first, 'Units') or 'none'})"
    if abs(normal[2]) < AXIAL * np.linalg.norm(normal):
        return "not axial"
    return "a single image" if len(heads) == 1 else ""


def _image_head(path: Path) -> Dataset | None:
    """The identifying attributes of a DICOM image, None for anything else; :class:`InputError` for a damaged one."""
    if path.name == "DICOMDIR" or not looks_like_dicom(path):
        return None
    marked = has_dicom_mark(path)
    try:
        head = read_dataset(path, pixels=False, tags=HEAD)
        if whole(head, "Rows") and whole(head, "Columns") and (marked or text(head, "SOPClassUID")):
            return head
        kinds = {_storage(head), text(head, "SOPClassUID")}
        cut = not text(head, "Modality") and DIRECTORY not in kinds
    except InputError:
        if not marked:
            return None
        raise
    if kinds & set(IMAGES) or (marked and cut):
        raise InputError(f"{path} is a damaged or cut-off DICOM file: export it again.")
    return None


def _storage(head: Dataset) -> str:
    meta = getattr(head, "file_meta", None)
    return "" if meta is None else text(meta, "MediaStorageSOPClassUID")


def _same_pixels(one: Path, other: Path) -> bool:
    a, b = (read_dataset(path).get("PixelData") for path in (one, other))
    return bool(a == b)
