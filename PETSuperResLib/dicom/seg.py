"""Segments of a DICOM SEG: binary, fractional or a label map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..headers.attributes import items, number, text, vector, whole
from ..volume import Volume
from .pixels import stored_pixels
from .regions import LESION, OTHER, UNKNOWN, Region, kind_of

EVEN = 0.1  # frames may lie so much of a slice beside their place
CATEGORIES = {  # of DICOM CID 7150, in SNOMED's old and new codes
    **dict.fromkeys(("49755003", "M-01000"), LESION),  # morphologically altered structure
    **dict.fromkeys(("123037004", "T-D000A", "85756007", "T-D0050"), OTHER),  # anatomical structure, tissue
    **dict.fromkeys(("260787004", "A-00004", "309825002", "R-42018"), OTHER),  # physical object, spatial concept
}


@dataclass(frozen=True)
class _Frames:
    """The frames of a SEG: slice, segment's number (0: all, in a label map) and plane of each, on one grid."""

    grid: Volume
    slices: np.ndarray
    numbers: np.ndarray
    planes: np.ndarray
    notes: list[str]


def regions_of(dataset: Dataset, name: str) -> list[Region]:
    """The segments of a SEG, each on the SEG's own grid; ``name`` is the file's in messages.

    Slices without a frame are empty. Raises :class:`InputError` for frames that make no regular grid.
    """
    frames = _frames(dataset, name)
    frame = text(dataset, "FrameOfReferenceUID")
    found = []
    for segment in items(dataset, "SegmentSequence"):
        own = whole(segment, "SegmentNumber")
        if not own:  # the background of a label map
            continue
        label = text(segment, "SegmentLabel") or text(segment, "SegmentDescription") or f"Segment {own}"
        draw = partial(_draw, label, own, text(segment, "TrackingUID"), frames)
        found.append(Region(label, _kind(label, segment), frame, draw))
    return found


def _kind(label: str, segment: Dataset) -> str:
    types = items(segment, "SegmentedPropertyTypeCodeSequence")
    words = " ".join([text(segment, "SegmentDescription"), *(text(code, "CodeMeaning") for code in types)])
    categories = items(segment, "SegmentedPropertyCategoryCodeSequence")
    stated = {CATEGORIES.get(text(code, "CodeValue"), UNKNOWN) for code in categories}
    return kind_of(label, words, LESION if LESION in stated else OTHER if OTHER in stated else UNKNOWN)


def _frames(dataset: Dataset, name: str) -> _Frames:
    """The frames on a regular grid, their planes as parts (0 to 1) of voxels or, in a label map, as labels."""
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not frames:
        raise InputError(f"{name} has no frames: draw at least one segment.")

    def of(frame: Dataset, group: str) -> Dataset:
        return next(iter(items(frame, group) or items(shared, group)), Dataset())

    def each(group: str, keyword: str, length: int) -> np.ndarray:
        values = [vector(of(frame, group), keyword, length) for frame in frames]
        if any(value is None for value in values):
            raise InputError(f"{name} has frames without {keyword}: export it on one image's grid.")
        return np.array(values)

    axes = each("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    sizes = each("PixelMeasuresSequence", "PixelSpacing", 2)
    positions = each("PlanePositionSequence", "ImagePositionPatient", 3)
    if np.abs(axes - axes[0]).max() > 1e-4 or np.abs(sizes - sizes[0]).max() > 1e-4:
        raise InputError(f"{name} has frames of different orientations or pixel sizes: export it on one image's grid.")
    along_row, along_column = axes[0, :3], axes[0, 3:]
    normal = np.cross(along_row, along_column)
    step, notes = _step(of(frames[0], "PixelMeasuresSequence"), positions @ normal, name)
    lowest = positions[np.argmin(positions @ normal)]
    slices = (positions - lowest) @ normal / step
    aside = (positions - lowest) - np.outer((positions - lowest) @ normal, normal)
    if np.abs(slices - np.rint(slices)).max() > EVEN or np.abs(aside).max() > EVEN * sizes[0].min():
        raise InputError(f"{name} has frames at uneven distances: export it on one image's grid.")
    index = np.rint(slices).astype(int)
    kind = text(dataset, "SegmentationType").upper()
    values = stored_pixels(dataset, name)
    values = values.reshape(len(frames), *values.shape[-2:])
    if kind == "LABELMAP":
        numbers, parts = np.zeros(len(frames), int), values
    else:
        stated = [whole(of(f, "SegmentIdentificationSequence"), "ReferencedSegmentNumber") for f in frames]
        if None in stated:
            raise InputError(f"{name} has frames that belong to no segment: export it again.")
        numbers = np.array(stated)
        parts = values.astype(np.float32) / (whole(dataset, "MaximumFractionalValue") or 1)
        if text(dataset, "SegmentationFractionalType").upper() == "PROBABILITY" or kind != "FRACTIONAL":
            parts = (parts >= 0.5).astype(np.float32)
    direction = np.stack([along_row, along_column, normal], axis=1).ravel()
    shape = (1, *values.shape[1:])
    grid = Volume(np.zeros(shape), (sizes[0, 1], sizes[0, 0], step), tuple(lowest), tuple(direction), "label")
    return _Frames(grid, index, numbers, parts, notes)


def _step(measures: Dataset, heights: np.ndarray, name: str) -> tuple[float, list[str]]:
    """Distance between slices: as stated, as between the frames, or for a single one the slice's thickness.

    A SEG leaves out slices without a voxel, so the smallest distance of its frames may be that of several slices.
    """
    gaps = np.diff(np.unique(np.round(heights, 3)))
    gaps = gaps[gaps > 0.01]
    stated = abs(number(measures, "SpacingBetweenSlices") or 0.0)
    if stated and (not len(gaps) or gaps.min() > (1 - EVEN) * stated):
        if len(gaps) < 2 or gaps.min() < (1 + EVEN) * stated:
            return stated, []
        told = f"No two frames of {name} are neighbours: its slices are taken as {stated:g} mm apart, as it states."
        return stated, [told]
    step = float(gaps.min()) if len(gaps) else abs(number(measures, "SliceThickness") or 0.0)
    if step <= 0:
        raise InputError(f"{name} is a single slice of unknown thickness: export it on its image's grid.")
    return step, []


def _draw(label: str, own: int, tracking: str, frames: _Frames) -> tuple[Volume, list[str]]:
    """The parts of the voxels within one segment, in the box around it."""
    filled = []
    for k, other, plane in zip(frames.slices, frames.numbers, frames.planes, strict=True):
        inside = (plane == own).astype(np.float32) if other == 0 else plane
        if other in (0, own) and inside.any():
            filled.append((k, inside))
    if not filled:
        raise InputError(f"'{label}' has no voxels: draw it.")
    first, last = min(k for k, _ in filled), max(k for k, _ in filled)
    j, i = (np.flatnonzero(np.any([p.any(axis=axis) for _, p in filled], axis=0)) for axis in (1, 0))
    mask = np.zeros((last - first + 1, j[-1] - j[0] + 1, i[-1] - i[0] + 1), np.float32)
    for k, plane in filled:
        mask[k - first] = np.maximum(mask[k - first], plane[j[0] : j[-1] + 1, i[0] : i[-1] + 1])
    origin = frames.grid.ijk_to_lps @ [i[0], j[0], first, 1.0]
    place = (frames.grid.spacing, tuple(origin[:3]), frames.grid.direction)
    return Volume(mask, *place, "label", {"tracking_uid": tracking} if tracking else {}), frames.notes
