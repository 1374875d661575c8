"""A real scan of a phantom with spheres of one activity: what methods make of its image, against the bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ...files import write_csv, write_text
from ...inputs import read_image
from ...prior import Prior
from ...progress import Callback, Reporter
from ...volume import Volume
from ..methods import METHODS, MethodCase, named
from ..plotting import save_figure
from .labels import label
from .spheres import Sphere, background_discs, filled, located, measure_spheres, read_spheres, sphere_map
from .summary import heading, markdown
from .tables import Cell, Table

INPUT = "input"  # the scan on its own voxels
FILLED = "filled"  # on those voxels, the spheres with the scan's activity, sharp and without noise
PHANTOM_METHODS = ("interpolated", "rl", "ours-draft", "ours-standard")
COLUMNS = (
    *("method", "diameter_mm", "mean", "max", "peak", "a50", "background", "background_variability_percent"),
    *("cov_percent", "mean_to_largest_percent", "max_to_largest_percent"),
)
FROM_MM = 13.0  # spheres whose mean is asked to be that of the largest
Row = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """A figure of one method and the most that it may be."""

    words: str
    value: float
    limit: float
    unit: str = "%"

    @property
    def passed(self) -> bool:
        """Whether the limit holds."""
        return self.value <= self.limit

    def text(self) -> str:
        """The figure, and whether it passes."""
        return f"{self.value:.1f} {self.unit}: {'pass' if self.passed else 'fail'}"


def bars(rows: Sequence[Row], before: Sequence[Row]) -> list[Bar]:
    """What is asked of a method's ``rows`` of spheres; ``before`` are those of the scan itself."""
    large = [abs(row["mean_to_largest_percent"]) for row in rows if row["diameter_mm"] >= FROM_MM]
    smallest = min(rows, key=lambda row: row["diameter_mm"])
    noisy = min(before, key=lambda row: row["diameter_mm"])
    left = 100 * smallest["background_variability_percent"] / noisy["background_variability_percent"]
    return [
        Bar(f"means of spheres from {FROM_MM:g} mm off the largest's, at most", max(large), 10.0),
        Bar("highest maximum above the largest's mean", max(row["max_to_largest_percent"] for row in rows), 25.0),
        Bar(f"background variability ({smallest['diameter_mm']:g} mm discs), of the scan's", left, 100 / 3),
    ]


def phantom_study(
    out: str | Path,
    pet: Volume | str | Path,
    ct: Volume | str | Path,
    spheres: str | Path,
    methods: Sequence[str] = (),
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    command: str = "",
    **stated: Any,
) -> Path:
    """Restore a scan (SUVbw or any unit of one scale, CT in HU) by ``methods``; phantom.csv, phantom.md, phantom.png.

    ``spheres`` is a file of :func:`.spheres.read_spheres`; the spheres hold one activity in an even background. They
    are measured where the scan shows them (:func:`.spheres.located`).
    ``stated`` are fields of a request that describe the image: scanner, fwhm, post_filter, psf_modelled, noise.
    Returns the path of phantom.md.
    """
    names, drawn = named(methods or PHANTOM_METHODS), read_spheres(spheres)
    if wrong := [n for n in names if "image" not in METHODS[n].inputs or METHODS[n].fit or n.endswith("-oracle")]:
        raise InputError(f"These methods need a measurement, a truth or training: {', '.join(wrong)}. Leave them out.")
    report, loaded, out = Reporter(progress), Prior.load(prior), Path(out)
    image, anatomy = read_image(pet, "PT"), read_image(ct, "CT")
    places = located(image, drawn)
    discs = background_discs(image, places)
    case = MethodCase.of_image(
        *(image, anatomy, loaded), seed=seed, device=device, lesions=sphere_map(image, places), stated=_given(stated)
    )
    images = {FILLED: filled(image, places), INPUT: image}
    rows = [row for name, each in images.items() for row in sphere_rows(name, each, places, discs)]
    for number, name in enumerate(names):
        report(name, number / len(names))
        images[name] = METHODS[name].restore(case)
        rows += sphere_rows(name, images[name], places, discs)
        write_csv(out / "phantom.csv", rows, COLUMNS)
    lines = heading("Real phantom", command, loaded)
    lines += [
        f"Resolution of the image: {case.resolution.words()}.",
        "",
        moved(drawn, places),
        "",
        *phantom_lines(rows),
    ]
    phantom_figure(out / "phantom.png", images, rows, places)
    report("done", 1.0)
    return write_text(out / "phantom.md", "\n".join(lines))


def _given(stated: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stated.items() if value is not None}


def moved(stated: Sequence[Sphere], found: Sequence[Sphere]) -> str:
    """In words, how far spheres are found from where they are stated."""
    shifts = [np.subtract(b.centre_lps_mm, a.centre_lps_mm) for a, b in zip(stated, found, strict=True)]
    each = [f"{s.diameter_mm:g} mm ({', '.join(f'{n:+.1f}' for n in d)})" for s, d in zip(stated, shifts, strict=True)]
    return f"Spheres are where the scan shows them, (x, y, z) mm from the stated centres: {', '.join(each)}."


