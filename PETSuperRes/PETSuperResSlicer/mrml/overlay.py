"""A map of a result over it in the slice views: the evidence of its hot blobs, the residual, the samples' spread."""

from __future__ import annotations

from typing import Any

import slicer

from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml.compare import difference_colours

TITLES = {"evidence": "Evidence (sigma)", "residual": "Residual (sigma)", "std": "Spread of the samples (SUV)"}
COLOURS = "PETSuperRes evidence colours"
EVIDENCE_TOP, SUPPORTED = 10.0, 3.0  # sigma: upper end of the scale, and where blobs begin to be supported
LEAST = 1e-3  # voxels below it belong to no blob, and stay free
OPACITY = 0.6


def maps_of(result: Any) -> dict[str, Any]:
    """The maps beside a result, by their names."""
    found = {key: result.GetNodeReference(role) for key, (role, _kind) in provenance.MAPS.items()}
    return {key: node for key, node in found.items() if node is not None}


class Overlay:
    """Shows a map over its result in all slice views; what these showed before comes back at the end."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, Any, Any, float]] = []
        self._legend: Any = None

    def show(self, result: Any, key: str) -> None:
        """Lay a map of :func:`maps_of` over the result."""
        self.end()
        node = maps_of(result)[key]
        style(node, key)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", result.GetScene()):
            layers = composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()
            self._before.append((composite, *layers, composite.GetForegroundOpacity()))
            _set_layers(composite, node.GetID(), result.GetID(), OPACITY)
        self._legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
        self._legend.SetTitleText(TITLES[key])
        self._legend.SetVisibility(True)

    def end(self) -> None:
        """Put the views back."""
        for composite, *before in self._before:
            if composite.GetScene() is not None:
                _set_layers(composite, *before)
        self._before = []
        if self._legend is not None:
            self._legend.SetVisibility(False)
        self._legend = None


def style(node: Any, key: str) -> None:
    """Colours and window: of the evidence red below 3 sigma and green from there on, of the residual about 0."""
    display, scene = node.GetDisplayNode(), node.GetScene()
    if key == "evidence":
        display.SetAndObserveColorNodeID(evidence_colours(scene).GetID())
        display.SetWindowLevel(EVIDENCE_TOP, EVIDENCE_TOP / 2)
        display.SetThreshold(LEAST, 1e6)
        display.SetApplyThreshold(True)
    elif key == "residual":
        display.SetAndObserveColorNodeID(difference_colours(scene).GetID())


def evidence_colours(scene: Any) -> Any:
    """The colour node of the evidence, 0 to 10 sigma; made once per scene."""
    found = scene.GetFirstNodeByName(COLOURS)
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLOURS)
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetNumberOfColors(256)
    for index in range(256):
        sigma = EVIDENCE_TOP * index / 255
        part = (sigma - SUPPORTED) / (EVIDENCE_TOP - SUPPORTED)
        colour = (0.85, 0.10, 0.10) if part < 0 else (0.95 - 0.85 * part, 0.85 - 0.30 * part, 0.15 + 0.15 * part)
        node.SetColor(index, "", *colour, 1.0)
    return scene.AddNode(node)


def _set_layers(composite: Any, foreground: Any, background: Any, opacity: float) -> None:
    linked = composite.GetLinkedControl()
    composite.SetLinkedControl(False)
    composite.SetForegroundVolumeID(foreground)
    composite.SetBackgroundVolumeID(background)
    composite.SetForegroundOpacity(opacity)
    composite.SetLinkedControl(linked)
