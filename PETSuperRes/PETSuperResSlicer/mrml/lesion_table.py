"""Lesion SUVs in Slicer: measured when segments change, as the panel's cells, a table node, text and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk

from PETSuperResLib.lesions import measures, tables
from PETSuperResLib.lesions.measures import Lesion
from PETSuperResLib.lesions.segments import Segment, within
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.columns import add_column
from PETSuperResSlicer.mrml.segments import mask_steps

NUMBER = "number"  # column of a lesion's number, which the plot's axis shows
ORDER = ("suvpeak", "suvmean", "suvmax", "mtv_ml", "tlg")  # as they are offered: SUVmax is the noisiest of the SUVs
MEASURES = {measures.MEASURES[name].title: name for name in ORDER}  # by the title that the panel shows
TITLES = {"pet": "PET", "pet_on_grid": "PET on grid", "sr": "SR", "reference": "reference"}
METHODS = {"pet": measures.INPUT, "pet_on_grid": measures.ON_GRID}
HEADINGS = ["Lesion", "mL", "PET", "on grid", "SR", "recovered (90 %)", "sigma"]
TIPS = [
    "Number and name of the segment",
    "Volume of the segment",
    "The PET as it is",
    "The PET interpolated on the result's grid: what its voxels alone change",
    "The super-resolved PET",
    "Fitted to the measurement, with its 90 % interval",
    "Evidence of the data for uptake above the surroundings; below 3 they do not support it",
]
GENERIC = r"(?:lesion|segment)[ _]?"  # what precedes a number in a name that nobody gave
Columns = Mapping[str, Sequence[Lesion]]  # by image, a key of TITLES


@dataclass(frozen=True)
class Measured:
    """Lesions by image, the middle of each segment in RAS mm, and what is to be told.

    ``segments`` and ``threshold`` are what was measured with.
    """

    columns: dict[str, list[Lesion]]
    centres: list[tuple[float, float, float]]
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    threshold: float | str = measures.MTV

    def recovered(self, lesions: Sequence[Lesion]) -> Measured:
        """The same with lesions of the result that have what was recovered of them."""
        return replace(self, columns={**self.columns, "sr": list(lesions)})

    def rows(self, setting: str = "", method: str = "sr") -> list[dict[str, Any]]:
        """As of a reconstruction's lesions.csv; ``setting`` is the scanner, ``method`` the one of the result."""
        found = {METHODS.get(image, method): own for image, own in self.columns.items() if image != "reference"}
        return [row for name, own in found.items() for row in measures.lesion_rows(own, "", setting, name)]

    def wide(self) -> list[dict[str, Any]]:
        """A row per lesion of the PET, with the keys of :data:`~PETSuperResLib.lesions.tables.COLUMNS`."""
        found = {image: {lesion.label: lesion for lesion in own} for image, own in self.columns.items()}
        return [
            tables.wide_row({i: {**asdict(of[n]), "lesion": of[n].name} for i, of in found.items() if n in of})
            for n in found["pet"]
        ]


def measure(
    pet: Any, result: Any, segmentation: Any, threshold: float | str = measures.MTV, reference: Any = None
) -> Generator[None, None, Measured]:
    """Measure every segment of a node in volume nodes in SUV; a generator that stops after each segment of each image.

    A segment outside the PET is left out with a note, one outside a later image (a result of a region) only there.
    Raises the library's errors.
    """
    nodes = {"pet": pet, "sr": result, **({} if reference is None else {"reference": reference})}
    volumes = {image: mrml.voxels_of_node(node).volume() for image, node in nodes.items()}
    masks = yield from mask_steps(segmentation)
    drawn = tuple(Segment(label, name, mask) for label, (name, mask) in enumerate(masks, 1))
    segments, notes = within(drawn, volumes["pet"])
    columns: dict[str, list[Lesion]] = {image: [] for image in TITLES if image in {*volumes, "pet_on_grid"}}
    for image, found in columns.items():
        for segment in segments:
            yield
            if image == "pet_on_grid":
                found += measures.measure_on_grid(volumes["pet"], volumes["sr"], [segment], threshold)
                continue
            skip = image != "pet"
            found += measures.measure_lesions(volumes[image], [segment], threshold=threshold, skip_outside=skip)
    changed = mrml.changed_since(result, pet)
    notes = [*([changed] if changed else []), *notes]
    centres = [segment.centre() for segment in segments]
    return Measured(columns, [(-x, -y, z) for x, y, z in centres], tuple(notes), tuple(segments), threshold)


