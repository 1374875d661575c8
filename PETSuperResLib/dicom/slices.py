"""Slices of a DICOM series in order, and the exact grid that they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ..errors import GeometryError, InputError
from ..headers.attributes import number, vector, whole

UNEVEN = 0.05  # slice distances may differ by this part of a slice (positions are often rounded)
TILT = 2e-3  # the step from slice to slice may lean by this from the normal (mm per mm)
GEOMETRY = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


def sort_slices(datasets: Sequence[Dataset], name: str = "The series") -> tuple[list[Dataset], dict[str, Any]]:
    """Slices in order along their normal, and the grid as ``spacing``, ``origin`` and ``direction``.

    The normal is rows x columns (ImageOrientationPatient), so the order never depends on file names or
    instance numbers. Raises :class:`GeometryError` for mixed sizes or orientations, missing or doubled
    positions, gaps, uneven spacing and slices shifted in their plane (gantry tilt).
    """
    first = datasets[0]
    if any((whole(d, "NumberOfFrames") or 1) > 1 for d in datasets):
        raise InputError(
            f"{name} is multi-frame (enhanced) DICOM, of which no series can be derived: export single-slice DICOM."
        )
    stated = {k: [vector(d, k, n) for d in datasets] for k, n in GEOMETRY.items()}
    if any(value is None for values in stated.values() for value in values):
        raise GeometryError(
            f"{name} has slices without position, orientation or pixel spacing: export the original images."
        )
    if len({(whole(d, "Rows"), whole(d, "Columns")) for d in datasets}) > 1:
        raise GeometryError(f"{name} mixes slices of different sizes: give one reconstruction only.")
    axes, pixel = np.array(stated["ImageOrientationPatient"]), np.array(stated["PixelSpacing"])
    if pixel.min() <= 0:
        raise GeometryError(f"{name} has a PixelSpacing that is not positive: export the original images.")
    if np.abs(axes - axes[0]).max() > 1e-4 or np.abs(pixel - pixel[0]).max() > 1e-4:
        raise GeometryError(
            f"{name} mixes slices of different orientation or pixel spacing: give one reconstruction only."
        )
    along_row, along_column = axes[0, :3], axes[0, 3:]
    norms = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if min(norms) < 0.9 or max(norms) > 1.1 or abs(along_row @ along_column) > 1e-3:
        raise GeometryError(f"{name} has an ImageOrientationPatient that is not a pair of directions: export it again.")
    along_row, along_column = along_row / norms[0], along_column / norms[1]
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    positions = np.array(stated["ImagePositionPatient"])
    order = np.argsort(positions @ normal, kind="stable")
    datasets, positions = [datasets[i] for i in order], positions[order]
    step = _slice_step(positions, normal, first, name)
    geometry = {
        "spacing": (pixel[0, 1], pixel[0, 0], step),
        "origin": tuple(positions[0]),
        "direction": tuple(np.stack([along_row, along_column, normal], axis=1).ravel()),
    }
    return datasets, geometry


def _slice_step(positions: np.ndarray, normal: np.ndarray, first: Dataset, name: str) -> float:
    """Distance between slices in mm, after every check on their positions (sorted along ``normal``)."""
    if len(positions) == 1:
        stated = number(first, "SpacingBetweenSlices") or number(first, "SliceThickness")
        if not stated or stated <= 0:
            raise GeometryError(f"{name} is a single slice of unknown thickness: give the whole series.")
        return stated
    along = positions @ normal
    steps = np.diff(along)
    step = float(np.median(steps))
    if steps.min() < 0.01:
        same = int(np.sum(steps < 0.01))
        raise GeometryError(
            f"{name} has {same} slices at the position of another (a dynamic or gated series, or two reconstructions): "
            "give one frame only."
        )
    step = float(steps.min()) if len(steps) < 3 else step
    wide = np.flatnonzero(np.abs(steps - step) > UNEVEN * step)
    if wide.size:
        gaps = steps[wide] / step
        if (gaps > 1.5).all() and np.abs(gaps - np.round(gaps)).max() < 0.1:
            missing = int(np.sum(np.round(gaps) - 1))
            where = ", ".join(f"{along[i]:.1f} and {along[i + 1]:.1f} mm" for i in wide[:3])
            raise GeometryError(f"{name} misses {missing} slices (between {where}): copy the whole series.")
        raise GeometryError(
            f"{name} has uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm): export it evenly."
        )
    drift = positions[-1] - positions[0]
    drift = drift - (drift @ normal) * normal
    if np.linalg.norm(drift) > TILT * (along[-1] - along[0]) + 0.05:
        raise GeometryError(
            f"{name} has slices shifted in their own plane by {np.linalg.norm(drift):.1f} mm (gantry tilt): "
            "export it without tilt."
        )
    return float((along[-1] - along[0]) / (len(along) - 1))
