"""A simulated PET as the DICOM series that a scanner writes: in Bq/mL, with the vendor's words on the reconstruction.

Where scanners depart from the standard, it keeps to it; the nuclide has the old code (SRT) that they use. Patient, dose
and times are invented, and the series says that it is a simulation.
"""

from __future__ import annotations

import copy
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import generate_uid

from ..errors import InputError, UnitsError
from ..progress import Callback
from ..version import NOTICE, __version__
from ..volume import Volume
from .derived import LEVEL, PET_STORAGE, WINDOW, conform, decimal, set_geometry
from .files import quiet_pydicom
from .ge import FILTERS, set_ge_filters
from .write import check_target, right_handed, write_slices

WEIGHT_KG, HEIGHT_M, DOSE_BQ = 75.0, 1.75, 300e6
HALF_LIFE_S = 6586.2  # F-18
INJECTED, STARTED = datetime(2025, 1, 1, 9, 0, 0), datetime(2025, 1, 1, 10, 0, 0)
FRAME_S = 120.0


def write_simulated(volume: Volume, folder: str | Path, progress: Callback | None = None) -> list[Path]:
    """Write a simulated image (SUVbw) as a PET series in ``folder``, new or empty; returns the files.

    ``volume.metadata`` has ``manufacturer``, ``model``, ``reconstruction_method``, ``convolution_kernel`` and, of GE,
    the filter: the header that a protocol's image has. Raises :class:`UnitsError` when the volume is not SUVbw,
    :class:`InputError` for values that are not finite and :class:`OutputError` when nothing can be written.
    """
    if volume.unit != "SUVbw":
        raise UnitsError(f"The volume is in {volume.unit or 'no known unit'}, not SUVbw: give a simulated image.")
    if not np.isfinite(volume.array).all():
        raise InputError("The volume has voxels that are not finite numbers: simulate it again.")
    target = check_target(folder)
    with quiet_pydicom():
        placed = right_handed(volume)
        common = _series(volume)
        slices = []
        for k in range(placed.shape[0]):
            dataset = copy.deepcopy(common)
            dataset.SOPInstanceUID = generate_uid(prefix=None)
            set_geometry(dataset, placed, k)
            slices.append(dataset)
        return write_slices(slices, placed, target, progress)


def _series(volume: Volume) -> Dataset:
    """The attributes that all slices share; ``RescaleSlope`` is the Bq/mL of 1 SUV at the start of the scan."""
    said, series = volume.metadata, Dataset()
    series.SOPClassUID, series.Modality, series.ImageType = PET_STORAGE, "PT", ["ORIGINAL", "PRIMARY"]
    series.StudyInstanceUID, series.SeriesInstanceUID, series.FrameOfReferenceUID = (
        generate_uid(prefix=None) for _ in range(3)
    )
    series.PatientName, series.PatientID, series.PatientSex = "Simulated^PETSuperRes", "SIMULATED", "O"
    series.PatientBirthDate = series.ReferringPhysicianName = series.AccessionNumber = ""
    series.PatientWeight, series.PatientSize, series.PatientPosition = decimal(WEIGHT_KG), decimal(HEIGHT_M), "HFS"
    series.StudyID, series.SeriesNumber = "1", 1
    series.StudyDescription, series.SeriesDescription = "Simulated by PETSuperRes", "PET AC (simulated)"
    series.ImageComments = f"Simulated by PETSuperRes {__version__}. {NOTICE}"
    series.Manufacturer, series.ManufacturerModelName = said.get("manufacturer", ""), said.get("model", "")
    series.ReconstructionMethod = said.get("reconstruction_method", "")
    if said.get("convolution_kernel"):
        series.ConvolutionKernel = said["convolution_kernel"]
    if FILTERS.keys() & said.keys():
        set_ge_filters(series, {name: said[name] for name in FILTERS if name in said})
    _times(series)
    series.Units, series.CountsSource, series.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
    series.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
    series.DecayCorrection, series.CollimatorType, series.PositionReferenceIndicator = "START", "NONE", ""
    value = DOSE_BQ / (1000 * WEIGHT_KG) * 2 ** (-(STARTED - INJECTED).total_seconds() / HALF_LIFE_S)
    series.RescaleSlope, series.RescaleIntercept = decimal(value), 0
    series.WindowCenter, series.WindowWidth = decimal(LEVEL * value), decimal(WINDOW * value)
    conform(series)
    return series


def _times(series: Dataset) -> None:
    """Study, series and acquisition begin together; FDG was injected before."""
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(series, f"{name}Date", STARTED.strftime("%Y%m%d"))
        setattr(series, f"{name}Time", STARTED.strftime("%H%M%S.%f"))
    rate = np.log(2) / HALF_LIFE_S
    mean = np.log(rate * FRAME_S / (1 - np.exp(-rate * FRAME_S))) / rate  # when the rate is the frame's mean, s
    series.ActualFrameDuration = int(1000 * FRAME_S)
    series.FrameReferenceTime, series.DecayFactor = decimal(1000 * mean), decimal(np.exp(rate * mean))
    tracer, nuclide = Dataset(), Dataset()
    tracer.Radiopharmaceutical = "Fluorodeoxyglucose"
    tracer.RadiopharmaceuticalStartTime = INJECTED.strftime("%H%M%S.%f")
    tracer.RadiopharmaceuticalStartDateTime = INJECTED.strftime("%Y%m%d%H%M%S.%f")
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = decimal(DOSE_BQ), decimal(HALF_LIFE_S)
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    tracer.RadionuclideCodeSequence = DicomSequence([nuclide])
    series.RadiopharmaceuticalInformationSequence = DicomSequence([tracer])
