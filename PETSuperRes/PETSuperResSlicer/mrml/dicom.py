"""A result as a derived DICOM series: what is written, in this process or by a worker of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import slicer

from PETSuperResSlicer.mrml import provenance


def dicomJob(srNode: Any, folder: Any, source: Any = None) -> dict[str, Any]:
    """Volume, source files, target and report of a result; raises :class:`InputError` where the series is unknown."""
    from PETSuperResLib.errors import InputError
    from PETSuperResSlicer.mrml import volumes as mrml

    volume = mrml.voxels_of_node(srNode)
    if source is None:
        database = getattr(slicer, "dicomDatabase", None)
        uids = provenance.source_instances(srNode)
        source = [database.fileForInstance(uid) for uid in uids] if database is not None else []
        if not source or not all(source):
            raise InputError(
                "The DICOM series of the PET is not in Slicer's DICOM database: import it and load the PET from "
                "there, or name the series' folder."
            )
    else:
        source = os.fspath(source)
    out = os.path.abspath(os.fspath(folder))
    return {"volume": volume, "source": source, "out": out, "report": provenance.report_of(srNode)}


def write(job: dict[str, Any]) -> list[str]:
    """Write a job's series in this process, which waits; returns the files."""
    from PETSuperResLib.dicom.write import write_derived

    return [str(file) for file in write_derived(job["volume"].volume(), job["source"], job["out"], job["report"])]


class Saving:
    """One series at a time, written by a worker that ends with it: in this process its garbage would halt the GUI."""

    def __init__(self) -> None:
        self._runner: Any = None
        self._task: Any = None

    def start(
        self,
        job: dict[str, Any],
        onDone: Callable[[list[str]], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> Any:
        """Begin; returns the task. Raises :class:`InputError` while another series is written."""
        from PETSuperResLib.errors import InputError
        from PETSuperResSlicer.worker.client import WorkerRunner
        from PETSuperResSlicer.worker.task import Task

        if self._task is not None and self._task.running:
            raise InputError("A DICOM series is being written: wait for it.")
        self._runner = runner = WorkerRunner()

        def done(files: list[str]) -> None:
            runner.close()
            if onDone is not None:
                onDone(files)

        def failed(error: Exception) -> None:
            runner.close()
            if onError is not None:
                onError(error)

        self._task = Task(runner, lambda _volumes, report: report["files"], onDone=done, onError=failed)
        return self._task.start({"type": "dicom", **job})

    def close(self) -> None:
        """Stop, within a second, and call nobody; what was written of a series is removed."""
        if self._task is not None and self._task.running:
            self._task.close()
            with suppress(Exception):
                self._task.wait()
            self._runner.close()
