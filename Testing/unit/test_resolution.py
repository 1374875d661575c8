"""The image's resolution: from scanner, PSF and post-filter as the header has them, or as the user states them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import pet_slices, set_private, write_series
from geometry import data_dir
from scipy import ndimage

from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.errors import InputError
from PETSuperResLib.image_resolution import FILTER_SHARE, REMAINS, ImageResolution
from PETSuperResLib.inputs import noise_of_pet, resolution_of_pet
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.request import Request
from PETSuperResLib.resolution import filter_of_noise, resolution_of
from PETSuperResLib.scanner import Scanner, contradiction, scanner_of
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

MCT = Scanner.get("Siemens Biograph mCT")
PHYSICAL = (4.33, 4.25)
CLINIC = {"convolution_kernel": "XYZ Gauss5.00", "reconstruction_method": "PSF+TOF 2i21s"}


def test_widths_add_in_quadrature_and_the_psf_narrows_the_scanners():
    found = resolution_of(MCT, CLINIC)
    assert found.psf_modelled and found.filter_fwhm_mm == (5.0, 5.0) and not found.warnings
    parts = zip(REMAINS["PSF"], (4.33, 4.25), strict=True)
    assert found.fwhm_mm == pytest.approx([math.hypot(part * fwhm, 5) for part, fwhm in parts])
    assert found.words().startswith("4.3 mm scanner, PSF modelled, 5 mm filter: ")
    assert resolution_of(MCT, CLINIC, psf_modelled=False).fwhm_mm == pytest.approx([math.hypot(f, 5) for f in PHYSICAL])


def test_the_extent_of_the_voxels_adds_the_variance_of_a_box():
    found = resolution_of(MCT, {}, (4.0, 3.0))
    for fwhm, physical, voxel in zip(found.fwhm_mm, PHYSICAL, (4.0, 3.0), strict=True):
        assert (fwhm / FWHM_PER_SIGMA) ** 2 == pytest.approx((physical / FWHM_PER_SIGMA) ** 2 + voxel**2 / 12)
    assert "4 mm voxels" in found.words()


def test_a_penalty_blurs_axially_what_the_psf_would_sharpen_and_hot_noise_is_higher_with_it():
    penalised, psf = (resolution_of(MCT, {"reconstruction_method": m}, post_filter=0.0) for m in ("QCFX", "VPFX-S"))
    plain = resolution_of(MCT, {"reconstruction_method": "VPHD"}, post_filter=0.0)
    assert penalised.fwhm_mm[1] > psf.fwhm_mm[1] and "penalised" in penalised.words()
    assert not penalised.warnings and not psf.warnings
    assert penalised.noise_exponent == psf.noise_exponent > plain.noise_exponent == 1
    wide = resolution_of(MCT, {"reconstruction_method": "VPFX-S"}, post_filter=6.0)
    assert psf.hot_part < wide.hot_part < plain.hot_part == 1
    assert resolution_of(MCT, {}).noise_exponent == resolution_of(None, {}, fwhm=6.0).noise_exponent > 1  # not known


def test_stating_the_psf_of_a_penalised_image_leaves_its_penalty_and_denying_it_denies_both():
    penalised = {"reconstruction_method": "QCFX"}
    header, stated, denied = (resolution_of(MCT, penalised, psf_modelled=psf) for psf in (None, True, False))
    assert header.penalised and replace(stated, origins=header.origins) == header
    assert (stated.origins or {})["psf_modelled"] == "stated" and "PSF modelled, penalised" in stated.words()
    assert denied.kind == "no PSF" and denied.words() == resolution_of(MCT, {}, (0.0, 0.0), None, 0.0, False).words()
    assert resolution_of(MCT, penalised, fwhm=6.0, psf_modelled=True).penalised


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("mct-osem", (7.23, 6.35)),
        ("mct-earl1", (7.30, 6.61)),
        ("mct-earl2", (5.84, 4.69)),
        ("discovery-690-vpfx", (7.01, 6.29)),
        ("discovery-710-sharpir", (7.45, 4.30)),
        ("vision", (5.04, 3.63)),
    ],
)
def test_it_is_what_brings_a_sharp_truth_nearest_to_the_simulated_image_of_a_protocol(name, fitted):
    """The fits that ``studies/benchmarks/image_widths.py`` prints, after a filter of 4 mm or more."""
    protocol = Protocol.get(name)
    found = resolution_of(Scanner.get(protocol.scanner), protocol.header, (protocol.voxel_mm, protocol.slice_mm))
    assert not found.warnings
    assert found.fwhm_mm == pytest.approx(fitted, rel=0.12)


def test_an_image_of_the_papers_settings_has_neither_psf_nor_filter():
    found = resolution_of(Scanner.get("Paper standard"), {}, (8.0, 3.0))
    assert not found.warnings and found.noise_exponent == 1 and found.noise_fwhm_mm == 0
    assert resolution_of(MCT, {}).warnings


def test_what_the_user_states_replaces_the_header():
    found = resolution_of(MCT, CLINIC, post_filter=0.0, psf_modelled=False)
    assert found.fwhm_mm == (4.33, 4.25) and found.words() == "4.3 mm scanner, PSF not modelled, no filter: 4.3 mm"


def test_a_stated_fwhm_leaves_what_is_known_of_the_noise_and_the_axial_proportion():
    known, stated = resolution_of(MCT, CLINIC), resolution_of(MCT, CLINIC, fwhm=6.0)
    assert stated.fwhm_mm == pytest.approx((6.0, 6.0 * known.fwhm_mm[1] / known.fwhm_mm[0]))
    assert stated.words() == "6.0 mm (axial 5.1 mm), stated"
    assert stated.noise_fwhm_mm == known.noise_fwhm_mm and stated.noise_exponent == known.noise_exponent
    assert not resolution_of(MCT, {}, fwhm=6.0).warnings  # nothing need be known besides


@pytest.mark.parametrize("post", [0.0, 3.0, 5.0, 7.0])  # a filter of less than the slices' extent is another matter
@pytest.mark.parametrize(("header", "psf"), [({}, True), ({}, False), ({"reconstruction_method": "VPFX-S"}, None)])
def test_the_same_fwhm_stated_or_by_the_filter_is_the_same_image_where_the_psf_is_known(header, psf, post):
    by_filter = resolution_of(MCT, header, (4.07, 3.0), post_filter=post, psf_modelled=psf)
    stated = resolution_of(MCT, header, (4.07, 3.0), fwhm=by_filter.fwhm_mm[0], psf_modelled=psf)
    for name in ("fwhm_mm", "noise_fwhm_mm", "noise_exponent", "hot_part"):
        assert getattr(stated, name) == pytest.approx(getattr(by_filter, name)), name
    assert ImageResolution.from_dict(stated.to_dict()).noise_fwhm_mm == pytest.approx(by_filter.noise_fwhm_mm)


@pytest.mark.parametrize("voxel_mm", [(4.07, 3.0), (2.0, 5.0), (1.0, 1.0)])
@pytest.mark.parametrize(
    "known",
    [
        *({"psf_modelled": True}, {"psf_modelled": False}, {}),
        *({"post_filter": 0.0, "psf_modelled": True}, {"post_filter": 5.0, "psf_modelled": True}),
    ],
    ids=str,
)
def test_the_axial_fwhm_of_a_narrow_stated_one_is_at_least_the_slices_extent(known, voxel_mm):
    """However sharp the image is in the slice. It grows with the stated one, without a jump where no filter is left."""
    extent = voxel_mm[1] * math.sqrt(8 * math.log(2) / 12)
    stated = np.arange(max(1.0, max(voxel_mm) / 2), 12, 0.02)
    axial = [resolution_of(MCT, {}, voxel_mm, fwhm=float(fwhm), **known).fwhm_mm[1] for fwhm in stated]
    assert min(axial) >= extent - 1e-9
    if known and "post_filter" not in known:
        edge = stated[1:] < REMAINS["PSF" if known["psf_modelled"] else "no PSF"][0] * PHYSICAL[0] + 0.1
        assert np.abs(np.diff(axial))[edge].max() < 0.2 and (np.diff(axial)[edge] > -1e-9).all()


def test_a_stated_fwhm_below_the_scanners_is_of_a_sharper_one_axially_too():
    """Without the PSF in the reconstruction nothing else explains it; with it little is left axially but the slices."""
    plain, psf = (resolution_of(MCT, {}, (2.0, 2.0), fwhm=2.6, psf_modelled=modelled) for modelled in (False, True))
    assert plain.fwhm_mm[1] == pytest.approx(2.6 * PHYSICAL[1] / PHYSICAL[0])
    assert psf.fwhm_mm[1] == pytest.approx(math.sqrt(2.0**2 * 8 * math.log(2) / 12))
    assert psf.words() == "2.6 mm (axial 1.4 mm), stated"


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            {},
            "A PET without a DICOM header, such as a NIfTI file, does not say whether the reconstruction modelled the",
        ),
        (
            {"model": "1094"},
            "The PET's header does not say whether the reconstruction modelled the PSF (taken as not) ",
        ),
        ({"reconstruction_method": "VPFX"}, "The PET's header ('VPFX') does not say the post-filter (taken as none)"),
        ({"reconstruction_method": "OSEM", "convolution_kernel": "Standard"}, "The header's 'Standard' is not known."),
    ],
)
def test_what_nobody_states_is_assumed_as_none_and_told(header, told):
    found = resolution_of(MCT, header)
    assert found.fwhm_mm == (4.33, 4.25) and told in found.warnings[0]
    assert "assumed" in found.to_dict()["origins"].values()
    assert not resolution_of(MCT, header, post_filter=0.0, psf_modelled=False).warnings


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({}, "Until then the noise is taken as larger, in case there was a filter, and intervals are wider."),
        ({"psf_modelled": False}, "Until then the noise is taken as larger, in case there was a filter, and intervals"),
        ({"post_filter": 0.0}, "Until then the noise of hot regions is taken as larger, in case it did, and intervals"),
    ],
)
def test_a_guess_has_more_noise_than_what_it_assumes_and_says_so(stated, told):
    """A wider filter leaves less of the noise to see, so that what is seen is of more noise."""
    guess, known = resolution_of(MCT, {}, **stated), resolution_of(MCT, {}, post_filter=0.0, psf_modelled=False)
    assert guess.fwhm_mm == known.fwhm_mm and told in guess.warnings[0] and not guess.described
    more = guess.noise_fwhm_mm > known.noise_fwhm_mm, guess.noise_exponent > known.noise_exponent
    assert more == ("post_filter" not in stated, "psf_modelled" not in stated)


NOISE = (7.2, 6.0)  # widths of an image's noise
PLAIN = {"reconstruction_method": "OSEM"}


def test_a_filter_that_nobody_states_is_read_from_the_noise_and_told_as_a_guess():
    found = resolution_of(MCT, PLAIN, (4.0, 3.0), noise_mm=NOISE)
    assert found.filter_fwhm_mm == pytest.approx([FILTER_SHARE * width for width in NOISE])
    assert found.fwhm_mm == pytest.approx(
        [math.hypot(*parts) for parts in zip(PHYSICAL, found.filter_fwhm_mm, strict=True)]
    )
    assert found.noise_fwhm_mm == pytest.approx(FILTER_SHARE * NOISE[0]) and not found.described
    assert found.words() == "4.3 mm scanner, PSF not modelled, 6.8 x 5.7 mm filter by its noise: 8.1 mm (axial 7.1 mm)"
    assert "('OSEM') does not say the post-filter (taken as 6.8 x 5.7 mm by the image's noise)" in found.warnings[0]
    assert found.warnings[0].endswith("Until then intervals are wider.")
    assert ImageResolution.from_dict(found.to_dict()) == replace(found, warnings=())


@pytest.mark.parametrize(
    ("noise", "words", "taken"),
    [
        ((2.0, 6.0), "5.7 mm axial filter by its noise, 4 mm voxels: 5.1", "5.7 mm axially and none in the slice"),
        ((7.2, 1.0), "6.8 mm transaxial filter by its noise, 3 mm slices: 8.1", "6.8 mm in the slice and none axially"),
        ((2.0, 1.0), "no filter, 4 mm voxels: 5.1", "none"),
    ],
)
def test_a_filter_that_shows_in_one_direction_alone_has_no_width_of_0_mm(noise, words, taken):
    found = resolution_of(MCT, PLAIN, (4.0, 3.0), noise_mm=noise)
    assert found.words().startswith(f"4.3 mm scanner, PSF not modelled, {words} mm")
    assert f"(taken as {taken} by the image's noise)" in found.warnings[0]


def test_what_header_or_user_say_of_the_filter_counts_before_the_noise():
    by_header, by_user = (
        resolution_of(MCT, CLINIC, noise_mm=NOISE),
        resolution_of(MCT, PLAIN, post_filter=3.0, noise_mm=NOISE),
    )
    assert by_header.filter_fwhm_mm == (5.0, 5.0) and by_user.filter_fwhm_mm == (3.0, 3.0)
    assert by_header.noise_fwhm_mm == resolution_of(MCT, CLINIC).noise_fwhm_mm and by_user.noise_fwhm_mm == 3.0
    stated = resolution_of(MCT, PLAIN, fwhm=8.0, noise_mm=NOISE)
    assert stated.fwhm_mm[0] == 8.0 and stated.filter_fwhm_mm == resolution_of(MCT, PLAIN, fwhm=8.0).filter_fwhm_mm


def test_noise_that_the_psf_correlates_is_no_filter():
    """And where it is not known whether it does, as little is sharpened as either asks for."""
    voxels = (2.0, 2.0)
    plain, psf, unknown = (filter_of_noise(PHYSICAL, NOISE, voxels, modelled) for modelled in (False, True, None))
    assert psf == pytest.approx(
        [math.sqrt((FILTER_SHARE * n) ** 2 - own**2) for n, own in zip(NOISE, PHYSICAL, strict=True)]
    )
    widths = [math.hypot(part * own, post) for part, own, post in zip(REMAINS["PSF"], PHYSICAL, psf, strict=True)]
    as_plain = [math.hypot(own, post) for own, post in zip(PHYSICAL, unknown, strict=True)]
    assert as_plain[0] == pytest.approx(widths[0]) and as_plain[0] < math.hypot(PHYSICAL[0], plain[0])
    assert as_plain[1] == PHYSICAL[1] > widths[1]  # without the PSF an image is no sharper than its scanner
    assert filter_of_noise(PHYSICAL, (4.4, 4.4), voxels, True) == (0.0, 0.0)  # that of the PSF alone
    assert filter_of_noise(PHYSICAL, (2.0, 2.0), (4.0, 3.0), False) == (0.0, 0.0)  # less than the voxels' own extent


@pytest.mark.parametrize(
    ("header", "stated", "width", "told"),
    [
        (CLINIC, {}, 7.0, ""),  # by the PSF of 4.33 mm and the filter of 5 mm
        (
            CLINIC,
            {},
            9.5,
            "noise has a width of 9.5 mm, where a scanner of 4.3 mm, the PSF modelled and a filter of 5 mm",
        ),
        (CLINIC, {}, 9.5, "would give it 7.0 mm: the image may be less sharp, as if it had been smoothed or resampled"),
        (CLINIC, {}, 5.0, "the image may be sharper. That decides how much is sharpened: check it."),
        (PLAIN, {"post_filter": 0.0}, 3.0, ""),  # less than the differences show
        (PLAIN, {"post_filter": 0.0}, 7.0, "no filter and voxels of 4 mm would give it 4.0 mm: the image may be less"),
        (PLAIN, {"fwhm": 6.6}, 5.3, ""),
        (PLAIN, {"fwhm": 5.2}, 5.3, ""),  # no less than this noise bears out is taken
        (PLAIN, {"fwhm": 7.9}, 5.3, ""),  # and no more
        (CLINIC, {"fwhm": 3.1}, 7.0, "where the stated FWHM of 3.1 mm would give it 4.6 mm: the image may be less"),
        (PLAIN | {"convolution_kernel": "XYZ Gauss5.00"}, {}, 3.0, "would give it 5.3 mm: the image may be sharper."),
        (PLAIN, {}, 12.0, ""),  # it is what the filter is read from
        ({"reconstruction_method": "QCFX"}, {}, 12.0, ""),
        ({}, {"fwhm": 7.9}, 4.0, ""),  # nothing is known of the PSF
        (CLINIC, {}, None, ""),
    ],
)
def test_noise_that_contradicts_scanner_and_filter_is_told(header, stated, width, told):
    """As that of an image that a workstation smoothed, or of a filter that is stated wrong."""
    noise = None if width is None else (width, 4.0)
    warnings = [
        w for w in resolution_of(MCT, header, (4.0, 3.0), **stated, noise_mm=noise).warnings if "noise has" in w
    ]
    assert bool(warnings) == bool(told) and (not told or told in warnings[0])


BEARS_OUT = "the image's noise bears out, which is as"
SCANNER_AND = "what a scanner of 4.3 mm and"


@pytest.mark.parametrize(
    ("stated", "noise", "post", "told"),
    [
        (
            7.9,
            5.3,
            1.1 * FILTER_SHARE * 5.3,
            f"more than {BEARS_OUT} narrow as behind a filter of 5.0 mm: 7.0 mm is taken, {SCANNER_AND} 1.1 times that "
            "filter give",
        ),
        (
            5.2,
            5.3,
            FILTER_SHARE * 5.3 / 1.1,
            f"less than {BEARS_OUT} wide as behind a filter of 5.0 mm: 6.3 mm is taken, {SCANNER_AND} that filter over "
            "1.1 give",
        ),
        (4.0, 3.0, 0.0, "less than the scanner's own, which is left without the PSF: 4.3 mm is taken, the scanner's"),
    ],
)
def test_a_stated_fwhm_counts_as_far_as_the_noise_bears_it_out(stated, noise, post, told):
    """A filter correlates the noise by its own width, so that scanner and noise bound the image's FWHM."""
    held = resolution_of(MCT, PLAIN, (4.0, 3.0), fwhm=stated, noise_mm=(noise, noise))
    assert held.fwhm_mm[0] == pytest.approx(math.hypot(4.33, post)) and held.stated
    way_out = "If the scanner's own FWHM is another, state that."
    assert held.warnings == (f"The stated FWHM of {stated:g} mm is {told}. {way_out}",)


