"""Spheres of a phantom in an image: where they are, their mean, maximum and peak, the background, and EARL's limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares
from scipy.special import ndtr

from ...errors import GeometryError, InputError
from ...grid import crop_to_region
from ...lesions.measures import measure_lesions
from ...lesions.segments import Segment
from ...volume import Volume

MASK_MM = 1.0  # voxels of the spheres' masks
PLANES_MM = (-20.0, -10.0, 0.0, 10.0, 20.0)  # of background discs, from the spheres' plane (NEMA NU 2-2018, 7.4.1)
DISC_MM, DISCS = 37.0, 12  # the largest sphere's, and how many in a plane at most
CLEAR_MM = 15.0  # of background discs from spheres (ibid.)
BORDER_MM = 2.0  # and from the border of the even background, which the smoothing has moved inwards
EVEN = 0.2  # of the background's level: what differs more, after smoothing, is no background
SMOOTH_MM = 5.0  # standard deviation
REACH_MM = 30.0  # of the slab about the spheres' plane
MOVED_MM = 6.0  # farthest along an axis that a sphere is looked for from where it is stated
HALO_MM = 10.0  # of background around a sphere that is looked for
EDGE_MM = (0.2, 2.0, 10.0)  # standard deviation of its blurred edge: least, first guess, greatest
DEPTH_MM = 4.0  # below the surface of the largest sphere, from where its activity is measured
AROUND_MM = (15.0, 25.0)  # of the largest sphere, where the background is measured
PARTS = 5  # of a voxel along each axis, for the part of it that spheres fill
Point = tuple[float, float, float]

#: Diameters in mm, and EARL's limits for 18F at a fill of about 10 to 1: lower and upper recovery of the mean over the
#: background-corrected 50 % contour (A50) and of the maximum. 1: accreditation specifications of January 2017
#: (earl.eanm.org). 2: proposed by Kaalep et al., EJNMMI 2018, 45:1344; figures as in pynemaiqpet (G. Schramm).
EARL_MM = (37.0, 28.0, 22.0, 17.0, 13.0, 10.0)
EARL = {
    (1, "rc_a50"): ((0.76, 0.72, 0.63, 0.57, 0.44, 0.27), (0.89, 0.85, 0.78, 0.73, 0.60, 0.43)),
    (1, "rc_max"): ((0.95, 0.91, 0.83, 0.73, 0.59, 0.34), (1.16, 1.13, 1.09, 1.01, 0.85, 0.57)),
    (2, "rc_a50"): ((0.85, 0.82, 0.80, 0.76, 0.63, 0.39), (1.00, 0.97, 0.99, 0.97, 0.86, 0.61)),
    (2, "rc_max"): ((1.05, 1.01, 1.01, 1.00, 0.85, 0.52), (1.29, 1.26, 1.32, 1.38, 1.22, 0.88)),
}


@dataclass(frozen=True)
class Sphere:
    """Inner diameter in mm and centre in LPS mm."""

    diameter_mm: float
    centre_lps_mm: Point

    def segment(self, label: int) -> Segment:
        """The sphere as a lesion's segment."""
        steps = np.arange(-self.diameter_mm / 2 - MASK_MM, self.diameter_mm / 2 + 2 * MASK_MM, MASK_MM)
        z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
        inside = x**2 + y**2 + z**2 <= (self.diameter_mm / 2) ** 2
        cx, cy, cz = (float(c + steps[0]) for c in self.centre_lps_mm)
        mask = Volume(inside, (MASK_MM,) * 3, (cx, cy, cz), unit="label")
        return Segment(label, f"{self.diameter_mm:g} mm", mask)


def read_spheres(path: str | Path) -> tuple[Sphere, ...]:
    """Spheres of a JSON file, the largest first: a list of objects with ``diameter_mm`` and ``centre_lps_mm``.

    Raises :class:`InputError` naming the file.
    """
    advice = 'give a list of {"diameter_mm": 37, "centre_lps_mm": [x, y, z]}'
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        spheres = [Sphere(float(one["diameter_mm"]), tuple(map(float, one["centre_lps_mm"]))) for one in found]  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe spheres: {advice}.") from error
    if not spheres or any(len(s.centre_lps_mm) != 3 or not 1 <= s.diameter_mm <= 200 for s in spheres):
        raise InputError(f"{path} has no sphere, or one without three coordinates or outside 1 to 200 mm: {advice}.")
    return tuple(sorted(spheres, key=lambda s: -s.diameter_mm))


def sphere_map(grid: Volume, spheres: Sequence[Sphere]) -> Volume:
    """The spheres as labels on a grid, for methods that take regions."""
    positions, labels = _positions(grid), np.zeros(grid.shape, np.float32)
    for n, sphere in enumerate(spheres, 1):
        labels[np.linalg.norm(positions - sphere.centre_lps_mm, axis=-1) <= sphere.diameter_mm / 2] = n
    return grid.with_array(labels, "label")


