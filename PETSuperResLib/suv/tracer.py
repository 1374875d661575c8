"""Which tracer a PET's header names, and whether two names may be of one."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from ..headers.attributes import items, text
from .evidence import nuclide_of, split_nuclide

FDG = "fdg"
NAMES_OF_FDG = re.compile(r"fdg|d[eé]s?oxy[ -]?glu[ck]o")
#: words that name no tracer, as scanners write them where none was chosen
GENERIC = {
    "solution",
    "injection",
    "radiopharmaceutical",
    "radionuclide",
    "isotope",
    "tracer",
    "pet",
    "unknown",
    "other",
}
GENERIC |= {"none", "not", "specified", "undefined", "user", "defined", "default"}
WORDS = re.compile(r"[^\W\d_]{2,}")


def tracer_of(dataset: Dataset) -> str:
    """The tracer of a PET's header in lower case, ``fdg`` or as ``ga-68 psma-11``; empty where it names none.

    It is the radiopharmaceutical's text, else its code's meaning, else its nuclide, which names no tracer if it is
    F-18. A nuclide other than F-18 decides against FDG, which is what some scanners write for any.
    """
    item = (items(dataset, "RadiopharmaceuticalInformationSequence") or [dataset])[0]
    codes = items(item, "RadiopharmaceuticalCodeSequence")[:1]
    names = [text(item, "Radiopharmaceutical"), *(text(code, "CodeMeaning") for code in codes)]
    named = next(filter(None, map(tracer_named, names)), "")
    nuclide = nuclide_of([item])[0]
    if named in ("", FDG) and nuclide not in (None, "F-18"):
        return str(nuclide).lower()
    return named


def tracer_named(name: str) -> str:
    """A radiopharmaceutical in lower case, every name of FDG as ``fdg``; empty for a text that names none."""
    name = name.strip().lower()
    if NAMES_OF_FDG.search(name):
        return FDG
    return name if set(WORDS.findall(split_nuclide(name)[1])) - GENERIC else ""


def same_tracer(one: str, other: str) -> bool:
    """Whether two names as of :func:`tracer_of` may be of one tracer: ``68ga-psma-11`` and ``ga-68 psma``."""
    (nuclide, name), (other_nuclide, other_name) = map(_parts, (one, other))
    if nuclide and other_nuclide and nuclide != other_nuclide:
        return False
    return name.startswith(other_name) or other_name.startswith(name)


def _parts(name: str) -> tuple[str | None, str]:
    """The nuclide of a tracer, None where its name does not tell, and the letters and digits of the rest."""
    nuclide, rest = split_nuclide(name)
    return "F-18" if name == FDG else nuclide, re.sub(r"[\W_]", "", rest)
