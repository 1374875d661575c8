"""The row under the PET: its unit, the form for missing data, and the conversion to SUV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from PETSuperResLib.errors import PETSuperResError
from PETSuperResSlicer.mrml import units as units
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import DOUBT, offer, style

NUCLIDES = ["F-18", "Ga-68", "Cu-64", "Zr-89", "C-11", "N-13", "O-15", "Rb-82", "I-124"]


class UnitsPanel:
    """Keeps the row up to date; ``converted(node)`` gets the new SUV volume."""

    def __init__(self, ui: Any, logic: Any, converted: Callable[[Any], None], status: Status) -> None:
        self.ui, self.logic, self.converted, self.say = ui, logic, converted, status.say
        self.node: Any = None
        self._seen: tuple[Any, ...] | None = None
        self.found = units.Recognition(units.REFUSED, "")
        self.reading: Any = None  # the task that reads a DICOM series
        ui.nuclideComboBox.addItems(NUCLIDES)
        ui.unitsButton.connect("clicked(bool)", self.on_button)
        for spin in (ui.weightSpinBox, ui.doseSpinBox):
            spin.connect("valueChanged(double)", lambda _value: status.choice_changed())
        for edit in (ui.injectedEdit, ui.scannedEdit):
            edit.connect("textChanged(QString)", lambda _text: status.choice_changed())
        self.show(None)

    def show(self, node: Any) -> None:
        """Recognise the units of a PET node (None: nothing chosen) and show what can be done."""
        key = None if node is None else (node.GetID(), node.GetMTime(), node.GetImageData())
        if self._seen is not None and key == self._seen:
            return
        self.node, self._seen = node, key
        self.found = units.Recognition(units.REFUSED, _("choose a PET")) if node is None else units.recognise(node)
        kind = self.found.kind
        self.ui.unitsLabel.setText(self.found.text)
        doubtful = node is not None and not self.found.usable
        self.ui.unitsLabel.setStyleSheet(style(DOUBT, self.ui.unitsLabel) if doubtful else "")
        self.ui.unitsButton.setText(_("They are SUV") if kind == units.UNSURE else _("To SUV"))
        self.ui.unitsButton.setVisible(kind in (units.CONVERT, units.STATE, units.UNSURE))
        if kind != units.CONVERT:  # a header is tried first; the form opens when it lacks something
            self.ui.unitsForm.setVisible(kind == units.STATE)
        dicom = kind == units.CONVERT
        for spin in (self.ui.weightSpinBox, self.ui.doseSpinBox):
            spin.setSpecialValueText(_("from DICOM") if dicom else _("to be stated"))
        self.ui.injectedEdit.setPlaceholderText(_("from DICOM, or hh:mm:ss") if dicom else "hh:mm:ss")
        for name in ("scannedEdit", "nuclideComboBox"):
            getattr(self.ui, name).setEnabled(not dicom)

    def close(self) -> None:
        """Stop running work."""
        if self.reading is not None:
            self.reading.close()

    def stated(self) -> Any:
        """The content of the form, a :class:`PETSuperResLib.suv.stated.Stated`."""
        from PETSuperResLib.suv.stated import Stated

        weight, dose = float(self.ui.weightSpinBox.value), float(self.ui.doseSpinBox.value)
        return Stated(
            weight or None,
            1e6 * dose or None,
            str(self.ui.injectedEdit.text).strip(),
            str(self.ui.scannedEdit.text).strip(),
            str(self.ui.nuclideComboBox.currentText),
        )

    def on_button(self, *_unused: Any) -> None:
        """Confirm the units, or convert by the DICOM header or the form."""
        node = self.node
        if node is None or (self.reading is not None and self.reading.running):
            return
        try:
            if self.found.kind == units.UNSURE:
                units.confirm(node)
                self.say(_("'{name}' is taken as SUVbw, as you say.").format(name=node.GetName()))
                self._seen = None
                self.show(node)
                self.converted(node)
            elif self.found.kind == units.CONVERT:
                self._from_dicom(node)
            else:
                self._add(node, *units.stated_suv(node, self.stated()))
        except PETSuperResError as error:
            self._failed(error)

    def _from_dicom(self, node: Any) -> None:
        offer(self.ui.unitsButton, _("The DICOM series is being read."))
        self.ui.unitsLabel.setText(_("reading the DICOM series..."))
        self.reading = self.logic.suvFromDicom(
            node, self.stated(), lambda volume: self._add(node, volume, volume.metadata["suv"]), self._failed
        )

    def _add(self, source: Any, volume: Any, evidence: dict[str, Any]) -> None:
        offer(self.ui.unitsButton)
        if source.GetScene() is None:
            return
        node = units.add_suv_node(source, volume, evidence)
        for warning in evidence.get("warnings", []):
            self.say(_("SUV: {note}").format(note=warning))
        self.say(_("Made '{name}' in SUVbw.").format(name=node.GetName()))
        self.converted(node)

    def _failed(self, error: Exception) -> None:
        offer(self.ui.unitsButton)
        self.ui.unitsLabel.setText(self.found.text)
        self.ui.unitsForm.setVisible(True)
        self.say(str(error), error=True)
