"""The work of the module without its panel: for Slicer's Python console, scripts and the panel itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from PETSuperResSlicer.mrml.provenance import RESEARCH_USE as RESEARCH_USE

_SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if os.path.isdir(os.path.join(_SOURCE, "PETSuperResLib")) and _SOURCE not in sys.path:
    sys.path.append(_SOURCE)  # run from the source tree; an installed extension has the library beside this file

DEFAULT_PRESET = "Siemens Biograph mCT"


_Base = ScriptedLoadableModuleLogic  # by another name: Slicer takes "class FILE(ScriptedLoadableModule..." for a module


class PETSuperResLogic(_Base):
    """The work without the panel: use it from Slicer's Python console or a script.

    One PET, waiting for it::

        from PETSuperRes import PETSuperResLogic
        logic = PETSuperResLogic()
        pet, ct = slicer.util.getNode("PET"), slicer.util.getNode("CT")
        sr = logic.process(pet, ct, preset="Siemens Biograph mCT")
        table = logic.compareLesions(pet, sr, slicer.util.getNode("Segmentation"))

    In the background, Slicer staying usable::

        task = logic.process(pet, ct, waitForCompletion=False, onDone=lambda node: print(node.GetName()),
                             onError=print, progress=lambda event: print(f"{event.fraction:.0%}"))
        task.cancel()  # any time

    Every patient of a folder (PET_SUV.nii.gz, CT_HU.nii.gz and, if there is one, GTV.nii.gz in each)::

        import pathlib
        from PETSuperResSlicer.mrml.units import confirm
        for folder in sorted(pathlib.Path("/data/patients").iterdir()):
            slicer.mrmlScene.Clear()
            pet = slicer.util.loadVolume(str(folder / "PET_SUV.nii.gz"))
            confirm(pet)  # a NIfTI file does not say that its values are SUVbw
            ct = slicer.util.loadVolume(str(folder / "CT_HU.nii.gz"))
            sr = logic.process(pet, ct, preset="Siemens Biograph mCT", quality="standard")
            slicer.util.saveNode(sr, str(folder / "PET_SR.nii.gz"))
            if (folder / "GTV.nii.gz").is_file():
                lesions = slicer.util.loadLabelVolume(str(folder / "GTV.nii.gz"))
                table = logic.compareLesions(pet, sr, lesions)
                slicer.util.saveNode(table, str(folder / "lesions.csv"))

    ``runner`` (see worker/client.py) does the work of every job, in place of a worker process for those in the
    background and of this process for the others.
    """

    def __init__(self, runner: Any = None) -> None:
        _Base.__init__(self)
        self._injected = runner is not None
        self._runner = runner
        self._task: Any = None
        self._saving: Any = None

    @property
    def runner(self) -> Any:
        """The runner of background jobs, made at the first use."""
        if self._runner is None:
            from PETSuperResSlicer.worker.client import WorkerRunner

            self._runner = WorkerRunner()
        return self._runner

    def close(self) -> None:
        """End the worker processes and what they are doing; nobody is called back."""
        if self._saving is not None:
            self._saving.close()
        if self._task is not None:
            self._task.quiet, self._task.running = True, False
        if self._runner is not None:
            self._runner.close()

    def askDevices(self, onFacts: Callable[[dict[str, Any]], None]) -> None:
        """Ask a worker process for ``devices`` and ``versions``; ``onFacts`` gets its message (or an error)."""
        from PETSuperResSlicer.worker.turns import pollWhile

        answers: list[dict[str, Any]] = []

        def take(message: dict[str, Any]) -> None:
            answers.append(message)
            onFacts(message)

        self.runner.ping(take)
        pollWhile(lambda: not answers, self.runner.poll)

    def presetNames(self) -> list[str]:
        """Names of the bundled scanner presets."""
        from PETSuperResLib.scanner import presets

        return list(presets())

    def ensureDependencies(self) -> None:
        """Install what the backend lacks, after asking; torch through the PyTorch extension."""
        from PETSuperResSlicer.dependencies import ensureDependencies

        if ensureDependencies() and self._runner is not None:
            self._runner.close()  # a worker that started without them
            if not self._injected:
                self._runner = None

    def process(
        self,
        petNode: Any,
        ctNode: Any,
        preset: Any = DEFAULT_PRESET,
        quality: str = "standard",
        waitForCompletion: bool = True,
        samples: int = 1,
        seed: int = 0,
        device: str = "auto",
        region: Any = None,
        progress: Callable[[Any], None] | None = None,
        measurement: Any = None,
        prior: Any = None,
        onDone: Callable[[Any], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
        onPreview: Callable[[Any], None] | None = None,
    ) -> Any:
        """Super-resolve a PET volume node (SUVbw) with its CT; returns the new vtkMRMLScalarVolumeNode.

        ``preset`` is a scanner's name, JSON file or Scanner, ``quality`` draft, standard or paper,
        ``region`` as in :func:`PETSuperResLib.reconstruct` (LPS mm), ``measurement`` a simulated or given
        sinogram in place of the one made from the PET, and ``prior`` a file in place of the bundled one. The
        node enters the scene only on success, beside the PET in the subject hierarchy, shown with the PET's window
        and colours, marked as SUVbw and with its provenance as node attributes ``PETSuperRes.*``; with
        ``samples`` above 1 a second node holds their standard deviation (node reference
        ``PETSuperRes.StandardDeviation``). Raises the library's errors; ``progress`` gets
        :class:`PETSuperResLib.progress.Event` and may raise Cancelled.

        With ``waitForCompletion=False`` a process of its own does the work, and what returns at once is a
        :class:`PETSuperResSlicer.worker.task.Task`. On the main thread are called, in the end, ``onDone(node)`` or
        ``onError(exception)`` (also Cancelled), and before ``progress`` and ``onPreview(volume)`` with the
        estimate so far (a PETSuperResLib Volume).
        """
        from PETSuperResLib.errors import InputError
        from PETSuperResSlicer.mrml import volumes as mrml
        from PETSuperResSlicer.mrml.units import require_suv

        if petNode is None or ctNode is None:
            raise InputError(f"No {'PET' if petNode is None else 'CT'} volume is selected: choose one.")
        pet, ct = mrml.voxels_of_node(petNode, "SUVbw"), mrml.voxels_of_node(ctNode, "HU")
        require_suv(petNode)
        settings = {"quality": quality, "samples": samples, "seed": seed, "device": device, "region": region}
        settings |= {name: value for name, value in (("measurement", measurement), ("prior", prior)) if value}
        scene = petNode.GetScene() or slicer.mrmlScene

        def finish(volumes: dict[str, Any], report: dict[str, Any]) -> Any:
            nodes = (petNode, ctNode, scene)
            return self._addResult(nodes, volumes["sr"], volumes.get("std"), preset, settings, report)

        if waitForCompletion and not self._injected:
            from PETSuperResLib import reconstruct

            result = reconstruct(pet.volume(), ct.volume(), scanner=preset, progress=progress, **settings)
            node = finish({"sr": result.volume, **result.maps}, dict(result.report))
            if onDone is not None:
                onDone(node)
            return node
        from PETSuperResSlicer.worker.task import sendable

        job = {"pet": pet, "ct": ct, "preview": onPreview is not None, **sendable(preset, settings)}
        task = self._start(job, finish, progress, onDone, onError, onPreview)
        return task.wait() if waitForCompletion else task

    def startPhantom(
        self, finish: Callable[[dict[str, Any], dict[str, Any]], Any], progress: Callable[[Any], None] | None = None
    ) -> Any:
        """Have the worker generate the sample case; the task's result is what ``finish(volumes, report)`` returns."""
        return self._start({"type": "phantom"}, finish, progress, None, lambda _error: None)

    def _start(self, job: dict[str, Any], *callbacks: Any) -> Any:
        """Hand a job to the runner, when it has done with the one before."""
        from PETSuperResLib.errors import InputError
        from PETSuperResSlicer.worker.task import Task

        if self._task is not None and self._task.running:
            if not self._task.cancelled:
                raise InputError("A job is running already: cancel it or wait for it.")
            with suppress(Exception):
                self._task.wait()  # a second at most
        self._task = Task(self.runner, *callbacks)
        return self._task.start(job)

    def _addResult(
        self,
        nodes: tuple[Any, Any, Any],
        volume: Any,
        std: Any,
        preset: Any,
        settings: dict[str, Any],
        report: dict[str, Any],
    ) -> Any:
        """Put a finished result into the scene, with its units, provenance and place."""
        from PETSuperResSlicer.mrml import provenance
        from PETSuperResSlicer.mrml import volumes as mrml

        petNode, ctNode, scene = nodes
        asked = getattr(preset, "name", preset)
        scanner = report.get("scanner") or {"name": asked}
        name = f"{petNode.GetName()} SR ({scanner['name']})".replace("/", "-")  # saved under its name
        node = mrml.add_derived(volume, scene.GenerateUniqueName(name), provenance.SUPER_RESOLVED, petNode, scene)
        used = {name: settings[name] for name in ("quality", "samples", "seed")}
        provenance.record(node, petNode, ctNode, used, report)
        provenance.set_preset(node, str(asked))
        mrml.show_like(node, petNode)
        if settings["samples"] > 1 and std is not None:
            title = f"{node.GetName()} standard deviation"
            spread = mrml.add_derived(std, title, provenance.DEVIATION_IMAGE, petNode, scene)
            provenance.record(spread, petNode, ctNode, used, {"version": report.get("version", "")})
            mrml.show_spread(spread, std)
            node.SetNodeReferenceID(provenance.SPREAD, spread.GetID())
        return node

    def compareLesions(self, petNode: Any, srNode: Any, segmentationNode: Any, referenceNode: Any = None) -> Any:
        """Lesion SUVs in the PET and the super-resolved PET; returns a new vtkMRMLTableNode.

        One row per segment; SUVmax, SUVmean, SUVpeak, MTV and TLG in both and the change in per cent,
        and, with ``referenceNode``, in the reference. The same mask is measured on each image's own
        voxels. Raises :class:`InputError` for an empty segmentation and :class:`GeometryError` for a
        segment outside the PET.
        """
        from PETSuperResSlicer.mrml import volumes as mrml
        from PETSuperResSlicer.mrml.lesion_table import measure, new_table
        from PETSuperResSlicer.mrml.segments import masks_from_node

        nodes = {"PET": petNode, "SR": srNode} | ({} if referenceNode is None else {"reference": referenceNode})
        images = {title: mrml.volume_from_node(node) for title, node in nodes.items()}
        masks = masks_from_node(segmentationNode)
        return new_table(measure(list(images.items()), masks).columns, petNode)

    def saveAsDicom(
        self,
        srNode: Any,
        folder: Any,
        source: Any = None,
        waitForCompletion: bool = True,
        onDone: Callable[[list[str]], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> Any:
        """Write a result as a derived DICOM PET series into a new or empty ``folder``; returns the files.

        ``source`` is the folder of the PET series it was made from; it may be left out when that series is in
        Slicer's DICOM database. The SUVs are those of the node, the patient and the study those of the series.
        Raises the library's errors. With ``waitForCompletion=False`` a process of its own writes, also while a
        job runs; a task is returned, and ``onDone(files)`` or ``onError(exception)`` is called on the main thread.
        """
        from PETSuperResSlicer.mrml import dicom as dicom

        job = dicom.dicomJob(srNode, folder, source)
        if waitForCompletion:
            return dicom.write(job)
        if self._saving is None:
            self._saving = dicom.Saving()
        return self._saving.start(job, onDone, onError)
