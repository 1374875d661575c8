"""What supports the hot blobs and lesions of a result: the CT test compares it with the result without the CT."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.problem import Problem
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.support import support_of, with_ct_test
from PETSuperResLib.volume import Volume

SPACING = (4.0, 4.0, 4.0)
GRID = Volume(np.zeros((7, 32, 36), np.float32), SPACING)
PLACES = {"kept": (3, 10, 10), "halved": (3, 10, 24), "made": (3, 22, 10), "lost": (3, 22, 24)}


def spheres(**suv: float) -> np.ndarray:
    """A body of 1 SUV with spheres of 8 mm radius and these SUVs above it."""
    k, j, i = np.ogrid[:7, :32, :36]
    body = np.pad(np.ones((7, 26, 30), np.float32), ((0, 0), (3, 3), (3, 3)))
    for name, height in suv.items():
        z, y, x = PLACES[name]
        body = body + height * ((k - z) ** 2 + (j - y) ** 2 + (i - x) ** 2 <= 4)
    return body.astype(np.float32)


WITH_CT = spheres(kept=4.0, halved=4.0, made=4.0)
WITHOUT = spheres(kept=4.0, halved=1.6, lost=4.0)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Of counts in which three spheres are, but not the one that the CT made."""
    scanner = Scanner("Test", 6.0, 6.0, kernel_scale=1.0, views=24, bin_size_mm=4.0)
    empty = torch.zeros(7, 24, 50)
    mean = Measurement(scanner, empty, empty + 1, 0.5, GRID).model(GRID)
    truth = torch.from_numpy(spheres(kept=4.0, halved=4.0, lost=4.0))
    counts = torch.poisson(mean.mean(truth), torch.Generator().manual_seed(0))
    return Problem.make(Measurement(scanner, counts, empty + 1, 0.5, GRID), GRID, GRID, torch.device("cpu"))


def test_blobs_that_the_ct_made_or_took_away_are_told(problem):
    support = support_of(problem, WITH_CT, problem.expected(WITH_CT), WITHOUT)
    found = {tuple(round(mm / 4) for mm in f.place_mm): f for f in support.findings}
    at = {name: min(found, key=lambda xyz: np.hypot(xyz[0] - p[2], xyz[1] - p[1])) for name, p in PLACES.items()}
    shares = {name: found[at[name]].without_ct for name in ("kept", "halved", "made")}
    assert shares == pytest.approx({"kept": 1.0, "halved": 0.4, "made": 0.0}, abs=0.05)
    assert found[at["kept"]].supported and not found[at["made"]].supported
    ((x, y, _),) = support.only_without_ct
    assert (x / 4, y / 4) == pytest.approx((24, 22), abs=2)
    assert support.report()["vanish_without_ct"] == 2
    np.testing.assert_array_equal(support.maps["ct_effect"], WITH_CT - WITHOUT)


def test_lesions_have_the_share_of_their_uptake_that_needs_no_ct():
    labels = np.zeros(GRID.shape, np.float32)
    for number, name in enumerate(PLACES, 1):
        labels[spheres(**{name: 1.0}) > 1.5] = number
    volume = GRID.with_array(WITH_CT, "SUVbw")
    segments = segments_of(GRID.with_array(labels, "label"))
    found = with_ct_test(measure_lesions(volume, segments), volume, segments, WITHOUT)
    kept, halved, made, lost = (lesion.without_ct for lesion in found)
    assert (kept, halved, made) == pytest.approx((1.0, 0.4, 0.0), abs=0.05) and lost is None
