"""Lesion SUVs in the panel: measured again when segments change, as a table, a bar plot, text and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from PETSuperResLib.lesions import measures
from PETSuperResLib.lesions.segments import Segment, within
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import mask_steps

NUMBER = "No."  # column of a lesion's number, which the plot's axis shows
COLOURS = {"PET": (0.55, 0.60, 0.66), "SR": (0.85, 0.37, 0.10)}
SHORT = [m.short for m in measures.MEASURES.values()]  # headings of narrow columns
MEASURES = [m.title for m in measures.MEASURES.values()]
Columns = Sequence[tuple[str, Sequence[Any]]]  # (image, lesions)


@dataclass(frozen=True)
class Measured:
    """Lesions of several images, as (title, lesions), the middle of each segment in RAS mm, and what is to be told.

    ``segments`` and ``threshold`` are what was measured with.
    """

    columns: list[tuple[str, list[Any]]]
    centres: list[tuple[float, float, float]]
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    threshold: float | str = measures.MTV

    def rows(self) -> list[dict[str, Any]]:
        """Of the first image (the input PET) and the second, as of a reconstruction's table."""
        methods = zip(("lr", "sr"), self.columns, strict=False)
        return [row for method, (_, lesions) in methods for row in measures.lesion_rows(lesions, method=method)]


def measure(
    images: Sequence[tuple[str, Any]], segmentation: Any, threshold: float | str = measures.MTV
) -> Generator[None, None, Measured]:
    """Measure every segment of a node in every image; a generator that stops after each segment of each image.

    ``images`` are (title, volume node in SUV), the first one the input. A segment outside it is left out with a note,
    one outside a later image (a result of a region) only there. Raises the library's errors.
    """
    volumes = [(title, mrml.voxels_of_node(node).volume()) for title, node in images]
    masks = yield from mask_steps(segmentation)
    drawn = tuple(Segment(label, name, mask) for label, (name, mask) in enumerate(masks, 1))
    segments, notes = within(drawn, volumes[0][1])
    columns: list[tuple[str, list[Any]]] = []
    for number, (title, volume) in enumerate(volumes):
        columns.append((title, []))
        for segment in segments:
            yield
            found = measures.measure_lesions(volume, [segment], threshold=threshold, skip_outside=number > 0)
            columns[-1][1].extend(found)
    centres = [segment.centre() for segment in segments]
    return Measured(columns, [(-x, -y, z) for x, y, z in centres], tuple(notes), tuple(segments), threshold)


def fill_lesion_table(table: Any, columns: Columns) -> None:
    """Fill a table node: a row per lesion; for each measure a column per image, and the change in per cent.

    ``columns`` are (image name, lesions), the first one the input; lesions are matched by label.
    """
    for old in reversed(range(table.GetNumberOfColumns())):
        table.RemoveColumn(old)
    titles, lesions = [title for title, _lesions in columns], columns[0][1]
    names, numbers = vtk.vtkStringArray(), vtk.vtkIntArray()
    names.SetName("Lesion")
    numbers.SetName(NUMBER)
    for number, lesion in enumerate(lesions, 1):
        names.InsertNextValue(lesion.name)
        numbers.InsertNextValue(number)
    table.AddColumn(names)
    table.AddColumn(numbers)
    for name, measure in measures.MEASURES.items():
        values = _values(columns, name)
        for title, figures in zip(titles, values, strict=True):
            _add(table, f"{measure.title} {title}", figures, measure.unit, f"{measure.description}, in {title}")
        if len(columns) > 1:
            _add(table, f"{measure.title} change", _changes(*values[:2]), "%", f"{titles[1]} against {titles[0]}")
    use_header = getattr(table, "SetUseColumnTitleAsColumnHeader", None) or table.SetUseColumnNameAsColumnHeader
    use_header(True)
    table.Modified()


def _values(columns: Columns, name: str) -> list[list[float]]:
    """A measure of the first image's lesions in every image; NaN where an image lacks the lesion."""
    found = [{lesion.label: float(getattr(lesion, name)) for lesion in lesions} for _title, lesions in columns]
    return [[values.get(lesion.label, np.nan) for lesion in columns[0][1]] for values in found]


def _changes(before: Sequence[float], after: Sequence[float]) -> list[float]:
    return [100 * (b - a) / a if a else np.nan for a, b in zip(before, after, strict=True)]


def _add(table: Any, name: str, values: Sequence[float], unit: str, description: str) -> None:
    column = vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    table.AddColumn(column)
    table.SetColumnUnitLabel(name, unit)
    table.SetColumnDescription(name, description)


