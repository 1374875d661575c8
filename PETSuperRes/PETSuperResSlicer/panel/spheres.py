"""The section of the panel with spherical VOIs: placed by a click, and measured in PET and result while dragged."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.lesions.sphere import ML_MM, WIDE_MM, SphereFigures
from PETSuperResSlicer.mrml import provenance, spheres
from PETSuperResSlicer.mrml.lesion_table import jump_to
from PETSuperResSlicer.mrml.volumes import state_of
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import offer

DELAY_MS = 15  # from a movement to the numbers, at most, besides the time to measure
COLUMNS = {"mean": "suvmean", "SD": "sd", "peak": "suvpeak", "max": "suvmax"}
HEADINGS = ("sphere", "diameter_mm", "r_mm", "a_mm", "s_mm", "image", "suvmean", "sd", "suvpeak", "suvmax", "share")
WHOLE = 0.99  # share of a sphere within an image, below which it is told


class SpheresPanel(VTKObservationMixin):
    """Buttons that place a sphere, and the table of what was placed."""

    def __init__(self, ui: Any, status: Status) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.say = ui, status.say
        self.params: Any = None
        self.images: list[tuple[str, Any]] = []
        self._seen: tuple[Any, ...] = ()  # the images' state
        self.list = spheres.SphereList(self._schedule)
        self.figures: dict[spheres.Placed, list[SphereFigures | None]] = {}  # in each image
        self._refused: dict[str, str] = {}  # why an image cannot be measured, by its title
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(DELAY_MS)
        self.timer.connect("timeout()", self.measure)
        self._prepare()

    def _prepare(self) -> None:
        table = self.ui.spheresTable
        table.setColumnCount(2 + len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Sphere"), "", *COLUMNS])
        self._line = qt.QFontMetrics(table.font).lineSpacing()
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Fixed)
        table.horizontalHeader().setFixedHeight(self._line + 10)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.connect("cellClicked(int,int)", self.on_clicked)
        table.connect("cellChanged(int,int)", self.on_renamed)
        self.ui.mlSphereButton.connect("clicked(bool)", lambda: self.on_place(ML_MM))
        self.ui.wideSphereButton.connect("clicked(bool)", lambda: self.on_place(WIDE_MM))
        self.ui.removeSphereButton.connect("clicked(bool)", self.on_remove)
        self.ui.copySpheresButton.connect("clicked(bool)", self.on_copy)
        self._show()

    def update(self, params: Any, found: Any) -> None:
        """Follow the parameters; ``found`` is the unit of the PET (units.Recognition)."""
        self.params = params
        result = None if params is None else params.result
        pet = params.pet if params is not None and found.usable else None
        if result is not None:
            pet = provenance.inputs_of(result)[0] or pet
        images = [(title, node) for title, node in (("PET", pet), ("SR", result)) if node is not None]
        self.list.follow(None if params is None else params.spheres)
        if images != self.images:
            self.images = images
            self.removeObservers()
            for _title, node in images:
                for event in (node.ImageDataModifiedEvent, node.TransformModifiedEvent):
                    self.addObserver(node, event, self._images_changed)
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._modified)
            self._images_changed()
        for button in (self.ui.mlSphereButton, self.ui.wideSphereButton):
            there = bool(images) and hasattr(slicer.modules, "markups")
            offer(button, "" if there else _("Choose a PET in SUV."))

    def close(self) -> None:
        """The scene or the module closes."""
        self.timer.stop()
        self.removeObservers()
        self.list.follow(None)
        self.images, self.figures, self._refused = [], {}, {}
        self._show()

    def measure(self) -> None:
        """Measure now; a sphere that has not moved keeps its figures."""
        known = {(sphere.centre, sphere.diameter_mm): found for sphere, found in self.figures.items()}
        self.figures = {
            sphere: known.get((sphere.centre, sphere.diameter_mm)) or self._measured(sphere)
            for sphere in self.list.placed()
        }
        self._show()

    def on_place(self, diameter_mm: float) -> None:
        """The next click in a slice view is the centre of a sphere."""
        if self.params.spheres is None:
            self.params.spheres = spheres.new_list(slicer.mrmlScene)
        self.list.follow(self.params.spheres)
        self.list.place(diameter_mm)
        self.say(_("Click in a slice view; drag the point to move the sphere."))

    def on_clicked(self, row: int, _column: int) -> None:
        """Jump to the sphere of a row."""
        if row < len(self.figures):
            jump_to(slicer.mrmlScene, list(self.figures)[row].centre)

    def on_renamed(self, row: int, column: int) -> None:
        """A name was edited."""
        name = self.ui.spheresTable.item(row, column).text().strip()
        if column == 0 and name:
            self.list.rename(row, name)

    def on_remove(self, *_unused: Any) -> None:
        """Remove the selected sphere, or the last one."""
        last = len(self.figures) - 1
        if last >= 0:
            row = self.ui.spheresTable.currentRow()
            self.list.remove(row if 0 <= row <= last else last)

    def on_copy(self, *_unused: Any) -> None:
        """Put the figures on the clipboard: a line per sphere and image, for a spreadsheet."""
        slicer.app.clipboard().setText(self.text())
        self.say(_("The spheres are on the clipboard."))

    def text(self) -> str:
        """The figures as lines of columns divided by tabs, under HEADINGS."""
        lines = ["\t".join(HEADINGS)]
        for sphere, found in self.figures.items():
            where = [sphere.name, f"{sphere.diameter_mm:g}", *(f"{v:.1f}" for v in sphere.centre)]
            for (title, _node), figures in zip(self.images, found, strict=True):
                values = [""] * 5 if figures is None else [f"{getattr(figures, name):.6g}" for name in HEADINGS[6:]]
                lines.append("\t".join([*where, title, *values]))
        return "\n".join(lines) + "\n"

    def _measured(self, sphere: spheres.Placed) -> list[SphereFigures | None]:
        found: list[SphereFigures | None] = []
        for title, node in self.images:
            try:
                found.append(spheres.figures(node, sphere.centre, sphere.diameter_mm))
            except PETSuperResError as error:
                found.append(None)
                self._refused[title] = str(error)
        return found

    def _images_changed(self, *_unused: Any) -> None:
        self.figures, self._refused = {}, {}
        self._seen = state_of(node for _title, node in self.images)
        self._schedule()

    def _modified(self, *_unused: Any) -> None:
        """Voxels changed from the console, or something else of a node."""
        if state_of(node for _title, node in self.images) != self._seen:
            self._images_changed()

    def _schedule(self, *_unused: Any) -> None:
        if not self.timer.active:  # not put off by the next movement
            self.timer.start()

    def _show(self) -> None:
        """Fill the table; it and the buttons under it are there with the first sphere."""
        table, titles = self.ui.spheresTable, [title for title, _node in self.images]
        blocked = table.blockSignals(True)
        table.setRowCount(len(self.figures))
        for row, (sphere, found) in enumerate(self.figures.items()):
            texts = [sphere.name, "\n".join(titles)]
            texts += ["\n".join(_short(figures, name) for figures in found) for name in COLUMNS.values()]
            for column, text in enumerate(texts):
                item = table.item(row, column)
                if item is None:
                    item = qt.QTableWidgetItem()
                    item.setTextAlignment(qt.Qt.AlignCenter if column else qt.Qt.AlignVCenter)
                    if column:
                        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                    table.setItem(row, column, item)
                item.setText(text)
        each = max(1, len(titles)) * self._line + 8
        table.verticalHeader().setDefaultSectionSize(each)
        height = self._line + 14 + each * min(len(self.figures), 6)
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        table.blockSignals(blocked)
        for widget in (table, self.ui.removeSphereButton, self.ui.copySpheresButton):
            widget.setVisible(bool(self.figures))
        self.ui.spheresLabel.setText("\n".join(self._notes()))
        self.ui.spheresLabel.setVisible(bool(self._notes()))

    def _notes(self) -> list[str]:
        """Which image cannot be measured and why, and which spheres lie outside one, wholly or in part."""
        cut = _("{share:.0f} % of {name} lies outside the {title}.")
        return list(self._refused.values()) + [
            str(cut.format(share=100 - 100 * (figures.share if figures else 0), name=sphere.name, title=title))
            for sphere, found in self.figures.items()
            for (title, _node), figures in zip(self.images, found, strict=True)
            if title not in self._refused and (figures is None or figures.share < WHOLE)
        ]


def _short(figures: SphereFigures | None, name: str) -> str:
    return "-" if figures is None else f"{getattr(figures, name):.2f}"
