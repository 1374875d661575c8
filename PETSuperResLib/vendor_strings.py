"""What vendors write of the reconstruction into a PET's DICOM header: the PSF in the model, and the post-filter.

Strings and where they were seen, or what says what they mean:

- Siemens. ``PSF+TOF 2i21s`` with ``XYZ Gauss2.00`` (TCIA FDG-PET-CT-Lesions, mCT); ``OSEM2D 4i8s`` with ``XYZ G5.00``
  or ``XYZ Gauss5.00``, ``PSF 3i21s`` with ``XYZ Gauss4.00``, and ``X-Y-Z Gaussian F``, which 16 characters cut off
  before its width (TCIA ACRIN-NSCLC-FDG-PET, 1080 and 1094); ``OSEM3D+TOF 8i5s``, ``OP-OSEM3i21s`` (BIDS converters'
  tests); TrueX, HD-PET and UltraHD-PET are the marketing names of PSF and PSF+TOF; ``All-pass`` is the lack of a
  filter.
- GE. VPHD and VPFX are VUE Point HD and, with time of flight, FX: OSEM without PSF; a last S or ``SharpIR`` adds the
  PSF (s40658-020-0271-x, Table 1). QCHD and QCFX are Q.Clear, which has the PSF and no post-filter (Vallot et al.,
  EJNMMI Physics 2020, s40658-020-00294-y). ``OSEM`` (TCIA Soft-tissue-Sarcoma, Discovery ST) and ``3D IR`` (TCIA
  ACRIN, Discovery ST) are older than its PSF. The filter is in private attributes (creator GEMS_PETD_01, names of the
  GDCM and pydicom dictionaries): post_filter (0009,xxBA) and its FWHM in mm (0009,xxBB), in the slice;
  ir_z_filter_flag (0009,xxDB) and ir_z_filter_ratio r (0009,xxDC), axially with the weights 1:r:1, r = 4 being the
  console's "standard".
- Philips. ``3D-RAMLA``, ``LOR-RAMLA`` (TCIA Head-Neck-PET-CT, Gemini) have no PSF; ``BLOB-OS-TF`` (Gemini TF,
  Ingenuity) and ``OSEM:i3s15`` (Vereos) leave it open, and no string names a filter.
- Canon, United Imaging: no string with a source was found. "PSF" and "Gauss" with a width are understood anywhere, and
  so is that there is no PSF ("noPSF", "SharpIR off").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .widths import FWHM_PER_SIGMA

KERNEL, METHOD, DESCRIPTION = "convolution_kernel", "reconstruction_method", "description"  # of a volume's metadata
GE_FILTER, GE_AXIAL = "post_filter_mm", "axial_filter_ratio"  # GE's private attributes
TRACER, FDG = "tracer", "fdg"  # the name, and the value that every name of FDG becomes
RECONSTRUCTION = (KERNEL, METHOD, DESCRIPTION, GE_FILTER, GE_AXIAL)
HEADER = (*RECONSTRUCTION, "manufacturer", "model", TRACER)
WIDEST_MM = 15.0  # of a post-filter
DENIED = r"(?<![a-z])(no|non|without|w/o)[ _-]*({0})|({0})[ _:=-]*off(?![a-z])".format(r"psf|sharp ?ir|true ?x")
# pattern of a method: whether it models the PSF (None: the string leaves it open), and whether it is penalised, which
# takes the place of a post-filter
METHODS: tuple[tuple[str, bool | None, bool], ...] = (
    (DENIED, False, False),
    (r"\bqc[ _-]?(hd|fx)|q\.?clear|bsrem", True, True),
    (r"\b(vp|vue ?point )[ _-]?(hd|fx)[ _-]?s(?![a-z])|sharp ?ir|true ?x|psf|\b(ultra)?hd[ -]?pet\b", True, False),
    (r"\bvp[ _-]?(hd|fx)(?![a-z])|vue ?point|\b3d ?ir\b", False, False),
    (r"blob|osem:?i\d+s\d+", None, False),
    (r"ramla", False, False),
    (r"osem|mlem|\bfbp\b|back ?projection|kinahan|\b3drp\b|\bfore\b|\bdift\b", False, False),
)
GAUSS = re.compile(
    r"(?<![a-z])(?P<axes>x-?y-?z|x-?y|z)?[ _-]*(?:gauss(?:ian)?|(?<=[xyz] )g)(?:[ _-]*f(?:ilter)?)?[ _:=-]*"
    r"(?P<width>\d+(?:[.,]\d+)?)(?:[ m]*x[ ]*\d+(?:[.,]\d+)?[ m]*x[ ]*(?P<along>\d+(?:[.,]\d+)?))?"
)
WIDTH_FIRST = re.compile(r"(?P<width>\d+(?:[.,]\d+)?) ?mm[ _-]*(?:fwhm[ _-]*)?gauss")
NO_FILTER = re.compile(r"all[ _-]?pass|no(ne| filter)|unfiltered")


@dataclass(frozen=True)
class HeaderReconstruction:
    """What a header says of a reconstruction; None for what it does not say.

    ``filter_fwhm_mm`` is (transaxial, axial); ``penalised``: a penalty limits the noise, as in Q.Clear. ``unknown``
    are its strings of method and filter that are not understood.
    """

    psf_modelled: bool | None = None
    filter_fwhm_mm: tuple[float, float] | None = None
    penalised: bool = False
    unknown: tuple[str, ...] = ()


def read_header(metadata: Mapping[str, Any], slice_mm: float = 0.0) -> HeaderReconstruction:
    """PSF and post-filter from a volume's metadata (:data:`HEADER`); ``slice_mm`` is the distance of the slices.

    Method and filter are read from their own attributes; the series description serves for what these leave open.
    """
    method, kernel, described = (str(metadata.get(name) or "").strip() for name in (METHOD, KERNEL, DESCRIPTION))
    psf, penalised, known = _method(method)
    width = _ge_filter(metadata, slice_mm)
    width = _filter(kernel) if width is None else width
    unknown = [text for text, read in ((method, known), (kernel, width is not None)) if text and not read]
    if psf is None and not known:
        denied = re.search(DENIED, described.lower())
        psf = False if denied else _method(described)[0] or None  # one without the word "PSF" says nothing
    if width is None and penalised:
        width = (0.0, 0.0)
    if width is None and "gauss" in described.lower():
        width = _filter(described)
    return HeaderReconstruction(psf, width, penalised, tuple(unknown))


def header_words(metadata: Mapping[str, Any]) -> str:
    """The header with its strings, for a message: ``The PET's header ('PSF+TOF 3i21s', 'All-pass')``.

    Metadata in which nothing is of a DICOM header are those of a file without one.
    """
    given = [repr(str(metadata[name])) for name in (METHOD, KERNEL) if metadata.get(name)]
    if given:
        return f"The PET's header ({', '.join(given)})"
    if any(metadata.get(name) for name in (*HEADER, "series_uid")):
        return "The PET's header"
    return "A PET without a DICOM header, such as a NIfTI file,"


def _method(text: str) -> tuple[bool | None, bool, bool]:
    """Whether a method models the PSF, whether it is penalised, and whether it is known."""
    for pattern, psf, penalised in METHODS:
        if re.search(pattern, text.lower()):
            return psf, penalised, True
    return None, False, False


def _filter(text: str) -> tuple[float, float] | None:
    """(transaxial, axial) FWHM in mm of a filter in words, None where it is not understood."""
    text = text.lower()
    if NO_FILTER.search(text):
        return 0.0, 0.0
    found = GAUSS.search(text) or WIDTH_FIRST.search(text)
    if found is None:
        return None
    given = found.groupdict()
    width, axes = _number(given["width"]), (given.get("axes") or "xyz").replace("-", "")
    along = _number(given.get("along") or given["width"])
    if max(width, along) > WIDEST_MM:
        return None
    return (0.0 if axes == "z" else width), (0.0 if axes == "xy" else along)


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _ge_filter(metadata: Mapping[str, Any], slice_mm: float) -> tuple[float, float] | None:
    """(transaxial, axial) FWHM in mm of GE's private attributes, None without them.

    Weights 1:r:1 on slices of distance d have the variance 2 d^2 / (r + 2).
    """
    width, ratio = metadata.get(GE_FILTER), metadata.get(GE_AXIAL)
    if width is None or not 0 <= width <= WIDEST_MM:
        return None
    return float(width), FWHM_PER_SIGMA * slice_mm * math.sqrt(2 / (ratio + 2)) if ratio else 0.0
