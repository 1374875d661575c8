"""DICOM image series as volumes."""

from __future__ import annotations

from pathlib import Path

from ..suv.evidence import Overrides
from ..volume import Volume
from .series import series_image


def read_series(
    path: str | Path,
    series: str | None = None,
    modality: str | None = None,
    suv: bool = True,
    overrides: Overrides | None = None,
) -> Volume:
    """Read one DICOM series from a folder (searched through) or from one of its files.

    ``series`` (UID or description) and ``modality`` (``"PT"``, ``"CT"``) choose among several. The unit is ``"HU"``
    for CT and ``"SUVbw"`` for PET; with ``suv=False`` a PET keeps its stored quantity (``"Bq/mL"`` for BQML, else
    DICOM's Units string). ``metadata`` holds scanner, identity (the patient's as a hash), times, dose and,
    under ``"suv"``, the evidence used; ``"notes"`` are to be told. Raises :class:`InputError` (unreadable, ambiguous),
    :class:`GeometryError` (missing, doubled, uneven or tilted slices), :class:`UnitsError` (no SUV).
    """
    return Volume(**series_image(path, series, modality, suv, overrides))
