"""Limits beyond which PET, CT and sinogram are refused or warned about, from just within and just beyond each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from PETSuperResLib.checks import check_measurement, check_pair
from PETSuperResLib.errors import GeometryError
from PETSuperResLib.physics.model import scanner_projector
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.studies.methods.projected import projected_measurement
from PETSuperResLib.volume import Volume

SHAPE = (4, 60, 60)


def block(columns: int, value: float, outside: float, unit: str, rows: int = 40) -> Volume:
    """A box of tissue: ``rows`` x ``columns`` voxels of 4 mm about the centre."""
    array = np.full(SHAPE, outside, np.float32)
    array[:, 30 - rows // 2 : 30 + rows // 2, 30 - columns // 2 : 30 + columns // 2] = value
    return Volume(array, (4.0, 4.0, 4.0), unit=unit)


def pet_of(columns: int = 40) -> Volume:
    return block(columns, 2.0, 0.0, "SUVbw")


def ct_of(columns: int = 40) -> Volume:
    return block(columns, 40.0, -1000.0, "HU")


def seen_until(ct: Volume, column: int) -> Volume:
    """The part of a CT up to a column: the field of view ends there."""
    return ct.crop((0, 0, 0), (column, SHAPE[1], SHAPE[0]))


def test_a_pair_that_fits_passes_without_a_warning():
    assert check_pair(pet_of(), ct_of()) == []


@pytest.mark.parametrize(
    ("share", "refused", "warned"),
    [(0.45, True, False), (0.55, False, True), (0.925, False, True), (0.975, False, False)],
)
def test_a_ct_must_cover_half_of_the_activity_and_is_warned_of_below_95_percent(share, refused, warned):
    ct = seen_until(ct_of(), 10 + round(40 * share))
    if refused:
        with pytest.raises(GeometryError, match=r"covers only 4\d\.\d %"):
            check_pair(pet_of(), ct)
    else:
        assert any("The CT covers" in w for w in check_pair(pet_of(), ct)) == warned


@pytest.mark.parametrize(("columns", "refused"), [(28, True), (32, False)])
def test_85_percent_of_the_activity_must_lie_in_the_ct_s_body(columns, refused):
    """The body with its margin of two voxels on either side: 80 % and 90 % of the PET's 40 columns."""
    if refused:
        with pytest.raises(GeometryError, match="inside the body"):
            check_pair(pet_of(), ct_of(columns))
    else:
        check_pair(pet_of(), ct_of(columns))


@pytest.mark.parametrize(("columns", "warned"), [(20, True), (24, False)])
def test_outlines_that_overlap_by_less_than_0_7_are_warned_of(columns, warned):
    """Dice of 20 and of 24 columns in 40: 0.67 and 0.75."""
    assert any("Dice" in w for w in check_pair(pet_of(columns), ct_of())) == warned


def test_different_frames_of_reference_are_warned_of():
    pet, ct = (replace(v, metadata={"frame_of_reference": f}) for v, f in ((pet_of(), "1.2"), (ct_of(), "1.3")))
    (told,) = check_pair(pet, ct)
    assert "frames of reference" in told
    assert check_pair(pet, replace(ct, metadata=pet.metadata)) == []


def test_lungs_are_inside_the_body():
    """Few slices through the chest: most of the body is lung."""
    pet, ct = pet_of(), ct_of()
    body = ct.array > -500
    lung = np.stack([ndimage.binary_erosion(part, iterations=3) for part in body])
    assert lung.sum() > 0.4 * body.sum()
    assert check_pair(pet, ct.with_array(np.where(lung, -800.0, ct.array), "HU")) == []


@pytest.mark.parametrize(
    ("factor", "refused", "warned"),
    [(1.08, False, False), (1.15, False, True), (1.27, False, True), (1.35, True, False)],
)
def test_counts_that_differ_from_the_pet_s_by_10_percent_are_warned_of_and_by_30_refused(factor, refused, warned):
    scanner, pet = Scanner.get("Paper standard"), pet_of()
    projector = scanner_projector(scanner, SHAPE[1:], 4.0)
    measurement = projected_measurement(pet, scanner, 1e5)
    louder = pet.with_array(factor * pet.array)
    if refused:
        with pytest.raises(GeometryError, match="differs from the measured one"):
            check_measurement(measurement, louder, ct_of(), pet, projector)
    else:
        assert bool(check_measurement(measurement, louder, ct_of(), pet, projector)) == warned


@pytest.mark.parametrize(("slices", "refused"), [(3, True), (5, False)])
def test_half_of_the_activity_must_lie_in_the_slices_of_the_sinogram(slices, refused):
    scanner = Scanner.get("Paper standard")
    pet, ct = (Volume(np.repeat(v.array, 2, 0), v.spacing, unit=v.unit) for v in (pet_of(), ct_of()))
    projector = scanner_projector(scanner, SHAPE[1:], 4.0)
    part = pet.crop((0, 0, 0), (60, 60, slices))
    measurement = projected_measurement(part, scanner, 1e5)
    assert torch.isfinite(measurement.counts).all()
    if refused:
        with pytest.raises(GeometryError, match="measurement covers only 3"):
            check_measurement(measurement, pet, ct, part, projector)
    else:
        assert check_measurement(measurement, pet, ct, part, projector) == []
