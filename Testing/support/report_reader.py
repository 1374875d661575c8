"""Reads a structured report of lesions, as highdicom gives it, into the columns of the lesion table."""

from __future__ import annotations

from typing import Any

import highdicom as hd

OWN = {"EVIDENCE": "evidence_sigma", "WITHOUT_CT": "without_ct"}
DERIVATIONS = {"Maximum": "suvmax", "Mean": "suvmean", "Peak Value Within ROI": "suvpeak"}
CONCEPTS = {"Volume": "volume_ml", "Metabolic Volume": "mtv_ml", "Total Lesion Glycolysis": "tlg"}


def groups(report: hd.sr.ComprehensiveSR) -> list[Any]:
    """The measurement groups: of each lesion one in the input PET and one in the result."""
    return report.content.get_volumetric_roi_measurement_groups()


def field(measurement: hd.sr.Measurement) -> str:
    """What was measured, by the name of its column; what was recovered of it has the same."""
    derivation = measurement.derivation
    return DERIVATIONS[derivation.meaning] if derivation else CONCEPTS[measurement.name.meaning]


def is_recovered(measurement: hd.sr.Measurement) -> bool:
    return bool(measurement.method) and measurement.method.meaning == "Fitted to the measurement"


def ends_of(measurement: hd.sr.Measurement) -> dict[str, float]:
    """How far the interval reaches above and below, by the sign, in the measure's unit."""
    found = {}
    for item in measurement[0].ContentSequence:
        meaning, [stated] = item.ConceptNameCodeSequence[0].CodeMeaning, item.get("MeasuredValueSequence", [None])
        if "uncertainty" in meaning:
            assert stated.MeasurementUnitsCodeSequence[0].CodeValue == measurement.unit.value
            found[meaning[0]] = float(stated.NumericValue)
    return found


def values_of(report: hd.sr.ComprehensiveSR, method: str) -> dict[tuple[str, str, str], float]:
    """All figures by method (``lr``, or ``method`` of the result), lesion and column."""
    found: dict[tuple[str, str, str], float] = {}
    for group in groups(report):
        image = {"INPUT_PET": "lr", "SR_PET": method}[group.method.value]
        for measurement in group.get_measurements():
            value = float(measurement.value)
            if measurement.name.value in OWN:
                columns = {OWN[measurement.name.value]: value}
            elif is_recovered(measurement):
                name, ends = field(measurement), ends_of(measurement)
                columns = {f"{name}_recovered": value}
                columns |= {f"{name}_low": value - ends["-"], f"{name}_high": value + ends["+"]} if ends else {}
            else:
                columns = {field(measurement): value}
            found |= {(image, group.tracking_identifier, name): value for name, value in columns.items()}
    return found
