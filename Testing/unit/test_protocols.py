"""Clinical protocols: a hospital's image has the voxels, filter, counts, convergence and header of its protocol."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dciodvfy import errors_of, needs_dciodvfy
from ellipses import Ellipse

from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.dicom.simulated import write_simulated
from PETSuperResLib.errors import InputError, OutputError, UnitsError
from PETSuperResLib.physics.clinical import clinical_image
from PETSuperResLib.physics.image_noise import image_noise
from PETSuperResLib.physics.protocols import LIGHT_MM_PER_PS, Protocol, protocols, several
from PETSuperResLib.physics.simulation import COUNTED_SLICE_MM, body_diameter, simulate
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.scanner import guess_preset, presets
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

COARSE = Protocol("coarse", "GE Discovery ST", "GE MEDICAL SYSTEMS", "Discovery ST", "osem", 1, 12, 6.0, 4.0)
SAYS_NO_FILTER = {"discovery-st", "vereos", "gemini-tf"}  # headers that name none though there is one


@pytest.fixture(scope="module")
def body() -> Volume:
    """A warm cylinder of 160 mm with a hot rod, slices of 4 mm, 1 SUV and 6 SUV."""
    shape, pixel = (48, 48), 4.0
    plane = Ellipse(0, 0, 80, 80).image(shape, pixel) + 5 * Ellipse(30, 10, 12, 12).image(shape, pixel)
    return Volume(np.repeat(plane[None], 9, 0), (pixel, pixel, 4.0), (-94.0, -94.0, 100.0), unit="SUVbw")


@pytest.fixture(scope="module")
def scan(body):
    return simulate(body, None, protocol=COARSE, spacing_mm=4.0, noise=False)


def test_every_protocol_has_a_source_and_a_header_by_which_its_scanner_is_found():
    assert len(protocols()) >= 8
    for protocol in protocols().values():
        assert protocol.scanner in presets() and protocol.source
        assert guess_preset(protocol.manufacturer, protocol.model) == protocol.scanner, protocol.name
    assert len({p.reconstruction for p in protocols().values()}) == 3


@pytest.mark.parametrize("name", protocols())
def test_a_header_says_what_was_done(name):
    """The resolution read from it has the protocol's PSF and filter, where vendors write them."""
    protocol = Protocol.get(name)
    scanner = presets()[protocol.scanner]
    told = resolution_of(scanner, protocol.header, (protocol.voxel_mm, protocol.slice_mm))
    if name != "vereos":  # Philips does not say
        assert told.psf_modelled == (protocol.reconstruction != "osem")
    expected = (0.0, 0.0) if name in SAYS_NO_FILTER else protocol.filter_fwhm_mm
    assert told.filter_fwhm_mm == pytest.approx(expected, abs=0.05)


def test_the_image_has_the_protocol_s_voxels_and_the_truth_its_slices(body):
    for slice_mm in (4.0, 3.27, 10.0):
        made = simulate(body, None, protocol=replace(COARSE, slice_mm=slice_mm), spacing_mm=4.0, noise=False)
        assert made.truth.spacing == (4.0, 4.0, slice_mm) and made.lr.spacing == (6.0, 6.0, slice_mm)
        assert made.lr.shape[0] == made.truth.shape[0] == math.floor(36 / slice_mm)
        for volume in (made.truth, made.lr):
            np.testing.assert_allclose(volume.corners().mean(0), body.corners().mean(0), atol=1e-6)
        assert made.lr.unit == "SUVbw" and made.protocol.slice_mm == slice_mm


def test_a_thick_slice_of_the_truth_is_the_mean_of_thin_ones():
    """Also where a slice holds no whole number of thin ones: a line across slices keeps its mean."""
    ramp = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 24, 24)).copy()
    fine = Volume(1 + ramp.astype(np.float32), (4.0, 4.0, 1.0), unit="SUVbw")
    for slice_mm in (4.0, 2.5):
        truth = simulate(fine, None, protocol=replace(COARSE, slice_mm=slice_mm), spacing_mm=4.0, noise=False).truth
        height = [(truth.ijk_to_lps @ [0, 0, k, 1.0])[2] for k in range(truth.shape[0])]
        np.testing.assert_allclose(truth.array[2:-2, 12, 12], 1 + np.array(height)[2:-2], atol=0.02)


def test_activity_and_place_survive(body, scan):
    inner = slice(3, 6)
    total = [v.array[inner].sum() * v.spacing[0] * v.spacing[1] for v in (scan.lr, scan.truth)]
    assert total[0] == pytest.approx(total[1], rel=0.02)
    centres = []
    for volume in (scan.lr, scan.truth):
        k, j, i = np.indices(volume.shape)
        points = (np.stack([i, j, k, np.ones_like(i)], -1) @ volume.ijk_to_lps.T)[..., :3]
        centres.append((volume.array[..., None] * points).sum((0, 1, 2)) / volume.array.sum())
    np.testing.assert_allclose(*centres, atol=0.05)


