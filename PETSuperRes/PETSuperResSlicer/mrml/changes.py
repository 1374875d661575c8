"""Settings of MRML nodes that are changed for a time and then put back."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakSet

import slicer

Key = tuple[Any, str]  # node and setter


class Changes:
    """What was set by :meth:`set`, until :meth:`undo`.

    Others may change the same settings meanwhile: theirs stay, and their end puts back what was before both.
    """

    _every: WeakSet[Changes] = WeakSet()
    _order = count()

    def __init__(self) -> None:
        self._before: dict[Key, tuple[int, Any]] = {}  # place in the order of all changes, and value
        self._every.add(self)

    def set(self, node: Any, name: str, value: Any, setter: str = "") -> None:
        """Set a property with ``GetNAME`` and ``SetNAME`` (or another ``setter``); its first value is kept."""
        setter = setter or f"Set{name}"
        if (node, setter) not in self._before:
            self._before[node, setter] = next(self._order), getattr(node, f"Get{name}")()
        getattr(node, setter)(value)

    def undo(self) -> None:
        """Put back what was there, the last change first; what left the scene meanwhile is left out."""
        before, self._before = self._before, {}
        for key, (place, value) in reversed(before.items()):
            later = [other for other in self._every if other._before.get(key, (-1,))[0] > place]
            if later:
                above = min(later, key=lambda other: other._before[key][0])
                above._before[key] = above._before[key][0], value
            else:
                _put_back(*key, value)


def _put_back(node: Any, setter: str, value: Any) -> None:
    scene = node.GetScene()
    if scene is None:
        return
    if setter.endswith("ID") and value is not None and scene.GetNodeByID(value) is None:
        value = None
    getattr(node, setter)(value)


def outline_segments(changes: Changes) -> None:
    """Segments become outlines, so that what is under them stays visible."""
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        changes.set(display, "Visibility2DFill", False)
        changes.set(display, "Visibility2DOutline", True)