def sphere_rows(
    method: str, image: Volume, spheres: Sequence[Sphere], discs: Sequence[tuple[float, float, float]]
) -> list[Row]:
    """Rows of :data:`COLUMNS`, the largest sphere first: mean and maximum also as deviation from the largest's mean."""
    found = measure_spheres(image, spheres, discs)
    largest = found[0]["mean"]
    relative = {name: f"{name}_to_largest_percent" for name in ("mean", "max")}
    return [
        {"method": method} | row | {title: 100 * (row[name] / largest - 1) for name, title in relative.items()}
        for row in found
    ]


def phantom_lines(rows: Sequence[Row]) -> list[str]:
    """The bars of every method, then the spheres by method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_method = {name: [row for row in rows if row["method"] == name] for name in methods}
    asked = {name: bars(by_method[name], by_method[INPUT]) for name in methods}
    titles = tuple(f"{bar.words} (limit {bar.limit:.1f} {bar.unit})" for bar in asked[INPUT])
    table = Table(("Method", *titles), tuple((Cell(n), *(Cell(bar.text()) for bar in asked[n])) for n in methods))
    lines = [*markdown(table), ""]
    diameters = [row["diameter_mm"] for row in by_method[INPUT]]
    for key, title in (("mean", "mean"), ("max", "maximum"), ("peak", "peak (1 mL)")):
        body = []
        for name, mine in by_method.items():
            largest = mine[0]["mean"]
            body.append((Cell(name), *(Cell(f"{row[key]:.2f} ({100 * row[key] / largest:.0f} %)") for row in mine)))
        lines += [f"## Spheres: {title}, and in per cent of the largest sphere's mean", ""]
        lines += [*markdown(Table(("Method", *(f"{d:g} mm" for d in diameters)), tuple(body))), ""]
    body = [
        (
            Cell(name),
            *(Cell(f"{row['background_variability_percent']:.2f}") for row in mine),
            Cell(f"{mine[0]['cov_percent']:.1f}"),
        )
        for name, mine in by_method.items()
    ]
    heads = ("Method", *(f"{d:g} mm" for d in diameters), "COV of voxels %")
    lines += ["## Background variability by diameter of the discs, %", "", *markdown(Table(heads, tuple(body))), ""]
    return lines


def phantom_figure(path: Path, images: Mapping[str, Volume], rows: Sequence[Row], spheres: Sequence[Sphere]) -> Path:
    """Draw the spheres' plane by every method, and below it the profile along the circle through their centres."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    centres = np.array([sphere.centre_lps_mm for sphere in spheres])
    middle, reach = centres.mean(0), np.hypot(*(centres - centres.mean(0))[:, :2].T)
    largest = {row["method"]: row["mean"] for row in rows if row["diameter_mm"] == spheres[0].diameter_mm}
    figure = Figure((2.6 * len(images) + 0.6, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, len(images))
    margin = reach.max() + 40.0
    for column, (name, image) in enumerate(images.items()):
        axis = figure.add_subplot(grid[0, column])
        x, y = (np.arange(-margin, margin, 1.0) + middle[n] for n in (0, 1))
        plane = _sample(image, np.stack(np.broadcast_arrays(x[None, :], y[:, None], middle[2]), -1))
        edges = (x[0], x[-1], y[-1], y[0])
        axis.imshow(plane, extent=edges, cmap="gray_r", vmin=0, vmax=1.4 * largest[name])
        for sphere in spheres:
            axis.add_patch(Circle(sphere.centre_lps_mm[:2], sphere.diameter_mm / 2, fill=False, ec="tab:cyan", lw=0.7))
        axis.set(xticks=[], yticks=[])
        axis.set_title(label(name), fontsize=10)
    axis, angle = figure.add_subplot(grid[1, :]), np.linspace(0, 2 * np.pi, 721)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], -1) * np.median(reach) + middle
    for name, image in images.items():
        axis.plot(np.rad2deg(angle), _sample(image, ring) / largest[name], lw=1.2, label=label(name))
    for sphere in spheres:
        at = np.rad2deg(np.arctan2(*(np.array(sphere.centre_lps_mm) - middle)[1::-1])) % 360
        half = np.rad2deg(sphere.diameter_mm / 2 / np.median(reach))
        axis.axvspan(at - half, at + half, color="0.92", zorder=0)
    axis.axhline(1.0, color="0.5", lw=0.8)
    axis.set(xlim=(0, 360), ylim=(0, None), xlabel="angle about the ring of spheres", ylabel="over the largest's mean")
    axis.legend(fontsize=8, ncols=len(images), loc="upper center")
    figure.suptitle("Research use only", fontsize=9)
    return save_figure(figure, path)


def _sample(image: Volume, points: np.ndarray) -> np.ndarray:
    """Values at LPS points ``(..., 3)``, linearly interpolated."""
    ones = np.ones((*points.shape[:-1], 1))
    ijk = np.concatenate([points, ones], -1) @ np.linalg.inv(image.ijk_to_lps).T
    return np.asarray(ndimage.map_coordinates(image.array, np.moveaxis(ijk[..., 2::-1], -1, 0), order=1))
