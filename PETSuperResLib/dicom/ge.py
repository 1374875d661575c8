"""GE's private attributes of a PET's reconstruction."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset

from ..headers.attributes import private
from ..vendor_strings import GE_AXIAL, GE_FILTER

CREATOR = "GEMS_PETD"
FILTERS = {GE_FILTER: (0xBA, 0xBB), GE_AXIAL: (0xDB, 0xDC)}  # elements of (0009,xx..): whether it was used, its value


def set_ge_filters(dataset: Dataset, filters: Mapping[str, float]) -> None:
    """Write what :func:`ge_filters` reads; a filter that is missing is written as not used."""
    block = dataset.private_block(0x0009, f"{CREATOR}_01", create=True)
    for name, (used, value) in FILTERS.items():
        block.add_new(used, "SL", int(name in filters))
        block.add_new(value, "FL", float(filters.get(name, 0.0)))


def ge_filters(dataset: Dataset) -> dict[str, float]:
    """Post-filter of GE's private attributes: FWHM in mm in the slice, ratio of the axial weights; 0 where not used."""
    found = {}
    for name, tags in FILTERS.items():
        try:
            used, value = (float(private(dataset, 0x0009, tag, CREATOR)) for tag in tags)
        except ValueError:  # absent, or no number
            continue
        found[name] = value if used else 0.0
    return found
