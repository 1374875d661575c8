"""What the methods of a trial know of the clinic's image: its header alone, or the FWHM that fits the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from ...device import pick_device
from ...inputs import Inputs
from ...physics.psf import GaussianPSF
from ...physics.simulation import Simulation
from ...problem import Problem
from ...request import Request
from ...volume import Volume
from ..methods import MethodCase

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


def image_problem(case: MethodCase, guide: Volume | None = None, **stated: float) -> Problem:
    """The problem of the clinic's image as a user has it, of which the header and what is ``stated`` are known.

    ``guide``: the CT that is given in place of the case's, without the checks of a CT.
    """
    image, spacing = case.simulation.lr, case.simulation.truth.spacing[0]
    request = Request(image, case.ct, case.scanner, device=case.device, spacing=spacing, **stated)  # type: ignore[arg-type]
    inputs = Inputs.of(request)
    return replace(inputs, ct=guide or inputs.ct).problem(spacing, pick_device(case.device))
