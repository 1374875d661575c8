"""The follow-up section of the panel: the comparison of its studies, corrected pairs, references, plot and CTs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PETSuperResLib.errors import Cancelled, PETSuperResError
from PETSuperResSlicer.mrml import followup, provenance, references
from PETSuperResSlicer.mrml import followup_view as view
from PETSuperResSlicer.mrml.changes import Changes
from PETSuperResSlicer.mrml.lesion_table import jump_to
from PETSuperResSlicer.panel.run import progress_text
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.studies import BUSY, StudiesPanel, fill, prepare
from PETSuperResSlicer.panel.widgets import ERROR, offer, style
from PETSuperResSlicer.worker.steps import Steps

DELAY_MS = 100  # until the classes follow, of silence after a reference was moved
BUTTONS = {
    "followUpCompareButton": "on_compare",
    "followUpPlotButton": "on_plot",
    "followUpCtButton": "on_cts",
    "followUpCsvButton": "on_export",
}


class FollowUpPanel(VTKObservationMixin):
    """The studies and what their comparison gave are in one table node, ``params.followUp``."""

    def __init__(self, ui: Any, logic: Any, status: Status) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self.say = ui, logic, status.say
        self.params: Any = None
        self.task: Any = None
        self.steps = Steps()
        self.cts = Changes()
        self.list = StudiesPanel(ui, self._hide_cts, self.show, self._tell)
        self._shown: Any = None
        self._filling = False
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(DELAY_MS)
        self.timer.connect("timeout()", self.show_classes)
        self._prepare()

    def _prepare(self) -> None:
        ui = self.ui
        for name, slot in BUTTONS.items():
            getattr(ui, name).connect("clicked(bool)", getattr(self, slot))
        prepare(ui.pairsTable, ("Study", "Segment", "Lesion"))
        prepare(ui.followUpTable)
        ui.pairsTable.connect("itemChanged(QTableWidgetItem*)", self.on_paired)
        ui.followUpTable.connect("cellClicked(int,int)", self.on_clicked)
        ui.followUpMeasureComboBox.connect("currentIndexChanged(int)", self.on_measure)
        ui.followUpProgressBar.setVisible(False)
        self.show()

    @property
    def table(self) -> Any:
        """The table node of the follow-up, None before there is a study."""
        return self.list.table

    @property
    def studies(self) -> list[followup.Study]:
        """The studies in the order of time."""
        return self.list.studies

    @property
    def running(self) -> bool:
        """Whether a comparison is under way."""
        return self.task is not None or self.steps.running

    def update(self, params: Any) -> None:
        """Follow the parameters."""
        self.params = self.list.params = params
        if self.table is not self._shown:
            self.show()

    def close(self) -> None:
        """The scene or the module closes: stop silently."""
        task, self.task = self.task, None
        if task is not None:
            task.close()
        self.steps.drop()
        self.timer.stop()
        self._hide_cts()
        self._end()
        self.removeObservers()

    # -- the comparison -----------------------------------------------------------------------------------
    def on_compare(self, *_unused: Any) -> None:
        """Start a comparison, or cancel the running one."""
        if not self.running:
            self.compare()
        elif self.task is not None:
            self._tell(_("Cancelling..."))
            self.task.cancel()
        else:
            self.steps.drop()
            self._failed(Cancelled())

    def compare(self, pairs: Sequence[int] = ()) -> None:
        """Compare the studies in the background; ``pairs`` corrects which lesion every segment is."""
        table, threshold = self.table, self.params.threshold
        self._hide_cts()
        self.ui.followUpProgressBar.setValue(0)
        self.ui.followUpProgressBar.setVisible(True)

        def start(job: dict[str, Any]) -> None:
            try:
                self.task = self.logic.startComparison(table, job, self._progress, self._done, self._failed)
            except PETSuperResError as error:
                self._failed(error)

        self.steps.run(followup.job_steps(self.studies, threshold, pairs), start, self._failed)
        self._tell(_("Starting..."))
        self._enable()

    def _progress(self, event: Any) -> None:
        self.ui.followUpProgressBar.setValue(round(100 * event.fraction))
        self.ui.followUpLabel.setText(progress_text(event))

    def _done(self, _table: Any) -> None:
        self._end()
        self.show()

    def _failed(self, error: Exception) -> None:
        self._end()
        self.show()
        self._tell(str(error), error=not isinstance(error, Cancelled), log=getattr(error, "log", ()))

    def _end(self) -> None:
        self.task = None
        self.ui.followUpProgressBar.setVisible(False)
        self._enable()

    def _tell(self, text: str, error: bool = False, log: Sequence[str] = ()) -> None:
        self.ui.followUpLabel.setText(text)
        self.ui.followUpLabel.setStyleSheet(style(ERROR, self.ui.followUpLabel) if error else "")
        if error:
            self.say(_("Follow-up: {message}").format(message=text), status=False, log=log)

    # -- what is shown ------------------------------------------------------------------------------------
    def show(self) -> None:
        """Show the studies and, where they were compared, the lesions, pairs and classes."""
        self._shown = self.table
        report = followup.report_of(self.table)
        self.list.show()
        self._filling = True
        visits = [visit["name"] for visit in report.get("visits", ())]
        links = report.get("links", ())
        fill(self.ui.pairsTable, [[visits[a["visit"] - 1], a["name"], str(a["lesion"])] for a in links], editable=2)
        box, chosen = self.ui.followUpMeasureComboBox, self._measure()
        measures = view.measures(report)
        box.clear()
        for measure in measures:
            box.addItem(view.TITLES[measure], measure)
        box.setCurrentIndex(measures.index(chosen) if chosen in measures else 0)
        self._filling = False
        table = self.ui.followUpTable
        table.setColumnCount(2 + len(visits))
        table.setHorizontalHeaderLabels(["Lesion", "", *visits])
        table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        self.on_measure()
        notes = report.get("warnings", [])
        self._tell("\n".join([provenance.RESEARCH_USE, *notes]) if report else "")
        self._watch(len(visits))
        self.ui.followUpClassesLabel.setText("")
        if report:
            self.timer.start()
        self._enable()

    def _measure(self) -> str:
        return str(self.ui.followUpMeasureComboBox.currentData or "")

    def on_measure(self, *_unused: Any) -> None:
        """Another measure was chosen: the table and the plot, where it is shown, follow."""
        if self._filling:
            return
        report, measure = followup.report_of(self.table), self._measure()
        fill(self.ui.followUpTable, view.cells(report, measure) if measure else [])
        if measure and self.table.GetNodeReference(view.CHART) is not None:
            view.update_chart(self.table, measure)

    def _watch(self, count: int) -> None:
        """Observe the studies of the table, and the references of so many."""
        self.removeObservers()
        if self.table is not None:
            self.addObserver(self.table.GetScene(), slicer.vtkMRMLScene.NodeRemovedEvent, self._removed)
        for regions in references.markups(self.table, count):
            for node in regions.values():
                self.addObserver(node, node.PointModifiedEvent, self._moved)

    def _removed(self, *_unused: Any) -> None:
        """A node was deleted: a study without its PET is not in the list."""
        if len(self.studies) != self.ui.studiesTable.rowCount:
            self.list.show()
            self._enable()

    def _moved(self, *_unused: Any) -> None:
        self.timer.start()

    def show_classes(self) -> None:
        """Show the PERCIST and Deauville classes, by the references where they are now."""
        report, words = followup.report_of(self.table), []
        if report:
            try:
                studies = followup.compared_studies(self.table, report)
                words = view.class_words(report, references.uptake(self.table, studies))
            except PETSuperResError as error:
                words = [str(error)]
        self.ui.followUpClassesLabel.setText("\n".join(words))

    def _enable(self, *_unused: Any) -> None:
        ui, count = self.ui, len(self.studies)
        compared = bool(followup.report_of(self.table))
        lacking = BUSY if self.running else "" if compared else _("Compare the studies first.")
        self.list.busy = self.running
        self.list.enable()
        offer(ui.followUpCompareButton, "" if count > 1 else _("Add two studies or more, in the order of time."))
        ui.followUpCompareButton.setText(_("Cancel") if self.running else _("Compare"))
        for name in ("followUpPlotButton", "followUpCsvButton", "pairsTable"):
            offer(getattr(ui, name), lacking)
        cts = 0 if self.table is None else self.table.GetNumberOfNodeReferences(followup.CTS[1])
        offer(ui.followUpCtButton, lacking or ("" if cts else _("The studies were compared without CTs.")))

    # -- what is done with it -----------------------------------------------------------------------------
    def on_paired(self, item: Any) -> None:
        """A segment belongs to another lesion: compare again with all pairs as they stand."""
        if self._filling or item.column() != 2:
            return
        table = self.ui.pairsTable
        texts = [table.item(row, 2).text().strip() for row in range(table.rowCount)]
        if not all(text.isdigit() and int(text) > 0 for text in texts):
            told = _("'{text}' is no lesion: give a whole number from 1.").format(text=item.text())
            self.show()  # as it was
            self._tell(told, error=True)
            return
        self.compare([int(text) for text in texts])

    def on_clicked(self, row: int, column: int) -> None:
        """Jump to a lesion in the study of a column, where it is drawn there."""
        report = followup.report_of(self.table)
        lesion = list(view.by_lesion(report))[row]
        drawn = {link["visit"]: link["place_mm"] for link in reversed(report["links"]) if link["lesion"] == lesion}
        x, y, z = drawn.get(column - 1) or next(reversed(drawn.values()))
        jump_to(self.table.GetScene(), (-x, -y, z))

    def on_plot(self, *_unused: Any) -> None:
        """Show the plot over time."""
        chart = view.update_chart(self.table, self._measure())
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    def on_cts(self, *_unused: Any) -> None:
        """Show the registered CTs over each other, or what was shown before."""
        if self.ui.followUpCtButton.checked:
            view.show_cts(self.table, max(0, self.ui.studiesTable.currentRow() - 1), self.cts)
        else:
            self.cts.undo()

    def _hide_cts(self) -> None:
        self.cts.undo()
        self.ui.followUpCtButton.setChecked(False)

    def on_export(self, *_unused: Any) -> None:
        """Save the table as CSV in a file that the user chooses."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save the follow-up"), "followup.csv", "CSV (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str) -> None:
        """Write the rows to ``path``, as the command line does, or show the error."""
        from PETSuperResLib.files import write_csv
        from PETSuperResLib.followup.lesions import COLUMNS

        try:
            write_csv(path, followup.report_of(self.table)["rows"], COLUMNS)
        except PETSuperResError as error:
            self._tell(str(error), error=True)
            return
        self.say(_("Wrote {path}.").format(path=path))
