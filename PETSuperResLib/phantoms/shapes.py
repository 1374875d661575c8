"""Analytic shapes and the canvas they are painted on, for the procedural phantoms.

A shape is an approximate signed distance in mm (negative inside). A canvas is one axial slice. A voxel is
covered by the fraction on one side of a straight edge through it, so borders have a partial volume of about
one voxel instead of stairs. Coordinates are LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

LATTICE = 48  # nodes of the periodic noise lattice along each axis


@cache
def _lattice() -> np.ndarray:
    """The periodic white-noise lattice that every texture is sampled from, (48, 48, 48) float32."""
    return np.random.default_rng(20240511).standard_normal((LATTICE,) * 3).astype(np.float32)


def _spline(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The periodic quadratic B-spline at ``positions`` in lattice units: weights of unit variance, their nodes.

    Both are (n, 3): every position has weight at three nodes.
    """
    nearest = np.floor(positions + 0.5).astype(int)
    t = (positions - nearest).astype(np.float32)
    parts = np.stack([0.5 * (0.5 - t) ** 2, 0.75 - t**2, 0.5 * (0.5 + t) ** 2], 1)
    parts /= np.sqrt((parts**2).sum(1, keepdims=True))
    return parts, (nearest[:, None] + np.array([-1, 0, 1])) % LATTICE


