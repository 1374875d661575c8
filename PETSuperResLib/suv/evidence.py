"""Evidence from a PET header on the tracer: dose, nuclide, half-life.

Every quantity is an :class:`Evidence` (value, unit, source tag, rule applied), so that a report can state how
an SUV was computed. Missing, impossible or contradictory values raise
:class:`~PETSuperResLib.errors.UnitsError`; nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ..errors import UnitsError

# Half-lives in seconds (ENSDF evaluations), SNOMED codes of DICOM CID 4020 (SRT and SCT).
NUCLIDES: dict[str, tuple[float, tuple[str, ...]]] = {
    "F-18": (6586.2, ("C-111A1", "77004003")),
    "C-11": (1221.8, ("C-105A1", "40565003")),
    "N-13": (597.9, ("C-107A1", "21576001")),
    "O-15": (122.24, ("C-B1038", "129504001")),
    "Ga-68": (4062.6, ("C-131A3", "35337001")),
    "Cu-60": (1422.0, ("C-127A4", "425364008")),
    "Cu-61": (12020.0, ("C-127A1", "71425003")),
    "Cu-62": (580.4, ("C-127A5", "422934004")),
    "Cu-64": (45721.0, ("C-127A2", "3932008")),
    "Zr-89": (282276.0, ("C-168A4", "63360001")),
    "Rb-82": (75.45, ("C-159A2", "79197006")),
    "I-124": (360806.0, ("C-114A5", "40937006")),
    "Y-86": (53064.0, ("C-162A3", "10738001")),
    "Y-90": (230550.0, ("C-162A7", "14691008")),
    "Sc-44": (14400.0, ("126600",)),
    "Br-76": (58320.0, ("C-113A2", "79523006")),
    "Ga-66": (34160.0, ("C-131A1", "79477007")),
    "Ge-68": (23410080.0, ("C-128A2", "53315004")),
    "Na-22": (82106000.0, ("C-155A1", "71633006")),
}
ELEMENTS = {
    "fluorine": "F", "fluor": "F", "carbon": "C", "nitrogen": "N", "oxygen": "O", "gallium": "Ga", "copper": "Cu",
    "zirconium": "Zr", "rubidium": "Rb", "iodine": "I", "yttrium": "Y", "scandium": "Sc", "bromine": "Br",
    "germanium": "Ge", "sodium": "Na",
}  # fmt: skip
# Names used clinically with one nuclide only; any other name must contain its nuclide (68Ga-PSMA-11).
F18_NAMES = ("fdg", "fluorodeoxyglucose", "fluciclovine", "florbetapir", "florbetaben", "flutemetamol", "flortaucipir")
HALF_LIFE_TOLERANCE = 0.03  # published values of one nuclide differ by up to 2.5 %
MBQ_AT_MOST, BQ_AT_LEAST = 1e4, 1e6  # no PET dose is above 10 GBq or below 1 MBq


@dataclass(frozen=True)
class Overrides:
    """Values that the user states instead of the header's: kg, Bq, a DICOM or ISO time, seconds."""

    weight_kg: float | None = None
    dose_bq: float | None = None
    injection_time: str | datetime | None = None
    half_life_s: float | None = None

    def evidence(self, name: str, unit: str) -> Evidence | None:
        """What is stated of a quantity, or None."""
        value = getattr(self, name)
        rule = "stated in place of the header's"
        return None if value is None else Evidence(float(value), unit, f"your {name}", rule)

    def __post_init__(self) -> None:
        for name in ("weight_kg", "dose_bq", "half_life_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UnitsError(f"{name}={value} is not a positive number: state the true value or leave it out.")


@dataclass(frozen=True)
class Evidence:
    """One quantity: ``value`` in ``unit``, its ``source`` tags and the ``rule`` applied."""

    value: Any
    unit: str
    source: str
    rule: str = ""

    def as_dict(self) -> dict[str, Any]:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return {"value": value, "unit": self.unit, "source": self.source, "rule": self.rule}


@dataclass
class Record:
    """The evidence collected so far, with warnings."""

    used: dict[str, Evidence] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, evidence: Evidence) -> Any:
        self.used[name] = evidence
        return evidence.value


def tag_name(tag: str | int | tuple[int, int]) -> str:
    """``PatientWeight (0010,1030)`` for a keyword or a tag."""
    t = Tag(tag_for_keyword(tag) or 0) if isinstance(tag, str) else Tag(tag)
    return f"{keyword_for_tag(t) or 'private'} ({t.group:04X},{t.element:04X})"


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute as stripped text, ``""`` when it is missing or empty."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def one_text(datasets: Sequence[Dataset], keyword: str) -> str:
    """The attribute that all slices must share, as text (``""`` when missing or empty)."""
    return one_of({text(d, keyword) for d in datasets}, tag_name(keyword))


def one_of(values: set[str], where: str) -> str:
    """The one value of all slices."""
    if len(values) > 1:
        shown = ", ".join(repr(v) for v in sorted(values)[:4])
        raise UnitsError(
            f"The PET slices contradict each other in {where} ({shown}): convert one consistent series at a time."
        )
    return values.pop() if values else ""


def number(value: str, where: str) -> float | None:
    """A finite number from text, None for empty text."""
    if not value:
        return None
    try:
        result = float(value)
    except ValueError:
        result = math.nan
    if not math.isfinite(result):
        raise UnitsError(f"{where} of the PET header is {value!r}, not a number: correct the header.")
    return result


def numbers(datasets: Sequence[Dataset], keyword: str) -> list[float | None]:
    """The number of every slice, None where it is missing or empty."""
    return [number(text(d, keyword), tag_name(keyword)) for d in datasets]


