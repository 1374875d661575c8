"""Runs the backend in a process of its own, so that nothing that happens there can freeze or end Slicer.

The process is ``python -m PETSuperResLib.worker`` (see there for the messages). It is kept between jobs and
ends with its client. Everything here happens on the main thread: Qt's signals bring the messages, and volumes are
written and read in steps.
"""

from __future__ import annotations

import itertools
import tempfile
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import qt

from PETSuperResLib.errors import PETSuperResError, WorkerError
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.protocol import FINAL
from PETSuperResLib.worker.raw_arrays import read_steps, without_private_folder, write_steps
from PETSuperResSlicer.worker.process import Process, find_python
from PETSuperResSlicer.worker.steps import Steps

PATIENCE_S = 0.7  # a worker that has not answered a cancel by then is killed
STARTUP_S = 180.0  # until a new worker must be ready
TAIL = 40  # lines of the worker's standard error that go with an unexpected error

OnEvent = Callable[[dict[str, Any]], None]


class _Sent:
    """One job under way."""

    def __init__(self, name: str, on_event: OnEvent, parent: str | None) -> None:
        self.name, self.on_event = name, on_event
        self.folder = tempfile.TemporaryDirectory(prefix="petsuperres-", dir=parent, ignore_cleanup_errors=True)
        self.sent = self.cancelled = False


class WorkerClient:
    """Runs jobs, one at a time, in a worker process that stays alive between them.

    ``folder`` is where the private folders are made (the system's place for temporary files) and ``command`` starts
    another worker. A job may hold :class:`PETSuperResLib.volume.Volume` and
    :class:`PETSuperResSlicer.mrml.volumes.Voxels` objects and lists of them; they go by uncompressed files. The events
    are the worker's messages, a ``preview`` with its ``volume`` and a ``result`` with its ``volumes`` (``sr`` and, with
    several samples, ``std``; of a phantom ``pet``, ``ct`` and ``labels``); each job ends with exactly one of
    ``result``, ``error`` (with ``log``, lines, where it was unexpected) and ``cancelled``.
    """

    def __init__(self, folder: Any = None, command: list[str] | None = None) -> None:
        self.folder, self.command = None if folder is None else str(folder), command
        self.process: Process | None = None
        self._job: _Sent | None = None
        self._pings: dict[str, OnEvent] = {}
        self._numbers = itertools.count(1)
        self._steps = Steps()
        self._deadline = qt.QTimer()  # by which the worker must have answered
        self._deadline.setSingleShot(True)
        self._deadline.connect("timeout()", self._overdue)

    @property
    def running(self) -> bool:
        """Whether a job has not ended yet."""
        return self._job is not None

    def start(self, job: dict[str, Any], on_event: OnEvent) -> None:
        """Begin a job: fields of a worker's job (``PETSuperResLib.worker.jobs``), volumes in place of files.

        Returns at once; the events come from the event loop. Raises :class:`WorkerError` without a process and OSError
        without a folder.
        """
        assert self._job is None  # the logic starts one at a time
        self._start_process()
        current = self._job = _Sent(f"job-{next(self._numbers)}", on_event, self.folder)
        self._steps.run(write_inputs(job, Path(current.folder.name)), self._send, self._failed)

    def ping(self, on_event: OnEvent) -> None:
        """Get versions and devices of the worker, which is started if need be."""
        try:
            process = self._start_process()
        except WorkerError as error:
            on_event({"type": "error", "message": str(error)})
            return
        name = f"ping-{next(self._numbers)}"
        self._pings[name] = on_event
        process.send("ping", name)

    def cancel(self) -> None:
        """Stop the job, which ends with ``cancelled`` within a second; a worker that does not answer is killed."""
        job = self._job
        if job is None or job.cancelled:
            return
        job.cancelled = True
        if job.sent and self.process is not None:
            self.process.send("cancel", job.name)
        self._deadline.start(round(1000 * PATIENCE_S) if job.sent else 0)

    def close(self, grace_s: float = 0.0) -> None:
        """End the worker and remove the private folder; no event comes afterwards.

        A worker that runs a job has ``grace_s`` to remove unfinished files.
        """
        job, self._job = self._job, None
        self._pings.clear()
        self._end_process(grace_s if job is not None else 0.0)
        if job is not None:
            job.folder.cleanup()

    def _start_process(self) -> Process:
        if self.process is None:
            command = self.command or [find_python(), "-m", "PETSuperResLib.worker", "--with-client"]
            self.process = Process(command, self._take, self._lost)
        if not self.process.ready:
            self._deadline.start(round(1000 * STARTUP_S))
        return self.process

    def _end_process(self, grace_s: float = 0.0) -> None:
        self._steps.drop()
        self._deadline.stop()
        process, self.process = self.process, None
        if process is not None:
            process.end(grace_s)

    def _send(self, message: dict[str, Any]) -> None:
        """The inputs are written."""
        assert self._job is not None and self.process is not None
        self._job.sent = True
        self.process.send(message.pop("type"), self._job.name, **message)

    def _take(self, message: dict[str, Any]) -> None:
        job, kind, name = self._job, message["type"], message.get("id")
        if kind == "ready":
            if job is None or not job.cancelled:
                self._deadline.stop()
        elif name in self._pings:
            self._pings.pop(name)(message)
        elif job is not None and name == job.name:
            self._deliver(job, message)
        elif job is not None and kind == "error" and name is None:
            self._lost(f"The backend process did not understand the job ({message.get('message')}): restart Slicer.")

    def _deliver(self, job: _Sent, message: dict[str, Any]) -> None:
        kind = message["type"]
        if job.cancelled or kind == "error" or kind == "cancelled":
            if kind in FINAL:
                self._finish(message)
        elif kind == "preview":
            self._steps.run(
                read_steps(message["file"]),
                lambda volume: job.on_event({**message, "volume": volume}),
                lambda _error: None,  # the worker has removed it meanwhile
            )
        elif kind == "result":
            read = read_outputs(message.get("files") or {})
            self._steps.run(read, lambda volumes: self._finish({**message, "volumes": volumes}), self._failed)
        else:
            job.on_event(message)

    def _failed(self, error: Exception) -> None:
        """The volumes could not be written or read."""
        assert self._job is not None
        error = without_private_folder(error, self._job.folder.name)
        expected = isinstance(error, PETSuperResError)
        lines = [] if expected else "".join(traceback.format_exception(error)).splitlines()
        self._finish({"type": "error", "message": str(error), "details": lines})

    def _finish(self, message: dict[str, Any]) -> None:
        """The job has ended; the worker stays."""
        job, self._job = self._job, None
        assert job is not None
        self._steps.drop()
        if self.process is None or self.process.ready:
            self._deadline.stop()
        if job.cancelled:  # it may have ended by itself just before
            message = {"type": "cancelled"}
        details = message.get("details")
        if details:
            seen = [] if self.process is None else self.process.log
            message = {**message, "log": (seen if details[-1] in seen else seen + details)[-TAIL:]}
        job.folder.cleanup()
        job.on_event(message)

    def _overdue(self) -> None:
        """No answer within the time allowed."""
        job = self._job
        if job is not None and job.cancelled and not job.sent:
            self._finish({"type": "cancelled"})
        elif job is not None and job.cancelled:
            self._lost("")
        else:
            self._lost("The backend process did not answer: restart Slicer, or restart the computer.")

    def _lost(self, reason: str) -> None:
        """The worker is of no use any more: end it, and report it to the job and the pings."""
        log = [] if self.process is None else self.process.log[-TAIL:]
        self._end_process()
        message = {"type": "error", "message": reason, "log": log}
        pings, self._pings = self._pings, {}
        for on_event in pings.values():
            on_event(message)
        if self._job is not None:
            self._finish(message)


