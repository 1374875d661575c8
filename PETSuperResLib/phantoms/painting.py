"""Sharp synthetic PET painted into a real CT: uptake by tissue, with texture and lesions, free of noise.

Real PET is no finer than its scanner's resolution. Here the anatomy is a patient's (every border in the CT
is a border of the uptake), and the uptake is drawn at random from the range of FDG in each tissue, at the
voxel size of the grid. The result depends on the seed alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from .acquisition import add_arms, breathe, vary_ct
from .anatomy import Anatomy
from .codes import CODE
from .lesions import Lesion, random_lesion
from .shapes import Canvas, Noise
from .torso import Phantom
from .uptake import paint_organs

# (HU, lowest and highest SUV) of the smooth uptake curve: FDG in air, lung, fat, soft tissue, bone
UPTAKE = ((-950, 0.0, 0.02), (-800, 0.25, 0.7), (-250, 0.2, 0.5), (-90, 0.12, 0.45), (10, 0.5, 1.0),
          (60, 0.6, 1.3), (160, 0.6, 1.8), (400, 0.4, 1.2), (1200, 0.15, 0.7))  # fmt: skip
TORSO_VARIATION = 0.35  # exponent of the variation between compartments where organs have their own
BREATHING_SHARE, ARMS_SHARE = 0.6, 0.25  # of the paintings of torsos
BLEND_MM = 4.0  # standard deviation of the smoothing between compartments of one tissue
# sites of lesions: the kind of lesion, and its frequency
SITES = {"lung": ("lung", 3.0), "fat": ("fat", 1.0), "muscle": ("muscle", 3.0), "marrow": ("bone", 2.0),
         "bone": ("bone", 1.0), "liver": ("liver", 2.0), "node_bed": ("node_bed", 3.0), "bowel": ("other", 0.7),
         "spleen": ("spleen", 0.2), "kidney": ("kidney", 0.2)}  # fmt: skip


def paint(anatomy: Anatomy, seed: int, lesions: int | None = None) -> Phantom:
    """A random FDG distribution in this anatomy: ``pet`` (SUVbw), ``ct``, ``labels`` and ``organs`` (tissues).

    ``lesions`` is the number of drawn lesions (None: 2 to 9, in a torso 4 to 29); the patient's own tumour, if
    contoured, is painted as label 1 beside them. Lesions differ in shape, size (4 to 110 mm), contrast, necrosis,
    border (sharp or infiltrating) and in whether the CT shows them. In a torso (:func:`~.ct_organs.torso_anatomy`)
    organs have their uptake, the PET is mostly moved and blurred by breathing, and the CT may show contrast agent,
    metal or arms.
    """
    rng = np.random.default_rng([seed, 7])
    ct = anatomy.ct
    spacing = np.array(ct.spacing)
    x, y, z = (np.arange(n) * s for n, s in zip(ct.shape[::-1], spacing, strict=True))
    uptake = _tissue_uptake(anatomy, rng)
    scan = np.random.default_rng([seed, 9])
    if anatomy.torso is not None:
        lung = anatomy.tissue == CODE["lung"]  # the CT's noise is no uptake
        uptake = np.where(lung, _blended(uptake, lung, anatomy.ct.spacing), uptake)
        paint_organs(anatomy, uptake, scan)
    textures = [(Noise(scale, tuple(rng.uniform(0, 48, 3))), strength * rng.uniform(0.3, 1.5))
                for scale, strength in ((40.0, 0.12), (14.0, 0.06), (5.0, 0.05))]  # fmt: skip
    labels = np.zeros(ct.shape, np.int16)
    shown = anatomy.smooth.copy()
    for k in range(ct.shape[0]):
        for noise, strength in textures:
            uptake[k] *= np.maximum(1 + strength * noise.slice(x, y, z[k]), 0.1)
    if anatomy.tumour is not None:
        _paint_tumour(anatomy.tumour, uptake, labels, spacing, rng)
    if lesions is None:
        lesions = int(rng.integers(2, 10) if anatomy.torso is None else scan.integers(4, 30))
    drawn = _choose_lesions(anatomy, uptake, rng, lesions)
    first = int(labels.max())
    for k in range(ct.shape[0]):
        canvas = Canvas(x, y, float(z[k]), float(spacing[0]))
        canvas.pet, canvas.ct, canvas.label = uptake[k], shown[k], labels[k]
        outside = anatomy.tissue[k] == CODE["air"]
        for number, lesion in enumerate(drawn, first + 1):
            lesion.draw(canvas, number)
        canvas.pet[outside], canvas.label[outside], canvas.ct[outside] = 0, 0, anatomy.smooth[k][outside]
    seen = (shown + anatomy.grain).astype(np.float32)
    if anatomy.torso is not None:
        if scan.random() < BREATHING_SHARE:
            breathe(anatomy, uptake, labels, scan)
        vary_ct(anatomy, seen, scan)
        if scan.random() < ARMS_SHARE:
            add_arms(anatomy, uptake, seen, scan)
    return Phantom(
        ct.with_array(uptake.astype(np.float32), "SUVbw"),
        ct.with_array(seen, "HU"),
        ct.with_array(labels, "label"),
        ct.with_array(anatomy.tissue.astype(np.int16), "label"),
        tuple(drawn),
    )


def _tissue_uptake(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """SUV by HU curve, by compartment and by tissue, before texture and lesions."""
    nodes = np.array([hu for hu, *_ in UPTAKE], float)
    values = np.array([rng.uniform(low, high) for _, low, high in UPTAKE])
    uptake = np.interp(anatomy.smooth, nodes, values).astype(np.float32)
    levels = {"blood": rng.uniform(1.0, 2.4), "marrow": rng.uniform(0.4, 2.2), "skin": rng.uniform(0.5, 1.1)}
    for name, suv in levels.items():
        uptake[anatomy.tissue == CODE[name]] = suv * rng.uniform(0.9, 1.1)
    count = int(anatomy.compartments.max()) + 1
    factor = np.exp(rng.normal(0, rng.uniform(0.05, 0.3), count))
    active = rng.random(count) < rng.choice([0.0, 0.03, 0.08])  # bowel, glands, ureters, worked muscles
    factor[active] *= np.exp(rng.uniform(np.log(1.5), np.log(7.0), int(active.sum())))
    if anatomy.torso is not None:
        factor **= TORSO_VARIATION
    lean = np.isin(anatomy.tissue, [CODE["muscle"], CODE["blood"], CODE["marrow"]])
    varied = factor.astype(np.float32)[anatomy.compartments]
    # fat has no such uptake; without a border in the CT the uptake has none
    uptake *= _blended(varied, lean, anatomy.ct.spacing) + _blended(np.minimum(varied, 1.3), ~lean, anatomy.ct.spacing)
    uptake[anatomy.tissue == CODE["air"]] = 0
    return uptake


def _blended(values: np.ndarray, tissue: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """``values`` smoothed over a few mm within a tissue alone, 0 elsewhere."""
    sigma = [BLEND_MM / s for s in spacing[::-1]]
    inside = tissue.astype(np.float32)
    weight = ndimage.gaussian_filter(inside, sigma)
    return np.where(tissue, ndimage.gaussian_filter(values * inside, sigma) / np.maximum(weight, 1e-3), 0)


def _paint_tumour(
    cover: np.ndarray, uptake: np.ndarray, labels: np.ndarray, spacing: np.ndarray, rng: np.random.Generator
) -> None:
    """The patient's own tumour: an active rim, perhaps a necrotic middle, uneven uptake."""
    inside = cover > 0.5
    depth = ndimage.distance_transform_edt(inside, spacing[::-1])
    x, y, z = (np.arange(n) * s for n, s in zip(cover.shape[::-1], spacing, strict=True))
    noise = Noise(float(rng.uniform(6, 22)), tuple(rng.uniform(0, 48, 3)))
    field = np.stack([noise.slice(x, y, float(height)) for height in z])
    suv = float(np.clip(np.exp(rng.normal(np.log(5.0), 0.6)), 1.5, 20)) * np.clip(
        1 + rng.uniform(0.1, 0.5) * field, 0.2, 2.2
    )
    if rng.random() < 0.5:
        rim = rng.uniform(4, 15)
        dead = np.clip((depth - rim) / rng.uniform(2, 8), 0, 1) * np.clip(0.8 + field, 0, 1)
        suv = suv * (1 - dead) + rng.uniform(0.4, 1.6) * dead
    uptake += cover * (suv - uptake)
    labels[inside] = 1


