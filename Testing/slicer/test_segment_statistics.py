"""The plugin of Segment Statistics: SUVs of segments in any PET in SUV, by rules whose volumes are known."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import torch
from dicom_factory import Scan, pet_slices, write_series
from PETSuperResSlicer.sample_data import CATEGORY
from SegmentStatistics import SegmentStatisticsLogic
from slicer_host import sample_data as samples

from PETSuperResLib import remeasure
from PETSuperResLib.errors import InputError
from PETSuperResLib.inputs import Inputs, noise_of_pet, resolution_of_pet
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.rules import percist_threshold
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.pet_alone import lesions_of_pet
from PETSuperResLib.remeasure import remeasured
from PETSuperResLib.request import Request
from PETSuperResLib.suv.body import lean_body_mass_kg, sul_factor
from PETSuperResLib.volume import Volume

LIVER = (2.0, 0.3)  # mean and standard deviation


@pytest.fixture
def known(scene, host):
    """A liver of 8 x 7 x 6 cm, right of it deep, with noise, and a lesion of 6, 4 and 2.2 SUV in thirds."""
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels

    host.open_module()
    labels = np.zeros((16, 30, 40), np.float32)
    labels[2:14, 4:20, 2:22], labels[4:10, 22:28, 26:32] = 1, 2
    random = np.random.default_rng(0)
    pet = np.where(labels == 1, random.normal(*LIVER, labels.shape), 1.0)
    for part, value in enumerate((6.0, 4.0, 2.2)):
        pet[4:10, 22:28, 26 + 2 * part : 28 + 2 * part] = value
    grid = Volume(labels, (4.0, 4.0, 5.0), (-80.0, -60.0, 0.0), unit="label")
    volume = grid.with_array(pet.astype(np.float32), "SUVbw")
    node = mrml.node_from_volume(volume, "PET", scene)
    segments = segmentation_from_labels(grid, node, "Segments", {1: "Liver", 2: "Lesion"})
    return SimpleNamespace(volume=volume, pet=node, segments=segments, labels=grid)


def statistics(known, *asked, **parameters):
    """The lesion's measures by key."""
    logic = SegmentStatisticsLogic()
    [plugin] = [p for p in logic.plugins if type(p).__name__ == "PETSuperResStatisticsPlugin"]
    node = logic.getParameterNode()
    node.SetParameter("Segmentation", known.segments.GetID())
    node.SetParameter("ScalarVolume", known.pet.GetID())
    for key in asked:
        node.SetParameter(f"{plugin.toLongKey(key)}.enabled", "True")
    for key, value in parameters.items():
        node.SetParameter(plugin.toLongKey(key), value)
    lesion = known.segments.GetSegmentation().GetSegmentIDs()[1]
    return {key: value for (segment, key), value in logic.computeStatistics().items() if segment == lesion}, plugin


def test_the_volumes_are_those_of_their_rules(known):
    keys = [f"{measure}_{rule}" for measure in ("MTV", "TLG") for rule in ("fixed", "41", "50", "PERCIST")]
    found, _ = statistics(known, *keys, threshold="2.0")
    third = 6 * 6 * 2 * 0.08  # mL of one value
    wanted = {"fixed": (6.0, 4.0, 2.2), "41": (6.0, 4.0), "50": (6.0, 4.0), "PERCIST": (6.0, 4.0)}
    for rule, values in wanted.items():
        assert found[f"MTV_{rule}"] == pytest.approx(third * len(values)), rule
        assert found[f"TLG_{rule}"] == pytest.approx(third * sum(values)), rule
    higher, _ = statistics(known, *keys, threshold="5")
    assert higher["MTV_fixed"] == pytest.approx(third) and higher["MTV_41"] == found["MTV_41"]
    [lesion] = measure_lesions(known.volume, segments_of(known.labels)[1:])
    assert found["SUVpeak"] == pytest.approx(lesion.suvpeak) and all(type(v) is float for v in found.values())


def test_the_liver_s_threshold_is_percist_s(known):
    [liver, _] = segments_of(known.labels)
    threshold = percist_threshold(known.volume, liver)
    assert threshold == pytest.approx(1.5 * LIVER[0] + 2 * LIVER[1], rel=0.05)
    known.volume.array[:, :, 14:20] += 5.0  # the left lobe
    assert percist_threshold(known.volume, liver) == threshold
    flat = known.labels.with_array((known.labels.array == 1) * (np.arange(16)[:, None, None] < 4))
    assert percist_threshold(known.volume, segments_of(flat)[0]) is None  # 1 cm thick


def test_without_a_liver_percist_shows_nothing(known):
    segmentation = known.segments.GetSegmentation()
    segmentation.GetSegment(segmentation.GetSegmentIDs()[0]).SetName("Liver metastasis")
    found, _ = statistics(known, "MTV_PERCIST")
    assert "MTV_PERCIST" not in found and "MTV_41" in found


def test_the_default_measures_are_few(known):
    found, plugin = statistics(known)
    assert set(found) == {"SUVpeak", "MTV_41", "TLG_41"}  # without a header no SULpeak
    assert plugin.optionsWidget is not None and not any("." in key for key in plugin.keys)
    plugin.thresholdBox.setValue(3.5)
    assert plugin.getParameterNode().GetParameter("PETSuperResStatisticsPlugin.threshold") == "3.5"


