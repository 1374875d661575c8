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
from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom.dataset import Dataset

from ..errors import UnitsError
from ..headers.attributes import items, one_number, one_text, tag_name
from ..headers.time import parse_dt, parse_offset, parse_tm

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
# Of a stated injection, besides ISO 8601: 10:00, 10:00:00 and 100000, or a DICOM date-time with or without time zone
TIME_OF_DAY = re.compile(r"(\d{1,2}:\d{2}(:\d{2})?|\d{4}(\d{2})?)(\.\d+)?")
DATE_TIME = re.compile(r"(\d{10,14}(?:\.\d+)?)([+-]\d{4})?")
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
                told = f"{name}={value} is not a positive number: state the true value or leave it out."
                raise UnitsError(told, name)
        self.injected()

    def injected(self) -> datetime | timedelta | None:
        """The stated injection: a date and time, with a time zone where one is stated, or the time of a day.

        Forms: ``2025-01-31T10:00:00`` (ISO 8601), a DICOM date-time, ``10:00``, ``10:00:00`` or DICOM's ``100000``.
        Raises :class:`UnitsError` for a text of another form, or a time that no clock shows.
        """
        stated = self.injection_time
        if stated is None or isinstance(stated, datetime):
            return stated
        said, where = stated.strip(), "your injection_time"
        try:
            if TIME_OF_DAY.fullmatch(said):
                return parse_tm(f"0{said}" if said[1] == ":" else said, where)
            if found := DATE_TIME.fullmatch(said):
                offset = parse_offset(found[2] or "", where)
                return parse_dt(found[1], where).replace(tzinfo=None if offset is None else timezone(offset))
            return datetime.fromisoformat(said if len(said) > len("2025-01-31") else "")
        except (UnitsError, ValueError):
            raise UnitsError(
                f"injection_time={stated!r} is not a time: state a time of day as 10:00:00, or a date with it as "
                "2025-01-31T10:00:00, on a clock of 24 hours.",
                "injection_time",
            ) from None


@dataclass(frozen=True)
class Evidence:
    """One quantity: ``value`` in ``unit``, its ``source`` tags and the ``rule`` applied.

    ``unusual``: the rule reads the header otherwise than DICOM has it, or hardly any patient has the value.
    """

    value: Any
    unit: str
    source: str
    rule: str = ""
    unusual: bool = False

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