def fill_lesion_table(table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Fill a table node with :meth:`Measured.wide` rows; titles head the columns, units and meanings are theirs."""
    for old in reversed(range(table.GetNumberOfColumns())):
        table.RemoveColumn(old)
    numbers = [{NUMBER: number, **row} for number, row in enumerate(rows, 1)]
    for name in dict.fromkeys(("lesion", NUMBER, *tables.COLUMNS, *(rows[0] if rows else ()))):
        add_column(table, name, [row.get(name) for row in numbers], text=name in TEXTS)
        title, unit, description = _about(name)
        table.SetColumnTitle(name, title)
        table.SetColumnUnitLabel(name, unit)
        table.SetColumnDescription(name, description)
    use_header = getattr(table, "SetUseColumnTitleAsColumnHeader", None) or table.SetUseColumnNameAsColumnHeader
    use_header(True)
    table.Modified()


TEXTS = ("lesion", "interval_note", "doubts", "threshold", "recovered_from", "suv_unit")  # columns of text


def _about(name: str) -> tuple[str, str, str]:
    """Title, unit and meaning of a column."""
    for measure, about in measures.MEASURES.items():
        of_image = {f"{image}_{measure}": title for image, title in TITLES.items()}
        if name in of_image:
            return f"{about.title} {of_image[name]}", about.unit, f"{about.description}, in {of_image[name]}"
        if name == f"{measure}_change_percent":
            return f"{about.title} change", "%", "SR against PET"
        ends = {f"{measure}_recovered": "recovered", f"{measure}_low": "low", f"{measure}_high": "high"}
        if name in ends:
            return f"{about.title} {ends[name]}", about.unit, "Fitted to the measurement, and the ends of its interval"
    known = {"volume_ml": ("Volume", "mL", TIPS[1]), "evidence_sigma": ("Evidence", "sigma", TIPS[6])}
    return known.get(name, (name.capitalize().replace("_", " "), "", ""))


@dataclass(frozen=True)
class Shown:
    """Of a lesion the texts under :data:`HEADINGS`, what is not to be trusted, and name and every measure in lines."""

    texts: list[str]
    doubts: str
    tip: str


def shared_doubts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences on what is not to be trusted that all of several lesions have (rows of :meth:`Measured.wide`)."""
    every = [tables.sentences(row["doubts"]) for row in rows]
    return [one for one in every[0] if all(one in other for other in every)] if len(every) > 1 else []


def cells(measured: Measured, measure: str) -> list[Shown]:
    """What the panel shows of every lesion for a measure, without the shared doubts."""
    found, rows = [], measured.wide()
    shared = shared_doubts(rows)
    for number, row in enumerate(rows, 1):
        recovered, low, high = (row.get(f"{measure}_{end}") for end in ("recovered", "low", "high"))
        interval = "" if low is None or high is None else f" ({short(low)} to {short(high)})"
        volume = measured.columns["pet"][number - 1].volume_ml
        texts = [numbered(number, row["lesion"]), short(volume)]
        texts += [short(row[f"{image}_{measure}"]) for image in ("pet", "pet_on_grid", "sr")]
        texts += [f"{short(recovered)}{interval}", short(row["evidence_sigma"])]
        own = " ".join(one for one in tables.sentences(row["doubts"]) if one not in shared)
        found.append(Shown(texts, own, f"{texts[0]}\n{_all_measures(row)}"))
    return found


def _all_measures(row: Mapping[str, Any]) -> str:
    """Every measure of a lesion as lines of text, with units."""
    lines = []
    for title, measure in MEASURES.items():
        parts = [f"{TITLES[image]} {short(row[f'{image}_{measure}'])}" for image in ("pet", "pet_on_grid", "sr")]
        change, recovered = row[f"{measure}_change_percent"], row.get(f"{measure}_recovered")
        parts += [] if change is None else [f"({change:+.0f} %)"]
        if recovered is not None:
            low, high = (row.get(f"{measure}_{end}") for end in ("low", "high"))
            parts.append(f"recovered {short(recovered)}" + ("" if low is None else f" ({short(low)} to {short(high)})"))
        lines.append(f"{title} [{measures.MEASURES[measure].unit}]: {', '.join(parts)}")
    return "\n".join(lines)


def numbered(number: int, name: str) -> str:
    """``2 Liver``; a name that has this number already, such as ``2 Liver`` or ``Lesion 2``, stands as it is."""
    own = name.split()[:1] == [str(number)] or re.fullmatch(rf"{GENERIC}{number}", name, re.IGNORECASE)
    return name if own else f"{number} {name}"


def unnamed(name: str) -> bool:
    """Whether nobody gave a name: ``Lesion 1``, ``Segment_2``."""
    return re.fullmatch(rf"{GENERIC}\d+", name, re.IGNORECASE) is not None


def short(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table_text(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> str:
    """Rows of :meth:`Measured.rows` as delimited text, as lesions.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, measures.COLUMNS, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def new_table(measured: Measured, pet: Any) -> Any:
    """A lesion table as a new node beside the PET."""
    scene = pet.GetScene() or slicer.mrmlScene
    table = slicer.vtkMRMLTableNode()
    table.SetName(scene.GenerateUniqueName(f"{pet.GetName()} lesions"))
    provenance.mark(table)
    fill_lesion_table(table, measured.wide())
    scene.AddNode(table)
    mrml.place_beside(table, pet, scene)
    return table


def update_table(table: Any, measured: Measured, pet: Any, result: Any) -> Any:
    """Fill ``table`` (None: a new node, referred to by the result); returns it."""
    if table is None or table.GetScene() is None:
        table = new_table(measured, pet)
        result.SetNodeReferenceID(provenance.LESIONS, table.GetID())
    else:
        fill_lesion_table(table, measured.wide())
    return table


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
