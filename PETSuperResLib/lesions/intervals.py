"""Recovered SUVs and their intervals, calibrated on painted lesions of known uptake by conformal prediction.

The logarithm of truth over fitted value has a median, the centre, that was found on lesions of their own: a recovered
value is the fitted one times its exponential. What is left of the logarithm, divided by a scale, has quantiles: an
interval is the recovered value times the exponential of scale x quantiles. The scale is what the fit itself knows of
its uncertainty: counts, priors and the border's place on either side, and the FWHM. It makes the intervals of single
lesions narrow or wide, the quantiles make their coverage right (Lei et al., J Am Stat Assoc 2018, 113:1094; normalised
scores: Papadopoulos et al. 2008). They are of measurements whose scanner, PSF and filter are known; where one of these
is a guess, the interval is as much wider as the same lesions ask for when their headers do not say it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..physics.amplitudes import Data
from .measures import MEASURES as SHOWN
from .measures import Lesion
from .recovery import Recovered

CALIBRATION_FILE = Path(__file__).parents[1] / "Resources" / "lesion_calibration.json"
FORMAT = "PETSuperRes lesion calibration 4"
LEVEL = 0.9  # of the intervals
MEASURES = ("suvmean", "suvpeak", "suvmax", "tlg")
PET_ALONE = "PET alone"  # an image without a result
FROM = {"sinogram": "sinogram and result", "image": "PET and result", PET_ALONE: PET_ALONE}  # in tables
REST, BORDER = 0.06, 0.06  # of the scale, what nothing else explains: of every lesion, and of one of 1 mL by its border
LEAST_END = 0.1  # of the recovered value, where the fit's own range ends lower
TAIL_SIGMA = 1.645  # of a normal distribution, that lie within either end of the fit's own range
UNDETERMINED = 30.0  # times its low end is the high end of what is not told
CORRECTED = {"sinogram": 6.0, "image": 2.5, PET_ALONE: 4.0}  # times what the image shows is no SUVmean that is told
OUTSIDE = 1.5  # factor of the scale where a lesion is outside what was calibrated
FIGURES = {  # of the conditions, in words; ``of``: what the FWHM is of
    "fwhm_mm": "The FWHM of {of}, {value:.1f} mm, is outside the {low:.1f} to {high:.1f} mm that",
    "noise": "The noise, {value:.1%}, is outside the {low:.1%} to {high:.1%} that",
}
TOLERANCE = 1.1  # factor of FWHM and noise beyond the calibrated range that changes nothing
STRATA_ML = (0.0, 1.0, 10.0, math.inf)


@dataclass(frozen=True)
class Conditions:
    """Under which a lesion was measured: by them a calibration holds or not.

    Parameters
    ----------
    input : ``sinogram`` or ``image``, that a result was made from, or :data:`PET_ALONE`.
    fwhm_mm : transaxial, of the measurement's model: of an image without its voxels, of a sinogram the kernel's.
    noise : of the measurement (its ``noise_level``).
    tracer : in lower case, as ``fdg``; None where it is not known.
    described : whether scanner, PSF and filter are known: FWHM and noise are a guess where they are not.
    """

    input: str
    fwhm_mm: float
    noise: float
    tracer: str | None = None
    described: bool = True

    @classmethod
    def of(cls, data: Data, input: str | None = None) -> Conditions:
        """Those of a result's data, or of an ``input`` of another name."""
        known = data.measurement
        return cls(input or known.kind, data.fwhm_mm[0], known.noise_level, known.tracer, known.described)