def point_widths(filter_fwhm_mm: tuple[float, float]) -> np.ndarray:
    """FWHM of a point's image, by its variance, squared: (transaxial, axial)."""
    point = Volume(np.zeros((15, 40, 40), np.float32), (3.0, 3.0, 3.0), unit="SUVbw")
    point.array[7, 20, 20] = 500
    made = replace(COARSE, voxel_mm=3.0, slice_mm=3.0, subsets=20, filter_fwhm_mm=filter_fwhm_mm)
    image = simulate(point, None, protocol=made, spacing_mm=3.0, noise=False).lr.array.astype(float)
    widths = []
    for axes in ((0, 1), (1, 2)):
        profile = image.sum(axes)
        place = 3.0 * np.arange(len(profile))
        mean = (profile * place).sum() / profile.sum()
        widths.append((profile * (place - mean) ** 2).sum() / profile.sum())
    return FWHM_PER_SIGMA**2 * np.array(widths)


def test_the_filter_adds_its_width_in_quadrature_transaxially_and_axially():
    added = point_widths((9.0, 6.0)) - point_widths((0.0, 0.0))
    np.testing.assert_allclose(np.sqrt(added), (9.0, 6.0), rtol=0.03)


def noise_of(protocol: Protocol, body: Volume, clean: Volume) -> float:
    noisy = simulate(body, None, protocol=protocol, spacing_mm=4.0, seed=1).lr
    return float((noisy.array - clean.array)[:, 12:20, 12:20].std())


def test_noise_falls_with_the_filter_and_with_time_of_flight(body, scan):
    plain = noise_of(COARSE, body, scan.lr)
    smooth = replace(COARSE, filter_fwhm_mm=(8.0, 6.0))
    assert noise_of(smooth, body, simulate(body, None, protocol=smooth, spacing_mm=4.0, noise=False).lr) < 0.5 * plain
    # time of flight at the same convergence: as many updates as without
    timed = replace(COARSE, tof_ps=200.0, subsets=1, iterations=round(12 / COARSE_GAIN))
    clean = simulate(body, None, protocol=timed, spacing_mm=4.0, noise=False).lr
    assert noise_of(timed, body, clean) == pytest.approx(plain / math.sqrt(COARSE_GAIN), rel=0.2)


COARSE_GAIN = replace(COARSE, tof_ps=200.0).tof_gain(160.0)


def test_time_of_flight_is_worth_the_diameter_over_the_length_that_its_kernel_leaves():
    """(sum g)^2 / sum g^2 is the length of a box with a Gaussian's variance of sums."""
    protocol = replace(COARSE, tof_ps=400.0)
    step = 0.01
    x = np.arange(-500, 500, step)
    g = np.exp(-(x**2) / 2 / (LIGHT_MM_PER_PS * 400 / 2 / FWHM_PER_SIGMA) ** 2)
    assert protocol.tof_gain(300.0) == pytest.approx(300.0 / (g.sum() ** 2 / (g**2).sum() * step), rel=1e-4)
    assert protocol.tof_gain(10.0) == 1.0 and COARSE.tof_gain(300.0) == 1.0
    assert protocol.updates(300.0) == round(12 * protocol.tof_gain(300.0)) and COARSE.updates(300.0) == 12


def test_counts_grow_with_slice_thickness_and_the_gain_in_the_own_body(body, scan):
    assert body_diameter(scan.truth) == pytest.approx(160, rel=0.03)
    nominal = presets()[COARSE.scanner].trues_per_slice
    assert scan.measurement.trues_per_slice == pytest.approx(nominal * 4.0 / COUNTED_SLICE_MM, rel=1e-3)
    timed = simulate(body, None, protocol=replace(COARSE, tof_ps=200.0), spacing_mm=4.0, noise=False)
    gain = timed.measurement.trues_per_slice / scan.measurement.trues_per_slice
    assert gain == pytest.approx(replace(COARSE, tof_ps=200.0).tof_gain(body_diameter(timed.truth)), rel=1e-3)
    assert timed.facts["tof_gain"] == pytest.approx(gain, abs=0.01)


def test_the_psf_in_the_reconstruction_sharpens_and_the_penalty_smooths(body, scan):
    """Against the truth's mean in the rod; and the noise of a penalised image is below that of PSF-OSEM."""
    psf = replace(COARSE, reconstruction="psf-osem", iterations=5)
    penalised = replace(COARSE, reconstruction="penalised", iterations=8, subsets=1, beta=1.0)
    plain, sharp = (clinical_image(scan.measurement, p, 160.0) for p in (replace(COARSE, iterations=5), psf))
    assert sharp.array.max() > 1.05 * plain.array.max()
    smooth = clinical_image(scan.measurement, penalised, 160.0)
    assert noise_of(penalised, body, smooth) < 0.7 * noise_of(psf, body, sharp)


