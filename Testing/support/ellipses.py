"""Ellipses of uniform activity: their image with exact pixel weights, and their sinogram in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from PETSuperResLib.widths import FWHM_PER_SIGMA


@dataclass(frozen=True)
class Ellipse:
    """Centre, semi-axes (mm, from the axis of rotation) and angle (radians) of an ellipse of activity 1."""

    x: float
    y: float
    a: float
    b: float
    angle: float = 0.0

    @property
    def area(self) -> float:
        """In mm²."""
        return math.pi * self.a * self.b

    def image(self, shape: tuple[int, int], pixel_mm: float, samples: int = 16) -> np.ndarray:
        """``(J, I)``: the share of every pixel inside, by ``samples`` x ``samples`` points."""
        j, i = ((np.arange(n * samples) - (n * samples - 1) / 2) * pixel_mm / samples for n in shape)
        x, y = i[None] - self.x, j[:, None] - self.y
        u = (x * math.cos(self.angle) + y * math.sin(self.angle)) / self.a
        v = (y * math.cos(self.angle) - x * math.sin(self.angle)) / self.b
        inside = (u * u + v * v <= 1).reshape(shape[0], samples, shape[1], samples)
        return inside.mean((1, 3)).astype(np.float32)

    def centre(self, theta: np.ndarray) -> np.ndarray:
        """Where the centre is seen at the angles ``theta``, in mm."""
        return self.x * np.cos(theta) + self.y * np.sin(theta)

    def sinogram(self, theta: np.ndarray, bins: int, bin_mm: float, fwhm_mm: float) -> np.ndarray:
        """Mean blurred chord of every bin, ``(views, bins)`` in mm.

        The area of the ellipse left of a line is known in closed form; its convolution with the Gaussian is integrated
        by Gauss-Hermite quadrature, and the difference between a bin's edges is the bin's content.
        """
        radius = np.hypot(self.a * np.cos(theta - self.angle), self.b * np.sin(theta - self.angle))
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        edges = (np.arange(bins + 1) - bins / 2) * bin_mm
        shift = nodes * fwhm_mm / FWHM_PER_SIGMA
        u = (edges[:, None] - self.centre(theta)[:, None, None] - shift) / radius[:, None, None]
        u = u.clip(-1, 1)
        left = (np.arcsin(u) + u * np.sqrt(1 - u * u) + math.pi / 2) @ (weights / weights.sum())
        return np.diff(left, axis=1) * (self.a * self.b / bin_mm)
