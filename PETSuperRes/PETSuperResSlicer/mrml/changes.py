"""Settings of MRML nodes that are changed for a time and then put back."""

from __future__ import annotations

from typing import Any

import slicer


class Changes:
    """What was set by :meth:`set`, until :meth:`undo`."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []  # node, setter, value

    def set(self, node: Any, name: str, value: Any, setter: str = "") -> None:
        """Set a property with ``GetNAME`` and ``SetNAME`` (or another ``setter``); its first value is kept."""
        setter = setter or f"Set{name}"
        if not any(node is known and setter == other for known, other, _value in self._before):
            self._before.append((node, setter, getattr(node, f"Get{name}")()))
        getattr(node, setter)(value)

    def undo(self) -> None:
        """Put back what was there, the last change first; what left the scene meanwhile is left out."""
        before, self._before = self._before, []
        for node, setter, value in reversed(before):
            scene = node.GetScene()
            if scene is None:
                continue
            if setter.endswith("ID") and value is not None and scene.GetNodeByID(value) is None:
                value = None
            getattr(node, setter)(value)


def outline_segments(changes: Changes) -> None:
    """Segments become outlines, so that what is under them stays visible."""
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        changes.set(display, "Visibility2DFill", False)
        changes.set(display, "Visibility2DOutline", True)
