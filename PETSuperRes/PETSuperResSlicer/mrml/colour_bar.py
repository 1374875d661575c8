"""Colour bars (Slicer's colour legends) of volumes in slice views."""

from __future__ import annotations

from typing import Any

import slicer


def add(volume: Any, title: str, layout_name: str = "") -> Any:
    """Show a volume's colours and their values; returns the node.

    With the name of a slice view it is shown in that view only, and not saved with the scene. None where the volume has
    a colour bar already, and without Slicer's Colors module.
    """
    colours = getattr(slicer.modules, "colors", None)
    if colours is None or colours.logic().GetColorLegendDisplayNode(volume) is not None:
        return None
    legend = colours.logic().AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(title)
    if layout_name:
        legend.SetSaveWithScene(False)
        legend.AddViewNodeID(volume.GetScene().GetSingletonNode(layout_name, "vtkMRMLSliceNode").GetID())
    return legend


def remove(legend: Any) -> None:
    """Remove a colour bar, if it is still there."""
    if legend is not None and legend.GetScene() is not None:
        legend.GetScene().RemoveNode(legend)