@pytest.mark.parametrize("stated", [5.2, 7.9])
def test_a_stated_fwhm_counts_as_it_is_where_nothing_bounds_it(stated):
    """Nor for a scanner to which it belongs."""
    own = Scanner.get(MCT, fwhm_transaxial_mm={5.2: 2.4, 7.9: 5.8}[stated])
    seen = 5.3, 5.0
    cases = ((own, PLAIN, seen), (MCT, PLAIN, None), (MCT, CLINIC, seen), (MCT, {}, seen), (None, {}, seen))
    for scanner, header, noise in cases:
        assert resolution_of(scanner, header, (4.0, 3.0), fwhm=stated, noise_mm=noise).fwhm_mm[0] == stated


def test_a_stated_filter_counts_up_to_what_the_noise_bears_out():
    wide, narrow = (resolution_of(MCT, PLAIN, (4.0, 3.0), post_filter=mm, noise_mm=(5.3, 5.0)) for mm in (6.6, 3.0))
    assert wide.filter_fwhm_mm[0] == pytest.approx(1.1 * FILTER_SHARE * 5.3)
    assert wide.warnings == (
        f"The stated filter of 6.6 mm is more than {BEARS_OUT} narrow as behind a filter of 5.0 mm: 5.5 mm is taken, "
        "1.1 times that.",
    )
    assert narrow.filter_fwhm_mm == (3.0, 3.0)  # the image may have been smoothed later, which is told
    header = PLAIN | {"convolution_kernel": "XYZ Gauss6.60"}  # the vendor's own word
    assert resolution_of(MCT, header, (4.0, 3.0), noise_mm=(5.0, 5.0)).filter_fwhm_mm == (6.6, 6.6)


