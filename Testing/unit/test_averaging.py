"""What is known of a lesion's SUVmean when its shape is not: against Bayes' rule by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from PETSuperResLib.lesions.averaging import CONTRAST, LinearModel, Posterior, Template

SHAPES, LINES = 3, 40
PRIOR = np.array([0.2, 0.5, 0.3])


@pytest.mark.parametrize("true", range(SHAPES))
def test_shapes_and_suvmean_have_the_posterior_of_bayes_rule(true):
    """Noise of variance 1: the marginal likelihood of each shape, and the regression on its templates."""
    random = np.random.default_rng(true)
    lines = random.random((SHAPES + 2, LINES))  # of the shapes, the background and the texture
    lines[1:SHAPES] += lines[0]  # much like one another
    inside, mean, spread = random.random((1, SHAPES + 2)), np.array([1.0] * SHAPES + [1.0, 0.5]), np.array([0.3, 0.2])
    data = 3 * lines[true] + 1.2 * lines[3] + 0.4 * lines[4] + 0.5 * random.standard_normal(LINES)
    templates = [Template(np.zeros((1, 1, 1)), inside[:, t], 1.0, CONTRAST, 0) for t in range(SHAPES)]
    templates += [Template(np.zeros((1, 1, 1)), inside[:, SHAPES + t], mean[SHAPES + t], spread[t]) for t in range(2)]
    model = LinearModel(templates, lines @ lines.T, lines @ data, np.array([4.0]), np.array([1.0]), SHAPES)
    model.mix(PRIOR[None])
    found, shares = model.posterior(0, PRIOR)
    evidence, means, errors, amplitudes = [], [], [], []
    for shape in range(SHAPES):
        own = [shape, SHAPES, SHAPES + 1]
        matrix = (lines[own] * model.unit[:, None]).T
        expected, covariance = mean[own], np.diag([CONTRAST**2, *spread**2])
        evidence.append(
            multivariate_normal.pdf(data, matrix @ expected, np.eye(LINES) + matrix @ covariance @ matrix.T)
        )
        posterior = np.linalg.inv(matrix.T @ matrix + np.linalg.inv(covariance))
        mode = posterior @ (matrix.T @ data + np.linalg.solve(covariance, expected))
        slope = inside[0, own] * model.unit
        means.append(slope @ mode)
        errors.append(np.sqrt(slope @ posterior @ slope))
        amplitudes.append(mode[0])
    weights = PRIOR * evidence / (PRIOR @ evidence)
    assert found.weights == pytest.approx(weights, rel=1e-6) and weights.argmax() == true
    assert found.means == pytest.approx(means, rel=1e-6) and found.errors == pytest.approx(errors, rel=1e-6)
    assert shares == pytest.approx(weights * amplitudes / (weights @ amplitudes), rel=1e-6)


def test_the_quantiles_are_those_of_the_mixture():
    mixture = Posterior(np.array([0.3, 0.7]), np.array([2.0, 6.0]), np.array([0.5, 1.0]))
    assert mixture.mean == pytest.approx(4.8)
    for level in (0.05, 0.5, 0.95):
        value = mixture.quantile(level)
        assert mixture.weights @ norm.cdf(value, mixture.means, mixture.errors) == pytest.approx(level, abs=1e-9)
