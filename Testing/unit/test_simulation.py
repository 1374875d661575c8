"""Simulated acquisitions: the counts that were asked for, no inverse crime, files that come back whole."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from ellipses import Ellipse
from safetensors.torch import save_file
from tiny import relative

from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.grid import image_grid
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics.attenuation import hu_to_mu
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.physics.model import ForwardModel, uniform_start
from PETSuperResLib.physics.simulation import line_integrals, simulate
from PETSuperResLib.progress import Reporter
from PETSuperResLib.scanner import Scanner, presets
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

ELLIPSES = [Ellipse(0, 0, 60, 60), Ellipse(37.3, -22.1, 40, 40), Ellipse(11.7, 8.3, 75, 45, 0.4)]
SCANNERS = [
    *presets().values(),
    Scanner("narrow bins", 5.0, views=90, bin_size_mm=0.7),
    Scanner("bins of a fine pixel", 5.0, views=90, bin_size_mm=1.0),
]


@pytest.fixture(scope="module")
def person():
    return torso_phantom(3, (2, 64, 96), (4.0, 4.0, 4.0), 1, "abdomen")


@pytest.fixture(scope="module")
def standard(person):
    return simulate(person.pet, person.ct, "standard", attenuation=True, seed=1)


def simulated(image, grid, scanner):
    return line_integrals(image, grid, scanner, True, Reporter(None))


def inverted(image, grid, scanner):
    return ForwardModel(replace(scanner, kernel_scale=1.0), grid.shape, grid.spacing).forward(image)


@pytest.fixture(scope="module")
def ellipses():
    pixel = 2.0
    image = np.stack([e.image((128, 120), pixel) for e in ELLIPSES])
    return Volume(image, (pixel, pixel, 100.0))  # slices too far apart for the axial blur


@lru_cache(maxsize=len(ELLIPSES))  # the same for both discretisations
def exact_sinogram(ellipse, views, bins, bin_mm, fwhm_mm):
    theta = (np.arange(views) + 0.5) * math.pi / views
    return ellipse.sinogram(theta, bins, bin_mm, fwhm_mm), ellipse.centre(theta)


@pytest.mark.parametrize("discretisation", [simulated, inverted])
@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.name)
def test_ellipses_have_their_analytic_sinograms(ellipses, scanner, discretisation):
    scanner = replace(scanner, views=36 + scanner.views % 4)  # enough for every angle, with the symmetries of all views
    measured = discretisation(torch.from_numpy(ellipses.array), ellipses, scanner).double().numpy()
    bin_mm, bins = scanner.bin_size_mm * scanner.radial_rebinning, measured.shape[2]

    def rebin(views):
        return views.reshape(-1, scanner.angular_rebinning, *views.shape[1:]).mean(1)

    for seen, ellipse in zip(measured, ELLIPSES, strict=True):
        known = exact_sinogram(ellipse, scanner.views, bins, bin_mm, scanner.fwhm_transaxial_mm)
        exact, middle = map(rebin, known)
        assert relative(seen, exact) < 0.01
        assert np.abs(seen.sum(1) * bin_mm / ellipse.area - 1).max() < 1e-4  # counts, in every view
        centre = seen @ ((np.arange(bins) - (bins - 1) / 2) * bin_mm) / seen.sum(1)
        assert np.abs(centre - middle).max() < 0.01  # mm


def test_a_field_of_view_smaller_than_the_image_only_leaves_bins_out():
    image = torch.from_numpy(ELLIPSES[2].image((64, 64), 4.0)[None])
    grid = Volume(image.numpy(), (4.0, 4.0, 4.0))
    wide, narrow = (simulated(image, grid, Scanner("Test", 5.0, bin_size_mm=3.0, radial_bins=n)) for n in (0, 40))
    margin = (wide.shape[2] - 40) // 2
    assert torch.allclose(narrow, wide[:, :, margin : margin + 40], rtol=1e-4)


def chi_square(simulation) -> float:
    """Mean of (counts - mean)^2 / mean under the inversion's model of the truth."""
    measurement = simulation.measurement
    mean = measurement.model(measurement.grid).mean(torch.from_numpy(simulation.truth.array))
    return float(((measurement.counts - mean) ** 2 / mean).mean())


def test_the_inversion_s_model_explains_the_counts_within_their_noise(person, standard):
    """With attenuation, and without it for the paper's other setting."""
    for simulation in (standard, simulate(person.pet, None, "ood", seed=2)):
        assert chi_square(simulation) == pytest.approx(1.0, abs=0.05)


