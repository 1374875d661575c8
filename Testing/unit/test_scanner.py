"""Presets say what they are and where it comes from; wrong descriptions are refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from PETSuperResLib.errors import ScannerError
from PETSuperResLib.scanner import Scanner, guess_preset, load_presets, presets, setting


@pytest.mark.parametrize("scanner", presets().values(), ids=lambda s: s.name)
def test_every_preset_states_its_source_and_possible_figures(scanner):
    assert len(scanner.source) > 20
    assert 2 <= scanner.fwhm_transaxial_mm <= 12
    assert set(scanner.unverified) <= set(scanner.to_dict())
    assert Scanner.from_dict(json.loads(json.dumps(scanner.to_dict()))) == scanner


@pytest.mark.parametrize("scanner", [s for s in presets().values() if s.radial_bins], ids=lambda s: s.name)
def test_the_bins_of_a_preset_cover_a_patient_at_a_sampling_that_carries_its_resolution(scanner):
    assert scanner.radial_bins * scanner.bin_size_mm > 500
    assert scanner.bin_size_mm <= scanner.fwhm_transaxial_mm / 1.5


def test_clinical_kernels_are_narrower_than_the_measured_resolution_and_simulated_ones_are_not():
    mct = Scanner.get("siemens biograph MCT")
    assert mct.model_fwhm_mm == pytest.approx((0.73 * 4.33, 0.73 * 4.25))
    assert setting("standard").model_fwhm_mm == (8.0, 0.0)


@pytest.mark.parametrize(
    ("name", "fwhm", "dose", "angular", "radial", "spacing"),
    [("standard", 8, 0.10, 2, 2, 8), ("ood", 12, 0.05, 3, 2, 12)],
)
def test_settings_are_those_of_table_1(name, fwhm, dose, angular, radial, spacing):
    s = setting(name)
    assert (s.fwhm_transaxial_mm, s.dose_fraction, s.target_spacing_mm) == (fwhm, dose, spacing)
    assert (s.angular_rebinning, s.radial_rebinning) == (angular, radial)


@pytest.mark.parametrize(
    ("manufacturer", "model", "name"),
    [
        ("SIEMENS", "Biograph64_mCT 4R", "Siemens Biograph mCT"),
        ("CPS", "Biograph 20_mCT", "Siemens Biograph mCT"),
        ("GE MEDICAL SYSTEMS", "Discovery ST", "GE Discovery ST"),
        ("GE MEDICAL SYSTEMS", "Discovery 710", "GE Discovery 690/710"),
        ("Philips Medical Systems", "Vereos PET/CT", "Philips Vereos"),
        ("UIH", "uMI 780", "United Imaging uMI 780"),
        (None, "discovery_690", "GE Discovery 690/710"),
        ("GE MEDICAL SYSTEMS", "Discovery STE", "GE Discovery STE"),
        ("GE MEDICAL SYSTEMS", "Discovery 600", "GE Discovery 600"),
        ("GE MEDICAL SYSTEMS", "Discovery IQ", "GE Discovery IQ"),
        ("GE MEDICAL SYSTEMS", "SIGNA PET/MR", "GE Signa PET/MR"),
        ("SIEMENS", "Biograph_mMR", "Siemens Biograph mMR"),
        ("SIEMENS", "1094", "Siemens Biograph TruePoint"),
        ("CPS", "1080", "Siemens Biograph 16 HI-REZ"),
        ("SIEMENS", "Biograph64_Vision X", "Siemens Biograph Vision X"),
        ("SIEMENS", "Biograph128_Vision 4R Edge", "Siemens Biograph Vision 600"),
        ("Philips Medical Systems", "GEMINI TF TOF 16", "Philips Gemini TF"),
        ("UIH", "uMI 550", "United Imaging uMI 550"),
        ("GE MEDICAL SYSTEMS", "Discovery RX", None),
        ("GE MEDICAL SYSTEMS", "Discovery MI DR", None),
        ("SIEMENS", "Discovery ST", None),
        ("SIEMENS", "", None),
        (None, None, None),
    ],
)
def test_preset_for_a_dicom_model_name(manufacturer, model, name):
    assert guess_preset(manufacturer, model) == name


def test_the_documentation_lists_every_preset_with_its_resolution():
    page = (Path(__file__).parents[2] / "docs" / "scanners.md").read_text(encoding="utf-8")
    for scanner in presets().values():
        row = f"| {scanner.name} | {scanner.fwhm_transaxial_mm:g} | {scanner.fwhm_axial_mm:g} |"
        assert scanner.name.startswith("Paper") or row in page, row


def test_no_model_name_means_two_scanners():
    names = [m.lower() for s in presets().values() for m in s.models]
    assert len(names) == len(set(names))


def test_own_scanner_from_a_file_says_which_defaults_it_took(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "Mine", "fwhm_transaxial_mm": 5.5, "views": 200}))
    mine = Scanner.get(str(path))
    assert (mine.fwhm_axial_mm, mine.kernel_scale) == (5.5, 0.73)
    assert (
        "kernel_scale 0.73" in mine.notes[0] and "fwhm_axial_mm 5.5" in mine.notes[0] and "views" not in mine.notes[0]
    )
    assert Scanner.get(path, dose_fraction=0.5).dose_fraction == 0.5
    assert Scanner.from_dict(mine.to_dict()).notes == mine.notes and not Scanner.get("GE Omni Legend 32").notes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"fwhm_transaxial_mm": "6,2"},
            r"fwhm_transaxial_mm must be a number from 1 to 30, not '6,2' \(write it without",
        ),
        ({"fwhm_transaxial_mm": 0.1}, "fwhm_transaxial_mm must be a number from 1 to 30, not 0.1"),
        ({"fwhm_axial_mm": 40}, "fwhm_axial_mm must be a number from 0 to 30, not 40"),
        ({"radial_bins": 3}, "radial_bins 3 of 2 mm cover 6 mm, no body"),
        ({"views": "many"}, "views must be a whole number"),
        ({"kernel_scale": True}, "kernel_scale must be a number from 0.1 to 1.5, not true"),
        ({"models": "Biograph 64"}, "models must be a list of texts, not 'Biograph 64'"),
        ({"models": [64]}, r"models must be a list of texts, not \[64\]"),
        ({"source": None}, "source must be a text, not null"),
        ({"left_out": ["fwhm"]}, "left_out must be a list of some of fwhm_axial_mm, kernel_scale"),
        ({"fwhm": 5}, "unknown field fwhm"),
    ],
)
def test_a_value_that_no_scanner_has_is_refused_with_the_file_and_the_field(change, told, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "Mine", "fwhm_transaxial_mm": 5.5} | change))
    with pytest.raises(ScannerError, match=f"^mine.json: Scanner 'Mine': {told}"):
        Scanner.get(path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("quadra", r"did you mean 'Siemens Biograph Vision Quadra'\?"),
        ("vision", r"did you mean 'Siemens Biograph Vision 600' or 'Siemens Biograph Vision X' or"),
        ("mct", r"did you mean 'Siemens Biograph mCT'"),
        ("Siemens mCT", r"did you mean 'Siemens Biograph mCT'\?$"),
        ("GE 710", r"did you mean 'GE Discovery 690/710'\?$"),
        ("Simens Biograf mCT", r"did you mean 'Siemens Biograph mCT'"),
        ("xyzzy", r"no such preset. State the FWHM of the image, or describe the scanner in a JSON file"),
        ("?", r"no such preset"),
        ("GE Discovery RX", r"no such preset"),  # the name of another scanner is no misspelling
        ("GE Discovery 610", r"no such preset"),
    ],
)
def test_unknown_preset_names_the_nearest_in_a_short_sentence(name, told):
    with pytest.raises(ScannerError, match=told) as error:
        Scanner.get(name)
    assert len(str(error.value)) < 200


def test_unknown_setting_names_the_settings():
    with pytest.raises(
        ScannerError, match="'standrad': use standard or ood, or a scanner preset; did you mean 'standard'.$"
    ):
        setting("standrad")
    assert setting("GE Discovery ST").name == "GE Discovery ST"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fwhm_transaxial_mm": 0}, "fwhm_transaxial_mm"),
        ({"fwhm_transaxial_mm": "8"}, "Mine"),
        ({"fwhm_axial_mm": -1}, "fwhm_axial_mm"),
        ({"kernel_scale": math.nan}, "kernel_scale"),
        ({"views": 12.5}, "views"),
        ({"views": 100, "angular_rebinning": 3}, "groups of 3"),
        ({"dose": 0.1}, "unknown field dose"),
    ],
)
def test_impossible_descriptions_name_the_field(change, told):
    with pytest.raises(ScannerError, match=told):
        Scanner.from_dict({"name": "Mine", "fwhm_transaxial_mm": 5.0} | change)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "Mine"}', "at least name and fwhm_transaxial_mm"),
        ('{"name": "", "fwhm_transaxial_mm": 5}', "name of a scanner must be a text, not ''"),
        ('{"name": 5, "fwhm_transaxial_mm": 5}', "name of a scanner must be a text, not 5"),
        ('{"name": "Mine", "fwhm_transaxial_mm": 5,5}', "not valid JSON .numbers have a decimal point"),
        ("[]", "holds 0 scanners"),
    ],
)
def test_a_file_that_is_no_description_is_refused_in_words(text, told, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ScannerError, match=told) as refused:
        Scanner.get(path)
    assert "mine.json" in str(refused.value) and refused.value.option == "scanner"


def test_damaged_preset_file_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ScannerError, match=r"broken\.json is not valid JSON"):
        load_presets(path)
    with pytest.raises(ScannerError, match=r"none\.json cannot be read"):
        Scanner.get(str(tmp_path / "none.json"))
