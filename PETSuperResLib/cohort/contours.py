"""Lesion contours of DICOM studies (SEG and RTSTRUCT) as label maps."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from ..errors import InputError
from ..volume import Volume

LESION = re.compile(r"gtv|tumou?r|lesion|neoplasm|mass|malign|metasta", re.IGNORECASE)
SAME_PLANE_MM = 0.05


def read_contours(path: Path, grid: Volume) -> Volume:
    """The lesions (1) of a DICOM SEG on its own grid, or of an RTSTRUCT on the slices of ``grid``.

    Of several segments or structures, those with a tumour's name are taken; a single one is taken with any
    name. Raises :class:`InputError` for a file without lesions or that cannot be read.
    """
    try:
        dataset = pydicom.dcmread(path)
        volume = _segmentation(dataset) if dataset.Modality == "SEG" else _structures(dataset, grid)
    except InputError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds of errors on a damaged file
        raise InputError(f"{path} cannot be read as a DICOM SEG or RTSTRUCT: export it again.") from error
    if not volume.array.any():
        raise InputError(f"{path} contours nothing within the PET: give the segmentation of this study.")
    return volume


def _chosen(names: dict[int, str]) -> set[int]:
    """Numbers of the segments or structures that are lesions, by their names."""
    if len(names) == 1:
        return set(names)
    lesions = {number for number, name in names.items() if LESION.search(name)}
    if not lesions:
        raise InputError(f"None of {', '.join(names.values()) or 'no structures'} is named as a lesion: rename it.")
    return lesions


def _structures(dataset: Dataset, grid: Volume) -> Volume:
    """Closed planar contours, filled plane by plane (an inner contour cuts a hole) on the slices of ``grid``."""
    wanted = _chosen({int(r.ROINumber): str(r.ROIName) for r in dataset.StructureSetROISequence})
    to_index = np.linalg.inv(grid.ijk_to_lps)
    planes: dict[float, np.ndarray] = defaultdict(lambda: np.zeros(grid.shape[1:], bool))
    for structure in dataset.ROIContourSequence:
        if int(structure.ReferencedROINumber) not in wanted:
            continue
        for contour in structure.get("ContourSequence") or []:
            if contour.ContourGeometricType != "CLOSED_PLANAR":
                continue
            points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            ijk = (np.c_[points, np.ones(len(points))] @ to_index.T)[:, :3]
            if np.ptp(ijk[:, 2]) * grid.spacing[2] > 1:
                raise InputError("The structure's contours are not parallel to the PET slices: contour these.")
            height = round(float(ijk[:, 2].mean()) * grid.spacing[2] / SAME_PLANE_MM) * SAME_PLANE_MM
            planes[height] ^= polygon2mask(grid.shape[1:], ijk[:, 1::-1])
    mask = np.zeros(grid.shape, np.float32)
    if planes:
        heights = np.array(sorted(planes))
        apart = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
        for k in range(grid.shape[0]):
            distances = np.abs(heights - k * grid.spacing[2])
            if distances.min() <= max(apart, grid.spacing[2]) / 2 + SAME_PLANE_MM:
                mask[k] = planes[heights[distances.argmin()]]
    return grid.with_array(mask, "label")


def _segmentation(dataset: Dataset) -> Volume:
    """A SEG's frames, put in order along their normal; slices without a frame are empty."""
    wanted = _chosen({int(s.SegmentNumber): _title(s) for s in dataset.SegmentSequence})
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence

    def of(frame: Dataset, name: str) -> Any:
        return (frame if name in frame else shared)[name].value[0]

    axes = np.array([float(v) for v in of(frames[0], "PlaneOrientationSequence").ImageOrientationPatient])
    normal = np.cross(axes[:3], axes[3:])
    measures = of(frames[0], "PixelMeasuresSequence")
    positions = np.array([[float(v) for v in of(f, "PlanePositionSequence").ImagePositionPatient] for f in frames])
    heights = positions @ normal
    gaps = np.diff(np.unique(np.round(heights / SAME_PLANE_MM) * SAME_PLANE_MM))
    stated = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0)
    step = float(gaps.min()) if len(gaps) else stated
    index = np.round((heights - heights.min()) / max(step, 1e-3)).astype(int)
    pixels = np.asarray(dataset.pixel_array).reshape(len(frames), dataset.Rows, dataset.Columns)
    half = 0.5 * float(dataset.get("MaximumFractionalValue") or 1)
    mask = np.zeros((index.max() + 1, dataset.Rows, dataset.Columns), np.float32)
    for k, frame, values in zip(index, frames, pixels, strict=True):
        if int(of(frame, "SegmentIdentificationSequence").ReferencedSegmentNumber) in wanted:
            mask[k][values > half] = 1
    row, column = (float(v) for v in measures.PixelSpacing)
    direction = np.stack([axes[:3], axes[3:], normal], axis=1).ravel()
    return Volume(mask, (column, row, step), tuple(positions[heights.argmin()]), tuple(direction), "label")


def _title(segment: Dataset) -> str:
    kinds: Sequence[Dataset] = [*(segment.get("SegmentedPropertyTypeCodeSequence") or [])]
    return " ".join([str(segment.get("SegmentLabel", "")), *(str(k.get("CodeMeaning", "")) for k in kinds)])
