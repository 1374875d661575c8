"""Body size from a PET header, and the masses and the surface by which SUVs other than SUVbw are normalised."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from ..errors import UnitsError
from ..headers.attributes import one_number, one_text, tag_name
from .evidence import Evidence, Overrides

SUV_TYPES = ("BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW")  # of Units GML
LEAN = "LBMJANMA"  # of SUL: Janmahasatian et al., Clin Pharmacokinet 2005
GRAMS_ABOVE_KG = 1000.0
BODY_MASS_INDEX = 9.0, 80.0  # kg/m^2 that patients have, infants and the very obese among them


def weight_kg(datasets: Sequence[Dataset], overrides: Overrides) -> Evidence:
    """Body weight in kg, as stated or of the header."""
    if stated := overrides.evidence("weight_kg", "kg"):
        return stated
    return weight_of(one_number(datasets, "PatientWeight"), one_number(datasets, "PatientSize"))


def weight_of(value: float | None, size: float | None = None) -> Evidence:
    """Body weight in kg of the header's number (above 1000 it is in g); ``size`` is its PatientSize.

    Raises :class:`UnitsError` for a number that is no weight, or was exchanged with the size.
    """
    where = tag_name("PatientWeight")
    if not value or value < 0:
        hint = f" (PatientSize is {size:g}: was the weight entered there?)" if size and size > 3 else ""
        raise UnitsError(
            f"The PET header has no usable {where} ({'missing' if value is None else f'{value:g}'}){hint}: "
            "state the patient's weight in kg.",
            "weight_kg",
        )
    if value < 3 < (size or 0):
        raise UnitsError(
            f"{where} is {value:g} and PatientSize {size:g}, as if weight and height were exchanged: "
            "state the patient's weight in kg.",
            "weight_kg",
        )
    grams = value > GRAMS_ABOVE_KG
    kg, rule = (value / 1000, f"weight {value:g} read as g because > 1000") if grams else (value, "read as kg")
    height_m, (low, high) = _metres(size), BODY_MASS_INDEX
    if height_m and not low <= kg / height_m**2 <= high:
        index = f"{kg / height_m**2:.0f} kg/m2, which hardly any patient has"
        stated = f"{value:g}, read as g because > 1000," if grams else f"{kg:g} kg"
        rule = f"weight {stated} and height {height_m:g} m give a body mass index of {index}"
        return Evidence(kg, "kg", where, rule, True)
    return Evidence(kg, "kg", where, rule, grams)


def height_cm(datasets: Sequence[Dataset]) -> Evidence:
    """Body height in cm of the header."""
    return height_of(one_number(datasets, "PatientSize"))


def height_of(value: float | None) -> Evidence:
    """Body height in cm of the header's number (DICOM stores m; values from 30 to 250 are cm).

    Raises :class:`UnitsError` for a number that is neither.
    """
    where, height_m = tag_name("PatientSize"), _metres(value)
    if height_m is not None and height_m == value:
        return Evidence(value * 100, "cm", where, "read as m")
    if height_m is not None:
        rule = f"height {value:g} read as cm because no patient is {value:g} m tall"
        return Evidence(value, "cm", where, rule, True)
    raise UnitsError(
        f"A normalisation to body size needs the height, and {where} is "
        f"{'missing' if value is None else f'{value:g}'}: put the patient's height in m into the header."
    )


def _metres(value: float | None) -> float | None:
    """A height in m of a number in m or cm; None for one that is neither."""
    if value and 0.3 <= value <= 2.5:
        return value
    return value / 100 if value and 30 <= value <= 250 else None


def sex(datasets: Sequence[Dataset]) -> Evidence:
    """Patient's sex of the header, M, F or O."""
    return sex_of(one_text(datasets, "PatientSex"))


def sex_of(text: str) -> Evidence:
    """Patient's sex, M, F or O, of the header's text in any case; raises :class:`UnitsError` for another one."""
    where, value = tag_name("PatientSex"), text.strip().upper()
    if value not in ("M", "F", "O"):
        raise UnitsError(
            f"Lean or ideal body weight needs the sex, and {where} is {value or 'missing'}: "
            "put M, F or O into the header."
        )
    return Evidence(value, "", where, "mean of the male and female formulas" if value == "O" else "")


def lean_body_mass_kg(weight_kg: float, height_cm: float, sex: str, kind: str) -> float:
    """Lean or ideal body mass in kg; for sex ``O`` the mean of the male and the female value.

    ``kind`` is DICOM's SUVType: ``LBM`` (Morgan: 1.10 W - 120 (W/H)^2, female 1.07 W - 148 (W/H)^2),
    ``LBMJAMES128`` (James: male 128 for 120), ``LBMJANMA`` (Janmahasatian: 9270 W / (6680 + 216 BMI),
    female 9270 W / (8780 + 244 BMI)) or ``IBW`` (48.0 + 1.06 (H - 152), female 45.5 + 0.91 (H - 152)).
    """
    if sex == "O":
        return sum(lean_body_mass_kg(weight_kg, height_cm, s, kind) for s in "MF") / 2
    male, squared = sex == "M", (weight_kg / height_cm) ** 2
    if kind in ("LBM", "LBMJAMES128"):
        subtracted = 120 if kind == "LBM" else 128
        mass = 1.10 * weight_kg - subtracted * squared if male else 1.07 * weight_kg - 148 * squared
    elif kind == "LBMJANMA":
        bmi = 1e4 * squared / weight_kg
        mass = 9270 * weight_kg / (6680 + 216 * bmi if male else 8780 + 244 * bmi)
    elif kind == "IBW":
        mass = 48.0 + 1.06 * (height_cm - 152) if male else 45.5 + 0.91 * (height_cm - 152)
    else:
        raise UnitsError(
            f"SUVType {kind!r} is not one of {', '.join(SUV_TYPES)}: convert the PET to Bq/mL and export again."
        )
    if mass <= 0:
        raise UnitsError(
            f"The {kind} formula gives {mass:.1f} kg for {weight_kg:g} kg and {height_cm:g} cm: correct them."
        )
    return mass


def sul_factor(datasets: Sequence[Dataset]) -> float | None:
    """SUL / SUVbw: lean body mass (Janmahasatian) over weight; None where weight, height or sex is missing."""
    try:
        weight = weight_kg(datasets, Overrides()).value
        return lean_body_mass_kg(weight, height_cm(datasets).value, sex(datasets).value, LEAN) / weight
    except UnitsError:
        return None


def body_surface_m2(weight_kg: float, height_cm: float) -> float:
    """Body surface in m^2 by Du Bois: 0.007184 H^0.725 W^0.425 (H in cm, W in kg)."""
    return 0.007184 * height_cm**0.725 * weight_kg**0.425
