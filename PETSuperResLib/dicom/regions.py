"""Regions that DICOM files describe (ROIs of an RTSTRUCT, segments of a SEG), and which of them are lesions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..volume import Volume

LESION = "lesion"
OTHER = "other"  # an organ, a margin, an aid of planning
UNKNOWN = "unknown"

ORGANS = (
    "heart|lung|liver|kidney|spleen|bladder|brain|cord|bowel|colon|rectum|stomach|o?esophag|parotid|thyroid|larynx"
    "|prostate|uterus|femur|femoral|pelvis|spine|vertebra|bone|aorta|eye|lens|optic|chiasm|mandible|oral|trachea"
    "|pancreas|breast|muscle|cerebell|body"
)
LESION_NAME = re.compile(
    r"gtv|tumou?r|l[eéäæ]sion|neoplas|(?<![a-z])mass(?![a-z])|malign|metasta|nodul|cancer|carcinom|sarcom|lymphom"
    r"|melanom|(?<![a-z])t?mtv(?![a-z])",
    re.IGNORECASE,
)
MARGIN = r"^[^a-z]*(?:ptv|ctv|ring|avoid|opt)|(?:gtv|tumou?r|lesion)\w*\s*(?:\+|plus|ring)"
WITHOUT = (
    rf"(?:{ORGANS})\w*[\s_]*-[\s_]*(?:i?gtv|ctv|ptv)"  # Lungs-GTV, as the names of AAPM TG-263 subtract
    r"|(?<![a-z])(?:minus|without|excl\w*|w/o|non?|normal|healthy)[\s_-]+(?:i?gtv|ctv|ptv|tumou?r|lesion)"
)
NO_LESION = re.compile(rf"{MARGIN}|{WITHOUT}", re.IGNORECASE)
OTHER_NAME = re.compile(
    rf"{ORGANS}|^[^a-z]*(?:external|skin|couch|table|bolus|iso|poi|marker)|background|reference|blood", re.IGNORECASE
)


@dataclass(frozen=True)
class Region:
    """One ROI or segment of a DICOM file, not drawn yet.

    ``kind`` is :data:`LESION`, :data:`OTHER` or :data:`UNKNOWN`; ``frame`` the UID of its frame of reference, empty
    where none is stated. ``draw`` makes the parts (0 to 1) of the voxels within it, cut to the box around it, with
    what the reader must be told; it raises :class:`InputError` for what cannot be drawn.
    """

    name: str
    kind: str
    frame: str
    draw: Callable[[], tuple[Volume, list[str]]]


def kind_of(name: str, words: str, stated: str) -> str:
    """Whether a region is a lesion by its ``name``, further ``words`` (labels, coded meanings) and ``stated`` kind.

    A stated lesion is one. A name of a lesion outweighs a stated organ, which some systems write for every region;
    a margin about a lesion and an organ without its lesion are none.
    """
    if stated == LESION:
        return LESION
    if NO_LESION.search(name):
        return OTHER
    if LESION_NAME.search(name) or (stated != OTHER and LESION_NAME.search(words)):
        return LESION
    return OTHER if stated == OTHER or OTHER_NAME.search(f"{name} {words}") else UNKNOWN
