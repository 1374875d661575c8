"""What of a lesion's figures is not to be trusted, in plain words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .evidence import SUPPORTED
from .intervals import PET_ALONE
from .measures import INTERVALS, MEASURES, RECOVERED, Lesion
from .segments import SHARE_TOLD


def doubts_of(lesion: Lesion, fwhm_mm: float) -> list[str]:
    """Sentences on a lesion, the gravest first; ``fwhm_mm`` is the resolution in the slice.

    It is that of the image, filter and voxels included, or of the sinogram's scanner, as it is told everywhere.
    """
    found = []
    if is_cold(lesion):
        found.append(
            f"Colder than its surroundings ({lesion.evidence_sigma:.1f} sigma): hot lesions alone are recovered."
        )
    elif lesion.evidence_sigma is not None and lesion.evidence_sigma < SUPPORTED:
        found.append(f"Not supported by the data ({lesion.evidence_sigma:.1f} sigma).")
    if below_resolution(lesion, fwhm_mm):
        found.append(f"Smaller than the resolution ({diameter_mm(lesion):.1f} of {fwhm_mm:.1f} mm): SUVmax is lost.")
    of_result = lesion.recovered_from != PET_ALONE
    outside = [
        MEASURES[name].title for name in ("suvpeak", "suvmean", "suvmax") if of_result and _outside(lesion, name)
    ]
    if outside:
        found.append(f"SR's {', '.join(outside)} outside the interval.")
    if lesion.interval_note:
        found.append(lesion.interval_note)
    return found


def with_doubts(lesion: Lesion, fwhm_mm: float) -> Lesion:
    """The lesion with its doubts in words; what is recovered of one that is colder than its surroundings is not told,
    nor a recovered SUVmax of one below the resolution."""
    if is_cold(lesion):
        nothing: dict[str, Any] = dict.fromkeys((*RECOVERED, *INTERVALS, "recovered_from"))
        lesion = replace(lesion, **nothing)
    if below_resolution(lesion, fwhm_mm):
        lesion = replace(lesion, suvmax_recovered=None, suvmax_low=None, suvmax_high=None)
    return replace(lesion, doubts=" ".join(doubts_of(lesion, fwhm_mm)) or None)


def is_cold(lesion: Lesion) -> bool:
    """Whether the data say that a lesion has less uptake than its surroundings."""
    return lesion.evidence_sigma is not None and lesion.evidence_sigma <= -SUPPORTED


def with_share(lesion: Lesion, share: float) -> Lesion:
    """A lesion of which an image holds a ``share`` (0 to 1), with the doubt that this is; its TLG is not recovered."""
    if share >= 1 - SHARE_TOLD:
        return lesion
    told = f"The image holds {100 * share:.0f} % of it only."
    doubts = " ".join(filter(None, (told, lesion.doubts)))
    return replace(lesion, doubts=doubts, tlg_recovered=None, tlg_low=None, tlg_high=None)


def below_resolution(lesion: Lesion, fwhm_mm: float) -> bool:
    """Whether the sphere of a lesion's volume is smaller than the FWHM."""
    return lesion.volume_ml is not None and diameter_mm(lesion) < fwhm_mm


def diameter_mm(lesion: Lesion) -> float:
    """Of the sphere of a lesion's volume."""
    return 10 * (6 * (lesion.volume_ml or 0.0) / math.pi) ** (1 / 3)


def _outside(lesion: Lesion, measure: str) -> bool:
    low, high = (getattr(lesion, f"{measure}_{end}") for end in ("low", "high"))
    return low is not None and not low <= getattr(lesion, measure) <= high
