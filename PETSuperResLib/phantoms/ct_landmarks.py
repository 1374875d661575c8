"""Landmarks of a torso CT by which organs are found: lungs, spinal canal, bone, outline of the muscles, diaphragm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..volume import Volume
from .codes import CODE

COARSE_MM = 3.0
LUNG_ML = 100.0  # smaller parts of gas are bowel's or airways'
CANAL_MM2 = (60.0, 450.0)
BONE_MM2, BEHIND_MM = 300.0, 6.0  # least bone of a vertebra; from its middle back to that of the canal
PELVIS_MM2 = 500.0
BODY_MM = 22.0  # from the middle of the spinal canal forwards to the middle of a vertebral body


@dataclass(frozen=True)
class Landmarks:
    """What a torso CT shows without doubt, on a coarse grid of axial slices (LPS, K upwards), all ``(K, J, I)``.

    ``hu`` is a little smoothed; ``depth`` the depth in mm under the outline of the muscles, within the slice; ``x`` and
    ``y`` mm to the patient's left and back of the spinal canal's middle, ``z`` mm upwards from the lowest slice.
    ``domes`` are the heights of the right and the left dome of the diaphragm in mm, NaN where none is in view.
    """

    grid: Volume
    hu: np.ndarray
    body: np.ndarray
    lung: np.ndarray
    bright: np.ndarray  # bone and contrast agent
    depth: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    domes: tuple[float, float]

    @property
    def spine(self) -> np.ndarray:
        """Vertebral bodies, discs and arches."""
        front = (self.x / 25) ** 2 + ((self.y + BODY_MM) / 21) ** 2 < 1
        return front | ((np.abs(self.x) < 25) & (self.y >= -BODY_MM) & (self.y < 32))

    @property
    def between_lungs(self) -> np.ndarray:
        """Voxels with lung on either side in their row, in front of the spine's middle."""
        right = np.logical_or.accumulate(self.lung, axis=2)
        left = np.logical_or.accumulate(self.lung[:, :, ::-1], axis=2)[:, :, ::-1]
        return right & left & ~self.lung & (self.y < -BODY_MM)

    @property
    def pelvic(self) -> np.ndarray:
        """(K,): slices with much bone on both sides, in front of the spine and below the lungs."""
        bone = self.bright & (self.y < -10) & (np.abs(self.x) > 50)
        sides = [(bone & side).sum((1, 2)) * COARSE_MM**2 > PELVIS_MM2 for side in (self.x < 0, self.x > 0)]
        lowest = self.z[self.lung].min(initial=np.inf)
        return sides[0] & sides[1] & (self.z[:, 0, 0] < lowest - 60)

    def under_lung(self) -> np.ndarray:
        """Voxels with lung above them, but none below."""
        above = np.logical_or.accumulate(self.lung[::-1], axis=0)[::-1]
        below = np.logical_or.accumulate(self.lung, axis=0)
        return above & ~below & self.body

    def opened(self, mask: np.ndarray, mm: float) -> np.ndarray:
        """``mask`` without parts thinner than twice ``mm``."""
        core = inner_depth(mask, self.grid.spacing) > mm
        return mask & self.near(core, mm + COARSE_MM)

    def near(self, mask: np.ndarray, mm: float) -> np.ndarray:
        """``mask`` and all within ``mm`` of it."""
        found = np.zeros_like(mask)
        box = around(mask, math.ceil(mm / COARSE_MM) + 1)
        if mask[box].any():
            found[box] = inner_depth(~mask[box], self.grid.spacing) <= mm
        return found

    def largest(self, mask: np.ndarray, least_ml: float = 0.0) -> np.ndarray:
        """The largest connected part of ``mask``, empty if it is smaller than ``least_ml``."""
        parts, number = ndimage.label(mask)
        if not number:
            return np.zeros_like(mask)
        sizes = np.bincount(parts.ravel())[1:] * self.grid.voxel_ml
        return parts == sizes.argmax() + 1 if sizes.max() >= least_ml else np.zeros_like(mask)


def find_landmarks(ct: Volume, tissue: np.ndarray) -> Landmarks | None:
    """Landmarks of a CT (HU, axial slices, LPS) with its tissue codes; None where no spine is found."""
    grid = ct.grid((COARSE_MM,) * 3)
    hu = ndimage.gaussian_filter(ct.resample_to(grid, "linear", -1000).array, 0.6)
    body = ct.with_array((tissue != CODE["air"]).astype(np.float32), "").resample_to(grid, "linear").array > 0.5
    lung = _lungs(hu, body, grid.voxel_ml)
    bright = (hu > 170) & body
    canal = _canal(bright, body, grid)
    if canal is None:
        return None
    k, j, i = (np.arange(n, dtype=np.float32) * COARSE_MM for n in grid.shape)
    x = i[None, None, :] - canal[:, 0][:, None, None]
    y = j[None, :, None] - canal[:, 1][:, None, None]
    shape = grid.shape
    x, y, z = (np.broadcast_to(a, shape) for a in (x, y, k[:, None, None]))
    marks = Landmarks(grid, hu, body, lung, bright, _lean_depth((hu > -20) & body | lung), x, y, z, (np.nan, np.nan))
    soft = marks.under_lung() & (hu > 0) & ~bright
    right, left = (_dome(soft & part, z, grid) for part in (x < -60, (x > 45) & (y > -60)))
    return Landmarks(grid, hu, body, lung, bright, marks.depth, x, y, z, (right, left))


