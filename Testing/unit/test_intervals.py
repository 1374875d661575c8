"""Intervals of recovered SUVs: from what they are made, and where they are wider or withheld."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from PETSuperResLib.dicom.reconstruction import reconstruction_of
from PETSuperResLib.errors import InputError
from PETSuperResLib.files import to_json
from PETSuperResLib.lesions.intervals import (
    MEASURES,
    Calibration,
    Conditions,
    Stratum,
    calibration,
    read_calibration,
    scales,
    with_recovered,
)
from PETSuperResLib.lesions.measures import Lesion
from PETSuperResLib.lesions.recovery import Recovered
from PETSuperResLib.physics.image_model import image_measurement
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.suv.tracer import OTHERS, tracer_named, tracer_of
from PETSuperResLib.volume import Volume

LESION = Recovered(1, "Lesion 1", 2.0, 6.0, 6.5, 8.0, low=5.0, high=6.6, background=1.0, wider=6.1)
MEASURED = Conditions("sinogram", 6.0, 0.1, "fdg")
CENTRES = dict.fromkeys(MEASURES, 0.0) | {"suvmean": 0.1}
STRATA = (
    Stratum("sinogram", (0.0, 1.0), 50, 20, (1.5, 10.0), {"suvmean": 0.0}, {"suvmean": (-3.0, 2.0)}),
    Stratum("sinogram", (1.0, math.inf), 60, 20, (1.5, 10.0), CENTRES, dict.fromkeys(MEASURES, (-1.5, 1.0))),
)
DOMAIN = {"sinogram": {"fwhm_mm": (5.0, 8.0), "noise": (0.05, 0.2)}}
GUESSED = {"sinogram": {"suvmean": 1.3, "suvpeak": 2.0}}
TABLE = Calibration(STRATA, 0.03, "fdg", DOMAIN, GUESSED, {"seeds": [1, 2]})
SURE = replace(STRATA[1], quantiles=STRATA[1].quantiles | {"suvpeak": (-0.1, 0.1)})
SURE_OF_PEAK = replace(TABLE, strata=(STRATA[0], SURE))


def test_an_interval_is_the_value_times_the_exponential_of_scale_and_quantiles():
    found = TABLE.intervals(LESION, MEASURED)
    down, up = scales(LESION)
    assert found.notes == () and set(found.ends) == set(MEASURES)
    assert found.values == pytest.approx({"suvmean": 6 * math.exp(0.1), "suvpeak": 6.5, "suvmax": 8.0, "tlg": 12.0})
    value = found.values["suvmean"]
    assert found.ends["suvmean"] == pytest.approx((value * math.exp(-1.5 * down), value * math.exp(up)))
    assert found.ends["tlg"] == pytest.approx((12 * math.exp(-1.5 * down), 12 * math.exp(up)))


def test_what_the_data_do_not_determine_is_not_told():
    found = SURE_OF_PEAK.intervals(replace(LESION, low=0.1, high=60.0), MEASURED)
    assert set(found.values) == set(found.ends) == {"suvpeak"}
    assert found.notes == ("The data do not determine its SUVmean, SUVmax, TLG.",)
    found = SURE_OF_PEAK.intervals(replace(LESION, low=2.0, high=12.0), MEASURED)
    assert set(found.values) == set(MEASURES) and not found.notes


@pytest.mark.parametrize(("shown", "told"), [(None, True), (1.01, True), (0.99, False)])
def test_of_a_suvmean_far_above_what_is_shown_the_peak_alone_is_told(shown, told):
    found = TABLE.intervals(LESION, MEASURED, shown)
    assert set(found.values) == set(found.ends) == (set(MEASURES) if told else {"suvpeak"})
    assert found.notes == (() if told else ("The data do not determine its SUVmean, SUVmax, TLG.",))


def test_what_a_lesion_shows_decides_on_what_is_told():
    measured = Conditions("image", 6.0, 0.1, "fdg")
    read = Lesion(label=1, name="A", voxels=9, suvmax=9.0, suvmean=2.6, suvpeak=5.0, mtv_ml=2.0, tlg=9.0)
    shown = [read, replace(read, suvmean=2.3)]
    (near,), (far,) = (with_recovered([lesion], [LESION], measured) for lesion in shown)
    assert near.suvmean_recovered is not None and near.suvpeak_recovered == far.suvpeak_recovered
    assert far.suvmean_recovered is far.suvmean_low is far.tlg_recovered is None


def test_of_a_kind_of_data_without_a_calibrated_suvmax_none_is_told():
    assert set(TABLE.intervals(replace(LESION, volume_ml=0.5), MEASURED).values) == {"suvmean"}


def test_no_recovered_maximum_is_below_a_mean():
    low = replace(LESION, suvmax=6.1)
    assert TABLE.intervals(low, MEASURED).values["suvmax"] == TABLE.intervals(low, MEASURED).values["suvmean"] > 6.5
    assert TABLE.intervals(replace(low, suvpeak=7.0), MEASURED).values["suvmax"] == 7.0


@pytest.mark.parametrize(
    ("change", "sides"),
    [({"low": 4.0}, (0,)), ({"high": 8.0}, (1,)), ({"wider": 7.5}, (0, 1)), ({"volume_ml": 0.05}, (0, 1))],
)
def test_a_lesion_is_less_certain_by_each_part_of_its_uncertainty_on_its_side(change, sides):
    before, after = scales(LESION), scales(replace(LESION, **change))
    for side in (0, 1):
        assert after[side] > 1.15 * before[side] if side in sides else after[side] == before[side]


def test_a_range_that_holds_no_uptake_at_all_has_a_finite_scale():
    assert 1 < scales(replace(LESION, low=-2.0))[0] < 2


@pytest.mark.parametrize(
    ("change", "conditions", "words"),
    [
        ({"background": 4.5}, {}, "contrast of 1.3 to 1"),
        ({}, {"tracer": "psma"}, "Calibrated with FDG alone"),
        (
            {},
            {"fwhm_mm": 9.0},
            "The FWHM of the scanner's model, 9.0 mm, is outside the 5.0 to 8.0 mm that the intervals were",
        ),
        ({}, {"described": False}, "Scanner, PSF or filter of the PET are a guess"),
        ({}, {"noise": 0.03}, "The noise, 3.0%, is outside the 5.0% to 20.0% that the intervals were calibrated for"),
    ],
)
def test_outside_what_was_calibrated_the_interval_is_wider_and_says_so(change, conditions, words):
    inside = TABLE.intervals(LESION, replace(MEASURED, tracer=None))
    found = TABLE.intervals(replace(LESION, **change), replace(MEASURED, **conditions))
    assert len(found.notes) == 1 and words in found.notes[0] and not inside.notes
    assert found.ends["suvmean"][0] < inside.ends["suvmean"][0] and found.ends["suvmean"][1] > inside.ends["suvmean"][1]


def test_the_fwhm_of_an_image_that_was_not_calibrated_is_told_as_that_of_scanner_and_filter():
    (told,) = calibration()._outside(Conditions("image", 20.0, 0.1))
    assert told.startswith("The FWHM of scanner and filter, 20.0 mm, is outside the ")


def test_where_scanner_psf_or_filter_are_a_guess_each_measure_has_its_factor():
    sure, guess = (TABLE.intervals(LESION, replace(MEASURED, described=known)) for known in (True, False))
    assert guess.values == sure.values
    for name, factor in (("suvmean", 1.3), ("suvpeak", 2.0), ("suvmax", 1.0)):
        for end, known in zip(guess.ends[name], sure.ends[name], strict=True):
            assert math.log(end / sure.values[name]) == pytest.approx(factor * math.log(known / sure.values[name]))
    assert Calibration.from_dict(json.loads(json.dumps(TABLE.to_dict() | {"strata": []}))).guessed == GUESSED


@pytest.mark.parametrize(("volume", "input"), [(0.01, "sinogram"), (2.0, "image")])
def test_what_was_not_calibrated_at_all_has_no_interval(volume, input):
    found = TABLE.intervals(replace(LESION, volume_ml=volume), replace(MEASURED, input=input))
    assert not found.values and not found.ends
    assert len(found.notes) == 1 and found.notes[0].endswith("not recovered.")


@pytest.mark.parametrize(
    ("name", "meaning", "nuclide", "tracer"),
    [
        ("FDG -- fluorodeoxyglucose", "", "", "fdg"),
        ("Fluorodeoxyglucose F^18^", "", "^18^Fluorine", "fdg"),
        ("", "Fludeoxyglucose F^18^", "", "fdg"),
        ("Ga-68 PSMA-11", "", "", "ga-68 psma-11"),
        ("", "Ga-68 PSMA-11", "", "ga-68 psma-11"),
        ("Solution", "Fluciclovine F^18^", "^18^Fluorine", "fluciclovine f^18^"),
        ("Solution", "", "^68^Gallium", "ga-68"),
        ("68Ga", "", "", "ga-68"),
        ("FDG", "", "^68^Gallium", "ga-68"),  # left as it was preset
        ("Sodium fluoride F18", "", "", "sodium fluoride f18"),
        ("Glucosa", "Fluorodeoxyglucose F^18^", "^18^Fluorine", "fdg"),  # a code of FDG decides,
        ("Fluorocholine", "Fluorodeoxyglucose F^18^", "^18^Fluorine", "fluorocholine"),  # not against another tracer
        ("Glucosa", "Fluorodeoxyglucose F^18^", "^68^Gallium", "glucosa"),
        *(
            (name, "", "^18^Fluorine", None)
            for name in ("Solution", "F-18", "18F Solution", "Fluorine^18^", "Unknown", "")
        ),
    ],
)
def test_the_tracer_is_that_of_the_header(name, meaning, nuclide, tracer):
    dataset, item = Dataset(), Dataset()
    item.Radiopharmaceutical = name
    for keyword, words in (("RadiopharmaceuticalCodeSequence", meaning), ("RadionuclideCodeSequence", nuclide)):
        if words:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", words
            setattr(item, keyword, [code])
    dataset.RadiopharmaceuticalInformationSequence = [item]
    assert reconstruction_of(dataset)["tracer"] == (tracer or "")
    image = Volume(np.ones((3, 8, 8)), (4.0, 4.0, 4.0), metadata=reconstruction_of(dataset))
    measurement = image_measurement(image, (6.0, 6.0), ImageNoise(0.01, 5.0, 2, 2.0, 1.0, "stated"))
    assert measurement.part(0, 2).tracer == tracer


@pytest.mark.parametrize("value", ["35321007", "C-B1031"])
def test_the_value_of_the_code_of_fdg_suffices(value):
    dataset, item, code = Dataset(), Dataset(), Dataset()
    code.CodeValue, item.Radiopharmaceutical = value, "Tracer 1"
    item.RadiopharmaceuticalCodeSequence, dataset.RadiopharmaceuticalInformationSequence = [code], [item]
    assert tracer_of(dataset) == "fdg"


@pytest.mark.parametrize(
    "name",
    [
        *("FDG", "18F-FDG", "FDG-18", "[18F]FDG", "F18FDG", "18FDG", "FDGlucose", "Fluorodeoxyglucose (18F)"),
        *("2-[18F]fluoro-2-deoxy-D-glucose", "2-deoxy-2-[18F]fluoro-D-glucose", "Fluoro-2-deoxy-D-glucose F-18"),
        *("18F-2-Fluoro-2-deoxyglucose", "Fludeoxyglucose (18F)", "Fludesoxyglucose", "Fluorodesoxiglucosa"),
        *("Fluor-Desoxyglukose", "Fluorodeoxy glucose", "deoxy_glucose", "fluoroglucose", "18F-Fluorodésoxyglucose"),
    ],
)
def test_the_names_of_fdg_are_one(name):
    assert tracer_named(name) == "fdg"


@pytest.mark.parametrize(
    "name",
    [
        *("FDGal", "FLT", "FES", "Fluorocholine", "Choline C-11", "PSMA", "Ga-68 DOTATATE", "Fluoroestradiol", "NaF"),
        *("Sodium fluoride", "Fluorothymidine", "Fluorodeoxygalactose", "FDOPA", "Fluciclovine"),
    ],
)
def test_another_tracer_keeps_its_name_whatever_the_code(name):
    assert tracer_named(name) == name.lower() and OTHERS.search(name.lower())


@pytest.mark.parametrize("name", ["Glucose", "Radiopharm", "Injectable", "Solution", "18F", "N/A"])
def test_a_text_that_names_no_tracer_is_none(name):
    assert tracer_named(name) == ""


def test_the_noise_of_counts_is_that_of_all_views_through_100_mm():
    j, i = np.ogrid[:48, :48]
    disc = 4.0 * np.hypot(j - 23.5, i - 23.5) < 50
    grid = Volume(np.repeat(disc[None], 3, 0).astype(np.float32), (4.0, 4.0, 4.0))
    empty = torch.zeros(3, 24, 67)
    scanner = Scanner("Test", 6.0, views=48, bin_size_mm=4.0, angular_rebinning=2)
    measurement = Measurement(scanner, empty, empty, 0.3, grid)
    counts = float(measurement.model(grid).mean(torch.from_numpy(grid.array))[1, :, 33].sum())
    assert measurement.noise_level == pytest.approx((counts / 4.0) ** -0.5, rel=0.03)


def test_the_noise_of_an_image_is_that_of_a_voxel_of_1_suv():
    image = Volume(np.ones((3, 8, 8)), (4.0, 4.0, 4.0))
    noise = ImageNoise(0.01, 5.0, 2, 2.0, 1.0, "stated")
    assert image_measurement(image, (6.0, 6.0), noise).noise_level == pytest.approx(noise.percent() / 100)


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
        assert all(abs(centre) < 0.5 for centre in stratum.centres.values())
        for low, high in stratum.quantiles.values():
            assert -10 < low < high < 10
