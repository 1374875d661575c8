"""DICOM codes of the lesions' measures: concepts of PS3.16 CID 7180, 7464 and 7466, units of CID 85 and of UCUM.

Nothing is imported for them, as Slicer needs them when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Coded = tuple[str, str, str]  # value, scheme and meaning
OWN = "99PETSUPERRES"  # scheme of what DICOM has no code for

SUVBW: Coded = ("126401", "DCM", "SUVbw")
SUV_UNIT: Coded = ("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
SUL: Coded = ("126405", "DCM", "SUVlbm(Janma)")
SUL_UNIT: Coded = ("g/ml{SUVlbm(Janma)}", "UCUM", "Standardized Uptake Value lean body mass (Janma)")
MAXIMUM: Coded = ("56851009", "SCT", "Maximum")
MEAN: Coded = ("373098007", "SCT", "Mean")
PEAK: Coded = ("126031", "DCM", "Peak Value Within ROI")
VOLUME: Coded = ("118565006", "SCT", "Volume")
METABOLIC_VOLUME: Coded = ("126032", "DCM", "Metabolic Volume")
GLYCOLYSIS: Coded = ("126033", "DCM", "Total Lesion Glycolysis")
VOLUME_UNIT: Coded = ("cm3", "UCUM", "cubic centimeter")
MASS_UNIT: Coded = ("g", "UCUM", "gram")
INPUT_PET: Coded = ("INPUT_PET", OWN, "Input PET")
SUPER_RESOLVED: Coded = ("SR_PET", OWN, "Super-resolved PET")
EVIDENCE: Coded = ("EVIDENCE", OWN, "Evidence for uptake above the surroundings, in sigma")
WITHOUT_CT: Coded = ("WITHOUT_CT", OWN, "Share of the uptake above its surroundings without the CT")
NO_UNIT: Coded = ("1", "UCUM", "no units")
RECOVERED: Coded = ("RECOVERED", OWN, "Fitted to the measurement")


@dataclass(frozen=True)
class Codes:
    """What a measure is (``concept``, in the way ``derivation`` says), its unit, and by which method it was had."""

    concept: Coded
    unit: Coded
    derivation: Coded | None = None
    method: Coded | None = None


CODES = {
    "suvmax": Codes(SUVBW, SUV_UNIT, MAXIMUM),
    "suvmean": Codes(SUVBW, SUV_UNIT, MEAN),
    "suvpeak": Codes(SUVBW, SUV_UNIT, PEAK),
    "mtv_ml": Codes(METABOLIC_VOLUME, VOLUME_UNIT),
    "tlg": Codes(GLYCOLYSIS, MASS_UNIT),
    "volume_ml": Codes(VOLUME, VOLUME_UNIT),
    "evidence_sigma": Codes(EVIDENCE, NO_UNIT),
    "without_ct": Codes(WITHOUT_CT, NO_UNIT),
}


def codes_of(column: str) -> Codes | None:
    """The codes of a measure by its column in the table of lesions; None for what is no measure.

    What was recovered of a measure has its codes and a method of this software.
    """
    codes = CODES.get(column.removesuffix("_recovered"))
    return replace(codes, method=RECOVERED) if codes and column.endswith("_recovered") else codes
