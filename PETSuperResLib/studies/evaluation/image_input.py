"""What the methods of a trial know of the clinic's image: its header alone, or the FWHM that fits the truth."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from ...physics.psf import GaussianPSF
from ...physics.simulation import Simulation

TOLD = ("header", "truth")  # the header alone; besides, the effective FWHM, as a user states it
RANGE_MM = (1.5, 20.0)
TOLERANCE_MM = 0.02


def effective_fwhm(simulation: Simulation) -> float:
    """FWHM in mm of the Gaussian, equal in all directions, that brings the truth nearest to the LR image.

    Least squares on the LR image's voxels. The noise does not depend on the width, so it adds no bias.
    """
    truth, image = simulation.truth, simulation.lr
    sharp = torch.from_numpy(truth.array)

    def error(fwhm: float) -> float:
        blurred = GaussianPSF(truth.shape, truth.spacing, (fwhm, fwhm), sharp.device)(sharp)
        expected = truth.with_array(blurred.numpy()).resample_to(image, "cubic")
        return float(np.mean((expected.array - image.array) ** 2, dtype=np.float64))

    return float(minimize_scalar(error, RANGE_MM, bounds=RANGE_MM, options={"xatol": TOLERANCE_MM}).x)
