"""The list of studies in the follow-up section: added, ordered, named and removed by the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from PETSuperResLib.errors import PETSuperResError
from PETSuperResSlicer.mrml import followup, references
from PETSuperResSlicer.panel.widgets import offer

HEADS = ("Study", "PET", "Lesions", "CT", "SR")
BUSY = _("The studies are being compared.")
ROWS = 6  # of a table that are seen without scrolling


class StudiesPanel:
    """The studies of the table node ``params.followUp``, which is made with the first one.

    ``changing()`` is called before and ``changed()`` after the studies are others; ``tell(text, error)`` shows a
    message.
    """

    def __init__(self, ui: Any, changing: Callable[[], None], changed: Callable[[], None], tell: Any) -> None:
        self.ui, self.changing, self.changed, self.tell = ui, changing, changed, tell
        self.params: Any = None
        self._filling = False
        prepare(ui.studiesTable, HEADS)
        ui.studyAddButton.connect("clicked(bool)", self.on_add)
        ui.studyUpButton.connect("clicked(bool)", self.on_up)
        ui.studyRemoveButton.connect("clicked(bool)", self.on_remove)
        ui.studiesTable.connect("itemChanged(QTableWidgetItem*)", self.on_renamed)
        ui.studySelector.connect("currentNodeChanged(vtkMRMLNode*)", self.enable)
        self.busy = False

    @property
    def table(self) -> Any:
        """The table node of the follow-up, None before there is a study."""
        return None if self.params is None else self.params.followUp

    @property
    def studies(self) -> list[followup.Study]:
        """The studies in the order of time."""
        return followup.studies_of(self.table)

    def on_add(self, *_unused: Any) -> None:
        """Add what is selected as the latest study."""
        ui = self.ui
        chosen = (s.currentNode() for s in (ui.studySelector, ui.studySegmentationSelector, ui.studyCtSelector))
        try:
            study = followup.study_of(*chosen)
        except PETSuperResError as error:
            self.tell(str(error), error=True)
            return
        if self.table is None:
            self.params.followUp = followup.new_table(study.pet.GetScene())
        self._set([*self.studies, study])

    def on_up(self, *_unused: Any) -> None:
        """Move the selected study before the one above it."""
        studies, row = self.studies, self.ui.studiesTable.currentRow()
        if row > 0:
            studies[row - 1 : row + 1] = studies[row], studies[row - 1]
            self._set(studies)
            self.ui.studiesTable.selectRow(row - 1)

    def on_remove(self, *_unused: Any) -> None:
        """Take the selected study out."""
        studies, row = self.studies, self.ui.studiesTable.currentRow()
        if row >= 0:
            del studies[row]
            self._set(studies)

    def on_renamed(self, item: Any) -> None:
        """A study has another name."""
        if self._filling or item.column():
            return
        studies, row, name = self.studies, item.row(), item.text().strip()
        if name and name != studies[row].name:
            studies[row] = followup.Study(name, *(getattr(studies[row], of) for of in followup.NODES))
            self._set(studies)

    def _set(self, studies: Sequence[followup.Study]) -> None:
        self.changing()
        references.remove(self.table)
        followup.set_studies(self.table, studies)
        self.changed()

    def show(self) -> None:
        """Show the studies of the table."""
        self._filling = True
        studies = self.studies
        rows = [[s.name, *map(_name, (s.pet, s.segmentation, s.ct)), "yes" if s.result else "-"] for s in studies]
        fill(self.ui.studiesTable, rows, editable=0)
        self._filling = False

    def enable(self, *_unused: Any) -> None:
        """Offer what can be done; nothing while a comparison is under way (``busy``)."""
        ui = self.ui
        chosen = self.params is not None and ui.studySelector.currentNode() is not None
        busy = BUSY if self.busy else ""
        offer(ui.studyAddButton, busy or ("" if chosen else _("Choose a PET in SUV, or a result.")))
        for name in ("studyUpButton", "studyRemoveButton", "studiesTable"):
            offer(getattr(ui, name), busy or ("" if self.studies else _("Add a study first.")))


def prepare(table: Any, heads: Sequence[str] = ()) -> None:
    """Headings and widths of a table."""
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    table.setColumnCount(len(heads))
    table.setHorizontalHeaderLabels(list(heads))


def fill(table: Any, rows: Sequence[Sequence[str]], editable: int | None = None) -> None:
    """Put texts into a table as high as its rows need; ``editable`` is the column that can be edited."""
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            if column != editable:
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip(text)
            table.setItem(row, column, item)
    table.setVisible(bool(rows))
    line = qt.QFontMetrics(table.font).lineSpacing()
    for row, texts in enumerate(rows):
        table.setRowHeight(row, line * max(text.count("\n") + 1 for text in texts) + 8)
    table.horizontalHeader().setFixedHeight(line + 10)
    seen = (table.rowHeight(row) for row in range(min(ROWS, len(rows))))  # a style may make them higher
    table.setFixedHeight(line + 14 + sum(seen))


def _name(node: Any) -> str:
    return "-" if node is None else str(node.GetName())
