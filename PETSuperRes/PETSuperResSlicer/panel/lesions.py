"""The lesion section of the panel: measured again a moment after segments, images or threshold have changed."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.files import write_text
from PETSuperResLib.lesions.measures import MEASURES
from PETSuperResSlicer.mrml import compare, lesion_chart, provenance
from PETSuperResSlicer.mrml import lesion_table as lesions
from PETSuperResSlicer.mrml.volumes import state_of
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import DOUBT, ERROR, colour, offer, style
from PETSuperResSlicer.worker.steps import Steps

DELAY_MS = 250  # of silence after the last change, so that a brush stroke is measured once
SHOWN = 8  # rows that are seen without scrolling


class LesionsPanel(VTKObservationMixin):
    """Table, plot, copy and CSV of one result.

    The PET and the result are measured in this process; what is recovered from the data follows from another one.
    """

    def __init__(self, ui: Any, logic: Any, status: Status) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self.say = ui, logic, status.say
        self.params: Any = None
        self.measured: lesions.Measured | None = None
        self.recovering = False  # what is measured lacks what is recovered, which follows
        self.steps = Steps()
        self._watched: tuple[Any, ...] = ()
        self._seen: tuple[Any, ...] = ()  # the images' state
        self._lesion: list[int] = []  # the lesion of each row of the table
        self._measure = ""  # the one in the table
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(DELAY_MS)
        self.timer.connect("timeout()", self.refresh)
        self._prepare()

    def _prepare(self) -> None:
        table = self.ui.lesionsTable
        table.setColumnCount(len(lesions.HEADINGS))
        table.setHorizontalHeaderLabels(lesions.HEADINGS)
        for column, tip in enumerate(lesions.TIPS):
            table.horizontalHeaderItem(column).setToolTip(_(tip))
        table.horizontalHeaderItem(0).setTextAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)  # its beginning is seen
        self._line = qt.QFontMetrics(table.font).lineSpacing()  # the table is filled before it is shown
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Fixed)
        header = table.horizontalHeader()
        header.setFixedHeight(self._line + 10)
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
                    self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._modified)
                self._seen = state_of((pet, result))
                self._schedule()
            else:
                self.timer.stop()
                self.refresh()
        elif self.measured is not None and params.plotMeasure != self._measure:
            self._fill()
            if params.chart is not None:
                self.chart()

    def close(self) -> None:
        """Stop following."""
        self.timer.stop()
        self.steps.drop()
        self.logic.dropRecovery()
        self.removeObservers()
        self._watched = ()

    def _modified(self, *_unused: Any) -> None:
        """An image has other voxels, changed from the console, or another name; or something else has changed."""
        result, pet = self._watched[:2]
        seen, self._seen = self._seen, state_of((pet, result))
        if self._seen != seen:
            self._schedule()

    def _schedule(self, *_unused: Any) -> None:
        self.timer.start()

    def refresh(self) -> None:
        """Measure now, in steps; the table changes when the numbers are there."""
        result, pet, segmentation, threshold = self._watched or (None,) * 4
        if result is None or pet is None or segmentation is None:
            self._clear(hint(result, pet, segmentation))
            return
        watched = self._watched
        self.logic.dropRecovery()
        self.steps.run(
            lesions.measure(pet, result, segmentation, threshold),
            lambda measured: self._recover(measured, watched) if watched == self._watched else None,
            self._failed,
        )

    def _recover(self, measured: lesions.Measured, watched: tuple[Any, ...]) -> None:
        """Show what was measured, and have recovered what the data hold."""

        def done(recovered: lesions.Measured) -> None:
            if watched == self._watched:
                self._show(recovered)

        def failed(error: Exception) -> None:
            if watched == self._watched:
                known = str(error) in measured.notes
                why = _("Nothing is recovered.") if known else _("Nothing is recovered: {error}").format(error=error)
                self._show(measured, why)

        try:
            self.logic.recoverLesions(watched[0], measured, done, failed)
        except PETSuperResError as error:
            failed(error)
        else:
            self._show(measured, _("Recovering uptake from the data..."), recovering=True)

    def _show(self, measured: lesions.Measured, note: str = "", recovering: bool = False) -> None:
        result, pet = self._watched[:2]
        self.measured, self.recovering = measured, recovering
        lesions.update_table(self.table, measured, pet, result)
        if compare.layout_is_on():
            compare.show_chart(self.chart())
        elif self.params.chart is not None:
            self.chart()
        self._fill()
        told = _("PET: {pet}; SR: {result}").format(pet=pet.GetName(), result=result.GetName())
        doubts = [_("All: {doubt}").format(doubt=doubt) for doubt in lesions.shared_doubts(measured.wide())]
        lines = [told, *measured.notes, *doubts, *([note] if note else []), _(provenance.RESEARCH_USE)]
        self.ui.lesionsLabel.setText("\n".join(lines))
        self.ui.lesionsLabel.setStyleSheet("")

    def _fill(self) -> None:
        """A row for every lesion, and one below it for what is not to be trusted."""
        table = self.ui.lesionsTable
        self._measure = "" if self.measured is None else self.params.plotMeasure
        measure = lesions.MEASURES.get(self._measure, "")
        found = [] if self.measured is None else lesions.cells(self.measured, measure)
        rows = [(n, one, text) for n, one in enumerate(found) for text in ("", one.doubts)[: 1 + bool(one.doubts)]]
        about = MEASURES[measure] if found else None
        table.horizontalHeaderItem(0).setText(f"{about.title} [{about.unit}]" if about else lesions.HEADINGS[0])
        table.clearSpans()
        table.setRowCount(len(rows))
        self._lesion = [lesion for lesion, _one, _doubts in rows]
        for row, (_lesion, one, doubts) in enumerate(rows):
            for column, text in enumerate([doubts] if doubts else one.texts):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignCenter if column else qt.Qt.AlignVCenter)
                item.setToolTip(one.tip)
                if doubts:
                    item.setForeground(qt.QBrush(qt.QColor(colour(DOUBT, table))))
                table.setItem(row, column, item)
            if doubts:
                table.setSpan(row, 0, 1, len(lesions.HEADINGS))
            table.setRowHeight(row, self._line * (self._lines(doubts) if doubts else 1) + 8)
        seen = sum(table.rowHeight(row) for row in range(min(len(rows), 2 * SHOWN)))
        height = self._line + 10 + min(seen, 20 * (self._line + 8)) + 4
        table.setVisible(bool(rows))
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        lacking = "" if rows else _("No lesion is measured: see above.")
        offer(self.ui.plotButton, lacking)
        for button in (self.ui.copyButton, self.ui.csvButton):
            offer(button, _("Uptake is being recovered from the data: wait for it.") if self.recovering else lacking)

    def _lines(self, text: str) -> int:
        """Lines that a text takes up in the table's width."""
        table = self.ui.lesionsTable
        wide = qt.QFontMetrics(table.font).boundingRect(text).width()
        return 1 + wide // max(200, table.viewport().width - 12)

    def _clear(self, text: str) -> None:
        """No numbers rather than numbers of something else."""
        self.steps.drop()
        self.logic.dropRecovery()
        self.measured, self.recovering = None, False
        self._fill()
        self.ui.lesionsLabel.setText(text)
        self.ui.lesionsLabel.setStyleSheet("")
        if self.table is not None and self.table.GetNumberOfRows():
            lesions.fill_lesion_table(self.table, [])

    def _failed(self, error: Exception) -> None:
        self._clear(str(error))
        self.ui.lesionsLabel.setStyleSheet(style(ERROR, self.ui.lesionsLabel))
        self.say(_("Lesions: {message}").format(message=error), status=False)

    def on_clicked(self, row: int, _column: int) -> None:
        """Jump to the lesion of a row."""
        if self.measured is not None and row < len(self._lesion):
            lesions.jump_to(self._watched[0].GetScene(), self.measured.centres[self._lesion[row]])

    def chart(self) -> Any:
        """The bar plot of the measured lesions, made or updated; None without any."""
        if self.table is None or not self.table.GetNumberOfRows():
            return None
        measure = lesions.MEASURES[self.params.plotMeasure]
        self.params.chart = lesion_chart.update_chart(self.params.chart, self.table, measure)
        return self.params.chart

    def on_copy(self, *_unused: Any) -> None:
        """Put the table on the clipboard, for a spreadsheet."""
        if self.measured is not None:
            slicer.app.clipboard().setText(lesions.table_text(self._rows(), "\t"))
            self.say(_("The lesion table is on the clipboard."))

    def _rows(self) -> list[dict[str, Any]]:
        """The measured lesions as in the command line's lesions.csv."""
        assert self.measured is not None
        result = self._watched[0]
        quality = result.GetAttribute("PETSuperRes.quality") or ""
        return self.measured.rows(provenance.scanner_name(result), f"ours-{quality}" if quality else "sr")

    def on_export(self, *_unused: Any) -> None:
        """Save the table as CSV in a file that the user chooses."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save the lesion table"), "lesions.csv", "CSV (*.csv)")
        if path and self.measured is not None:
            self.export(path)

    def export(self, path: str) -> None:
        """Write the table to ``path``, or show the error."""
        try:
            write_text(path, lesions.table_text(self._rows()))
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
