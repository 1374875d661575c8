"""A spherical volume of interest (VOI) of any centre and size, measured as lesions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from .measures import PEAK_RADIUS_MM, measure_lesions
from .segments import Block

ML_MM = 2 * PEAK_RADIUS_MM  # diameter of a sphere of 1 mL
WIDE_MM = 30.0  # diameter of PERCIST's sphere in the liver
CHORDS = 120  # across the diameter, of which the share of a voxel is made


@dataclass(frozen=True)
class SphereFigures:
    """SUVs of a sphere in one volume.

    Mean and standard deviation are weighted with each voxel's part inside; maximum and SUVpeak (the highest mean over
    1 mL) are of the voxels at least half inside. ``share`` is the part (0 to 1) of the sphere within the volume.
    """

    suvmean: float
    sd: float
    suvpeak: float
    suvmax: float
    share: float


@dataclass(frozen=True)
class Sphere:
    """A sphere about ``centre`` (LPS mm); a region of :func:`.measures.measure_lesions`."""

    centre: tuple[float, float, float]
    diameter_mm: float = ML_MM
    label: int = 1
    name: str = "sphere"

    def weights(self, volume: Volume) -> tuple[np.ndarray, Block]:
        """The part (0 to 1) of each voxel of ``volume`` within the sphere, and the (K, J, I) block it covers.

        Exact along k: of chords that lie close together along i and j. Empty arrays where the sphere lies outside.
        """
        middle = (np.linalg.inv(volume.ijk_to_lps) @ [*self.centre, 1.0])[:3]
        radius, spacing = self.diameter_mm / 2, np.array(volume.spacing)
        size = np.array(volume.shape[::-1])
        first = np.clip(np.ceil(middle - radius / spacing - 0.5), 0, size).astype(int)
        last = np.clip(np.floor(middle + radius / spacing + 0.5) + 1, 0, size).astype(int)
        if (last <= first).any():
            return np.zeros((0, 0, 0), np.float32), (slice(0, 0),) * 3
        parts = [int(np.ceil(CHORDS * step / self.diameter_mm)) for step in volume.spacing[:2]]
        x, y = (
            (first[n] - 0.5 + (np.arange((last[n] - first[n]) * p) + 0.5) / p - middle[n]) * spacing[n]
            for n, p in enumerate(parts)
        )
        half = np.sqrt(np.maximum(radius**2 - y[:, None] ** 2 - x**2, 0.0))  # of each chord
        edges = (np.arange(first[2], last[2] + 1) - 0.5 - middle[2]) * spacing[2]
        inside = np.diff(np.clip(edges[:, None, None], -half, half), axis=0) / spacing[2]
        i, j, k = last - first
        weights = inside.reshape(k, j, parts[1], i, parts[0]).mean((2, 4)).astype(np.float32)
        k0, j0, i0 = (slice(int(a), int(b)) for a, b in zip(first[::-1], last[::-1], strict=True))
        return weights, (k0, j0, i0)

    def measure(self, volume: Volume) -> SphereFigures | None:
        """The figures in a volume in SUV; None where it holds nothing of the sphere.

        Raises :class:`InputError` for values that are not numbers.
        """
        found = measure_lesions(volume, [self], skip_outside=True)
        if not found:
            return None
        weights, block = self.weights(volume)
        values, mean = volume.array[block].astype(np.float64), found[0].suvmean
        variance = np.average((values - mean) ** 2, weights=weights)
        share = float(weights.sum(dtype=np.float64)) * volume.voxel_ml / self.volume_ml
        return SphereFigures(mean, float(np.sqrt(variance)), found[0].suvpeak, found[0].suvmax, min(1.0, share))

    @property
    def volume_ml(self) -> float:
        """Volume in mL."""
        return float(np.pi / 6 * self.diameter_mm**3 / 1000)
