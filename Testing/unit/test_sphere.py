"""A sphere's voxels and figures: against its formula, against the same sphere as a segment, and where it is cut off."""

from __future__ import annotations

import numpy as np
import pytest
from geometry import GEOMETRIES, radius

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.segments import Segment
from PETSuperResLib.lesions.sphere import ML_MM, WIDE_MM, Sphere
from PETSuperResLib.volume import Volume


def grid(spacing=(4.07, 4.07, 3.0), direction=None, size=24):
    """Random SUVs about the origin."""
    axes = np.eye(3) if direction is None else direction
    middle = axes @ (np.array(spacing) * (size - 1) / 2)
    values = np.random.default_rng(0).gamma(2.0, 1.5, (size,) * 3)
    return Volume(values, spacing, tuple(-middle), tuple(axes.ravel()), "SUVbw")


def drawn(centre, diameter, step=0.2):
    """The same sphere as a segment of fine voxels."""
    reach = int(np.ceil(diameter / 2 / step)) + 1
    mask = Volume(np.zeros((2 * reach + 1,) * 3), (step,) * 3, tuple(np.array(centre) - reach * step), unit="label")
    return Segment(1, "sphere", mask.with_array(radius(mask, centre) <= diameter / 2))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0), (4.07, 4.07, 5.0)])
@pytest.mark.parametrize("diameter", [ML_MM, WIDE_MM])
def test_the_voxels_have_the_volume_of_the_sphere(spacing, diameter):
    volume = grid(spacing, size=44)
    weights, _block = Sphere((0.4, -1.3, 2.2), diameter).weights(volume)
    assert weights.sum(dtype=float) * volume.voxel_ml == pytest.approx(np.pi / 6 * diameter**3 / 1000, rel=1e-3)
    assert weights.min() >= 0 and weights.max() <= 1


@pytest.mark.parametrize("direction", GEOMETRIES)
@pytest.mark.parametrize("diameter", [ML_MM, WIDE_MM])
def test_it_is_measured_as_a_segment_of_that_shape(direction, diameter):
    volume, centre = grid(direction=GEOMETRIES[direction]), (1.1, -2.3, 0.7)
    figures = Sphere(centre, diameter).measure(volume)
    lesion = measure_lesions(volume, [drawn(centre, diameter)])[0]
    assert figures.suvmean == pytest.approx(lesion.suvmean, rel=5e-3)
    assert figures.suvpeak == pytest.approx(lesion.suvpeak, rel=1e-6)
    assert figures.suvmax == lesion.suvmax
    assert figures.share == pytest.approx(1, abs=2e-3)


def test_the_standard_deviation_is_weighted_and_zero_in_uniform_uptake():
    volume = grid()
    assert Sphere((0, 0, 0)).measure(volume.with_array(np.full(volume.shape, 2.5))).sd == pytest.approx(0, abs=1e-6)
    weights, block = Sphere((0, 0, 0), WIDE_MM).weights(volume)
    values = volume.array[block].astype(float)
    square = np.average(values**2, weights=weights) - np.average(values, weights=weights) ** 2
    assert Sphere((0, 0, 0), WIDE_MM).measure(volume).sd == pytest.approx(np.sqrt(square), rel=1e-6)


def test_a_sphere_at_the_border_says_how_much_of_it_is_inside():
    volume = grid((2.0, 2.0, 2.0))
    edge = volume.corners()[:, 0].max()
    assert Sphere((edge, 0, 0), WIDE_MM).measure(volume).share == pytest.approx(0.5, abs=2e-3)
    assert Sphere((edge + 40, 0, 0)).measure(volume) is None


def test_values_that_are_not_numbers_are_refused():
    volume = grid()
    values = volume.array.copy()
    values[12, 12, 12] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        Sphere((0, 0, 0), WIDE_MM).measure(volume.with_array(values))
