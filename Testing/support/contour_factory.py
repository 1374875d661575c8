"""Makes RTSTRUCT, SEG and .seg.nrrd files of regions whose place, size and name are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_factory import write_series
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from study_factory import sequence

from PETSuperResLib.volume import Volume

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
FRAME = "1.2.826.0.1.3680043.8.498.1"


def box(x: tuple[float, float], y: tuple[float, float], z: float) -> np.ndarray:
    """A rectangle in the plane ``z`` as (4, 3) LPS mm."""
    return np.array([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], float)


def disc(radius: float, centre: Sequence[float] = (0, 0, 0), corners: int = 90) -> np.ndarray:
    """A regular polygon of the area of a disc."""
    angles = 2 * np.pi * np.arange(corners) / corners
    same_area = radius * np.sqrt(2 * np.pi / corners / np.sin(2 * np.pi / corners))
    return np.array(centre) + np.c_[np.cos(angles), np.sin(angles), 0 * angles] * [same_area, same_area, 0]


def rtstruct(
    rois: Mapping[str, Sequence[np.ndarray]],
    *,
    frame: str | Mapping[str, str] = FRAME,
    kind: str = "CLOSED_PLANAR",
    observed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dataset:
    """An RTSTRUCT of contours by name; ``frame`` of all or by name, ``observed`` the items of RTROIObservations."""
    frames = {name: frame if isinstance(frame, str) else frame.get(name, FRAME) for name in rois}
    dataset = sequence(SOPClassUID=RTSTRUCT_CLASS, SOPInstanceUID=generate_uid(), Modality="RTSTRUCT")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", generate_uid()
    dataset.StructureSetROISequence = [
        sequence(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frames[name])
        for n, name in enumerate(rois, 1)
    ]
    dataset.ROIContourSequence = [
        sequence(
            ReferencedROINumber=n,
            ContourSequence=[
                sequence(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{v:.5f}" for v in points.ravel()],
                )
                for points in contours
            ],
        )
        for n, contours in enumerate(rois.values(), 1)
    ]
    numbers = {name: n for n, name in enumerate(rois, 1)}
    dataset.RTROIObservationsSequence = [
        sequence(ReferencedROINumber=numbers[name], **values) for name, values in (observed or {}).items()
    ]
    return dataset


def seg(
    frames: Sequence[tuple[int, int, np.ndarray]], grid: Volume, labels: Mapping[int, str], **values: Any
) -> Dataset:
    """A binary SEG on ``grid``: (segment, slice, plane) of each frame; ``values`` are further attributes."""
    dataset = sequence(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", SOPInstanceUID=generate_uid(), Modality="SEG")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", generate_uid(), FRAME
    dataset.SegmentationType = "BINARY"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = len(frames), *grid.shape[1:]
    dataset.BitsAllocated = dataset.BitsStored = dataset.SamplesPerPixel = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SegmentSequence = [sequence(SegmentNumber=n, SegmentLabel=label) for n, label in labels.items()]
    i, j, k = grid.spacing
    measures = sequence(PixelSpacing=[j, i], SliceThickness=k, SpacingBetweenSlices=k)
    axes = np.reshape(grid.direction, (3, 3)).T[:2].ravel()
    dataset.SharedFunctionalGroupsSequence = [
        sequence(
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[sequence(ImageOrientationPatient=[f"{v:.9f}" for v in axes])],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = []
    for segment, number, _ in frames:
        place = (grid.ijk_to_lps @ [0, 0, number, 1])[:3]
        groups = sequence(PlanePositionSequence=[sequence(ImagePositionPatient=[f"{v:.6f}" for v in place])])
        if segment:
            groups.SegmentIdentificationSequence = [sequence(ReferencedSegmentNumber=segment)]
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    planes = np.stack([plane for _, _, plane in frames])
    for name, value in values.items():
        setattr(dataset, name, value)
    if dataset.SegmentationType == "BINARY":
        raw = np.packbits(planes.astype(bool).ravel(), bitorder="little").tobytes()
    else:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        raw = planes.astype(np.uint8).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """Write one DICOM file under a name of its own."""
    [file] = write_series([dataset], path.parent / f".{path.name}").iterdir()
    file.rename(path)
    return path


def write_layers(path: Path, layers: np.ndarray, grid: Volume, segments: Sequence[tuple[str, int, int]]) -> Path:
    """A ``.seg.nrrd`` as Slicer writes it: ``layers`` (L, K, J, I), and name, layer and label value of each segment."""
    count, *shape = layers.shape
    space = np.reshape(grid.direction, (3, 3)) @ np.diag(grid.spacing)
    vectors = " ".join(f"({','.join(f'{v:.9g}' for v in column)})" for column in space.T)
    head = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior",
        f"sizes: {count} {shape[2]} {shape[1]} {shape[0]}", f"space directions: none {vectors}",
        "kinds: list domain domain domain", "encoding: raw",
        f"space origin: ({','.join(f'{v:.9g}' for v in grid.origin)})",
    ]  # fmt: skip
    for n, (name, layer, value) in enumerate(segments):
        fields = {"ID": f"Segment_{n + 1}", "Name": name, "Layer": layer, "LabelValue": value}
        head += [f"Segment{n}_{key}:={text}" for key, text in fields.items()]
    voxels = np.ascontiguousarray(np.moveaxis(layers, 0, -1), np.uint8)
    path.write_bytes(("\n".join(head) + "\n\n").encode() + voxels.tobytes())
    sitk.ReadImage(str(path))  # what is made here is a file that ITK reads
    return path
