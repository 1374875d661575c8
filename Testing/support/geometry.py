"""What many tests share: the tree's root, the development data, orientations, balls and distances."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from PETSuperResLib.volume import Volume

ROOT = Path(__file__).resolve().parents[2]


def data_dir(*parts: str) -> Path:
    """A path in the development data (PETSUPERRES_DATA, or ../shared/data beside the tree); skips where absent."""
    base = Path(os.environ.get("PETSUPERRES_DATA", ROOT.parent / "shared" / "data"))
    path = base.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the development data {'/'.join(parts) or base.name}: set PETSUPERRES_DATA to its folder")
    return path


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """3 x 3 rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


GEOMETRIES = {
    "plain": np.eye(3),
    "oblique": rotation((1, 2, 3), 25),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "oblique left-handed": rotation((3, -1, 2), -40) @ np.diag([-1.0, 1.0, 1.0]),
}


def radius(grid: Volume, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Distance in mm of every voxel from a point in LPS mm."""
    k, j, i = np.indices(grid.shape)
    points = np.stack([i, j, k, np.ones_like(i)], -1) @ grid.ijk_to_lps.T
    return np.linalg.norm(points[..., :3] - centre, axis=-1)


def ball(spacing: tuple[float, float, float], radius_mm: float, half_mm: float = 40.0) -> Volume:
    """A label map with one ball about (0, 0, 0) mm on a grid of its own."""
    size = [int(2 * half_mm / s) for s in spacing]
    grid = Volume(np.zeros(size[::-1]), spacing, tuple(-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)))
    return grid.with_array((radius(grid) <= radius_mm).astype(np.float32), "label")


def hot_sphere() -> tuple[Volume, Volume]:
    """PET and CT of a hot sphere in a round body, so small that a job takes a second."""
    grid = Volume(np.zeros((6, 32, 32)), (4.0, 4.0, 4.0), (-62.0, -62.0, -10.0))
    body = radius(grid.with_array(np.zeros(grid.shape))) < 50
    pet = grid.with_array(np.where(radius(grid) < 12, 8.0, 1.0) * body, "SUVbw")
    ct = grid.with_array(np.where(body, 20.0, -1000.0) + 100.0 * (radius(grid) < 9), "HU")
    return pet, ct
