"""Resolution and noise of the clinical protocols' images, measured in a simulated warm body.

The resolution of an iterative image depends on the activity: hot lesions converge sooner than what differs little from
its surroundings. So it is measured for both: the difference of two images without noise, one of them with small spots,
is fitted by a Gaussian at each spot (local impulse response). The noise is that of an image less the one without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize

from ...physics.protocols import Protocol
from ...physics.simulation import simulate
from ...scanner import Scanner
from ...volume import Volume
from ...widths import FWHM_PER_SIGMA, without_box

PIXEL_MM, SLICES = 2.0, 9
BODY_MM = (300.0, 230.0)  # diameters of the elliptic cylinder of 1 SUV
RING_MM, FAR_MM = 65.0, 115.0  # distances of the spots from the axis
SPOT = {"faint": 2.0, "hot": 150.0}  # SUV above the body in 4 x 4 mm of one slice: in the image about 0.1 and 10
REACH_MM = 14.0  # of the voxels to which a Gaussian is fitted
NOISE_MM = 70.0  # half width of the square about the axis whose noise is measured
MEASURED = (
    *("fwhm_faint_mm", "axial_faint_mm", "fwhm_hot_mm", "axial_hot_mm", "spread_mm", "misfit", "overshoot"),
    *("noise_percent", "noise_correlation", "noise_correlation_axial"),
)


@dataclass(frozen=True)
class Response:
    """A Gaussian fitted to a spot's image: FWHM (transaxial, axial) in mm without the spot's own extent."""

    kind: str
    fwhm_mm: tuple[float, float]
    misfit: float  # RMS of image less Gaussian, over its maximum
    overshoot: float  # the deepest negative value, over the maximum


def spots() -> Iterator[tuple[str, float, float]]:
    """Kind and (x, y) in mm of the spots, kinds in turn, on a ring and far from the axis."""
    for n in range(6):
        angle = math.radians(60 * n + 10)
        yield "faint" if n % 2 else "hot", RING_MM * math.cos(angle), RING_MM * math.sin(angle)
    yield "faint", FAR_MM, 0.0
    yield "hot", -FAR_MM, 0.0


def warm_body(slice_mm: float, with_spots: bool) -> tuple[Volume, list[tuple[str, float, float]]]:
    """The body, 1 SUV, with or without spots in its middle slice; and kind and exact (x, y) in mm of these."""
    shape = (SLICES, 2 * round(BODY_MM[1] / 2 / PIXEL_MM + 8), 2 * round(BODY_MM[0] / 2 / PIXEL_MM + 8))
    y, x = (PIXEL_MM * (np.arange(n) - (n - 1) / 2) for n in shape[1:])
    inside = (2 * x / BODY_MM[0]) ** 2 + (2 * y[:, None] / BODY_MM[1]) ** 2 < 1
    array = np.repeat(inside[None].astype(np.float32), SLICES, 0)
    places = []
    for kind, sx, sy in spots():
        j, i = (int(np.argmin(np.abs(axis + PIXEL_MM / 2 - s))) for axis, s in ((y, sy), (x, sx)))
        places.append((kind, float(x[i] + PIXEL_MM / 2), float(y[j] + PIXEL_MM / 2)))
        if with_spots:
            array[SLICES // 2, j : j + 2, i : i + 2] += SPOT[kind]
    origin = (float(x[0]), float(y[0]), -slice_mm * (SLICES - 1) / 2)
    return Volume(array, (PIXEL_MM, PIXEL_MM, slice_mm), origin, unit="SUVbw"), places


def responses(difference: Volume, places: Sequence[tuple[str, float, float]]) -> list[Response]:
    """Gaussians fitted to the spots in the difference of images with and without them."""
    k, j, i = np.indices(difference.shape)
    x, y, z = np.moveaxis(np.stack([i, j, k, np.ones_like(i)], -1) @ difference.ijk_to_lps.T, -1, 0)[:3]
    found = []
    for kind, sx, sy in places:
        near = np.hypot(x - sx, y - sy) < REACH_MM
        values = difference.array[near].astype(float)
        top = values.max()
        fit = optimize.least_squares(
            _misfit, [1.0, sx, sy, 0.0, 3.0, 3.0], args=(x[near], y[near], z[near], values / top)
        )
        across, along = FWHM_PER_SIGMA * fit.x[4:]
        widths = without_box(across, 2 * PIXEL_MM), without_box(along, difference.spacing[2])  # of the spot's box
        misfit = float(np.sqrt(np.mean(fit.fun**2)))
        found.append(Response(kind, widths, misfit, float(-values.min() / top)))
    return found


def _misfit(p: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A Gaussian of height, centre (3) and widths (transaxial, axial) less the values."""
    height, cx, cy, cz, across, along = p
    squares = ((x - cx) ** 2 + (y - cy) ** 2) / across**2 + (z - cz) ** 2 / along**2
    return np.asarray(height * np.exp(-squares / 2) - values)


