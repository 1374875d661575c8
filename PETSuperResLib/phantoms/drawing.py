"""One axial slice of the generated person: body wall, ribs, lungs, organs, spine, bones, head, legs and couch."""

from __future__ import annotations

import numpy as np

from .codes import CODE
from .organs import Person
from .shapes import Blob, Canvas

FAT, MUSCLE, LUNG, NODE_BED, BONE, BRAIN, OTHER = (
    CODE[name] for name in ("fat", "muscle", "lung", "node_bed", "bone", "brain", "other")
)


def draw(person: Person, c: Canvas) -> None:
    """Paint one axial slice: wall, cavity, organs, skeleton (no lesions, no noise)."""
    z = c.z
    cavity = None
    if z < -25:
        draw_legs(person, c)
    else:
        cavity = draw_trunk(person, c)
    for part in person.parts:
        window = c.window(part.shape)
        if window is None:
            continue
        d = c.distance(part.shape, window)
        if part.clip and cavity is not None:
            d = np.maximum(d, cavity[window] + 1)
        if part.dome:
            d = np.maximum(d, z + 5 - person.diaphragm(c, window))
        c.paint(c.cover(d, part.soft), part.suv, part.hu, CODE[part.organ], window)
    if cavity is not None:
        draw_spine(person, c)
    _skeleton(person, c)
    if z > 690:
        draw_head(person, c)
    if person.couch:
        draw_couch(person, c)


def _skeleton(person: Person, c: Canvas) -> None:
    marrow_suv, spongy = person.level["marrow"], person.level["bone_hu"]
    for shape, cortex, kind in person.bones:
        window = c.window(shape)
        if window is None:
            continue
        d = c.distance(shape, window)
        if kind == "joint":  # the thin dark line of the hip joint
            c.paint(c.cover(d), 0.6, 60, CODE["other"], window)
            continue
        c.paint(c.cover(d), 0.6, 900 if kind == "long" else 620, CODE["bone"], window)
        suv, hu = (0.35, -40) if kind == "long" and c.z < -30 else (marrow_suv, spongy)
        c.paint(c.cover(d + cortex), suv, hu, 0, window)


def _outline(c: Canvas, cx: float, cy: float, a: float, b: float, power: float) -> np.ndarray:
    """Signed distance in mm to a superellipse in the slice."""
    u, v = np.abs(c.x - np.float32(cx)) / np.float32(a), np.abs(c.y - np.float32(cy)) / np.float32(b)
    p = np.float32(power)
    up, vp = u ** (p - 1), v ** (p - 1)
    total = up * u + vp * v + np.float32(1e-6)
    level = total ** (1 / p)
    slope = level / total * np.sqrt((up / a) ** 2 + (vp / b) ** 2) + np.float32(1e-5)
    return ((level - 1) / slope).astype(np.float32)


