"""The module's own colour nodes: of a difference, and of evidence in sigma."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

EVIDENCE_TOP, SUPPORTED = 10.0, 3.0  # sigma: upper end of the scale, and where blobs begin to be supported
Colour = tuple[float, float, float]


def difference_colours(scene: Any) -> Any:
    """Blue below the middle, white at it, red above."""

    def colour(share: float) -> Colour:
        x = 2 * share - 1
        red, green, blue = (0.13, 0.30, 0.75) if x < 0 else (0.75, 0.12, 0.10)
        weight = abs(x) ** 0.8
        return 1 - weight * (1 - red), 1 - weight * (1 - green), 1 - weight * (1 - blue)

    return _node(scene, "PETSuperRes difference colours", colour)


def evidence_colours(scene: Any) -> Any:
    """0 to :data:`EVIDENCE_TOP` sigma: red below :data:`SUPPORTED`, from yellow to green above."""

    def colour(share: float) -> Colour:
        part = (EVIDENCE_TOP * share - SUPPORTED) / (EVIDENCE_TOP - SUPPORTED)
        return (0.85, 0.10, 0.10) if part < 0 else (0.95 - 0.85 * part, 0.85 - 0.30 * part, 0.15 + 0.15 * part)

    return _node(scene, "PETSuperRes evidence colours", colour)


def _node(scene: Any, name: str, colour: Callable[[float], Colour]) -> Any:
    """A table of 256 colours, at shares 0 to 1 of the window; made once per scene."""
    found = scene.GetFirstNodeByName(name)
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetNumberOfColors(256)
    for index in range(256):
        node.SetColor(index, "", *colour(index / 255), 1.0)
    return scene.AddNode(node)
