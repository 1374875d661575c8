"""Body-weight SUV from PET DICOM, with its evidence, and a check of volumes without a header.

``SUVbw = C W / D``: activity concentration C in Bq/mL, body weight W in g, and the dose D in Bq at the
time to which C was decay-corrected. Rules: the SUV manual of Vacha et al. (Units, SUVType, decay
correction, Philips and GE private attributes) and QIBA's order for the reference time. The body is
read in :mod:`.body`, the tracer in :mod:`.evidence`, times in :mod:`.frames`, :mod:`.timing` and
:mod:`.injection`; :mod:`.activity` checks the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError, UnitsError
from ..headers.attributes import as_number, numbers, one_text, private, tag_name, vector, words
from . import body, frames, timing
from .evidence import Evidence, Overrides, Record
from .evidence import dose_bq as tracer_dose_bq
from .evidence import half_life_s as tracer_half_life_s
from .injection import Injection

PHILIPS = "Philips PET Private Group"
QUANTITATIVE = ("NORM", "DTIM", "ATTN", "SCAT", "RAN")  # corrections that make count rates proportional to activity
OVERRIDDEN = {"weight_kg": "weight", "dose_bq": "dose", "injection_time": "injection_time", "half_life_s": "half_life"}
FACTORS_AGREE = 0.1  # Philips' two factors describe the same image to within 10 % of SUV


def suv_factors(datasets: Sequence[Dataset], overrides: Overrides | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Factors that turn every slice's rescaled values (slope applied) into SUVbw, and the evidence used.

    Returns ``(factors, evidence)``: float64 of shape ``(slices,)`` in g/mL per unit of the rescaled value,
    and a dictionary of strings and numbers (units, decay correction, each quantity with value, unit,
    source and rule, smallest and largest factor, warnings). Raises :class:`UnitsError` if data
    for the SUV are missing or contradict each other.
    """
    if not datasets:
        raise InputError("There are no PET slices: give a folder with a DICOM PET series.")
    overrides, record = overrides or Overrides(), Record()
    _check_rescale(datasets)
    units = one_text(datasets, "Units").upper()
    _check_corrections(datasets, units, record)
    if units in ("GML", "CM2ML"):
        factors = np.full(len(datasets), _normalised(datasets, units, overrides, record))
    elif units == "BQML":
        factors = _from_concentration(datasets, overrides, record)
    elif units == "CNTS":
        factors = _from_counts(datasets, overrides, record)
    elif units == "CPS":
        factors = _from_rate(datasets, record) * _from_concentration(datasets, overrides, record)
    else:
        raise UnitsError(
            f"{tag_name('Units')} is {units or 'missing'}, which has no defined conversion to SUV: "
            "export the PET in Bq/mL (BQML) or SUV (GML)."
        )
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise UnitsError("The PET header leads to an SUV factor that is not positive: correct dose, weight and times.")
    for stated, name in OVERRIDDEN.items():
        if getattr(overrides, stated) is not None and name not in record.used:
            record.warnings.append(f"your {stated} is not used: the series' units and decay correction do not need it")
    evidence: dict[str, Any] = {
        "units": units,
        "suv_type": one_text(datasets, "SUVType") or ("BW (SUVType is empty)" if units == "GML" else ""),
        "decay_correction": one_text(datasets, "DecayCorrection"),
        "factor_min": float(factors.min()),
        "factor_max": float(factors.max()),
        "used": {name: item.as_dict() for name, item in record.used.items()},
        "warnings": list(dict.fromkeys(record.warnings)),
    }
    return factors, evidence


def _check_rescale(datasets: Sequence[Dataset]) -> None:
    for slope, intercept in zip(numbers(datasets, "RescaleSlope"), numbers(datasets, "RescaleIntercept"), strict=True):
        if slope is None or slope < 0:
            raise UnitsError(
                f"{tag_name('RescaleSlope')} is {'missing' if slope is None else slope} in a PET slice: "
                "use the scanner's original export."
            )
        if intercept:
            raise UnitsError(
                f"{tag_name('RescaleIntercept')} is {intercept:g} in a PET slice, where DICOM requires 0: "
                "use the scanner's original export."
            )


def _corrections(dataset: Dataset) -> set[str]:
    return set(words(dataset, "CorrectedImage"))


