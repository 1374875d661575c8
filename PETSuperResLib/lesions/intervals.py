"""Intervals of recovered SUVs, calibrated on painted lesions of known uptake by conformal prediction.

The logarithm of truth over recovered value, divided by a scale, has quantiles that were found on lesions of
their own: an interval is the recovered value times the exponential of scale x quantiles. The scale is what the fit
itself knows of its uncertainty: counts and priors, the FWHM, the mask's border. It makes the intervals of single
lesions narrow or wide, the quantiles make their coverage right (Lei et al., J Am Stat Assoc 2018, 113:1094; normalised
scores: Papadopoulos et al. 2008).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from .measures import Lesion
from .recovery import Recovered

CALIBRATION_FILE = Path(__file__).parents[1] / "Resources" / "lesion_calibration.json"
FORMAT = "PETSuperRes lesion calibration 1"
LEVEL = 0.9  # of the intervals
MEASURES = ("suvmean", "suvpeak", "suvmax", "tlg")
# parts of the scale: of the effect of a FWHM WIDER times as wide, of that of the border moved by one voxel, and what
# nothing else explains, by input; of narrow intervals on the lesions of the calibration
FWHM_PART, BORDER_PART, REST = 2.0, 0.1, {"sinogram": 0.03, "image": 0.1}
OUTSIDE = 1.5  # factor of the scale where a lesion is outside what was calibrated
STRATA_ML = (0.0, 1.0, 10.0, math.inf)


@dataclass(frozen=True)
class Stratum:
    """Quantiles of a class of lesions.

    Parameters
    ----------
    input : ``sinogram`` or ``image``.
    volume_ml : from and to (exclusive).
    lesions, patients : behind the quantiles.
    contrast : least and largest ratio of SUVmean to background among them.
    quantiles : lower and upper one of each measure.
    """

    input: str
    volume_ml: tuple[float, float]
    lesions: int
    patients: int
    contrast: tuple[float, float]
    quantiles: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Intervals:
    """Low and high ends by measure (of :data:`MEASURES`), empty where withheld; ``notes`` say what is not covered."""

    ends: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """The strata of a calibration, the smallest volume in it, its tracer, and how it was made."""

    strata: tuple[Stratum, ...]
    least_ml: float
    tracer: str
    made: Mapping[str, Any]

    def intervals(self, lesion: Recovered, input: str, tracer: str | None = None) -> Intervals:
        """The intervals of a lesion recovered from ``input``; of another ``tracer`` (in lower case) they are wider."""
        stratum = next((s for s in self.strata if s.input == input and _within(lesion.volume_ml, s.volume_ml)), None)
        if stratum is None:
            return Intervals({}, ("No lesion of this size and kind of data was calibrated: no interval.",))
        if lesion.volume_ml < self.least_ml:
            return Intervals({}, (f"Smaller than {self.least_ml:.2g} mL: no interval.",))
        notes = []
        contrast = lesion.suvmean / max(lesion.background, 1e-6)
        if not stratum.contrast[0] <= contrast <= stratum.contrast[1]:
            notes.append(f"Its contrast of {contrast:.1f} to 1 is outside what was calibrated: the interval is wider.")
        if tracer is not None and tracer != self.tracer:
            notes.append(f"Calibrated with {self.tracer.upper()} alone: the interval is wider.")
        width = scale(lesion, input) * OUTSIDE ** len(notes)
        ends = {}
        for name, (low, high) in stratum.quantiles.items():
            value = getattr(lesion, name)
            ends[name] = (value * math.exp(width * low), value * math.exp(width * high))
        return Intervals(ends, tuple(notes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "level": LEVEL,
            **self.made,
            "tracer": self.tracer,
            "least_ml": self.least_ml,
            "strata": [vars(stratum) for stratum in self.strata],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Inverse of :meth:`to_dict`; raises KeyError, TypeError or ValueError for anything else."""
        if values["format"] != FORMAT or values["level"] != LEVEL:
            raise ValueError("another format")
        strata = []
        for one in values["strata"]:
            quantiles = {name: (float(low), float(high)) for name, (low, high) in one["quantiles"].items()}
            ends = {name: (float(one[name][0]), float(one[name][1] or math.inf)) for name in ("volume_ml", "contrast")}
            strata.append(Stratum(**{**one, **ends, "quantiles": quantiles}))
        made = {k: v for k, v in values.items() if k not in ("format", "level", "tracer", "least_ml", "strata")}
        return cls(tuple(strata), float(values["least_ml"]), str(values["tracer"]), made)


def scale(lesion: Recovered, input: str) -> float:
    """Expected size of the logarithm of truth over recovered value: all parts of the uncertainty together."""
    fwhm = FWHM_PART * abs(math.log((lesion.wider or lesion.suvmean) / lesion.suvmean))
    moved = [abs(math.log(value / lesion.suvmean)) for value in (lesion.inward, lesion.outward) if value is not None]
    border = BORDER_PART * max(moved, default=0.0)
    return math.hypot(lesion.error, fwhm, border, REST[input])


def read_calibration(path: str | Path = CALIBRATION_FILE) -> Calibration:
    """A calibration's file; raises :class:`InputError` where it is none."""
    try:
        return Calibration.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a calibration of lesions: make it by 'petsuperres study lesions'.") from error


@cache
def calibration() -> Calibration:
    """The bundled one."""
    return read_calibration()


def with_recovered(lesions: Iterable[Lesion], found: Iterable[Recovered], input: str) -> list[Lesion]:
    """Lesions with the fields of what was recovered of the segments with their labels, from ``input``."""
    by_label = {one.label: one for one in found}
    return [replace(lesion, **_fields(by_label[lesion.label], input)) for lesion in lesions]


def _fields(one: Recovered, input: str) -> dict[str, Any]:
    found = calibration().intervals(one, input)
    values: dict[str, Any] = {f"{name}_recovered": getattr(one, name) for name in MEASURES}
    for name, (low, high) in found.ends.items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    return values | {"interval_note": " ".join(found.notes) or None}


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value < ends[1]
