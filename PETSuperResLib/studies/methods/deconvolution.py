"""Deconvolutions of a PET image: Van Cittert, Richardson-Lucy, with total variation, kernelised, and MAP.

All take the image ``y`` ``(S, J, I)`` in SUV, interpolated to the SR grid, and its resolution H as a
:class:`~PETSuperResLib.physics.psf.GaussianPSF` on this grid, which is self-adjoint and keeps sums. The iterative ones
yield their iterates one after the other, without end unless a stop is part of the method. Richardson-Lucy
and its relatives take y for Poisson counts with the mean H z: noise whose variance grows with the signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from ...physics.penalised import FLOOR, positive_root
from ...physics.psf import GaussianPSF
from ...sampling.penalties import RelativeDifference, distance, half_offsets, overlap, quadratic_surrogate

FLAT_SUV = 0.01  # differences below it count as none in the total variation
LEAST_DIVISOR = 0.1  # of the total variation's update, which has no limit of its own


def iterate(iterates: Iterator[Tensor], number: int) -> Tensor:
    """The iterate of that number, from 1 on, or the last one where they end before."""
    *_, last = islice(iterates, number)
    return last


def van_cittert(y: Tensor, psf: GaussianPSF, alpha: float = 1.5, stop: float = 0.0) -> Iterator[Tensor]:
    """z <- [z + alpha H (y - H z)]+ from y: the reblurred iteration of Van Cittert.

    It ends with an update of less than ``stop`` times ``y`` (Euclidean norms).
    """
    z, size = y, float(y.norm())
    while True:
        before, z = z, (z + alpha * psf(y - psf(z))).clamp_min(0)
        yield z
        if float((z - before).norm()) <= stop * size:
            return


def richardson_lucy(y: Tensor, psf: GaussianPSF) -> Iterator[Tensor]:
    """z <- z H(y / H z) from y (Richardson 1972; Lucy 1974); the sum stays that of y."""
    z = y = y.clamp_min(FLOOR)
    while True:
        z = z * _comparison(y, psf, z)
        yield z


def total_variation_rl(
    y: Tensor, psf: GaussianPSF, spacing: tuple[float, float, float], strength: float
) -> Iterator[Tensor]:
    """z <- z H(y / H z) / (1 - strength div(grad z / |grad z|)) from y (Dey et al. 2006)."""
    z = y = y.clamp_min(FLOOR)
    while True:
        divisor = (1 + strength * total_variation_slope(z, spacing)).clamp_min(LEAST_DIVISOR)
        z = z * _comparison(y, psf, z) / divisor
        yield z


def kernelised_rl(y: Tensor, psf: GaussianPSF, kernel: Kernel) -> Iterator[Tensor]:
    """z = K a with a <- a / (K^T H 1) K^T H(y / H K a): Richardson-Lucy for coefficients of a kernel K, from y."""
    a = y = y.clamp_min(FLOOR)
    weight = 1 / kernel.adjoint(torch.ones_like(y))
    z = kernel(a)
    while True:
        a = a * weight * kernel.adjoint(_comparison(y, psf, z))
        z = kernel(a)
        yield z


def map_deconvolution(
    y: Tensor, psf: GaussianPSF, penalty: RelativeDifference, beta: float, updates: int
) -> Iterator[Tensor]:
    """The image that minimises ``sum H z - y log H z`` plus ``beta`` times a penalty, in rounds of so many updates.

    Each round replaces the penalty by the parabolas that touch it at the image so far. An update solves De Pierro's
    separable surrogate (IEEE TMI 1995, 14:132), with Nesterov's momentum, which is dropped when it leads astray.
    """
    z = y = y.clamp_min(FLOOR)
    while True:
        ties, ahead, momentum = quadratic_surrogate(penalty, z, beta), z, 1.0
        for _ in range(updates):
            curvature = 2 * ties.strength
            linear = 1 + ties.slope(ahead) - curvature * ahead
            new = positive_root(curvature, linear, ahead * _comparison(y, psf, ahead))
            if float(((ahead - new) * (new - z)).sum()) > 0:
                momentum = 1.0
            before, momentum = momentum, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            z, ahead = new, (new + (before - 1) / momentum * (new - z)).clamp_min(FLOOR)
        yield z


def total_variation_slope(z: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """-div(grad z / |grad z|), the gradient of the total variation ``sum |grad z|``; differences per column's width."""
    out, size = torch.zeros_like(z), torch.full_like(z, FLAT_SUV**2)
    steps, rises = (spacing[0] / spacing[2], spacing[0] / spacing[1], 1.0), []
    for axis, step in enumerate(steps):
        here, beyond = _neighbours(z, axis)
        rises.append((beyond - here).mul_(step))
        _neighbours(size, axis)[0].addcmul_(rises[-1], rises[-1])
    size.rsqrt_()
    for axis, (rise, step) in enumerate(zip(rises, steps, strict=True)):
        flow = rise.mul_(_neighbours(size, axis)[0]).mul_(step)
        here, beyond = _neighbours(out, axis)
        here.sub_(flow)
        beyond.add_(flow)
    return out


@dataclass(frozen=True)
class Kernel:
    """K: each voxel's mean over its neighbours, weighted by how alike the two are in the CT and by their distance.

    ``k_jl = w_jl / sum over l of w_jl`` with ``w_jl = exp(-(c_j - c_l)^2 / 2 s^2 - |x_j - x_l|^2 / 2 d^2)``.

    Parameters
    ----------
    ct : ``(S, J, I)`` in HU.
    spacing : (i, j, k) voxel size in mm.
    sigma_hu, sigma_mm : s and d.
    reach : neighbours up to so many voxels away in the slice, and one slice up and down.
    """

    ct: Tensor
    spacing: tuple[float, float, float]
    sigma_hu: float
    sigma_mm: float
    reach: int = 1

    def __call__(self, a: Tensor) -> Tensor:
        """K a, ``(S, J, I)``; rows of K sum to one."""
        return self._sums(a) * self._weight

    def adjoint(self, z: Tensor) -> Tensor:
        """K^T z, the transpose."""
        return self._sums(z * self._weight)

    @cached_property
    def _pairs(self) -> list[tuple[Tensor, tuple[slice, ...], tuple[slice, ...]]]:
        found = []
        for offset in half_offsets(self.reach):
            near, far = overlap(offset, self.ct.shape)
            exponent = (self.ct[near] - self.ct[far]).square() / (2 * self.sigma_hu**2)
            exponent += distance(offset, self.spacing) ** 2 / (2 * self.sigma_mm**2)
            found.append((torch.exp(-exponent), near, far))
        return found

    @cached_property
    def _weight(self) -> Tensor:
        return 1 / self._sums(torch.ones_like(self.ct))

    def _sums(self, x: Tensor) -> Tensor:
        """W x, which is symmetric."""
        out = x.clone()
        for weight, near, far in self._pairs:
            out[near].addcmul_(weight, x[far])
            out[far].addcmul_(weight, x[near])
        return out


def _comparison(y: Tensor, psf: GaussianPSF, z: Tensor) -> Tensor:
    """H(y / H z)."""
    return psf(y / psf(z).clamp_min(FLOOR))


def _neighbours(z: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All but the last and all but the first voxels along an axis, as views."""
    return z.narrow(axis, 0, z.shape[axis] - 1), z.narrow(axis, 1, z.shape[axis] - 1)