def located(image: Volume, spheres: Sequence[Sphere]) -> tuple[Sphere, ...]:
    """The spheres where the image shows them, up to :data:`MOVED_MM` along each axis from their stated centres.

    A centre is that of the sphere of stated diameter with the Gaussian edge that fits the image best, by least squares
    over centre, activity, background and the edge's width. A sphere that the fit does not find, or only at the end of
    that reach, stays where it is stated.
    """
    return tuple(replace(sphere, centre_lps_mm=_centre(image, sphere)) for sphere in spheres)


def _centre(image: Volume, sphere: Sphere) -> Point:
    radius, stated = sphere.diameter_mm / 2, np.array(sphere.centre_lps_mm)
    try:
        box = crop_to_region(image, [c for c in sphere.centre_lps_mm for _ in (0, 1)], radius + HALO_MM)
    except GeometryError:  # outside the image
        return sphere.centre_lps_mm
    positions, values = _positions(box) - stated, box.array.astype(np.float64)
    inside = np.linalg.norm(positions, axis=-1) <= radius
    cool, hot = (float(np.median(values[part])) if part.any() else 0.0 for part in (~inside, inside))
    if hot <= cool:
        return sphere.centre_lps_mm
    values = (values - cool) / (hot - cool)

    def misfit(guess: np.ndarray) -> np.ndarray:
        shift, (activity, background, width) = guess[:3], guess[3:]
        depth = radius - np.linalg.norm(positions - shift, axis=-1)
        return (background + (activity - background) * ndtr(depth / width) - values).ravel()

    least, first, most = EDGE_MM
    bounds = [-MOVED_MM] * 3 + [0.0, -1.0, least], [MOVED_MM] * 3 + [10.0, 1.0, most]
    shift = least_squares(misfit, [0.0, 0.0, 0.0, 1.0, 0.0, first], bounds=bounds).x[:3]
    if np.abs(shift).max() > 0.95 * MOVED_MM:
        return sphere.centre_lps_mm
    x, y, z = (float(n) for n in stated + shift)
    return x, y, z


def filled(image: Volume, spheres: Sequence[Sphere]) -> Volume:
    """The phantom as it is filled, on the image's grid: sharp spheres (the largest first) in an even background.

    Activity and background are those of the image: the mean deeper than :data:`DEPTH_MM` in the largest sphere, and the
    median :data:`AROUND_MM` from its surface. A voxel holds the mean of what it covers.
    """

    def largest(wider_mm: float) -> np.ndarray:
        sphere = replace(spheres[0], diameter_mm=spheres[0].diameter_mm + 2 * wider_mm)
        return sphere_map(image, [sphere]).array > 0

    activity, (near, far) = float(image.array[largest(-DEPTH_MM)].mean()), map(largest, AROUND_MM)
    background = float(np.median(image.array[far & ~near]))
    positions, share = _positions(image), np.zeros(image.shape, np.float32)
    steps = (np.arange(PARTS) - (PARTS - 1) / 2) / PARTS  # in voxels
    parts = np.array(list(product(steps, repeat=3))) @ image.ijk_to_lps[:3, :3].T
    for sphere in spheres:
        radius, away = sphere.diameter_mm / 2, positions - sphere.centre_lps_mm
        distance = np.linalg.norm(away, axis=-1)
        edge = np.abs(distance - radius) <= np.linalg.norm(image.spacing) / 2
        share[distance <= radius] = 1
        share[edge] = (np.linalg.norm(away[edge][:, None] + parts, axis=-1) <= radius).mean(1)
    return image.with_array(background + (activity - background) * share)


