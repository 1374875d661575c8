"""PET and result side by side over the CT: layout, difference volume, and the switch between the two."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer

from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml

LAYOUT_ID = 8417  # of the compare layout; any number that no other module uses
VIEWS = {  # slice view: (label, orientation, what it shows)
    "PETSuperResLR": ("PET", "Axial", "pet"),
    "PETSuperResSR": ("SR", "Axial", "sr"),
    "PETSuperResDifference": ("SR - PET", "Axial", "difference"),
    "PETSuperResLRCoronal": ("PET", "Coronal", "pet"),
    "PETSuperResSRCoronal": ("SR", "Coronal", "sr"),
}
PLOT_VIEW = "PETSuperResPlot"
VIEW_COLOURS = {"pet": "#8C99A8", "sr": "#D95F1A", "difference": "#6A6AC8"}
COLOURS = "PETSuperRes difference colours"
OPACITY = 0.6  # of the PET over the CT
BLOCK = 500_000  # voxels of the difference that are interpolated at a time


def layout_xml() -> str:
    """The layout: PET, SR and difference in axial slices; PET and SR in coronal ones, and the bar plot."""

    def view(name: str) -> str:
        label, orientation, shown = VIEWS[name]
        return (
            f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
            f'<property name="orientation" action="default">{orientation}</property>'
            f'<property name="viewlabel" action="default">{label}</property>'
            f'<property name="viewcolor" action="default">{VIEW_COLOURS[shown]}</property></view></item>'
        )

    names = list(VIEWS)
    plot = (
        f'<item><view class="vtkMRMLPlotViewNode" singletontag="{PLOT_VIEW}">'
        '<property name="viewlabel" action="default">P</property></view></item>'
    )
    top = "".join(view(name) for name in names[:3])
    bottom = "".join(view(name) for name in names[3:]) + plot
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="600"><layout type="horizontal">{top}</layout></item>'
        f'<item splitSize="400"><layout type="horizontal">{bottom}</layout></item>'
        "</layout>"
    )


def register_layout() -> None:
    """Make the layout known, also for a scene that was saved in it; without a main window there is nothing to do."""
    manager = slicer.app.layoutManager()
    layout = None if manager is None else manager.layoutLogic().GetLayoutNode()
    if layout is not None and not layout.IsLayoutDescription(LAYOUT_ID):
        layout.AddLayoutDescription(LAYOUT_ID, layout_xml())


def show_compare_layout(pet: Any, ct: Any, result: Any, chart: Any = None) -> None:
    """Show PET, result and their difference over the CT in linked views, and the chart if there is one."""
    manager = slicer.app.layoutManager()
    register_layout()
    manager.setLayout(LAYOUT_ID)
    slicer.app.processEvents()  # the views take their sizes, which the zoom depends on
    images = {"pet": pet, "sr": result, "difference": result.GetNodeReference(provenance.DIFFERENCE)}
    lines = {}
    for name, (_label, orientation, shown) in VIEWS.items():
        logic = manager.sliceWidget(name).sliceLogic()
        composite = logic.GetSliceCompositeNode()
        composite.SetLinkedControl(False)  # while the layers differ
        composite.SetBackgroundVolumeID(ct.GetID() if ct is not None else None)
        composite.SetForegroundVolumeID(images[shown].GetID() if images[shown] is not None else None)
        composite.SetForegroundOpacity(OPACITY)
        composite.SetLabelVolumeID(None)
        _nameView(composite, shown)
        lines.setdefault(orientation, []).append(logic)
        logic.FitSliceToBackground()
    _fitTogether(lines, result)
    for name in VIEWS:
        composite = manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
    if chart is not None:
        show_chart(chart)


def _fitTogether(lines: dict[str, list[Any]], result: Any) -> None:
    """Give the views of one orientation the same slice and zoom: the middle of the result."""
    bounds = [0.0] * 6
    result.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    for logics in lines.values():
        nodes = [logic.GetSliceNode() for logic in logics]
        pixel = max(
            field / max(1, size)
            for node in nodes
            for field, size in zip(node.GetFieldOfView()[:2], node.GetDimensions()[:2], strict=True)
        )  # mm; of the view that has to show the most per pixel
        for node in nodes:
            width, height = node.GetDimensions()[:2]
            node.SetFieldOfView(pixel * width, pixel * height, node.GetFieldOfView()[2])
            node.JumpSliceByCentering(*middle)


def show_chart(chart: Any) -> bool:
    """Show a chart in the compare layout's plot view; whether that layout is on."""
    if slicer.app.layoutManager().layout != LAYOUT_ID:
        return False
    view = chart.GetScene().GetSingletonNode(PLOT_VIEW, "vtkMRMLPlotViewNode")
    if view is not None:
        view.SetPlotChartNodeID(chart.GetID())
    return view is not None


