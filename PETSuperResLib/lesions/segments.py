"""Segments: the masks of a label map, on a grid of its own, and the part of a volume's voxels within each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..errors import GeometryError, InputError
from ..volume import Volume

MOST_PARTS = 8  # of a voxel along an axis; more in a small segment, whose share must not be missed
SAMPLES = 1_000_000  # of a small segment
FINER = 2.0  # times the mask's voxels are the parts
ALIGNED = 1e-3  # voxels of the mask that axes or borders may be apart
HALF = 0.5  # a voxel belongs to the segment (for SUVmax and SUVpeak) when half of it lies within
SHARE_TOLD = 0.01  # of a segment outside the PET
DOUBT = "check that the segmentation belongs to this scan"  # of one that lies mostly outside the PET
Block = tuple[slice, slice, slice]


class Region(Protocol):
    """What can be measured: a segment, or a region given by a formula."""

    @property
    def label(self) -> int:
        """Its number."""

    @property
    def name(self) -> str:
        """Its name."""

    def weights(self, volume: Volume) -> tuple[np.ndarray, Block]:
        """The part (0 to 1) of each voxel of a volume within the region, and the (K, J, I) block it covers."""


@dataclass(frozen=True)
class Segment:
    """One region of the patient: ``mask``, on a grid of its own, is the part (0 to 1) of each voxel within it."""

    label: int
    name: str
    mask: Volume

    def weights(self, volume: Volume) -> tuple[np.ndarray, Block]:
        """The part (0 to 1) of each voxel of ``volume`` within the segment, and the (K, J, I) block it covers.

        Along the same axes these are the volumes that the voxels of both have in common; where the mask's axes are
        oblique, each voxel is divided into parts that take the mask's value at their centres. Empty arrays where the
        segment lies outside the volume.
        """
        corners = np.c_[self.mask.corners(), np.ones(8)] @ np.linalg.inv(volume.ijk_to_lps).T
        size = np.array(volume.shape[::-1])
        first = np.clip(np.floor(corners.min(0)[:3]).astype(int), 0, size)
        last = np.clip(np.ceil(corners.max(0)[:3]).astype(int) + 1, 0, size)
        block = tuple(slice(a, b) for a, b in zip(first[::-1], last[::-1], strict=True))
        if (last <= first).any():
            return np.zeros((0, 0, 0), np.float32), (slice(0, 0),) * 3
        coarse = volume.crop(first, last)
        weights = _shared(coarse, self.mask)
        if weights is None:
            weights = self._sampled(coarse)
        return weights, (block[0], block[1], block[2])

    def _sampled(self, coarse: Volume) -> np.ndarray:
        """The mask's mean over the parts of each voxel."""
        most = max(MOST_PARTS, int((SAMPLES / coarse.array.size) ** (1 / 3)))
        needed = (int(np.ceil(FINER * size / min(self.mask.spacing))) for size in coarse.spacing)
        ni, nj, nk = parts = [min(most, n) for n in needed]
        grid = coarse.grid([s / n for s, n in zip(coarse.spacing, parts, strict=True)])
        k, j, i = coarse.shape
        fine = self.mask.resample_to(grid, "nearest").array.reshape(k, nk, j, nj, i, ni)
        return np.asarray(fine.mean((1, 3, 5)))

    def share_within(self, volume: Volume) -> float:
        """The part (0 to 1) of the segment that lies within a volume's box, by the centres of the mask's voxels."""
        k, j, i = np.nonzero(self.mask.array)
        matrix = np.linalg.inv(volume.ijk_to_lps) @ self.mask.ijk_to_lps
        places = np.stack([i, j, k], axis=1) @ matrix[:3, :3].T + matrix[:3, 3]
        inside = ((places >= -0.5) & (places <= np.array(volume.shape[::-1]) - 0.5)).all(1)
        parts = self.mask.array[k, j, i].astype(np.float64)
        return float(parts[inside].sum() / parts.sum())

    def centre(self) -> tuple[float, float, float]:
        """The voxel of the mask nearest to its centroid, in LPS mm: inside the segment for any shape."""
        inside = np.argwhere(self.mask.array >= min(HALF, float(self.mask.array.max())))
        k, j, i = inside[np.argmin(((inside - inside.mean(0)) ** 2).sum(1))]
        x, y, z = (self.mask.ijk_to_lps @ [i, j, k, 1.0])[:3]
        return float(x), float(y), float(z)


def _shared(volume: Volume, mask: Volume) -> np.ndarray | None:
    """The mean of a mask over each voxel of a volume, ``(K, J, I)``; None where their axes are oblique."""
    step = np.linalg.inv(mask.ijk_to_lps) @ volume.ijk_to_lps  # voxels of the mask per voxel of the volume
    axes = np.abs(step[:3, :3]).argmax(0)  # of the mask, along i, j and k of the volume
    off = step[:3, :3].copy()
    off[axes, range(3)] = 0
    if len(set(axes)) < 3 or np.abs(off).max(0) @ volume.shape[::-1] > ALIGNED:
        return None
    mean = mask.array.transpose([2 - axes[n] for n in (2, 1, 0)])  # (k, j, i) of the volume
    for axis, n in ((0, 2), (1, 1), (2, 0)):
        width = step[axes[n], n]
        ends = step[axes[n], 3] + width * (np.arange(volume.shape[axis] + 1) - 0.5)
        low, high = np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])
        own = np.arange(mean.shape[axis])
        common = np.minimum(high[:, None], own + 0.5) - np.maximum(low[:, None], own - 0.5)
        part = np.where(common > ALIGNED, common, 0) / abs(width)
        mean = np.moveaxis(np.tensordot(part.astype(np.float32), mean, (1, axis)), 0, axis)
    return mean


