"""The lists of PET and CT: without the volumes that the module made, and with an eye on the chosen ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from PETSuperResSlicer.mrml import provenance


class Selectors(VTKObservationMixin):
    """``changed()`` is called when the chosen PET or CT changes: its name, units, place or voxels."""

    def __init__(self, ui: Any, changed: Callable[..., None]) -> None:
        VTKObservationMixin.__init__(self)
        self.selectors, self.changed = (ui.petSelector, ui.ctSelector), changed
        self._watched: tuple[Any, ...] = ()
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.EndImportEvent, scene.EndCloseEvent):
            self.addObserver(scene, event, self._filter)
        self._filter()

    def watch(self, *nodes: Any) -> None:
        """Follow other volumes (None: no volume)."""
        if nodes == self._watched:
            return
        self.removeObservers(self._changed)
        self._watched = nodes
        for node in {node for node in nodes if node is not None}:
            for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
                self.addObserver(node, event, self._changed)

    def close(self) -> None:
        """Stop following."""
        self.removeObservers()

    def _changed(self, *_unused: Any) -> None:
        self.changed()

    def _filter(self, *_unused: Any) -> None:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        made = [node.GetID() for node in volumes if provenance.kind_of(node)]
        for model in (selector.sortFilterProxyModel() for selector in self.selectors):
            if list(model.hiddenNodeIDs) != made:  # to say it again would fill the list again
                model.hiddenNodeIDs = made
