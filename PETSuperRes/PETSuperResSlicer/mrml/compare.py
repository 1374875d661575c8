"""PET and result side by side over the CT: layout, what holds while it is on, difference volume, switch."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from PETSuperResSlicer.mrml import colour_bar, provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.colours import difference_colours

LAYOUT_ID = 8417  # of the compare layout; any number that no other module uses
VIEWS = {  # slice view: (label, orientation, content)
    "PETSuperResLR": ("PET", "Axial", "pet"),
    "PETSuperResSR": ("SR", "Axial", "sr"),
    "PETSuperResDifference": ("SR - PET", "Axial", "difference"),
    "PETSuperResLRCoronal": ("PET", "Coronal", "pet"),
    "PETSuperResSRCoronal": ("SR", "Coronal", "sr"),
}
PLOT_VIEW = "PETSuperResPlot"
VIEW_COLOURS = {"pet": "#8C99A8", "sr": "#D95F1A", "difference": "#6A6AC8"}
OPACITY = 0.6  # of the PET over the CT


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


def layout_is_on() -> bool:
    """Whether the compare layout is shown."""
    return bool(slicer.app.layoutManager().layout == LAYOUT_ID)


def show_compare_layout(pet: Any, ct: Any, result: Any) -> None:
    """Show PET, result and their difference over the CT in linked views; the CT may be None."""
    manager = slicer.app.layoutManager()
    register_layout()
    manager.setLayout(LAYOUT_ID)
    slicer.app.processEvents()  # the views take their sizes, which the zoom depends on
    images = {"pet": pet, "sr": result, "difference": result.GetNodeReference(provenance.DIFFERENCE)}
    lines: dict[str, list[Any]] = {}
    for name, (_label, orientation, shown) in VIEWS.items():
        logic = manager.sliceWidget(name).sliceLogic()
        composite = logic.GetSliceCompositeNode()
        composite.SetLinkedControl(False)  # while the layers differ
        composite.SetBackgroundVolumeID(ct.GetID() if ct is not None else None)
        composite.SetForegroundVolumeID(images[shown].GetID() if images[shown] is not None else None)
        composite.SetForegroundOpacity(OPACITY)
        composite.SetLabelVolumeID(None)
        _name_view(composite, shown)
        lines.setdefault(orientation, []).append(logic)
        logic.FitSliceToBackground()
    _fit_together(lines, result)
    for name in VIEWS:
        composite = manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)


def _fit_together(lines: dict[str, list[Any]], result: Any) -> None:
    """Give the views of one orientation the same slice and zoom: the middle of the result."""
    middle = mrml.ras_bounds(result).mean(0)
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


def show_chart(chart: Any) -> None:
    """Show a chart (None: no chart) in the compare layout's plot view."""
    view = slicer.mrmlScene.GetSingletonNode(PLOT_VIEW, "vtkMRMLPlotViewNode")
    if view is not None:
        view.SetPlotChartNodeID(None if chart is None else chart.GetID())


class Comparison(VTKObservationMixin):
    """While the compare layout is on, PET and result have one window and one colour bar, and segments are outlines.

    Filled segments would hide the uptake and tint the difference. They are filled again when the layout is left.
    """

    def __init__(self) -> None:
        VTKObservationMixin.__init__(self)
        self._displays: list[Any] = []
        self._segments: dict[Any, bool] = {}  # display node: whether it was filled
        self._bars: list[Any] = []

    def follow(self, pet: Any, result: Any) -> None:
        """Link PET and result, which takes the PET's window, until the layout is left; outline new segments."""
        displays = [mrml.display_of(node) for node in (pet, result)]
        if displays != self._displays:
            self.end()
            self._displays = displays
            for display in displays:
                self.addObserver(display, vtk.vtkCommand.ModifiedEvent, self._link)
            self._link(displays[0], "")
            layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
            self.addObserver(layout, vtk.vtkCommand.ModifiedEvent, self._leave)
        self._bars += filter(None, [colour_bar.add(node, "SUV", next(iter(VIEWS))) for node in (pet, result)])
        for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
            if display not in self._segments:
                self._segments[display] = bool(display.GetVisibility2DFill())
                display.SetVisibility2DFill(False)

    def end(self) -> None:
        """Undo :meth:`follow`."""
        self.removeObservers()
        for display, filled in self._segments.items():
            if filled:
                display.SetVisibility2DFill(True)
        for bar in self._bars:
            colour_bar.remove(bar)
        self._displays, self._segments, self._bars = [], {}, []

    def _leave(self, *_unused: Any) -> None:
        if not layout_is_on():
            self.end()

    def _link(self, changed: Any, _event: str) -> None:
        mrml.share_window(changed, self._displays)


def switch(first: Any, second: Any, scene: Any) -> str:
    """Exchange PET and result in every slice view that shows one of them; returns the name of the one now on top."""
    shown, other = "", {first.GetID(): second, second.GetID(): first}
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        linked = composite.GetLinkedControl()
        composite.SetLinkedControl(False)
        for layer in ("Foreground", "Background"):
            node = other.get(getattr(composite, f"Get{layer}VolumeID")())
            if node is not None:
                getattr(composite, f"Set{layer}VolumeID")(node.GetID())
                shown = shown or node.GetName()
        composite.SetLinkedControl(linked)
        if composite.GetLayoutName() in VIEWS and composite.GetForegroundVolumeID() in other:
            _name_view(composite, "pet" if composite.GetForegroundVolumeID() == first.GetID() else "sr")
    return shown


def _name_view(composite: Any, shown: str) -> None:
    """Name a compare view after its content."""
    node = composite.GetScene().GetSingletonNode(composite.GetLayoutName(), "vtkMRMLSliceNode")
    if node is not None:
        node.SetLayoutLabel(next(label for label, _orientation, what in VIEWS.values() if what == shown))


def add_difference(volume: Any, pet: Any, result: Any) -> Any:
    """The difference (SUV) as a node of the result, blue-white-red about 0 with a scale; replaces an older one."""
    scene = result.GetScene()
    mrml.remove_volume(result.GetNodeReference(provenance.DIFFERENCE))
    reach = max(0.5, 0.5 * float(mrml.display_of(result).GetWindow()))
    name = f"{result.GetName()} - {pet.GetName()}"
    node = mrml.add_derived(volume, name, provenance.DIFFERENCE_IMAGE, result, scene, (2 * reach, 0.0))
    node.GetDisplayNode().SetAndObserveColorNodeID(difference_colours(scene).GetID())
    colour_bar.add(node, "SR - PET (SUV)")
    result.SetNodeReferenceID(provenance.DIFFERENCE, node.GetID())
    return node


def show_difference(node: Any) -> None:
    """Put a difference volume into its view, if the compare layout is on."""
    if not layout_is_on():
        return
    for name, (_label, _orientation, shown) in VIEWS.items():
        if shown == "difference":
            composite = slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()
            linked = composite.GetLinkedControl()
            composite.SetLinkedControl(False)
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetLinkedControl(linked)
