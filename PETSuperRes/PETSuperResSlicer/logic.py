"""The work of the module without its panel: for Slicer's Python console, scripts and the panel itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from PETSuperResLib.errors import InputError
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml.provenance import RESEARCH_USE as RESEARCH_USE

GRACE_S = 2.0  # at the end, for a process to remove unfinished files
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
            confirm(pet)  # its values are SUVbw, which a NIfTI file does not record
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
        self._petct: Any = None  # display of PET and CT
        self._apart: list[Any] = []  # tasks in processes of their own
        self._recovery: Any = None
        self._sinograms: dict[Any, Any] = {}  # measurements that results were made from, by their nodes

    @property
    def runner(self) -> Any:
        """The runner of background jobs, made at the first use."""
        if self._runner is None:
            from PETSuperResSlicer.worker.client import WorkerClient

            self._runner = WorkerClient()
        return self._runner

    def close(self) -> None:
        """End the worker processes and what they are doing; nothing is called back."""
        for task in [*self._apart, *filter(None, [self._task])]:
            task.quiet, task.running = True, False
        for task in self._apart:
            task.runner.close(grace_s=GRACE_S)
        if self._runner is not None:
            self._runner.close()
        if self._recovery is not None:
            self._recovery.close()

    def askDevices(self, onFacts: Callable[[dict[str, Any]], None]) -> None:
        """Get ``devices`` and ``versions`` from a worker process; ``onFacts`` gets its message (or an error)."""
        self.runner.ping(onFacts)

    def ensureDependencies(self) -> None:
        """Install missing packages of the backend, after a question; torch by the PyTorch extension."""
        from PETSuperResSlicer.dependencies import ensure_dependencies

        if ensure_dependencies() and self._runner is not None:
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
        *,
        progress: Callable[[Any], None] | None = None,
        onDone: Callable[[Any], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
        onPreview: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """Super-resolve a PET volume node (SUVbw) with its CT; returns the new vtkMRMLScalarVolumeNode.

        ``preset`` is a scanner's name, JSON file or Scanner, ``quality`` draft, standard or paper, and ``options`` are
        the other fields of :class:`PETSuperResLib.request.Request`: ``samples``, ``seed``, ``device``, ``region`` (LPS
        mm), ``prior`` (a file in place of the bundled one), ``measurement`` (a simulated or given sinogram in place of
        the one made from the PET), ``spacing``, ``noise``, ``fwhm``, ``post_filter`` and ``psf_modelled`` (in
        place of the DICOM header's; with ``fwhm`` the preset may be None). The node enters the scene only on success,
        beside the PET in the subject hierarchy, shown with the PET's window and colours, marked as SUVbw and with its
        provenance as node attributes ``PETSuperRes.*``; with ``samples`` above 1 a second node holds their spread (node
        reference ``PETSuperRes.StandardDeviation``), with ``evidence`` three more hold the evidence of its blobs and
        the residual, in sigma, and the effect of the CT in SUV (``PETSuperRes.Evidence``, ``PETSuperRes.Residual``,
        ``PETSuperRes.CTEffect``). Raises the library's errors; ``progress`` gets
        :class:`PETSuperResLib.progress.Event` and may raise Cancelled.

        With ``waitForCompletion=False`` a process of its own does the work, and what returns at once is a
        :class:`PETSuperResSlicer.worker.task.Task`. On the main thread are called, in the end, ``onDone(node)`` or
        ``onError(exception)`` (also Cancelled), and before ``progress`` and ``onPreview(volume)`` with the
        estimate so far (a PETSuperResLib Volume).
        """
        from PETSuperResLib.request import Request
        from PETSuperResSlicer.mrml import volumes as mrml
        from PETSuperResSlicer.mrml.inputs import header_of
        from PETSuperResSlicer.mrml.results import add_result
        from PETSuperResSlicer.mrml.units import require_suv

        if petNode is None or ctNode is None:
            raise InputError(f"No {'PET' if petNode is None else 'CT'} volume is selected: choose one.")
        pet, ct = mrml.voxels_of_node(petNode, "SUVbw"), mrml.voxels_of_node(ctNode, "HU")
        require_suv(petNode)
        pet = replace(pet, metadata={**header_of(petNode), **pet.metadata})
        scanner = None if options.get("measurement") else preset  # a measurement holds its own
        request = Request(pet, ct, scanner, quality, **options)
        scene, checksum = petNode.GetScene() or slicer.mrmlScene, mrml.voxel_sum(petNode)

        def finish(volumes: dict[str, Any], report: dict[str, Any]) -> Any:
            node = add_result((petNode, ctNode, scene), volumes, request, report)
            provenance.set_voxels_of_pet(node, checksum)
            self._sinograms = {known: one for known, one in self._sinograms.items() if known.GetScene() is not None}
            if request.measurement is not None:
                self._sinograms[node] = request.measurement
            return node

        if waitForCompletion and not self._injected:
            try:
                from PETSuperResLib import reconstruct
            except ModuleNotFoundError as error:
                told = f"The Python package '{error.name}' is missing: call ensureDependencies() of this logic first."
                raise InputError(told) from error
            result = reconstruct(pet.volume(), ct.volume(), scanner, quality, progress=progress, **options)
            node = finish({"sr": result.volume, **result.maps}, dict(result.report))
            if onDone is not None:
                onDone(node)
            return node
        from PETSuperResSlicer.worker.task import job_of

        job = {"preview": onPreview is not None, **job_of(request)}
        task = self._start(job, finish, progress, onDone, onError, onPreview)
        return task.wait() if waitForCompletion else task

    def startPhantom(
        self, finish: Callable[[dict[str, Any], dict[str, Any]], Any], progress: Callable[[Any], None] | None = None
    ) -> Any:
        """Generate the demo case in the worker; the task's result is what ``finish(volumes, report)`` returns."""
        return self._start({"type": "phantom"}, finish, progress, None, lambda _error: None)

    def _start(self, job: dict[str, Any], *callbacks: Any) -> Any:
        """Hand a job to the runner, once the one before has ended."""
        from PETSuperResSlicer.worker.task import Task

        if self._task is not None and self._task.running:
            if not self._task.cancelled:
                raise InputError("A job is running already: cancel it or wait for it.")
            with suppress(Exception):
                self._task.wait()  # a second at most
        self._task = Task(self.runner, *callbacks).start(job)
        return self._task

    def compareLesions(self, petNode: Any, srNode: Any, segmentationNode: Any, referenceNode: Any = None) -> Any:
        """Lesion SUVs in the PET and the super-resolved PET; returns a new vtkMRMLTableNode.

        One row per segment, with the columns of ``lesions_wide.csv``: SUVmax, SUVmean, SUVpeak, MTV and TLG in the PET
        (``pet_suvmax``), in the PET on the result's grid (``pet_on_grid_suvmax``) and in the result (``sr_suvmax``),
        the change in per cent, and, with ``referenceNode``, in the reference. The same mask is measured on each image's
        own voxels. Where the result's data are at hand, what is recovered from them stands beside it, with intervals
        and evidence. Raises :class:`InputError` for an empty segmentation and :class:`GeometryError` for a segment
        outside the PET.
        """
        from PETSuperResLib.progress import at_once
        from PETSuperResSlicer.mrml.lesion_table import measure, new_table

        measured = at_once(measure(petNode, srNode, segmentationNode, reference=referenceNode))
        return new_table(self._with_recovered(srNode, measured), petNode)

    def measureLesions(self, petNode: Any, segmentationNode: Any, threshold: float | str = 2.5, **stated: Any) -> Any:
        """Lesion SUVs in a PET (SUVbw) without a result, and what is recovered from it alone; a new vtkMRMLTableNode.

        One row per segment, with the columns of ``lesions.csv`` that have a value. ``stated`` may be ``scanner``,
        ``fwhm``, ``post_filter``, ``psf_modelled`` and ``noise``, in place of the header's and of what is measured.
        Raises :class:`InputError` for an empty segmentation, and where the PET's resolution is not known.
        """
        from PETSuperResSlicer.mrml.recovered import table_of_pet
        from PETSuperResSlicer.mrml.units import require_suv

        if petNode is None:
            raise InputError("No PET volume is selected: choose one.")
        require_suv(petNode)
        return table_of_pet(petNode, segmentationNode, threshold, stated)

    def recoverLesions(
        self,
        srNode: Any,
        measured: Any,
        onDone: Callable[[Any], None],
        onError: Callable[[Exception], None],
    ) -> None:
        """Recover the SUVs of ``measured`` lesions (:mod:`PETSuperResSlicer.mrml.lesion_table`) from a result's data.

        A process of its own does it; ``onDone`` gets them with what was recovered, from the event loop, unless another
        call came meanwhile. Raises :class:`InputError` where the data are not at hand.
        """
        from PETSuperResSlicer.worker.recovery import Recovery

        data = self._data_of(srNode)
        if self._recovery is None:
            self._recovery = Recovery()
        self._recovery.start(
            srNode,
            data,
            measured.segments,
            measured.threshold,
            lambda lesions: onDone(measured.recovered(lesions)),
            onError,
        )

    def dropRecovery(self) -> None:
        """Forget what :meth:`recoverLesions` was asked."""
        if self._recovery is not None:
            self._recovery.drop()

    def _data_of(self, srNode: Any) -> dict[str, Any]:
        """What the lesions of a result are recovered from; raises :class:`InputError` where that is not at hand."""
        from PETSuperResSlicer.mrml.volumes import require_unchanged

        data = provenance.data_of(srNode, self._sinograms.get(srNode))
        if "pet" in data:
            require_unchanged(srNode, data["pet"])
        return data

    def _with_recovered(self, srNode: Any, measured: Any) -> Any:
        """Measured lesions with what is recovered of them in this process, as they are where the data are lacking."""
        from PETSuperResSlicer.mrml.recovered import recovered

        try:
            data = self._data_of(srNode)
        except InputError:
            return measured
        return measured.recovered(recovered(srNode, data, measured.segments, measured.threshold))

    def showPETCT(
        self,
        petNode: Any,
        ctNode: Any,
        srNode: Any = None,
        ctWindow: str = "soft tissue",
        suv: float = 6.0,
        opacity: float = 0.5,
    ) -> Any:
        """Show a PET (SUVbw), or its super-resolved one, over the CT in the slice views, and its MIP in the 3D views.

        ``ctWindow`` is "soft tissue", "lung", "bone" or "brain", ``suv`` the upper end of the PET's window from 0,
        ``opacity`` that of the PET over the CT. Segments become outlines. Returns the
        :class:`PETSuperResSlicer.mrml.petct.PetCt`, whose ``end()`` puts the views back.
        """
        from PETSuperResSlicer.mrml.petct import CT_WINDOWS, PetCt
        from PETSuperResSlicer.mrml.units import require_suv

        if petNode is None or ctNode is None:
            raise InputError(f"No {'PET' if petNode is None else 'CT'} volume is selected: choose one.")
        if ctWindow not in CT_WINDOWS:
            raise InputError(f"There is no CT window '{ctWindow}': give one of {', '.join(CT_WINDOWS)}.")
        require_suv(petNode)
        if self._petct is None:
            self._petct = PetCt()
        self._petct.show(ctNode, [node for node in (petNode, srNode) if node is not None], ctWindow, suv, opacity)
        return self._petct

    def compareStudies(
        self,
        studies: Sequence[Any],
        waitForCompletion: bool = True,
        *,
        threshold: float | str = 2.5,
        progress: Callable[[Any], None] | None = None,
        onDone: Callable[[Any], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> Any:
        """Lesions of two or more studies of a patient over time (docs/followup.md); returns a vtkMRMLTableNode.

        ``studies``, in the order of time, are (PET or result, segmentation) or (PET, segmentation, CT); a result brings
        its PET and CT, and without a segmentation no lesion is left. The CTs are registered in a process of its own,
        the lesions paired and measured with MTV and TLG from ``threshold`` on. The table has a row per lesion, study
        and image, with the columns of ``followup.csv``; its attribute ``PETSuperRes.followUp`` is the report (JSON),
        registered CTs and the liver and blood pool references are nodes of the scene. Raises the library's errors.
        With ``waitForCompletion=False`` a task is returned, and ``onDone(table)`` or ``onError(exception)`` is called.
        """
        from PETSuperResLib.progress import at_once
        from PETSuperResSlicer.mrml import followup

        found = [followup.study_of(*study) for study in studies]
        job = at_once(followup.job_steps(found, threshold))
        scene = found[0].pet.GetScene() or slicer.mrmlScene
        table = followup.new_table(scene)
        followup.set_studies(table, found)

        def failed(error: Exception) -> None:
            scene.RemoveNode(table)
            if onError is not None:
                onError(error)

        task = self.startComparison(table, job, progress, onDone, failed)
        return task.wait() if waitForCompletion else task

    def startComparison(self, table: Any, job: dict[str, Any], *callbacks: Any) -> Any:
        """Start the ``job`` of a follow-up's table (:mod:`PETSuperResSlicer.mrml.followup`); returns the task."""
        from PETSuperResSlicer.mrml import followup, references

        def finish(volumes: dict[str, Any], report: dict[str, Any]) -> Any:
            if table.GetScene() is None:
                raise InputError("The table of this follow-up was deleted meanwhile: compare again.")
            followup.take(table, volumes, report)
            references.place(table, followup.studies_of(table), report["references"])
            return table

        return self._start(job, finish, *callbacks)

    def sphere(self, volumeNode: Any, centre: Any, diameter: float = 12.4) -> Any:
        """SUVs of a sphere in a volume: a :class:`PETSuperResLib.lesions.sphere.SphereFigures`.

        ``centre`` is in RAS mm, as of a control point; ``diameter`` in mm (12.4: 1 mL). Each voxel counts with its part
        inside. Raises :class:`GeometryError` for a sphere outside the volume.
        """
        from PETSuperResLib.errors import GeometryError
        from PETSuperResSlicer.mrml.spheres import figures

        found = figures(volumeNode, tuple(centre), diameter)
        if found is None:
            raise GeometryError(f"The sphere lies outside '{volumeNode.GetName()}': give a centre in it (RAS mm).")
        return found

    def saveAsDicom(
        self,
        srNode: Any,
        folder: Any,
        source: Any = None,
        waitForCompletion: bool = True,
        onDone: Callable[[list[str]], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
        lesions: Any = None,
    ) -> Any:
        """Write a result as a derived DICOM PET series into a new or empty ``folder``; returns the files.

        ``source`` is the folder of the PET series it was made from; it may be left out when that series is in
        Slicer's DICOM database. The SUVs are those of the node, the patient and the study those of the series.
        ``lesions`` are written beside it, as DICOM SEG and as a structured report of their SUVs: a segmentation, which
        is measured in the result and its PET, or what :func:`PETSuperResSlicer.mrml.lesion_table.measure` gave.
        Raises the library's errors. With ``waitForCompletion=False`` a process of its own writes, also while a
        job runs; a task is returned, and ``onDone(files)`` or ``onError(exception)`` is called on the main thread.
        """
        from PETSuperResSlicer.mrml.volumes import voxels_of_node

        volume, report = voxels_of_node(srNode), provenance.report_of(srNode)
        source = provenance.source_files(srNode) if source is None else os.fspath(source)
        out = os.path.abspath(os.fspath(folder))
        measured = self._measured(srNode, lesions) if hasattr(lesions, "GetName") else lesions
        segments, rows = ((), []) if measured is None else (measured.segments, measured.rows())
        if measured is not None:
            report["threshold"] = measured.threshold
        if waitForCompletion:
            from PETSuperResLib.dicom.write import write_derived
            from PETSuperResLib.lesions.dicom_report import beside

            objects = beside(segments, rows, report)
            return [str(file) for file in write_derived(volume.volume(), source, out, report, beside=objects)]
        drawn = {"masks": [s.mask for s in segments], "names": [s.name for s in segments], "rows": rows}
        job = {"volume": volume, "source": source, "out": out, "report": report, **(drawn if segments else {})}
        return self._start_apart({"type": "dicom", **job}, lambda _volumes, report: report["files"], onDone, onError)

    def _measured(self, srNode: Any, segmentationNode: Any) -> Any:
        """The lesions of a segmentation in a result and its PET."""
        from PETSuperResLib.progress import at_once
        from PETSuperResSlicer.mrml.lesion_table import measure

        pet = provenance.inputs_of(srNode)[0]
        if pet is None:
            raise InputError("The PET of this result is no longer in the scene: load it, or leave the lesions out.")
        return self._with_recovered(srNode, at_once(measure(pet, srNode, segmentationNode)))

    def suvFromDicom(
        self,
        petNode: Any,
        stated: Any,
        onDone: Callable[[Any], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> Any:
        """Read the DICOM series of a PET node as SUVbw in a process of its own; returns the task.

        ``onDone`` gets the volume. What is ``stated`` (:class:`PETSuperResLib.suv.stated.Stated`) replaces the
        header's. Raises nothing: ``onError`` gets the :class:`UnitsError` that names what is missing, and
        :class:`InputError` when the series no longer has the node's shape.
        """
        from PETSuperResSlicer.mrml import units

        return self._start_apart(*units.suv_job(petNode, stated), onDone, onError)

    def _start_apart(self, job: dict[str, Any], finish: Any, onDone: Any = None, onError: Any = None) -> Any:
        """Run a job in a process that ends with it, also while another job runs."""
        from PETSuperResSlicer.worker.client import WorkerClient
        from PETSuperResSlicer.worker.task import Task

        client = WorkerClient()
        self._apart = [task for task in self._apart if task.running]
        task = Task(client, finish, onDone=onDone, onError=onError, ended=client.close).start(job)
        self._apart.append(task)
        return task