def write_inputs(job: dict[str, Any], folder: Path) -> Generator[None, None, dict[str, Any]]:
    """Write a job's volumes into its private folder; returns the fields of the message."""
    fields: dict[str, Any] = {"type": "reconstruct", "private": str(folder), "out": str(folder)}
    if "pet" in job and "type" not in job:
        fields |= {"raw": True, "out": str(folder / "sr.nrrd")}
    for key, value in job.items():
        if hasattr(value, "volume"):  # still in its node
            value = value.volume()
            yield
        if isinstance(value, Volume):
            value = str((yield from write_steps(value, folder / f"{key}.nrrd")))
        elif isinstance(value, list) and value and (isinstance(value[0], Volume) or hasattr(value[0], "volume")):
            places = [folder / f"{key}-{number}.nrrd" for number in range(len(value))]
            for one, place in zip(value, places, strict=True):
                yield from write_steps(one if isinstance(one, Volume) else one.volume(), place)
            value = [str(place) for place in places]
        elif hasattr(value, "write"):
            value = str(value.write(folder / f"{key}.safetensors"))
        elif isinstance(value, Path):
            value = str(value)
        fields[key] = value
    return fields


def read_outputs(files: dict[str, str]) -> Generator[None, None, dict[str, Any]]:
    """Read a result's volumes, by name; the report is in the message."""
    volumes = {}
    for key in files.keys() - {"report"}:
        volumes[key] = yield from read_steps(files[key])
    return volumes
