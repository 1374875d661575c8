"""Physiological FDG uptake of the organs found in a torso's CT, about an hour after injection.

Ranges of SUV follow published means and their spread between patients: liver, spleen, blood pool and marrow by Paquet
et al. (J Nucl Med 2004; 45: 784-788), Zincirkeser et al. (J Int Med Res 2007; 35: 231-236) and Wang et al. (Mol Imaging
Biol 2007; 9: 83-90); myocardium, bowel, stomach, kidneys, ureters, bladder and brown fat, whose uptake varies most, by
Shreve et al. (RadioGraphics 1999; 19: 61-77) and Cook et al. (Semin Nucl Med 2004; 34: 122-133).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .codes import CODE
from .ct_landmarks import around
from .shapes import Blob, Canvas, Noise, Shape, Tube, random_waves

SHARP_PIXELS = 0.5  # standard deviation of the smoothing of an organ's border: no stairs
VENTRICLE_MM = (46.0, 31.0)  # half length and half width of the left ventricle
APEX = np.array([0.72, -0.52, -0.46])  # direction of its axis: to the left, front and feet


def paint_organs(anatomy: Anatomy, uptake: np.ndarray, rng: np.random.Generator) -> None:
    """Give the organs of a torso their SUV, in place; ``uptake`` ``(K, J, I)`` holds that of the other tissues."""
    assert anatomy.torso is not None
    u, depth = rng.uniform, anatomy.torso.depth
    blood, liver = u(1.1, 2.1), u(1.5, 3.0)
    stimulated = rng.random() < 0.06  # marrow and spleen after growth factors or in anaemia
    marrow = u(2.5, 5.0) if stimulated else u(0.7, 2.0)
    levels = {
        "blood": blood,
        "liver": liver,
        "spleen": liver * (u(0.9, 1.6) if stimulated else u(0.65, 1.0)),
        "marrow": marrow,
        "disc": u(0.5, 1.0),
        "bladder": log_uniform(rng, 3, 40),
    }
    for name, suv in levels.items():
        _fill(uptake, anatomy.tissue == CODE[name], suv)
    _fill(uptake, anatomy.tissue == CODE["heart"], blood)
    _paint_myocardium(anatomy, depth, uptake, blood, rng)
    _paint_kidneys(anatomy, depth, uptake, rng)
    _paint_bowel(anatomy, depth, uptake, rng)
    if rng.random() < 0.1:
        _paint_brown_fat(anatomy, uptake, rng)


def _fill(uptake: np.ndarray, mask: np.ndarray, suv: float | np.ndarray) -> None:
    """Blend a SUV into the voxels of ``mask`` and, by partial volume, into those at its border."""
    if not mask.any():
        return
    box = around(mask, 2)
    sharp = ndimage.gaussian_filter(mask[box].astype(np.float32), (0, SHARP_PIXELS, SHARP_PIXELS))
    value = suv[box] if isinstance(suv, np.ndarray) else suv
    uptake[box] += sharp * (value - uptake[box])


def _paint_myocardium(
    anatomy: Anatomy, depth: np.ndarray, uptake: np.ndarray, blood: float, rng: np.random.Generator
) -> None:
    """The left ventricle's wall: none after fasting to much; dark beside contrast agent, else a shell in the heart."""
    heart = anatomy.tissue == CODE["heart"]
    if heart.sum() * anatomy.ct.voxel_ml < 150:
        return
    box = around(heart, 2)
    inside, hu = heart[box], anatomy.smooth[box]
    spacing = np.array(anatomy.ct.spacing)
    points = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(inside.shape, spacing[::-1], strict=True)),
                                  indexing="ij"), -1)[..., ::-1]  # fmt: skip
    middle = points[inside].mean(0) + np.array([16, -6, -8]) + rng.normal(0, 3, 3)
    axis = APEX / np.linalg.norm(APEX)
    along = (points - middle) @ axis
    across = np.linalg.norm(points - middle - along[..., None] * axis, axis=-1)
    length, width = VENTRICLE_MM * rng.uniform(0.9, 1.1, 2)
    wall = rng.uniform(8, 12)

    def within(less: float) -> np.ndarray:
        a, b = length - less, width - less
        return b * (1 - np.sqrt((along / a) ** 2 + (across / b) ** 2))

    edge = spacing[0]
    shell = np.clip(0.5 + within(0) / edge, 0, 1) * np.clip(0.5 - within(wall) / edge, 0, 1)
    pool = np.percentile(hu[inside], 90)
    if pool > 210:
        dark = ndimage.gaussian_filter(np.clip((0.5 * (pool + 90) - hu) / 40, 0, 1), 2.5 / spacing[::-1])
        dark = np.clip(2 * dark - 0.5, 0, 1) * np.clip(0.5 + within(-8) / edge, 0, 1)
        shell = dark * (depth[box] > 2)
    shell = shell * inside * np.clip((along + 0.6 * length) / 4, 0, 1)
    uneven = 1 + rng.uniform(0, 0.35) * np.sin(np.arctan2(points[..., 2] - middle[2], points[..., 1] - middle[1]))
    suv = blood * log_uniform(rng, 0.8, 8) * uneven
    uptake[box] += shell * (suv - uptake[box])


