"""Reading DICOM image series: finding them in a folder, sorting and checking slices, exact geometry and units.

A CT is read in HU, a PET as SUVbw (see :mod:`PETSuperResLib.suv.suvbw`) or, with ``suv=False``, as stored.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ..errors import GeometryError, InputError, UnitsError
from ..suv.evidence import Overrides, text, tracer_datasets
from ..suv.suvbw import suv_factors
from .ge import ge_filters

MODALITIES = {"PT": "PET", "CT": "CT"}
UNEVEN = 0.05  # slice distances may differ by this part of a slice (positions are often rounded)
TILT = 2e-3  # the step from slice to slice may lean by this from the normal (mm per mm)
AIR_HU = -1000.0
HEAD = [
    "SOPInstanceUID", "Modality", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription", "SeriesNumber", "Rows",
    "Columns", "NumberOfFrames",
]  # fmt: skip
PATIENT_AND_TIMES = {
    "manufacturer": "Manufacturer", "model": "ManufacturerModelName", "description": "SeriesDescription",
    "series_uid": "SeriesInstanceUID", "study_uid": "StudyInstanceUID", "frame_of_reference": "FrameOfReferenceUID",
    "series_date": "SeriesDate", "series_time": "SeriesTime", "units": "Units", "decay_correction": "DecayCorrection",
    "reconstruction_method": "ReconstructionMethod", "convolution_kernel": "ConvolutionKernel",
}  # fmt: skip
NUMBERS = {"weight_kg": "PatientWeight", "height_m": "PatientSize", "frame_duration_ms": "ActualFrameDuration"}
TRACER = {"radiopharmaceutical": "Radiopharmaceutical", "injection_time": "RadiopharmaceuticalStartTime",
          "injection_date_time": "RadiopharmaceuticalStartDateTime"}  # fmt: skip
TRACER_NUMBERS = {"dose": "RadionuclideTotalDose", "half_life_s": "RadionuclideHalfLife"}


@dataclass(frozen=True)
class SeriesInfo:
    """One image series in a folder: its identity and its files."""

    uid: str
    study_uid: str
    modality: str
    description: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        described = f" '{self.description}'" if self.description else ""
        return f"{self.modality}{described}, {len(self.files)} files, {self.uid}"


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings about sloppy values (long strings, odd UIDs), which the user cannot correct."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """The image series below ``folder``, largest first; files that are not DICOM images are skipped.

    Raises :class:`InputError` when the folder is missing or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No folder {folder}: check the path.")
    return _group(p for p in folder.rglob("*") if p.is_file() and p.name != "DICOMDIR")


def _group(paths: Iterable[Path]) -> list[SeriesInfo]:
    groups: dict[str, list[tuple[Dataset, Path]]] = defaultdict(list)
    seen: set[str] = set()
    for path in sorted(paths):
        head = _head(path)
        if head is None or text(head, "SOPInstanceUID") in seen:  # a copy of the same file is the same image
            continue
        seen.add(text(head, "SOPInstanceUID") or str(path))
        groups[text(head, "SeriesInstanceUID")].append((head, path))
    found = []
    for uid, rows in groups.items():
        study, modality, named = (text(rows[0][0], k) for k in ("StudyInstanceUID", "Modality", "SeriesDescription"))
        found.append(SeriesInfo(uid, study, modality, named, tuple(path for _, path in rows)))
    return sorted(found, key=lambda s: (-len(s.files), s.modality, s.uid))


def _head(path: Path) -> Dataset | None:
    """The identifying attributes of a DICOM image file, None for anything else."""
    try:
        head = read_dataset(path, pixels=False, tags=HEAD)
    except InputError:
        return None
    return head if head.get("Rows") and head.get("Columns") else None


def find_series(path: Path, uid: str | None, modality: str | None) -> SeriesInfo:
    """The one series that matches ``path``, UID and modality, or an error that lists the series found."""
    if path.is_file():
        head = _head(path)
        if head is None:
            raise InputError(
                f"{path} is not a DICOM image (damaged, or another kind of file): give a PET or CT series."
            )
        uid = uid or text(head, "SeriesInstanceUID")
    elif not path.is_dir():
        raise InputError(f"No file or folder {path}: check the path.")
    present = _group(p for p in path.parent.iterdir() if p.is_file()) if path.is_file() else list_series(path)
    if not present:
        raise InputError(f"{path} holds no DICOM images: give the folder of a PET or CT series.")
    wanted = [s for s in present if uid in (None, s.uid) and modality in (None, s.modality)]
    if len(wanted) == 1:
        return wanted[0]
    listing = "; ".join(str(s) for s in present[:8]) + ("; ..." if len(present) > 8 else "")
    kind = MODALITIES.get(modality or "", modality or "image")
    if not wanted:
        asked = f" with UID {uid}" if uid else ""
        raise InputError(
            f"{path} holds no {kind} series{asked}, only: {listing}; give the folder of the {kind} series."
        )
    raise InputError(
        f"{path} holds {len(wanted)} series to choose from: {listing}; give one series' folder or its UID."
    )


