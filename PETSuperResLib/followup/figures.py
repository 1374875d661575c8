"""The pictures of a follow-up: registered CTs over each other, and the lesions' measures over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..volume import Volume
from .change import ABSENT, FOLLOWED, ends_of, is_real
from .references import AORTA_LONG_MM, AORTA_MM, LIVER_MM, Reference, upright
from .registration import Registration, body_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CT_WINDOW = (-200.0, 300.0)  # HU
PICTURE_MM = 2.0
HOT_SUV = 2.5  # from which the PET covers the CT
SIZES = {"liver": (LIVER_MM, LIVER_MM), "blood": (AORTA_MM, AORTA_LONG_MM)}  # across and along the body
PLOTTED = ("sulpeak", "suvpeak", "suvmax", "mtv_ml", "tlg", "suvpeak_recovered")
LINES = {"pet": "-", "sr": "--"}
DPI = 110


def registration_figure(registrations: Mapping[str, Registration], path: Path) -> None:
    """Each later CT (green) over the first one (magenta), by the visit's name: grey where they agree."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6 * len(registrations)), layout="constrained")
    rows = figure.subplots(len(registrations), 3, squeeze=False)
    for axes, (name, found) in zip(rows, registrations.items(), strict=True):
        k, j, i = _middle(body_of(found.fixed))
        for axis, at, title in zip(axes, (k, j, i), ("axial", "coronal", "sagittal"), strict=True):
            first, later = (_window(plane(ct, title, at)) for ct in (found.fixed, found.seen))
            show(axis, np.stack([first, later, first], -1), found.fixed, title)
            axis.set_title(title)
        axes[0].set_ylabel(f"{name}: bone {100 * found.bone:.0f} %, body {100 * found.body:.0f} % (Dice)")
    figure.suptitle("First CT magenta, later CT green: grey where they agree")
    save(figure, path)


def time_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Measures of every lesion over the visits, and the recovered SUVpeak with its intervals where it is known.

    A star marks a change since the first visit that is larger than its uncertainty: bars are of single values, and may
    overlap where it is.
    """
    from matplotlib.figure import Figure

    known = [m for m in PLOTTED if any(row.get(m) is not None for row in rows)]
    shown = [m for m in known if m != "suvpeak" or "sulpeak" not in known]
    names = dict(sorted({row["visit"]: row["visit_name"] for row in rows}.items()))
    lesions = sorted({row["lesion"] for row in rows})
    figure = Figure(figsize=(3.2 * len(shown) + 2.4, max(4.2, 0.24 * (len(lesions) + 4))), layout="constrained")
    for axis, measure in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for number, lesion in enumerate(lesions):
            for image in LINES:
                found = [r for r in rows if (r["lesion"], r["image"]) == (lesion, image) and r.get(measure) is not None]
                _line(axis, found, measure, image, f"C{number % 10}")
        about = FOLLOWED[measure]
        axis.set_title(f"{about.title}{' recovered' if measure.endswith('_recovered') else ''} ({about.unit})")
        axis.set_xticks(list(names), list(names.values()))
        axis.set_ylim(bottom=0)
        axis.margins(x=0.15)
        axis.grid(axis="y", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=_keys(rows, shown), loc="outside right upper", fontsize="small")
    save(figure, path)


def _line(axis: Axes, rows: Sequence[Mapping[str, Any]], measure: str, image: str, colour: str) -> None:
    """A lesion in one image: a hollow marker where it is not drawn, bars of what has an interval."""
    values = [row[measure] for row in rows]
    how: dict[str, Any] = {"color": colour, "clip_on": False}  # the marker of a value of 0 lies half below the axis
    axis.plot([row["visit"] for row in rows], values, LINES[image], **how)
    for row, value in zip(rows, values, strict=True):
        ends = ends_of(measure, row)
        if ends is not None:
            axis.errorbar(row["visit"], value, [[value - ends[0]], [ends[1] - value]], capsize=3, **how)
        fill = "white" if row["status"] in ABSENT else colour
        axis.plot(row["visit"], value, "o", markerfacecolor=fill, **how)
        if is_real(row, measure):
            axis.annotate("*", (row["visit"], value), (6, 0), textcoords="offset points", color=colour, fontsize=14)


def _keys(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> list[Any]:
    """The entries of the legend: lesions by colour, images by line, and the marks that the plot has."""
    from matplotlib.lines import Line2D

    lesions = dict(sorted({row["lesion"]: row["name"] for row in reversed(rows)}.items()))
    keys = [Line2D([], [], color=f"C{n % 10}", lw=2, label=f"{k} {v}") for n, (k, v) in enumerate(lesions.items())]
    titles, images = {"pet": "PET", "sr": "super-resolved"}, {row["image"] for row in rows}
    keys += [Line2D([], [], color="0.3", ls=LINES[i], label=titles[i]) for i in LINES if i in images]
    marks: list[dict[str, Any]] = []
    if any(row["status"] in ABSENT for row in rows):
        marks.append({"marker": "o", "markerfacecolor": "white", "label": "its place, not drawn"})
    if any(is_real(row, measure) for row in rows for measure in measures):
        marks.append({"marker": "$*$", "label": "changed by more than\nits uncertainty"})
    return [*keys, *(Line2D([], [], color="0.3", ls="", **mark) for mark in marks)]


def plane(volume: Volume, view: str, at: int) -> np.ndarray:
    """A slice of an axial volume as it is looked at: head up, the patient's right on the left, nose up or left."""
    array = volume.array.take(at, axis=("axial", "coronal", "sagittal").index(view))
    rows, columns = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[view]
    cosines = np.diag(np.reshape(volume.direction, (3, 3)))
    array = array[:, ::-1] if cosines[columns] < 0 else array
    return array[::-1] if (cosines[rows] < 0) != (rows == 2) else array


