"""A running job in the panel: progress, remaining time, live preview, cancel. The work is the logic's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from PETSuperResSlicer.mrml import inputs as inputs
from PETSuperResSlicer.mrml.compare import OPACITY


class JobPanel:
    """Runs one job at a time through ``logic``; ``finished(node)`` gets the result, ``failed(error)`` the reason."""

    def __init__(
        self, ui: Any, logic: Any, finished: Callable[[Any], None], failed: Callable[[Exception], None]
    ) -> None:
        self.ui, self.logic, self.finished, self.failed = ui, logic, finished, failed
        self.job: Any = None
        self.preview: Any = None
        self._pet: Any = None
        self._ct: Any = None
        self._layers: list[tuple[Any, Any, Any, float]] = []
        ui.progressBar.setVisible(False)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self.job is not None

    def start(self, params: Any) -> None:
        """Check the inputs and start; raises the library's errors for inputs that cannot be used."""
        from PETSuperResLib.errors import InputError
        from PETSuperResSlicer.mrml.units import recognise, require_suv
        from PETSuperResSlicer.panel.parameters import options_of, scannerOf

        obstacle = inputs.obstacle(params, recognise(params.pet))
        if obstacle:
            raise InputError(obstacle)
        region = inputs.region_of(params.region)
        self.logic.ensureDependencies()
        require_suv(params.pet)
        inputs.prior_card(params.prior)
        self._pet, self._ct = params.pet, params.ct
        self.ui.progressBar.setValue(0)
        self.ui.progressBar.setVisible(True)
        try:
            self.job = self.logic.process(
                params.pet,
                params.ct,
                preset=scannerOf(params),
                waitForCompletion=False,
                region=region,
                progress=self.onProgress,
                onDone=self._onDone,
                onError=self._onError,
                onPreview=self.onPreview,
                **options_of(params),
            )
        except Exception:
            self._end()
            raise

    def cancel(self) -> None:
        """Ask the job to stop; :meth:`failed` is told when it has."""
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """Stop without telling anybody: the scene or the module goes."""
        job, self.job = self.job, None
        if job is not None:
            job.close()
        self._end()

    def onProgress(self, event: Any) -> None:
        """Show a step of the job and the time left."""
        self.ui.progressBar.setValue(round(100 * event.fraction))
        self.ui.statusLabel.setText(progressText(event))

    def onPreview(self, volume: Any) -> None:
        """Show the current estimate over the CT; the node goes when the job ends."""
        from PETSuperResSlicer.mrml import volumes as mrml

        if self.job is None:
            return
        if self.preview is not None and self.preview.GetScene() is not None:
            mrml.set_voxels(self.preview, volume, share=True)
            return
        scene = self._pet.GetScene()
        self.preview = mrml.node_from_volume(volume, f"{self._pet.GetName()} (preview)", share=True)
        self.preview.SetSaveWithScene(False)
        self.preview.SetHideFromEditors(True)
        mrml.add_node(self.preview, scene, mrml.WINDOW)
        mrml.show_like(self.preview, self._pet)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
            before = (composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID())
            self._layers.append((composite, *before, composite.GetForegroundOpacity()))
            composite.SetBackgroundVolumeID(self._ct.GetID() if self._ct.GetScene() is not None else None)
            composite.SetForegroundVolumeID(self.preview.GetID())
            composite.SetForegroundOpacity(OPACITY)

    def _onDone(self, node: Any) -> None:
        self._end()
        self.finished(node)

    def _onError(self, error: Exception) -> None:
        self._end()
        self.failed(error)

    def _end(self) -> None:
        """Leave nothing of the job behind but its result."""
        from PETSuperResSlicer.mrml import volumes as mrml

        self.job = None
        self.ui.progressBar.setVisible(False)
        for composite, foreground, background, opacity in self._layers:
            if composite.GetScene() is not None:
                composite.SetForegroundVolumeID(foreground)
                composite.SetBackgroundVolumeID(background)
                composite.SetForegroundOpacity(opacity)
        self._layers = []
        if self.preview is not None:
            mrml.remove_volume(self.preview)
        self.preview = None


def progressText(event: Any) -> str:
    """``slices 1-64 of 120, step 2 of 8, 3 min 20 s left``."""
    parts = [part for part in (event.stage, event.message) if part]
    if event.remaining_s is not None:
        parts.append(_("{time} left").format(time=duration(event.remaining_s)))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time as a person says it: ``40 s``, ``3 min 20 s``, ``1 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
