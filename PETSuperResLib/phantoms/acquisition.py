"""What a scan adds to a painted torso: breathing between PET and CT, contrast agent, metal, arms, no couch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .codes import CODE

PHASES = 5  # of a breath, over which the PET is the mean
ARM_MM = (38.0, 52.0)  # radius of an arm at the side
# HU that contrast agent adds to an organ, as a share of what it adds to blood
ENHANCED = {"blood": 1.0, "heart": 0.9, "kidney": 0.9, "spleen": 0.45, "liver": 0.35, "stomach": 0.15, "bowel": 0.15}


def breathe(anatomy: Anatomy, pet: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Move the PET's organs (and lesion labels) by -6 to 20 mm at the diaphragm, blurred over 0 to 12 mm, in place.

    The CT is taken at one moment, the PET over many breaths; the diaphragm of the PET is mostly the higher one.
    """
    assert anatomy.torso is not None
    share, slice_mm = anatomy.torso.breathing, anatomy.ct.spacing[2]
    shift, extent = float(np.clip(rng.normal(7, 6), -6, 20)), float(rng.uniform(0, 12))
    moved = [_lifted(pet, share * (shift + extent * p) / slice_mm) for p in np.linspace(-0.5, 0.5, PHASES)]
    pet[:] = np.mean(moved, 0)
    rows = np.arange(len(pet))[:, None, None] - np.rint(share * shift / slice_mm).astype(int)
    labels[:] = np.take_along_axis(labels, rows.clip(0, len(pet) - 1), 0)


def _lifted(image: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """The image with every voxel's value from ``slices`` below."""
    at = np.clip(np.arange(len(image), dtype=np.float32)[:, None, None] - slices, 0, len(image) - 1)
    low = np.minimum(at.astype(int), len(image) - 2).clip(0)
    weight = at - low
    high = np.minimum(low + 1, len(image) - 1)
    return (1 - weight) * np.take_along_axis(image, low, 0) + weight * np.take_along_axis(image, high, 0)


def vary_ct(anatomy: Anatomy, ct: np.ndarray, rng: np.random.Generator) -> None:
    """The CT (HU) in place: mostly without couch and clothes, perhaps with contrast agent or metal."""
    if rng.random() < 0.7:
        ct[anatomy.tissue == CODE["air"]] = -1000
    if rng.random() < 0.4:
        _enhance(anatomy, ct, float(rng.uniform(20, 160)))
    if rng.random() < 0.06:
        _add_metal(anatomy, ct, rng)


def _enhance(anatomy: Anatomy, ct: np.ndarray, hu: float) -> None:
    """Add contrast agent where blood has none."""
    blood = anatomy.tissue == CODE["blood"]
    if not blood.any() or np.median(anatomy.smooth[blood]) > 90:
        return
    added = np.zeros(ct.shape, np.float32)
    for name, share in ENHANCED.items():
        added[anatomy.tissue == CODE[name]] = share * hu
    ct += ndimage.gaussian_filter(added, (0, 0.7, 0.7))


def _add_metal(anatomy: Anatomy, ct: np.ndarray, rng: np.random.Generator) -> None:
    """A rod through the bone of some slices, with bright and dark streaks."""
    places = np.argwhere(anatomy.tissue == CODE["marrow"])
    if not len(places):
        return
    k, j, i = (int(v) for v in places[rng.integers(len(places))])
    spacing = anatomy.ct.spacing
    y, x = (np.arange(n) * s for n, s in zip(ct.shape[1:], spacing[:2][::-1], strict=True))
    far, angle = np.hypot(x[None] - x[i], y[:, None] - y[j]), np.arctan2(y[:, None] - y[j], x[None] - x[i])
    radius, count = rng.uniform(2.5, 7), int(rng.integers(3, 9))
    bands = np.cos(count * angle + rng.uniform(0, 6)) * np.cos(2 * angle + rng.uniform(0, 6))
    streaks = 500 * bands * radius / (far + 8)
    half = int(rng.uniform(8, 30) / spacing[2]) + 1
    for layer in range(max(0, k - half), min(len(ct), k + half)):
        inside = anatomy.tissue[layer] != CODE["air"]
        ct[layer] += np.where(inside, streaks * rng.uniform(0.6, 1.2), 0).clip(-600, 900)
        ct[layer][far < radius] = 3000


def add_arms(anatomy: Anatomy, pet: np.ndarray, ct: np.ndarray, rng: np.random.Generator) -> None:
    """Arms beside the trunk: fat, muscle and a bone, where the grid has room."""
    body = anatomy.tissue != CODE["air"]
    if not body.any():
        return
    spacing = np.array(anatomy.ct.spacing)
    columns, rows = np.nonzero(body.any((0, 1)))[0], np.nonzero(body.any((0, 2)))[0]
    y, x = (np.arange(n) * s for n, s in zip(ct.shape[1:], spacing[:2][::-1], strict=True))
    back = rng.uniform(0.45, 0.65)
    muscle, fat, bone = rng.uniform(0.5, 0.9), rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.9)
    for side, edge in ((-1, columns[0]), (1, columns[-1])):
        radius, rim = rng.uniform(*ARM_MM), rng.uniform(4, 14)
        middle = x[edge] + side * (radius + rng.uniform(3, 15)), y[rows[0]] + back * (y[rows[-1]] - y[rows[0]])
        for k, free in enumerate(~body):
            place = middle[0] + side * 0.06 * k * spacing[2], middle[1] + 0.04 * k * spacing[2]
            far = np.hypot(x[None] - place[0], (y[:, None] - place[1]) / 1.1)
            layers = ((radius, fat, -100.0), (radius - rim, muscle, 55.0), (12.0, bone, 800.0), (7.0, bone, 120.0))
            for size, suv, hu in layers:
                cover = np.clip(0.5 + (size - far) / spacing[0], 0, 1) * free
                pet[k] += cover * (suv - pet[k])
                ct[k] += cover * (hu - ct[k])
