"""A map of a result over it in the slice views: evidence of its hot blobs, residual, spread, effect of the CT."""

from __future__ import annotations

from typing import Any

import slicer

from PETSuperResSlicer.mrml import colour_bar, provenance
from PETSuperResSlicer.mrml.changes import Changes, outline_segments
from PETSuperResSlicer.mrml.colours import EVIDENCE_TOP, difference_colours, evidence_colours

LEAST = 1e-3  # voxels below it belong to no blob, and stay free
OPACITY = 0.6


def maps_of(result: Any) -> dict[str, Any]:
    """The maps beside a result, by their names."""
    found = {key: result.GetNodeReference(one.role) for key, one in provenance.MAPS.items()}
    return {key: node for key, node in found.items() if node is not None}


class Overlay:
    """Shows a map over its result in all slice views, segments as outlines; what was there comes back at the end."""

    def __init__(self) -> None:
        self._changes, self._bar = Changes(), None

    def show(self, result: Any, key: str) -> None:
        """Lay a map of :func:`maps_of` over the result."""
        self.end()
        node = maps_of(result)[key]
        _style(node, key)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", result.GetScene()):
            self._changes.set(composite, "LinkedControl", False)
            self._changes.set(composite, "ForegroundVolumeID", node.GetID())
            self._changes.set(composite, "BackgroundVolumeID", result.GetID())
            self._changes.set(composite, "ForegroundOpacity", OPACITY)
        outline_segments(self._changes)
        self._bar = colour_bar.add(node, provenance.MAPS[key].title)

    def end(self) -> None:
        """Put the views back."""
        self._changes.undo()
        colour_bar.remove(self._bar)
        self._bar = None


def _style(node: Any, key: str) -> None:
    """Colours and window: of the evidence red below 3 sigma and green from there on, of differences about 0."""
    display, scene = node.GetDisplayNode(), node.GetScene()
    if key == "evidence":
        display.SetAndObserveColorNodeID(evidence_colours(scene).GetID())
        display.SetWindowLevel(EVIDENCE_TOP, EVIDENCE_TOP / 2)
        display.SetThreshold(LEAST, 1e6)
        display.SetApplyThreshold(True)
    elif key in ("residual", "ct_effect"):
        display.SetAndObserveColorNodeID(difference_colours(scene).GetID())