def test_a_stated_noise_is_held_to_the_measured_one_where_its_width_was_measured():
    noise = np.random.default_rng(0).normal(size=(16, 64, 64))
    pet = Volume((2 + ndimage.gaussian_filter(noise, (0, 0.8, 0.8))).astype(np.float32), (4.0, 4.0, 3.0), unit="SUVbw")
    resolution = resolution_of_pet(pet, MCT, psf_modelled=False)[1]
    measured = noise_of_pet(pet, resolution)[0].percent()
    for stated in (2 * measured, measured / 2):
        held = noise_of_pet(pet, resolution, stated)[0].percent()
        assert held == pytest.approx(measured * (1.25 if stated > measured else 0.8))
    guess = resolution_of_pet(pet.slices(0, 1), MCT, psf_modelled=False)[1]  # of which no width was measured
    measured = noise_of_pet(pet, guess)[0].percent()
    assert noise_of_pet(pet, guess, 2 * measured)[0].percent() == pytest.approx(2 * measured)


def test_the_width_of_the_noise_serves_where_the_fwhm_alone_is_stated():
    assert resolution_of(None, {}, fwhm=7.0, noise_mm=(6.0, 4.0)).noise_fwhm_mm == pytest.approx(FILTER_SHARE * 6.0)


def test_a_report_of_a_version_that_did_not_measure_the_noise_is_read():
    told = resolution_of(MCT, CLINIC).to_dict()
    del told["noise_mm"]
    assert ImageResolution.from_dict(told).noise_mm is None


