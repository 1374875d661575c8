"""Widths of Gaussians and boxes: standard deviation, FWHM, and what the extent of a voxel adds to a FWHM."""

from __future__ import annotations

import math

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
BOX_FWHM = FWHM_PER_SIGMA / math.sqrt(12)  # FWHM of the Gaussian with the variance of a box, over the box's width


def without_box(fwhm: float, width: float, least: float = 0.0) -> float:
    """The FWHM that, after the variance of a box of ``width`` is added, is ``fwhm``; never below ``least``."""
    return math.sqrt(max(fwhm**2 - (BOX_FWHM * width) ** 2, least**2))
