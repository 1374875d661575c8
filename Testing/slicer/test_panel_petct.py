"""Show PET/CT: what the slice views and the 3D view then show, and that the views are put back."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_case import choose, finer, finish, nodes_in_scene
from PETSuperResSlicer.mrml import volumes as mrml

KEPT = {
    "vtkMRMLSliceCompositeNode": ("BackgroundVolumeID", "ForegroundVolumeID", "ForegroundOpacity", "LinkedControl"),
    "vtkMRMLScalarVolumeDisplayNode": ("Window", "Level", "AutoWindowLevel", "ColorNodeID"),
    "vtkMRMLSegmentationDisplayNode": ("Visibility2DFill", "Visibility2DOutline"),
    "vtkMRMLViewNode": ("RaycastTechnique", "RenderMode", "BackgroundColor", "BackgroundColor2", "BoxVisible"),
}


RAINBOW = "vtkMRMLPETProceduralColorNodePET-Rainbow"


def look():
    """What a user had chosen of the display."""
    found = {"layout": slicer.app.layoutManager().layout}
    for kind, names in KEPT.items():
        for node in slicer.util.getNodesByClass(kind):
            found |= {(node.GetID(), name): getattr(node, f"Get{name}")() for name in names}
    return found


def composite():
    return slicer.mrmlScene.GetFirstNodeByName("Red") and next(
        c for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if c.GetLayoutName() == "Red"
    )


def rendered():
    display = slicer.app.layoutManager().threeDWidget(0).threeDView().rendered()
    return None if display is None else display.GetVolumeNode()


@pytest.fixture
def chosen(panel, host, case):
    """A PET in the automatic window, its CT and segments, with nothing in the views."""
    choose(panel, host, case)
    case.pet.GetDisplayNode().AutoWindowLevelOn()
    return case


def test_one_click_shows_pet_over_ct_with_outlines_and_mip(panel, host, chosen):
    panel.ui.petctButton.click()
    host.spin(0.1)
    layers = composite()
    assert (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID()) == (chosen.ct.GetID(), chosen.pet.GetID())
    shown = chosen.pet.GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax(), shown.GetColorNodeID()) == (0, 6, mrml.HEAT)
    assert chosen.ct.GetDisplayNode().GetWindow() == 400 and chosen.ct.GetDisplayNode().GetLevel() == 40
    assert not chosen.segments.GetDisplayNode().GetVisibility2DFill()
    assert rendered() is chosen.pet
    picture = slicer.app.layoutManager().threeDWidget(0).threeDView().image()
    assert picture.min() == pytest.approx(0, abs=0.01)  # the lesion of SUV 7 is black
    assert np.median(picture) == pytest.approx(1 - 1 / 6, abs=0.01)  # the body of SUV 1 is light grey
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert len(legends) == 1 and legends[0].GetNumberOfViewNodeIDs() == 1


def test_a_second_click_puts_everything_back(panel, host, chosen):
    slicer.util.setSliceViewerLayers(background=chosen.pet, foreground=None, foregroundOpacity=0.3)
    before, nodes = look(), nodes_in_scene()
    panel.ui.petctButton.click()
    panel.ui.ctWindowComboBox.setCurrentIndex(1)
    host.spin(0.1)
    assert look() != before and panel.ui.petctButton.checked and "press again" in panel.ui.statusLabel.text
    panel.ui.petctButton.click()
    host.spin(0.1)
    assert look() == before and nodes_in_scene() == nodes and not panel.ui.petctButton.checked
    assert panel.ui.statusLabel.text == ""


def test_window_presets_opacity_and_fit(panel, host, chosen):
    panel.ui.petctButton.click()
    for name, window in {"lung": (1500, -600), "bone": (2500, 480), "brain": (80, 40)}.items():
        panel.ui.ctWindowComboBox.setCurrentIndex(panel.ui.ctWindowComboBox.findText(name))
        assert (chosen.ct.GetDisplayNode().GetWindow(), chosen.ct.GetDisplayNode().GetLevel()) == window
    chosen.ct.GetDisplayNode().SetWindowLevel(300, 50)  # as by the mouse
    panel.ui.petOpacitySlider.setValue(0.8)
    assert chosen.ct.GetDisplayNode().GetWindow() == 300
    assert composite().GetForegroundOpacity() == pytest.approx(0.8)
    panel.ui.fitButton.click()
    assert panel.params.petTop == chosen.pet.GetDisplayNode().GetWindowLevelMax() == 7.0  # its hottest lesion
    chosen.pet.GetDisplayNode().SetWindowLevelMinMax(1.0, 9.0)  # as by the mouse
    assert panel.ui.petTopSpinBox.value == 9.0
    assert chosen.pet.GetDisplayNode().GetWindowLevelMin() == 1.0


def test_a_button_that_cannot_be_pressed_says_why(panel, host, case):
    case.pet.SetVoxelValueUnits(None)
    case.pet.SetVoxelValueQuantity(None)
    button = panel.ui.petctButton
    assert not button.enabled and button.toolTip == "Choose the PET and the CT."
    panel.ui.petSelector.setCurrentNode(case.pet)
    assert button.toolTip == "Choose the CT."
    panel.ui.ctSelector.setCurrentNode(case.ct)
    assert not button.enabled and "'PET' cannot be used as it is" in button.toolTip and "press" in button.toolTip
    panel.ui.unitsButton.click()
    assert button.enabled and button.toolTip.startswith("PET over CT")


@pytest.mark.parametrize("first", ["preview", "petct"])
def test_a_cancelled_preview_and_pet_ct_leave_nothing_behind_in_either_order(panel, host, fake, chosen, first):
    slicer.util.setSliceViewerLayers(background=chosen.pet, foreground=None, foregroundOpacity=0.3)
    chosen.pet.GetDisplayNode().SetAndObserveColorNodeID(RAINBOW)  # no grey, which a preview would change
    before = look()
    if first == "petct":
        panel.ui.petctButton.click()
    panel.ui.applyButton.click()
    fake.say("preview", volume=finer(chosen))
    assert host.spin(2, until=lambda: panel.run.preview is not None)
    assert composite().GetForegroundVolumeID() == panel.run.preview.GetID()
    panel.ui.petctButton.click()  # on after the preview, or off before its end
    panel.ui.applyButton.click()
    assert host.spin(2, until=lambda: not panel.run.running)
    if first == "preview":
        assert composite().GetForegroundVolumeID() == chosen.pet.GetID() and panel.ui.petctButton.checked
        panel.ui.petctButton.click()
    assert look() == before


def test_pet_and_result_have_one_window_and_the_mip_follows_the_switch(panel, host, fake, chosen):
    finish(panel, host, fake, chosen)
    chosen.pet.GetDisplayNode().SetAndObserveColorNodeID(RAINBOW)
    panel.ui.petctButton.click()
    host.spin(0.1)
    result = panel.params.result
    assert composite().GetForegroundVolumeID() == result.GetID() and rendered() is result
    assert result.GetDisplayNode().GetColorNodeID() == chosen.pet.GetDisplayNode().GetColorNodeID() == RAINBOW
    result.GetDisplayNode().SetWindowLevel(10.0, 5.0)
    assert chosen.pet.GetDisplayNode().GetWindow() == 10.0 and panel.ui.petTopSpinBox.value == 10.0
    panel.ui.switchButton.click()
    assert composite().GetForegroundVolumeID() == chosen.pet.GetID() and rendered() is chosen.pet


def test_a_new_result_is_shown_when_pet_ct_is_on(panel, host, fake, chosen):
    manager, plain = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    manager.setLayout(plain)
    panel.ui.petctButton.click()
    finish(panel, host, fake, chosen)
    assert panel.ui.petctButton.checked and rendered() is panel.params.result
    assert composite().GetForegroundVolumeID() == panel.params.result.GetID()
    panel.ui.petctButton.click()
    assert manager.layout == plain


def test_another_layout_ends_it(panel, host, fake, chosen):
    finish(panel, host, fake, chosen)
    panel.ui.petctButton.click()
    panel.ui.compareButton.click()
    host.spin(0.2)
    assert not panel.ui.petctButton.checked and rendered_nodes() == 0
    panel.ui.petctButton.click()  # from the compare layout, which has no 3D view
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    panel.ui.petctButton.click()
    host.spin(0.1)
    assert slicer.app.layoutManager().layout == 8417


def test_compared_pet_and_result_have_one_colour_bar(panel, host, fake, chosen):
    finish(panel, host, fake, chosen)
    panel.ui.petctButton.click()
    panel.ui.compareButton.click()
    assert host.spin(5, until=lambda: panel.params.result.GetNodeReference("PETSuperRes.Difference") is not None)
    pet, result = bars(chosen.pet), bars(panel.params.result)
    assert [bar.GetNthViewNodeID(0) for bar in (*pet, *result)] == ["vtkMRMLSliceNodePETSuperResLR"] * 2
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert not bars(chosen.pet) and not bars(panel.params.result)


def bars(volume):
    nodes = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    return [node for node in nodes if node.GetDisplayableNode() is volume]


def rendered_nodes():
    return len(slicer.util.getNodesByClass("vtkMRMLVolumeRenderingDisplayNode"))


def test_a_rendering_of_the_users_own_is_hidden_meanwhile(panel, host, chosen):
    logic = slicer.modules.volumerendering.logic()
    own = logic.CreateDefaultVolumeRenderingNodes(chosen.pet)
    own.SetVisibility(True)
    panel.ui.petctButton.click()
    assert not own.GetVisibility() and rendered_nodes() == 2
    panel.ui.petctButton.click()
    assert own.GetVisibility() and own.GetVolumeNode() is chosen.pet and rendered_nodes() == 1


def test_without_volume_rendering_and_colours_there_are_slices(panel, host, chosen, monkeypatch):
    monkeypatch.delattr(slicer.modules, "volumerendering")
    monkeypatch.delattr(slicer.modules, "colors")
    panel.ui.petctButton.click()
    assert composite().GetForegroundVolumeID() == chosen.pet.GetID() and rendered_nodes() == 0
    panel.ui.petctButton.click()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("which", ["pet", "ct", "result"])
def test_a_display_node_that_was_deleted_is_made_anew(panel, host, fake, chosen, which, when):
    finish(panel, host, fake, chosen)
    result = panel.params.result
    node = result if which == "result" else getattr(chosen, which)
    if when == "before":
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
    panel.ui.petctButton.click()
    if when == "meanwhile":
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
    panel.ui.petTopSpinBox.setValue(9.0)
    chosen.pet.GetDisplayNode().SetWindowLevel(8.0, 4.0)  # as by the mouse
    displays = [one.GetDisplayNode() for one in (chosen.ct, chosen.pet, result)]
    assert [(one.GetWindow(), one.GetLevel()) for one in displays] == [(400, 40), (8, 4), (8, 4)]
    assert [one.GetColorNodeID() for one in displays] == [mrml.GREYS[0], mrml.HEAT, mrml.HEAT]
    assert panel.ui.petTopSpinBox.value == 8.0 and rendered() is result
    panel.ui.petctButton.click()
    assert not panel.ui.petctButton.checked and rendered_nodes() == 0


def test_a_display_node_made_anew_stands_before_a_rendering(case):
    own = slicer.modules.volumerendering.logic().CreateDefaultVolumeRenderingNodes(case.pet)
    slicer.mrmlScene.RemoveNode(case.pet.GetDisplayNode())
    display = mrml.display_of(case.pet)
    assert display.IsA("vtkMRMLScalarVolumeDisplayNode")
    assert [case.pet.GetNthDisplayNode(n) for n in range(case.pet.GetNumberOfDisplayNodes())] == [display, own]
    assert mrml.display_of(case.pet) is display


@pytest.mark.parametrize("gone", ["pet", "ct", "scene"])
def test_a_deleted_volume_or_a_closed_scene_ends_it(panel, host, chosen, gone):
    panel.ui.petctButton.click()
    host.spin(0.1)
    if gone == "scene":
        slicer.mrmlScene.Clear(0)
    else:
        slicer.mrmlScene.RemoveNode(getattr(chosen, gone))
    host.spin(0.1)
    assert not panel.ui.petctButton.checked and rendered_nodes() == 0
    assert not panel.ui.petctButton.enabled


def test_from_the_console(host, case):
    from mrml_scene import load_module

    from PETSuperResLib.errors import InputError, UnitsError

    logic, before = load_module().PETSuperResLogic(), look()
    display = logic.showPETCT(case.pet, case.ct, ctWindow="lung", suv=10)
    assert composite().GetForegroundVolumeID() == case.pet.GetID() and rendered() is case.pet
    assert case.pet.GetDisplayNode().GetWindowLevelMax() == 10 and case.ct.GetDisplayNode().GetLevel() == -600
    display.end()
    assert look() == before
    with pytest.raises(InputError, match="No CT"):
        logic.showPETCT(case.pet, None)
    with pytest.raises(InputError, match="soft tissue, lung"):
        logic.showPETCT(case.pet, case.ct, ctWindow="liver")
    with pytest.raises(UnitsError):
        logic.showPETCT(case.ct, case.ct)
