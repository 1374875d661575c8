"""A random person: body wall, bones, lungs and organs with plausible CT numbers and FDG uptake.

Heights z (mm) grow towards the head: pubis 0, iliac crest 190, liver 280 to 430, lungs 400 to 640,
neck 650 to 700, head to 880; thighs below 0. x grows to the patient's left, y to the back (LPS).
CT numbers and SUV ranges are textbook values for adults about an hour after FDG.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import Blob, Canvas, Noise, Shape, Tube, bend, random_waves

_KNOTS = np.array([-420, -60, 0, 90, 190, 280, 400, 500, 580, 640, 672, 720, 760, 810, 860, 885], float)
_WIDTH = np.array([150, 170, 178, 172, 150, 148, 158, 163, 168, 120, 62, 58, 70, 76, 62, 20], float)
_DEPTH = np.array([100, 104, 108, 108, 98, 98, 108, 112, 100, 72, 60, 62, 88, 96, 80, 25], float)


@dataclass(frozen=True)
class Part:
    """One organ: a shape with its uptake, CT number, code, inner wall and border (mm of softness)."""

    shape: Shape
    suv: float
    hu: float
    organ: str = "other"
    clip: bool = False  # keep inside the body cavity
    dome: bool = False  # keep below the diaphragm
    soft: float = 0.0


class Person:
    """A random person determined by ``seed``; its parts and bones are shapes in mm."""

    def __init__(self, seed: int):
        self.rng = rng = np.random.default_rng(seed)
        u = rng.uniform
        self.size = u(0.88, 1.08)
        z = np.arange(-420, 900, 5.0)
        kernel = np.hanning(13) / np.hanning(13).sum()
        smooth = [np.convolve(np.pad(np.interp(z, _KNOTS, v), 6, "edge"), kernel, "valid") for v in (_WIDTH, _DEPTH)]
        self.z_table, self.width, self.depth = z, smooth[0] * self.size, smooth[1] * self.size * u(0.92, 1.08)
        self.fat_mm = float(rng.gamma(3.0, 6.0)) + 4
        self.fat_tilt = u(-0.35, 0.35)
        self.wall_mm = u(11, 18)
        self.power = u(2.1, 2.6)
        self.noise = {mm: Noise(mm, tuple(u(0, 48, 3))) for mm in (5.0, 9.0, 22.0, 60.0)}
        self.level = {
            "fat": u(0.15, 0.4), "muscle": u(0.5, 0.85), "blood": u(1.2, 2.0), "lung": u(0.3, 0.55),
            "liver": u(1.7, 2.8), "spleen": u(1.4, 2.2), "kidney": u(2.2, 4.0), "marrow": u(0.8, 1.8),
            "heart": float(np.exp(u(0, np.log(9)))), "brain": u(5.5, 10), "bladder": u(4, 20),
            "bowel": float(np.exp(u(0, np.log(4)))), "lung_hu": u(-870, -780), "liver_hu": u(45, 70),
            "blood_hu": u(38, 46) if rng.random() < 0.6 else u(110, 180), "bone_hu": u(180, 330),
        }  # fmt: skip
        self.arms = rng.random() < 0.35
        self.couch = rng.random() < 0.6
        self.lordosis = u(6, 16)
        self.dome = {side: (side * u(65, 75) * self.size, u(-5, 15), u(405, 440), u(0.006, 0.010)) for side in (-1, 1)}
        self.legs = [(side * u(82, 95) * self.size, u(-5, 12), u(0.92, 1.08)) for side in (-1, 1)]
        self.seeds = rng.standard_normal((2, 9, 2)) * 26
        self.parts = self._organs()
        self.bones = self._bones()

    # -- outlines ---------------------------------------------------------------------------------
    def outline(self, z: float) -> tuple[float, float]:
        """Half width and half depth of the trunk, neck or head in mm."""
        return float(np.interp(z, self.z_table, self.width)), float(np.interp(z, self.z_table, self.depth))

    def spine(self, z: float) -> float:
        """y of the centre of the vertebral bodies in mm."""
        depth = self.outline(z)[1]
        return 0.42 * depth - self.lordosis * float(np.exp(-(((z - 200) / 90) ** 2)))

    # -- organs -----------------------------------------------------------------------------------
    def _organs(self) -> list[Part]:
        rng, u, f, lv = self.rng, self.rng.uniform, self.size, self.level
        parts: list[Part] = []

        def blob(x, y, z, a, b, c, suv, hu, organ, angle=0.0, power=2.0, wave=0.06, **kw):  # type: ignore[no-untyped-def]
            jitter = rng.normal(0, 3, 3)
            centre = (x * f + jitter[0], y * f + jitter[1], z + jitter[2])
            shape = Blob(centre, (a * f, b * f, c * f), angle, power, random_waves(rng, 4, wave))
            parts.append(Part(shape, suv, hu, organ, **kw))
            return centre

        def tube(points, radius, suv, hu, organ="blood", **kw):  # type: ignore[no-untyped-def]
            curve = bend([(x * f, y * f, z) for x, y, z in points])
            parts.append(Part(Tube(curve, np.broadcast_to(radius, len(curve)).astype(float)), suv, hu, organ, **kw))

        # heart: pericardial fat, right heart, atria, left ventricle as wall and pool
        lv_angle, wall = u(0.5, 0.9), u(9, 13)
        hx, hy, hz = u(22, 34), u(-42, -30), u(452, 468)
        blob(hx - 8, hy + 4, hz, 66, 52, 56, lv["fat"], -90, "node_bed", lv_angle)
        blob(hx - 34, hy + 4, hz + 4, 30, 30, 42, lv["blood"], lv["blood_hu"], "blood")
        blob(hx - 8, hy - 16, hz - 8, 42, 24, 36, lv["blood"], lv["blood_hu"], "blood", lv_angle)
        blob(hx - 6, hy + 42, hz + 18, 34, 20, 26, lv["blood"], lv["blood_hu"], "blood")
        blob(hx + 16, hy + 10, hz - 6, 44, 32, 34, lv["heart"], 55, "heart", lv_angle, wave=0.02)
        blob(hx + 12, hy + 8, hz - 6, 44 - wall, 32 - wall, 34 - wall, lv["blood"], lv["blood_hu"], "blood", lv_angle)
        # great vessels
        blood, bhu = lv["blood"], lv["blood_hu"]
        spine = [(z, self.spine(z) / f) for z in (150, 200, 260, 320, 380, 440, 500, 545)]
        aorta = [(20 if z > 350 else 10, y - (30 if z > 350 else 34), z) for z, y in spine]
        arch = [(20, 18, 568), (8, -8, 578), (-12, -26, 562), (-14, -28, 520), (2, -18, 482)]
        tube([*aorta, *arch], 12.5 * f, blood, bhu)
        for side in (1, -1):
            iliac = [(28, 8, 110), (50, -25, 50), (62, -52, 0), (70, -50, -120), (60, 0, -380)]
            tube([(8, spine[0][1] - 34, 152), *((side * x, y, z) for x, y, z in iliac)], 5.5, blood, bhu)
        cava = [(-14, spine[0][1] - 32, 150), (-16, spine[2][1] - 30, 260), (-20, 5, 380), (-26, -8, 440)]
        tube(cava, 11, blood, bhu)
        tube([(-28, -14, 490), (-28, -14, 560), (-24, -16, 630)], 9, blood, bhu)
        tube([(-45, 8, 512), (-20, -6, 520), (5, -14, 528), (14, -30, 505)], 11, blood, bhu)
        tube([(14, -10, 528), (50, 14, 515)], 10, blood, bhu)
        for side in (-1, 1):
            carotid = [(side * 8, -20, 570), (side * 22, -15, 630), (side * 26, 0, 690), (side * 26, 5, 730)]
            tube(carotid, 4.5, blood, bhu)
            tube([(side * 22, 12, 515), (side * 2, 12, 545)], 6, 0.3, -950, "air")
        tube([(0, 12, 540), (0, 2, 600), (0, -22, 660), (0, -28, 700)], 8.5, 0.3, -980, "air")
        tube([(8, self.spine(z) / f - 30, z) for z in (420, 500, 580, 650)], 6, u(1.2, 2.5), 35, "other")
        if rng.random() < 0.5:
            for side in (-1, 1):
                blob(side * 20, -24, 665, 9, 12, 20, u(1, 3), 95, "other")
        # abdomen
        blob(-62, -8, 350, 98, 84, 88, lv["liver"], lv["liver_hu"], "liver", -0.15, 2.3, clip=True, dome=True)
        blob(-10, -48, 372, 82, 36, 44, lv["liver"], lv["liver_hu"], "liver", 0.1, clip=True, dome=True)
        blob(-38, -58, 305, 17, 22, 26, u(0.4, 1.0), 8, "other", 0.3)
        stomach = blob(62, -34, 362, 46, 42, 52, u(1.2, 3.5), 45, "bowel", 0.4, clip=True, dome=True)
        contents = Blob(stomach, (39 * f, 35 * f, 45 * f), 0.4)
        bubble = Blob((stomach[0], stomach[1] - 20, stomach[2]), (25, 11, 26))
        parts.append(Part(contents, u(0.3, 0.9), u(5, 35), "bowel", clip=True, dome=True))
        parts.append(Part(bubble, 0.3, -900, "air", clip=True, dome=True))
        blob(98, 34, 375, 30, 46, 50, lv["spleen"], 50, "spleen", -0.35, wave=0.1, clip=True, dome=True)
        tube([(-40, -12, 300), (-10, -28, 315), (25, -18, 330), (72, 12, 350)], u(9, 13), u(1.2, 2.0), 38, "other")
        for side in (-1, 1):
            angle = -side * u(0.4, 0.8)
            z, y = u(268, 300) - 12 * (side < 0), self.spine(285) / f + 6
            c = blob(side * 66, y, z, 24, 30, 55, lv["kidney"], 36, "kidney", angle, wave=0.12)
            hilum = (c[0] - side * 10, c[1] - 7, c[2])
            parts.append(Part(Blob(hilum, (12, 17, 34), angle, 2.0, random_waves(rng, 3, 0.3)), 0.7, -60, "kidney"))
            if rng.random() < 0.7:
                pelvis = Blob(hilum, (6, 10, 22), angle, 2.0, random_waves(rng, 3, 0.3))
                parts.append(Part(pelvis, u(5, 25), 8, "kidney"))
                ureter = [(hilum[0] / f, hilum[1] / f, z - 20), (side * 36, self.spine(200) / f - 18, 200)]
                tube([*ureter, (side * 40, 20, 60)], 2.6, u(1, 12), 10, "other")
            blob(side * 44, self.spine(330) / f - 12, 342, 5, 14, 14, u(1.2, 2.5), 15, "other", side * 0.5)
            psoas = [(24, self.spine(290) / f - 4, 290), (44, self.spine(190) / f, 190), (70, 0, 90), (82, -14, 10)]
            girth = np.concatenate([np.linspace(10, 25, 7), np.linspace(24, 12, 6)])
            tube([(side * x, y, z) for x, y, z in psoas], girth, lv["muscle"], 55, "muscle")
        # bowel: a colon frame and loops, with gas and contents
        hot = lv["bowel"]
        right = [(-98, 0, 110), (-104, -4, 200), (-96, -14, 265), (-40, -62, 255), (30, -66, 250)]
        left = [(92, -18, 290), (106, 2, 200), (96, 8, 120), (40, 10, 60), (10, 30, 40)]
        tube([*right, *left], u(15, 22), hot, 35, "bowel", clip=True)
        lumen = [(-98, 0, 115), (-104, -4, 200), (-96, -14, 262), (-40, -64, 256), (30, -68, 250), (92, -20, 288)]
        tube(lumen, u(8, 13), 0.4, u(-900, 20), "air", clip=True)
        for _ in range(int(rng.integers(3, 7))):
            walk = np.cumsum(rng.normal(0, 1, (9, 3)) * [34, 16, 20], 0)
            walk = np.clip(walk - walk.mean(0) + [u(-40, 40), u(-45, -15), u(110, 230)], [-85, -72, 50], [85, 12, 275])
            radius, uptake = u(8, 13), hot * u(0.5, 1.8)
            tube([tuple(p) for p in walk], radius, uptake, 40, "bowel", clip=True)
            gas = -800 if rng.random() < 0.3 else u(5, 40)
            tube([tuple(p) for p in walk], radius - u(2.5, 4.5), uptake * u(0.5, 1.0), gas, "bowel", clip=True)
        # pelvis
        full = u(0.6, 1.25)
        blob(0, -34, 40 + 15 * full, 40 * full, 32 * full, 30 * full, lv["bladder"], 6, "bladder", wave=0.03)
        blob(0, 6, 30, 24, 18, 22, u(1.0, 2.6), 45, "other")
        tube([(0, 40, 5), (3, 45, 40), (-4, 52, 80)], 14, hot * 0.8, 40, "bowel")
        return parts

    def _bones(self) -> list[tuple[Shape, float, str]]:
        """Bones as (shape, cortex thickness in mm, kind): pelvis, femora, shoulders, sternum."""
        rng, f = self.rng, self.size
        bones: list[tuple[Shape, float, str]] = []
        for side in (-1, 1):

            def at(x: float, y: float, z: float, side: int = side) -> tuple[float, float, float]:
                return side * x * f, y * f, z

            ilium = Blob(at(96, 8, 140), (9, 58 * f, 62), -side * 0.55, 2.4, random_waves(rng, 3, 0.35))
            bones.append((ilium, 2.6, "flat"))
            bones.append((Blob(at(58, 48, 118), (12, 36 * f, 48), side * 0.75, 2.4), 2.6, "flat"))
            bones.append((Blob(at(88, 8, 28), (33, 32, 34)), 4.0, "flat"))
            bones.append((Blob(at(62, 44, -18), (17, 15, 44), 0.0, 2.0, random_waves(rng, 3, 0.15)), 3.0, "flat"))
            pubis = bend([at(80, -12, 25), at(45, -40, 18), at(6, -50, 0), at(30, -30, -22), at(56, 22, -48)])
            bones.append((Tube(pubis, np.full(len(pubis), 8.5)), 2.5, "flat"))
            bones.append((Blob(at(92, 6, 24), (26.5, 26, 25)), -2.5, "joint"))
            bones.append((Blob(at(92, 6, 24), (24, 23.5, 23)), 2.5, "flat"))
            shaft = bend([at(96, 6, 18), at(118, 12, -12), at(122, 14, -40), at(112, 6, -120), at(92, 2, -430)])
            width = np.interp(np.linspace(0, 1, len(shaft)), [0, 0.2, 0.35, 0.6, 1], [15, 21, 18, 14.5, 16])
            bones.append((Tube(shaft, width), 5.5, "long"))
            bones.append((Blob(at(140, 8, 610), (24, 22, 24)), 2.5, "flat"))
            bones.append((Blob(at(96, 68, 570), (4.5, 46, 60), -side * 1.15, 2.4), 1.6, "flat"))
            clavicle = bend([at(16, -52, 622), at(70, -42, 632), at(125, -10, 640)])
            bones.append((Tube(clavicle, np.full(len(clavicle), 6.5)), 2.2, "flat"))
        front = self.outline(500)[1]
        bones.append((Blob((0, -front + self.fat_mm * 0.6 + 14, 520), (20, 6, 85), 0.0, 2.6), 1.6, "flat"))
        y = self.spine(100)
        bones.append((Blob((0, y + 18, 112), (44 * f, 20, 58), 0.0, 2.2, random_waves(rng, 3, 0.15)), 2.0, "flat"))
        return bones

    def diaphragm(self, c: Canvas, window: tuple[slice, slice]) -> np.ndarray:
        """Height z of the diaphragm's two domes over a window, mm."""
        x, y = c.x[:, window[1]], c.y[window[0]]
        domes = [top - bow * ((x - cx) ** 2 * 0.9 + (y - cy) ** 2 * 1.3) for cx, cy, top, bow in self.dome.values()]
        return np.maximum(*domes).astype(np.float32)