def show(axis: Axes, picture: np.ndarray, volume: Volume, view: str, **how: Any) -> None:
    """A plane with true proportions and without ticks."""
    i, j, k = volume.spacing
    axis.imshow(picture, aspect={"axial": j / i, "coronal": k / i, "sagittal": k / j}[view], **how)
    axis.set_xticks([])
    axis.set_yticks([])


def save(figure: Figure, path: Path | BinaryIO) -> None:
    """Write a figure as PNG, into a file or a stream."""
    figure.savefig(path, dpi=DPI, format="png")


def _window(hu: np.ndarray) -> np.ndarray:
    low, high = CT_WINDOW
    return ((hu - low) / (high - low)).clip(0, 1)


def _middle(mask: Volume) -> tuple[int, int, int]:
    """Indices (k, j, i) of the middle of a mask."""
    k, j, i = (int(np.median(found)) for found in np.nonzero(mask.array))
    return k, j, i


def references_figure(visits: Mapping[str, tuple[Volume, Volume, Mapping[str, Reference]]], path: Path) -> None:
    """The reference regions on each visit's CT, with its PET above: (CT, PET, regions) by the visit's name."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse, Rectangle

    figure = Figure(figsize=(14, 3.6 * len(visits)), layout="constrained")
    for axes, (name, (ct, pet, regions)) in zip(
        figure.subplots(len(visits), 4, squeeze=False), visits.items(), strict=True
    ):
        anatomy = upright(ct, PICTURE_MM, -1000.0)
        uptake = pet.resample_to(anatomy, "linear").array
        for pair, region in zip((axes[:2], axes[2:]), ("liver", "blood"), strict=True):
            if region not in regions:
                for axis in pair:
                    axis.axis("off")
                continue
            centre = [*regions[region].centre, 1.0]
            i, j, k = (np.linalg.inv(anatomy.ijk_to_lps) @ centre)[:3]
            wide, long = (length / PICTURE_MM for length in SIZES[region])
            place = [int(np.clip(round(n), 0, size - 1)) for n, size in zip((k, j), anatomy.shape, strict=False)]
            for axis, view, at in zip(pair, ("axial", "coronal"), place, strict=True):
                show(axis, plane(anatomy, view, at), anatomy, view, cmap="gray", vmin=CT_WINDOW[0], vmax=CT_WINDOW[1])
                hot = plane(anatomy.with_array(uptake, "SUVbw"), view, at)
                show(axis, np.ma.masked_less(hot, HOT_SUV), anatomy, view, cmap="hot", vmin=0, vmax=10, alpha=0.5)
                low = (i - wide / 2, anatomy.shape[0] - 1 - k - long / 2)
                round_ = view == "axial" or region == "liver"
                middle = (i, j) if view == "axial" else (i, anatomy.shape[0] - 1 - k)
                shape = Ellipse(middle, wide, wide) if round_ else Rectangle(low, wide, long)
                shape.set(fill=False, color="cyan", linewidth=1.2)
                axis.add_patch(shape)
                axis.set_title(f"{name}: {region} ({regions[region].source})", fontsize="small")
    save(figure, path)
