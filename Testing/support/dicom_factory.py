"""Makes small PET and CT DICOM series whose SUV is known, by following the physics forwards.

A tracer of ``dose_bq`` at ``injected`` spreads so that the wanted SUV holds; it decays; the scanner
averages the activity over every bed's frame and stores it in the units and with the decay correction
asked for. Nothing here uses the library's own conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PET_CLASS = "1.2.840.10008.5.1.4.1.1.128"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def suv_pattern(shape: tuple[int, int, int] = (6, 5, 4)) -> np.ndarray:
    """SUV 1 with one cold (0.2) and one hot (4) voxel per slice, each at a place of its own."""
    suv = np.ones(shape)
    for k in range(shape[0]):
        suv[k, k % shape[1], 0] = 0.2
        suv[k, (k + 2) % shape[1], shape[2] - 1] = 4.0
    return suv


@dataclass(frozen=True)
class Scan:
    """An examination: patient, tracer, times and how the scanner stores its images."""

    weight_kg: float = 70.0
    dose_bq: float = 350e6
    half_life_s: float = 6586.2
    injected: datetime = datetime(2025, 1, 1, 10, 0, 0)
    started: datetime = datetime(2025, 1, 1, 11, 0, 0)
    units: str = "BQML"
    decay: str = "START"
    beds: int = 2
    bed_s: float = 180.0
    between_s: float = 200.0  # from one bed's start to the next one's
    scale: float = 1.0  # stored quantity per Bq/mL (calibration) or per SUVbw (normalisation)
    spacing: tuple[float, float, float] = (4.0, 3.0, 5.0)  # i, j, k in mm
    origin: tuple[float, float, float] = (-10.0, 20.0, -300.0)
    orientation: tuple[float, ...] = AXIAL

    def concentration(self, suv: np.ndarray, start: datetime) -> np.ndarray:
        """Bq/mL stored for a frame from ``start``, by the decay correction."""
        rate = np.log(2) / self.half_life_s
        at_injection = suv * self.dose_bq / (self.weight_kg * 1000)
        if self.decay == "ADMIN":
            return at_injection
        if self.decay == "START":
            return at_injection * np.exp(-rate * (self.started - self.injected).total_seconds())
        moments = (np.arange(2000) + 0.5) * self.bed_s / 2000  # NONE: the frame's mean of the decaying activity
        decaying = np.exp(-rate * ((start - self.injected).total_seconds() + moments))
        return at_injection * decaying.mean()

    def reference_ms(self, start: datetime) -> float:
        """DICOM's FrameReferenceTime: from scan start to when the rate is the frame's mean, by search."""
        return 1000 * ((start - self.started).total_seconds() + _moment_of_mean(self.half_life_s, self.bed_s))


@cache
def _moment_of_mean(half_life_s: float, bed_s: float) -> float:
    """When the rate of a frame is its mean, in s after its start."""
    moments = (np.arange(200000) + 0.5) * bed_s / 200000
    rates = np.exp(-np.log(2) / half_life_s * moments)
    return float(moments[np.argmin(np.abs(rates - rates.mean()))])


def pet_slices(scan: Scan | None = None, suv: np.ndarray | None = None) -> list[Dataset]:
    """One dataset per slice of ``suv`` (default :func:`suv_pattern`), the slices dealt to the beds in order."""
    scan, suv = scan or Scan(), suv_pattern() if suv is None else suv
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k, wanted in enumerate(suv):
        start = scan.started + timedelta(seconds=(k * scan.beds // len(suv)) * scan.between_s)
        values = wanted if scan.units in ("GML", "CM2ML") else scan.concentration(wanted, start)
        dataset = _slice("PT", PET_CLASS, uid, study, frame, k, values * scan.scale, scan)
        dataset.SeriesDate = dataset.StudyDate = scan.started.strftime("%Y%m%d")
        dataset.SeriesTime = dataset.StudyTime = scan.started.strftime("%H%M%S.%f")
        dataset.AcquisitionDate, dataset.AcquisitionTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")
        dataset.ActualFrameDuration = int(1000 * scan.bed_s)
        dataset.FrameReferenceTime = round(scan.reference_ms(start), 1)
        dataset.DecayFactor = 1.0
        dataset.Units, dataset.DecayCorrection = scan.units, scan.decay
        dataset.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "RAN"] + (["DECY"] if scan.decay != "NONE" else [])
        dataset.NumberOfSlices = len(suv)
        tracer, code = Dataset(), Dataset()
        tracer.Radiopharmaceutical = "FDG"
        tracer.RadiopharmaceuticalStartTime = scan.injected.strftime("%H%M%S.%f")
        tracer.RadiopharmaceuticalStartDateTime = scan.injected.strftime("%Y%m%d%H%M%S.%f")
        tracer.RadionuclideTotalDose = float(scan.dose_bq)
        tracer.RadionuclideHalfLife = float(scan.half_life_s)
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
        tracer.RadionuclideCodeSequence = DicomSequence([code])
        dataset.RadiopharmaceuticalInformationSequence = DicomSequence([tracer])
        slices.append(dataset)
    return slices


def ct_slices(hu: np.ndarray, scan: Scan | None = None) -> list[Dataset]:
    """A CT of ``hu`` (K, J, I), stored unsigned with intercept -1024."""
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k, values in enumerate(hu):
        dataset = _slice("CT", CT_CLASS, uid, study, frame, k, values * 0 + 1, scan or Scan())
        dataset.RescaleSlope, dataset.RescaleIntercept = 1.0, -1024.0
        dataset.PixelData = np.round(values + 1024).astype("<u2").tobytes()
        slices.append(dataset)
    return slices


def _slice(
    modality: str, kind: str, uid: str, study: str, frame: str, k: int, values: np.ndarray, scan: Scan
) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, uid, frame
    dataset.Modality, dataset.Manufacturer, dataset.SeriesDescription = modality, "Factory", f"factory {modality}"
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Doe^Jane", "SECRET-4711", "F"
    dataset.PatientWeight, dataset.PatientSize = scan.weight_kg, 1.75
    row, column = np.array(scan.orientation[:3]), np.array(scan.orientation[3:])
    position = np.array(scan.origin) + k * scan.spacing[2] * np.cross(row, column)
    dataset.ImagePositionPatient = [f"{v:.6f}" for v in position]
    dataset.ImageOrientationPatient = [f"{v:.9f}" for v in scan.orientation]
    dataset.PixelSpacing, dataset.SliceThickness = [scan.spacing[1], scan.spacing[0]], scan.spacing[2]
    dataset.InstanceNumber = k + 1
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    slope = float(f"{max(values.max(), 1e-30) / 30000 * (1 + 0.1 * k):.10g}")  # another slope in every slice
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.10g}", 0
    dataset.PixelData = np.round(values / slope).astype("<u2").tobytes()
    return dataset


def multi_frame(datasets: Sequence[Dataset]) -> Dataset:
    """The slices as the frames of one data set: position and scale of each, the rest as of the first."""
    whole = deepcopy(datasets[0])
    whole.NumberOfFrames, whole.PixelData = len(datasets), b"".join(d.PixelData for d in datasets)
    whole.PerFrameFunctionalGroupsSequence = []
    for dataset in datasets:
        frame, place, scale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, scale.RescaleSlope = dataset.ImagePositionPatient, dataset.RescaleSlope
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [scale]
        whole.PerFrameFunctionalGroupsSequence.append(frame)
    return whole


def rescaled(dataset: Dataset) -> np.ndarray:
    """Stored values times slope, as a viewer shows them."""
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    return stored * float(dataset.RescaleSlope)


def tracer(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The radiopharmaceutical item of every slice, to edit."""
    return [d.RadiopharmaceuticalInformationSequence[0] for d in datasets]


def set_private(dataset: Dataset, group: int, creator: str, element: int, vr: str, value: object) -> None:
    """A private attribute with its creator."""
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)


def write_series(datasets: Sequence[Dataset], folder: Path, names: Sequence[int] | None = None) -> Path:
    """Write every slice as a file; ``names`` numbers them (file order need not be slice order)."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset, number in zip(datasets, names or range(len(datasets)), strict=True):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{dataset.Modality}{number:04d}.dcm"
        whole = FileDataset(str(path), dataset, file_meta=meta, preamble=b"\0" * 128)
        whole.save_as(path, enforce_file_format=True)
    return folder