def one_number(datasets: Sequence[Dataset], keyword: str) -> float | None:
    """The number that all slices must share, None when it is missing or empty."""
    return number(one_text(datasets, keyword), tag_name(keyword))


def private(dataset: Dataset, group: int, element: int, creators: str) -> str:
    """A private attribute as text: from its creator's block, or at xx10 in a file without the creator."""
    for block in range(0x10, 0x100):
        creator = dataset.get((group, block))
        if creator is not None and str(creator.value).lower().startswith(creators.lower()):
            found = dataset.get((group, (block << 8) | element))
            if found is not None:
                return _private_text(found.value)
    if (group, 0x10) in dataset:
        return ""
    found = dataset.get((group, 0x1000 | element))
    return "" if found is None else _private_text(found.value)


def _private_text(value: Any) -> str:
    raw = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)  # implicit VR comes as UN
    return "" if value is None else raw.strip(" \0")


def tracer_datasets(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The one item of RadiopharmaceuticalInformationSequence of every slice (an old file: the slice itself)."""
    items = []
    for dataset in datasets:
        sequence = dataset.get("RadiopharmaceuticalInformationSequence") or []
        if len(sequence) > 1:
            raise UnitsError(
                f"The PET header lists {len(sequence)} radiopharmaceuticals in {tag_name((0x54, 0x16))}: "
                "an SUV of a mixture is not defined, so convert the series with one tracer."
            )
        items.append(sequence[0] if len(sequence) else dataset)
    return items


def dose_bq(datasets: Sequence[Dataset], overrides: Overrides) -> Evidence:
    """Administered dose in Bq (values up to 1e4 are MBq; values between 1e4 and 1e6 are refused)."""
    if stated := overrides.evidence("dose_bq", "Bq"):
        return stated
    where = tag_name("RadionuclideTotalDose")
    value = one_number(tracer_datasets(datasets), "RadionuclideTotalDose")
    if not value or value < 0:
        raise UnitsError(
            f"The PET header has no usable {where} ({'missing' if value is None else f'{value:g}'}): "
            "state the administered dose in Bq (dose_bq)."
        )
    if value <= MBQ_AT_MOST:
        return Evidence(value * 1e6, "Bq", where, f"dose {value:g} read as MBq because <= 1e4")
    if value < BQ_AT_LEAST:
        raise UnitsError(
            f"{where} is {value:g}, too much for MBq and too little for Bq: state the dose in Bq (dose_bq)."
        )
    return Evidence(value, "Bq", where, "read as Bq because >= 1e6")


def nuclide_in(name: str) -> str | None:
    """The nuclide named in a text: ``^18^Fluorine``, ``18F``, ``F-18``, ``F^18^`` or ``[68Ga]PSMA``."""
    words = name.replace("^", " ").lower()
    for element, symbol in ELEMENTS.items():
        words = words.replace(element, f" {symbol.lower()} ")
    for nuclide in NUCLIDES:
        symbol, mass = nuclide.lower().split("-")
        if re.search(rf"(?<![a-z]){symbol}[\s-]*{mass}(?!\d)|(?<!\d){mass}[\s-]*{symbol}(?![a-z])", words):
            return nuclide
    return None


def _stated_nuclide(tracers: Sequence[Dataset], record: Record) -> tuple[str | None, str]:
    """The nuclide by code or code meaning, else by the radiopharmaceutical's name, and its tag."""
    codes = [d.RadionuclideCodeSequence[0] for d in tracers if d.get("RadionuclideCodeSequence")]
    named = one_text(tracers, "Radiopharmaceutical")
    by_name = nuclide_in(named) or ("F-18" if any(n in named.lower() for n in F18_NAMES) else None)
    by_code = None
    if codes:
        value, meaning = one_text(codes, "CodeValue"), one_text(codes, "CodeMeaning")
        listed = next((n for n, (_, known) in NUCLIDES.items() if value in known), None)
        spelled = nuclide_in(meaning)
        if listed and spelled and listed != spelled:
            raise UnitsError(
                f"The radionuclide's code {value} is {listed} but its meaning {meaning!r} says {spelled}: "
                "correct the header, or state half_life_s."
            )
        by_code = listed or spelled
    if by_code and by_name and by_code != by_name:
        record.warnings.append(f"the radionuclide code says {by_code}, the radiopharmaceutical {named!r} {by_name}")
    if by_code:
        return by_code, tag_name("RadionuclideCodeSequence")
    return by_name, tag_name("Radiopharmaceutical")


def half_life_s(datasets: Sequence[Dataset], overrides: Overrides, record: Record) -> Evidence:
    """Half-life in s from its tag, checked against the nuclide's, or from the nuclide alone."""
    if stated := overrides.evidence("half_life_s", "s"):
        return stated
    tracers = tracer_datasets(datasets)
    where = tag_name("RadionuclideHalfLife")
    value = one_number(tracers, "RadionuclideHalfLife")
    nuclide, stated_by = _stated_nuclide(tracers, record)
    if value is not None and value <= 0:
        value = None
    if value is None and nuclide is None:
        raise UnitsError(
            f"The PET header has neither a usable {where} nor a known radionuclide: state it in s (half_life_s)."
        )
    if value is None:
        assert nuclide is not None
        return Evidence(NUCLIDES[nuclide][0], "s", stated_by, f"half-life of {nuclide}, because {where} is missing")
    if nuclide is None:
        return Evidence(value, "s", where, "the header names no known nuclide to check it with")
    known = NUCLIDES[nuclide][0]
    if abs(value / known - 1) > HALF_LIFE_TOLERANCE:
        raise UnitsError(
            f"{where} is {value:g} s but {stated_by} says {nuclide} ({known:g} s): state the true one (half_life_s)."
        )
    return Evidence(value, "s", where, f"agrees with {nuclide} of {stated_by}")