def image_noise(noise: Volume) -> dict[str, float]:
    """Standard deviation in per cent of 1 SUV, and correlation of neighbours in the slice and across slices."""
    half = int(NOISE_MM / 2 / noise.spacing[0])
    _, j, i = (n // 2 for n in noise.shape)
    part = noise.array[:, j - half : j + half, i - half : i + half].astype(float)
    part = part - part.mean()
    variance = float((part**2).mean())

    def neighbours(axis: int) -> float:
        n = part.shape[axis]
        return float((part.take(range(n - 1), axis) * part.take(range(1, n), axis)).mean()) / variance

    plane = (neighbours(1) + neighbours(2)) / 2
    names = ("noise_percent", "noise_correlation", "noise_correlation_axial")
    return dict(zip(names, (100 * math.sqrt(variance), plane, neighbours(0)), strict=True))


def measure_protocol(protocol: Protocol, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """A protocol's row: its settings, and :data:`MEASURED` of its image of the warm body."""
    bodies = [warm_body(protocol.slice_mm, with_spots) for with_spots in (False, True)]
    plain, spotted = (
        simulate(body, None, spacing_mm=PIXEL_MM, protocol=protocol, device=device, noise=False) for body, _ in bodies
    )
    difference = plain.lr.with_array(spotted.lr.array - plain.lr.array)
    found = responses(difference, bodies[1][1])
    noisy = simulate(bodies[0][0], None, spacing_mm=PIXEL_MM, protocol=protocol, seed=seed, device=device)
    scanner = Scanner.get(protocol.scanner)
    row: dict[str, Any] = {
        "protocol": protocol.name,
        "reconstruction": protocol.reconstruction,
        "updates": f"{protocol.iterations} x {protocol.subsets}",
        "tof_gain": plain.facts["tof_gain"],
        "voxel_mm": protocol.voxel_mm,
        "slice_mm": protocol.slice_mm,
        "scanner_mm": scanner.fwhm_transaxial_mm,
        "scanner_axial_mm": scanner.fwhm_axial_mm,
        "filter_mm": protocol.filter_fwhm_mm[0],
        "filter_axial_mm": protocol.filter_fwhm_mm[1],
    }
    for kind in SPOT:
        across, along = (np.array([r.fwhm_mm[n] for r in found if r.kind == kind]) for n in (0, 1))
        row |= {f"fwhm_{kind}_mm": float(across.mean()), f"axial_{kind}_mm": float(along.mean())}
        row["spread_mm"] = max(row.get("spread_mm", 0.0), float(np.ptp(across)))
    row |= {"misfit": max(r.misfit for r in found), "overshoot": max(r.overshoot for r in found)}
    return row | image_noise(plain.lr.with_array(noisy.lr.array - plain.lr.array))


def variants(protocol: Protocol) -> list[Protocol]:
    """The protocol without its filter, at a half to eight times its iterations: what these do to the image."""
    bare = replace(protocol, filter_fwhm_mm=(0.0, 0.0))
    name = f"{protocol.name}, no filter"
    return [
        replace(
            bare,
            name=f"{name}, {factor} x updates",
            iterations=1,
            subsets=round(factor * protocol.iterations * protocol.subsets),
        )
        for factor in (0.5, 1, 2, 4, 8)
    ]
