"""Presets say what they are and where it comes from; wrong descriptions are refused by name."""

from __future__ import annotations

import json
import math

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
        ("GE MEDICAL SYSTEMS", "Discovery STE", None),
        ("GE MEDICAL SYSTEMS", "Discovery MI DR", None),
        ("SIEMENS", "Discovery ST", None),
        ("SIEMENS", "", None),
        (None, None, None),
    ],
)
def test_preset_for_a_dicom_model_name(manufacturer, model, name):
    assert guess_preset(manufacturer, model) == name


def test_no_model_name_means_two_scanners():
    names = [m.lower() for s in presets().values() for m in s.models]
    assert len(names) == len(set(names))


def test_own_scanner_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "Mine", "fwhm_transaxial_mm": 5.5}))
    assert Scanner.get(str(path)).fwhm_transaxial_mm == 5.5
    assert Scanner.get(path, dose_fraction=0.5).dose_fraction == 0.5


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vision", r"did you mean 'Siemens Biograph Vision 600' or 'Siemens Biograph Vision Quadra'"),
        ("mct", r"did you mean 'Siemens Biograph mCT'"),
        ("Simens Biograf mCT", r"did you mean 'Siemens Biograph mCT'"),
        ("xyzzy", r"give the name of a preset, or a JSON file"),
        ("?", r"give the name of a preset, or a JSON file"),
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


def test_damaged_preset_file_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ScannerError, match=r"broken\.json is not valid JSON"):
        load_presets(path)
    with pytest.raises(ScannerError, match=r"none\.json cannot be read"):
        Scanner.get(str(tmp_path / "none.json"))
