"""How a follow-up is shown: the cells of its table, the classes in words, a plot over time, the registered CTs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer

from PETSuperResLib.followup.change import FOLLOWED, STILL_HOT, is_real
from PETSuperResSlicer.mrml import followup, provenance
from PETSuperResSlicer.mrml.changes import Changes, outline_segments
from PETSuperResSlicer.mrml.columns import add_column
from PETSuperResSlicer.mrml.lesion_table import numbered, unnamed

RECOVERED = "recovered"
TITLES = {name: f"{m.title} [{m.unit}]" for name, m in FOLLOWED.items() if RECOVERED not in name}  # as they are shown
IMAGES = {"pet": "PET", "sr": "SR"}
COLOURS = tuple(
    tuple(int(text[n : n + 2], 16) / 255 for n in (0, 2, 4))
    for text in ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f", "bcbd22", "17becf")
)
CHART, PLOTTED = "PETSuperRes.Chart", "PETSuperRes.Plotted"  # node references of the table
LEGEND, LEGEND_FONT = 250, (6, 12)  # height of all names together in points, and of one at least and at most
Row = Mapping[str, Any]


def measures(report: Mapping[str, Any]) -> list[str]:
    """The measures that any lesion has."""
    return [name for name in TITLES if any(row.get(name) is not None for row in report.get("rows", ()))]


def lines(rows: Sequence[Row], measure: str) -> list[tuple[str, str, list[Row]]]:
    """(title, column, rows) of the PET, of the result and of what was recovered, where they have the measure."""
    found = [(title, measure, [r for r in rows if r["image"] == image]) for image, title in IMAGES.items()]
    found.append((RECOVERED, f"{measure}_recovered", [r for r in rows if r["image"] == "sr"]))
    return [(title, name, own) for title, name, own in found if any(row.get(name) is not None for row in own)]


def cells(report: Mapping[str, Any], measure: str) -> list[list[str]]:
    """A row per lesion: its number and name, the lines' titles, and of every study the values with their changes."""
    table = []
    for lesion, rows in by_lesion(report).items():
        shown = lines(rows, measure)
        texts = [title_of(lesion, rows[0]["name"]), "\n".join(title for title, _name, _rows in shown)]
        for number in range(1, len(report["visits"]) + 1):
            own = [(name, next((r for r in of if r["visit"] == number), {})) for _title, name, of in shown]
            seen = next((row for _name, row in own if row), {"status": ""})
            words = [] if seen["status"] in ("", "baseline", "paired") else [seen["status"]]
            words += [STILL_HOT] if seen.get("still_hot") else []
            texts.append("\n".join([*(_cell(row, name) for name, row in own), *words]))
        table.append(texts)
    return table


def title_of(lesion: int, name: str) -> str:
    """``3 Liver``; of a segment with a name that nobody gave, such as ``Lesion 1``, only ``Lesion 3``."""
    return f"Lesion {lesion}" if unnamed(name) else numbered(lesion, name)


def by_lesion(report: Mapping[str, Any]) -> dict[int, list[Row]]:
    """The rows of every lesion, by its number."""
    numbers = sorted({row["lesion"] for row in report["rows"]})
    return {number: [row for row in report["rows"] if row["lesion"] == number] for number in numbers}


def _cell(row: Row, name: str) -> str:
    """``5.10 (4.6 to 5.9), -29 % (-38 to -21) *``: the value and its change, both with the intervals of what was
    recovered, and * where the change is real."""
    value, percent = row.get(name), row.get(f"{name}_change_percent")
    if value is None:
        return "-"
    measure = name.removesuffix("_recovered")
    low, high = (row.get(f"{measure}_{end}") if measure != name else None for end in ("low", "high"))
    interval = "" if low is None or high is None else f" ({low:.1f} to {high:.1f})"
    mark = " *" if is_real(row, name) else ""
    first, last = (row.get(f"{name}_change_{end}") if measure != name else None for end in ("low", "high"))
    ends = "" if first is None or last is None else f" ({first:+.0f} to {last:+.0f})"
    return f"{value:.2f}{interval}" + ("" if percent is None else f", {percent:+.0f} %{ends}{mark}")


