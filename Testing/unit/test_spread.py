"""The spread of samples, and the factor that makes an error of it."""

from __future__ import annotations

import numpy as np
import pytest

from PETSuperResLib.prior.checkpoint import BUNDLED_SHA256
from PETSuperResLib.spread import Calibration, spread_of
from PETSuperResLib.studies.evaluation.spread import factor


def test_the_spread_is_the_distance_of_samples_from_the_estimate_and_not_from_their_mean():
    estimate = np.zeros((4, 20, 20), np.float32)
    random = np.random.default_rng(0)
    samples = [1 + random.normal(0, 0.5, estimate.shape) for _ in range(40)]
    spread = spread_of(samples, estimate, (2.0, 2.0, 3.0))
    assert spread.mean() == pytest.approx(np.hypot(1, 0.5), rel=0.02) and spread.std() < 0.1


def test_the_bundled_factors_are_of_the_bundled_prior():
    bundled, own = Calibration.bundled(), BUNDLED_SHA256.read_text().split()[0]
    for kind in ("sinogram", "image"):
        assert bundled.factor(kind, "standard", own) > 1
        assert bundled.factor(kind, "paper", own) is bundled.factor(kind, "standard", "other") is None
    assert len(bundled.made["subjects"]) > 2 and bundled.made["command"].startswith("petsuperres study spread")


def test_the_factor_makes_no_tenth_of_the_voxels_narrower_than_its_error():
    assert factor([{"ratio": 1.5}, {"ratio": 2.0}, {"ratio": 0.7}]) == 2
