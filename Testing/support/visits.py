"""Two visits of a phantom: known changes of its lesions, and a second visit that is turned, shifted and deformed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from geometry import radius
from scipy import ndimage

from PETSuperResLib.followup.visit import Visit
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.volume import Volume

#: true uptake over the background at the second visit relative to the first; 0 vanished, inf new
CHANGES = (0.7, 1.0, 1.15, 0.0, np.inf)


@dataclass(frozen=True)
class Pair:
    """Two visits; ``partner``: by label of the first visit the label of the second. ``sharp``: PETs without blur."""

    first: Visit
    second: Visit
    partner: dict[int, int]
    to_first: sitk.Transform  # points of the second visit to those of the first


def two_visits(seed: int, mm: float = 5.0, moved: bool = True, blur_mm: float = 6.0, noise: float = 0.0) -> Pair:
    """Five balls of 8 to 14 mm radius in a torso, changed by :data:`CHANGES`, their contours exact in both visits."""
    size = (int(300 / mm), int(260 / mm), int(400 / mm))
    phantom, random = torso_phantom(seed, size, (mm,) * 3, 0), np.random.default_rng([seed, 3])
    soft = ndimage.distance_transform_edt(phantom.ct.array > -200) * mm > 18
    centres: list[np.ndarray] = []
    for place in random.permutation(np.argwhere(soft)):
        point = (phantom.ct.ijk_to_lps @ [*place[::-1], 1.0])[:3]
        if abs(point[2]) < 90 and all(np.linalg.norm(point - other) > 45 for other in centres):
            centres.append(point)
        if len(centres) == len(CHANGES):
            break
    radii, peaks = random.uniform(8, 14, len(centres)), random.uniform(6, 12, len(centres))
    motion = _motion(phantom.ct, random) if moved else sitk.Transform(3, sitk.sitkIdentity)
    visits = []
    for number in range(2):
        pet, labels = phantom.pet.array.copy(), np.zeros(size, np.float32)
        for n, (centre, r, suv, change) in enumerate(zip(centres, radii, peaks, CHANGES, strict=True)):
            factor = (0.0 if np.isinf(change) else 1.0) if number == 0 else 1.0 if np.isinf(change) else change
            if factor:
                inside = radius(phantom.pet, tuple(centre)) <= r
                pet[inside], labels[inside] = factor * suv, len(CHANGES) - n if number else n + 1  # other labels
        images = [phantom.pet.with_array(pet), phantom.ct, phantom.ct.with_array(labels, "label")]
        if number and moved:
            images = [_through(image, motion) for image in images]
        sigma = blur_mm / 2.355 / mm
        blurred = ndimage.gaussian_filter(images[0].array, sigma)
        grain = ndimage.gaussian_filter(random.standard_normal(blurred.shape), sigma)
        blurred += noise * grain / grain.std() * np.sqrt(blurred.clip(0) * 2)
        seen = images[0].with_array(blurred, "SUVbw")
        visits.append(Visit(f"visit {number + 1}", {"pet": seen}, tuple(segments_of(images[2])), images[1]))
    partner = {n + 1: len(CHANGES) - n for n, change in enumerate(CHANGES) if 0 < change < np.inf}
    return Pair(*visits, partner, motion)


def _motion(ct: Volume, random: np.random.Generator) -> sitk.Transform:
    """A turn by up to 3 degrees, a shift by 40 mm and a deformation by about 5 mm."""
    image = ct.to_sitk()
    spline = sitk.BSplineTransformInitializer(image, [4, 4, 4])
    spline.SetParameters(random.normal(0, 7, len(spline.GetParameters())).tolist())
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.radians(random.uniform(-3, 3, 3)).tolist())
    turn.SetTranslation([*random.uniform(-10, 10, 2), 40.0])
    return sitk.CompositeTransform([turn, spline])


def _through(volume: Volume, transform: sitk.Transform) -> Volume:
    how = sitk.sitkNearestNeighbor if volume.unit == "label" else sitk.sitkLinear
    outside = -1000.0 if volume.unit == "HU" else 0.0
    image = volume.to_sitk()
    return Volume.from_sitk(sitk.Resample(image, image, transform, how, outside), volume.unit)