def _interpolated(positions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` (48, m) at ``positions`` in lattice units: (n, m)."""
    weights, nodes = _spline(positions)
    return sum(weights[:, [n]] * values[nodes[:, n]] for n in range(3))


@dataclass(frozen=True)
class Noise:
    """A smooth random field of zero mean and unit variance, independent of the sampling.

    ``scale_mm`` is the distance between lattice nodes, ``offset`` (lattice units) chooses the field.
    """

    scale_mm: float
    offset: tuple[float, float, float]

    def slice(self, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
        """Values at axial position ``z`` mm on the grid of 1D ``x`` and ``y`` (mm): ``(len(y), len(x))``."""
        ox, oy, oz = self.offset
        plane = _interpolated(np.array([z / self.scale_mm + oz]), _lattice().reshape(LATTICE, -1))
        rows = _interpolated(y / self.scale_mm + oy, plane.reshape(LATTICE, LATTICE))
        return _interpolated(x / self.scale_mm + ox, rows.T).T


@dataclass(frozen=True)
class Blob:
    """A (super)ellipsoid turned by ``angle`` about z, its surface moved by a few random waves.

    ``centre`` and ``radii`` are (x, y, z) mm; ``waves`` are rows (kx, ky, kz, phase, amplitude) with
    the wave vector in units of the radii and the amplitude as a fraction of the smallest radius.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0
    power: float = 2.0
    waves: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))

    def extent(self, z: float) -> tuple[float, float, float, float] | None:
        """(x0, x1, y0, y1) mm that hold the shape at ``z``, or None where it is absent."""
        grow = 1.1 + float(np.abs(self.waves[:, 4]).sum())
        if abs(z - self.centre[2]) > grow * self.radii[2] + 4:
            return None
        c, s = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        rx = grow * (c * self.radii[0] + s * self.radii[1]) + 6
        ry = grow * (s * self.radii[0] + c * self.radii[1]) + 6
        return self.centre[0] - rx, self.centre[0] + rx, self.centre[1] - ry, self.centre[1] + ry

    def distance(self, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
        """Approximate signed distance in mm; ``x`` (1, n) and ``y`` (m, 1) in mm."""
        dx, dy = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        if self.angle:
            c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
            dx, dy = c * dx + s * dy, c * dy - s * dx
        a, b, h = (np.float32(r) for r in self.radii)
        u, v, w = dx / a, dy / b, np.float32((z - self.centre[2]) / h)
        if self.power == 2.0:
            level = np.sqrt(u * u + v * v + w * w) + np.float32(1e-4)
            slope = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / h) ** 2) + np.float32(1e-6)
            out = level * (level - 1) / slope
        else:
            p = np.float32(self.power)
            level = (np.abs(u) ** p + np.abs(v) ** p + np.abs(w) ** p) ** (1 / p) + np.float32(1e-4)
            out = (level - 1) / level * np.sqrt(dx * dx + dy * dy + np.float32((z - self.centre[2]) ** 2))
        smallest = np.float32(min(self.radii))
        for kx, ky, kz, phase, amplitude in self.waves:
            out = out + smallest * amplitude * np.sin(kx * u + ky * v + (kz * w + phase))
        return out


@dataclass(frozen=True)
class Tube:
    """A tube of varying radius along a polyline: ``points`` (n, 3) mm, ``radii`` (n,) mm."""

    points: np.ndarray
    radii: np.ndarray

    def _near(self, z: float) -> np.ndarray:
        low = np.minimum(self.points[:-1, 2], self.points[1:, 2])
        high = np.maximum(self.points[:-1, 2], self.points[1:, 2])
        reach = np.maximum(self.radii[:-1], self.radii[1:]) + 4
        return np.flatnonzero((low - reach < z) & (z < high + reach))

    def extent(self, z: float) -> tuple[float, float, float, float] | None:
        """(x0, x1, y0, y1) mm that hold the tube at ``z``, or None where it is absent."""
        near = self._near(z)
        if not len(near):
            return None
        ends = np.concatenate([self.points[near], self.points[near + 1]])
        reach = self.radii.max() + 6
        (x0, y0), (x1, y1) = ends[:, :2].min(0) - reach, ends[:, :2].max(0) + reach
        return x0, x1, y0, y1

    def distance(self, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
        """Signed distance in mm to the nearest segment's surface."""
        out = np.full(np.broadcast_shapes(x.shape, y.shape), 1e3, np.float32)
        for n in self._near(z):
            p, d = self.points[n].astype(np.float32), (self.points[n + 1] - self.points[n]).astype(np.float32)
            px, py, pz = x - p[0], y - p[1], np.float32(z) - p[2]
            t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / (d @ d + np.float32(1e-6)), 0, 1)
            r = np.float32(self.radii[n]) + t * np.float32(self.radii[n + 1] - self.radii[n])
            gap = np.sqrt((px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2) - r
            np.minimum(out, gap, out=out)
        return out


Shape = Blob | Tube


def random_waves(
    rng: np.random.Generator, count: int, amplitude: float, low: float = 1.5, high: float = 4.0
) -> np.ndarray:
    """``count`` random surface waves for :class:`Blob` whose amplitudes sum to about ``amplitude``."""
    direction = rng.standard_normal((count, 3))
    direction *= rng.uniform(low, high, (count, 1)) / np.linalg.norm(direction, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    share = rng.uniform(0.4, 1.6, (count, 1)) * amplitude / max(count, 1)
    return np.concatenate([direction, phase, share], 1).astype(np.float32)


def bend(points: list[tuple[float, float, float]], steps: int = 4) -> np.ndarray:
    """A smooth curve (Catmull-Rom) through ``points``: (n, 3) mm with ``steps`` pieces per gap."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*pieces, p[-1:]])


class Canvas:
    """One axial slice to paint on.

    ``pet`` (SUV), ``ct`` (HU) are ``(J, I)`` float32, ``organ`` and ``label`` int16 maps; ``x`` (1, I)
    and ``y`` (J, 1) are voxel centres in mm and ``edge`` the width of a border in mm (one voxel).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, z: float, edge: float):
        self.x = np.asarray(x, np.float32)[None, :]
        self.y = np.asarray(y, np.float32)[:, None]
        self.z, self.edge = float(z), np.float32(edge)
        shape = (len(y), len(x))
        self.pet = np.zeros(shape, np.float32)
        self.ct = np.full(shape, -1000, np.float32)
        self.organ = np.zeros(shape, np.int16)
        self.label = np.zeros(shape, np.int16)
        self._fields: dict[Noise, np.ndarray] = {}

    def field(self, noise: Noise) -> np.ndarray:
        """A random field on the whole slice, (J, I); made once."""
        if noise not in self._fields:
            self._fields[noise] = noise.slice(self.x[0], self.y[:, 0], self.z)
        return self._fields[noise]

    def cover(self, distance: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Covered fraction (0 to 1) of each voxel for a border ``edge + soft`` mm wide."""
        return np.clip(0.5 - distance / (self.edge + np.float32(soft)), 0, 1)

    def paint(
        self,
        cover: np.ndarray,
        suv: float | np.ndarray | None,
        hu: float | np.ndarray | None,
        organ: int = 0,
        where: tuple = (slice(None), slice(None)),
    ) -> None:
        """Blend values over a window: SUV and HU (None keeps them), and the organ code above half coverage."""
        if suv is not None:
            self.pet[where] += cover * (suv - self.pet[where])
        if hu is not None:
            self.ct[where] += cover * (hu - self.ct[where])
        if organ:
            self.organ[where][cover > 0.5] = organ

    def window(self, shape: Shape) -> tuple[slice, slice] | None:
        """The rows and columns that a shape can touch in this slice, or None."""
        extent = shape.extent(self.z)
        if extent is None:
            return None
        i0, i1 = np.searchsorted(self.x[0], extent[:2])
        j0, j1 = np.searchsorted(self.y[:, 0], extent[2:])
        return (slice(int(j0), int(j1)), slice(int(i0), int(i1))) if i1 > i0 and j1 > j0 else None

    def distance(self, shape: Shape, window: tuple[slice, slice]) -> np.ndarray:
        """A shape's signed distance in a window."""
        return shape.distance(self.x[:, window[1]], self.y[window[0]], self.z)