def test_a_volume_that_is_not_in_suv_shows_nothing(known):
    known.pet.SetVoxelValueUnits(None)
    assert statistics(known)[0] == {}
    known.pet.SetAttribute("PETSuperRes.kind", "super-resolved PET")
    assert statistics(known)[0] == {}


@pytest.mark.parametrize("lacking", ["", "PatientSize", "PatientSex"])
def test_sulpeak_follows_from_the_header(known, tmp_path, monkeypatch, lacking):
    slices = pet_slices(Scan(weight_kg=80.0))
    for dataset in slices:
        if lacking:
            delattr(dataset, lacking)
    file = next(write_series(slices, tmp_path / "pet").iterdir())
    database = SimpleNamespace(fileForInstance=lambda uid: str(file), fileValue=lambda path, tag: "")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    known.pet.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    found, _ = statistics(known)
    factor = lean_body_mass_kg(80.0, 175.0, "F", "LBMJANMA") / 80.0
    assert ("SULpeak" in found) is not bool(lacking)
    if not lacking:
        assert found["SULpeak"] == pytest.approx(factor * found["SUVpeak"])
    assert sul_factor(slices) == (None if lacking else pytest.approx(factor))


@pytest.fixture
def result(known, scene):
    """The known PET 1.2 times as hot on pixels of 2 mm, as a result of it with a report."""
    from PETSuperResSlicer.mrml import provenance
    from PETSuperResSlicer.mrml import volumes as mrml

    hu = np.full(known.volume.shape, -1000.0)
    hu[:, 2:28, 1:38] = 40.0
    ct = mrml.node_from_volume(known.volume.with_array(hu, "HU"), "CT", scene)
    inputs = Inputs.of(Request(known.volume, mrml.volume_from_node(ct), fwhm=7.0, noise=10.0))
    problem = inputs.problem(2.0, torch.device("cpu"))
    fine = known.volume.resample_to(problem.grid, "nearest")
    volume = fine.with_array(1.2 * fine.array, "SUVbw")
    report = {"resolution": inputs.resolution.to_dict(), **problem.facts}
    node = mrml.add_derived(volume, "SR", provenance.SUPER_RESOLVED, known.pet, scene)
    provenance.record(node, known.pet, ct, {}, report)
    known.pet, known.source, known.report = node, known.pet, report
    return volume


RECOVERED = ("recovered", "recovered_low", "recovered_high", "evidence")


def test_what_is_recovered_of_a_result_is_the_library_s(known, result, monkeypatch):
    lesion = remeasured(result, known.volume, known.report, segments_of(known.labels))[1]
    calls = []
    monkeypatch.setattr(remeasure, "remeasured", lambda *given: calls.append(1) or remeasured(*given))
    found, plugin = statistics(known, *RECOVERED)
    wanted = (lesion.suvmean_recovered, lesion.suvmean_low, lesion.suvmean_high, lesion.evidence_sigma)
    assert [found[key] for key in RECOVERED] == pytest.approx(wanted) and len(calls) == 1  # for both segments
    assert found["recovered_low"] < found["recovered"] < found["recovered_high"]
    assert plugin.note == "Recovered from 'PET' and its result"
    assert plugin.getMeasurementInfo("recovered")["name"] == "SUVmean recovered (SR)"


def test_uptake_is_recovered_again_when_segments_or_images_have_changed(known, result, monkeypatch):
    calls = []
    monkeypatch.setattr(remeasure, "remeasured", lambda *given: calls.append(1) or [])
    _, plugin = statistics(known, "recovered")
    hot = known.segments.GetSegmentation().GetSegmentIDs()[1]
    mask = (known.labels.array == 2).astype(np.uint8)
    changes = (
        lambda: None,
        lambda: slicer.util.updateSegmentBinaryLabelmapFromArray(mask, known.segments, hot, known.source),
        *(lambda node=node: node.GetImageData().Modified() for node in (known.source, known.pet)),
    )
    for again, change in enumerate(changes):
        change()
        plugin.computeStatistics(hot)
        plugin.computeStatistics(hot)
        assert len(calls) == 1 + again


def test_why_nothing_is_recovered_is_told(known, result, scene):
    from PETSuperResSlicer.mrml import provenance
    from PETSuperResSlicer.mrml import volumes as mrml

    provenance.set_voxels_of_pet(known.pet, mrml.voxel_sum(known.source))
    assert set(RECOVERED) <= set(statistics(known, *RECOVERED)[0])
    slicer.util.arrayFromVolume(known.source)[:] *= 3
    slicer.util.arrayFromVolumeModified(known.source)
    changed, plugin = statistics(known, *RECOVERED)
    assert not set(RECOVERED) & set(changed) and "no longer has the voxels that this result was made" in plugin.note
    scene.RemoveNode(known.source)
    lost, plugin = statistics(known, *RECOVERED)
    assert not set(RECOVERED) & set(lost) and "MTV_41" in lost
    assert "is not in the scene: load it" in plugin.note and plugin.noteLabel.text == plugin.note
    known.pet.SetAttribute("PETSuperRes.kind", "difference")
    _, plugin = statistics(known, *RECOVERED)
    assert "'SR' (difference) is no PET" in plugin.note


