"""The image's resolution: from scanner, PSF and post-filter as the header has them, or as the user states them."""

from __future__ import annotations

import math

import pytest

from PETSuperResLib.errors import InputError
from PETSuperResLib.resolution import PSF_REMAINS, resolution_of
from PETSuperResLib.scanner import Scanner

MCT = Scanner.get("Siemens Biograph mCT")
CLINIC = {"convolution_kernel": "XYZ Gauss5.00", "reconstruction_method": "PSF+TOF 2i21s"}


def test_widths_add_in_quadrature_and_the_psf_narrows_the_scanners():
    found = resolution_of(MCT, CLINIC)
    assert found.psf_modelled and found.filter_fwhm_mm == (5.0, 5.0) and not found.warnings
    assert found.fwhm_mm == pytest.approx([math.hypot(PSF_REMAINS * f, 5) for f in (4.33, 4.25)])
    assert found.words().startswith("4.3 mm scanner, PSF modelled, 5 mm filter: ")


def test_what_the_user_states_replaces_the_header():
    found = resolution_of(MCT, CLINIC, post_filter=0.0, psf_modelled=False)
    assert found.fwhm_mm == (4.33, 4.25) and found.words() == "4.3 mm scanner, PSF not modelled, no filter: 4.3 mm"
    assert resolution_of(MCT, CLINIC, fwhm=6.0).fwhm_mm == (6.0, 6.0)


def test_what_nobody_states_is_assumed_as_none_and_told():
    found = resolution_of(MCT, {})
    assert found.fwhm_mm == (4.33, 4.25)
    assert "does not say whether the reconstruction modelled the PSF or the post-filter" in found.warnings[0]


def test_a_stated_fwhm_needs_no_scanner():
    assert resolution_of(None, {}, fwhm=5.5).fwhm_mm == (5.5, 5.5)
    with pytest.raises(InputError, match="name the scanner, or state the image's FWHM"):
        resolution_of(None, {})
