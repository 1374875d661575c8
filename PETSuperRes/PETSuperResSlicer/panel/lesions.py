"""The lesion section of the panel: measured again a moment after segments, images or threshold have changed."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.files import write_text
from PETSuperResSlicer.mrml import compare, provenance
from PETSuperResSlicer.mrml import lesion_table as lesions
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.worker.steps import Steps

DELAY_MS = 400  # of silence after the last change, so that a brush stroke is measured once


class LesionsPanel(VTKObservationMixin):
    """Table, plot, copy and CSV of one result."""

    def __init__(self, ui: Any, status: Status) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.say = ui, status.say
        self.params: Any = None
        self.measured: lesions.Measured | None = None
        self.steps = Steps()
        self._watched: tuple[Any, ...] = ()
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(DELAY_MS)
        self.timer.connect("timeout()", self.refresh)
        self._prepare()

    def _prepare(self) -> None:
        table = self.ui.lesionsTable
        table.setColumnCount(2 + len(lesions.MEASURES))
        table.setHorizontalHeaderLabels(["Lesion", "", *lesions.SHORT])
        line = qt.QFontMetrics(table.font).lineSpacing()
        self._heights = line + 10, 3 * line + 8  # of the header and of a row; the table is filled before it is shown
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Fixed)
        table.verticalHeader().setDefaultSectionSize(self._heights[1])
        header = table.horizontalHeader()
        header.setFixedHeight(self._heights[0])
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)  # names are cut, numbers are not
        table.connect("cellClicked(int,int)", self.on_clicked)
        self.ui.copyButton.connect("clicked(bool)", self.on_copy)
        self.ui.csvButton.connect("clicked(bool)", self.on_export)
        self._clear(hint(None, None, None))

    @property
    def table(self) -> Any:
        """The table node of the shown result, None without one."""
        result = None if self.params is None else self.params.result
        return None if result is None else result.GetNodeReference(provenance.LESIONS)

    def update(self, params: Any) -> None:
        """Follow the parameters; their nodes are observed, and measured after a change."""
        self.params = params
        result, segmentation = (None, None) if params is None else (params.result, params.segmentation)
        pet = None if result is None else provenance.inputs_of(result)[0]
        threshold = "" if params is None else params.threshold
        watched = (result, pet, segmentation, threshold)
        if watched != self._watched:
            self._watched = watched
            self.removeObservers()
            if segmentation is not None:
                for subject, event in lesions.segment_events(segmentation):
                    self.addObserver(subject, event, self._schedule)
            if None not in watched:
                for node in (pet, result):
                    for event in (node.ImageDataModifiedEvent, node.TransformModifiedEvent):
                        self.addObserver(node, event, self._schedule)
                self._schedule()
            else:
                self.timer.stop()
                self.refresh()
        elif params is not None and params.chart is not None:
            self.chart()

    def close(self) -> None:
        """Stop following."""
        self.timer.stop()
        self.steps.drop()
        self.removeObservers()
        self._watched = ()

    def _schedule(self, *_unused: Any) -> None:
        self.timer.start()

    def refresh(self) -> None:
        """Measure now, in steps; the table changes when the numbers are there."""
        result, pet, segmentation, threshold = self._watched or (None,) * 4
        if result is None or pet is None or segmentation is None:
            self._clear(hint(result, pet, segmentation))
            return
        watched = self._watched
        self.steps.run(
            lesions.measure([("PET", pet), ("SR", result)], segmentation, threshold),
            lambda measured: self._show(measured) if watched == self._watched else None,
            self._failed,
        )

    def _show(self, measured: lesions.Measured) -> None:
        result, pet = self._watched[:2]
        self.measured = measured
        lesions.update_table(self.table, measured, pet, result)
        if compare.layout_is_on():
            compare.show_chart(self.chart())
        elif self.params.chart is not None:
            self.chart()
        self._fill(lesions.cells(measured.columns))
        told = _("PET: {pet}; SR: {result}").format(pet=pet.GetName(), result=result.GetName())
        self.ui.lesionsLabel.setText("\n".join([told, *measured.notes]))
        self.ui.lesionsLabel.setStyleSheet("")

    def _fill(self, rows: list[list[str]]) -> None:
        table = self.ui.lesionsTable
        table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignCenter if column else qt.Qt.AlignVCenter)
                item.setToolTip(text if column == 0 else "")
                table.setItem(row, column, item)
        header, each = self._heights
        height = header + each * min(len(rows), 6) + 4
        table.setVisible(bool(rows))
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        for name in ("plotButton", "copyButton", "csvButton"):
            getattr(self.ui, name).setEnabled(bool(rows))

    def _clear(self, text: str) -> None:
        """No numbers rather than numbers of something else."""
        self.steps.drop()
        self.measured = None
        self._fill([])
        self.ui.lesionsLabel.setText(text)
        self.ui.lesionsLabel.setStyleSheet("")
        if self.table is not None and self.table.GetNumberOfRows():
            lesions.fill_lesion_table(self.table, [("PET", []), ("SR", [])])

    def _failed(self, error: Exception) -> None:
        self._clear(str(error))
        self.ui.lesionsLabel.setStyleSheet("color: #B3261E;")
        self.say(_("Lesions: {message}").format(message=error), status=False)

    def on_clicked(self, row: int, _column: int) -> None:
        """Jump to the lesion of a row."""
        if self.measured is not None and row < len(self.measured.centres):
            lesions.jump_to(self._watched[0].GetScene(), self.measured.centres[row])

    def chart(self) -> Any:
        """The bar plot of the measured lesions, made or updated; None without any."""
        if self.table is None or not self.table.GetNumberOfRows():
            return None
        self.params.chart = lesions.update_chart(self.params.chart, self.table, self.params.plotMeasure)
        return self.params.chart

    def on_copy(self, *_unused: Any) -> None:
        """Put the table on the clipboard, for a spreadsheet."""
        if self.table is not None:
            slicer.app.clipboard().setText(lesions.table_text(self.table, "\t"))
            self.say(_("The lesion table is on the clipboard."))

    def on_export(self, *_unused: Any) -> None:
        """Save the table as CSV in a file that the user chooses."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save the lesion table"), "lesions.csv", "CSV (*.csv)")
        if path and self.table is not None:
            self.export(path)

    def export(self, path: str) -> None:
        """Write the table to ``path``, or show the error."""
        try:
            write_text(path, lesions.table_text(self.table))
        except PETSuperResError as error:
            self.say(str(error), error=True)
            return
        self.say(_("Wrote {path}.").format(path=path))


def hint(result: Any, pet: Any, segmentation: Any) -> str:
    """What to do for a table: which of a result, its PET and drawn segments there is not."""
    if segmentation is not None and segmentation.IsA("vtkMRMLSegmentationNode"):
        if not segmentation.GetSegmentation().GetNumberOfSegments():
            empty = _(
                "Segmentation '{name}' has no segments: draw the lesions in the Segment Editor, or choose another."
            )
            return str(empty.format(name=segmentation.GetName()))
    if result is not None and pet is None:
        return str(_("The PET of this result was deleted: load it again and press Apply to compare."))
    if result is not None:
        return str(_("Choose segments: PET and result are compared here."))
    if segmentation is not None:
        return str(_("Press Apply: PET and result are compared here."))
    return str(_("Choose segments and press Apply: PET and result are compared here."))