def background_discs(image: Volume, spheres: Sequence[Sphere]) -> list[Point]:
    """Centres (LPS mm) of discs of :data:`DISC_MM` in the even background about the spheres, in several planes.

    After NEMA NU 2-2018, 7.4.1: up to :data:`DISCS` in each of :data:`PLANES_MM`, apart from one another,
    :data:`CLEAR_MM` from spheres, and :data:`BORDER_MM` within where the background is even. ``image`` is the phantom
    in any unit. Raises :class:`InputError` where no disc fits.
    """
    heights = np.abs(_heights(image) - spheres[0].centre_lps_mm[2])
    slab = np.flatnonzero(heights <= REACH_MM)
    if not len(slab):
        raise InputError("The spheres lie outside the image: give their centres in its LPS coordinates, in mm.")
    image = image.slices(int(slab[0]), int(slab[-1]) + 1)
    positions = _positions(image)
    smooth = ndimage.gaussian_filter(image.array, [SMOOTH_MM / s for s in image.spacing[::-1]])
    away = np.ones(image.shape, bool)
    for sphere in spheres:
        away &= np.linalg.norm(positions - sphere.centre_lps_mm, axis=-1) > sphere.diameter_mm / 2 + CLEAR_MM
    inside = away & (smooth > 0.1 * smooth.max())
    level = float(np.median(smooth[inside])) if inside.any() else 0.0
    even = np.abs(smooth - level) < EVEN * level
    for sphere in spheres:  # their halo is background beside them, not an edge of it
        even |= np.linalg.norm(positions - sphere.centre_lps_mm, axis=-1) <= sphere.diameter_mm / 2 + CLEAR_MM
    found: list[Point] = []
    for height in PLANES_MM:
        k = int(np.abs(_heights(image) - spheres[0].centre_lps_mm[2] - height).argmin())
        fits = (_distance(even[k], image) >= DISC_MM / 2 + BORDER_MM) & (_distance(away[k], image) >= DISC_MM / 2)
        candidates = positions[k][fits]
        chosen: list[np.ndarray] = []
        for point in candidates:
            if len(chosen) < DISCS and all(np.hypot(*(point - other)[:2]) >= DISC_MM for other in chosen):
                chosen.append(point)
        found += [(float(x), float(y), float(z)) for x, y, z in chosen]
    if not found:
        raise InputError("No even background was found about the spheres: check their positions in the image.")
    return found


def _heights(image: Volume) -> np.ndarray:
    """LPS z in mm of the slices' centres, on the image's axis."""
    return image.origin[2] + image.ijk_to_lps[2, 2] * np.arange(image.shape[0])


def _positions(image: Volume) -> np.ndarray:
    """``(K, J, I, 3)`` LPS mm of the voxels' centres."""
    k, j, i = np.indices(image.shape)
    return (np.stack([i, j, k, np.ones_like(i)], -1) @ image.ijk_to_lps.T)[..., :3]


def _distance(mask: np.ndarray, image: Volume) -> np.ndarray:
    """mm in the slice to the nearest pixel that is not in the mask; the image's border is none."""
    padded = np.pad(mask, 1)
    return np.asarray(ndimage.distance_transform_edt(padded, (image.spacing[1], image.spacing[0])))[1:-1, 1:-1]


def disc_means(image: Volume, centres: Sequence[Point], diameter_mm: float) -> np.ndarray:
    """Means over discs in the slice nearest to each centre; pixels at the border count with their part inside."""
    found = []
    for values, distance in _about(image, centres):
        weight = np.clip(0.5 - (distance - diameter_mm / 2) / image.spacing[0], 0, 1)
        found.append(float((weight * values).sum() / weight.sum()))
    return np.array(found)


def _about(image: Volume, centres: Sequence[Point]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The slice nearest to each centre, and its pixels' distances from it in mm."""
    plane = _positions(image.slices(0, 1))[0]
    for x, y, z in centres:
        k = int(np.abs(_heights(image) - z).argmin())
        yield image.array[k], np.hypot(plane[..., 0] - x, plane[..., 1] - y)


def measure_spheres(image: Volume, spheres: Sequence[Sphere], discs: Sequence[Point]) -> list[dict[str, float]]:
    """A row for each sphere, in the image's unit: ``mean``, ``max`` and ``peak`` (1 mL) as of a lesion, and ``a50``.

    ``a50`` is the mean above half of the maximum, both corrected for the background, within twice the sphere's radius.
    ``background`` is the mean over all discs, ``background_variability_percent`` the standard deviation of the means of
    discs of this diameter over it, ``cov_percent`` that of single voxels.
    """
    level = float(disc_means(image, discs, DISC_MM).mean())
    voxels = np.concatenate([values[distance <= DISC_MM / 2] for values, distance in _about(image, discs)])
    rows = []
    found = measure_lesions(image, [sphere.segment(n) for n, sphere in enumerate(spheres, 1)])
    for sphere, lesion in zip(spheres, found, strict=True):
        reach = sphere.diameter_mm  # twice the radius
        box = crop_to_region(image, [c + side * reach for c in sphere.centre_lps_mm for side in (-1, 1)], 0.0)
        values = box.array[np.linalg.norm(_positions(box) - sphere.centre_lps_mm, axis=-1) <= reach]
        contour = values[values >= level + 0.5 * (lesion.suvmax - level)]
        means = disc_means(image, discs, sphere.diameter_mm)
        rows.append(
            {
                "diameter_mm": sphere.diameter_mm,
                "mean": lesion.suvmean,
                "max": lesion.suvmax,
                "peak": lesion.suvpeak,
                "a50": float(contour.mean()) if len(contour) else float("nan"),
                "background": level,
                "background_variability_percent": 100 * float(means.std(ddof=1)) / level,
                "cov_percent": 100 * float(voxels.std()) / level,
            }
        )
    return rows
