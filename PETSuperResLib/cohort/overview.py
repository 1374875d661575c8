"""What a batch shows of all its cases: a wide table of lesions, a picture of each case, and an HTML index."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..files import write_text
from ..followup.figures import plane, save, show
from ..followup.references import upright
from ..lesions import tables
from ..lesions.measures import INPUT, MEASURES, ON_GRID
from ..volume import Volume

MARK = "PETSuperRes batch"  # in the first lines of an index
WIDE_COLUMNS = ("patient", "time_point", "case", "date", "scanner", "method", *tables.COLUMNS)
PICTURE_MM = 2.0
TOP_SUV = 5.0  # least upper end of the grey scale


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


def case_picture(name: str, pet: Volume, sr: Volume, path: Path) -> None:
    """PET and super-resolved PET (SUVbw) of a case in one grey scale: the coronal maximum, and the hottest slice."""
    from matplotlib.figure import Figure

    images = {"PET": upright(pet, PICTURE_MM), "super-resolved": upright(sr, PICTURE_MM)}
    hottest = images["PET"].ijk_to_lps @ [*np.unravel_index(images["PET"].array.argmax(), images["PET"].shape)[::-1], 1]
    top = max(TOP_SUV, float(np.percentile(images["PET"].array, 99.9)))
    figure = Figure(figsize=(12, 4), layout="constrained")
    for (title, image), axes in zip(images.items(), np.reshape(figure.subplots(1, 4), (2, 2)), strict=True):
        k = int(np.clip(round((np.linalg.inv(image.ijk_to_lps) @ hottest)[2]), 0, image.shape[0] - 1))
        highest = image.with_array(np.broadcast_to(image.array.max(1, keepdims=True), image.shape))
        for axis, view, shown, at in zip(axes, ("coronal", "axial"), (highest, image), (0, k), strict=True):
            show(axis, plane(shown, view, at), image, view, cmap="gray_r", vmin=0, vmax=top)
            axis.set_title(f"{title}, {'maximum' if view == 'coronal' else 'hottest slice'}", fontsize="small")
    figure.suptitle(f"{name}: SUV 0 to {top:.1f}", fontsize="medium")
    save(figure, path)


def write_index(path: Path, cases: Sequence[Mapping[str, Any]], lesions: Sequence[Mapping[str, Any]]) -> None:
    """An HTML page of all cases, with their pictures and lesions; it opens without a network.

    ``cases`` are rows of cases.csv, ``lesions`` those of :func:`wide_rows`.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("PETSuperResLib", "Resources"), autoescape=True)
    shown = [
        {**case, "picture": quote(f"{case['case']}/picture.png") if case["result"] == "sr.nii.gz" else ""}
        | {"lesions": [row for row in lesions if row["case"] == case["case"]]}
        for case in cases
    ]
    template = environment.get_template("batch.html.jinja")
    write_text(path, template.render(mark=MARK, cases=shown, measures=MEASURES))
