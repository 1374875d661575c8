"""What a PET's header says of its scanner and reconstruction, GE's private attributes included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ..headers.attributes import text
from ..suv.tracer import tracer_of
from ..vendor_strings import DESCRIPTION, KERNEL, METHOD, TRACER
from .files import read_dataset
from .ge import ge_filters

KEYWORDS = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    DESCRIPTION: "SeriesDescription",
    METHOD: "ReconstructionMethod",
    KERNEL: "ConvolutionKernel",
}


def reconstruction_of(dataset: Dataset) -> dict[str, Any]:
    """The values of :data:`~PETSuperResLib.vendor_strings.HEADER` by name, empty texts for what is missing."""
    found = {name: text(dataset, keyword) for name, keyword in KEYWORDS.items()} | ge_filters(dataset)
    return found | {TRACER: tracer_of(dataset)}


def reconstruction_header(path: str | Path) -> dict[str, Any]:
    """:func:`reconstruction_of` a DICOM file; raises :class:`~PETSuperResLib.errors.InputError` for another."""
    return reconstruction_of(read_dataset(Path(path), pixels=False))