def series_image(
    path: str | Path,
    series_uid: str | None = None,
    modality: str | None = None,
    suv: bool = True,
    overrides: Overrides | None = None,
) -> dict[str, Any]:
    """What :func:`~PETSuperResLib.dicom.read.read_series` makes a volume of: array, unit, metadata and grid by name."""
    path = Path(path)
    series = find_series(path, series_uid, modality)
    datasets = [read_dataset(file) for file in series.files]
    name = f"The {MODALITIES.get(series.modality, series.modality)} series in {path}"
    datasets, geometry = sort_slices(datasets, name)
    metadata = _metadata(datasets, series.modality)
    slopes = np.ones(len(datasets))
    unit = "HU" if series.modality == "CT" else ""
    if series.modality == "PT":
        unit = text(datasets[0], "Units").upper()
        unit = {"BQML": "Bq/mL"}.get(unit, unit)
        if suv:
            slopes, evidence = suv_factors(datasets, overrides)
            series_facts = {"description": series.description, "uid": series.uid, "slices": len(datasets)}
            scanner = {name: metadata[name] for name in ("manufacturer", "model") if name in metadata}
            metadata["suv"] = {"series": series_facts, "scanner": scanner, **evidence}
            unit = "SUVbw"
    elif modality == "PT" or overrides is not None:
        raise UnitsError(f"{name} is not a PET: give the PET series.")
    array = np.stack([(_pixels(d, name) * f).astype(np.float32) for d, f in zip(datasets, slopes, strict=True)])
    return {"array": array, "unit": unit, "metadata": metadata, **geometry}


def read_dataset(path: Path, pixels: bool = True, tags: list[str] | None = None) -> Dataset:
    """One DICOM file, with or without its pixels, or some ``tags`` of it; raises :class:`InputError` for another."""
    try:
        with quiet_pydicom():
            return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags)
    except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read as DICOM (damaged or not complete): export it again.") from error


def _pixels(dataset: Dataset, name: str) -> np.ndarray:
    """Rescaled values of one slice, (rows, columns) float64; CT padding becomes air."""
    try:
        with quiet_pydicom():
            stored = dataset.pixel_array
    except Exception as error:  # pydicom's decoders pass on any exception of their libraries
        raise InputError(
            f"{name} has pixel data that cannot be decoded (damaged, cut off or an unsupported compression): "
            "export it uncompressed."
        ) from error
    if stored.ndim != 2:
        raise InputError(f"{name} is not a series of single-channel slices: export it as grey-value slices.")
    slope = float(dataset.get("RescaleSlope") or (0.0 if dataset.get("RescaleSlope") == 0 else 1.0))
    if slope == 0 and stored.any():
        raise UnitsError(f"{name} has a slice with RescaleSlope 0, which loses its values: export it again.")
    values = stored.astype(np.float64) * slope + float(dataset.get("RescaleIntercept") or 0.0)
    padding = dataset.get("PixelPaddingValue")
    if text(dataset, "Modality") == "CT" and padding is not None:
        values[stored == padding] = AIR_HU
    return values


