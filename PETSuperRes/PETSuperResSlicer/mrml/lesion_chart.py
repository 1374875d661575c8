"""The plot of a lesion table: bars of the PET, the result and what was recovered, with the intervals as lines.

Slicer's bars have no error bars. The intervals are a line of points over the bars' places, with a gap (NaN) after
each lesion, in a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from PETSuperResLib.lesions import measures
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml.columns import add_column
from PETSuperResSlicer.mrml.lesion_table import NUMBER, numbered, unnamed

COLOURS = {
    "PET": (0.55, 0.60, 0.66),
    "SR": (0.85, 0.37, 0.10),
    "recovered": (0.16, 0.48, 0.42),
    "90 % interval": (0.0, 0.0, 0.0),
}
INTERVAL, INTERVALS = "90 % interval", "PETSuperRes.Intervals"  # the series, and the chart's reference to its table
SHARE = 0.8  # of the distance between lesions that Slicer's bars take up; a single lesion has bars of 0.1
CAP = 0.25  # half the length of an interval's ends, of a bar's width


def update_chart(chart: Any, table: Any, measure: str) -> Any:
    """A bar plot of one measure (``chart`` None: a new one) of a table of :mod:`.lesion_table`.

    A series for the PET and one for the result; where anything was recovered, one for that and its intervals. The axis
    shows the lesions' numbers in the table, because Slicer draws no names there; its title gives the names.
    """
    scene = table.GetScene()
    if chart is None or chart.GetScene() is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(f"{table.GetName()} plot"))
    found = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    columns = {"PET": f"pet_{measure}", "SR": f"sr_{measure}"}
    if any(np.isfinite(_values(table, f"{measure}_recovered"))):
        columns["recovered"] = f"{measure}_recovered"
    wanted = []
    for title, column in columns.items():
        series = _series(scene, found, title, slicer.vtkMRMLPlotSeriesNode.PlotTypeScatterBar)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetLabelColumnName("lesion")
        series.SetXColumnName(NUMBER)
        series.SetYColumnName(column)
        wanted.append(series)
    if "recovered" in columns and any(np.isfinite(_values(table, f"{measure}_low"))):
        wanted.append(_intervals(chart, table, measure, found))
    if found != wanted:
        chart.RemoveAllPlotSeriesNodeIDs()
        for series in wanted:
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        for stray in found:
            if stray is not None and stray not in wanted:
                scene.RemoveNode(stray)
    about = measures.MEASURES[measure]
    chart.SetTitle(table.GetName())
    chart.SetXAxisTitle(_axis_title([table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())]))
    chart.SetYAxisTitle(f"{about.title} [{about.unit}]")
    chart.SetLegendVisibility(True)
    return chart


def _series(scene: Any, found: Sequence[Any], title: str, kind: int) -> Any:
    """The chart's series of a title, or a new one: a chart of a loaded scene may have lost one."""
    own = (series for series in found if series is not None and series.GetName() == title)
    series = next(own, None) or scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetName(title)  # the legend
    series.SetPlotType(kind)
    series.SetColor(*COLOURS[title])
    return series


def _intervals(chart: Any, table: Any, measure: str, found: Sequence[Any]) -> Any:
    """The series of the intervals, its table filled: for every lesion a line from low to high with ends across."""
    scene = table.GetScene()
    own = chart.GetNodeReference(INTERVALS)
    if own is None:
        own = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{table.GetName()} intervals")
        own.SetHideFromEditors(True)
        provenance.mark(own)
        chart.SetNodeReferenceID(INTERVALS, own.GetID())
    numbers, low, high = (_values(table, name) for name in (NUMBER, f"{measure}_low", f"{measure}_high"))
    bar = SHARE / 3 if len(numbers) > 1 else 0.1
    for old in reversed(range(own.GetNumberOfColumns())):
        own.RemoveColumn(old)
    across = bar + CAP * bar * np.array([-1, 1, 0, 0, -1, 1, 0])
    add_column(own, "x", np.add.outer(numbers, across).ravel())
    add_column(own, "y", [y for bottom, top in zip(low, high, strict=True) for y in (*[bottom] * 3, *[top] * 3, None)])
    own.Modified()
    series = _series(scene, found, INTERVAL, slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetAndObserveTableNodeID(own.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetLineStyle(series.LineStyleSolid)
    series.SetLineWidth(2)
    return series


def _values(table: Any, name: str) -> list[float]:
    column = table.GetTable().GetColumnByName(name)
    return [] if column is None else [column.GetTuple1(row) for row in range(table.GetNumberOfRows())]


def _axis_title(names: Sequence[str], longest: int = 70) -> str:
    shown = [numbered(number, name) for number, name in enumerate(names, 1)]
    text, given = "Lesion: " + ", ".join(shown), any(not unnamed(found) for found in shown)
    return text if given and len(text) <= longest else "Lesion, by its number in the table"