def test_a_stated_fwhm_needs_no_scanner():
    assert resolution_of(None, {}, fwhm=5.5).fwhm_mm == (5.5, 5.5)
    with pytest.raises(InputError, match="name the scanner, or state the image's FWHM"):
        resolution_of(None, {})


def test_voxels_larger_than_the_resolution_are_told_and_a_fwhm_far_below_them_is_refused():
    assert not resolution_of(MCT, CLINIC, (4.07, 3.0)).warnings
    coarse = resolution_of(MCT, {"reconstruction_method": "OSEM", "convolution_kernel": "All-pass"}, (5.47, 3.27))
    assert "voxels (5.47 mm, slices 3.27 mm) are larger than its resolution (4.3 mm" in coarse.warnings[0]
    with pytest.raises(InputError, match="1.5 mm is less than half of the PET's voxels"):
        resolution_of(None, {}, (5.47, 3.27), fwhm=1.5)


@pytest.mark.parametrize(
    ("scanner", "header", "fwhm", "told"),
    [
        (MCT, CLINIC, 5.0, ""),
        (MCT, CLINIC, 8.0, ""),  # 5.9 mm by the header
        (
            *(MCT, CLINIC, 14.0),
            "The stated FWHM of 14 mm is far from the 5.8 mm that a scanner of 4.3 mm, the PSF modelled and a filter "
            "of 5 mm give: check them and the FWHM, as it decides how much is sharpened.",
        ),
        (MCT, CLINIC, 2.6, "The stated FWHM of 2.6 mm is far from the 5.8 mm"),
        (MCT, {"reconstruction_method": "QCFX", "post_filter_mm": 0.0}, 9.0, "the PSF modelled, penalised, no filter"),
        (MCT, {}, 10.0, ""),  # a filter may be left out
        (MCT, {}, 3.5, ""),  # and so may be the PSF
        (
            *(MCT, {}, 16.0),
            "far from the 4.1 to 9.1 mm that a scanner of 4.3 mm, the PSF modelled or not, no filter or one of up to "
            "8 mm and voxels of 4 mm give: check",
        ),
        (Scanner.get("Paper standard"), {}, 16.0, "of 8.0 mm, the PSF not modelled, no filter and voxels of 4 mm give"),
        (Scanner.get("Paper OOD"), {}, 12.0, ""),
        (None, {}, 12.0, ""),
        (None, {}, 15.0, "The stated FWHM of 15 mm is unusual, as whole-body PET images have 2.5 mm (a sharp scan"),
        (None, {}, 15.0, "the PSF modelled, no filter) to 12 mm (an old scanner, a wide filter): check it"),
        (None, {}, 2.2, "The stated FWHM of 2.2 mm is unusual"),
    ],
)
def test_a_stated_fwhm_far_from_what_is_known_is_told(scanner, header, fwhm, told):
    warnings = [w for w in resolution_of(scanner, header, (4.0, 3.0), fwhm=fwhm).warnings if "stated FWHM" in w]
    assert bool(warnings) == bool(told) and (not told or told in warnings[0])