def _choose_lesions(anatomy: Anatomy, uptake: np.ndarray, rng: np.random.Generator, count: int) -> list[Lesion]:
    """Random lesions at voxels of the tissues they grow in, clear of one another and of the tumour."""
    spacing = np.array(anatomy.ct.spacing)
    free = np.ones(uptake.shape, bool) if anatomy.tumour is None else anatomy.tumour < 0.01
    places = {name: np.flatnonzero((anatomy.tissue == CODE[name]) & free) for name in SITES}
    names = [name for name, found in places.items() if len(found) > 20]
    if not names:
        return []
    weights = np.array([SITES[name][1] for name in names])
    large = 0.15 if anatomy.torso is None else 0.0
    chosen: list[Lesion] = []
    for _ in range(6 * count):
        if len(chosen) == count:
            break
        name = str(rng.choice(names, p=weights / weights.sum()))
        place = np.unravel_index(int(rng.choice(places[name])), uptake.shape)
        x, y, z = (float(v) for v in np.array(place[::-1]) * spacing + rng.uniform(-1, 1, 3))
        lesion = random_lesion(rng, SITES[name][0], (x, y, z), float(uptake[place]), limb=rng.random() < large)
        if rng.random() < 0.15:  # photopenic or faint: not every lesion is bright
            lesion = replace(lesion, suv=float(uptake[place]) * rng.uniform(0.3, 1.6))
        if all(lesion.gap(old) > 4 for old in chosen):
            chosen.append(lesion)
    return chosen
