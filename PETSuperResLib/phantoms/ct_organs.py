"""Organs of a torso CT by rules: CT number, thickness, connection, place relative to lungs, spine and diaphragm.

An organ that is not found with confidence is left out. The rules are for painting plausible uptake, not for measuring.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from ..volume import Volume
from .anatomy import Anatomy, Torso, anatomy_of
from .codes import CODE
from .ct_landmarks import COARSE_MM, Landmarks, find_landmarks, inner_depth

DOME_MM = 12.0  # from the slice by which a dome is found to its top
MASS_MM = 28.0  # no loop of bowel has this radius
WALL_MM = 18.0  # thickness of the trunk's wall of muscle and ribs
ORGANS = ("liver", "spleen", "kidney", "heart", "bowel", "stomach", "bladder")
SURE_MM = 4.0  # further inside than this, the coarse organs hold; nearer the border the CT's edges decide


def torso_anatomy(ct: Volume, seed: int = 0) -> Anatomy:
    """The anatomy of a torso's CT (HU, axial slices, LPS, on the grid to be painted) with the organs that are found.

    Without a spine in view it has no organs.
    """
    plain = anatomy_of(ct, None, seed)
    marks = find_landmarks(ct, plain.tissue)
    if marks is None:
        return plain
    tissue = _refined(plain, marks, _coarse_organs(marks))
    depth = np.zeros(tissue.shape, np.float32)
    for name in ORGANS:
        if (own := tissue == CODE[name]).any():
            depth += inner_depth(own, ct.spacing)
    return replace(plain, tissue=tissue, torso=Torso(depth, _fine(marks, _breathing(marks), ct)))


def _coarse_organs(m: Landmarks) -> np.ndarray:
    """Codes of organs on the landmarks' grid, 0 elsewhere."""
    found = np.zeros(m.hu.shape, np.int8)
    lean = m.body & ~m.lung & ~m.spine & (m.hu > -20)
    right, left = m.domes if m.lung.any() else (np.inf, np.inf)
    below_right, below_left = (m.z <= np.nan_to_num(dome, nan=-np.inf) + DOME_MM for dome in (right, left))
    below = below_right | below_left

    def take(name: str, mask: np.ndarray) -> None:
        found[mask & (found == 0)] = CODE[name]

    between = m.between_lungs & lean & (m.x > -60) & (m.depth > 15) & ~(m.z < right - 25)
    heart = m.largest(m.opened(between & (m.x > -45), 16), 150)
    take("heart", heart)
    soft = lean & ~m.bright
    take("liver", _liver(m, soft & ~heart & below_right))
    take("spleen", _spleen(m, soft & (found == 0) & below_left, left))
    for side in (-1, 1):
        take("kidney", _kidney(m, lean & (found == 0) & below, side))
    around = (m.depth > 12) & (m.y < -45) & (m.x > -45) & ~(m.z <= left - 20)
    take("heart", m.near(heart, 25) & lean & around)
    take("bladder", _bladder(m, soft & (found == 0)))
    take("blood", between | _aorta(m, lean & (found == 0), below))
    visceral = _visceral(m, lean & (found == 0))
    upper = (m.x > -5) & (m.z > left - 120) & (m.z < left + 5)
    take("stomach", m.largest(m.opened(visceral & upper, 9), 60))
    take("bowel", visceral)
    return found


