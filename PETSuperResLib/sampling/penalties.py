"""Penalties chosen by the CT, and the parabolas that touch a penalty: for the sampler's data consistency and MAP.

The penalty itself is :class:`~PETSuperResLib.physics.relative_difference.RelativeDifference`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..physics.layout import as_rows, parts
from ..physics.psf import GaussianPSF
from ..physics.relative_difference import EPSILON_SUV, RelativeDifference, distance, half_offsets, overlap

TIE_HU = 1.0  # of equally similar neighbours, the nearer ones


def bowsher_pairs(ct: Tensor, spacing: tuple[float, float, float], neighbours: int, reach: int = 1) -> Tensor:
    """How often each pair is chosen, 0 to 2, ``(offsets, S, J, I)`` uint8 for :class:`RelativeDifference`.

    Bowsher et al. (IEEE NSS 2004, 4:2488): every voxel chooses the ``neighbours`` of its neighbourhood whose
    CT ``(S, J, I)`` in HU is most like its own. A voxel need not be chosen by those it chooses (asymmetric).
    """
    half = half_offsets(reach)
    every = half + [(-k, -j, -i) for k, j, i in half]
    chosen = torch.zeros((len(half), *ct.shape), dtype=torch.uint8, device=ct.device)
    for s in range(ct.shape[0]):  # slice by slice: all differences at once are many times the volume
        first, last = max(0, s - 1), min(ct.shape[0], s + 2)
        slab, here = ct[first:last], s - first
        unlike = torch.full((len(every), *ct.shape[1:]), math.inf, dtype=ct.dtype, device=ct.device)
        for n, offset in enumerate(every):
            if 0 <= here + offset[0] < len(slab):
                near, far = overlap((0, *offset[1:]), torch.Size((1, *ct.shape[1:])))
                difference = slab[here + offset[0]][far[1:]] - slab[here][near[1:]]
                unlike[n][near[1:]] = difference.abs() + TIE_HU * distance(offset, spacing) / spacing[0]
        values, nearest = unlike.topk(min(neighbours, len(every)), dim=0, largest=False)
        picks = torch.zeros_like(unlike, dtype=torch.uint8).scatter_(0, nearest, values.isfinite().to(torch.uint8))
        for n, offset in enumerate(half):
            chosen[n, s] += picks[n]
            if 0 <= s - offset[0] < ct.shape[0]:  # a pair has the position of its offset's start
                near, far = overlap((0, *offset[1:]), torch.Size((1, *ct.shape[1:])))
                chosen[n, s - offset[0]][near[1:]] += picks[n + len(half)][far[1:]]
    return chosen


class QuadraticSurrogate:
    """``sum over pairs c_jk (z_j - z_k)^2 / 2`` with coefficients ``c_jk`` that do not depend on z.

    Volumes are taken with their slices innermost in memory, as one row of numbers in which the neighbour at an offset
    is a fixed number of places away; pairs that would reach round an end have the coefficient 0.
    """

    def __init__(self, pairs: list[tuple[int, Tensor]], like: Tensor):
        self.pairs = pairs  # places to the neighbour, above 0; the pair's coefficient at every voxel's place
        #: sum over k of c_jk, ``(S, J, I)``: half a diagonal that exceeds the Hessian
        self.strength = self.pull(torch.ones_like(like))

    def pull(self, z: Tensor) -> Tensor:
        """``sum over k of c_jk z_k``, ``(S, J, I)``."""
        row = _row(z)
        out = torch.zeros_like(row)
        for part in parts(row):  # each stays in the cache for all pairs
            for far, c in self.pairs:
                near, beyond = _ends(part, far, len(row))
                out[near].addcmul_(c[near], row[beyond])
                out[beyond].addcmul_(c[near], row[near])
        return _volume(out, z.shape)

    def slope(self, z: Tensor) -> Tensor:
        """The gradient at ``z`` ``(S, J, I)``; half its product with z is the value."""
        return self.strength * z - self.pull(z)


def _row(volume: Tensor) -> Tensor:
    """``(S, J, I)`` as one row of numbers, slices innermost; a view where it is laid out so."""
    return as_rows(volume).reshape(-1)


def _volume(row: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of :func:`_row`."""
    return row.view(shape[1], shape[2], shape[0]).permute(2, 0, 1)


def _ends(part: slice, far: int, count: int) -> tuple[slice, slice]:
    """The places of a part that have others ``far`` beyond them among ``count``, and those."""
    last = max(part.start, min(part.stop, count - far))
    return slice(part.start, last), slice(part.start + far, last + far)


def ct_guided(
    ct: Tensor, spacing: tuple[float, float, float], neighbours: int, ct_fwhm_mm: float, gamma: float, reach: int = 1
) -> RelativeDifference:
    """The relative difference of pairs chosen by a CT ``(S, J, I)`` in HU, smoothed lest its noise does."""
    shape = (ct.shape[0], ct.shape[1], ct.shape[2])
    smooth = GaussianPSF(shape, spacing, (ct_fwhm_mm, ct_fwhm_mm), ct.device)(ct)
    return RelativeDifference(spacing, gamma, bowsher_pairs(smooth, spacing, neighbours, reach), reach)


def quadratic_surrogate(penalty: RelativeDifference, estimate: Tensor, beta: float) -> QuadraticSurrogate:
    """``beta`` times the penalty, its potential replaced by the parabola that touches it at an estimate.

    Of phi(a, b) = d^2 / (s + gamma |d|) with d = a - b and s = a + b held, the parabola that lies above and touches
    at d has the curvature phi'(d) / d = (2 s + gamma |d|) / (s + gamma |d|)^2 (Geman and Reynolds, IEEE TPAMI 1992,
    14:367). So pairs across an edge of the estimate ``(S, J, I)`` are tied less, and noise that it lacks is not spared.
    """
    row, shape = _row(estimate), estimate.shape
    pairs: list[tuple[int, Tensor]] = []
    for weight, near, far in penalty.pairs(shape):
        steps = (1, shape[2] * shape[0], shape[0])  # places to the next slice, row and column
        places = sum((b.start - a.start) * step for a, b, step in zip(near, far, steps, strict=True))
        c = torch.zeros_like(row)
        _volume(c, shape)[near if places > 0 else far] = beta * weight
        pairs.append((abs(places), c))
    for part in parts(row):
        for places, c in pairs:
            here, there = _ends(part, places, len(row))
            a, b = row[here], row[there]
            total = (a + b).add_(EPSILON_SUV)
            whole = (a - b).abs_().mul_(penalty.gamma).add_(total)
            c[here].mul_(total.add_(whole).div_(whole.square_()))
    return QuadraticSurrogate(pairs, estimate)
