"""The wide table of lesions: one row per lesion, with the PET, the result and what was recovered side by side.

Batch, report and Slicer share its columns. The long table, a row per lesion and image, has those of
:data:`~.measures.COLUMNS`; a measure of an image is called the same in both, with the image in front here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from .measures import INTERVALS, MEASURES, OF_WHOLE, RECOVERED, UNIT, Lesion, percent

LEAST_HELD = 0.9  # of a lesion's volume, which is sampled where a mask is oblique and then a few per cent off
IMAGES = ("pet", "pet_on_grid", "sr")
OF_RESULT = (
    *RECOVERED,
    *INTERVALS,
    "evidence_sigma",
    "without_ct",
    "volume_ml",
    "doubts",
    "threshold",
    "recovered_from",
)
COLUMNS = (
    "lesion",
    *(f"{image}_{measure}" for image in IMAGES for measure in MEASURES),
    *(f"{measure}_change_percent" for measure in MEASURES),
    *OF_RESULT,
    "suv_unit",
)


def sentences(doubts: str | None) -> list[str]:
    """The sentences of a lesion's ``doubts``."""
    return re.split(r"(?<=\.) (?=[A-Z])", doubts) if doubts else []


def wide_row(images: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A row with the keys of :data:`COLUMNS`, for those of :data:`IMAGES` (and others) that a lesion was measured in.

    ``images`` have each a row of the long table, in numbers or text; missing values are None. The change is that of
    the result against the PET, None from 0, and for :data:`~.measures.OF_WHOLE` where the result holds a part only of
    the lesion.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"lesion": images["pet"]["lesion"], "suv_unit": f"SUVbw {UNIT}"}
    for image, values in images.items():
        row |= {f"{image}_{measure}": float(values[measure]) for measure in MEASURES}
    if sr := images.get("sr"):
        whole = _held(images["pet"], sr) >= LEAST_HELD
        for measure in MEASURES:
            if whole or measure not in OF_WHOLE:
                row[f"{measure}_change_percent"] = percent(row[f"sr_{measure}"], row[f"pet_{measure}"])
        row |= {name: sr.get(name) for name in OF_RESULT}
    return row


def _held(pet: Mapping[str, Any], image: Mapping[str, Any]) -> float:
    """The part of a lesion in the PET that another image holds, by rows of the long table; 1 where they do not tell."""
    before, then = (float(row.get("volume_ml") or 0) for row in (pet, image))
    return then / before if before and then else 1.0


def wide_rows(**images: Iterable[Lesion]) -> list[dict[str, Any]]:
    """A row for every lesion that was found in each of the images, by their labels: ``pet=..., sr=...``."""
    found = {image: {lesion.label: lesion for lesion in lesions} for image, lesions in images.items()}
    return [
        wide_row({image: asdict(of[label]) | {"lesion": of[label].name} for image, of in found.items()})
        for label in found["pet"]
        if all(label in of for of in found.values())
    ]