def test_what_is_recovered_of_a_pet_alone_is_the_library_s(known):
    known.pet.SetAttribute("PETSuperRes.preset", "GE Discovery ST")
    found, plugin = statistics(known, *RECOVERED)
    _, resolution = resolution_of_pet(known.volume, "GE Discovery ST")
    lesion = lesions_of_pet(known.volume, segments_of(known.labels), resolution)[1]
    wanted = (lesion.suvmean_recovered, lesion.suvmean_low, lesion.suvmean_high, lesion.evidence_sigma)
    assert [found.get(key) for key in RECOVERED] == pytest.approx(wanted)
    assert plugin.getMeasurementInfo("recovered")["name"] == "SUVmean recovered (PET alone)"
    assert "the PET alone, 6.1 mm scanner" in plugin.note and "state what is known" in plugin.note


@pytest.mark.slow
def test_from_the_console_a_pet_alone_is_measured_as_well(known):
    from mrml_scene import load_module

    logic = load_module().PETSuperResLogic()
    table = logic.measureLesions(known.pet, known.segments, threshold="41%", fwhm=7.0, noise=10.0)
    _, resolution = resolution_of_pet(known.volume, fwhm=7.0)
    noise, _ = noise_of_pet(known.volume, resolution, 10.0)
    wanted = lesions_of_pet(known.volume, segments_of(known.labels), resolution, noise, "41%")
    values = table.GetTable()
    assert [values.GetColumnByName("lesion").GetValue(n) for n in range(2)] == ["Liver", "Lesion"]
    assert [values.GetColumnByName("recovered_from").GetValue(n) for n in range(2)] == ["PET alone"] * 2
    for name in ("suvmean_recovered", "evidence_sigma", "mtv_ml"):
        found = [values.GetColumnByName(name).GetValue(n) for n in range(2)]
        assert found == pytest.approx([getattr(lesion, name) for lesion in wanted]), name
    with pytest.raises(InputError, match="Which scanner made the PET"):
        logic.measureLesions(known.pet, known.segments)


@pytest.mark.slow
def test_a_pet_of_unknown_resolution_says_so_until_the_panel_states_it(known, host):
    found, plugin = statistics(known, *RECOVERED)
    assert not set(RECOVERED) & set(found) and "MTV_41" in found
    assert "Nothing is recovered. Which scanner made the PET?" in plugin.note and "say it there" in plugin.note
    params = slicer.modules.PETSuperResWidget.params
    values = []
    params.pet = known.pet
    for params.fwhm in (6.0, 8.0):
        plugin.computeStatistics(known.segments.GetSegmentation().GetSegmentIDs()[1])
        assert f"{params.fwhm} mm, stated" in plugin.note
        values.append(statistics(known, *RECOVERED)[0]["recovered"])
    assert values[0] < values[1]  # the wider the blur, the more of it is taken off


def test_every_measure_has_codes_of_dicom_and_ucum(known):
    _, plugin = statistics(known)
    for key in plugin.keys:
        info = plugin.getMeasurementInfo(key)
        assert info["name"] and info["description"] and info["units"] in ("g/mL", "mL", "g", "1")
        entries = {}
        for kind in ("Quantity", "Units", "Derivation"):
            entries[kind] = slicer.vtkCodedEntry()
            assert entries[kind].SetFromString(info[f"DICOM.{kind}Code"])
        assert entries["Quantity"].GetCodingSchemeDesignator() == ("99PETSUPERRES" if key == "evidence" else "DCM")
        assert entries["Units"].GetCodingSchemeDesignator() == "UCUM"
    meanings = [plugin.getMeasurementInfo(key)["DICOM.DerivationCode"] for key in plugin.keys]
    assert len(set(meanings)) == len(plugin.keys) - 1  # SUVpeak and SULpeak differ in their units
    assert plugin.getMeasurementInfo("volume") is None


@pytest.mark.parametrize("lacking", ["SampleData", "SegmentStatistics"])
def test_an_application_without_a_module_still_gets_the_panel_and_what_the_other_offers(lacking, host, monkeypatch):
    """As a custom application may be built."""
    host.reset()
    monkeypatch.setitem(sys.modules, lacking, None)
    monkeypatch.setattr(SegmentStatisticsLogic, "registeredPlugins", [])
    monkeypatch.setattr(samples, "_sources", {})
    widget = host.open_module()
    assert not host.errors and widget.ui.applyButton is not None
    assert bool(SegmentStatisticsLogic.registeredPlugins) == (lacking == "SampleData")
    assert bool(samples.SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)) == (lacking == "SegmentStatistics")
    host.reset()


def test_the_plugin_is_registered_once(known, host):
    host.reset()
    host.open_module()
    names = [plugin.__name__ for plugin in SegmentStatisticsLogic.registeredPlugins]
    assert names.count("PETSuperResStatisticsPlugin") == 1
