"""The relative-difference penalty on neighbouring voxels (Nuyts et al., IEEE TNS 2002, 49:56): all, or chosen ones.

``R(z) = sum over pairs {j, k} of w_jk phi(z_j, z_k)`` with the potential
``phi(a, b) = (a - b)^2 / (a + b + gamma |a - b| + eps)``, convex for a, b >= 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

EPSILON_SUV = 0.01  # keeps phi differentiable where both voxels are empty
Offset = tuple[int, int, int]


@dataclass(frozen=True)
class RelativeDifference:
    """R of the module's first lines on a neighbourhood in 3D.

    Parameters
    ----------
    spacing : (i, j, k) voxel size in mm; a pair weighs ``spacing[0]`` over its distance.
    gamma : how soon large relative differences are forgiven; 0 never.
    chosen : of :func:`bowsher_pairs`, how often each pair counts, ``(offsets, S, J, I)``; None for all once.
    reach : neighbours up to so many voxels away in the slice, and one slice up and down.
    """

    spacing: tuple[float, float, float]
    gamma: float = 2.0
    chosen: Tensor | None = None
    reach: int = 1

    def value(self, z: Tensor) -> Tensor:
        """R(z), summed in float64; ``z`` is ``(S, J, I)`` and not negative."""
        total = torch.zeros((), dtype=torch.float64, device=z.device)
        for weight, near, far in self.pairs(z.shape):
            a, b = z[near], z[far]
            d = a - b
            total += (weight * d * d / self._denominator(a, b, d)).double().sum()
        return total

    def gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """dR/dz and, for preconditioning, a diagonal that exceeds its Hessian, each ``(S, J, I)``.

        The Hessian of one pair has rank one, so twice its diagonal bounds it.
        """
        slope, curvature = torch.zeros_like(z), torch.zeros_like(z)
        for weight, near, far in self.pairs(z.shape):
            a, b = z[near], z[far]
            d = a - b
            size = self.gamma * d.abs() + 2 * EPSILON_SUV
            below = self._denominator(a, b, d)
            common = weight * d / below.square()
            slope[near] += common * (a + 3 * b + size)
            slope[far] -= common * (3 * a + b + size)
            common = 4 * weight / below.pow(3)
            curvature[near] += common * (2 * b + EPSILON_SUV).square()
            curvature[far] += common * (2 * a + EPSILON_SUV).square()
        return slope, curvature

    def along(self, z: Tensor, direction: Tensor) -> float:
        """The second derivative of R(z + t direction) in t at 0."""
        total = 0.0
        for weight, near, far in self.pairs(z.shape):
            a, b = z[near], z[far]
            mixed = (2 * b + EPSILON_SUV) * direction[near] - (2 * a + EPSILON_SUV) * direction[far]
            total += float((2 * weight * mixed.square() / self._denominator(a, b, a - b).pow(3)).double().sum())
        return total

    def _denominator(self, a: Tensor, b: Tensor, d: Tensor) -> Tensor:
        return a + b + self.gamma * d.abs() + EPSILON_SUV

    def pairs(self, shape: torch.Size) -> Iterator[tuple[Tensor | float, tuple[slice, ...], tuple[slice, ...]]]:
        """For each half of the neighbourhood's offsets: weights, the voxels, their neighbours there."""
        for n, offset in enumerate(half_offsets(self.reach)):
            near, far = overlap(offset, shape)
            weight = self.spacing[0] / distance(offset, self.spacing)
            yield weight if self.chosen is None else weight * self.chosen[n][near], near, far


def half_offsets(reach: int) -> list[Offset]:
    """(k, j, i) offsets of a box about a voxel, one of each opposite two: 13 for ``reach`` 1, 37 for 2."""
    plane = range(-reach, reach + 1)
    return [offset for offset in product((0, 1, -1), plane, plane) if offset > (0, 0, 0)]


def distance(offset: Offset, spacing: tuple[float, float, float]) -> float:
    """Length in mm of a (k, j, i) offset; ``spacing`` is (i, j, k)."""
    return math.hypot(*(n * mm for n, mm in zip(offset, spacing[::-1], strict=True)))


def overlap(offset: Offset, shape: torch.Size) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where voxels have a neighbour at ``offset``, and where those neighbours are."""
    near = tuple(slice(max(0, -n), size - max(0, n)) for n, size in zip(offset, shape, strict=True))
    far = tuple(slice(max(0, n), size - max(0, -n)) for n, size in zip(offset, shape, strict=True))
    return near, far
