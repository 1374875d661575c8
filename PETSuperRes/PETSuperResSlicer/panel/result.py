"""What can be done with a result: show it, compare it with the PET, plot, switch between both, save it as DICOM."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from PETSuperResLib.difference import difference_steps
from PETSuperResLib.errors import PETSuperResError
from PETSuperResSlicer.mrml import compare, provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.panel.lesions import LesionsPanel
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import offer
from PETSuperResSlicer.worker.steps import Steps


class ResultPanel:
    """The buttons of the result section, for a result and its ``lesions``."""

    def __init__(self, ui: Any, logic: Any, status: Status, lesions: LesionsPanel) -> None:
        self.ui, self.logic, self.status, self.say, self.lesions = ui, logic, status, status.say, lesions
        self.params: Any = None
        self.steps = Steps()
        self.comparison = compare.Comparison()
        self.saving: Any = None  # the task that writes a DICOM series
        for name, slot in {
            "compareButton": self.on_compare,
            "plotButton": self.on_plot,
            "switchButton": self.on_switch,
            "dicomButton": self.on_save_dicom,
        }.items():
            getattr(ui, name).connect("clicked(bool)", slot)
        ui.resultSelector.addAttribute("vtkMRMLScalarVolumeNode", provenance.KIND, provenance.SUPER_RESOLVED)
        ui.resultSelector.connect("nodeActivated(vtkMRMLNode*)", self.on_chosen)

    def update(self, params: Any) -> None:
        """Follow the parameters."""
        self.params = params
        there = params is not None and params.result is not None
        lacking = "" if there else _("There is no result yet: press Apply.")
        for name in ("compareButton", "switchButton"):
            offer(getattr(self.ui, name), lacking)
        saving = self.saving is not None and self.saving.running
        offer(self.ui.dicomButton, lacking or (_("DICOM files are being written.") if saving else ""))
        pet = provenance.inputs_of(params.result)[0] if there else None
        if pet is not None and compare.layout_is_on():  # as in a scene that was saved so
            self.comparison.follow(pet, params.result)

    def tell(self) -> None:
        """Write the notes on the result of a scene that was opened to the log."""
        result = None if self.params is None else self.params.result
        notes = [] if result is None else provenance.report_of(result).get("warnings", [])
        if notes:
            self.say(_("'{name}', as saved in the scene:").format(name=result.GetName()), status=False)
        self.status.begin()
        for note in notes:
            self.status.note(note)

    def close(self) -> None:
        """The scene closes: stop running work except saving a series, which needs no scene."""
        self.steps.drop()
        self.comparison.end()

    def take(self, result: Any) -> None:
        """Show a new result over the CT, and the notes of the checks."""
        pet, ct = provenance.inputs_of(result)
        spread = result.GetNodeReference(provenance.SPREAD)
        if spread is not None:
            self.say(_("How far the samples differ: '{name}'.").format(name=spread.GetName()))
        self.say(_("Made '{name}'.").format(name=result.GetName()))
        if pet is None or ct is None:
            gone = _("{what} of this result was deleted meanwhile: load it again to compare.")
            self.say(gone.format(what=_("The PET") if pet is None else _("The CT")), error=True)
        self.show()
        for note in provenance.report_of(result).get("warnings", []):
            self.status.note(note)

    def on_chosen(self, node: Any) -> None:
        """The user chose an earlier result: show it."""
        self.params.result = node
        if node is not None:
            self.show()

    def show(self) -> None:
        """Show the result in the compare layout, where that is on, or over the CT."""
        if compare.layout_is_on():
            self.on_compare()
            return
        result = self.params.result
        ct = provenance.inputs_of(result)[1]
        slicer.util.setSliceViewerLayers(background=ct, foreground=result, foregroundOpacity=compare.OPACITY)

    def on_compare(self, *_unused: Any) -> None:
        """Side by side with the lesions' plot; the difference follows when it is computed."""
        result = self.params.result
        pet, ct = provenance.inputs_of(result)
        if pet is None:
            self.say(_("The PET of this result is no longer in the scene: load it again and press Apply."), error=True)
            return
        compare.show_compare_layout(pet, ct, result)
        compare.show_chart(self.lesions.chart())
        self.comparison.follow(pet, result)
        if result.GetNodeReference(provenance.DIFFERENCE) is not None:
            return
        try:
            images = mrml.voxels_of_node(result), mrml.voxels_of_node(pet)
        except PETSuperResError as error:
            self.say(str(error), error=True)
            return

        def done(volume: Any) -> None:
            if pet.GetScene() is not None and result.GetScene() is not None:
                compare.show_difference(compare.add_difference(volume, pet, result))

        difference = difference_steps(*(v.volume() for v in images))
        self.steps.run(difference, done, lambda error: self.say(str(error), error=True))

    def on_plot(self, *_unused: Any) -> None:
        """Show the lesions' plot, in the compare layout."""
        if compare.layout_is_on():
            compare.show_chart(self.lesions.chart())
        else:
            self.on_compare()

    def on_switch(self, *_unused: Any) -> None:
        """Exchange PET and result in the slice views."""
        result = None if self.params is None else self.params.result
        pet = None if result is None else provenance.inputs_of(result)[0]
        if pet is None:
            return
        shown = compare.switch(pet, result, result.GetScene())
        if not shown:
            self.show()
            shown = result.GetName()
        self.status.show(_("Shown: {name}").format(name=shown))

    def on_save_dicom(self, *_unused: Any) -> None:
        """Write the result as a DICOM series into a folder that the user chooses."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the DICOM series"), "")
        if folder:
            self.save_dicom(folder)

    def save_dicom(self, folder: str) -> None:
        """Write the series, and the lesions as measured, in the background; then show its folder or the error."""
        lacking = ""
        if self.lesions.recovering:
            lacking = _(" What is recovered of the lesions was not there yet: save again for a report with it.")

        def done(files: list[str]) -> None:
            self.update(self.params)
            self.say(_("Wrote {count} DICOM files to {folder}.").format(count=len(files), folder=folder) + lacking)

        def failed(error: Exception) -> None:
            self.update(self.params)
            kept = _("{error} The result is still in the scene.").format(error=error)
            self.say(kept, error=True, log=getattr(error, "log", ()))

        try:
            how = {"waitForCompletion": False, "onDone": done, "onError": failed, "lesions": self.lesions.measured}
            self.saving = self.logic.saveAsDicom(self.params.result, folder, **how)
        except PETSuperResError as error:
            self.say(str(error), error=True)
            return
        self.update(self.params)
        self.say(_("Writing DICOM files to {folder}...").format(folder=folder))
