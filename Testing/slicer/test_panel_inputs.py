"""The panel's inputs, used as a user would: what is chosen, suggested, converted, refused."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import slicer
from mrml_scene import load_module
from panel_case import PRESET, choose, finish, give, make_case
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.panel import parameters
from PETSuperResSlicer.panel.parameters import PETSuperResParameters
from scipy import ndimage

from PETSuperResLib import request, scanner
from PETSuperResLib.inputs import resolution_of_pet
from PETSuperResLib.request import Request, options
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume


def test_apply_waits_for_what_is_missing(panel, host, case):
    ui = panel.ui
    assert not ui.applyButton.enabled and "PET and the CT" in ui.statusLabel.text
    ui.petSelector.setCurrentNode(case.pet)
    ui.ctSelector.setCurrentNode(case.ct)
    host.spin(0.05)
    assert not ui.applyButton.enabled and "scanner" in ui.statusLabel.text
    choose(panel, host, case)
    assert ui.applyButton.enabled and ui.statusLabel.text == ""


def test_pet_and_ct_that_are_marked_as_such_are_suggested(host, fake):
    host.reset()
    case = make_case()
    panel = host.open_module()
    assert panel.params.pet is case.pet and panel.params.ct is case.ct and panel.params.segmentation is case.segments
    assert not panel.ui.applyButton.enabled  # the scanner is not known
    host.reset()


def test_choices_are_saved_with_the_scene(panel, host, case):
    choose(panel, host, case)
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.samplesSpinBox.setValue(5)
    panel.ui.seedSpinBox.setValue(42)
    panel.ui.fwhmSpinBox.setValue(6.5)
    panel.ui.thresholdEdit.setText("41%")
    node = panel.logic.getParameterNode()
    assert node.GetParameter("preset") == PRESET and node.GetParameter("quality") == "DRAFT"
    assert node.GetParameter("samples") == "5" and node.GetParameter("seed") == "42"
    assert float(node.GetParameter("scannerFwhm")) == 6.5 and node.GetParameter("threshold") == "41%"
    again = PETSuperResParameters(node)  # as another session reads them
    assert again.pet is case.pet and again.segmentation is case.segments and again.quality.value == "draft"


def test_the_panel_has_the_limits_of_request_and_scanner(monkeypatch):
    """Also those of another version."""
    others = {name: replace(about, low=about.low + 1, high=about.high + 3) for name, about in options(Request).items()}
    monkeypatch.setattr(request, "options", lambda _cls: others)
    changed = {name: (low + 1, high + 3) for name, (low, high) in scanner.LIMITS.items()}
    monkeypatch.setattr(scanner, "LIMITS", changed)
    hints = get_type_hints(runpy.run_path(parameters.__file__)["PETSuperResParameters"], include_extras=True)
    expected = {"post_filter": (-0.5, 18), "fwhm": (0, 21), "noise": (0, 203), "samples": (2, 64)}
    expected |= {"seed": (1, 2**31 - 1), "scannerFwhm": (2, 33), "fwhmAxial": (1, 33)}
    limits = {name: get_args(hints[name])[1] for name in expected}
    assert {name: (limit.minimum, limit.maximum) for name, limit in limits.items()} == expected


def test_the_job_gets_what_was_chosen(panel, host, fake, case):
    choose(panel, host, case)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    roi.SetXYZ((0, -40, 715))
    roi.SetRadiusXYZ((10, 10, 10))
    panel.ui.regionSelector.setCurrentNode(roi)
    panel.ui.qualityComboBox.setCurrentIndex(0)
    panel.ui.samplesSpinBox.setValue(3)
    panel.ui.seedSpinBox.setValue(9)
    panel.ui.noiseSpinBox.setValue(12)
    panel.ui.applyButton.click()
    job = fake.jobs[0]
    assert job["scanner"]["name"] == PRESET and job["quality"] == "draft" and job["samples"] == 3 and job["seed"] == 9
    assert list(job["region"]) == pytest.approx([-10, 10, 30, 50, 705, 725]) and job["noise"] == 12
    assert job["pet"].unit == "SUVbw" and "prior" not in job


def test_the_panel_offers_the_options_of_a_request_within_its_limits(panel, host, fake, case):
    """An option is written in the request; what the panel does not offer is named here."""
    choose(panel, host, case)
    bound = {w.property("SlicerParameterName"): w for w in vars(panel.ui).values()} | {"device": None, "scanner": None}
    assert set(options(Request)) - set(bound) == {
        *("measurement", "spacing", "margin"),
        *("series", "ct_series"),  # Slicer loads one series as a volume
    }
    for name, about in options(Request).items():
        if name in bound and about.form in ("whole", "number"):
            least = bound[name].minimum  # may have a text in place of a value
            assert (about.low <= least or bound[name].specialValueText) and bound[name].maximum <= about.high, name
    panel.ui.applyButton.click()
    job = fake.jobs[0]
    assert job["samples"] == 1 and not {"noise", "fwhm", "post_filter", "psf_modelled"} & set(job)


def test_the_images_resolution_is_said_and_what_is_stated_of_it_goes_to_the_job(panel, host, fake, case):
    choose(panel, host, case, "Siemens Biograph mCT")
    said = panel.ui.resolutionLabel
    assert said.text.startswith("4.3 mm scanner, PSF not modelled, no filter, 3 mm voxels: 4.8 mm")
    assert "\nA PET without a DICOM header, such as a NIfTI file, does not say" in said.text
    panel.ui.psfComboBox.setCurrentIndex(1)
    panel.ui.postFilterSpinBox.setValue(5)
    host.spin(0.05)
    assert said.text == resolution_of(Scanner.get("Siemens Biograph mCT"), {}, (3, 4), None, 5, True).words()
    panel.ui.applyButton.click()
    assert (fake.jobs[0]["psf_modelled"], fake.jobs[0]["post_filter"]) == (True, 5) and "fwhm" not in fake.jobs[0]


def test_a_filter_that_the_header_does_not_name_is_read_from_the_image_and_shown(panel, host, case):
    noise = np.random.default_rng(0).normal(size=(16, 64, 64))
    array = 2 + ndimage.gaussian_filter(noise, (0.0, 0.8, 0.8))  # a filter of 7.5 mm
    pet = Volume(array.astype(np.float32), (4.0, 4.0, 3.0), unit="SUVbw")
    case.pet = mrml.node_from_volume(pet, "noisy", slicer.mrmlScene)
    choose(panel, host, case, "Siemens Biograph mCT")
    panel.ui.psfComboBox.setCurrentIndex(2)  # not modelled
    host.spin(0.05)
    known = {"psf_modelled": False}
    assert panel.ui.resolutionLabel.text.startswith(resolution_of_pet(pet, "Siemens Biograph mCT", **known)[1].words())
    assert "mm filter by its noise" in panel.ui.resolutionLabel.text
    case.pet = mrml.node_from_volume(pet, "activity", slicer.mrmlScene)
    code = slicer.vtkCodedEntry()
    code.SetValueSchemeMeaning("Bq/ml", "UCUM", "Becquerels/milliliter")
    case.pet.SetVoxelValueUnits(code)
    choose(panel, host, case, "Siemens Biograph mCT")
    assert "by its noise" not in panel.ui.resolutionLabel.text  # the body is found by its SUV


def test_an_image_of_stated_fwhm_needs_no_scanner(panel, host, fake, case):
    choose(panel, host, case, "Choose the scanner")
    assert not panel.ui.applyButton.enabled
    panel.ui.postFilterSpinBox.setValue(5)
    panel.ui.imageFwhmSpinBox.setValue(6.2)
    host.spin(0.05)
    assert panel.ui.resolutionLabel.text == "6.2 mm, stated" and not panel.ui.postFilterSpinBox.enabled
    panel.ui.psfComboBox.setCurrentIndex(1)  # which tells how the noise is correlated
    finish(panel, host, fake, case)
    assert (fake.jobs[0]["fwhm"], fake.jobs[0]["psf_modelled"]) == (6.2, True)
    assert not {"scanner", "post_filter"} & set(fake.jobs[0])
    assert panel.params.result.GetName() == "PET SR"


def test_a_fwhm_far_below_the_voxels_is_refused_where_it_is_stated(panel, host, case):
    choose(panel, host, case)
    panel.ui.imageFwhmSpinBox.setValue(1.2)
    host.spin(0.05)
    assert "less than half of the PET's voxels (3 mm, slices 4 mm)" in panel.ui.resolutionLabel.text


def test_a_scene_with_a_fwhm_that_no_image_has_opens_and_tells(host, tmp_path):
    """As an earlier version saved it, whose limit was 25 mm."""
    host.reset()
    panel, scene = host.open_module(), slicer.mrmlScene
    panel.logic.getParameterNode().SetParameter("fwhm", "20.0")
    panel.logic.getParameterNode().SetParameter("samples", "3")
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    host.spin(0.1)
    assert panel.params.fwhm == 0
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import()
    host.spin(0.1)
    told = "A setting saved in the scene is not used. A FWHM of 20 mm is that of no clinical PET image"
    assert panel.params.fwhm == 0 == panel.ui.imageFwhmSpinBox.value and panel.params.samples == 3
    assert panel.ui.statusLabel.text.startswith(told) and told in panel.ui.logText.plainText
    host.reset()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("preset", "Scanner of tomorrow", "The scanner 'Scanner of tomorrow' is not known"),
        ("psf_modelled", "perhaps", "The PSF 'perhaps' is not known"),
        ("quality", "BEST", "The quality 'BEST' is not known"),
        ("plotMeasure", "SUVmedian", "The measure 'SUVmedian' is not known"),
        ("samples", "many", "The setting samples 'many' is not known"),
        ("scannerFwhm", "99.0", "The setting scannerFwhm of 99 is outside its limits"),
    ],
)
def test_a_scene_of_another_version_opens_and_tells_what_it_does_not_know(host, fake, name, text, told):
    host.reset()
    load_module().PETSuperResLogic().getParameterNode().SetParameter(name, text)
    panel = host.open_module()
    found = panel.ui.statusLabel.text
    assert found.startswith("A setting saved in the scene is not used.") and told in found, found
    assert panel.params.parameterNode.GetParameter(name) != text and not host.errors
    host.reset()


def test_a_region_made_in_the_panel_is_ready_to_use(panel, host, fake, case):
    choose(panel, host, case)
    roi = panel.ui.regionSelector.addNode()
    panel.ui.applyButton.click()
    low, high = fake.jobs[0]["region"][::2], fake.jobs[0]["region"][1::2]
    assert panel.params.region is roi and all(a < b for a, b in zip(low, high, strict=True))


def test_an_edited_scanner_is_sent_whole_and_goes_back_to_its_preset(panel, host, fake, case):
    choose(panel, host, case)
    preset = panel.ui.fwhmSpinBox.value
    panel.ui.fwhmSpinBox.setValue(7.25)
    panel.ui.applyButton.click()
    assert fake.jobs[0]["scanner"]["fwhm_transaxial_mm"] == 7.25 and fake.jobs[0]["scanner"]["name"] == PRESET
    panel.ui.resetPhysicsButton.click()
    host.spin(0.05)
    assert panel.ui.fwhmSpinBox.value == pytest.approx(preset)


def test_another_preset_brings_its_own_values(panel, host, case):
    for name in (PRESET, "GE Discovery ST"):
        choose(panel, host, case, name)
        assert panel.ui.fwhmSpinBox.value == pytest.approx(Scanner.get(name).fwhm_transaxial_mm, abs=0.006)
        assert panel.ui.fwhmAxialSpinBox.value == pytest.approx(Scanner.get(name).fwhm_axial_mm, abs=0.006)


def test_the_scanner_is_chosen_from_what_the_pet_says(panel, host, case):
    case.pet.SetAttribute("DICOM.Manufacturer", "GE MEDICAL SYSTEMS")
    case.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")
    panel.ui.petSelector.setCurrentNode(case.pet)
    host.spin(0.05)
    assert panel.ui.presetComboBox.currentText == "GE Discovery 690/710"


def test_devices_are_asked_for_when_the_section_is_opened(panel, host, case):
    box = panel.ui.deviceComboBox
    assert box.count == 2
    panel.ui.advancedButton.collapsed = False
    assert host.spin(2, until=lambda: box.count == 3)
    assert box.itemText(0) == "Automatic: Big GPU" and box.itemText(2) == "Big GPU (cuda:0)"
    box.setCurrentIndex(2)
    assert panel.params.device == "cuda:0"
    panel.params.device = "cuda:5"  # from a scene of another machine
    assert box.currentText == "cuda:5 (not on this machine)"


def test_the_priors_card_and_a_wrong_file(panel, host, fake, case, tmp_path):
    assert "trained on" in panel.ui.priorLabel.text
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing of the kind")
    choose(panel, host, case)
    host.files.append(str(wrong))
    panel.ui.priorButton.click()
    host.spin(0.05)
    assert "not a PETSuperRes prior" in panel.ui.priorLabel.text
    panel.ui.applyButton.click()
    assert "not a PETSuperRes prior" in panel.ui.statusLabel.text and not fake.jobs


def test_unknown_units_are_asked_for(panel, host, fake, case):
    case.pet.SetVoxelValueUnits(None)
    choose(panel, host, case)
    ui = panel.ui
    assert "are they SUV?" in ui.unitsLabel.text and ui.unitsButton.text == "They are SUV"
    assert "press 'They are SUV'" in ui.statusLabel.text and not ui.applyButton.enabled
    ui.unitsButton.click()
    host.spin(0.05)
    assert mrml.unit_of_node(case.pet) == "SUVbw" and not ui.unitsButton.visible
    ui.applyButton.click()
    assert len(fake.jobs) == 1


def test_apply_follows_a_change_of_the_chosen_pet(panel, host, case):
    case.pet.SetVoxelValueUnits(None)
    choose(panel, host, case)
    assert not panel.ui.applyButton.enabled
    mrml.mark_unit(case.pet, "SUVbw")  # in the console, or by another module
    host.spin(0.05)
    assert panel.ui.applyButton.enabled and panel.ui.statusLabel.text == ""


def test_what_the_module_made_is_not_offered_as_pet_or_ct(panel, host, fake, case, result):
    for selector in (panel.ui.petSelector, panel.ui.ctSelector):
        selector.setCurrentNode(panel.params.result)
        assert selector.currentNode() is not panel.params.result
    choose(panel, host, case)
    slicer.mrmlScene.RemoveNode(case.pet)  # the selector takes another volume by itself
    host.spin(0.05)
    assert panel.params.pet is case.ct and not panel.ui.applyButton.enabled


def test_the_lists_are_filled_again_for_a_result_only(panel, host, case, fake, monkeypatch):
    choose(panel, host, case)
    filled = []
    monkeypatch.setattr(type(panel.ui.petSelector), "_refresh", lambda self: filled.append(self))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    assert not {panel.ui.petSelector, panel.ui.ctSelector} & set(filled)
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    provenance.mark(made, "difference")
    filled.clear()
    panel.selectors._filter()
    assert filled == [panel.ui.petSelector, panel.ui.ctSelector]


def test_concentrations_are_converted_by_what_is_stated(panel, host, case):
    case.pet.SetVoxelValueUnits(None)
    mrml.set_voxels(case.pet, case.volume.with_array(case.volume.array * 2500))
    choose(panel, host, case)
    ui = panel.ui
    assert ui.unitsForm.visible and "Bq/mL" in ui.unitsLabel.text
    ui.unitsButton.click()
    assert "patient's weight" in ui.statusLabel.text
    ui.weightSpinBox.setValue(70)
    ui.doseSpinBox.setValue(350)
    ui.injectedEdit.setText("10:00")
    ui.scannedEdit.setText("10:00")
    ui.unitsButton.click()
    host.spin(0.1)
    made = panel.params.pet
    assert made is not case.pet and made.GetName() == "PET SUV" and not ui.unitsForm.visible
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made).max(), 7 * 2500 * 70e3 / 350e6, rtol=1e-5)


def test_a_scene_imported_during_a_run_leaves_the_choices_and_the_job(panel, host, fake, case, tmp_path):
    choose(panel, host, case)
    scene = slicer.mrmlScene
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    panel.ui.applyButton.click()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import()
    host.spin(0.1)
    chosen = [panel.ui.petSelector.currentNode(), panel.ui.ctSelector.currentNode()]
    assert panel.run.running and None not in chosen and chosen == [panel.params.pet, panel.params.ct]
    give(fake, case)
    assert host.spin(5, until=lambda: not panel.run.running)
    assert provenance.inputs_of(panel.params.result)[0] is case.pet


def test_a_scene_that_is_opened_tells_the_notes_on_its_result(panel, host, case, result):
    note = "The body touches the edge of the region."
    result.SetAttribute("PETSuperRes.report.warnings", json.dumps([note]))
    assert note not in panel.ui.logText.plainText
    panel.onSceneStartClose()
    panel.onSceneEndClose()  # the parameters are read anew
    told = panel.ui.logText.plainText
    assert f"'{result.GetName()}', as saved in the scene:" in told and told.count(f"Note: {note}") == 1


def test_a_saved_scene_brings_back_inputs_scanner_and_result(panel, host, fake, case, tmp_path):
    case.pet.SetAttribute("DICOM.Manufacturer", "GE MEDICAL SYSTEMS")
    case.pet.SetAttribute("DICOM.ManufacturerModelName", "Discovery 690")  # another scanner than the chosen one
    choose(panel, host, case)
    panel.ui.fwhmSpinBox.setValue(7.25)
    finish(panel, host, fake, case)
    panel.ui.plotButton.click()
    made, scene = panel.params.result.GetName(), slicer.mrmlScene
    for name, suffix in (("Volume", ".nrrd"), ("Segmentation", ".seg.nrrd"), ("Table", ".tsv")):
        for node in slicer.util.getNodesByClass(f"vtkMRML{name}Node"):
            if node.GetStorageNode() is None:
                node.AddDefaultStorageNode()
            if node.GetStorageNode() is not None:
                node.GetStorageNode().SetFileName(str(tmp_path / f"{node.GetID()}{suffix}"))
                node.GetStorageNode().WriteData(node)
    scene.SetRootDirectory(str(tmp_path))
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    host.spin(0.2)
    assert panel.params.pet is None
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import()
    assert host.spin(10, until=lambda: panel.ui.lesionsTable.rowCount > 0)
    assert panel.params.preset == PRESET and panel.params.scannerFwhm == 7.25
    assert panel.params.pet.GetName() == "PET" and panel.params.ct.GetName() == "CT"
    assert panel.params.result.GetName() == made
    series = [panel.params.chart.GetNthPlotSeriesNode(n) for n in range(2)]
    assert [(s.GetName(), s.GetYColumnName()) for s in series] == [("PET", "pet_suvpeak"), ("SR", "sr_suvpeak")]
    displays = [node.GetDisplayNode() for node in (panel.params.pet, panel.params.result)]
    displays[0].AutoWindowLevelOff()
    displays[0].SetWindowLevel(20, 9)
    assert displays[1].GetWindow() == 20  # the scene was saved while comparing
    assert not host.errors


@pytest.mark.parametrize(("gone", "message"), [("pet", "The PET of this result"), ("ct", "The CT of this result")])
def test_an_input_deleted_during_a_run_leaves_the_result_and_is_told(panel, host, fake, case, gone, message):
    choose(panel, host, case)
    panel.ui.applyButton.click()
    host.spin(0.1)
    slicer.mrmlScene.RemoveNode(getattr(case, gone))
    give(fake, case)
    host.spin(0.5)
    assert not panel.run.running and panel.params.result is not None and not host.errors
    assert message in panel.ui.logText.plainText