def tracer_datasets(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The one item of RadiopharmaceuticalInformationSequence of every slice (an old file: the slice itself)."""
    found = []
    for dataset in datasets:
        sequence = items(dataset, "RadiopharmaceuticalInformationSequence")
        if len(sequence) > 1:
            raise UnitsError(
                f"The PET header lists {len(sequence)} radiopharmaceuticals in {tag_name((0x54, 0x16))}: "
                "an SUV of a mixture is not defined, so convert the series with one tracer."
            )
        found.append(sequence[0] if sequence else dataset)
    return found


def dose_bq(datasets: Sequence[Dataset], overrides: Overrides) -> Evidence:
    """Administered dose in Bq (values up to 1e4 are MBq; values between 1e4 and 1e6 are refused)."""
    if stated := overrides.evidence("dose_bq", "Bq"):
        return stated
    where = tag_name("RadionuclideTotalDose")
    value = one_number(tracer_datasets(datasets), "RadionuclideTotalDose")
    if not value or value < 0:
        raise UnitsError(
            f"The PET header has no usable {where} ({'missing' if value is None else f'{value:g}'}): "
            "state the administered dose.",
            "dose_bq",
        )
    if value <= MBQ_AT_MOST:
        return Evidence(value * 1e6, "Bq", where, f"dose {value:g} read as MBq because <= 1e4")
    if value < BQ_AT_LEAST:
        raise UnitsError(f"{where} is {value:g}, too much for MBq and too little for Bq: state the dose.", "dose_bq")
    return Evidence(value, "Bq", where, "read as Bq because >= 1e6")


def nuclide_in(name: str) -> str | None:
    """The nuclide named in a text: ``^18^Fluorine``, ``18F``, ``F-18``, ``F^18^`` or ``[68Ga]PSMA``."""
    return split_nuclide(name)[0]


def split_nuclide(name: str) -> tuple[str | None, str]:
    """:func:`nuclide_in` a text, and the text in lower case without it."""
    words = name.replace("^", " ").lower()
    for element, symbol in ELEMENTS.items():
        words = words.replace(element, f" {symbol.lower()} ")
    for nuclide in NUCLIDES:
        symbol, mass = nuclide.lower().split("-")
        pattern = rf"(?<![a-z]){symbol}[\s-]*{mass}(?!\d)|(?<!\d){mass}[\s-]*{symbol}(?![a-z])"
        if re.search(pattern, words):
            return nuclide, re.sub(pattern, " ", words)
    return None, words


def nuclide_of(tracers: Sequence[Dataset]) -> tuple[str | None, str, str]:
    """The nuclide by code, its meaning or the radiopharmaceutical's name, its tag, and what of these disagrees."""
    codes = [code for d in tracers for code in items(d, "RadionuclideCodeSequence")[:1]]
    value, meaning = one_text(codes, "CodeValue"), one_text(codes, "CodeMeaning")
    named = one_text(tracers, "Radiopharmaceutical")
    by_name = nuclide_in(named) or ("F-18" if any(n in named.lower() for n in F18_NAMES) else None)
    by_value = next((n for n, (_, known) in NUCLIDES.items() if value in known), None)
    code, name = tag_name("RadionuclideCodeSequence"), tag_name("Radiopharmaceutical")
    named_by = ((by_value, code, value), (nuclide_in(meaning), code, meaning), (by_name, name, named))
    found = [(nuclide, where, f"{shown!r} is {nuclide}") for nuclide, where, shown in named_by if nuclide]
    apart = " but ".join(words for _, _, words in found) if len({nuclide for nuclide, _, _ in found}) > 1 else ""
    return (found[0][0], found[0][1], apart) if found else (None, name, "")


def half_life_s(datasets: Sequence[Dataset], overrides: Overrides, record: Record) -> Evidence:
    """Half-life in s from its tag, or from the nuclide alone; a nuclide that disagrees with the tag is told."""
    if stated := overrides.evidence("half_life_s", "s"):
        return stated
    tracers = tracer_datasets(datasets)
    where = tag_name("RadionuclideHalfLife")
    value = one_number(tracers, "RadionuclideHalfLife")
    nuclide, stated_by, apart = nuclide_of(tracers)
    if value is not None and value <= 0:
        value = None
    if value is None and nuclide is None:
        raise UnitsError(
            f"The PET header has neither a usable {where} nor a known radionuclide: state the half-life in s.",
            "half_life_s",
        )
    if value is None and apart:
        raise UnitsError(
            f"The radionuclide contradicts itself ({apart}) and {where} is missing: state the half-life in s.",
            "half_life_s",
        )
    if apart:
        record.warnings.append(f"the radionuclide contradicts itself ({apart}); {where} decides")
    if value is None:
        assert nuclide is not None
        return Evidence(NUCLIDES[nuclide][0], "s", stated_by, f"half-life of {nuclide}, because {where} is missing")
    if nuclide is None:
        return Evidence(value, "s", where, "the header names no known nuclide to check it with")
    known = NUCLIDES[nuclide][0]
    if abs(value / known - 1) > HALF_LIFE_TOLERANCE:
        record.warnings.append(
            f"{where} is {value:g} s, which is used, but {stated_by} says {nuclide} ({known:g} s): check the tracer"
        )
        return Evidence(value, "s", where, f"ranks above {stated_by}, which says {nuclide}")
    return Evidence(value, "s", where, f"agrees with {nuclide} of {stated_by}")
