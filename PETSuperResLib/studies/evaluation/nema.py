"""The NEMA NU 2 image-quality phantom, generated and scanned by simulation: contrast recovery and background noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_csv
from ...phantoms.shapes import Blob, Canvas
from ...physics.simulation import simulate
from ...prior import Prior
from ...progress import Callback, Reporter
from ...volume import Volume
from ..methods import MethodCase, restore
from ..plotting import save_figure

SPHERES_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
RING_MM = 57.2  # radius of the circle of the spheres' centres
RATIO = 4.0  # of sphere to background activity
WALL_MM, WALL_HU = 1.0, 120.0
LUNG_MM, LUNG_HU = 50.0, -700.0
ROI_CENTRES = ((0, -88), (45, -85), (-45, -85), (85, -70), (-85, -70), (108, -30), (-108, -30), (118, 10), (-118, 10),
               (-95, 55), (95, 55), (50, 85))  # mm, in the background, clear of spheres and border  # fmt: skip
COLUMNS = ("setting", "counts", "method", "diameter_mm", "contrast_recovery_percent", "background_variability_percent")


@dataclass(frozen=True)
class ImageQualityPhantom:
    """PET (background 1 SUV), CT, and the spheres' centres (mm, LPS)."""

    pet: Volume
    ct: Volume
    centres: tuple[tuple[float, float, float], ...]


def image_quality_phantom(pixel_mm: float = 2.0, slice_mm: float = 3.0, slices: int = 25) -> ImageQualityPhantom:
    """A body-shaped phantom of water with six hot spheres in one plane and a cold lung insert.

    Spheres and the circle they lie on are those of NEMA NU 2 (10 to 37 mm, 4:1); their walls, 1 mm of
    plastic without activity, are visible in the CT.
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
            parts.append((_ball(centre, diameter / 2), RATIO, 0.0))
        for shape, suv, hu in parts:
            canvas.paint(canvas.cover(canvas.distance(shape, everything)), suv, hu)
        pet.append(canvas.pet)
        ct.append(canvas.ct)
    grid = Volume(np.stack(pet), (pixel_mm, pixel_mm, slice_mm), (float(x[0]), float(y[0]), float(z[0])), unit="SUVbw")
    grain = np.random.default_rng(0).normal(0, 12, grid.shape).astype(np.float32)
    return ImageQualityPhantom(grid, grid.with_array(np.stack(ct) + grain, "HU"), tuple(centres))


def _ball(centre: tuple[float, float, float], radius: float) -> Blob:
    return Blob(centre, (radius, radius, radius))


def image_quality(volume: Volume, centres: Sequence[tuple[float, float, float]]) -> list[dict[str, float]]:
    """Contrast recovery and background variability per sphere, in per cent (after NEMA NU 2-2018, 7.4).

    Discs of a sphere's diameter: one on the sphere in the central slice, twelve in the background there and
    in the slices about 1 and 2 cm to either side. Recovery is (C_H / C_B - 1) / (ratio - 1), variability
    the standard deviation of the sixty background means over their mean.
    """
    k, j, i = np.indices(volume.shape)
    points = np.stack([i, j, k, np.ones_like(i)], -1) @ volume.ijk_to_lps.T
    x, y = points[0, ..., 0], points[0, ..., 1]
    heights = points[:, 0, 0, 2]
    planes = [int(np.abs(heights - h).argmin()) for h in (-20, -10, 0, 10, 20)]
    middle = volume.array[planes[2]]
    rows = []
    for (cx, cy, _), diameter in zip(centres, SPHERES_MM, strict=True):

        def mean(image: np.ndarray, at: tuple[float, float], mm: float = diameter) -> float:
            return _disc_mean(image, x - at[0], y - at[1], mm, volume.spacing[0])

        hot = mean(middle, (cx, cy))
        background = np.array([mean(volume.array[plane], centre) for plane in planes for centre in ROI_CENTRES])
        level = background.mean()
        row = {"diameter_mm": diameter, "contrast_recovery_percent": 100 * (hot / level - 1) / (RATIO - 1)}
        rows.append(row | {"background_variability_percent": 100 * background.std(ddof=1) / level})
    return rows


def _disc_mean(image: np.ndarray, dx: np.ndarray, dy: np.ndarray, diameter: float, pixel_mm: float) -> float:
    """Mean over a disc, border pixels weighted by the part of them inside."""
    weight = np.clip(0.5 - (np.hypot(dx, dy) - diameter / 2) / pixel_mm, 0, 1)
    return float((weight * image).sum() / weight.sum())


def nema_study(
    out: str | Path,
    methods: Sequence[str],
    settings: Sequence[str] = ("standard", "ood"),
    counts: Sequence[str] = ("realistic", "high"),
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
) -> Path:
    """Scan the phantom at every setting and count level, reconstruct by ``methods``; writes nema.csv and nema.png."""
    report, loaded, phantom = Reporter(progress), Prior.load(prior), image_quality_phantom()
    out = Path(out)
    rows: list[dict[str, Any]] = []
    jobs = [(setting, level) for setting in settings for level in counts]
    for number, (setting, level) in enumerate(jobs):
        simulation = simulate(phantom.pet, phantom.ct, setting, level, seed=seed, device=device)
        named: dict[str, Any] = {"setting": setting, "counts": level}
        # pixels on a sphere's border are not full: the truth itself shows the effect
        rows += [dict(named, method="truth", **row) for row in image_quality(simulation.truth, phantom.centres)]
        for n, method in enumerate(methods):
            report(f"{method}, {setting}, {level} counts", (number + n / len(methods)) / len(jobs))
            volume = restore(method, MethodCase(simulation, phantom.ct, loaded, seed, device))
            found = image_quality(volume, phantom.centres)
            rows += [dict(named, method=method, **row) for row in found]
        write_csv(out / "nema.csv", rows, COLUMNS)
    _plot(out / "nema.png", rows)
    report("done", 1.0)
    return out / "nema.csv"


def _plot(path: Path, rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys((r["setting"], r["counts"]) for r in rows))
    methods = list(dict.fromkeys(r["method"] for r in rows))
    figure = Figure((3.4 * len(groups), 6.4), layout="tight")
    axes = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    measures = (
        ("contrast_recovery_percent", "contrast recovery, %"),
        ("background_variability_percent", "background variability, %"),
    )
    for column, (setting, counts) in enumerate(groups):
        for line, (key, label) in enumerate(measures):
            axis = axes[line, column]
            for method in methods:
                mine = [r for r in rows if (r["setting"], r["counts"], r["method"]) == (setting, counts, method)]
                style: dict[str, Any] = {"lw": 2.2, "zorder": 3} if method.startswith("ours") else {"lw": 1.2}
                style |= {"color": "0.4", "ls": "--"} if method == "truth" else {}
                axis.plot(
                    [r["diameter_mm"] for r in mine], [r[key] for r in mine], marker="o", ms=3, label=method, **style
                )
            axis.grid(alpha=0.25)
            if line == 0:
                axis.set_title(f"{setting}, {counts} counts", fontsize=10)
                axis.axhspan(100, 110, color="0.9", zorder=0)
                axis.axhline(100, color="0.5", lw=0.8)
            else:
                axis.set_xlabel("sphere diameter, mm")
            if column == 0:
                axis.set_ylabel(label)
    axes[0, 0].legend(fontsize=8)
    figure.suptitle("Simulated NEMA image-quality phantom, 4:1. Research use only.", fontsize=9)
    save_figure(figure, path)
