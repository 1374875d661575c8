"""What is recovered of the lesions of a PET without a result: spheres of known uptake in a blurred image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from PETSuperResLib.errors import InputError
from PETSuperResLib.grid import reordered
from PETSuperResLib.image_resolution import ImageResolution
from PETSuperResLib.inputs import noise_of_pet, resolution_of_pet
from PETSuperResLib.lesions.intervals import PET_ALONE, calibration
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.pet_alone import lesions_of_pet, parts
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA, without_box

FWHM_MM, SUV, VOXEL_MM = 7.5, 8.0, 4.0  # FWHM with the voxels' own extent
SPHERES = ((30.0, 40.0, 40.0), (30.0, 40.0, 120.0))  # centres, (z, y, x) in mm
SHAPE, FINE = (15, 20, 40), 2  # voxels, and parts of each along every axis


@pytest.fixture(scope="module")
def scan():
    """A PET in which two spheres of 18 mm are blurred, and their labels on finer voxels."""
    places = np.indices([n * FINE for n in SHAPE]) * VOXEL_MM / FINE + VOXEL_MM / FINE / 2
    labels = np.zeros(places.shape[1:], np.float32)
    for label, centre in enumerate(SPHERES, 1):
        labels[np.hypot.reduce([p - c for p, c in zip(places, centre, strict=True)]) <= 9] = label
    sharp = np.where(labels > 0, SUV, 1.0)
    width = without_box(FWHM_MM, VOXEL_MM, 1.0) / (VOXEL_MM / FINE)
    blurred = ndimage.gaussian_filter(sharp, width / FWHM_PER_SIGMA)
    k, j, i = SHAPE
    image = blurred.reshape(k, FINE, j, FINE, i, FINE).mean((1, 3, 5))
    image += np.random.default_rng(0).normal(0, 0.03, SHAPE)
    drawn = Volume(labels, (VOXEL_MM / FINE,) * 3, (-VOXEL_MM / FINE / 2,) * 3, unit="label")
    return Volume(image.astype(np.float32), (VOXEL_MM,) * 3, unit="SUVbw"), segments_of(drawn)


def test_uptake_that_the_blur_took_is_recovered_and_said_to_be_of_the_pet_alone(scan):
    pet, segments = scan
    found = lesions_of_pet(pet, segments, resolution_of_pet(pet, fwhm=FWHM_MM)[1])
    assert [lesion.label for lesion in found] == [1, 2]
    for lesion in found:
        assert lesion.suvmean < 0.8 * SUV
        assert lesion.suvmean_recovered == pytest.approx(SUV, rel=0.15)  # its border is sharper than those of lesions
        assert lesion.suvmean_low < SUV < lesion.suvmean_high
        assert lesion.tlg_recovered == pytest.approx(lesion.suvmean_recovered * lesion.volume_ml)
        assert lesion.evidence_sigma > 10 and lesion.recovered_from == "PET alone"
        assert lesion.suvmax_recovered is None and "SR" not in (lesion.doubts or "")


def test_with_the_psf_the_response_of_convergence_decides(scan, monkeypatch):
    pet, segments = scan
    resolution = resolution_of_pet(pet, "Siemens Biograph mCT", post_filter=5.0, psf_modelled=True)[1]
    means = [lesions_of_pet(pet, segments[:1], resolution)[0].suvmean_recovered]
    monkeypatch.setattr(ImageResolution, "converging", None)
    means += [lesions_of_pet(pet, segments[:1], resolution)[0].suvmean_recovered]
    assert abs(means[0] / means[1] - 1) > 0.005


def test_where_scanner_psf_or_filter_is_a_guess_the_interval_is_wider_and_says_so(scan, monkeypatch):
    """The FWHM alone says as little as a scanner without its filter does."""
    pet, segments = scan
    scanner, told = "Siemens Biograph mCT", "Scanner, PSF or filter of the PET are a guess"
    factor = calibration().guessed[PET_ALONE]["suvmean"]
    known = resolution_of_pet(pet, scanner, post_filter=5.0, psf_modelled=False)[1]
    alone = resolution_of_pet(pet, fwhm=known.fwhm_mm[0])[1]
    without_filter = resolution_of_pet(pet, scanner, psf_modelled=False)[1]
    assert told not in (lesions_of_pet(pet, segments[:1], known)[0].interval_note or "")
    guesses = [lesions_of_pet(pet, segments[:1], one)[0] for one in (alone, without_filter)]
    monkeypatch.setattr(ImageResolution, "described", True)
    taken_for_sure = [lesions_of_pet(pet, segments[:1], one)[0] for one in (alone, without_filter)]
    for guess, sure in zip(guesses, taken_for_sure, strict=True):
        assert told in guess.interval_note and told not in (sure.interval_note or "")
        wide, narrow = (math.log(one.suvmean_high / one.suvmean_low) for one in (guess, sure))
        assert wide == pytest.approx(factor * narrow, rel=1e-3) and factor > 1.1


def test_a_wider_blur_took_more(scan):
    pet, segments = scan
    means = [
        lesions_of_pet(pet, segments[:1], resolution_of_pet(pet, fwhm=f)[1])[0].suvmean_recovered for f in (5.0, 9.0)
    ]
    assert 1.2 * means[0] < means[1]


def test_the_evidence_does_not_depend_on_how_a_known_resolution_is_stated(scan):
    pet, segments = scan
    scanner = "Siemens Biograph mCT"
    for psf in (True, False):
        _, known = resolution_of_pet(pet, scanner, post_filter=5.0, psf_modelled=psf)
        _, stated = resolution_of_pet(pet, scanner, fwhm=known.fwhm_mm[0], psf_modelled=psf)
        one, other = (lesions_of_pet(pet, segments[:1], made)[0].evidence_sigma for made in (known, stated))
        assert one == pytest.approx(other, rel=0.001)


def test_a_segment_far_from_others_is_fitted_by_itself_in_slices_of_any_direction(scan):
    pet, segments = scan
    _, resolution = resolution_of_pet(pet, fwhm=FWHM_MM)
    noise, _ = noise_of_pet(pet, resolution, 5.0)
    both = lesions_of_pet(pet, segments, resolution, noise)
    alone = lesions_of_pet(reordered(pet, (1, 2, 0)), [segments[1]], resolution, noise)
    assert alone[0].suvmean_recovered == pytest.approx(both[1].suvmean_recovered, rel=1e-4)
    assert alone[0].evidence_sigma == pytest.approx(both[1].evidence_sigma, rel=1e-3)


def test_where_slices_have_more_noise_there_is_less_evidence(scan, monkeypatch):
    monkeypatch.setattr("PETSuperResLib.pet_alone.MARGIN_MM", 8.0)  # so that slices at both ends are left out
    pet, segments = scan
    _, resolution = resolution_of_pet(pet, fwhm=FWHM_MM)
    noise, _ = noise_of_pet(pet, resolution, 5.0)
    uneven = replace(noise, shares=(1.0,) * 8 + (4.0,) * 7)
    (part,) = parts(pet, segments[:1], resolution, uneven)
    k = round((part.estimate.origin[2] - pet.origin[2]) / VOXEL_MM)
    assert k > 0 and part.data.measurement.noise.shares == uneven.shares[k : k + len(part.estimate.array)]
    even, *less = (
        lesions_of_pet(pet, segments[:1], resolution, one)[0].evidence_sigma
        for one in (noise, uneven, replace(noise, shares=(4.0,) * 15))
    )
    assert less[1] == pytest.approx(even / 2, rel=0.05) and less[1] < less[0] < 0.9 * even


def test_a_segment_outside_the_pet_is_left_out(scan):
    pet, segments = scan
    away = replace(segments[1], mask=replace(segments[1].mask, origin=(900.0, 0.0, 0.0)))
    found = lesions_of_pet(pet, [away, segments[0]], resolution_of_pet(pet, fwhm=FWHM_MM)[1])
    assert [lesion.label for lesion in found] == [1]
    assert lesions_of_pet(pet, [away], resolution_of_pet(pet, fwhm=FWHM_MM)[1]) == []


def test_a_resolution_that_neither_header_nor_user_tells_is_asked_for(scan):
    pet, _ = scan
    with pytest.raises(InputError, match="name the scanner, or state the FWHM"):
        resolution_of_pet(pet)
    told = replace(pet, metadata={"manufacturer": "GE MEDICAL SYSTEMS", "model": "Discovery ST"})
    scanner, resolution = resolution_of_pet(told)
    assert scanner.name == "GE Discovery ST" and resolution.words().startswith("6.1 mm scanner")