def _muscle(person: Person, c: Canvas, streaks: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(SUV, HU) of muscle with fatty streaks over the whole slice."""
    thin = np.clip(1.0 - np.abs(c.field(person.noise[22.0])) * 9, 0, 1) * streaks
    tone = c.field(person.noise[60.0])
    suv = person.level["muscle"] * (1 + 0.12 * tone) * (1 - 0.45 * thin)
    return suv, 57 + 3 * tone - 130 * thin


def draw_trunk(person: Person, c: Canvas) -> np.ndarray:
    """Skin, fat, muscle wall, ribs, cavity and lungs; returns the cavity's signed distance in mm."""
    z = c.z
    a, b = person.outline(z)
    thick = person.fat_mm * (1.0 if z < 560 else max(0.25, 1 - (z - 560) / 110))
    fat = thick * np.clip(1 - person.fat_tilt * c.y / b + 0.25 * (np.abs(c.x) / a - 0.5), 0.3, 1.8)
    skin = _outline(c, 0, 0, a + person.fat_mm * 0.6, b + person.fat_mm * 0.6, person.power)
    c.paint(c.cover(skin), 0.45, 10, OTHER)
    c.paint(c.cover(skin + 2), person.level["fat"], -104, FAT)
    muscle_suv, muscle_hu = _muscle(person, c, 0.8)
    wall = skin + fat
    c.paint(c.cover(wall), muscle_suv, muscle_hu, MUSCLE)
    if 180 < z < 660:  # seam between the muscle layers
        c.paint(0.6 * c.cover(np.abs(wall + person.wall_mm * 0.55) - 0.8), person.level["fat"], -70)
    back = np.clip(c.y / b, 0, 1) ** 2 * 26  # thicker muscle behind
    hips = 40 * np.clip((120 - z) / 100, 0, 1.3) * (0.6 + np.clip(np.abs(c.x) / a + 0.5 * c.y / b, 0, 1))
    neck = 40 * np.clip((z - 610) / 50, 0, 1)
    cavity = wall + person.wall_mm + back + hips + neck
    if 10 < z < 660:
        thorax = np.clip((person.diaphragm(c, (slice(None), slice(None))) - z) / 8 + 0.5, 0, 1) if z < 450 else 0.0
        suv = person.level["fat"] + 0.15 + 0.25 * (1 - thorax)
        c.paint(c.cover(cavity), suv, -95, NODE_BED)
    if 390 < z < 660:
        _lungs(person, c, cavity)
    if 300 < z < 610:
        _ribs(person, c, cavity)
    if person.arms and 150 < z < 620:
        for side in (-1, 1):
            _arm(person, c, side * (a + person.fat_mm * 0.6 + 52), 10)
    return cavity


def _arm(person: Person, c: Canvas, x: float, y: float) -> None:
    d = _outline(c, x, y, 42, 46, 2.0)
    suv, hu = _muscle(person, c)
    c.paint(c.cover(d), person.level["fat"], -100, FAT)
    c.paint(c.cover(d + 8), suv, hu, MUSCLE)
    bone = _outline(c, x, y + 4, 12, 12, 2.0)
    c.paint(c.cover(bone), 0.5, 950, BONE)
    c.paint(c.cover(bone + 4), 0.4, 60)


def _lungs(person: Person, c: Canvas, cavity: np.ndarray) -> None:
    z, f, level = c.z, person.size, person.level
    apex = 640 - 0.010 * ((np.abs(c.x) - 55 * f) ** 2 + (c.y - 12) ** 2)
    below = person.diaphragm(c, (slice(None), slice(None)))
    middle = Blob((16 * f, -22 * f, 478), (52 * f, 66 * f, 82), 0.5, 2.2)
    column = _outline(c, 4, 6, (24 + 6 * np.exp(-(((z - 520) / 45) ** 2))) * f, 92 * f, 2.4)
    d = np.maximum(cavity + 3, np.maximum(below - z, z - apex))
    d = np.maximum(d, -np.minimum(column, middle.distance(c.x, c.y, z)))
    cover = c.cover(d)
    if not cover.any():
        return
    fine, mid = c.field(person.noise[5.0]), c.field(person.noise[9.0])
    slope = c.y / 100  # gravity: denser behind
    hilum = np.exp(-(((np.abs(c.x) - 45) / 38) ** 2) - ((c.y - 5) / 45) ** 2 - ((z - 505) / 70) ** 2)
    vessel = np.clip((fine * 0.6 + mid * 0.7 - 1.55 + 1.0 * hilum) * 1.6, 0, 1)
    hu = level["lung_hu"] + 45 * slope + 18 * mid + vessel * (820 * (0.35 + 0.65 * hilum))
    suv = level["lung"] * (1 + 0.25 * slope + 0.08 * mid) + vessel * 0.7
    c.paint(cover, suv, hu, LUNG)


def _ribs(person: Person, c: Canvas, cavity: np.ndarray) -> None:
    """All ribs at once: a shell round the cavity cut by tilted, evenly spaced slabs."""
    b = person.outline(c.z)[1]
    height = c.z - 300 + 0.55 * (c.y + b)
    gap = np.abs((height / 26.0) % 1.0 - 0.5) * 26.0 - 6.5
    d = np.maximum(np.abs(cavity - 3.5) - 4.0, gap)
    front = np.maximum(-(c.y + 0.72 * b), -(np.abs(c.x) - 16))  # cartilage in front, none at the sternum
    d = np.maximum(d, 12 - np.abs(c.x))
    cartilage = c.cover(-np.minimum(front, 6.0))
    c.paint(c.cover(d), 0.7, 520 * (1 - cartilage) + 120 * cartilage, BONE)
    c.paint(c.cover(d + 2.2) * (1 - cartilage), 0.8 * person.level["marrow"], 180)


def draw_spine(person: Person, c: Canvas) -> None:
    """Vertebral bodies with discs, the canal with the cord, processes and the muscles beside them."""
    z, level = c.z, person.level
    if not 60 < z < 740:
        return
    y = person.spine(z) if z < 690 else person.spine(690)
    scale = float(np.interp(z, [60, 200, 450, 640, 740], [1.1, 1.15, 0.85, 0.62, 0.5])) * person.size
    pitch = 34 * scale
    phase = abs((z / pitch) % 1.0 - 0.5) * pitch  # distance in mm from the middle of the disc
    if z > 120:
        for side in (-1, 1):
            suv, hu = _muscle(person, c)
            d = _outline(c, side * 30 * scale, y + 48 * scale, 28 * scale, 22 * scale, 2.4)
            c.paint(c.cover(d), suv, hu, MUSCLE)
    body = _outline(c, 0, y, 25 * scale, 18 * scale, 2.4)
    disc = float(np.clip(0.5 - (phase - 3.5) / float(c.edge), 0, 1))
    plate = float(np.clip(0.5 - (phase - 5.5) / float(c.edge), 0, 1)) - disc
    mottle = c.field(person.noise[5.0])
    c.paint(c.cover(body), 0.8, 560, BONE)
    inner = (level["bone_hu"] + 35 * mottle) * (1 - plate) + 520 * plate
    c.paint(c.cover(body + 2.2), level["marrow"] * (1 + 0.08 * mottle), inner)
    if disc > 0:
        c.paint(disc * c.cover(body - 1), 0.55, 85, OTHER if disc > 0.5 else 0)
    arch = _outline(c, 0, y + 28 * scale, 19 * scale, 15 * scale, 2.2)
    ring = np.maximum(arch, -(y + 16 * scale - c.y))
    c.paint(c.cover(ring) * (1 - 0.5 * disc), level["marrow"] * 0.8, 430, BONE)
    if phase > 7:
        spinous = _outline(c, 0, y + 54 * scale, 3.5, 18 * scale, 2.6)
        c.paint(c.cover(spinous), level["marrow"] * 0.8, 430, BONE)
        wings = np.abs(c.y - (y + 26 * scale) - 0.12 * np.abs(c.x)) - 4.0
        c.paint(c.cover(np.maximum(wings, np.abs(c.x) - 40 * scale)) * (disc == 0), level["marrow"] * 0.8, 380, BONE)
    canal = _outline(c, 0, y + 28 * scale, 11.5 * scale, 8.5 * scale, 2.0)
    c.paint(c.cover(canal), 0.5, 15, OTHER)
    c.paint(c.cover(canal + 3.5), 1.6, 40)


def draw_legs(person: Person, c: Canvas) -> None:
    """Two thighs: skin, fat, muscle compartments parted by fat (bones and vessels come later)."""
    z, level = c.z, person.level
    taper = float(np.interp(z, [-420, -120, 40], [0.68, 0.95, 1.10])) * person.size
    for (x, y, girth), seeds in zip(person.legs, person.seeds, strict=True):
        x = x * float(np.interp(z, [-420, 0], [0.82, 1.02]))
        radius = 84 * taper * girth + person.fat_mm * 0.5
        d = _outline(c, x, y, radius, radius * 1.04, 2.1)
        c.paint(c.cover(d), 0.45, 10, OTHER)
        c.paint(c.cover(d + 2), level["fat"], -104, FAT)
        fat = person.fat_mm * 0.7 * (1 - 0.2 * np.clip((c.y - y) / radius, -1, 1))
        suv, hu = _muscle(person, c, 0.7)
        centres = np.concatenate([seeds * taper, [[0.0, 0.0]]]) + [x, y]
        shift = 0.06 * z * np.cos(np.arange(len(centres)))
        gaps = np.stack([np.hypot(c.x - cx - s, c.y - cy) for (cx, cy), s in zip(centres, shift, strict=True)])
        near = np.argmin(gaps, 0)
        gaps.partition(1, axis=0)
        tone = 1 + 0.10 * np.sin(2.3 * near + 10 * girth)
        seam = np.clip(0.5 - (gaps[1] - gaps[0] - 3.0) / (2 * c.edge), 0, 1)
        suv = (suv * tone) * (1 - seam) + level["fat"] * seam
        c.paint(c.cover(d + 2 + fat), suv, hu * (1 - seam) - 90 * seam, MUSCLE)


def draw_head(person: Person, c: Canvas) -> None:
    """Skull, cortex with sulci, white matter, deep grey matter; sinuses below."""
    z, level = c.z, person.level
    a, b = person.outline(z)
    skull = _outline(c, 0, 0, a - 5, b - 6, 2.2)
    if z > 765:
        c.paint(c.cover(skull), 0.8, 950, BONE)
        brain = skull + 7
        folds = c.field(person.noise[9.0]) * 0.9 + c.field(person.noise[22.0]) * 0.6
        depth = np.clip((11 + 5 * folds + brain) / 4 + 0.5, 0, 1)  # 1 in cortex, 0 in white matter
        sulcus = np.clip(np.abs(folds) * 3 - 0.1, 0, 1)
        deep = np.hypot((np.abs(c.x) - 18) / 12, c.y / 22) - 1
        grey = np.maximum(depth * (0.55 + 0.45 * sulcus), c.cover(deep * 12) * (780 < z < 825))
        c.paint(c.cover(brain), level["brain"] * (0.38 + 0.62 * grey), 28 + 10 * grey, BRAIN)
        c.paint(c.cover(np.abs(c.x) - 1.5) * c.cover(brain), 2.0, 12)
        return
    jaw = np.abs(_outline(c, 0, -10, a * 0.72, b * 0.78, 2.2) + 5) - 5
    c.paint(c.cover(np.maximum(jaw, c.y - 25)), 0.8, 700, BONE)
    for side in (-1, 1):
        c.paint(c.cover(_outline(c, side * 17, -8, 8, 10, 2.0)), 2.8, 55, OTHER)
    c.paint(c.cover(_outline(c, 0, -22, 8, 16, 2.0)), 0.3, -950)


def draw_couch(person: Person, c: Canvas) -> None:
    """The couch: a curved shell under the patient, in the CT only."""
    a, b = person.outline(250.0)
    height = c.y - (b + person.fat_mm * 0.6 + 10) + c.x**2 / 900
    d = np.maximum(np.maximum(-height, height - 22), np.abs(c.x) - 205)
    air = c.organ == 0
    c.paint(c.cover(d) * air, None, -880)
    c.paint(c.cover(np.abs(d + 1) - 1) * air, None, -250)