def _check_corrections(datasets: Sequence[Dataset], units: str, record: Record) -> None:
    done = set.intersection(*(_corrections(d) for d in datasets))
    where = tag_name("CorrectedImage")
    if done and "ATTN" not in done:
        raise UnitsError(f"{where} lacks ATTN, so the PET is not attenuation-corrected: choose the corrected series.")
    if not done:
        record.warnings.append(f"{where} is missing, so the corrections are unknown")
    decay = one_text(datasets, "DecayCorrection").upper()
    factors = [factor or 1.0 for factor in numbers(datasets, "DecayFactor")]
    if units in ("GML", "CM2ML"):
        return
    if decay == "NONE" and "DECY" in done:
        if max(factors) > 1.0001:
            raise UnitsError(
                f"{tag_name('DecayCorrection')} is NONE but {where} lists DECY and DecayFactor is {max(factors):g}: "
                "use the scanner's original export."
            )
        record.warnings.append(f"{where} lists DECY, but DecayCorrection NONE is taken (DecayFactor is not above 1)")
    if decay in ("START", "ADMIN") and done and "DECY" not in done:
        record.warnings.append(f"{where} does not list DECY, but DecayCorrection {decay} is taken")


def _normalised(datasets: Sequence[Dataset], units: str, overrides: Overrides, record: Record) -> float:
    """Factor from another SUV (lean body mass, ideal weight, body surface) to SUVbw: W / that mass, or W / BSA."""
    kind = one_text(datasets, "SUVType").upper() or ("BW" if units == "GML" else "BSA")
    if kind not in (body.SUV_TYPES if units == "GML" else ("BSA",)):
        raise UnitsError(
            f"{tag_name('SUVType')} {kind} does not go with Units {units}: export the PET in Bq/mL (BQML) or SUVbw."
        )
    if kind == "BW":
        return 1.0
    weight = _weight_kg(datasets, overrides, record)
    height = record.add("height", body.height_cm(datasets))
    if record.used["height"].unusual:
        record.warnings.append(f"the {record.used['height'].rule}")
    if kind == "BSA":
        area = record.add(
            "body_surface", Evidence(body.body_surface_m2(weight, height), "m2", "weight, height", "Du Bois")
        )
        return weight * 1e3 / (area * 1e4)
    sex = record.add("sex", body.sex(datasets))
    mass = body.lean_body_mass_kg(weight, height, sex, kind)
    record.add("normalising_mass", Evidence(mass, "kg", "weight, height, sex", kind))
    return weight / mass


def _weight_kg(datasets: Sequence[Dataset], overrides: Overrides, record: Record) -> float:
    """The patient's weight in kg; a number of the header that is unusual is told."""
    weight: float = record.add("weight", body.weight_kg(datasets, overrides))
    if record.used["weight"].unusual:
        record.warnings.append(f"the {record.used['weight'].rule}: the patient is taken to have {weight:.3g} kg")
    return weight


def _from_concentration(datasets: Sequence[Dataset], overrides: Overrides, record: Record) -> np.ndarray:
    """SUV per Bq/mL of every slice, by the decay correction of the series."""
    weight = _weight_kg(datasets, overrides, record)
    dose = record.add("dose", tracer_dose_bq(datasets, overrides))
    if not 0.1e6 <= dose / weight <= 60e6:
        record.warnings.append(f"the dose is {dose / weight / 1e6:.3g} MBq per kg, unusual for a patient")
    at_injection = np.full(len(datasets), weight * 1e3 / dose)
    decay = one_text(datasets, "DecayCorrection").upper()
    if decay == "ADMIN":
        record.add("reference_time", Evidence("injection", "", tag_name("DecayCorrection"), "ADMIN: dose as given"))
        return at_injection
    if decay not in ("START", "NONE"):
        raise UnitsError(
            f"{tag_name('DecayCorrection')} is {decay or 'missing'}, not START, ADMIN or NONE: "
            "use the scanner's original export."
        )
    half_life = record.add("half_life", tracer_half_life_s(datasets, overrides, record))
    decay_constant = math.log(2) / half_life
    times = frames.frame_times(datasets)
    if decay == "START":
        moment = record.add("reference_time", timing.reference_time(datasets, times, half_life, record.warnings))
    else:
        timing.check_uncorrected(datasets, times, half_life, record.warnings)
        moment = times.first
        rule = "NONE: every frame is corrected from its own start and duration; shown is the earliest"
        record.add("reference_time", Evidence(moment, "", tag_name("AcquisitionTime"), rule))
    injection = Injection(datasets, times, moment, half_life)
    injected = record.add("injection_time", injection.find(overrides))
    record.warnings += injection.warnings
    if decay == "START":
        return at_injection * math.exp(decay_constant * (moment - injected).total_seconds())
    # The frame's mean rate is that at T_ave after its start: lambda T / (1 - exp(-lambda T)) = exp(lambda T_ave).
    average = np.array([frames.average_time_s(t, decay_constant) for t in frames.frame_durations_s(datasets)])
    return at_injection * np.exp(decay_constant * (times.seconds(injected) + average))


