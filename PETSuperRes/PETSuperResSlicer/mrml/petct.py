"""PET over CT as readers are used to it: fused slices with one colour bar, lesions as outlines, a MIP in the 3D views.

What was there before is put back at the end: layers, windows, colours, layout and the look of the 3D views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import VTKObservationMixin

from PETSuperResSlicer.mrml import colour_bar
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.changes import Changes, outline_segments
from PETSuperResSlicer.mrml.mip import Mip, look_from_anterior

CT_WINDOWS = {  # HU: width and level
    "soft tissue": (400.0, 40.0),
    "lung": (1500.0, -600.0),
    "bone": (2500.0, 480.0),
    "brain": (80.0, 40.0),
}
SUV_TOP = mrml.WINDOW[0]  # where the PET's window ends; it begins at 0
OPACITY = 0.5  # of the PET over the CT
FIT_PERCENTILE = 99.8  # of the voxels above AIR, of which a few are urine or another hot spot
AIR = 0.2  # SUV
NOTHING = (None, None, None)  # CT window, upper end and opacity before the first call of show


class PetCt(VTKObservationMixin):
    """The display of a CT and one or two PETs (the input and its result), from :meth:`show` to :meth:`end`.

    The PETs have one window and one colour scale. The 3D views follow the one that is on top in the slice views.
    ``changed()`` is called when the window was changed, or the display was ended by another layout.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        VTKObservationMixin.__init__(self)
        self.ct: Any = None
        self.pets: tuple[Any, ...] = ()
        self._changes, self._mip, self._changed = Changes(), Mip(), changed
        self._composites: list[Any] = []
        self._layout: tuple[int, int] | None = None  # before, and while it is on
        self._views: list[Any] = []
        self._displays: list[Any] = []  # of CT and PETs
        self._bars: list[Any] = []
        self._asked: tuple[Any, ...] = NOTHING  # of the last call of show

    @property
    def is_on(self) -> bool:
        """Whether it is shown."""
        return bool(self.pets)

    @property
    def top(self) -> float:
        """The SUV where the PETs' window ends."""
        return float(mrml.display_of(self.pets[0]).GetWindowLevelMax())

    def show(
        self, ct: Any, pets: Sequence[Any], window: str = "soft tissue", top: float = SUV_TOP, opacity: float = OPACITY
    ) -> None:
        """Show the last one of ``pets`` (volume nodes in SUV) over the CT; ``window`` is a key of CT_WINDOWS."""
        if (ct, *pets) != (self.ct, *self.pets) or any(display.GetScene() is None for display in self._displays):
            layout = self._layout
            self.end(layout=False)
            self.ct, self.pets = ct, tuple(pets)
            self._arrange()
            self._layout = layout or self._layout  # of before the first volumes
            self._colour()
        before, self._asked = self._asked, (window, top, opacity)
        setters = (self._set_ct_window, self._set_top, self._set_opacity)
        for setter, value, old in zip(setters, self._asked, before, strict=True):
            if value != old:  # what the mouse has changed meanwhile stays
                setter(value)
        self.outline()

    def end(self, layout: bool = True) -> None:
        """Put back what was there before; with ``layout`` the layout, too."""
        self.removeObservers()
        self._mip.end()
        for bar in self._bars:
            colour_bar.remove(bar)
        self._changes.undo()
        manager = slicer.app.layoutManager()
        if layout and self._layout is not None and manager is not None and manager.layout == self._layout[1]:
            manager.setLayout(self._layout[0])
        self.ct, self.pets, self._composites, self._bars, self._displays = None, (), [], [], []
        self._layout, self._asked = None, NOTHING

    def outline(self) -> None:
        """Segments are outlines, so that the uptake under them stays visible."""
        outline_segments(self._changes)

    def fit(self) -> float:
        """The SUV at which nearly all voxels of the body end, rounded, for images of other tracers than FDG."""
        array = slicer.util.arrayFromVolume(self.pets[0])
        step = max(1, round((array.size / 1e6) ** (1 / 3)))  # a million voxels suffice
        sample = array[::step, ::step, ::step]
        body = sample[sample > AIR]
        return max(1.0, float(np.ceil(2 * np.percentile(body, FIT_PERCENTILE)) / 2)) if body.size else SUV_TOP

    def _arrange(self) -> None:
        """Layout, layers and 3D views."""
        manager = slicer.app.layoutManager()
        if manager is not None:
            before = manager.layout
            if not all(nodes_of_layout()):
                manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
                slicer.app.processEvents()  # the views take their sizes, which the zoom depends on
            self._layout = (before, manager.layout)
            self.addObserver(manager.layoutLogic().GetLayoutNode(), vtk.vtkCommand.ModifiedEvent, self._leave)
        slices, views = nodes_of_layout()
        for logic in filter(None, map(slicer.app.applicationLogic().GetSliceLogic, slices)):
            composite = logic.GetSliceCompositeNode()
            known = composite.GetBackgroundVolumeID() == self.ct.GetID()
            self._changes.set(composite, "BackgroundVolumeID", self.ct.GetID())
            self._changes.set(composite, "ForegroundVolumeID", self.pets[-1].GetID())
            self._changes.set(composite, "LinkedControl", True)
            if not known:
                logic.FitSliceToBackground()
            self._composites.append(composite)
        if self._composites:
            self.addObserver(self._composites[0], vtk.vtkCommand.ModifiedEvent, self._follow_slices)
        self._views = views
        self._mip.show(self.pets[-1], views)
        look_from_anterior()

    def _colour(self) -> None:
        """CT in grey; PETs in one colour scale and one window, with one colour bar, in the first slice view."""
        anatomy, *displays = self._displays = [mrml.display_of(node) for node in (self.ct, *self.pets)]
        self._keep_look(anatomy)
        anatomy.SetAndObserveColorNodeID(mrml.GREYS[0])
        colours = displays[0].GetColorNodeID()
        if colours in (None, *mrml.GREYS) and self.ct.GetScene().GetNodeByID(mrml.HEAT) is not None:
            colours = mrml.HEAT
        for pet, display in zip(self.pets, displays, strict=True):
            self._keep_look(display)
            display.SetAndObserveColorNodeID(colours)
            self.addObserver(display, vtk.vtkCommand.ModifiedEvent, self._share_window)
            display.SetWindowLevel(SUV_TOP, SUV_TOP / 2)
            if self._composites:
                self._bars.append(colour_bar.add(pet, "SUV", self._composites[0].GetLayoutName()))

    def _set_ct_window(self, name: str) -> None:
        mrml.display_of(self.ct).SetWindowLevel(*CT_WINDOWS[name])

    def _set_top(self, top: float) -> None:
        if abs(top - self.top) > 0.05:  # not one that was changed with the mouse, and told
            mrml.display_of(self.pets[0]).SetWindowLevel(top, top / 2)

    def _set_opacity(self, opacity: float) -> None:
        for composite in self._composites:
            self._changes.set(composite, "ForegroundOpacity", opacity)

    def _keep_look(self, display: Any) -> None:
        """Remember window and colours of a volume."""
        self._changes.set(display, "ColorNodeID", display.GetColorNodeID(), "SetAndObserveColorNodeID")
        self._changes.set(display, "AutoWindowLevel", False)
        self._changes.set(display, "Window", display.GetWindow())
        self._changes.set(display, "Level", display.GetLevel())

    def _share_window(self, display: Any, _event: str) -> None:
        """The window was changed, by the mouse or in the panel."""
        mrml.share_window(display, [mrml.display_of(pet) for pet in self.pets])
        self._mip.follow_window()
        self._changed()

    def _follow_slices(self, composite: Any, _event: str) -> None:
        """The other PET was put on top (key S): project that one."""
        shown = next((pet for pet in self.pets if pet.GetID() == composite.GetForegroundVolumeID()), None)
        if shown is not None and shown is not self._mip.volume:
            self._mip.show(shown, self._views)

    def _leave(self, layout: Any, _event: str) -> None:
        if self._layout is not None and layout.GetViewArrangement() != self._layout[1]:
            self.end(layout=False)
            self._changed()


def nodes_of_layout() -> tuple[list[Any], list[Any]]:
    """Slice nodes and 3D view nodes that are shown; those of the scene where there is no main window."""
    manager, kinds = slicer.app.layoutManager(), ("vtkMRMLSliceNode", "vtkMRMLViewNode")
    if manager is None:
        return slicer.util.getNodesByClass(kinds[0]), slicer.util.getNodesByClass(kinds[1])
    nodes = manager.layoutLogic().GetViewNodes()
    shown = [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
    return [n for n in shown if n.IsA(kinds[0])], [n for n in shown if n.IsA(kinds[1])]