@dataclass(frozen=True)
class Stratum:
    """Quantiles of a class of lesions.

    Parameters
    ----------
    input : as of :class:`Conditions`.
    volume_ml : from and to (exclusive).
    lesions, patients : behind the quantiles.
    contrast : least and largest ratio of SUVmean to background among them.
    centres : of each measure, the median logarithm of truth over fitted value.
    quantiles : lower and upper one of each measure.
    """

    input: str
    volume_ml: tuple[float, float]
    lesions: int
    patients: int
    contrast: tuple[float, float]
    centres: Mapping[str, float]
    quantiles: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Intervals:
    """By measure (of :data:`MEASURES`): recovered values, and the low and high ends of their intervals.

    Measures that no interval can be given for are not told. ``notes`` say what is not covered.
    """

    values: Mapping[str, float]
    ends: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """The strata of a calibration and what it was made of.

    Parameters
    ----------
    least_ml : smallest volume.
    tracer : of the uptake, in lower case.
    domain : by input, the range of every figure of :class:`Conditions`.
    guessed : by input and measure, the factor of the interval where scanner, PSF or filter are a guess.
    made : how it was made.
    """

    strata: tuple[Stratum, ...]
    least_ml: float
    tracer: str
    domain: Mapping[str, Mapping[str, tuple[float, float]]]
    guessed: Mapping[str, Mapping[str, float]]
    made: Mapping[str, Any]

    def intervals(self, lesion: Recovered, conditions: Conditions, shown: float | None = None) -> Intervals:
        """The recovered values of a lesion and their intervals; wider outside what was calibrated.

        ``shown`` is the SUVmean that the result shows, or the PET alone. What the fit makes :data:`CORRECTED` times as
        high hangs on the border of the mask: of such a lesion SUVpeak alone is told.
        """
        kind = conditions.input
        stratum = next((s for s in self.strata if s.input == kind and _within(lesion.volume_ml, s.volume_ml)), None)
        if stratum is None:
            return Intervals({}, {}, ("No lesion of this size and kind of data was calibrated: not recovered.",))
        if lesion.volume_ml < self.least_ml:
            return Intervals({}, {}, (f"Smaller than {self.least_ml:.2g} mL: not recovered.",))
        notes = [*self._outside(conditions)]
        contrast = lesion.suvmean / max(lesion.background, 1e-6)
        if not stratum.contrast[0] <= contrast <= stratum.contrast[1]:
            notes.append(f"Its contrast of {contrast:.1f} to 1 is outside what was calibrated: the interval is wider.")
        widths = [OUTSIDE ** len(notes) * side for side in scales(lesion)]
        factors = {} if conditions.described else self.guessed.get(kind, {})
        if not conditions.described:
            notes.append("Scanner, PSF or filter of the PET are a guess: the interval is wider.")
        values = {name: getattr(lesion, name) * math.exp(stratum.centres[name]) for name in stratum.quantiles}
        if "suvmax" in values:
            values["suvmax"] = max(values[name] for name in ("suvmax", "suvpeak", "suvmean"))
        hangs = shown is not None and lesion.suvmean > CORRECTED[kind] * shown
        ends, lost = {}, []
        for name, quantiles in stratum.quantiles.items():
            low, high = (values[name] * math.exp(factors.get(name, 1.0) * q * widths[q > 0]) for q in quantiles)
            if high > UNDETERMINED * low or (hangs and name != "suvpeak"):
                lost.append(SHOWN[name].title)
                del values[name]
            else:
                ends[name] = (low, high)
        if lost:
            notes.append(f"The data do not determine its {', '.join(lost)}.")
        return Intervals(values, ends, tuple(notes))

    def _outside(self, conditions: Conditions) -> Iterator[str]:
        """What of the conditions was not calibrated."""
        if conditions.tracer is not None and conditions.tracer != self.tracer:
            yield f"Calibrated with {self.tracer.upper()} alone: the interval is wider."
        for name, (low, high) in self.domain.get(conditions.input, {}).items():
            value = getattr(conditions, name)
            if not low / TOLERANCE <= value <= high * TOLERANCE:
                of = "the scanner's model" if conditions.input == "sinogram" else "scanner and filter"
                told = FIGURES[name].format(of=of, value=value, low=low, high=high)
                yield f"{told} the intervals were calibrated for: the interval is wider."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "level": LEVEL,
            **self.made,
            "tracer": self.tracer,
            "least_ml": self.least_ml,
            "domain": self.domain,
            "guessed": self.guessed,
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
            centres = {name: float(centre) for name, centre in one["centres"].items()}
            ends = {name: (float(one[name][0]), float(one[name][1] or math.inf)) for name in ("volume_ml", "contrast")}
            strata.append(Stratum(**{**one, **ends, "centres": centres, "quantiles": quantiles}))
        domain = {
            kind: {name: (float(low), float(high)) for name, (low, high) in ranges.items() if name in FIGURES}
            for kind, ranges in values["domain"].items()
        }
        guessed = {kind: {name: float(of[name]) for name in of} for kind, of in values["guessed"].items()}
        known = ("format", "level", "tracer", "least_ml", "domain", "guessed", "strata")
        made = {k: v for k, v in values.items() if k not in known}
        return cls(tuple(strata), float(values["least_ml"]), str(values["tracer"]), domain, guessed, made)


def measures_of(input: str) -> tuple[str, ...]:
    """What is told of an input: no SUVmax of a PET alone, whose estimate has the noise that a prior takes off."""
    return tuple(name for name in MEASURES if input != PET_ALONE or name != "suvmax")


def scales(lesion: Recovered) -> tuple[float, float]:
    """Expected size of the logarithm of truth over recovered value where it is negative, and where it is positive."""
    fwhm = abs(math.log(lesion.wider / lesion.suvmean))
    rest = REST + BORDER / lesion.volume_ml ** (1 / 3)
    down = math.log(lesion.suvmean / max(lesion.low, LEAST_END * lesion.suvmean))
    up = math.log(max(lesion.high / lesion.suvmean, 1.0))
    return math.hypot(down / TAIL_SIGMA, fwhm, rest), math.hypot(up / TAIL_SIGMA, fwhm, rest)


def score(truth: float, value: float, centre: float, sides: tuple[float, float]) -> float:
    """The logarithm of truth over fitted value, beyond its ``centre``, in units of the lesion's :func:`scales`."""
    distance = math.log(truth / value) - centre
    return distance / sides[distance > 0]


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


def with_recovered(lesions: Iterable[Lesion], found: Iterable[Recovered], conditions: Conditions) -> list[Lesion]:
    """Lesions with the fields of what was recovered of the segments with their labels."""
    by_label = {one.label: one for one in found}
    return [
        replace(lesion, recovered_from=FROM[conditions.input], **_fields(lesion, by_label[lesion.label], conditions))
        for lesion in lesions
    ]


def _fields(lesion: Lesion, one: Recovered, conditions: Conditions) -> dict[str, Any]:
    found = calibration().intervals(one, conditions, lesion.suvmean)
    values: dict[str, Any] = {f"{name}_recovered": value for name, value in found.values.items()}
    for name, (low, high) in found.ends.items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    return values | {"interval_note": " ".join(found.notes) or None}


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value < ends[1]