def _factor_column(datasets: Sequence[Dataset], element: int, label: str) -> np.ndarray | None:
    """A Philips scale factor (7053,10xx) of every slice; None when it is absent or 0 (Philips: cannot be converted)."""
    values = [as_number(private(d, 0x7053, element, PHILIPS), label) or 0.0 for d in datasets]
    if not any(values):
        return None
    if min(values) <= 0:
        raise UnitsError(
            f"{label} is missing, zero or negative in some slices only: use the scanner's original export."
        )
    return np.array(values)


def _from_counts(datasets: Sequence[Dataset], overrides: Overrides, record: Record) -> np.ndarray:
    """SUV per count: by Philips' SUV factor, its activity factor, or as a count rate."""
    suv_label = "Philips SUV scale factor (7053,1000)"
    activity_label = "Philips activity concentration scale factor (7053,1009)"
    to_suv = _factor_column(datasets, 0x00, suv_label)
    to_activity = _factor_column(datasets, 0x09, activity_label)
    if to_suv is not None:
        record.add(
            "philips_suv_factor", Evidence(float(to_suv.mean()), "g/mL per count", suv_label, "applied as it is")
        )
        if to_activity is not None:
            _compare_philips(datasets, overrides, record, to_suv, to_activity)
        return to_suv
    if to_activity is not None:
        value = float(to_activity.mean())
        record.add("philips_activity_factor", Evidence(value, "Bq/mL per count", activity_label, "counts to Bq/mL"))
        return to_activity * _from_concentration(datasets, overrides, record)
    seconds = frames.frame_durations_s(datasets)
    rule = "counts divided by the frame's duration, because neither Philips factor is present"
    record.add("frame_duration", Evidence(float(seconds.mean()), "s", tag_name("ActualFrameDuration"), rule))
    return _from_rate(datasets, record) * _from_concentration(datasets, overrides, record) / seconds


def _compare_philips(
    datasets: Sequence[Dataset], overrides: Overrides, record: Record, to_suv: np.ndarray, to_activity: np.ndarray
) -> None:
    try:
        other = to_activity * _from_concentration(datasets, overrides, Record())
    except UnitsError as error:
        record.warnings.append(f"the SUV factor could not be checked with the activity factor ({error})")
        return
    ratio = float(np.median(other / to_suv))
    if abs(math.log(ratio)) > FACTORS_AGREE:
        raise UnitsError(
            f"Philips' SUV factor and its activity factor give SUVs that differ by a factor of {ratio:.2f}: "
            "check dose, weight and times, or state them."
        )
    record.warnings.append(f"the activity factor gives {ratio:.3f} times the SUV of the SUV factor, which is used")


def _from_rate(datasets: Sequence[Dataset], record: Record) -> np.ndarray:
    """Bq/mL per count/s: the dose calibration factor (unless DCAL says it is in) over the voxel's volume in mL."""
    done = set.intersection(*(_corrections(d) for d in datasets))
    lacking = [c for c in QUANTITATIVE if c not in done]
    if lacking:
        raise UnitsError(
            f"The PET is in counts and {tag_name('CorrectedImage')} lacks {', '.join(lacking)}, so not quantitative: "
            "export it in Bq/mL (BQML)."
        )
    volumes = []
    for dataset, thickness in zip(datasets, numbers(datasets, "SliceThickness"), strict=True):
        spacing = vector(dataset, "PixelSpacing", 2)
        if spacing is None or not thickness or thickness <= 0:
            raise UnitsError("The PET is in counts and its voxel volume is unknown: export it in Bq/mL (BQML).")
        volumes.append(float(spacing[0] * spacing[1]) * thickness / 1000)
    record.add("voxel_volume", Evidence(volumes[0], "mL", "PixelSpacing, SliceThickness", ""))
    if "DCAL" in done:
        rule = "DCAL is listed: already calibrated"
        record.add("calibration", Evidence(1.0, "", tag_name("CorrectedImage"), rule))
        return 1 / np.array(volumes)
    where, factors = tag_name("DoseCalibrationFactor"), [f or 0.0 for f in numbers(datasets, "DoseCalibrationFactor")]
    if min(factors) <= 0:
        raise UnitsError(
            f"The PET is in counts, not calibrated (no DCAL) and {where} is missing: export it in Bq/mL (BQML)."
        )
    record.add("calibration", Evidence(factors[0], "Bq s", where, "DCAL is not listed: multiplied"))
    return np.array(factors) / np.array(volumes)
