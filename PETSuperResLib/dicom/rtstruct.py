"""Closed contours of a DICOM RTSTRUCT as parts of voxels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..grid import axial
from ..headers.attributes import REMEDY, items, text, whole
from ..volume import Volume
from .polygons import coverage
from .regions import LESION, OTHER, UNKNOWN, Region, kind_of

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
SAME_PLANE_MM = 0.05
CELL_MM = 1.0  # contours are drawn on parts of the PET's voxels of at most this
PARTS = 8  # at most so many along an axis of a voxel
CELLS = 50_000_000  # of one region
APART = 1.5  # planes further apart than so many of their usual distances have something empty between them
FAR = 2.5  # times the slices: planes usually as far apart as that belong to separate pieces
LESION_TYPES = ("GTV",)
UNSTATED_TYPES = ("", "CONTROL", "UNDEFINED", "NONE")


def regions_of(dataset: Dataset, grid: Volume) -> list[Region]:
    """The ROIs of an RTSTRUCT, each to be drawn on its own: within one ROI, a contour in another is a hole (XOR).

    They are drawn on parts of the voxels of ``grid`` (the PET) in its axial slices, also outside it.
    """
    grid = axial(grid)
    frames = [dataset, *items(dataset, "ReferencedFrameOfReferenceSequence")]
    frame = next(filter(None, (text(item, "FrameOfReferenceUID") for item in frames)), "")
    observed = {whole(item, "ReferencedROINumber"): item for item in items(dataset, "RTROIObservationsSequence")}
    contours: dict[int | None, list[Dataset]] = defaultdict(list)
    for item in items(dataset, "ROIContourSequence"):
        contours[whole(item, "ReferencedROINumber")] += items(item, "ContourSequence")
    planes = [[z for z in map(_height, drawn) if z is not None] for drawn in contours.values()]
    gaps = np.concatenate([np.zeros(0), *(_gaps(np.array(heights)) for heights in planes)])
    near = gaps[gaps <= FAR * grid.spacing[2]]
    slice_mm = _usual(near) if len(near) else grid.spacing[2]
    found = []
    for roi in items(dataset, "StructureSetROISequence"):
        number = whole(roi, "ROINumber")
        name = text(roi, "ROIName") or f"ROI {number}"
        draw = partial(_draw, name, contours.get(number, []), grid, slice_mm)
        found.append(
            Region(name, _kind(name, observed.get(number)), text(roi, "ReferencedFrameOfReferenceUID") or frame, draw)
        )
    return found


def _kind(name: str, observation: Dataset | None) -> str:
    if observation is None:
        return kind_of(name, "", UNKNOWN)
    codes = items(observation, "RTROIIdentificationCodeSequence")
    words = " ".join([text(observation, "ROIObservationLabel"), *(text(code, "CodeMeaning") for code in codes)])
    kind = text(observation, "RTROIInterpretedType").upper()
    stated = LESION if kind in LESION_TYPES else UNKNOWN if kind in UNSTATED_TYPES else OTHER
    return kind_of(name, words, stated)


def _height(contour: Dataset) -> float | None:
    """The third coordinate of a closed contour's first point, enough to compare planes' distances."""
    values = _values(contour, 3) if text(contour, "ContourGeometricType") in CLOSED else []
    return values[2] if len(values) > 2 else None


def _values(contour: Dataset, first: int | None = None) -> list[float]:
    """The coordinates of a contour, or the first few: from the file's text, as pydicom takes minutes for all."""
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    content = None if element is None else element.value
    try:
        parts = content.split(b"\\", first or -1)[:first] if isinstance(content, bytes) else (content or [])
        return [float(part) for part in parts if isinstance(part, (float, int)) or part.strip()][:first]
    except (TypeError, ValueError) as error:
        raise InputError(f"A contour has coordinates that are no numbers: {REMEDY}.") from error


def _gaps(heights: np.ndarray) -> np.ndarray:
    """Distances between planes next to each other."""
    gaps = np.diff(np.sort(heights))
    return gaps[gaps > SAME_PLANE_MM]


def _usual(gaps: np.ndarray) -> float:
    """The median, of two in the middle the smaller: gaps between pieces are larger than slices, none is smaller."""
    return float(np.quantile(gaps, 0.5, method="lower"))


