"""Lesions of the procedural person: round to irregular, homogeneous to necrotic, with or without CT correlate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .codes import CODE
from .shapes import Blob, Canvas, Noise, random_waves

# organ: (weight, smallest and largest diameter in mm, HU of the lesion or None to keep the tissue's)
SITES: dict[str, tuple[float, float, float, float | None]] = {
    "lung": (3.0, 5, 45, 35),
    "liver": (2.5, 6, 55, 45),
    "node_bed": (3.0, 4, 35, 42),
    "bone": (2.0, 5, 35, None),
    "muscle": (1.5, 6, 60, 42),
    "fat": (0.7, 4, 40, 40),
    "spleen": (0.3, 6, 25, 40),
    "kidney": (0.3, 6, 35, 40),
    "other": (0.3, 5, 20, 40),
    "brain": (0.5, 5, 30, 30),
}


@dataclass(frozen=True)
class Lesion:
    """A lesion: its shape, uptake (SUV), CT number (None: not visible), core and border."""

    shape: Blob
    suv: float
    hu: float | None
    organ: str
    core: float = 0.0  # radius of the necrotic core as a fraction; 0: none
    core_suv: float = 1.0
    soft_mm: float = 0.0
    mottle: float = 0.0
    noise: Noise = Noise(9.0, (0.0, 0.0, 0.0))

    def gap(self, other: Lesion, grown: float = 1.0) -> float:
        """Distance in mm between the spheres around two lesions, whose radii are ``grown`` times the largest one."""
        apart = np.linalg.norm(np.subtract(self.shape.centre, other.shape.centre))
        return float(apart - grown * (max(self.shape.radii) + max(other.shape.radii)))

    def draw(self, c: Canvas, number: int) -> None:
        """Paint the lesion and its label ``number`` (where it covers at least half the voxel)."""
        window = c.window(self.shape)
        if window is None:
            return
        d = c.distance(self.shape, window)
        cover = c.cover(d, self.soft_mm)
        if not cover.any():
            return
        radius = float(min(self.shape.radii))
        suv: float | np.ndarray = self.suv
        if self.mottle:
            field = self.noise.slice(c.x[0, window[1]], c.y[window[0], 0], c.z)
            suv = self.suv * np.clip(1 + self.mottle * field, 0.3, 1.8)
        if self.core:
            dead = np.clip(0.5 - (d + radius * (1 - self.core)) / (float(c.edge) + 0.15 * radius), 0, 1)
            suv = suv * (1 - dead) + self.core_suv * dead
        c.paint(cover, suv, self.hu, 0, window)
        c.label[window][cover >= 0.5] = number


def random_lesion(
    rng: np.random.Generator, organ: str, centre: tuple[float, float, float], background: float, limb: bool = False
) -> Lesion:
    """A random lesion of ``organ`` at ``centre`` (mm); ``limb`` allows the large masses of sarcoma."""
    _, low, high, hu = SITES[organ]
    if limb and organ in ("muscle", "fat"):
        low, high = 8, 110
    diameter = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    stretch = np.exp(rng.normal(0, 0.16, 3))
    if limb:
        stretch[2] *= rng.uniform(1.0, 1.8)
    a, b, h = (float(v) for v in 0.5 * diameter * stretch)
    irregular = rng.choice([0.04, 0.2, 0.4], p=[0.35, 0.4, 0.25])
    shape = Blob(centre, (a, b, h), float(rng.uniform(0, np.pi)), 2.0, random_waves(rng, 5, float(irregular), 2.0, 5.0))
    suv = float(np.clip(np.exp(rng.normal(np.log(6.0), 0.55)), 2.0, 20.0))
    suv = max(suv, background * float(rng.uniform(1.3, 3.0)))
    if hu is None:
        hu = float(rng.choice([60.0, 450.0, 750.0])) if rng.random() < 0.6 else None
    elif rng.random() < 0.2:
        hu = None
    else:
        hu += float(rng.normal(0, 8))
    necrotic = diameter > 18 and rng.random() < 0.35
    return Lesion(
        shape,
        suv,
        hu,
        organ,
        core=float(rng.uniform(0.35, 0.75)) if necrotic else 0.0,
        core_suv=float(rng.uniform(0.4, 1.8)),
        soft_mm=float(rng.choice([0.0, rng.uniform(1, 5)])),
        mottle=float(rng.uniform(0.05, 0.25)) if diameter > 10 else 0.0,
        noise=Noise(float(rng.uniform(5, 14)), tuple(rng.uniform(0, 48, 3))),
    )


def choose_site(
    rng: np.random.Generator, organ_map: np.ndarray, x: np.ndarray, y: np.ndarray, blocked: np.ndarray | None = None
) -> tuple[str, float, float] | None:
    """(organ, x, y) of a random place for a lesion in a slice's organ map, or None where there is none."""
    free = organ_map if blocked is None else np.where(blocked, 0, organ_map)
    names = [n for n in SITES if (free == CODE[n]).sum() > 3]
    if not names:
        return None
    weights = np.array([SITES[n][0] for n in names])
    organ = str(rng.choice(names, p=weights / weights.sum()))
    rows, columns = np.nonzero(free == CODE[organ])
    pick = int(rng.integers(len(rows)))
    return organ, float(x[columns[pick]]), float(y[rows[pick]])