@pytest.mark.parametrize(
    "state",
    [lambda fwhm: Request("pet.nii.gz", "ct.nii.gz", fwhm=fwhm), lambda fwhm: resolution_of(MCT, {}, fwhm=fwhm)],
)
def test_a_fwhm_that_no_pet_has_is_refused_with_the_reason_and_the_remedy(state):
    for fwhm, beyond in ((20.0, "none more than 18 mm"), (0.4, "none less than 1 mm"), (math.nan, "none more than")):
        with pytest.raises(InputError, match=f"A FWHM of {fwhm:g} mm is that of no clinical PET image") as caught:
            state(fwhm)
        assert "most have 2.5 to 12 mm" in str(caught.value) and beyond in str(caught.value)
        assert "in mm, not in pixels, filter included." in str(caught.value) and caught.value.option == "fwhm"
    for fwhm in (1.0, 18.0):
        state(fwhm)


def test_an_image_of_slices_by_themselves_has_no_axial_blur_but_the_filters():
    slicewise = Scanner.get("Paper standard")
    assert resolution_of(slicewise, {}, (0.0, 0.0)).fwhm_mm == (8.0, 0.0)
    assert resolution_of(slicewise, CLINIC).fwhm_mm[1] == 5.0


def test_the_words_name_both_widths_where_they_differ():
    header = {"reconstruction_method": "VPFX", "post_filter_mm": 6.4, "axial_filter_ratio": 4.0}
    words = resolution_of(Scanner.get("GE Discovery 690/710"), header, (2.7, 3.27)).words()
    assert words == "4.7 mm scanner, PSF not modelled, 6.4 x 4.45 mm filter: 7.9 mm (axial 6.5 mm)"
    assert resolution_of(None, CLINIC, fwhm=6.0).words() == "6.0 mm, stated"