def _draw(name: str, contours: Sequence[Dataset], grid: Volume, slice_mm: float) -> tuple[Volume, list[str]]:
    """The parts of cells within closed contours; a plane reaches half way to the next ones."""
    notes: list[str] = []
    kinds = [text(contour, "ContourGeometricType") for contour in contours]
    if unknown := sorted({kind for kind in kinds if kind not in (*CLOSED, *OPEN)}):
        raise InputError(f"'{name}' has contours of no known type ({', '.join(map(repr, unknown))}): export it again.")
    closed = [_points(name, c) for c, kind in zip(contours, kinds, strict=True) if kind in CLOSED]
    closed = [points for points in closed if len(points) > 2]
    if not closed:
        raise InputError(f"'{name}' has no closed contours: draw it.")
    if len(closed) < len(contours):
        notes.append(f"{len(contours) - len(closed)} contours of '{name}' are points or open: they enclose nothing.")
    to_index = np.linalg.inv(grid.ijk_to_lps)
    shapes = [(np.c_[points, np.ones(len(points))] @ to_index.T)[:, :3] for points in closed]
    if max(np.ptp(ijk[:, 2]) for ijk in shapes) * grid.spacing[2] > 1:
        raise InputError(f"The contours of '{name}' are not parallel to the PET's slices: contour these.")
    planes = list(_planes(shapes, SAME_PLANE_MM / grid.spacing[2]))
    heights = np.array([height for height, _ in planes]) * grid.spacing[2]
    step = _step(heights, slice_mm, grid.spacing[2])
    if len(heights) > 1 and step < np.median(np.diff(heights)) / APART:
        notes.append(f"The contours of '{name}' are far apart: each is taken as {step:.1f} mm thick.")
    reach = np.diff(heights)
    reach = np.where(reach > APART * step, step, reach) / 2
    lower, upper = heights - np.r_[step / 2, reach], heights + np.r_[reach, step / 2]
    slabs = np.stack([lower, upper], axis=1) / grid.spacing[2] + 0.5  # edges between slices are whole numbers

    everything = np.concatenate(shapes)
    first = np.floor([*(everything[:, :2].min(0) + 0.5), slabs.min() + 1e-6]).astype(int)
    last = np.ceil([*(everything[:, :2].max(0) + 0.5), slabs.max() - 1e-6]).astype(int)
    size = np.maximum(last - first, 1)
    parts = np.minimum(PARTS, np.ceil(np.array(grid.spacing) / CELL_MM - 0.01)).astype(int).clip(1)
    if np.abs(slabs - np.rint(slabs)).max() < 0.01:  # the planes are those of the PET
        parts[2] = 1
    while np.prod((size * parts).astype(float)) > CELLS:
        if parts.max() == 1:
            raise InputError(f"'{name}' is larger than any patient: export its contours again.")
        parts = np.maximum(parts - 1, 1)
    columns, rows, slices = size * parts
    mask = np.zeros((slices, rows, columns), np.float32)
    edges = np.arange(slices + 1) / parts[2]
    for (low, high), (_, polygons) in zip(slabs - first[2], planes, strict=True):
        share = (np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)).clip(0) * parts[2]
        [inside] = np.nonzero(share)
        cells = [(ijk[:, :2] + 0.5 - first[:2]) * parts[:2] for ijk in polygons]
        area = coverage(cells, (int(rows), int(columns)))
        mask[inside] += share[inside, None, None].astype(np.float32) * area
    if not mask.any():
        raise InputError(f"The contours of '{name}' enclose nothing: draw it.")
    matrix = grid.ijk_to_lps
    origin = matrix @ [*(first - 0.5 + 0.5 / parts), 1.0]
    spacing = np.array(grid.spacing) / parts
    i, j, k = (float(s) for s in spacing)
    return Volume(mask.clip(0, 1), (i, j, k), tuple(origin[:3]), grid.direction, "label"), notes


def _points(name: str, contour: Dataset) -> np.ndarray:
    """(N, 3) LPS mm; raises :class:`InputError` for what are no points."""
    values = _values(contour)
    points = np.array(values[: len(values) // 3 * 3]).reshape(-1, 3)
    stated = whole(contour, "NumberOfContourPoints")
    if len(values) % 3 or not np.isfinite(points).all() or stated not in (None, len(points)):
        raise InputError(f"The contours of '{name}' lack points or have some that are no numbers: export them again.")
    return points


def _planes(shapes: Sequence[np.ndarray], same: float) -> Iterator[tuple[float, list[np.ndarray]]]:
    """(slice, contours) of each plane from below; a contour that is there twice, whatever its first point or direction,
    counts once."""
    rest = sorted(shapes, key=lambda ijk: float(ijk[:, 2].mean()))
    while rest:
        height = float(rest[0][:, 2].mean())
        here = [ijk for ijk in rest if ijk[:, 2].mean() - height <= same]
        rest = rest[len(here) :]
        distinct = {np.unique(np.round(ijk[:, :2], 4) + 0.0, axis=0).tobytes(): ijk for ijk in here}
        yield height, list(distinct.values())


def _step(heights: np.ndarray, slice_mm: float, pet_mm: float) -> float:
    """The usual distance of planes in mm, which is how thick a plane with no other beside it is."""
    gaps = _gaps(heights)
    step = _usual(gaps) if len(gaps) else slice_mm
    return step if step <= FAR * max(slice_mm, pet_mm) else slice_mm