def cells(columns: Columns) -> list[list[str]]:
    """Text of the panel's table: a row per lesion; number and name, the lines' titles, the lines of each measure."""
    rows = [[_numbered(number, lesion.name), "PET\nSR\nchange"] for number, lesion in enumerate(columns[0][1], 1)]
    for name in measures.MEASURES:
        before, after = _values(columns, name)
        for row, old, new, change in zip(rows, before, after, _changes(before, after), strict=True):
            row.append("\n".join([_short(old), _short(new), f"{change:+.0f} %" if np.isfinite(change) else ""]))
    return rows


def _numbered(number: int, name: str) -> str:
    return name if name.split()[:1] == [str(number)] else f"{number} {name}"


def _short(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table_text(table: Any, delimiter: str = ",") -> str:
    """A table node as delimited text with a header line; numbers with six digits, missing ones empty."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    names = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    units = [table.GetColumnUnitLabel(name) for name in names]
    writer.writerow([f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=True)])
    for row in range(table.GetNumberOfRows()):
        values = [table.GetTable().GetValue(row, column) for column in range(len(names))]
        writer.writerow([_field(value) for value in values])
    return text.getvalue()


def _field(value: Any) -> str:
    if not value.IsNumeric():
        return value.ToString()
    number = value.ToDouble()
    return f"{number:.6g}" if np.isfinite(number) else ""


def new_table(columns: Columns, pet: Any) -> Any:
    """A lesion table as a new node beside the PET."""
    scene = pet.GetScene() or slicer.mrmlScene
    table = slicer.vtkMRMLTableNode()
    table.SetName(scene.GenerateUniqueName(f"{pet.GetName()} lesions"))
    provenance.mark(table)
    fill_lesion_table(table, columns)
    scene.AddNode(table)
    mrml.place_beside(table, pet, scene)
    return table


def update_table(table: Any, measured: Measured, pet: Any, result: Any) -> Any:
    """Fill ``table`` (None: a new node, referred to by the result); returns it."""
    if table is None or table.GetScene() is None:
        table = new_table(measured.columns, pet)
        result.SetNodeReferenceID(provenance.LESIONS, table.GetID())
    else:
        fill_lesion_table(table, measured.columns)
    return table


def update_chart(chart: Any, table: Any, measure_name: str, titles: Sequence[str] = ("PET", "SR")) -> Any:
    """A bar plot of one measure (``chart`` None: a new one); a series for the PET and one for the result.

    The axis shows the lesions' numbers in the table, because Slicer draws no names there; its title gives the names.
    """
    scene = table.GetScene()
    if chart is None or chart.GetScene() is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(f"{table.GetName()} plot"))
    found = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    wanted = []
    for title in titles:  # by column: a chart of a loaded scene may have lost a series
        own = (s for s in found if s is not None and (s.GetYColumnName() or "").endswith(f" {title}"))
        series = next(own, None) or scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
        series.SetName(title)  # the legend
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatterBar)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetLabelColumnName("Lesion")
        series.SetXColumnName(NUMBER)
        series.SetYColumnName(f"{measure_name} {title}")
        series.SetColor(*COLOURS[title])
        wanted.append(series)
    if found != wanted:
        chart.RemoveAllPlotSeriesNodeIDs()
        for series in wanted:
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        for stray in found:
            if stray is not None and stray not in wanted:
                scene.RemoveNode(stray)
    unit = table.GetColumnUnitLabel(f"{measure_name} {titles[0]}")
    chart.SetTitle(table.GetName())
    chart.SetXAxisTitle(_axis_title([table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())]))
    chart.SetYAxisTitle(f"{measure_name} [{unit}]" if unit else measure_name)
    chart.SetLegendVisibility(True)
    return chart


def _axis_title(names: Sequence[str], longest: int = 70) -> str:
    text = "Lesion: " + ", ".join(_numbered(number, name) for number, name in enumerate(names, 1))
    return text if len(text) <= longest else "Lesion, by its number in the table"


def jump_to(scene: Any, ras: Sequence[float]) -> None:
    """Show a point (RAS mm) in all slice views; a view is shifted only where the point would be out of sight."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode", scene):
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), to_xy)
        seen = zip(to_xy.MultiplyPoint((*ras, 1.0))[:2], node.GetDimensions()[:2], strict=True)
        if all(0.05 * size <= place <= 0.95 * size for place, size in seen):
            node.JumpSliceByOffsetting(*ras)
        else:
            node.JumpSliceByCentering(*ras)


def segment_events(node: Any) -> list[tuple[Any, int]]:
    """(object, event) pairs of changes of a segmentation or label map."""
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return [(node, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)]
    names = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved", "SegmentModified")
    events = [(node.GetSegmentation(), getattr(slicer.vtkSegmentation, name)) for name in names]
    return [*events, (node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent)]