def test_the_example_of_the_documentation_is_what_is_said():
    page = (Path(__file__).parents[2] / "docs" / "scanners.md").read_text(encoding="utf-8")
    assert f"{MCT.name} (from the header); {resolution_of(MCT, CLINIC, (2.04, 3.0)).words()}\n" in page


def test_the_attributes_of_a_dicom_series_reach_the_resolution(tmp_path):
    datasets = pet_slices()
    for dataset in datasets:
        dataset.Manufacturer, dataset.ManufacturerModelName = "GE MEDICAL SYSTEMS", "Discovery 710"
        dataset.ReconstructionMethod, dataset.ConvolutionKernel = "VPFX-S", ""
        for element, vr, value in ((0xBA, "SL", 1), (0xBB, "FL", 5.0), (0xDB, "SL", 0), (0xDC, "FL", 4.0)):
            set_private(dataset, 0x0009, "GEMS_PETD_01", element, vr, value)
    pet = read_series(write_series(datasets, tmp_path), suv=False)
    found = resolution_of(Scanner.get("GE Discovery 690/710"), pet.metadata, (pet.spacing[0], pet.spacing[2]))
    assert found.psf_modelled and found.filter_fwhm_mm == (5.0, 0.0)
    assert "PSF modelled, 5 mm transaxial filter, " in found.words()


