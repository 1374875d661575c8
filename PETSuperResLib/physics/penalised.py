"""Penalised likelihood: the image that minimises the Poisson loss (5) plus a penalty on its roughness."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .model import EPSILON, ForwardModel, osem
from .relative_difference import RelativeDifference

START_UPDATES = 12  # PSF-OSEM updates before the first penalised one
SUFFICIENT = 1e-4  # Armijo's share of the expected decrease
SHORTEST = 1e-3  # step below which float32 does not resolve the objective's values
FLOOR = 1e-6  # SUV; keeps the multiplicative part of the update alive


def penalised(
    model: ForwardModel,
    y: Tensor,
    penalty: RelativeDifference,
    beta: float,
    iterations: int,
    start: Tensor | None = None,
    callback: Callable[[int, Tensor, float], None] | None = None,
) -> Tensor:
    """Minimise the loss (5) plus ``beta`` times a penalty from ``start`` (default: early PSF-OSEM).

    Positive, ``(S, J, I)`` in SUV.

    The update is that of a separable surrogate: EM for the likelihood (De Pierro, IEEE TMI 1995, 14:132), so
    the preconditioner is z / A^T 1 where there is no penalty, and a parabola for the penalty. Its direction
    descends; the step along it is Newton's in one dimension, halved until the objective falls enough
    (Armijo), so the objective never rises and the convex problem converges without subsets or relaxation.
    One projection and one back-projection an iteration. ``callback(n, z, objective)`` is called with every iterate; the
    loop ends early where there is no further decrease in float32.
    """
    z = (osem(model, y, START_UPDATES) if start is None else start).clamp_min(FLOOR)
    sensitivity = model.sensitivity
    mean = model.mean(z)

    def value(mean: Tensor, z: Tensor) -> Tensor:
        return (mean - y * torch.log(mean + EPSILON)).double().sum() + beta * penalty.value(z)

    now = value(mean, z)
    for n in range(iterations):
        back = model.adjoint(y / (mean + EPSILON))
        slope, curvature = penalty.gradient(z)
        gradient = sensitivity - back + beta * slope
        linear = sensitivity + beta * slope - beta * curvature * z
        direction = positive_root(beta * curvature, linear, z * back) - z
        ray = model.forward(direction)
        fall = float((gradient * direction).double().sum())
        if not fall < 0:
            break
        bend = float((y * (ray / (mean + EPSILON)).square()).double().sum()) + beta * penalty.along(z, direction)
        step = min(-fall / max(bend, 1e-30), _longest(z, direction))
        while step >= SHORTEST:
            new_z, new_mean = z + step * direction, mean + step * ray
            new = value(new_mean, new_z)
            if new <= now + SUFFICIENT * step * fall:
                break
            step /= 2
        else:
            break
        # rounding adds up in the running mean: project the image itself
        z, now = new_z, new
        mean = new_mean if (n + 1) % 10 else model.mean(z)
        if callback is not None:
            callback(n + 1, z, float(now))
    return z


def positive_root(a: Tensor, b: Tensor, e: Tensor) -> Tensor:
    """The positive x of ``a x^2 + b x - e = 0`` for a, e >= 0, without cancellation; at least :data:`FLOOR`."""
    root = torch.sqrt(b * b + 4 * a * e)
    upper = (root - b) / (2 * a).clamp_min(1e-30)
    return torch.where(b > 0, 2 * e / (b + root).clamp_min(1e-30), upper).clamp_min(FLOOR)


def _longest(z: Tensor, direction: Tensor) -> float:
    """The longest step, at least 1, that keeps every voxel positive."""
    room = torch.where(direction < 0, z / (-direction).clamp_min(1e-30), torch.inf)
    return max(1.0, 0.9 * float(room.min()))
