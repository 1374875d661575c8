"""The NEMA NU 2 image-quality phantom, generated and scanned by simulation: contrast recovery and background noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_csv, write_text
from ...phantoms.shapes import Blob, Canvas
from ...physics.protocols import Protocol, several
from ...physics.simulation import simulate
from ...prior import Prior
from ...progress import Callback, Reporter
from ...volume import Volume
from ..methods import MethodCase, restore
from .nema_report import nema_figure, nema_lines
from .spheres import PLANES_MM, Sphere, disc_means, measure_spheres, sphere_map
from .summary import heading

SPHERES_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
RING_MM = 57.2  # radius of the circle of the spheres' centres
RATIO = 4.0  # of sphere to background activity
WALL_MM, WALL_HU = 1.0, 120.0
LUNG_MM, LUNG_HU = 50.0, -700.0
ROI_CENTRES = ((0, -88), (45, -85), (-45, -85), (85, -70), (-85, -70), (108, -30), (-108, -30), (118, 10), (-118, 10),
               (-95, 55), (95, 55), (50, 85))  # mm, in the background, clear of spheres and border  # fmt: skip
NEMA_METHODS = {
    "sinogram": ("lr", "psf-osem", "ours-draft", "ours-standard"),
    "image": ("interpolated", "ours-draft", "ours-standard"),
}
COLUMNS = (
    *("setting", "counts", "method", "diameter_mm", "contrast_recovery_percent", "background_variability_percent"),
    *("input", "rc_a50", "rc_mean", "rc_max", "rc_peak", "cov_percent"),
)


@dataclass(frozen=True)
class ImageQualityPhantom:
    """PET (background 1 SUV), CT, the spheres' centres (mm, LPS) and their activity over the background's."""

    pet: Volume
    ct: Volume
    centres: tuple[tuple[float, float, float], ...]
    ratio: float = RATIO

    @property
    def spheres(self) -> tuple[Sphere, ...]:
        """The spheres, the smallest first."""
        return tuple(Sphere(d, centre) for d, centre in zip(SPHERES_MM, self.centres, strict=True))


def image_quality_phantom(
    pixel_mm: float = 2.0, slice_mm: float = 3.0, slices: int = 25, ratio: float = RATIO
) -> ImageQualityPhantom:
    """A body-shaped phantom of water with six hot spheres in one plane and a cold lung insert.

    Spheres and the circle they lie on are those of NEMA NU 2 (10 to 37 mm, ``ratio`` 4 there and about 10 for EARL);
    their walls, 1 mm of plastic without activity, are visible in the CT.
    """
    x = np.arange(-160, 160 + pixel_mm / 2, pixel_mm)
    y = np.arange(-120, 120 + pixel_mm / 2, pixel_mm)
    z = slice_mm * (np.arange(slices) - (slices - 1) / 2)
    angles = np.deg2rad(60.0 * np.arange(6) - 90)
    centres = [(RING_MM * float(np.cos(a)), RING_MM * float(np.sin(a)), 0.0) for a in angles]
    body = Blob((0.0, 0.0, 0.0), (148.0, 112.0, 1e4), power=2.6)
    lung = Blob((0.0, 0.0, 0.0), (LUNG_MM / 2, LUNG_MM / 2, 1e4))
    pet, ct = [], []
    for height in z:
        canvas = Canvas(x, y, float(height), pixel_mm)
        everything = (slice(None), slice(None))
        parts = [(body, 1.0, 0.0), (lung, 0.0, LUNG_HU)]
        for centre, diameter in zip(centres, SPHERES_MM, strict=True):
            parts.append((_ball(centre, diameter / 2 + WALL_MM), 0.0, WALL_HU))
            parts.append((_ball(centre, diameter / 2), ratio, 0.0))
        for shape, suv, hu in parts:
            canvas.paint(canvas.cover(canvas.distance(shape, everything)), suv, hu)
        pet.append(canvas.pet)
        ct.append(canvas.ct)
    grid = Volume(np.stack(pet), (pixel_mm, pixel_mm, slice_mm), (float(x[0]), float(y[0]), float(z[0])), unit="SUVbw")
    grain = np.random.default_rng(0).normal(0, 12, grid.shape).astype(np.float32)
    return ImageQualityPhantom(grid, grid.with_array(np.stack(ct) + grain, "HU"), tuple(centres), ratio)


def _ball(centre: tuple[float, float, float], radius: float) -> Blob:
    return Blob(centre, (radius, radius, radius))


def image_quality(volume: Volume, phantom: ImageQualityPhantom) -> list[dict[str, float]]:
    """Recovery and background variability of each sphere, the smallest first (after NEMA NU 2-2018, 7.4, and EARL).

    NEMA: discs of a sphere's diameter, one on the sphere in the central slice, twelve in the background there and in
    the slices about 1 and 2 cm to either side. Contrast recovery is (C_H / C_B - 1) / (ratio - 1) in per cent,
    variability the standard deviation of the sixty background means over their mean. ``rc_a50``, ``rc_mean``,
    ``rc_max`` and ``rc_peak`` are the figures of :func:`.spheres.measure_spheres` over the true activity.
    """
    discs = [(float(x), float(y), z) for z in PLANES_MM for x, y in ROI_CENTRES]
    rows = []
    for found, (x, y, z) in zip(measure_spheres(volume, phantom.spheres, discs), phantom.centres, strict=True):
        level = float(disc_means(volume, discs, found["diameter_mm"]).mean())
        hot = float(disc_means(volume, [(x, y, z)], found["diameter_mm"])[0])
        row = {"contrast_recovery_percent": 100 * (hot / level - 1) / (phantom.ratio - 1)}
        row |= {name: found[name] for name in ("diameter_mm", "background_variability_percent", "cov_percent")}
        rows.append(row | {f"rc_{name}": found[name] / phantom.ratio for name in ("a50", "mean", "max", "peak")})
    return rows


def nema_study(
    out: str | Path,
    methods: Sequence[str],
    settings: Sequence[str] = ("standard", "ood"),
    counts: Sequence[str] = ("realistic", "high"),
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    protocols: Sequence[str | Protocol] = (),
    scanners: Sequence[str] = (),
    input: str = "sinogram",
    ratio: float = RATIO,
    command: str = "",
) -> Path:
    """Scan the phantom and restore it by ``methods``; writes nema.csv, nema.md (EARL's limits) and nema.png.

    ``protocols`` and ``scanners`` (presets) take the place of ``settings``. Returns the path of nema.csv.
    """
    report, loaded = Reporter(progress), Prior.load(prior)
    phantom, out = image_quality_phantom(ratio=ratio), Path(out)
    scans: list[tuple[str, Protocol | None]] = [(one.name, one) for one in several(protocols)]
    scans += [(name, None) for name in dict.fromkeys(scanners)]
    scans = scans or [(name, None) for name in dict.fromkeys(settings)]
    rows: list[dict[str, Any]] = []
    jobs = [(name, protocol, level) for name, protocol in scans for level in dict.fromkeys(counts)]
    for number, (name, protocol, level) in enumerate(jobs):
        setting = "standard" if protocol else name
        simulation = simulate(phantom.pet, phantom.ct, setting, level, seed=seed, device=device, protocol=protocol)
        named: dict[str, Any] = {"setting": name, "counts": level, "input": input}
        # pixels on a sphere's border are not full: the truth itself shows the effect
        rows += [dict(named, method="truth", **row) for row in image_quality(simulation.truth, phantom)]
        case = MethodCase(simulation, phantom.ct, loaded, seed, device, input, sphere_map(phantom.pet, phantom.spheres))
        for n, method in enumerate(methods):
            report(f"{method}, {name}, {level} counts", (number + n / len(methods)) / len(jobs))
            found = image_quality(restore(method, case), phantom)
            rows += [dict(named, method=method, **row) for row in found]
        write_csv(out / "nema.csv", rows, COLUMNS)
    nema_figure(out / "nema.png", rows)
    title = f"NEMA phantom, {ratio:g} to 1"
    write_text(out / "nema.md", "\n".join([*heading(title, command, loaded), *nema_lines(rows)]))
    report("done", 1.0)
    return out / "nema.csv"