@pytest.mark.parametrize(
    ("preset", "maker", "model", "told"),
    [
        ("Siemens Biograph mCT", "GE MEDICAL SYSTEMS", "Discovery ST", True),
        ("GE Discovery 690/710", "GE MEDICAL SYSTEMS", "Discovery ST", True),
        ("GE Discovery ST", "GE MEDICAL SYSTEMS", "Discovery ST", False),
        ("GE Discovery ST", "GE MEDICAL SYSTEMS", "Discovery RX", False),
        ("GE Discovery ST", "SIEMENS", "Unheard of", True),
        ("GE Discovery ST", "", "", False),
    ],
)
def test_a_scanner_that_contradicts_the_header_is_told(preset, maker, model, told):
    said = contradiction(Scanner.get(preset), {"manufacturer": maker, "model": model})
    assert bool(said) == told and (not told or (maker in said and preset in said))


def test_a_scanner_without_a_preset_is_named_with_what_to_do_and_with_no_other_scanners_name():
    with pytest.raises(InputError) as caught:
        scanner_of(None, {"manufacturer": "GE MEDICAL SYSTEMS", "model": "Discovery RX"})
    assert "No preset for GE MEDICAL SYSTEMS Discovery RX" in str(caught.value)
    assert "FWHM" in str(caught.value) and "JSON" in str(caught.value)


def test_the_header_of_a_real_series():
    pet = read_series(data_dir("sts_dicom") / "STS_001", modality="PT", suv=False)
    scanner = scanner_of(None, pet.metadata)
    found = resolution_of(scanner, pet.metadata, (pet.spacing[0], pet.spacing[2]))
    assert scanner.name == "GE Discovery ST" and found.origins == {"psf_modelled": "header", "filter": "assumed"}
    assert not found.psf_modelled and "('OSEM') does not say the post-filter" in found.warnings[0]
    read = resolution_of_pet(read_series(data_dir("sts_dicom") / "STS_001", modality="PT"))[1]
    assert read.origins["filter"] == "noise" and read.filter_fwhm_mm == pytest.approx((6.4, 3.6), abs=0.5)
