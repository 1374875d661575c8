"""DICOM image series as volumes, a PET in SUV."""

from __future__ import annotations

from datetime import datetime
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


def suv_volume(
    path: str | Path,
    weight_kg: float | None = None,
    dose_bq: float | None = None,
    injection_time: str | datetime | None = None,
    half_life_s: float | None = None,
    series: str | None = None,
) -> Volume:
    """The SUVbw volume of a DICOM PET series (a folder, or one of its files); ``series`` names one of several.

    A stated ``weight_kg``, ``dose_bq``, ``injection_time`` (``2025-01-31T10:00:00``, a DICOM date-time or a
    time of day) or ``half_life_s`` replaces the header's. The result's unit is ``"SUVbw"`` and
    ``metadata["suv"]`` holds the evidence (:func:`~PETSuperResLib.suv.suvbw.suv_factors`). Raises
    :class:`UnitsError` when SUV cannot be computed and :class:`InputError` or :class:`GeometryError` when the
    series cannot be read.
    """
    overrides = Overrides(weight_kg, dose_bq, injection_time, half_life_s)
    return read_series(path, series, "PT", overrides=overrides)