def test_without_noise_the_measurement_is_its_expectation(scan):
    mean = scan.measurement.model(scan.measurement.grid).mean(torch.from_numpy(scan.truth.array))
    assert float((scan.measurement.counts - mean).norm() / mean.norm()) < 0.03
    assert not torch.equal(scan.measurement.counts, scan.measurement.counts.round())


def test_the_image_comes_back_from_dicom_with_its_header(scan, tmp_path):
    image = replace(scan.lr, array=scan.lr.array.copy(), metadata=Protocol.get("discovery-710-sharpir").header)
    image.array[0] = 0  # an empty slice
    assert len(write_simulated(image, tmp_path / "series")) == image.shape[0]
    back = read_series(tmp_path / "series")
    assert back.unit == "SUVbw" and back.same_grid(image, 1e-3)
    np.testing.assert_allclose(back.array, image.array, atol=1e-3 * image.array.max())
    for name, value in image.metadata.items():
        assert back.metadata[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    assert back.metadata["units"] == "BQML" and not back.metadata["notes"]
    with pytest.raises(OutputError, match="not empty"):
        write_simulated(image, tmp_path / "series")
    with pytest.raises(UnitsError, match="SUVbw"):
        write_simulated(replace(image, unit="HU"), tmp_path / "other")


@needs_dciodvfy
@pytest.mark.parametrize("name", ["mct-earl2", "discovery-710-sharpir", "gemini-tf"])
def test_the_series_is_valid_dicom(scan, tmp_path, name):
    image = replace(scan.lr, metadata=Protocol.get(name).header)
    assert not errors_of(write_simulated(image, tmp_path / "series")[1])


def test_slices_from_the_other_end_come_back_at_their_places(scan, tmp_path):
    flipped = replace(scan.lr, direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
    write_simulated(flipped, tmp_path / "series")
    back = read_series(tmp_path / "series").resample_to(flipped, "nearest")
    np.testing.assert_allclose(back.array, flipped.array, atol=1e-3 * flipped.array.max())


def test_an_own_protocol_is_read_and_wrong_ones_are_named(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(COARSE.to_dict()), encoding="utf-8")
    assert Protocol.get(str(path)) == COARSE
    with pytest.raises(InputError, match="did you mean 'mct-lesions'"):
        Protocol.get("mct-lesion")
    for change, told in (
        ({"voxels": 3}, "voxels"),
        ({"reconstruction": "fbp"}, "fbp"),
        ({"iterations": 0}, "iterations"),
        ({"voxel_mm": "4"}, "voxel_mm"),
        ({"filter_fwhm_mm": 5}, "filter_fwhm_mm"),
        ({"filter_fwhm_mm": [5, 90]}, "filter_fwhm_mm"),
        ({"beta": 1.0}, "beta"),
        ({"tof_ps": -5}, "tof_ps"),
        ({"scanner": "no such"}, "no such"),
    ):
        path.write_text(json.dumps(COARSE.to_dict() | change), encoding="utf-8")
        with pytest.raises(Exception, match=told) as error:
            Protocol.get(str(path))
        assert isinstance(error.value, InputError) or "no such" in told


def test_several_protocols_are_told_apart_by_their_names():
    other = replace(COARSE, filter_fwhm_mm=(3.0, 3.0))
    assert several([COARSE, "vision", COARSE, "VISION"]) == (COARSE, Protocol.get("vision"))
    with pytest.raises(InputError, match=f"Two protocols have the name '{COARSE.name}': give one of them another"):
        several([COARSE, other])


def test_the_noise_of_an_image_with_the_psf_is_measured_as_it_is(body):
    """Its correlation by the PSF is part of it; the noise is that of the image less the one without noise."""
    protocol = replace(Protocol.get("mct-lesions"), voxel_mm=2.0, slice_mm=4.0)
    noisy, clean = (simulate(body, None, protocol=protocol, noise=noise).lr for noise in (True, False))
    told = resolution_of(presets()[protocol.scanner], noisy.metadata, (2.0, 4.0))
    found = image_noise(noisy, told.noise_fwhm_mm, told.noise_exponent)
    warm = (clean.array > 0.8) & (clean.array < 1.3)
    variance = float(((noisy.array - clean.array)[warm] ** 2).mean() / clean.array[warm].mean())
    assert found.variance_ratio == pytest.approx(variance, rel=0.3)