def _aorta(m: Landmarks, lean: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The descending aorta left of the spine; below the diaphragm, aorta and vena cava in front of it."""
    beside = (m.x > 8) & (m.x < 62) & (m.y > -70) & (m.y < -4) & (m.depth > 15) & ~(m.z <= m.domes[1])
    front = (m.x > -35) & (m.x < 30) & (m.y > -78) & (m.y < -38) & below & ~m.between_lungs & ~m.pelvic[:, None, None]
    return m.largest(m.opened(lean & beside, 6)) | m.opened(lean & front, 5)


def _visceral(m: Landmarks, lean: np.ndarray) -> np.ndarray:
    """Soft tissue within the abdomen's wall and in front of the spine, but neither bone nor a mass."""
    right, left = m.domes if m.lung.any() else (np.inf, np.inf)
    inside = (m.depth > WALL_MM) & (m.y < -35) & ~m.between_lungs & np.where(m.x < 0, m.z <= right, m.z <= left)
    inside &= ~m.pelvic[:, None, None] | (~m.bright & (np.abs(m.x) < 60))
    thick = m.opened(lean & inside, 4)
    return thick & ~m.opened(thick, MASS_MM)


def _liver(m: Landmarks, soft: np.ndarray) -> np.ndarray:
    """Below the right lung: a thick part of one CT number, grown as far as that CT number reaches."""
    seed = m.under_lung() & soft & (m.x < -20) & (m.hu > 15) & (m.depth > 12)
    seed = m.largest(seed & (inner_depth(seed, m.grid.spacing) > 10), 8)
    if not seed.any():
        return seed
    mean, sd = float(np.median(m.hu[seed])), float(m.hu[seed].std())
    like = soft & (np.abs(m.hu - mean) < max(22.0, 2.5 * sd)) & (m.x < 95) & (m.depth > 6)
    grown = m.opened(like & ((m.x < -10) | (m.y < -55)), 8)
    parts, _ = ndimage.label(grown)
    names = np.unique(parts[seed & grown])
    liver = np.isin(parts, names[names > 0])
    return liver if liver.sum() * m.grid.voxel_ml > 150 else np.zeros_like(liver)


def _kidney(m: Landmarks, lean: np.ndarray, side: int) -> np.ndarray:
    """Beside the spine: a part of plausible length and volume, by side (-1: right); bright under contrast agent."""
    x = side * m.x
    place = lean & (x > 28) & (x < 105) & (m.y > -80) & (m.y < 25) & (m.depth > 12)
    for least_hu, thick in ((130, 6.0), (85, 5.0), (5, 8.0), (5, 4.5)):
        here = place & (m.hu > least_hu)
        parts, number = ndimage.label(here & (inner_depth(here, m.grid.spacing) > thick))
        best, volume = np.zeros_like(here), 3.0
        for n in range(1, number + 1):
            part = parts == n
            ml, height = part.sum() * m.grid.voxel_ml, np.ptp(m.z[part]) + COARSE_MM
            beside = 45 < x[part].mean() < 85 and m.y[part].mean() > -48
            if volume < ml < 150 and 20 < height < 125 and beside:
                best, volume = part, ml
        if best.any():
            return place & (m.hu > min(least_hu, 80)) & m.near(best, thick + 2)
    return np.zeros_like(place)


def _spleen(m: Landmarks, soft: np.ndarray, dome: float) -> np.ndarray:
    """Close below the left dome, at the back and at the wall."""
    here = soft & (m.x > 40) & (m.y > -110) & (m.hu > 25) & (m.depth > 5)
    parts, number = ndimage.label(here & (inner_depth(here, m.grid.spacing) > 8))
    best, volume = np.zeros_like(here), 3.0
    for n in range(1, number + 1):
        part = parts == n
        ml = part.sum() * m.grid.voxel_ml
        high, back = m.z[part].max() > dome - 85, m.y[part].mean() > -75
        if high and back and m.depth[part].min() < 32 and m.hu[part].std() < 30 and ml > volume:
            best, volume = part, ml
    if not best.any():
        return best
    like = here & m.near(best, 11) & (np.abs(m.hu - np.median(m.hu[best])) < 28)
    return m.largest(m.opened(like, 6))


def _bladder(m: Landmarks, soft: np.ndarray) -> np.ndarray:
    """In the lower pelvis: a thick part of water's CT number in the middle."""
    low = m.z < m.z[m.pelvic].min(initial=np.inf) + 110 if m.pelvic.any() else np.zeros_like(soft)
    water = np.abs(ndimage.gaussian_filter(m.hu, 1.2) - 8) < 22
    here = soft & low & water & (np.abs(m.x) < 60) & (m.y < -55)
    core = m.largest(here & (inner_depth(here, m.grid.spacing) > 7), 4)
    bladder = soft & m.near(core, 9)
    return bladder if bladder.sum() * m.grid.voxel_ml < 600 else np.zeros_like(bladder)


def _refined(plain: Anatomy, m: Landmarks, coarse: np.ndarray) -> np.ndarray:
    """Tissue codes on the CT's own grid: the coarse organs, with borders where the CT has its edges."""
    ct, smooth, tissue = plain.ct, plain.smooth, plain.tissue
    names = [0, *(int(n) for n in np.unique(coarse) if n)]
    lung, spine, media = (_fine(m, mask, ct) > 0.5 for mask in (m.near(m.lung, 4), m.spine, m.between_lungs))
    lean = (tissue != CODE["air"]) & (smooth > -30) & (tissue != CODE["skin"])
    markers = np.zeros(tissue.shape, np.int32)
    for number, n in enumerate(names, 1):
        own = coarse == n
        deep = _fine(m, inner_depth(own, m.grid.spacing) - inner_depth(~own, m.grid.spacing), ct)
        markers[lean & (deep > (0 if n == CODE["bowel"] else SURE_MM))] = number
    slope = ndimage.gaussian_gradient_magnitude(smooth.clip(-150, 350), [0.5, 0.8, 0.8])
    which = watershed(slope, markers, mask=lean)
    out = tissue.copy()
    out[(tissue == CODE["blood"]) & (_fine(m, m.depth, ct) < 15)] = CODE["muscle"]  # thin ones of the wall
    out[(tissue == CODE["lung"]) & (~lung | (media & (smooth < -900)))] = CODE["gas"]
    for number, n in enumerate(names[1:], 2):
        out[(which == number) & ~spine] = n
    body = ndimage.gaussian_filter(smooth.clip(-200, 500), [2.5 / s for s in ct.spacing[::-1]])
    vertebra = spine & lean & (smooth < 350)
    out[vertebra & (body > 110)] = CODE["marrow"]
    out[vertebra & (body <= 110) & (_fine(m, m.y, ct) < -8)] = CODE["disc"]
    fat = out == CODE["fat"]
    vessels = _fine(m, m.near(coarse == CODE["blood"], 12), ct) > 0.5
    out[fat & (media | vessels)] = CODE["node_bed"]
    apex = m.z[m.lung].max() if m.lung.any() else np.inf
    high = (((np.abs(m.x) - 70) / 50) ** 2 + ((m.z - apex - 10) / 45) ** 2 < 1) & (m.depth > 3)
    out[fat & (_fine(m, high, ct) > 0.5)] = CODE["brown_fat"]
    return out


def _breathing(m: Landmarks) -> np.ndarray:
    """Share of the diaphragm's motion: organs move, most near the diaphragm, walls and spine do not."""
    dome = np.nanmax([*m.domes, -np.inf])
    if not np.isfinite(dome):
        return np.zeros(m.hu.shape, np.float32)
    reach = np.where(m.z < dome, 90.0, 55.0)
    inside = np.clip((m.depth - 12) / 20, 0, 1) * ~m.spine * np.clip(-(m.y + 5) / 20 + (np.abs(m.x) > 30), 0, 1)
    share = ndimage.gaussian_filter(inside.astype(np.float32), 8 / COARSE_MM)
    return (share * np.exp(-(((m.z - dome) / reach) ** 2))).astype(np.float32)


def _fine(m: Landmarks, coarse: np.ndarray, ct: Volume) -> np.ndarray:
    """Coarse values on the CT's grid."""
    return m.grid.with_array(coarse, "").resample_to(ct, "linear").array