def class_words(report: Mapping[str, Any], uptake: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Of every study its reference regions, Deauville score and PERCIST class, and why a class is not told."""
    from PETSuperResLib.followup.response import CLASSES, classes

    sul, tracers = zip(*((visit["sul_factor"], visit.get("tracer", "")) for visit in report["visits"]), strict=True)
    responses, scores = classes(report["rows"], uptake, sul, tracers)
    told = []
    for number, (visit, figures, score) in enumerate(zip(report["visits"], uptake, scores, strict=True)):
        parts = [f"{name} {about['mean']:.2f} +- {about['sd']:.2f}" for name, about in figures.items()]
        parts.append(f"Deauville {'-' if score is None else score}")
        why: tuple[str, ...] = ()
        if number:
            found = responses[number - 1]
            percent = "" if found.hottest_percent is None else f", hottest {found.hottest_percent:+.0f} % {found.unit}"
            parts.append(f"PERCIST {found.percist or '-'}: {CLASSES.get(found.percist, 'not told')}{percent}")
            why = found.why
        told.append(" ".join([f"{visit['name']}: {'; '.join(parts)}.", *why]))
    return told


def update_chart(table: Any, measure: str) -> Any:
    """The plot of a measure over the studies, a line for every lesion in the PET and in the result; returns the chart.

    A line of what was recovered comes with its intervals, as lines from low to high.
    """
    scene, report = table.GetScene(), followup.report_of(table)
    values = table.GetNodeReference(PLOTTED) or scene.AddNewNodeByClass(
        "vtkMRMLTableNode", f"{table.GetName()} plotted"
    )
    chart = table.GetNodeReference(CHART) or scene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{table.GetName()} plot")
    table.SetNodeReferenceID(PLOTTED, values.GetID())
    table.SetNodeReferenceID(CHART, chart.GetID())
    provenance.mark(values)
    for number in reversed(range(chart.GetNumberOfPlotSeriesNodes())):
        if chart.GetNthPlotSeriesNode(number) is not None:
            scene.RemoveNode(chart.GetNthPlotSeriesNode(number))
    chart.RemoveAllPlotSeriesNodeIDs()
    values.RemoveAllColumns()
    count = len(report["visits"])
    lesions = by_lesion(report)
    shown = [(lesion, *line) for lesion, rows in lesions.items() for line in lines(rows, measure)]
    intervals = any(title == RECOVERED for _lesion, title, _name, _rows in shown)
    studies = list(range(1, count + 1))
    add_column(values, "Study", studies + ([count, *np.repeat(studies, 3)] if intervals else []))
    colours = {lesion: COLOURS[place % len(COLOURS)] for place, lesion in enumerate(lesions)}
    for lesion, title, name, own in shown:
        series = f"{title_of(lesion, lesions[lesion][0]['name'])} {title}"
        by_visit = {row["visit"]: row for row in own}
        line = [by_visit.get(n, {}).get(name) for n in studies]
        if intervals:  # a line from low to high at every study, with a gap (NaN) after it
            ends = [by_visit.get(n, {}).get(f"{measure}_{end}") for n in studies for end in ("low", "high", "gap")]
            line += [None, *(ends if title == RECOVERED else [None] * len(ends))]
        add_column(values, series, line)
        _series(chart, values, series, colours[lesion], title)
    chart.SetLegendFontSize(int(np.clip(LEGEND // max(1, len(shown)), *LEGEND_FONT)))
    chart.SetTitle(table.GetName())
    chart.SetXAxisTitle("Study: " + ", ".join(f"{n} {v['name']}" for n, v in enumerate(report["visits"], 1)))
    chart.SetYAxisTitle(TITLES[measure])
    chart.SetLegendVisibility(True)
    return chart


def show_cts(table: Any, number: int, changes: Changes) -> None:
    """The first CT (magenta) and the ``number``th later one (green, from 0), added in all slices; segments as lines."""
    first = table.GetNodeReference(followup.CTS[0])
    count = table.GetNumberOfNodeReferences(followup.CTS[1])
    later = table.GetNthNodeReference(followup.CTS[1], min(number, count - 1))
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", table.GetScene()):
        changes.set(composite, "LinkedControl", False)
        changes.set(composite, "BackgroundVolumeID", first.GetID())
        changes.set(composite, "ForegroundVolumeID", later.GetID())
        changes.set(composite, "LabelVolumeID", None)
        changes.set(composite, "Compositing", composite.Add)
        changes.set(composite, "ForegroundOpacity", 1.0)
    outline_segments(changes)


def _series(chart: Any, values: Any, name: str, colour: tuple[float, float, float], kind: str) -> None:
    """A line with points; of a result it is dashed, of what was recovered dotted."""
    node = slicer.vtkMRMLPlotSeriesNode
    series = chart.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetPlotType(node.PlotTypeScatter)
    series.SetAndObserveTableNodeID(values.GetID())
    series.SetXColumnName("Study")
    series.SetYColumnName(name)
    series.SetColor(*colour)
    styles = {"PET": node.LineStyleSolid, "SR": node.LineStyleDash, RECOVERED: node.LineStyleDot}
    series.SetLineStyle(styles[kind])
    series.SetMarkerStyle(node.MarkerStyleCircle)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
