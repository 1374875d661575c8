"""What vendors write of the reconstruction into a PET's DICOM header: PSF and post-filter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIELDS = ("convolution_kernel", "reconstruction_method")  # of a volume's metadata
GAUSS = re.compile(r"gauss(?:ian)?[\s_:=-]*(\d+(?:[.,]\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class HeaderReconstruction:
    """What a header says: ``None`` for what it does not say. ``filter_fwhm_mm`` is (transaxial, axial)."""

    psf_modelled: bool | None = None
    filter_fwhm_mm: tuple[float, float] | None = None


def read_header(metadata: Mapping[str, Any]) -> HeaderReconstruction:
    """PSF and post-filter from ``convolution_kernel`` and ``reconstruction_method`` of a volume's metadata."""
    kernel, method = (str(metadata.get(name, "")) for name in FIELDS)
    found = GAUSS.search(kernel)
    post = None
    if found:
        width = float(found[1].replace(",", "."))
        post = (width, width)
    elif re.search(r"all[\s-]*pass", kernel, re.IGNORECASE):
        post = (0.0, 0.0)
    psf = bool(re.search(r"psf|truex|hd", method, re.IGNORECASE)) if method else None
    return HeaderReconstruction(psf, post)


def header_words(metadata: Mapping[str, Any]) -> str:
    """The header's strings for a message: ``The PET's header ('PSF+TOF 3i21s', 'All-pass')``."""
    given = [repr(str(metadata[name])) for name in FIELDS[::-1] if metadata.get(name)]
    return f"The PET's header ({', '.join(given)})" if given else "The PET's header"
