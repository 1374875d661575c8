"""Makes small PET/CT cases for training: NIfTI folders, DICOM studies, RTSTRUCT and SEG."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
from dicom_factory import Scan, ct_slices, pet_slices, suv_pattern, write_series
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from PETSuperResLib.cohort.cases import Case
from PETSuperResLib.volume import Volume


def body(seed: int = 0, shape: tuple[int, int, int] = (4, 24, 24)) -> tuple[Volume, Volume]:
    """A PET (SUV about 1) and a CT of a block of tissue in air, on one grid of 5 mm."""
    random = np.random.default_rng(seed)
    inside = np.zeros(shape, bool)
    inside[:, 4:-4, 4:-4] = True
    pet = np.where(inside, random.uniform(0.5, 2, shape), 0).astype(np.float32)
    ct = np.where(inside, random.uniform(0, 80, shape), -1000).astype(np.float32)
    grid = Volume(np.zeros(shape), (5.0, 5.0, 5.0))
    return grid.with_array(pet, "SUVbw"), grid.with_array(ct, "HU")


def write_case(folder: Path, seed: int = 0, names: tuple[str, ...] = ("PET_SUV", "CT_HU", "GTV")) -> Path:
    pet, ct = body(seed)
    pet.write(folder / f"{names[0]}.nii.gz")
    ct.write(folder / f"{names[1]}.nii.gz")
    if len(names) > 2:
        pet.with_array((pet.array > 1.9).astype(np.float32), "label").write(folder / f"{names[2]}.nii.gz")
    return folder


def write_study(folder: Path, patient: str = "P-1", **scan: object) -> tuple[list[Dataset], list[Dataset]]:
    """A DICOM study in series folders, as archives deliver it; returns the PET's and the CT's slices."""
    settings = Scan(**scan)
    suv = suv_pattern()
    pet, ct = pet_slices(settings, suv), ct_slices(np.where(suv > 0.5, 40.0, -900.0), settings)
    study, frame = generate_uid(), generate_uid()
    for dataset in (*pet, *ct):
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID, dataset.PatientID = study, frame, patient
    write_series(pet, folder / "1-PET")
    write_series(ct, folder / "2-CT")
    return pet, ct


def in_frame_of_ct(folder: Path) -> None:
    """A DICOM study whose PET and CT have frames of reference of their own, with an RTSTRUCT in the CT's."""
    pet, ct = write_study(folder)
    frame = generate_uid()
    for dataset in ct:
        dataset.FrameOfReferenceUID = frame
    drawn = rtstruct(pet)
    drawn.ReferencedFrameOfReferenceSequence = [sequence(FrameOfReferenceUID=frame)]
    for roi in drawn.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = frame
    write_series(ct, folder / "2-CT")
    write_series([drawn], folder / "9-RT")


def again(datasets: list[Dataset], **changes: object) -> list[Dataset]:
    """The same slices as another series."""
    uid, copies = generate_uid(), deepcopy(datasets)
    for dataset in copies:
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, generate_uid()
        for name, value in changes.items():
            setattr(dataset, name, value)
    return copies


def sequence(**values: object) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def rtstruct(pet: list[Dataset], names: tuple[str, ...] = ("Heart", "GTV_1")) -> Dataset:
    """A square ring of 1 voxel about the middle in every slice as the last structure; the others fill everything."""
    origin = np.array(pet[0].ImagePositionPatient, float)
    (row, column), step = pet[0].PixelSpacing, pet[0].SliceThickness

    def square(k: int, low: float, high: float) -> Dataset:
        corners = [(low, low), (high, low), (high, high), (low, high)]
        points = [origin + (i * column, j * row, k * step) for i, j in corners]
        return sequence(ContourGeometricType="CLOSED_PLANAR", ContourData=[f"{v:.4f}" for p in points for v in p])

    ring = [square(k, *ends) for k in range(len(pet)) for ends in ((-0.4, 3.4), (0.6, 2.4))]
    whole = [square(k, -0.4, 4.4) for k in range(len(pet))]
    dataset = sequence(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", SOPInstanceUID=generate_uid(), Modality="RTSTRUCT")
    dataset.StudyInstanceUID = pet[0].StudyInstanceUID
    dataset.StructureSetROISequence = [sequence(ROINumber=n, ROIName=name) for n, name in enumerate(names, 1)]
    dataset.ROIContourSequence = [
        sequence(ReferencedROINumber=n, ContourSequence=ring if n == len(names) else whole)
        for n in range(1, len(names) + 1)
    ]
    return dataset


def seg(pet: list[Dataset], mask: np.ndarray) -> Dataset:
    """A binary SEG of ``mask`` (K, J, I) whose frames are the slices that have a voxel, last slice first."""
    slices = [k for k in range(len(mask))[::-1] if mask[k].any()]
    dataset = sequence(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", SOPInstanceUID=generate_uid(), Modality="SEG")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = pet[0].StudyInstanceUID, generate_uid()
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = len(slices), mask.shape[1:]
    dataset.BitsAllocated = dataset.BitsStored = dataset.SamplesPerPixel = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SegmentSequence = [sequence(SegmentNumber=1, SegmentLabel="Lesion")]
    measures = sequence(PixelSpacing=pet[0].PixelSpacing, SliceThickness=pet[0].SliceThickness)
    axes = sequence(ImageOrientationPatient=pet[0].ImageOrientationPatient)
    dataset.SharedFunctionalGroupsSequence = [
        sequence(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[axes])
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        sequence(
            PlanePositionSequence=[sequence(ImagePositionPatient=pet[k].ImagePositionPatient)],
            SegmentIdentificationSequence=[sequence(ReferencedSegmentNumber=1)],
        )
        for k in slices
    ]
    bits = np.packbits(mask[slices].astype(bool).ravel(), bitorder="little").tobytes()
    dataset.PixelData = bits + b"\0" * (len(bits) % 2)
    return dataset


def lesions_of(case: Case) -> Volume:
    """The lesion label map of a case that has one."""
    lesions = case.lesions()
    assert lesions is not None
    return lesions