def segments_of(mask: Volume, names: Mapping[int, str] | None = None) -> list[Segment]:
    """The segments of a label map (0 = background), in the order of the labels.

    Raises :class:`InputError` for an empty or fractional mask.
    """
    from scipy import ndimage

    values = np.unique(mask.array)
    where = mask.metadata.get("file", "The segmentation")
    if not np.isfinite(values).all() or (np.abs(values - np.rint(values)) > 1e-3).any() or values.min() < 0:
        raise InputError(f"{where} is not a label map (whole numbers from 0): export the segmentation as labels.")
    found = [int(v) for v in np.rint(values) if v > HALF]
    if not found:
        raise InputError(f"{where} is empty: draw at least one segment.")
    if len(found) > 1000:
        raise InputError(f"{where} has {len(found)} labels: this looks like an image, give a label map.")
    blocks = ndimage.find_objects(np.searchsorted([0, *found], np.rint(mask.array)))
    segments = []
    for label, block in zip(found, blocks, strict=True):
        box = mask.crop([s.start for s in block[::-1]], [s.stop for s in block[::-1]])
        inside = np.rint(box.array) == label
        segments.append(Segment(label, (names or {}).get(label, f"Lesion {label}"), box.with_array(inside, "label")))
    return segments


def split_segments(mask: Volume) -> Volume:
    """A label map with a label of its own for every connected part (26 neighbours), numbered by falling size."""
    from scipy import ndimage

    parts, count = ndimage.label(mask.array > HALF, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    new = np.zeros(count + 1, np.float32)
    new[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, count + 1)
    return mask.with_array(new[parts], "label")


def connected_parts(segments: Iterable[Segment]) -> list[Segment]:
    """A segment for every connected part (26 neighbours) of each; several of one are numbered by falling size."""
    found: list[Segment] = []
    for segment in segments:
        labels = split_segments(segment.mask.with_array(np.ceil(segment.mask.array), "label"))
        parts = segments_of(labels)
        for part in parts:
            block = part.mask
            inside = np.where(block.array > 0, segment.mask.resample_to(block, "nearest").array, 0)
            name = segment.name if len(parts) == 1 else f"{segment.name} part {part.label}"
            found.append(Segment(len(found) + 1, name, block.with_array(inside, "label")))
    return found


def region_around(
    mask: Volume | Iterable[Segment], margin_mm: float = 20.0
) -> tuple[float, float, float, float, float, float]:
    """The box (x0, x1, y0, y1, z0, z1) in LPS mm around all segments of a label map, with a margin."""
    segments = segments_of(mask) if isinstance(mask, Volume) else list(mask)
    if not segments:
        raise InputError("There is no segment to take the region around: give the region as a box.", "region")
    corners = np.concatenate([segment.mask.corners() for segment in segments])
    (x0, y0, z0), (x1, y1, z1) = corners.min(0) - margin_mm, corners.max(0) + margin_mm
    return float(x0), float(x1), float(y0), float(y1), float(z0), float(z1)


def within(segments: Iterable[Segment], pet: Volume) -> tuple[list[Segment], list[str]]:
    """The segments that the PET holds at least in part, and notes on parts and segments outside it.

    Raises :class:`GeometryError` where it holds none.
    """
    segments, kept, outside, notes = tuple(segments), [], [], []
    for segment in segments:
        share = segment.share_within(pet)
        if share <= 0:
            outside.append(f"'{segment.name}'")
            continue
        kept.append(segment)
        if share < 1 - SHARE_TOLD:
            hint = f"; {DOUBT}" if share < HALF else ""
            notes.append(
                f"{100 * (1 - share):.0f} % of segment '{segment.name}' lies outside the PET: "
                f"what is measured is the rest of it{hint}."
            )
    if outside and not kept:
        raise GeometryError(f"{', '.join(outside)}{_drawn_in(segments)}: no voxel inside the PET; {DOUBT}.")
    return kept, notes + [f"Segment {name} lies outside the PET and is left out." for name in outside]


def _drawn_in(segments: Iterable[Segment]) -> str:
    """`` of`` the files that segments are from; empty where they are from none."""
    files = dict.fromkeys(str(s.mask.metadata["file"]) for s in segments if s.mask.metadata.get("file"))
    return f" of {', '.join(files)}" if files else ""


def cut_by(result: Volume, segments: Iterable[Segment], pet: Volume) -> list[str]:
    """Notes on the segments of which the box of a result holds a part only of what the PET holds, or nothing."""
    notes = []
    for segment in segments:
        held = segment.share_within(result) / (segment.share_within(pet) or 1.0)
        if segment.weights(result)[0].sum() <= 0:
            notes.append(f"Segment '{segment.name}' lies outside the result and is left out: give a region of it.")
        elif held < 1 - SHARE_TOLD:
            notes.append(
                f"The result holds {100 * held:.0f} % of segment '{segment.name}' only: SUVmean, MTV and TLG in it are "
                "of that part: compare no changes of them, or give a region of the whole lesion."
            )
    return notes


def union(segments: Iterable[Segment], grid: Volume) -> Volume:
    """A mask (0 or 1) on a grid: the voxels of which at least half lie within a segment."""
    mask = np.zeros(grid.shape, np.float32)
    for segment in segments:
        weights, block = segment.weights(grid)
        if weights.size:
            mask[block] = np.maximum(mask[block], weights >= min(HALF, float(weights.max()) or HALF))
    return replace(grid, array=mask, unit="label", metadata={})
