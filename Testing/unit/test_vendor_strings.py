"""What the header says of PSF and filter, by every vendor's strings; nothing is guessed from an unknown one."""

from __future__ import annotations

import pytest

from PETSuperResLib.vendor_strings import read_header

NONE, ALL_PASS = None, (0.0, 0.0)


@pytest.mark.parametrize(
    ("method", "kernel", "psf", "post"),
    [
        ("PSF+TOF 2i21s", "XYZ Gauss4.00", True, (4, 4)),
        ("PSF+TOF 4i5s", "All-pass", True, ALL_PASS),
        ("PSF 3i24s", "Gauss 5.0", True, (5, 5)),
        ("TrueX+TOF", "XYZ Gaussian5.00", True, (5, 5)),
        ("UltraHD-PET", "XYZGAUSSIAN2.0", True, (2, 2)),
        ("OSEM3D+TOF 8i5s", "XYZ Gauss5,00", False, (5, 5)),
        ("OSEM2D 4i8s", "XYZ G5.00", False, (5, 5)),
        ("OP-OSEM3i21s", "XY Gauss3.0", False, (3, 0)),
        ("OSEM3D 2i8s", "Z Gauss4", False, (0, 4)),
        ("VPFX", "", False, NONE),
        ("VPFX-S", "", True, NONE),
        ("VPFXS", "", True, NONE),
        ("VPFX_S", "", True, NONE),
        ("VUE Point FX-S", "", True, NONE),
        ("VUE Point FX", "", False, NONE),
        ("VPHD", "", False, NONE),
        ("VPHD-S", "", True, NONE),
        ("VUE Point HD", "", False, NONE),
        ("VUE Point HD SharpIR", "", True, NONE),
        ("QCFX", "", True, ALL_PASS),
        ("QCFX-S", "", True, ALL_PASS),
        ("QCHD", "", True, ALL_PASS),
        ("OSEM", "", False, NONE),
        ("3D IR", "", False, NONE),
        ("BLOB-OS-TF", "", None, NONE),
        ("BLOB-OS", "", None, NONE),
        ("OSEM:i3s15", "", None, NONE),
        ("LOR-RAMLA", "", False, NONE),
        ("3D-RAMLA", "", False, NONE),
        ("OSEM_TOF_PSF", "GAUSS 6", True, (6, 6)),
        ("OSEM_TOF_noPSF", "5.0 mm Gaussian", False, (5, 5)),
        ("OSEM+TOF (without PSF)", "Gauss 4 x 4 x 6", False, (4, 6)),
        ("OSEM+TOF+PSF no filter", "all pass", True, ALL_PASS),
        ("VUE Point FX, SharpIR off", "4 mm FWHM Gauss", False, (4, 4)),
        ("3D Kinahan - Rogers", "", False, NONE),
        ("", "", None, NONE),
    ],
)
def test_the_strings_of_every_vendor(method, kernel, psf, post):
    found = read_header({"reconstruction_method": method, "convolution_kernel": kernel})
    assert (found.psf_modelled, found.filter_fwhm_mm, found.unknown) == (psf, post, ())


@pytest.mark.parametrize("kernel", ["X-Y-Z Gaussian F", "Standard", "rectangle \\ 4.0 mm \\ order 0", "XYZ Gauss40"])
def test_a_filter_that_is_not_understood_is_told_and_not_guessed(kernel):
    found = read_header({"reconstruction_method": "OSEM2D 2i8s", "convolution_kernel": kernel})
    assert found.filter_fwhm_mm is None and found.unknown == (kernel,)


def test_a_method_that_is_not_known_is_told_and_not_guessed():
    found = read_header({"reconstruction_method": "HYPER DPR", "convolution_kernel": "Gauss_3.0"})
    assert (found.psf_modelled, found.filter_fwhm_mm, found.unknown) == (None, (3, 3), ("HYPER DPR",))


def test_the_series_description_serves_for_what_the_other_fields_leave_open():
    described = {"description": "WB PET PSF+TOF Gauss 4 mm"}
    assert read_header(described).psf_modelled and read_header(described).filter_fwhm_mm == (4, 4)
    assert read_header(described | {"reconstruction_method": "OSEM3D 3i24s"}).psf_modelled is False
    assert read_header({"description": "PET WB HD 3 mm slices"}).psf_modelled is None
    assert read_header({"description": "PET WB no PSF 3 mm slices"}).psf_modelled is False


def test_ges_private_filter_counts_before_the_method_and_its_axial_weights_have_a_width():
    header = {"reconstruction_method": "VPFX", "post_filter_mm": 6.4, "axial_filter_ratio": 4.0}
    across, along = read_header(header, slice_mm=3.27).filter_fwhm_mm
    assert across == 6.4 and along == pytest.approx(4.45, abs=0.01)  # of 1:4:1, as the console's own kernel
    assert read_header({"reconstruction_method": "VPFX", "post_filter_mm": 0.0}).filter_fwhm_mm == (0, 0)
