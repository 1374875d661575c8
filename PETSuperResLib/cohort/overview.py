"""What a batch shows of all its cases: a wide table of lesions, a picture of each case, and an HTML index."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import numpy as np

from ..files import write_text
from ..followup.figures import plane, save, show
from ..followup.references import upright
from ..lesions import tables
from ..lesions.measures import INPUT, MEASURES, ON_GRID
from ..lesions.segments import Segment, union
from ..volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK = "PETSuperRes batch"  # in the first lines of an index
WIDE_COLUMNS = ("patient", "time_point", "case", "date", "scanner", "method", *tables.COLUMNS)
PICTURE_MM = 2.0
TOP_SUV = 5.0  # least upper end of the grey scale
REACH = 2.0  # times the end that the rest of the image needs is the furthest that the scale goes for lesions
PANEL_INCHES, HIGHEST_INCHES = 2.7, 7.0  # width of a plane in a picture, and its greatest height
BARS_MM = (100, 50, 20, 10, 5)


def wide_rows(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the keys of :data:`WIDE_COLUMNS`: one per lesion and time point.

    A case has ``case``, ``patient``, ``date`` as DICOM writes it, which the rows have by ISO 8601, and ``lesions``, the
    rows of its lesions.csv. The time point counts a patient's cases from 1, by date and name; the change is that of SR
    against the PET.
    """
    order: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda one: (one["date"], one["case"])):
        order.setdefault(case["patient"], []).append(case["case"])
    rows = []
    for case in cases:
        head = {name: case[name] for name in ("patient", "case")}
        head["date"] = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", case["date"])
        head["time_point"] = order[case["patient"]].index(case["case"]) + 1
        pets, on_grid = (
            {row["lesion"]: row for row in case["lesions"] if row["method"] == method} for method in (INPUT, ON_GRID)
        )
        for row in case["lesions"]:
            if row["method"] in (INPUT, ON_GRID) or row["lesion"] not in pets:
                continue
            images = {"pet": pets[row["lesion"]], "sr": row}
            images |= {"pet_on_grid": on_grid[row["lesion"]]} if row["lesion"] in on_grid else {}
            rows.append(head | {"scanner": row["setting"], "method": row["method"]} | tables.wide_row(images))
    return rows


def case_picture(name: str, pet: Volume, sr: Volume, path: Path | BinaryIO, segments: Sequence[Segment] = ()) -> None:
    """PET and super-resolved PET (SUVbw) of a case where both are: the coronal maximum, and an axial slice.

    That is the one of the hottest lesion in the PET, without lesions the PET's hottest one. All planes have the
    lesions' outlines, projected where they are of the maximum, the result's extent, the scale in mm that their bars
    show, and one grey scale of SUV. It reaches the lesions' SUVmax, up to :data:`REACH` times what the rest needs.
    """
    from matplotlib.figure import Figure

    result = upright(sr, PICTURE_MM)
    images = {"PET": pet.resample_to(result, "linear"), "super-resolved": result}
    before, mask = images["PET"].array, union(segments, result)
    drawn = mask.array > 0
    seen = np.where(drawn, before, -np.inf) if drawn.any() else before
    hottest = int(np.unravel_index(seen.argmax(), seen.shape)[0])
    top = max(TOP_SUV, *(float(np.percentile(image.array, 99.9)) for image in images.values()))
    of_lesions = max(float(image.array[drawn].max(initial=0.0)) for image in images.values())
    top = max(top, min(of_lesions, REACH * top))
    high, deep, wide = (count * PICTURE_MM for count in result.shape)
    width = min(PANEL_INCHES, HIGHEST_INCHES * wide / max(high, deep))
    figure = Figure(figsize=(4 * width + 1.4, width * max(high, deep) / wide + 0.9), layout="constrained")
    shown, slice_ = figure.subplots(1, 4), "hottest lesion" if drawn.any() else "hottest slice"
    for (title, image), axes in zip(images.items(), np.reshape(shown, (2, 2)), strict=True):
        for axis, view, of, at in zip(axes, ("coronal", "axial"), (_highest, lambda v: v), (0, hottest), strict=True):
            show(axis, plane(of(image), view, at), image, view, cmap="gray_r", vmin=0, vmax=top)
            _outline(axis, plane(of(mask), view, at))
            axis.set_title(f"{title}, {'maximum' if view == 'coronal' else slice_}", fontsize="small")
            _scale_bar(axis, wide)
    figure.colorbar(shown[0].images[0], ax=shown, label="SUV", ticks=[0, top / 2, top], format="%.1f", extend="max")
    figure.suptitle(name, fontsize="medium", parse_math=False)
    save(figure, path)


def _highest(volume: Volume) -> Volume:
    """The maximum from front to back, in every plane."""
    return volume.with_array(np.broadcast_to(volume.array.max(1, keepdims=True), volume.shape))


def _outline(axis: Axes, mask: np.ndarray) -> None:
    """The borders of a mask on a plane of its shape."""
    axis.autoscale(False)
    framed = np.pad(mask, 1)  # closes what the plane cuts
    if framed.any():
        rows, columns = (np.arange(-1, size + 1) for size in mask.shape)
        axis.contour(columns, rows, framed, [0.5], colors="tab:red", linewidths=0.8)


def _scale_bar(axis: Axes, wide_mm: float) -> None:
    """A bar below a plane of so many mm across, with its length: the longest of :data:`BARS_MM` up to a third."""
    length = next((bar for bar in BARS_MM if bar <= wide_mm / 3), BARS_MM[-1])
    end, pixels = axis.get_xlim()[0], length / PICTURE_MM
    edge = axis.get_xaxis_transform()
    axis.plot([end, end + pixels], [-0.03] * 2, "k", lw=2, solid_capstyle="butt", transform=edge, clip_on=False)
    axis.text(end + pixels, -0.03, f" {length} mm", transform=edge, va="center", fontsize="x-small")


def write_index(path: Path, cases: Sequence[Mapping[str, Any]], lesions: Sequence[Mapping[str, Any]]) -> None:
    """An HTML page of all cases, with their pictures and lesions; it opens without a network.

    ``cases`` are rows of cases.csv, ``lesions`` those of :func:`wide_rows`; the pictures lie in the cases' folders
    beside ``path``.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("PETSuperResLib", "Resources"), autoescape=True)
    pictures = {case["case"]: f"{case['case']}/picture.png" for case in cases if case["result"] == "sr.nii.gz"}
    there = {name: quote(picture) for name, picture in pictures.items() if (path.parent / picture).is_file()}
    shown = [
        {**case, "picture": there.get(case["case"], "")}
        | {"lesions": [row for row in lesions if row["case"] == case["case"]]}
        for case in cases
    ]
    template = environment.get_template("batch.html.jinja")
    write_text(path, template.render(mark=MARK, cases=shown, measures=MEASURES))
