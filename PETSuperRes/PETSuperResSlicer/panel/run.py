"""The button Apply and the running job: progress, remaining time, live preview, cancel. The work is the logic's."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from PETSuperResLib.errors import Cancelled, InputError, PETSuperResError
from PETSuperResLib.prior.card import card
from PETSuperResSlicer.mrml import inputs
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.changes import Changes
from PETSuperResSlicer.mrml.compare import OPACITY
from PETSuperResSlicer.mrml.units import recognise, require_suv
from PETSuperResSlicer.panel.status import Status


class RunPanel:
    """Runs one job at a time through ``logic``; ``done(node)`` gets the result."""

    def __init__(self, ui: Any, logic: Any, status: Status, done: Callable[[Any], None]) -> None:
        self.ui, self.logic, self.status, self.say, self.done = ui, logic, status, status.say, done
        self.params: Any = None
        self.task: Any = None
        self.preview: Any = None
        self._lacking = ""  # what must be chosen first
        self._layers = Changes()
        ui.progressBar.setVisible(False)
        ui.applyButton.connect("clicked(bool)", self.on_apply)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self.task is not None

    def update(self, params: Any, units: Any) -> None:
        """Follow the parameters; ``units`` is the recognised unit of the PET."""
        self.params = params
        self._lacking = _("Choose a PET.") if params is None else inputs.obstacle(params, units)
        self._update_button()

    def _update_button(self) -> None:
        """Apply is Cancel while a job runs; before, the line under it names what is missing."""
        lacking = "" if self.running else self._lacking
        self.ui.applyButton.setEnabled(not lacking)
        self.ui.applyButton.setText(_("Cancel") if self.running else _("Apply"))
        self.ui.applyButton.setToolTip(lacking or (_("Stop the job") if self.running else _("Super-resolve the PET")))
        self.status.hint(lacking)

    def on_apply(self, *_unused: Any) -> None:
        """Start a job, or cancel the running one."""
        if self.running:
            self.status.show(_("Cancelling..."))
            self.task.cancel()
            return
        self.say(_("Starting..."))
        self.status.begin()
        slicer.app.processEvents()  # the next steps may install packages, after a question
        try:
            self._start(self.params)
        except Exception as error:
            self._failed(error)
        self._update_button()

    def _start(self, params: Any) -> None:
        """Raises the library's errors for inputs that cannot be used."""
        from PETSuperResSlicer.panel.parameters import options_of, scanner_of

        obstacle = inputs.obstacle(params, recognise(params.pet))
        if obstacle:
            raise InputError(obstacle)
        region = inputs.region_of(params.region)
        self.logic.ensureDependencies()
        require_suv(params.pet)
        card(params.prior)
        pet, ct = params.pet, params.ct
        self.ui.progressBar.setValue(0)
        self.ui.progressBar.setVisible(True)
        self.task = self.logic.process(
            pet,
            ct,
            preset=scanner_of(params),
            waitForCompletion=False,
            region=region,
            progress=self.show_progress,
            onDone=self._take,
            onError=self._failed,
            onPreview=lambda volume: self.show_preview(volume, pet, ct),
            **options_of(params),
        )

    def close(self) -> None:
        """Stop silently: the scene or the module closes."""
        task, self.task = self.task, None
        if task is not None:
            task.close()
        self._end()

    def show_progress(self, event: Any) -> None:
        """Show a step of the job and the time left; what the inputs gave cause to warn about goes to the log."""
        for note in event.warnings:
            self.status.note(note)
        self.ui.progressBar.setValue(round(100 * event.fraction))
        self.ui.statusLabel.setText(progress_text(event))

    def show_preview(self, volume: Any, pet: Any, ct: Any) -> None:
        """Show the current estimate over the CT; the node is removed when the job ends."""
        if self.task is None:
            return
        if self.preview is not None and self.preview.GetScene() is not None:
            mrml.set_voxels(self.preview, volume, share=True)
            return
        scene = pet.GetScene()
        self.preview = mrml.node_from_volume(volume, f"{pet.GetName()} (preview)", share=True)
        self.preview.SetSaveWithScene(False)
        self.preview.SetHideFromEditors(True)
        mrml.add_node(self.preview, scene, mrml.WINDOW)
        mrml.show_like(self.preview, pet)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
            self._layers.set(composite, "BackgroundVolumeID", ct.GetID() if ct.GetScene() is not None else None)
            self._layers.set(composite, "ForegroundVolumeID", self.preview.GetID())
            self._layers.set(composite, "ForegroundOpacity", OPACITY)

    def _take(self, node: Any) -> None:
        self._end()
        self.params.result = node
        self.done(node)
        self._update_button()

    def _failed(self, error: Exception) -> None:
        """A job could not start, or has ended without a result: show reason and remedy."""
        self._end()
        if isinstance(error, PETSuperResError):
            self.say(str(error), error=not isinstance(error, Cancelled), log=getattr(error, "log", ()))
        else:
            logging.error("PETSuperRes", exc_info=error)
            text = _("Unexpected {kind} ({error}): please report it with the text of the Log section.")
            lines = "".join(traceback.format_exception(error)).splitlines()
            self.say(text.format(kind=type(error).__name__, error=error), error=True, log=lines)
        self._update_button()

    def _end(self) -> None:
        """Leave nothing of the job behind but its result."""
        self.task = None
        self.ui.progressBar.setVisible(False)
        self._layers.undo()
        if self.preview is not None:
            mrml.remove_volume(self.preview)
        self.preview = None


def progress_text(event: Any) -> str:
    """``slices 1-64 of 120, step 2 of 8, 3 min 20 s left``."""
    parts = [part for part in (event.stage, event.message) if part]
    if event.remaining_s is not None:
        parts.append(_("{time} left").format(time=duration(event.remaining_s)))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time in words: ``40 s``, ``3 min 20 s``, ``1 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
