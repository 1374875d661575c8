"""Image grids: the SR grid of a PET, a box of it, and slices padded or cropped about their centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np

from .errors import GeometryError
from .volume import Volume

if TYPE_CHECKING:
    from torch import Tensor


CONTEXT_MM = 24.0  # of a PET around a region: its blur, and what the network sees of a neighbourhood


def image_grid(pet: Volume, spacing_mm: float = 2.0) -> Volume:
    """The SR grid of a PET: its box and slices, ``spacing_mm`` in the slice, an even number of pixels."""
    grid = pet.grid((spacing_mm, spacing_mm, pet.spacing[2]))
    k, j, i = grid.shape
    matrix = np.reshape(grid.direction, (3, 3)) @ np.diag(grid.spacing)
    origin = np.array(grid.origin) - matrix @ np.array([i % 2, j % 2, 0]) / 2  # the centre is kept
    return replace(grid, array=np.zeros((k, j + j % 2, i + i % 2), np.float32), origin=tuple(origin))


def axial_order(volume: Volume) -> tuple[int, int, int]:
    """The axes of a volume in the order in which its slices are axial: (0, 1, 2) where they are.

    Slices are axial where the third axis is the one nearest to the patient's length; otherwise the axes are put in the
    order nearest to left-right, front-back, head-feet. An axis is neither turned nor mirrored.
    """
    cosines = np.abs(np.reshape(volume.direction, (3, 3)))
    if cosines[2, 2] >= cosines[2].max() - 1e-6:
        return 0, 1, 2
    i, j, k = max(permutations(range(3)), key=lambda order: float(sum(cosines[n, a] for n, a in enumerate(order))))
    return i, j, k


def reordered(volume: Volume, order: Sequence[int]) -> Volume:
    """The same voxels in the same places with the axes (i, j, k) in another order: ``order[0]`` becomes i."""
    if tuple(order) == (0, 1, 2):
        return volume
    x, y, z = (volume.spacing[a] for a in order)
    direction = np.reshape(volume.direction, (3, 3))[:, list(order)]
    array = volume.array.transpose([2 - a for a in reversed(order)])
    return replace(volume, array=array, spacing=(x, y, z), direction=tuple(direction.ravel()))


def axial(volume: Volume) -> Volume:
    """The volume with axial slices (:func:`axial_order`), without a change of any voxel or its place."""
    return reordered(volume, axial_order(volume))


def box_of(volume: Volume) -> tuple[float, float, float, float, float, float]:
    """The box (x0, x1, y0, y1, z0, z1) in LPS mm around all voxels of a volume."""
    (x0, y0, z0), (x1, y1, z1) = volume.corners().min(0).tolist(), volume.corners().max(0).tolist()
    return x0, x1, y0, y1, z0, z1


def crop_to_region(pet: Volume, region: Sequence[float], margin_mm: float = CONTEXT_MM) -> Volume:
    """The part of a PET within ``margin_mm`` of a box (x0, x1, y0, y1, z0, z1) in LPS mm, in whole voxels."""
    x, y, z = region[0:2], region[2:4], region[4:6]
    points = np.array([(*point, 1.0) for point in product(x, y, z)])
    ijk = (points @ np.linalg.inv(pet.ijk_to_lps).T)[:, :3]
    margin = margin_mm / np.array(pet.spacing)
    first = np.floor(ijk.min(0) - margin).astype(int).clip(0)
    last = np.minimum(np.ceil(ijk.max(0) + margin).astype(int) + 1, pet.shape[::-1])
    if (last <= first).any() or (ijk.max(0) < -0.5).any() or (ijk.min(0) > np.array(pet.shape[::-1]) - 0.5).any():
        raise GeometryError("The region lies outside the PET: give a box within it, in LPS mm.")
    return pet.crop(first, last)


def centred_resize(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """``(S, J, I)`` padded with zeros or cropped about its centre to ``shape``; sizes must differ by even numbers."""
    import torch.nn.functional as F

    margins = [(new - old) // 2 for new, old in zip(shape, images.shape[1:], strict=True)]
    return F.pad(images, (margins[1], margins[1], margins[0], margins[0]))
