"""Random contours of an RTSTRUCT: what is drawn has its area times its slices, or one sentence says why not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from contour_factory import FRAME, rtstruct, write

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.read import read_segmentation
from PETSuperResLib.volume import Volume

hypothesis = pytest.importorskip("hypothesis", reason="needs the package hypothesis (pip install '.[test]')")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

STEP = 4.0  # between the PET's slices, mm
PET = Volume(np.ones((11, 20, 24)), (5.0, 5.0, STEP), (-57.5, -47.5, -20.0), unit="SUVbw",
             metadata={"frame_of_reference": FRAME})  # fmt: skip
#: slices by number, and how many slices' volume they are
SLICES = [((0,), 1), ((0, 1), 2), ((-1, 0, 1), 3), ((-4, -3, 1), 3), ((-3, -2, -1, 0, 1, 2, 3), 7)]
few = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def stars(draw) -> tuple[np.ndarray, np.ndarray]:
    """A simple polygon, (N, 2) in mm from 0.05 to 40 mm in radius, and a point from which all of it can be seen."""
    number, radius = draw(st.integers(3, 15)), 10 ** draw(st.floats(-1.3, 1.6))
    centre = np.array([draw(st.floats(-15, 15)), draw(st.floats(-15, 15))])
    turns = (np.arange(number) + np.array(draw(st.lists(st.floats(0, 0.4), min_size=number, max_size=number)))) / number
    lengths = radius * np.array(draw(st.lists(st.floats(0.2, 1), min_size=number, max_size=number)))
    return centre + np.c_[np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)] * lengths[:, None], centre


def area(polygon: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = polygon.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def check_volume(folder, star, slices, apart, shift, hole, repeat, backwards) -> None:
    (polygon, centre), (numbers, thick) = star, slices
    contours = []
    for number in numbers:
        drawn = [polygon, *([centre + (polygon - centre) / 2] if hole else [])]
        drawn += [np.roll(polygon, 1, axis=0)] if repeat else []
        contours += [np.c_[p[::-1] if backwards else p, np.full(len(p), number * apart + shift)] for p in drawn]
    found = read_segmentation(write(rtstruct({"GTV": contours}), folder / "rt.dcm"), PET)
    apart = STEP if len(numbers) == 1 else apart
    expected = area(polygon) * (0.75 if hole else 1.0) * thick * apart / 1000
    [segment] = found.segments
    assert float(segment.mask.array.sum()) * segment.mask.voxel_ml == pytest.approx(expected, rel=1e-3, abs=1e-8)
    if not any("outside the PET" in note for note in found.notes):
        assert float(segment.weights(PET)[0].sum()) * PET.voxel_ml == pytest.approx(expected, rel=0.01)
        [lesion] = measure_lesions(PET, [segment], threshold=0.5)
        assert lesion.mtv_ml == pytest.approx(expected, rel=0.01) and lesion.suvmean == pytest.approx(1)


VOLUMES = st.tuples(
    *(stars(), st.sampled_from(SLICES), st.sampled_from([1.5, 3.0, 4.0, 5.0]), st.floats(-1.9, 1.9)),
    *(st.booleans(), st.booleans(), st.booleans()),
)


@few
@given(VOLUMES)
def test_random_contours_have_their_area_times_the_distance_of_their_slices(tmp_path_factory, drawn):
    check_volume(tmp_path_factory.mktemp("rt"), *drawn)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(VOLUMES)
def test_2000_random_contours(tmp_path_factory, drawn):
    check_volume(tmp_path_factory.mktemp("rt"), *drawn)


coordinates = st.one_of(st.integers(-40, 40).map(float), st.floats(-60, 60), st.sampled_from([0.0, 1e5, math.nan]))
nonsense = st.lists(st.tuples(coordinates, coordinates, st.sampled_from([0.0, 0.0, 0.0, 4.0, 0.03])), max_size=6)
kinds = st.sampled_from(["CLOSED_PLANAR", "CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "POINT", "OPEN_PLANAR", ""])


def check_nonsense(folder, contours, kind) -> None:
    """Crossed, doubled, missing, distant points: a volume within the box around them, or one sentence."""
    drawn = [np.array(points, float).reshape(-1, 3) for points in contours]
    path = write(rtstruct({"GTV": drawn}, kind=kind), folder / "rt.dcm")
    try:
        [segment] = read_segmentation(path, PET).segments
    except PETSuperResError as error:
        assert str(error).strip() and "\n" not in str(error)
        return
    corners = np.concatenate([points for points in drawn if len(points) > 2])
    width, height, depth = np.ptp(corners, axis=0)
    most = width * height * (depth + 3 * STEP) / 1000
    assert 0 < float(segment.mask.array.sum()) * segment.mask.voxel_ml <= 1.001 * most + 1e-9


@few
@given(st.lists(nonsense, max_size=4), kinds)
def test_random_points_are_drawn_or_refused_with_one_sentence(tmp_path_factory, contours, kind):
    check_nonsense(tmp_path_factory.mktemp("rt"), contours, kind)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(st.lists(nonsense, max_size=4), kinds)
def test_2000_random_points(tmp_path_factory, contours, kind):
    check_nonsense(tmp_path_factory.mktemp("rt"), contours, kind)
