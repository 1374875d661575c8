"""A linear model whose lesions have one of several shapes: what the data say of the shape and of the SUVmean.

Amplitudes of templates have Gaussian priors. In the Gaussian approximation to the likelihood their posterior is known
in closed form for every shape of a lesion, and so is the evidence of the shape; what is known of the SUVmean is the
mixture of them all (Bayesian model averaging, Hoeting et al., Stat Sci 1999, 14:382).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

CONTRAST = 10.0  # standard deviation of the prior of a lesion's contrast, in units of itself: as good as free
LEAST_CONTRAST, LEAST_SUV = 0.2, 0.05  # of the uptake, to which the priors are relative; and of the SUVmean
ITERATIONS = 3  # of the contrast that the priors are relative to
FAR = 8.0  # standard deviations within which a quantile lies


@dataclass(frozen=True)
class Template:
    """Values ``(K, J, I)``, their mean within every segment ``(n,)``, and the prior of their amplitude.

    With ``lesion`` the amplitude is in units of that lesion's contrast.
    """

    values: np.ndarray
    inside: np.ndarray
    mean: float
    spread: float
    lesion: int | None = None


@dataclass(frozen=True)
class Posterior:
    """What is known of the SUVmean of a segment: a mixture of normal distributions, one for every shape.

    ``weights``, ``means`` and ``errors`` (standard deviations), ``(shapes,)`` each.
    """

    weights: np.ndarray
    means: np.ndarray
    errors: np.ndarray

    @property
    def mean(self) -> float:
        """Of the mixture."""
        return max(float(self.weights @ self.means), LEAST_SUV)

    def quantile(self, level: float) -> float:
        """The value below which the mixture has the probability ``level``."""

        def beyond(value: float) -> float:
            return float(self.weights @ ndtr((value - self.means) / self.errors)) - level

        return float(brentq(beyond, (self.means - FAR * self.errors).min(), (self.means + FAR * self.errors).max()))


class LinearModel:
    """Lesions of ``shapes`` shapes each, and further templates, fitted to data by their normal equations.

    Parameters
    ----------
    templates : all shapes of the first lesion, those of the second, and so on; then all others.
    information : Fisher information of their amplitudes, ``(T, T)``.
    score : of their amplitudes at 0, ``(T,)``.
    means, backgrounds : SUVmean of every segment to begin with, and SUV of its surroundings, ``(n,)``.
    """

    def __init__(
        self,
        templates: Sequence[Template],
        information: np.ndarray,
        score: np.ndarray,
        means: np.ndarray,
        backgrounds: np.ndarray,
        shapes: int,
    ):
        self.information, self.score, self.shapes = information, score, shapes
        self.means, self.backgrounds = means, backgrounds
        count = len(means)
        others = templates[count * shapes :]
        self.inside = np.stack([t.inside for t in templates], axis=1)  # (n, T)
        self.expected = np.array([1.0] * count + [t.mean for t in others])
        self.precision = np.array([CONTRAST] * count + [t.spread for t in others]) ** -2.0
        self.lesion = np.array([*range(count), *(-1 if t.lesion is None else t.lesion for t in others)])

    def mix(self, shapes: np.ndarray) -> None:
        """Give every lesion the mean of its shapes with the weights ``shapes`` ``(n, shapes)``."""
        count, total = len(shapes), len(self.score)
        self.mixing = np.zeros((len(self.expected), total))
        for n, row in enumerate(shapes):
            self.mixing[n, n * self.shapes : (n + 1) * self.shapes] = row
        self.mixing[count:, count * self.shapes :] = np.eye(total - count * self.shapes)
        for _ in range(ITERATIONS):
            least = np.maximum(LEAST_CONTRAST * self.means, LEAST_SUV)
            contrast = np.maximum(self.means - self.backgrounds, least)
            self.unit = np.where(self.lesion < 0, 1.0, contrast[self.lesion])
            self.means = np.maximum(self.inside @ self.amplitudes(), LEAST_SUV)

    def amplitudes(self) -> np.ndarray:
        """Of every template, ``(T,)``: the mode of the posterior."""
        rows = self.unit[:, None] * self.mixing
        matrix = rows @ self.information @ rows.T + np.diag(self.precision)
        return np.asarray(np.linalg.solve(matrix, rows @ self.score + self.precision * self.expected) @ rows)

    def posterior(self, lesion: int, prior: np.ndarray) -> tuple[Posterior, np.ndarray]:
        """What is known of a lesion's SUVmean, by shapes of a ``prior``, and their shares ``(shapes,)`` in its uptake.

        All other templates are as they are mixed.
        """
        kept = np.arange(len(self.expected)) != lesion
        rows, unit = (self.unit[:, None] * self.mixing)[kept], self.unit[lesion]
        own = slice(lesion * self.shapes, (lesion + 1) * self.shapes)
        # the others' posterior without the lesion, then the lesion's amplitude by the Schur complement of each shape
        covariance = np.linalg.inv(rows @ self.information @ rows.T + np.diag(self.precision[kept]))
        linear = rows @ self.score + (self.precision * self.expected)[kept]
        coupled = unit * self.information[own] @ rows.T @ covariance  # (shapes, others)
        joint = unit * self.information[own] @ rows.T
        precision = unit**2 * np.diag(self.information)[own] + self.precision[lesion] - (coupled * joint).sum(1)
        score = unit * self.score[own] + self.precision[lesion] * self.expected[lesion] - coupled @ linear
        amplitude = score / precision
        evidence = 0.5 * (score * amplitude - np.log(precision))
        weights = prior * np.exp(evidence - evidence.max())
        weights /= weights.sum()
        others = self.inside[lesion] @ rows.T
        slope = unit * self.inside[lesion, own] - coupled @ others
        means = others @ covariance @ linear + slope * amplitude
        errors = np.sqrt(slope**2 / precision + others @ covariance @ others)
        share = weights * amplitude.clip(0)
        return Posterior(weights, means, errors), share / share.sum() if share.sum() > 0 else weights
