"""Evidence in the panel: asked for with a run, and laid over the result."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_case import choose, finer
from PETSuperResSlicer.mrml import overlay, provenance


@pytest.fixture
def checked(panel, host, fake, case):
    """A result with evidence and residual, asked for by the check box."""
    choose(panel, host, case)
    panel.ui.evidenceCheckBox.setChecked(True)
    panel.ui.applyButton.click()
    fine = finer(case)
    evidence = fine.with_array(np.where(fine.array > 5, 6.0, 0.0).astype(np.float32), "")
    volumes = {"sr": fine, "evidence": evidence, "residual": fine.with_array(fine.array - 2, "")}
    volumes["ct_effect"] = fine.with_array(0.1 * fine.array, "SUVbw")
    fake.say("result", volumes=volumes, report={"warnings": []})
    assert host.spin(5, until=lambda: not panel.run.running)
    host.spin(0.1)
    return panel.params.result


def layers():
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [(n.GetForegroundVolumeID(), n.GetBackgroundVolumeID(), n.GetForegroundOpacity()) for n in nodes]


def test_the_check_box_asks_for_the_evidence(panel, fake, checked):
    assert fake.jobs[-1]["evidence"] is True
    box = panel.ui.overlayComboBox
    offered = ["none", "Evidence (sigma)", "Residual (sigma)", "Effect of the CT (SUV)"]
    assert [box.itemText(n) for n in range(box.count)] == offered


def test_a_map_lies_over_the_result_until_another_choice(panel, host, checked):
    before, maps = layers(), overlay.maps_of(checked)
    for index, key in ((1, "evidence"), (2, "residual"), (3, "ct_effect")):
        panel.ui.overlayComboBox.setCurrentIndex(index)
        assert {layer[:2] for layer in layers()} == {(maps[key].GetID(), checked.GetID())}
    legend_of = slicer.modules.colors.logic().GetColorLegendDisplayNode
    assert legend_of(maps["residual"]) is None and legend_of(maps["ct_effect"]).GetTitleText().startswith("Effect")
    panel.ui.overlayComboBox.setCurrentIndex(0)
    assert layers() == before and legend_of(maps["ct_effect"]) is None


def test_the_effect_of_the_ct_has_colours_about_0_that_reach_its_largest_values(checked):
    display = overlay.maps_of(checked)["ct_effect"].GetDisplayNode()
    top = float(np.abs(slicer.util.arrayFromVolume(overlay.maps_of(checked)["ct_effect"])).max())
    assert display.GetLevel() == 0 and 0.5 * top < display.GetWindow() / 2 <= top


def test_a_deleted_map_is_not_offered_and_the_views_come_back(panel, host, checked):
    box, before = panel.ui.overlayComboBox, layers()
    names = [box.itemText(n) for n in range(box.count)]
    box.setCurrentIndex(1)
    slicer.mrmlScene.RemoveNode(panel.params.result.GetNodeReference(provenance.MAPS["evidence"].role))
    host.spin(0.1)
    assert [box.itemText(n) for n in range(box.count)] == [n for n in names if "Evidence" not in n]
    assert box.currentIndex == 0 and layers() == before


def test_segments_are_outlines_over_a_map(panel, checked):
    displays = slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")
    before = [display.GetVisibility2DFill() for display in displays]
    panel.ui.overlayComboBox.setCurrentIndex(1)
    assert any(before) and not any(display.GetVisibility2DFill() for display in displays)
    panel.ui.overlayComboBox.setCurrentIndex(0)
    assert [display.GetVisibility2DFill() for display in displays] == before


def test_evidence_below_3_sigma_is_red_and_from_there_on_green(panel, checked):
    panel.ui.overlayComboBox.setCurrentIndex(1)
    display = overlay.maps_of(checked)["evidence"].GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() > 0  # no blob: nothing is drawn
    colours, found = display.GetColorNode(), np.zeros(4)
    for sigma, red in ((2.9, True), (4.0, False), (9.0, False)):
        colours.GetColor(int(255 * sigma / display.GetWindow()), found)
        assert (found[0] > 0.5 and found[1] < 0.2) == red


def test_a_result_without_maps_offers_none(panel, result):
    assert not panel.ui.overlayComboBox.enabled and "check the evidence" in panel.ui.overlayComboBox.toolTip
