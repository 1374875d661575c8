"""The patient's body at a visit, by which SUL follows from SUVbw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UnitsError
from ..suv.body import LEAN, height_of, lean_body_mass_kg, sex_of, weight_of
from ..suv.evidence import Evidence
from ..volume import Volume

SAME_WEIGHT = 0.01  # share by which the weight of the SUVs and the stated one differ by rounding


@dataclass(frozen=True)
class Body:
    """What lean body mass follows from: weight in kg, height in cm, sex (M, F or O); None where it is not known.

    ``suv_kg`` is the weight by which the PET's SUVs were made; where no header tells it, None for ``weight_kg``.
    """

    weight_kg: float | None = None
    height_cm: float | None = None
    sex: str | None = None
    suv_kg: float | None = None

    @classmethod
    def of(cls, pet: Volume, stated: Body) -> tuple[Body, list[str]]:
        """What is stated, else what the PET's DICOM header has, by the rules of :mod:`~PETSuperResLib.suv.body`.

        Returns it with notes: how a value was read, one that is not usable, and a stated weight that is not the SUVs'.
        """
        about, notes = pet.metadata, list[str]()
        weight, height = about.get("weight_kg"), about.get("height_m")
        of_suv = about.get("suv", {}).get("used", {}).get("weight")
        doubts = [] if stated.weight_kg else notes
        suv_kg = of_suv["value"] if of_suv else _read(weight, lambda: weight_of(weight, height), doubts)
        height_cm = stated.height_cm or _read(height, lambda: height_of(height), notes)
        sex = stated.sex or _read(about.get("sex"), lambda: sex_of(about["sex"]), notes)
        if stated.weight_kg and suv_kg and abs(stated.weight_kg / suv_kg - 1) > SAME_WEIGHT:
            notes.append(
                f"The SUVs are by a body weight of {suv_kg:g} kg, not by the stated {stated.weight_kg:g} kg, which SUL "
                "is by: where the header is wrong, convert the series with 'petsuperres suv --weight' first."
            )
        return cls(stated.weight_kg or suv_kg, height_cm, sex, suv_kg), notes

    @property
    def sul_factor(self) -> float | None:
        """SUL / SUVbw: lean body mass over the weight of the SUVs; None where weight, height or sex is not known."""
        if self.weight_kg is None or self.height_cm is None or self.sex not in ("M", "F", "O"):
            return None
        mass = lean_body_mass_kg(self.weight_kg, self.height_cm, self.sex, LEAN)
        return mass / (self.suv_kg or self.weight_kg)


UNKNOWN = Body()


def _read(value: Any, read: Callable[[], Evidence], notes: list[str]) -> Any:
    """A value of the header as it is read, None where there is none or it is not usable; notes tell what is unusual."""
    if value in (None, ""):
        return None
    try:
        found = read()
    except UnitsError as error:
        notes.append(f"{error} Without it SUL is left out.")
        return None
    if found.unusual:
        notes.append(f"{found.rule[:1].upper()}{found.rule[1:]}.")
    return found.value