def sort_slices(datasets: Sequence[Dataset], name: str = "The series") -> tuple[list[Dataset], dict[str, Any]]:
    """Slices in order along their normal, and the grid as ``spacing``, ``origin`` and ``direction``.

    The normal is rows x columns (ImageOrientationPatient), so the order never depends on file names or
    instance numbers. Raises :class:`GeometryError` for mixed sizes or orientations, missing or doubled
    positions, gaps, uneven spacing and slices shifted in their plane (gantry tilt).
    """
    first = datasets[0]
    if any(int(d.get("NumberOfFrames") or 1) > 1 for d in datasets):
        raise InputError(
            f"{name} is multi-frame (enhanced) DICOM, which is not supported: export single-slice DICOM or NIfTI."
        )
    if any(not d.get(k) for d in datasets for k in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        raise GeometryError(
            f"{name} has slices without position, orientation or pixel spacing: export the original images."
        )
    if len({(d.Rows, d.Columns) for d in datasets}) > 1:
        raise GeometryError(f"{name} mixes slices of different sizes: give one reconstruction only.")
    axes = np.array([[float(v) for v in d.ImageOrientationPatient] for d in datasets])
    pixel = np.array([[float(v) for v in d.PixelSpacing] for d in datasets])
    if np.abs(axes - axes[0]).max() > 1e-4 or np.abs(pixel - pixel[0]).max() > 1e-4:
        raise GeometryError(
            f"{name} mixes slices of different orientation or pixel spacing: give one reconstruction only."
        )
    along_row, along_column = axes[0, :3], axes[0, 3:]
    norms = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(norms) < 0.9 or max(norms) > 1.1 or abs(along_row @ along_column) > 1e-3:
        raise GeometryError(f"{name} has an ImageOrientationPatient that is not a pair of directions: export it again.")
    along_row, along_column = along_row / norms[0], along_column / norms[1]
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    positions = np.array([[float(v) for v in d.ImagePositionPatient] for d in datasets])
    order = np.argsort(positions @ normal, kind="stable")
    datasets, positions = [datasets[i] for i in order], positions[order]
    step = _slice_step(positions, normal, first, name)
    geometry = {
        "spacing": (pixel[0, 1], pixel[0, 0], step),
        "origin": tuple(positions[0]),
        "direction": tuple(np.stack([along_row, along_column, normal], axis=1).ravel()),
    }
    return datasets, geometry


def _slice_step(positions: np.ndarray, normal: np.ndarray, first: Dataset, name: str) -> float:
    """Distance between slices in mm, after every check on their positions (sorted along ``normal``)."""
    if len(positions) == 1:
        stated = first.get("SpacingBetweenSlices") or first.get("SliceThickness")
        if not stated or float(stated) <= 0:
            raise GeometryError(f"{name} is a single slice of unknown thickness: give the whole series.")
        return float(stated)
    along = positions @ normal
    steps = np.diff(along)
    step = float(np.median(steps))
    if steps.min() < 0.01:
        same = int(np.sum(steps < 0.01))
        raise GeometryError(
            f"{name} has {same} slices at the position of another (a dynamic or gated series, or two reconstructions): "
            "give one frame only."
        )
    step = float(steps.min()) if len(steps) < 3 else step
    wide = np.flatnonzero(np.abs(steps - step) > UNEVEN * step)
    if wide.size:
        gaps = steps[wide] / step
        if (gaps > 1.5).all() and np.abs(gaps - np.round(gaps)).max() < 0.1:
            missing = int(np.sum(np.round(gaps) - 1))
            where = ", ".join(f"{along[i]:.1f} and {along[i + 1]:.1f} mm" for i in wide[:3])
            raise GeometryError(f"{name} misses {missing} slices (between {where}): copy the whole series.")
        raise GeometryError(
            f"{name} has uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm): export it evenly."
        )
    drift = positions[-1] - positions[0]
    drift = drift - (drift @ normal) * normal
    if np.linalg.norm(drift) > TILT * (along[-1] - along[0]) + 0.05:
        raise GeometryError(
            f"{name} has slices shifted in their own plane by {np.linalg.norm(drift):.1f} mm (gantry tilt): "
            "export it without tilt."
        )
    return float((along[-1] - along[0]) / (len(along) - 1))


def _metadata(datasets: Sequence[Dataset], modality: str) -> dict[str, Any]:
    """Strings and numbers on the volume's origin; no name, birth date or patient number."""
    first = datasets[0]
    rows: dict[str, Any] = {"modality": modality, "slices": len(datasets)}
    rows |= {name: text(first, keyword) for name, keyword in PATIENT_AND_TIMES.items()}
    rows |= {name: _float(first, keyword) for name, keyword in NUMBERS.items()}
    identity = text(first, "PatientID") or text(first, "StudyInstanceUID")
    rows["patient"] = hashlib.sha256(identity.encode()).hexdigest()[:12]
    starts = sorted({text(d, "AcquisitionDate") + " " + text(d, "AcquisitionTime") for d in datasets})
    rows["acquisition_first"], rows["acquisition_last"] = starts[0].strip(), starts[-1].strip()
    if modality == "PT":
        sequence = first.get("RadiopharmaceuticalInformationSequence") or []
        tracer = tracer_datasets([first])[0] if len(sequence) < 2 else sequence[0]
        rows |= {name: text(tracer, keyword) for name, keyword in TRACER.items()}
        rows |= {name: _float(tracer, keyword) for name, keyword in TRACER_NUMBERS.items()}
        rows |= ge_filters(first)
    return {name: value for name, value in rows.items() if value not in ("", None)}


def _float(dataset: Dataset, keyword: str) -> float | None:
    try:
        return float(text(dataset, keyword))
    except ValueError:
        return None
