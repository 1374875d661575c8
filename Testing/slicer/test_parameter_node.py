"""The host's parameter node: the same content in the MRML node, limits, caching and bindings as in Slicer."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated, Any, Optional, Union

import pytest
import slicer_host

if slicer_host.missing():
    pytest.skip(slicer_host.missing(), allow_module_level=True)

import slicer  # noqa: E402

host = slicer_host.start()

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode  # noqa: E402
from slicer.parameterNodeWrapper import (  # type: ignore[import-not-found]  # noqa: E402
    Choice,
    Default,
    Minimum,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)


class Quality(enum.Enum):
    DRAFT = "a quick look"
    PAPER = "step by step"

    def label(self) -> str:
        return self.value


@parameterPack
class Physics:
    fwhm: Annotated[float, WithinRange(0.5, 20)] = 5.0
    counts: int = 1


@parameterPack
class Settings:
    physics: Physics
    seed: int = 7


@parameterNodeWrapper
class Parameters:
    pet: vtkMRMLScalarVolumeNode
    lesions: Union[vtkMRMLSegmentationNode, vtkMRMLTableNode, None]  # noqa: UP007 (Slicer's parameter nodes know no '|')
    samples: Annotated[int, WithinRange(1, 64)] = 1
    scale: Annotated[float, Minimum(0), Default(1.5)]
    preset: Annotated[str, Choice(["mCT", "Vision"])] = "mCT"
    quality: Quality = Quality.DRAFT
    compare: bool = True
    prior: pathlib.Path
    weight: Optional[float]  # noqa: UP045
    physics: Physics
    settings: Settings
    names: list[str]
    range: tuple[float, float] = (0.0, 6.0)


wrapped: Any = Parameters  # the decorators give both their constructors, which mypy cannot see
pack: Any = Physics


@pytest.fixture
def node():
    host.reset()
    yield slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")
    host.reset()


@pytest.fixture
def parameters(node) -> Any:
    return wrapped(node)


def test_defaults_lie_in_the_node_under_slicers_names(node, parameters):
    texts = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert texts["samples"] == "1" and texts["scale"] == "1.5" and texts["quality"] == "DRAFT"
    assert texts["compare"] == "True" and texts["physics.fwhm"] == "5.0" and texts["settings.physics.counts"] == "1"
    assert texts["names.len"] == "0" and texts["range.1"] == "6.0" and texts["pet"] == "" and "weight.1" in texts
    assert parameters.weight is None and parameters.pet is None and parameters.prior == pathlib.Path()


def test_values_come_back_from_the_node_with_their_types(node, parameters):
    pet = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    segments = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lesions")
    parameters.pet, parameters.lesions, parameters.samples, parameters.quality = pet, segments, 8, Quality.PAPER
    parameters.weight, parameters.range, parameters.prior = 70.5, (1.0, 2.0), pathlib.Path("/tmp/prior")
    parameters.names = ["a", "b"]
    parameters.names.append("c")
    parameters.physics.fwhm = 4.5
    parameters.settings.physics.counts = 3
    assert node.GetNodeReference("pet") is pet and node.GetParameter("names.2") == "c"
    again = wrapped(node)
    assert again.pet is pet and again.lesions is segments and (again.samples, again.quality) == (8, Quality.PAPER)
    assert again.weight == 70.5 and again.range == (1.0, 2.0) and list(again.names) == ["a", "b", "c"]
    assert again.physics.fwhm == 4.5 and again.settings.physics.counts == 3 and again.settings.seed == 7


def test_a_parameter_follows_its_node_when_another_writes_to_it(node, parameters):
    assert parameters.isCached("samples")
    wrapped(node).samples = 5
    assert parameters.samples == 5
    slicer.mrmlScene.RemoveNode(node)
    assert parameters.samples == 5


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("samples", 0, ValueError),
        ("samples", 1.5, TypeError),
        ("samples", None, ValueError),
        ("scale", -1.0, ValueError),
        ("preset", "Biograph 6", ValueError),
        ("compare", "yes", TypeError),
        ("prior", "/tmp/prior", TypeError),
        ("weight", "70", TypeError),
        ("quality", "DRAFT", TypeError),
    ],
)
def test_a_wrong_value_is_refused_and_the_old_one_stays(parameters, name, value, error):
    before = getattr(parameters, name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_pack_refuses_a_wrong_member_and_the_node_keeps_its_value(parameters, node):
    with pytest.raises(ValueError, match="20"):
        parameters.physics.fwhm = 50.0
    assert node.GetParameter("physics.fwhm") == "5.0" and pack(fwhm=3.0) == pack(3.0, 1)


def test_types_that_slicer_cannot_store_are_refused():
    with pytest.raises(TypeError, match="Optional"):

        @parameterNodeWrapper
        class Modern:
            weight: float | None

    with pytest.raises(TypeError, match="cannot hold"):

        @parameterNodeWrapper
        class Complex:
            value: complex


def test_a_union_of_node_classes_needs_none_among_them(node):
    @parameterNodeWrapper
    class WithoutNone:
        lesions: Union[vtkMRMLSegmentationNode, vtkMRMLTableNode]  # noqa: UP007

    made: Any = WithoutNone
    with pytest.raises(TypeError, match="fits none"):
        made(node)


def test_names_of_the_wrapper_are_reserved():
    with pytest.raises(ValueError, match="reserved name 'connectGui'"):

        @parameterNodeWrapper
        class Clash:
            value: int

            def connectGui(self) -> None: ...


def bound(name: str, widget: Any) -> Any:
    widget.setProperty("SlicerParameterName", name)
    return widget


def gui(**widgets: Any) -> Any:
    found = type("", (), {})()
    vars(found).update({name: bound(name, widget) for name, widget in widgets.items()})
    return found


def test_widgets_and_node_follow_each_other_until_they_are_disconnected(parameters):
    import qt

    ui = gui(samples=qt.QSpinBox(), quality=qt.QComboBox(), preset=qt.QComboBox(), compare=qt.QCheckBox())
    tag = parameters.connectGui(ui)
    assert (ui.samples.minimum, ui.samples.maximum, ui.samples.value) == (1, 64, 1)
    assert [ui.quality.itemText(n) for n in range(2)] == ["a quick look", "step by step"] and ui.compare.checked
    ui.quality.currentIndex = 1
    ui.samples.value = 9
    assert parameters.quality is Quality.PAPER and parameters.samples == 9
    parameters.preset = "Vision"
    assert ui.preset.currentText == "Vision"
    parameters.disconnectGui(tag)
    ui.samples.value = 2
    assert parameters.samples == 9


def test_a_member_of_a_pack_is_bound_by_its_dotted_name(parameters):
    import qt

    ui = type("", (), {})()
    ui.box = bound("settings.physics.fwhm", qt.QDoubleSpinBox())
    parameters.connectGui(ui)
    ui.box.value = 7.25
    assert parameters.settings.physics.fwhm == 7.25


def test_a_widget_that_slicer_has_no_connector_for_is_refused(parameters):
    import ctk
    import qt

    for name, widget in {
        "quality": ctk.ctkComboBox(),
        "scale": ctk.ctkDoubleSpinBox(),
        "prior": qt.QLineEdit(),
    }.items():
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            parameters.connectGui(gui(**{name: widget}))
    with pytest.raises(ValueError, match="no parameter 'unknown'"):
        parameters.connectGui(gui(unknown=qt.QLineEdit()))


def test_the_scene_keeps_the_parameters(node, parameters, tmp_path):
    pet = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    node.SetSingletonTag("Kept")
    parameters.pet, parameters.samples, parameters.quality = pet, 12, Quality.PAPER
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    parameters.samples = 1
    slicer.mrmlScene.Clear(False)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    again = wrapped(slicer.mrmlScene.GetSingletonNode("Kept", "vtkMRMLScriptedModuleNode"))
    assert again.samples == 12 and again.quality is Quality.PAPER and again.pet.GetName() == "PET"