def inner_depth(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance in mm of every voxel of ``mask`` from the nearest voxel outside it."""
    depth, box = np.zeros(mask.shape, np.float32), around(mask, 1)
    if mask[box].any():
        image = sitk.GetImageFromArray(mask[box].astype(np.uint8))
        image.SetSpacing(spacing)
        far = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
        depth[box] = np.maximum(sitk.GetArrayFromImage(far), 0)
    return depth


def around(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The box of a mask's voxels and of ``margin`` voxels on each side; empty if it has none."""
    found = ndimage.find_objects(mask.view(np.uint8))
    return tuple(slice(max(0, part.start - margin), part.stop + margin) for part in found[0]) if found else (slice(0),)


def _lungs(hu: np.ndarray, body: np.ndarray, voxel_ml: float) -> np.ndarray:
    parts, number = ndimage.label((hu < -400) & body)
    names = np.arange(1, number + 1)
    ml = np.bincount(parts.ravel(), minlength=number + 1)[1:] * voxel_ml
    mean = ndimage.mean(hu, parts, names) if number else np.zeros(0)
    return np.isin(parts, names[(ml > LUNG_ML) & (mean > -940)])


def _canal(bright: np.ndarray, body: np.ndarray, grid: Volume) -> np.ndarray | None:
    """(K, 2): x and y of the spinal canal's middle in mm, smooth over the slices: soft tissue enclosed by bone.

    Where bone never closes around it, it lies a little behind the middle of the bone at the back. None without either.
    """
    found, behind = [], []
    for k, (bone, inside) in enumerate(zip(bright, body, strict=True)):
        if not inside.any():
            continue
        rows, columns = np.nonzero(inside)
        middle, back = COARSE_MM * columns.mean(), COARSE_MM * rows.mean()
        j, i = (COARSE_MM * a for a in np.nonzero(bone))
        near = (np.abs(i - middle) < 30) & (j > back)
        if near.sum() * COARSE_MM**2 > BONE_MM2:
            behind.append((k, i[near].mean(), j[near].mean() + BEHIND_MM))
        parts, number = ndimage.label(ndimage.binary_fill_holes(bone) & ~bone)
        for n in range(1, number + 1):
            j, i = (COARSE_MM * a.mean() for a in np.nonzero(parts == n))
            area = (parts == n).sum() * COARSE_MM**2
            if CANAL_MM2[0] <= area <= CANAL_MM2[1] and abs(i - middle) < 40 and j > back:
                found.append((k, i, j))
    points = np.array(found if len(found) > 3 else behind).reshape(-1, 3)
    for width in (30.0, 15.0, 8.0):
        if len(points) < 4:
            return None
        line = [np.polyfit(points[:, 0], points[:, n], 2 if len(points) > 12 else 1) for n in (1, 2)]
        off = [points[:, n + 1] - np.polyval(line[n], points[:, 0]) for n in (0, 1)]
        off = [values - np.median(values) for values in off]
        points = points[np.hypot(*off) < width]
    heights = np.arange(grid.shape[0]).clip(points[:, 0].min(), points[:, 0].max())
    return np.stack([np.polyval(poly, heights) for poly in line], 1).astype(np.float32)


def _lean_depth(lean: np.ndarray) -> np.ndarray:
    """Depth in mm under the outline of muscles and lungs, in each slice."""
    cross = ndimage.generate_binary_structure(2, 1)
    thick = np.stack([ndimage.binary_opening(layer, cross) for layer in lean])
    closed = [ndimage.binary_closing(np.pad(layer, 9), cross, iterations=8)[9:-9, 9:-9] for layer in thick]
    filled = np.stack([ndimage.binary_fill_holes(layer) for layer in closed])
    return COARSE_MM * np.stack([ndimage.distance_transform_edt(layer) for layer in filled]).astype(np.float32)


def _dome(soft: np.ndarray, z: np.ndarray, grid: Volume) -> float:
    """Height of the topmost slice with at least 4 cm² of ``soft``, NaN without."""
    area = soft.sum((1, 2)) * COARSE_MM**2
    tall = np.flatnonzero(area > 400)
    return float(z[tall[-1], 0, 0]) if len(tall) else float("nan")
