"""Intervals of recovered SUVs: from what they are made, and where they are wider or withheld."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from PETSuperResLib.errors import InputError
from PETSuperResLib.files import to_json
from PETSuperResLib.lesions.intervals import Calibration, Stratum, calibration, read_calibration, scale
from PETSuperResLib.lesions.recovery import Recovered

LESION = Recovered(1, "Lesion 1", 2.0, 6.0, 6.5, 8.0, 0.1, 1.0, inward=6.6, outward=5.4, wider=6.1)
STRATA = (
    Stratum("sinogram", (0.0, 1.0), 50, 20, (1.5, 10.0), {"suvmean": (-3.0, 2.0)}),
    Stratum("sinogram", (1.0, math.inf), 60, 20, (1.5, 10.0), {"suvmean": (-1.5, 1.0), "tlg": (-1.5, 1.0)}),
)
TABLE = Calibration(STRATA, 0.03, "fdg", {"seeds": [1, 2]})


def test_an_interval_is_the_value_times_the_exponential_of_scale_and_quantiles():
    found = TABLE.intervals(LESION, "sinogram", "fdg")
    width = scale(LESION, "sinogram")
    assert found.notes == () and set(found.ends) == {"suvmean", "tlg"}
    assert found.ends["suvmean"] == pytest.approx((6 * math.exp(-1.5 * width), 6 * math.exp(width)))
    assert found.ends["tlg"] == pytest.approx(tuple(2 * end for end in found.ends["suvmean"]))


@pytest.mark.parametrize("change", [{"error": 0.2}, {"wider": 7.0}, {"wider": 5.0}, {"inward": 12.0}, {"outward": 2.0}])
def test_a_lesion_is_less_certain_by_each_part_of_its_uncertainty(change):
    assert scale(replace(LESION, **change), "sinogram") > 1.15 * scale(LESION, "sinogram")


def test_a_lesion_without_an_inner_voxel_has_a_scale():
    assert scale(replace(LESION, inward=None), "image") > scale(LESION, "image") * 0.9


@pytest.mark.parametrize(
    ("change", "tracer", "words"),
    [({"background": 4.5}, "fdg", "contrast of 1.3 to 1"), ({}, "psma", "Calibrated with FDG alone")],
)
def test_outside_what_was_calibrated_the_interval_is_wider_and_says_so(change, tracer, words):
    found, inside = (TABLE.intervals(replace(LESION, **c), "sinogram", t) for c, t in ((change, tracer), ({}, "fdg")))
    assert len(found.notes) == 1 and words in found.notes[0]
    assert found.ends["suvmean"][0] < inside.ends["suvmean"][0] and found.ends["suvmean"][1] > inside.ends["suvmean"][1]


@pytest.mark.parametrize(("volume", "input"), [(0.01, "sinogram"), (2.0, "image")])
def test_what_was_not_calibrated_at_all_has_no_interval(volume, input):
    found = TABLE.intervals(replace(LESION, volume_ml=volume), input)
    assert not found.ends and len(found.notes) == 1 and found.notes[0].endswith("no interval.")


def test_a_calibration_is_read_as_it_was_written_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(to_json(TABLE.to_dict()), encoding="utf-8")
    assert read_calibration(path) == TABLE
    whole = json.loads(path.read_text())
    for wrong in ([], {**whole, "format": "other"}, {**whole, "level": 0.5}, {**whole, "strata": [{"input": "image"}]}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="not a calibration of lesions: make it by"):
            read_calibration(path)


def test_the_bundled_calibration_says_how_it_was_made_and_widens_nothing_without_bound():
    table = calibration()
    assert table.made["seeds"] and table.made["version"]
    for stratum in table.strata:
        assert stratum.lesions >= 20 and stratum.patients >= 5
        for low, high in stratum.quantiles.values():
            assert -10 < low < high < 10
