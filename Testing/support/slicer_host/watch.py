"""Observers of MRML nodes that end with the widget that added them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .pythonqt import raw

NODE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent")
SCENE_EVENTS = ("EndBatchProcessEvent", "EndCloseEvent", "EndImportEvent")


class Watch:
    """The observers of one widget; removed when Qt deletes it."""

    def __init__(self, owner: Any) -> None:
        self._held: list[tuple[Any, int]] = []
        raw(owner, "destroyed").connect(lambda *_: self.clear())

    def modified(self, obj: Any, call: Callable[[], Any]) -> None:
        """Call when an object is modified."""
        self._held.append((obj, obj.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: call())))

    def scene(self, scene: Any, call: Callable[[], Any], concerns: Callable[[Any], bool] = lambda node: True) -> None:
        """Call when the content of a scene changes; of single nodes only where they are a widget's concern."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def node_event(_scene: Any, _event: str, node: Any) -> None:
            if concerns(node):
                call()

        for name in NODE_EVENTS:
            event = getattr(slicer.vtkMRMLScene, name)
            self._held.append((scene, scene.AddObserver(event, node_event)))
        for name in SCENE_EVENTS:
            event = getattr(slicer.vtkMRMLScene, name)
            self._held.append((scene, scene.AddObserver(event, lambda *_: call())))

    def clear(self) -> None:
        """Remove every observer."""
        while self._held:
            obj, tag = self._held.pop()
            obj.RemoveObserver(tag)
