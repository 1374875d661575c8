"""Data consistency: the refinement of Tweedie's estimate under the measurement, (8) and (9)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..physics.model import EPSILON, ForwardModel
from .config import Sampler

SENSITIVITY_FLOOR = 1e-3  # of its maximum: pixels that no line sees keep their value


def map_em(
    model: ForwardModel, y: Tensor, z: Tensor, anchor: Tensor, weight: Tensor, iterations: int, psf: bool = True
) -> Tensor:
    """Minimise the Poisson loss (5) plus ``sum weight (z - anchor)^2 / 2`` from ``z``, all ``(S, J, I)``.

    Each update solves De Pierro's separable surrogate (IEEE TMI 1995, 14:132) in closed form:
    ``weight z^2 + (s - weight anchor) z - e = 0`` with ``s = A^T 1`` and ``e = z A^T(y / (A z + b))``.
    It keeps z positive, needs no step size and is independent of counts and scanner units.
    """
    sensitivity = model.sensitivity if psf else model.sensitivity_no_psf
    linear = sensitivity - weight * anchor
    z = z.clamp_min(1e-4)
    for _ in range(iterations):
        e = z * model.adjoint(y / (model.mean(z, psf) + EPSILON), psf)
        root = torch.sqrt(linear * linear + 4 * weight * e)
        # the positive root, in the form that does not cancel
        z = torch.where(linear > 0, 2 * e / (linear + root).clamp_min(1e-30), (root - linear) / (2 * weight))
    return z


def nesterov_descent(
    model: ForwardModel, y: Tensor, z: Tensor, iterations: int, step: float, momentum: float, psf: bool = True
) -> Tensor:
    """(9) with Nesterov's acceleration: z <- z - step * gradient (6) / sensitivity, kept non-negative."""
    sensitivity = model.sensitivity if psf else model.sensitivity_no_psf
    rate = step / sensitivity.clamp_min(SENSITIVITY_FLOOR * sensitivity.max())
    ahead, velocity = z, torch.zeros_like(z)
    for _ in range(iterations):
        velocity = momentum * velocity - rate * model.gradient(ahead, y, psf)
        z = (z + velocity).clamp_min(0.0)
        ahead = (z + momentum * velocity).clamp_min(0.0)
    return z


def refine(
    sampler: Sampler,
    model: ForwardModel,
    y: Tensor,
    tweedie: Tensor,
    previous: Tensor,
    spread: Tensor,
    step: int,
) -> Tensor:
    """One step's data consistency: ``tweedie`` and ``previous`` estimates in SUV -> refined estimate.

    ``spread`` is the standard deviation in SUV that the prior allows around ``tweedie`` (map-em).
    """
    psf, inner = sampler.full_psf(step), sampler.inner(step)
    if sampler.consistency == "none" or inner == 0:
        return tweedie
    if sampler.consistency == "map-em":
        return map_em(model, y, previous, tweedie, spread**-2, inner, psf)
    start = tweedie if step == 0 else (1 - sampler.warm_start) * tweedie + sampler.warm_start * previous
    return nesterov_descent(model, y, start, inner, sampler.step_size, sampler.momentum, psf)