def _paint_kidneys(anatomy: Anatomy, depth: np.ndarray, uptake: np.ndarray, rng: np.random.Generator) -> None:
    """Cortex, medulla, and urine in the pelvis and parts of the ureter."""
    parts, number = ndimage.label(anatomy.tissue == CODE["kidney"])
    cortex, urine = rng.uniform(1.8, 3.6), log_uniform(rng, 3, 30)
    medulla = cortex * rng.uniform(0.55, 0.95)
    spacing = np.array(anatomy.ct.spacing)
    for n in range(1, number + 1):
        own = parts == n
        if own.sum() * anatomy.ct.voxel_ml < 40:
            continue
        share = np.clip((depth - 7) / 3, 0, 1)
        _fill(uptake, own, cortex + share * (medulla - cortex))
        x, y, z = np.array(ndimage.center_of_mass(own))[::-1] * spacing
        medial = 1.0 if x < 0.5 * own.shape[2] * spacing[0] else -1.0
        if rng.random() < 0.8:
            waves = random_waves(rng, 4, 0.35)
            hilum = Blob((x + 7 * medial, y - 3, z), (*rng.uniform(4, 8, 2), rng.uniform(9, 20)), 0.0, 2.0, waves)  # type: ignore[arg-type]
            _draw(hilum, anatomy, uptake, urine * rng.uniform(0.4, 1.2))
        if rng.random() < 0.5:
            low = z - rng.uniform(30, 120)
            points = np.array([[x + 13 * medial, y - 6, z - 18], [x + 18 * medial, y - 18, 0.5 * (z + low) - 9],
                               [x + 20 * medial, y - 24, low]])  # fmt: skip
            _draw(Tube(points, np.full(3, rng.uniform(1.8, 3.0))), anatomy, uptake, urine * rng.uniform(0.1, 0.8))


def _draw(shape: Shape, anatomy: Anatomy, uptake: np.ndarray, suv: float) -> None:
    """Paint a shape (mm from the first voxel) into the soft tissue of every slice that it touches."""
    x, y, z = (np.arange(n) * s for n, s in zip(uptake.shape[::-1], anatomy.ct.spacing, strict=True))
    for k, height in enumerate(z):
        canvas = Canvas(x, y, float(height), anatomy.ct.spacing[0])
        window = canvas.window(shape)
        if window is not None:
            canvas.pet = uptake[k]
            free = ~np.isin(anatomy.tissue[k][window], (CODE["air"], CODE["bone"], CODE["marrow"], CODE["lung"]))
            canvas.paint(canvas.cover(canvas.distance(shape, window)) * free, suv, None, 0, window)


def _paint_bowel(anatomy: Anatomy, depth: np.ndarray, uptake: np.ndarray, rng: np.random.Generator) -> None:
    """Bowel and stomach: walls by segment, some of them hot, all of them under metformin; contents have less."""
    count = int(anatomy.compartments.max()) + 1
    segment = np.exp(rng.normal(0, 0.3, count))
    hot = rng.random(count) < rng.choice([0.0, 0.08, 0.2])
    segment[hot] *= np.exp(rng.uniform(np.log(1.5), np.log(5), int(hot.sum())))
    wall = 1.2 * segment * (rng.uniform(2, 5) if rng.random() < 0.1 else 1.0)
    spread = [3.0 / s for s in anatomy.ct.spacing[::-1]]
    mask = anatomy.tissue == CODE["bowel"]
    if mask.any():
        level = ndimage.gaussian_filter(wall[anatomy.compartments].astype(np.float32), spread)
        empty = rng.uniform(0.4, 1.0) * np.clip((depth - 4) / 3, 0, 1)
        _fill(uptake, mask, level * (1 - empty) + empty * rng.uniform(0.4, 0.9))
    contents = np.clip((depth - rng.uniform(4, 8)) / 3, 0, 1)
    suv = rng.uniform(1.2, 3.8) * (1 - contents) + contents * rng.uniform(0.3, 1.0)
    _fill(uptake, anatomy.tissue == CODE["stomach"], suv.astype(np.float32))


def _paint_brown_fat(anatomy: Anatomy, uptake: np.ndarray, rng: np.random.Generator) -> None:
    """Patches of fat at the neck and the shoulders, on both sides."""
    x, y, z = (np.arange(n) * s for n, s in zip(uptake.shape[::-1], anatomy.ct.spacing, strict=True))
    noise, suv = Noise(16.0, tuple(rng.uniform(0, 48, 3))), log_uniform(rng, 2, 12)
    active = np.stack([np.clip(2 * (noise.slice(x, y, float(height)) - 0.9), 0, 1) for height in z])
    fat = (anatomy.tissue == CODE["brown_fat"]) & (anatomy.smooth < -60)
    uptake += fat * active * (suv - uptake)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from ``low`` to ``high`` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
