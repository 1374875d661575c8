"""Headers of a derived PET series: attributes kept from the source, new attributes, and the stored values."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, generate_uid

from ..errors import UnitsError
from ..headers.attributes import text, whole, words
from ..suv.suvbw import suv_factors
from ..version import NOTICE, __version__
from ..volume import Volume

MAKER = "PETSuperRes"
PET_STORAGE = UID("1.2.840.10008.5.1.4.1.1.128")
WINDOW, LEVEL = 6.0, 3.0  # SUV
COPIED = [  # of every slice; keywords of PS3.6
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "IssuerOfPatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "EthnicGroup",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "ReferringPhysicianName", "SeriesDate", "SeriesTime", "BodyPartExamined", "Laterality",
    "PatientPosition", "ProtocolName", "FrameOfReferenceUID", "PositionReferenceIndicator", "Manufacturer",
    "ManufacturerModelName", "InstitutionName", "StationName", "DeviceSerialNumber", "SoftwareVersions", "Units",
    "SUVType", "CountsSource", "SeriesType", "ReprojectionMethod", "CorrectedImage", "DecayCorrection",
    "DecayCorrectionDateTime", "RandomsCorrectionMethod", "AttenuationCorrectionMethod", "ScatterCorrectionMethod",
    "ReconstructionMethod", "ConvolutionKernel", "CollimatorType", "AcquisitionStartCondition",
    "RadiopharmaceuticalInformationSequence", "PatientOrientationCodeSequence",
    "PatientGantryRelationshipCodeSequence", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime",
    "ActualFrameDuration", "FrameReferenceTime", "DecayFactor", "DoseCalibrationFactor", "ScatterFractionFactor",
    "LossyImageCompression",
]  # fmt: skip
EMPTY = [  # may be empty but must be present (type 2)
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "ReferringPhysicianName", "AccessionNumber", "PositionReferenceIndicator", "Manufacturer", "CorrectedImage",
    "CollimatorType", "AcquisitionDate", "AcquisitionTime", "PatientOrientationCodeSequence",
    "PatientGantryRelationshipCodeSequence",
]  # fmt: skip
UNPAIRED = {  # body parts that have no side; any other may have one, and none may be unknown
    "ABDOMEN", "ABDOMENPELVIS", "BLADDER", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "COLON", "CSPINE",
    "HEAD", "HEADNECK", "HEART", "LIVER", "LSPINE", "NECK", "NECKCHEST", "NECKCHESTABDPELV", "PANCREAS", "PELVIS",
    "PROSTATE", "SKULL", "SPINE", "SSPINE", "TSPINE", "UTERUS", "WHOLEBODY",
}  # fmt: skip
LYING = {  # by the end of PatientPosition; codes of PS3.16 CID 20
    "S": ("40199007", "supine"),
    "P": ("1240000", "prone"),
    "DL": ("102536004", "left lateral decubitus"),
    "DR": ("102535000", "right lateral decubitus"),
}
FIRST = {"HF": ("102540008", "headfirst"), "FF": ("102541007", "feet-first")}  # by its beginning; CID 21
SHORT = 16  # characters of a short string (SH)


def derived_headers(
    volume: Volume, headers: Sequence[Dataset], nearest: Sequence[int], report: dict[str, Any], description: str
) -> list[Dataset]:
    """Headers of the slices without pixels; ``RescaleSlope`` is the value of 1 SUV until :func:`set_pixels`."""
    now, series = datetime.now(), generate_uid(prefix=None)
    slices = [_copied(headers[n]) for n in nearest]
    reference = _reference_time(headers)
    derivation = _derivation(report)
    for k, (dataset, n) in enumerate(zip(slices, nearest, strict=True)):
        source = headers[n]
        dataset.SOPClassUID, dataset.SOPInstanceUID = PET_STORAGE, generate_uid(prefix=None)
        dataset.SeriesInstanceUID, dataset.Modality = series, "PT"
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        dataset.InstanceCreationDate = dataset.ContentDate = now.strftime("%Y%m%d")
        dataset.InstanceCreationTime = dataset.ContentTime = now.strftime("%H%M%S")
        if reference is not None:
            dataset.SeriesDate, dataset.SeriesTime = reference.strftime("%Y%m%d"), reference.strftime("%H%M%S.%f")
        dataset.SeriesNumber = 9000 + (whole(source, "SeriesNumber") or 0) % 1000
        named = text(source, "SeriesDescription")
        dataset.SeriesDescription = f"{named[: 64 - len(description) - 16]} {description} (research use)".strip()
        dataset.ImageComments = NOTICE
        dataset.DerivationDescription = derivation
        dataset.SourceImageSequence = DicomSequence([_referenced(source)])
        dataset.ContributingEquipmentSequence = DicomSequence([_equipment(now)])
        set_geometry(dataset, volume, k)
    _units(slices, headers)
    return slices


def _copied(source: Dataset) -> Dataset:
    dataset = Dataset()
    for keyword in COPIED:
        if keyword in source:
            dataset[keyword] = copy.deepcopy(source[keyword])
    for keyword in EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    dataset.setdefault("FrameOfReferenceUID", stable_uid(text(source, "SeriesInstanceUID")))
    dataset.setdefault("CountsSource", "EMISSION")
    dataset.setdefault("SeriesType", ["STATIC", "IMAGE"])
    conform(dataset)
    return dataset


def conform(dataset: Dataset) -> None:
    """What scanners write otherwise than the standard: how the patient lies, by codes in place of PatientPosition,
    which may not be beside them (PS3.3 C.7.3.1.1.2); the side, long study IDs, WHOLEBODY."""
    if text(dataset, "BodyPartExamined") not in UNPAIRED:
        dataset.setdefault("Laterality", None)
    position = text(dataset, "PatientPosition").upper()
    if not dataset.get("PatientOrientationCodeSequence") and position[2:] in LYING:
        lies = _code("102538003", "recumbent", "SCT")
        lies.PatientOrientationModifierCodeSequence = DicomSequence([_code(*LYING[position[2:]], "SCT")])
        dataset.PatientOrientationCodeSequence = DicomSequence([lies])
    if not dataset.get("PatientGantryRelationshipCodeSequence") and position[:2] in FIRST:
        dataset.PatientGantryRelationshipCodeSequence = DicomSequence([_code(*FIRST[position[:2]], "SCT")])
    dataset.pop("PatientPosition", None)
    dataset.StudyID = text(dataset, "StudyID")[:SHORT]
    dataset.SeriesType = [value.replace("WHOLEBODY", "WHOLE BODY") for value in words(dataset, "SeriesType")]


def _reference_time(headers: Sequence[Dataset]) -> datetime | None:
    """The time to which a series corrected to START was corrected; it becomes SeriesDate and SeriesTime."""
    with suppress(UnitsError):
        evidence = suv_factors(headers)[1]
        if evidence["decay_correction"].upper() == "START" and "reference_time" in evidence["used"]:
            return datetime.fromisoformat(evidence["used"]["reference_time"]["value"])
    return None


def _units(slices: Sequence[Dataset], headers: Sequence[Dataset]) -> None:
    """Choose Units and set RescaleSlope to the stored quantity of 1 SUV: Bq/mL, or SUVbw where that is not possible."""
    units = text(headers[0], "Units").upper()
    factors = None
    for dataset in slices:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    if units not in ("GML", "CM2ML"):
        for dataset in slices:
            dataset.Units = "BQML"
            dataset.pop("SUVType", None)
        with suppress(UnitsError):  # by the rules of reading the series
            factors = suv_factors(slices)[0]
    if factors is None:
        factors = np.ones(len(slices))
        for dataset in slices:
            dataset.Units, dataset.SUVType = "GML", "BW"
    for dataset, factor in zip(slices, factors, strict=True):
        dataset.RescaleSlope = decimal(1 / factor)
        dataset.WindowCenter, dataset.WindowWidth = decimal(LEVEL / factor), decimal(WINDOW / factor)


def set_geometry(dataset: Dataset, volume: Volume, k: int) -> None:
    """Position, orientation and size of slice ``k`` of a volume."""
    axes = np.reshape(volume.direction, (3, 3))
    position = (volume.ijk_to_lps @ np.array([0, 0, k, 1.0]))[:3]
    dataset.ImagePositionPatient = [decimal(v) for v in position]
    dataset.ImageOrientationPatient = [decimal(v) for v in (*axes[:, 0], *axes[:, 1])]
    dataset.PixelSpacing = [decimal(volume.spacing[1]), decimal(volume.spacing[0])]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = decimal(volume.spacing[2])
    dataset.SliceLocation = decimal(float(position @ axes[:, 2]))
    dataset.InstanceNumber = dataset.ImageIndex = k + 1
    dataset.NumberOfSlices = volume.shape[0]


def set_pixels(dataset: Dataset, values: np.ndarray) -> None:
    """Values (SUV) as 16-bit integers with the slice's own slope."""
    scaled = values.astype(np.float64) * float(dataset.RescaleSlope)
    signed = bool(scaled.min() < 0)
    top = 32767 if signed else 65535
    slope = decimal(max(float(np.abs(scaled).max()) / (top - 1), 1e-30) if scaled.any() else 1.0)
    stored = np.rint(scaled / float(slope)).clip(-top if signed else 0, top)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, 0
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    dataset.add_new("PixelData", "OW", stored.astype("<i2" if signed else "<u2").tobytes())


