"""The variance of a sinogram's counts over their mean, measured in them.

It is 1 for the counts of a scanner, which are Poisson. It is another for a sinogram that was scaled, interpolated or
freed of its randoms, and then the likelihood trusts the data too much or too little. Counts over their dispersion have
the likelihood of the right weight (quasi-likelihood: Wedderburn, Biometrika 1974, 61:439).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .physics.measurement import Measurement
from .physics.model import osem
from .problem import Problem

UPDATES = 8  # of the PSF-OSEM whose expectation is taken off
SLICES = 16  # in the middle, from which the dispersion is measured
POISSON = 1.15  # a dispersion up to it, and down to its inverse, counts as that of Poisson counts


def dispersion(problem: Problem) -> float:
    """Of the problem's counts; NaN without counts.

    Structure that the model lacks is smooth across views and bins, noise is not: so it is measured in the second
    differences, across both, of the counts less the expectation of a short PSF-OSEM.
    """
    count = problem.grid.shape[0]
    first = max(0, (count - SLICES) // 2)
    model, counts, _ = problem.part(first, min(count, first + SLICES))
    mean = model.mean(osem(model, counts, UPDATES))
    rough = (counts - mean).diff(n=2, dim=1).diff(n=2, dim=2)
    variance = _squared_weights(_squared_weights(mean, 1), 2)
    return float(rough.double().square().sum() / variance.double().sum())


def with_measured_dispersion(problem: Problem) -> Problem:
    """The problem with its counts over their dispersion, where they are not Poisson, and a warning of it."""
    measurement = problem.measurement
    assert isinstance(measurement, Measurement)
    found = dispersion(problem)
    facts = {**problem.facts, "count_dispersion": round(found, 3)}
    if 1 / POISSON <= found <= POISSON or not found > 0:
        return replace(problem, facts=facts)
    weighed = replace(
        measurement,
        counts=measurement.counts / found,
        background=measurement.background / found,
        scale=measurement.scale / found,
    )
    warning = (
        f"The measured counts vary {found:.3g} times as much as Poisson counts do, as scaled or corrected ones do: the "
        "result was made with the weight that their noise gives them. Give the counts as they were measured."
    )
    return replace(problem, measurement=weighed, facts=facts, warnings=(*problem.warnings, warning))


def _squared_weights(mean: Tensor, dim: int) -> Tensor:
    """Variance of the second difference along a dimension of independent values whose variances are given."""
    n = mean.shape[dim] - 2
    return mean.narrow(dim, 0, n) + 4 * mean.narrow(dim, 1, n) + mean.narrow(dim, 2, n)