def test_the_simulation_does_not_use_the_inversion_s_discretisation(person):
    quiet = simulate(person.pet, None, "standard", counts=1e5, seed=0)  # Poisson noise is negligible
    measurement = quiet.measurement
    mean = measurement.model(measurement.grid).mean(torch.from_numpy(quiet.truth.array))
    assert 3e-4 < relative(mean, measurement.counts) < 0.03


def test_counts_are_the_scanner_s_at_its_dose_fraction(standard):
    scanner = standard.measurement.scanner
    expected = scanner.trues_per_slice * scanner.dose_fraction
    assert standard.measurement.trues_per_slice == pytest.approx(expected, rel=0.02)
    background = float(standard.measurement.background.sum()) / len(standard.measurement.counts)
    assert background == pytest.approx(scanner.background_fraction * expected, rel=0.03)


@pytest.mark.parametrize(("counts", "factor"), [("high", 10.0), (0.5, 0.5)])
def test_count_levels_scale_the_measurement(person, counts, factor):
    one, other = (
        simulate(person.pet, None, "standard", c, spacing_mm=4.0, seed=0).measurement for c in ("realistic", counts)
    )
    assert other.trues_per_slice / one.trues_per_slice == pytest.approx(factor, rel=0.02)
    assert other.scale == pytest.approx(factor * one.scale, rel=1e-6)


def disc(radius: float = 20.0, slices: int = 2) -> Volume:
    """A cylinder of 1 SUV on the axis of rotation."""
    image = np.repeat(Ellipse(0, 0, radius, radius).image((90, 90), 4.0)[None], slices, 0)
    return Volume(image, (4.0, 4.0, 4.0), unit="SUVbw")


def test_half_of_the_background_is_uniform_and_half_a_blur_of_the_trues_by_120_mm():
    scanner = Scanner("Test", 8.0, views=20, bin_size_mm=4.0, background_fraction=0.4)
    measurement = simulate(disc(), None, scanner).measurement
    background = measurement.background[0].double().numpy()
    assert (background == background[0]).all()  # every view has the mean of all
    uniform = 0.5 * background.sum() / background.size
    scatter = background[0] - uniform
    assert scatter.min() > -1e-3 * scatter.max()
    place = (np.arange(len(scatter)) - (len(scatter) - 1) / 2) * 4.0
    blurred = 20**2 / 4 + (8**2 + 120**2) / FWHM_PER_SIGMA**2  # of a disc, the scanner's PSF and the scatter's
    assert (scatter * place**2).sum() / scatter.sum() == pytest.approx(blurred, rel=0.03)


def test_a_simulated_point_is_blurred_by_the_full_fwhm_in_all_three_directions():
    point = Volume(np.zeros((21, 61, 61), np.float32), (4.0, 4.0, 4.0), unit="SUVbw")
    point.array[10, 30, 30] = 1
    scanner = Scanner("Test", 16.0, 10.0, kernel_scale=0.5, views=20, bin_size_mm=2.0)
    lines = simulated(torch.from_numpy(point.array), point, scanner).double().numpy()

    def variance(profile: np.ndarray, step: float) -> float:
        place = (np.arange(len(profile)) - (len(profile) - 1) / 2) * step
        return float((profile * place**2).sum() / profile.sum())

    pixels = 2.0**2 * (0.75 + 2 / 12) + 2.0**2 / 12  # interpolation to 2 mm, two boxes of it, and the bin
    assert variance(lines.sum((0, 1)), 2.0) == pytest.approx((16 / FWHM_PER_SIGMA) ** 2 + pixels, rel=0.01)
    assert variance(lines.sum((1, 2)), 4.0) == pytest.approx((10 / FWHM_PER_SIGMA) ** 2 + 4.0**2 / 12, rel=0.01)


def test_attenuation_of_water_is_beer_and_lambert_s_law_and_takes_its_share_of_the_counts():
    water = Ellipse(12.0, -8.0, 100.0, 70.0, 0.3)
    inside = np.repeat(water.image((90, 90), 4.0)[None], 2, 0)
    pet = Volume(inside, (4.0, 4.0, 4.0), unit="SUVbw")
    ct = pet.with_array(1000 * inside - 1000, "HU")
    scanner = Scanner("Test", 16.0, views=30, bin_size_mm=4.0)
    free, dense = (simulate(pet, ct, scanner, 1e3, attenuation=on, spacing_mm=4.0).measurement for on in (False, True))
    theta = (np.arange(30) + 0.5) * math.pi / 30
    chord = water.sinogram(theta, dense.counts.shape[2], 4.0, 1e-3)  # not blurred: photons are lost on their lines
    assert np.abs(np.log(dense.attenuation[0].numpy()) + 0.0096 * chord).max() < 0.1
    through = chord > 50
    trues = [((m.counts - m.background) / m.scale)[0].numpy()[through] for m in (dense, free)]
    assert relative(trues[0], trues[1] * dense.attenuation[0].numpy()[through]) < 0.02