def decimal(value: float) -> str:
    """A decimal string (DS, at most 16 characters)."""
    return f"{float(value):.10g}"


def stable_uid(*words: str) -> str:
    """The same UID for the same words, wherever and whenever it is made (PS3.5 B.2, of a name-based UUID)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, chr(0).join((MAKER, *words))).int}"


def _code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _referenced(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    purpose = _code("121322", "Source image for image processing operation")
    item.PurposeOfReferenceCodeSequence = DicomSequence([purpose])
    return item


def _equipment(now: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = DicomSequence([_code("109103", "Modifying Equipment")])
    item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions = MAKER, MAKER, __version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = "PET super-resolution by posterior sampling, guided by CT"
    return item


def _derivation(report: Mapping[str, Any]) -> str:
    """What was done, in at most 1024 characters (ST)."""
    told = [f"PET super-resolution ({MAKER} {report.get('version') or __version__})", *settings_of(report)]
    return ("; ".join(told) + f". {NOTICE}").encode("ascii", "replace").decode()[:1024]


def settings_of(report: Mapping[str, Any]) -> list[str]:
    """How a reconstruction was set, from its report."""
    scanner, prior, sampler = (_part(report, name) for name in ("scanner", "prior", "sampler"))
    return [f"{name} {value}" for name, value in (
        ("scanner model", scanner.get("name")),
        ("profile", sampler.get("name")),
        ("measurement", report.get("measurement")),
        ("seed", report.get("seed")),
        ("prior SHA-256", prior.get("sha256")),
    ) if value not in (None, "")]  # fmt: skip


def _part(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = report.get(name)
    return part if isinstance(part, Mapping) else {}
