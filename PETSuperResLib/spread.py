"""The spread of samples as the error that it stands for: scaled by a factor that was calibrated on known truths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from .widths import FWHM_PER_SIGMA

CALIBRATION_FILE = Path(__file__).parent / "Resources" / "spread.json"
SMOOTH_MM = 4.0  # FWHM over which squared distances are averaged, as samples are few


@dataclass(frozen=True)
class Calibration:
    """Factors on :func:`spread_of` by kind of measurement, and what they hold for; made by ``study spread``."""

    factors: dict[str, float]
    quality: str
    prior_sha256: str
    made: dict[str, Any]

    @classmethod
    def bundled(cls) -> Calibration:
        """The one in ``Resources/spread.json``."""
        return cls(**json.loads(CALIBRATION_FILE.read_text(encoding="utf-8")))

    def factor(self, kind: str, quality: str, prior_sha256: str) -> float | None:
        """For a measurement (``sinogram`` or ``image``), a profile's name and a prior; None if not calibrated."""
        return self.factors.get(kind) if (quality, prior_sha256) == (self.quality, self.prior_sha256) else None


def spread_of(samples: Sequence[np.ndarray], estimate: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Root mean square distance of samples from the estimate ``(K, J, I)`` in SUV, averaged over 4 mm.

    Samples of data drawn about the estimate's lie as far from it as the estimate lies from the truth, as far as the
    bootstrap goes: their noise and the smoothing of a second reconstruction are both in it. ``spacing`` is (i, j, k).
    """
    squares = np.mean([(sample - estimate) ** 2 for sample in samples], axis=0)
    sigma = [SMOOTH_MM / FWHM_PER_SIGMA / mm for mm in spacing[::-1]]
    return np.asarray(np.sqrt(ndimage.gaussian_filter(squares, sigma)), np.float32)
