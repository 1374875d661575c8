"""Maximum likelihood of a few amplitudes theta in expected data ``base + sum theta_k line_k``: Poisson and normal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NEWTON_STEPS = 30
CONVERGED = 1e-6  # gain of log-likelihood by a step
LEAST = 1e-6  # expected counts of a bin


@dataclass(frozen=True)
class Fit:
    """Amplitudes ``(T,)`` and their covariance ``(T, T)`` (Cramer-Rao bound), and what the first is worth.

    ``sigma``: signed root of twice the log-likelihood that the first amplitude gains over 0, all others free in both
    (Wilks): that of a standard normal variable where the truth has none of it.
    """

    amplitudes: np.ndarray
    covariance: np.ndarray
    sigma: float


def poisson_fit(counts: np.ndarray, base: np.ndarray, lines: np.ndarray, start: np.ndarray) -> Fit:
    """Of independent counts ``(n,)``: Newton's method from ``start`` ``(T,)``; ``lines`` are ``(T, n)``.

    Amplitudes may be negative, as far as all expected counts stay positive.
    """
    best, likelihood, information = _newton(counts, base, lines, start)
    without, lower, _ = _newton(counts, base, lines[1:], start[1:])
    gain = 2 * max(0.0, likelihood - lower)
    return Fit(best, np.linalg.pinv(information), float(np.sign(best[0]) * np.sqrt(gain)))


def normal_fit(
    values: np.ndarray,
    variance: np.ndarray,
    lines: np.ndarray,
    correlate: Callable[[np.ndarray], np.ndarray],
) -> Fit:
    """Of values with correlated noise, all of one shape ``(...)`` and ``lines`` ``(T, ...)``.

    Least squares weighted by the variance alone, whose estimates are unbiased whatever the correlation and do not need
    its inverse; their covariance is that of the correlated noise. ``correlate`` multiplies an array by the transpose of
    a root of the correlation matrix.
    """
    scaled = lines / np.sqrt(variance)
    rows = scaled.reshape(len(lines), -1).astype(np.float64)
    inverse = np.linalg.pinv(rows @ rows.T)
    amplitudes = inverse @ (rows @ (values / np.sqrt(variance)).ravel().astype(np.float64))
    spread = np.stack([correlate(line).ravel() for line in scaled]).astype(np.float64)
    covariance = inverse @ (spread @ spread.T) @ inverse
    return Fit(amplitudes, covariance, float(amplitudes[0] / np.sqrt(max(covariance[0, 0], 1e-30))))


def _newton(
    counts: np.ndarray, base: np.ndarray, lines: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Amplitudes of the highest log-likelihood, this, and the Fisher information."""

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        mean = base + theta @ lines
        if not mean.min() > 0:
            return -np.inf, mean
        return float((counts * np.log(mean) - mean).sum()), mean

    base = np.maximum(base, LEAST)
    theta = np.asarray(start, np.float64)
    likelihood, mean = value(theta)
    for _ in range(NEWTON_STEPS):
        if not len(theta):
            break
        step = np.linalg.lstsq((lines * (counts / mean**2)) @ lines.T, lines @ (counts / mean - 1), rcond=None)[0]
        new, at = value(theta + step)
        while new < likelihood and np.abs(step).max() > 1e-9:
            step = step / 2
            new, at = value(theta + step)
        gain = new - likelihood
        if not gain > 0:
            break
        theta, likelihood, mean = theta + step, new, at
        if gain < CONVERGED:
            break
    return theta, likelihood, (lines / mean) @ lines.T