def test_the_lr_image_is_42_em_updates_without_psf_from_a_uniform_image(person):
    simulation = simulate(person.pet, None, "ood", seed=3)
    y, grid = simulation.measurement.counts, simulation.lr
    model = simulation.measurement.model(grid)
    z = torch.full(grid.shape, uniform_start(model, y))
    for _ in range(42):
        mean = model.projector.forward(z) * model.factors + model.background
        z = z * model.adjoint(y / mean, psf=False) / model.adjoint(torch.ones_like(y), psf=False)
    seen = model.sensitivity_no_psf > 0.1 * model.sensitivity_no_psf.max()
    assert relative(grid.array[seen.numpy()], z[seen]) < 1e-4


def test_a_seed_decides_the_counts(person):
    one, again, other = (
        simulate(person.pet, person.ct, "standard", attenuation=True, spacing_mm=4.0, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(again.measurement.counts, one.measurement.counts)
    assert not torch.equal(other.measurement.counts, one.measurement.counts)
    np.testing.assert_array_equal(again.lr.array, one.lr.array)


def test_the_lr_image_has_the_target_spacing_and_the_activity_of_the_truth(standard):
    target = standard.measurement.scanner.target_spacing_mm
    assert standard.lr.spacing == (target, target, standard.truth.spacing[2])
    total = [float(v.array.sum()) * v.voxel_ml for v in (standard.lr, standard.truth)]
    assert total[0] == pytest.approx(total[1], rel=0.05)
    assert standard.lr.array.max() < standard.truth.array.max()


def test_attenuation_needs_a_ct_and_an_unknown_count_level_is_named(person):
    with pytest.raises(InputError, match="needs the CT"):
        simulate(person.pet, None, attenuation=True)
    with pytest.raises(InputError, match="'low'"):
        simulate(person.pet, None, counts="low")


def test_nan_and_empty_pets_are_refused(person):
    bad = person.pet.array.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        simulate(person.pet.with_array(bad))
    with pytest.raises(InputError, match="no positive voxel"):
        simulate(person.pet.with_array(np.zeros_like(bad)))


def test_a_measurement_comes_back_from_its_file_as_it_was(standard, tmp_path):
    written = standard.measurement
    read = Measurement.read(written.write(tmp_path / "m.safetensors"))
    assert torch.equal(read.counts, written.counts) and torch.equal(read.background, written.background)
    assert torch.equal(read.attenuation, written.attenuation)
    assert (read.scanner, read.scale, read.kind) == (written.scanner, written.scale, written.kind)
    assert read.grid.same_grid(written.grid, 1e-6)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "foreign": lambda path: save_file({"counts": torch.zeros(3)}, path),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "folder"])
def test_what_is_no_measurement_is_refused_in_one_sentence(standard, tmp_path, damage):
    path = tmp_path
    if damage in DAMAGES:
        path = standard.measurement.write(tmp_path / "m.safetensors")
        DAMAGES[damage](path)
    with pytest.raises(InputError, match="measurement") as error:
        Measurement.read(path)
    assert "\n" not in str(error.value)


def test_a_grid_off_the_axis_or_another_scanner_is_refused(standard):
    measurement = standard.measurement
    j, i = measurement.grid.shape[1:]
    with pytest.raises(GeometryError, match="centred"):
        measurement.model(measurement.grid.crop((0, 0, 0), (i - 4, j, 2)))
    other = replace(measurement, scanner=Scanner.get("Paper OOD"))
    with pytest.raises(GeometryError, match="right preset"):
        other.model(measurement.grid)


def test_water_attenuates_at_511_kev_as_known_and_air_does_not():
    assert hu_to_mu(np.array([-1000.0, 0.0])) == pytest.approx([0.0, 9.6e-3], rel=1e-6)
    bone = hu_to_mu(np.array([46.9, 47.1, 1000.0]))
    assert bone[1] == pytest.approx(bone[0], rel=2e-3) and 0.014 < bone[2] < 0.016


def test_the_image_grid_keeps_box_centre_and_slices_and_has_even_sides(awkward):
    grid = image_grid(awkward, 2.0)
    assert grid.spacing == (2.0, 2.0, awkward.spacing[2]) and grid.shape[0] == awkward.shape[0]
    assert grid.shape[1] % 2 == 0 and grid.shape[2] % 2 == 0
    np.testing.assert_allclose(grid.corners().mean(0), awkward.corners().mean(0), atol=1e-6)
    assert grid.shape[2] * 2.0 >= awkward.shape[2] * awkward.spacing[0]
