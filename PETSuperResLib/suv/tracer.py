"""Which tracer a PET's header names, and whether two names may be of one."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from ..headers.attributes import items, text
from ..vendor_strings import FDG
from .evidence import ELEMENTS, nuclide_of, split_nuclide

NAMES_OF_FDG = re.compile(
    r"fdg(?!al)"  # FDGal is fluorodeoxygalactose
    r"|(d[eé]s?ox[yi]|fluoro?)[ _-]*(d[ _-]*)?glu[ck]o(?!samin)"  # 2-[18F]fluoro-2-deoxy-D-glucose, Fluorodesoxiglucosa
)
CODES_OF_FDG = ("35321007", "C-B1031")  # SCT and SRT of DICOM CID 4021
#: substances by which a text is known to name another tracer
OTHERS = re.compile(
    r"psma|piflufolastat|pylarify|locametz|illuccix|posluma|flotufolastat|dota|detectnet|netspot|octreotid|fapi"
    r"|pentixa|choline?|fluciclovin|axumin|facbc|florbet|flutemetamol|taucipir|dopa|tyrosin|methionin|acetat|estradiol"
    r"|cerianna|thymidin|misonidazol|fluorid|galacto|fdgal|ammoni|water|rubidium|cardiogen|flurpiridaz|exendin"
    r"|girentuximab|trastuzumab|mibg|mfbg|glutamin|(?<![a-z])(naf|flt|fes|fet|fmiso|faza|pib|bpa)(?![a-z])"
)
#: words that name no tracer, as scanners write them where none was chosen
GENERIC = {
    "solution",
    "injection",
    "radiopharmaceutical",
    "radiopharm",
    "injectable",
    "glucose",
    "radionuclide",
    "isotope",
    "tracer",
    "pet",
    "unknown",
    "other",
}
GENERIC |= {"none", "not", "specified", "undefined", "user", "defined", "default"}
WORDS = re.compile(r"[^\W\d_]{2,}")
#: elements by name or by a symbol of two letters; sodium is of the substance (sodium fluoride), no label
LABELS = {name: symbol for name, symbol in ELEMENTS.items() if symbol != "Na"}
LABELS |= {symbol.lower(): symbol for symbol in LABELS.values() if len(symbol) > 1}
LABEL = re.compile(rf"(?<![^\W\d_])({'|'.join(LABELS)})(?![^\W\d_])")


def tracer_of(dataset: Dataset) -> str:
    """The tracer of a PET's header in lower case, ``fdg`` or as ``ga-68 psma-11``; empty where it names none.

    It is the radiopharmaceutical's text, else its code's meaning, else its nuclide, which names no tracer if it is
    F-18. A nuclide other than F-18 decides against FDG, which is what some scanners write for any; a code of FDG
    decides over a text that is not known to name another tracer.
    """
    item = (items(dataset, "RadiopharmaceuticalInformationSequence") or [dataset])[0]
    code = (items(item, "RadiopharmaceuticalCodeSequence") or [Dataset()])[0]
    stated = tracer_named(text(item, "Radiopharmaceutical"))
    coded = FDG if text(code, "CodeValue") in CODES_OF_FDG else tracer_named(text(code, "CodeMeaning"))
    nuclide = nuclide_of([item])[0]
    named = FDG if coded == FDG and nuclide in (None, "F-18") and not OTHERS.search(stated) else stated or coded
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
    if nuclide and other_nuclide and not _same_nuclide(nuclide, other_nuclide):
        return False
    return name.startswith(other_name) or other_name.startswith(name)


def _same_nuclide(one: str, other: str) -> bool:
    """Whether two nuclides, or elements of them, may be one: Ga-68 and Ga."""
    return f"{one}-".startswith(f"{other}-") or f"{other}-".startswith(f"{one}-")


def _parts(name: str) -> tuple[str | None, str]:
    """The nuclide of a tracer, or its element alone, None where its name tells neither, and the rest's letters and
    digits."""
    nuclide, rest = split_nuclide(name)
    if nuclide is None and (found := LABEL.search(name)):
        nuclide, rest = LABELS[found[1]], split_nuclide(LABEL.sub(" ", name))[1]
    return "F-18" if name == FDG else nuclide, re.sub(r"[\W_]", "", rest)