def switch(first: Any, second: Any, scene: Any) -> str:
    """Exchange PET and result in every slice view that shows one of them; returns the name of the one now on top."""
    shown = ""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        linked = composite.GetLinkedControl()
        composite.SetLinkedControl(False)
        for layer in ("Foreground", "Background"):
            current = getattr(composite, f"Get{layer}VolumeID")()
            for one, other in ((first, second), (second, first)):
                if current == one.GetID():
                    getattr(composite, f"Set{layer}VolumeID")(other.GetID())
                    shown = shown or other.GetName()
                    break
        composite.SetLinkedControl(linked)
        if composite.GetLayoutName() in VIEWS and composite.GetForegroundVolumeID() in (first.GetID(), second.GetID()):
            _nameView(composite, "pet" if composite.GetForegroundVolumeID() == first.GetID() else "sr")
    return shown


def _nameView(composite: Any, shown: str) -> None:
    """Name a compare view after what it shows, so that the switch misleads nobody."""
    node = composite.GetScene().GetSingletonNode(composite.GetLayoutName(), "vtkMRMLSliceNode")
    if node is not None:
        node.SetLayoutLabel(next(label for label, _orientation, what in VIEWS.values() if what == shown))


def difference_steps(pet: Any, result: Any) -> Generator[None, None, Any]:
    """SR - PET on the result's grid, of backend volumes; a generator that stops after some slices."""
    difference = np.empty_like(result.array)
    slices, rows, columns = result.shape
    step = max(1, BLOCK // (rows * columns))
    size = np.array(pet.shape[::-1])
    for first in range(0, slices, step):
        last = min(first + step, slices)
        block = result.crop((0, 0, first), (columns, rows, last))
        corners = (np.c_[block.corners(), np.ones(8)] @ np.linalg.inv(pet.ijk_to_lps).T)[:, :3]
        low = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, size - 1)
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 3, low + 1, size)
        before = pet.crop(low, high).resample_to(block, "linear", 0.0)
        np.subtract(block.array, before.array, out=difference[first:last])
        yield
    return result.with_array(difference, "SUVbw")


def add_difference(volume: Any, pet: Any, result: Any) -> Any:
    """The difference as a node in blue-white-red about 0, referred to by the result; replaces an older one."""
    scene = result.GetScene()
    mrml.remove_volume(result.GetNodeReference(provenance.DIFFERENCE))
    name, reach = f"{result.GetName()} - {pet.GetName()}", max(0.5, 0.5 * _window(result))
    node = mrml.add_derived(volume, name, provenance.DIFFERENCE_IMAGE, result, scene, (2 * reach, 0.0))
    node.GetDisplayNode().SetAndObserveColorNodeID(difference_colours(scene).GetID())
    result.SetNodeReferenceID(provenance.DIFFERENCE, node.GetID())
    return node


def show_difference(node: Any) -> None:
    """Put a difference volume into its view, if the compare layout is on."""
    manager = slicer.app.layoutManager()
    if manager.layout != LAYOUT_ID:
        return
    for name, (_label, _orientation, shown) in VIEWS.items():
        if shown == "difference":
            composite = manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
            linked = composite.GetLinkedControl()
            composite.SetLinkedControl(False)
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetLinkedControl(linked)


def _window(node: Any) -> float:
    display = node.GetDisplayNode()
    return float(display.GetWindow()) if display is not None else 6.0


def difference_colours(scene: Any) -> Any:
    """The colour node of the difference: blue below 0, white at 0, red above; made once per scene."""
    found = scene.GetFirstNodeByName(COLOURS)
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLOURS)
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetNumberOfColors(256)
    for index in range(256):
        x = index / 127.5 - 1
        cold, warm = (0.13, 0.30, 0.75), (0.75, 0.12, 0.10)
        end = cold if x < 0 else warm
        weight = abs(x) ** 0.8
        node.SetColor(index, "", *(1 - weight * (1 - part) for part in end), 1.0)
    return scene.AddNode(node)
