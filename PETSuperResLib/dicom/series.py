"""Reading DICOM image series: exact geometry, units, and what the header says of patient, times and tracer.

A CT is read in HU, a PET as SUVbw (see :mod:`PETSuperResLib.suv.suvbw`) or, with ``suv=False``, as stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError, UnitsError
from ..headers.attributes import items, number, numbers, text
from ..suv.activity import check_activity
from ..suv.body import weight_kg
from ..suv.evidence import Overrides
from ..suv.suvbw import suv_factors
from .enhanced import single_slices
from .files import MODALITIES, find_series, quiet_pydicom, read_dataset
from .patient import one_patient
from .pixels import rescaled_pixels
from .reconstruction import reconstruction_of
from .slices import sort_slices

PATIENT_AND_TIMES = {
    "series_uid": "SeriesInstanceUID", "study_uid": "StudyInstanceUID", "frame_of_reference": "FrameOfReferenceUID",
    "series_date": "SeriesDate", "series_time": "SeriesTime", "units": "Units", "decay_correction": "DecayCorrection",
    "sex": "PatientSex",
}  # fmt: skip
NUMBERS = {"weight_kg": "PatientWeight", "height_m": "PatientSize", "frame_duration_ms": "ActualFrameDuration"}
TRACER = {"radiopharmaceutical": "Radiopharmaceutical", "injection_time": "RadiopharmaceuticalStartTime",
          "injection_date_time": "RadiopharmaceuticalStartDateTime"}  # fmt: skip
TRACER_NUMBERS = {"dose": "RadionuclideTotalDose", "half_life_s": "RadionuclideHalfLife"}


def series_image(
    path: str | Path,
    series: str | None = None,
    modality: str | None = None,
    suv: bool = True,
    overrides: Overrides | None = None,
) -> dict[str, Any]:
    """What :func:`~PETSuperResLib.dicom.read.read_series` makes a volume of: array, unit, metadata and grid by name."""
    path = Path(path)
    with quiet_pydicom():
        info = find_series(path, series, modality)
        name = f"The {MODALITIES.get(info.modality, info.modality)} series in {path}"
        slices = [one for file in info.files for one in single_slices(_whole_dataset(file), name)]
        of_patient = one_patient(slices, name)
        datasets, geometry = sort_slices(slices, name)
        metadata = _metadata(datasets, info.modality)
        metadata["notes"] = [*info.notes, *of_patient, *_completeness(datasets, name)]
        slopes = np.ones(len(datasets))
        unit = "HU" if info.modality == "CT" else ""
        if info.modality == "PT":
            unit = text(datasets[0], "Units").upper()
            unit = {"BQML": "Bq/mL"}.get(unit, "")  # of another, what is stored has no unit of a volume
            if suv:
                slopes, evidence = suv_factors(datasets, overrides)
                facts = {"description": info.description, "uid": info.uid, "slices": len(datasets)}
                scanner = {name: metadata[name] for name in ("manufacturer", "model") if name in metadata}
                metadata["suv"] = {"series": facts, "scanner": scanner, **evidence}
                unit = "SUVbw"
        elif modality == "PT" or overrides is not None:
            raise UnitsError(f"{name} is not a PET: give the PET series.")
        values = [rescaled_pixels(d, name) * f for d, f in zip(datasets, slopes, strict=True)]
        array = np.stack(values).astype(np.float32)
        if unit == "SUVbw":
            voxel_ml = float(np.prod(geometry["spacing"])) / 1000
            weight = _weight_kg(datasets, overrides)
            metadata["suv"]["warnings"] += check_activity(array.clip(0), voxel_ml, weight)
    return {"array": array, "unit": unit, "metadata": metadata, **geometry}


def _whole_dataset(file: Path) -> Dataset:
    """A slice with its pixels, which end a file and are the first to go where one is cut off."""
    dataset = read_dataset(file)
    if "PixelData" not in dataset:
        raise InputError(f"{file} has no pixel data (cut off or damaged): copy the series again.")
    return dataset


def _weight_kg(datasets: Sequence[Dataset], overrides: Overrides | None) -> float | None:
    with suppress(UnitsError):
        return float(weight_kg(datasets, overrides or Overrides()).value)
    return None


def _completeness(datasets: Sequence[Dataset], name: str) -> list[str]:
    """What to tell where a PET has fewer or more slices than its header says."""
    if text(datasets[0], "Modality") != "PT":
        return []
    stated = {value for value in numbers(datasets, "NumberOfSlices") if value} - {len(datasets)}
    return [
        f"{name} has {len(datasets)} of {value:g} slices (NumberOfSlices): copy the whole series if it is cut off."
        if value > len(datasets)
        else f"{name} has {len(datasets)} slices where NumberOfSlices says {value:g}: check that they are one series."
        for value in sorted(stated)
    ]


def _metadata(datasets: Sequence[Dataset], modality: str) -> dict[str, Any]:
    """Strings and numbers on the volume's origin; no name, birth date or patient number."""
    first = datasets[0]
    rows: dict[str, Any] = {"modality": modality, "slices": len(datasets), **reconstruction_of(first)}
    rows |= {name: text(first, keyword) for name, keyword in PATIENT_AND_TIMES.items()}
    rows |= {name: number(first, keyword) for name, keyword in NUMBERS.items()}
    identity = text(first, "PatientID") or text(first, "StudyInstanceUID")
    rows["patient"] = hashlib.sha256(identity.encode()).hexdigest()[:12]
    rows["patient_from"] = "PatientID" if text(first, "PatientID") else "StudyInstanceUID"
    starts = sorted({text(d, "AcquisitionDate") + " " + text(d, "AcquisitionTime") for d in datasets})
    rows["acquisition_first"], rows["acquisition_last"] = starts[0].strip(), starts[-1].strip()
    if modality == "PT":
        tracer = (items(first, "RadiopharmaceuticalInformationSequence") or [first])[0]
        rows |= {name: text(tracer, keyword) for name, keyword in TRACER.items()}
        rows |= {name: number(tracer, keyword) for name, keyword in TRACER_NUMBERS.items()}
    return {name: value for name, value in rows.items() if value not in ("", None)}
