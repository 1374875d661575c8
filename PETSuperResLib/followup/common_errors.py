"""Errors that two visits of a lesion have in common, and how much of both intervals is left in that of its change.

Resolution, reconstruction and prior err alike at two scans by one protocol, and cancel in the ratio; a mask that is
drawn larger or smaller at one of them does not. So the interval that those of both visits give
(:func:`~.change.change`) is scaled by one share for every measure, found on painted lesions of known changes: with it
the interval holds nine in ten of them, whichever way the second visit was drawn (`petsuperres study changes
--calibrate`). A share below 1 is for visits that were measured alike (:func:`alike`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError

FILE = Path(__file__).parents[1] / "Resources" / "change_calibration.json"
FORMAT = "PETSuperRes change calibration 1"
FWHM_RATIO, NOISE_RATIO = 1.1, 1.5  # of two visits that were measured alike, at most
SAME = ("measurement", "quality", "prior", "PSF", "penalty")
NEAR = (("FWHM", FWHM_RATIO), ("axial FWHM", FWHM_RATIO), ("noise", NOISE_RATIO))
MEASURES = ("suvmean", "suvpeak", "suvmax", "tlg")
Shares = Mapping[str, float]


@dataclass(frozen=True)
class ChangeCalibration:
    """By input (``sinogram``, ``image``) and measure the share of the combined interval; ``made``: how it was made."""

    shares: Mapping[str, Shares]
    made: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": FORMAT, **self.made, "shares": self.shares}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChangeCalibration:
        """Inverse of :meth:`to_dict`; raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        if values["format"] != FORMAT:
            raise ValueError("another format")
        shares = {kind: {name: float(of[name]) for name in of} for kind, of in values["shares"].items()}
        return cls(shares, {name: value for name, value in values.items() if name not in ("format", "shares")})


def read_calibration(path: str | Path = FILE) -> ChangeCalibration:
    """A calibration's file; raises :class:`InputError` where it is none."""
    try:
        return ChangeCalibration.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not a calibration of changes: make it by 'petsuperres study changes --calibrate'."
        ) from error


@cache
def calibration() -> ChangeCalibration:
    """The bundled one."""
    return read_calibration()


def shares_of(first: Mapping[str, Any], last: Mapping[str, Any]) -> Shares:
    """By measure, the share for two visits with these reports of their reconstructions.

    Where they were not measured alike none is below 1; empty for measurements that were not calibrated.
    """
    kinds = [str(report.get("measurement")) for report in (first, last)]
    known = {kind: calibration().shares.get(kind) for kind in kinds}
    if alike(first, last):
        return known[kinds[0]] or {}
    worst = [of or {} for of in known.values()]
    return {name: max([1.0, *(of[name] for of in worst if name in of)]) for name in MEASURES}


def alike(first: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether two reports tell of one kind of measurement, reconstruction and sampler, resolution and noise."""
    return differing(first, last) == []


def differing(first: Mapping[str, Any], last: Mapping[str, Any]) -> list[str] | None:
    """In what two visits with these reports were not measured alike, in words; None where the reports do not tell."""
    try:
        one, other = _conditions(first), _conditions(last)
    except (KeyError, TypeError, ValueError):
        return None
    if one[0][0] != other[0][0]:
        return ["measurement (image or sinogram)"]
    found = [name for name, a, b in zip(SAME, one[0], other[0], strict=False) if a != b]
    near = zip(NEAR, one[1], other[1], strict=True)
    return found + [name for (name, limit), a, b in near if max(a, b) > limit * min(a, b)]


def _conditions(report: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """What must be the same (:data:`SAME`), and what must be near (:data:`NEAR`)."""
    sampler, prior = report["sampler"]["name"], report["prior"]["sha256"]
    if report["measurement"] == "image":
        of = report["resolution"]
        noise = float(report["noise"]["percent_at_suv_1"])
        return ("image", sampler, prior, of["psf_modelled"], of["penalised"]), (*map(float, of["fwhm_mm"]), noise)
    scanner = report["scanner"]
    fwhm = float(scanner["fwhm_transaxial_mm"]), float(scanner["fwhm_axial_mm"])
    return (report["measurement"], sampler, prior), (*fwhm, float(report["trues_per_slice"]) ** -0.5)
