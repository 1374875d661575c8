"""The host's parameter node: the same content in the MRML node, limits and bindings as in Slicer."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Union

import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper


class Quality(enum.Enum):
    DRAFT = "a quick look"
    PAPER = "step by step"

    def label(self) -> str:
        return self.value


@parameterNodeWrapper
class Parameters:
    pet: vtkMRMLScalarVolumeNode
    lesions: Union[vtkMRMLSegmentationNode, vtkMRMLTableNode, None]  # noqa: UP007 (Slicer's parameter nodes know no '|')
    samples: Annotated[int, WithinRange(1, 64)] = 1
    preset: Annotated[str, Choice(["mCT", "Vision"])] = "mCT"
    quality: Quality = Quality.DRAFT
    compare: bool = True
    scale: float = 1.5


wrapped: Any = Parameters  # the decorator gives it a constructor, which mypy cannot see


@pytest.fixture
def node(host):
    host.reset()
    yield slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")
    host.reset()


def test_values_lie_in_the_node_under_slicers_names_and_come_back_with_their_types(node):
    parameters = wrapped(node)
    texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert texts["samples"] == "1" and texts["scale"] == "1.5" and texts["quality"] == "DRAFT"
    assert texts["compare"] == "True" and texts["pet"] == "" and "lesions.2" in texts and parameters.lesions is None
    pet, segments = (
        slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{name}Node") for name in ("ScalarVolume", "Segmentation")
    )
    parameters.pet, parameters.lesions, parameters.samples, parameters.quality = pet, segments, 8, Quality.PAPER
    assert node.GetNodeReference("pet") is pet and node.GetNodeReference("lesions.0") is segments
    again = wrapped(node)
    assert (again.pet, again.lesions, again.samples, again.quality) == (pet, segments, 8, Quality.PAPER)
    again.samples = 5
    assert parameters.samples == 5, "what another writes to the node is followed"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("samples", 0, ValueError),
        ("samples", 1.5, TypeError),
        ("samples", None, ValueError),
        ("preset", "Biograph 6", ValueError),
        ("compare", "yes", TypeError),
        ("quality", "DRAFT", TypeError),
    ],
)
def test_a_wrong_value_is_refused_and_the_old_one_stays(node, name, value, error):
    parameters = wrapped(node)
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_union_of_node_classes_needs_none_among_them(node):
    made = parameterNodeWrapper(
        type("Other", (), {"__annotations__": {"lesions": Union[vtkMRMLSegmentationNode, vtkMRMLTableNode]}})  # noqa: UP007
    )
    with pytest.raises(TypeError, match="fits none"):
        made(node)


def test_widgets_and_node_follow_each_other_until_they_are_disconnected(node):
    parameters, spin, quality = wrapped(node), qt.QSpinBox(), qt.QComboBox()
    tag = parameters.connectParametersToGui({"samples": spin, "quality": quality})
    assert (spin.minimum, spin.maximum, spin.value) == (1, 64, 1)
    assert [quality.itemText(n) for n in range(2)] == ["a quick look", "step by step"]
    quality.currentIndex, spin.value = 1, 9
    assert parameters.quality is Quality.PAPER and parameters.samples == 9
    parameters.samples = 4
    assert spin.value == 4
    parameters.disconnectGui(tag)
    spin.value = 2
    assert parameters.samples == 4


def test_a_widget_that_slicer_has_no_connector_for_is_refused(node):
    for name, widget in {"scale": qt.QSpinBox(), "compare": qt.QLineEdit(), "pet": qt.QComboBox()}.items():
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            wrapped(node).connectParametersToGui({name: widget})
