"""Runs the backend in a process of its own, so that nothing that happens there can freeze or end Slicer.

The process is ``python -m PETSuperResLib.worker`` (see there for the messages). It is kept between jobs and
ends with its client. Nothing of Slicer or Qt is needed: the owner calls :meth:`WorkerRunner.poll` from time
to time, in Slicer from a timer, and gets every message on its own thread.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import shutil
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from PETSuperResLib.worker.protocol import FINAL, VERSION
from PETSuperResSlicer.worker.process import Backend, findPython
from PETSuperResSlicer.worker.turns import atWork

PATIENCE_S = 0.7  # a worker that has not answered a cancel by then is ended
STARTUP_S = 180.0  # until a new worker must have said something
TAIL = 40  # lines of the worker's standard error that go with an error that nobody expected

OnEvent = Callable[[dict[str, Any]], None]


class Runner(Protocol):
    """What the logic needs; one job at a time."""

    running: bool

    def start(self, job: dict[str, Any], onEvent: OnEvent) -> None:
        """Begin a job: fields of a worker's job (``PETSuperResLib.worker.jobs``), volumes in place of files."""

    def cancel(self) -> None:
        """Ask the job to stop; it ends with ``cancelled`` within a second."""

    def poll(self) -> None:
        """Deliver what has come since the last call, on the caller's thread."""

    def close(self) -> None:
        """End everything now; no event comes afterwards."""


class _Job:
    """One job: its messages' id, its private folder, and how far it has come."""

    def __init__(self, name: str, content: dict[str, Any], onEvent: OnEvent, parent: str | None) -> None:
        self.name, self.content, self.onEvent = name, content, onEvent
        self.folder = Path(tempfile.mkdtemp(prefix="petsuperres-", dir=parent))  # for this user only
        self.lock = threading.Lock()
        self.over = self.writing = False
        self.cancelled: float | None = None  # when

    def write(self) -> dict[str, Any] | None:
        """Write the job's volumes into its folder; the message to send, or None when it ended meanwhile."""
        from PETSuperResLib.volume import Volume
        from PETSuperResLib.worker.raw_arrays import write_raw

        fields: dict[str, Any] = {"type": "reconstruct", "private": str(self.folder), "out": str(self.folder)}
        if "pet" in self.content:
            fields |= {"raw": True, "out": str(self.folder / "sr.nrrd")}
        try:
            for key, value in self.content.items():
                if self.over:
                    return None
                if hasattr(value, "volume"):  # still in its node; made here because it takes long
                    value = value.volume()
                if isinstance(value, Volume):
                    value = str(write_raw(value, self.folder / f"{key}.nrrd"))
                elif hasattr(value, "write"):
                    value = str(value.write(self.folder / f"{key}.safetensors"))
                elif isinstance(value, Path):
                    value = str(value)
                fields[key] = value
            if fields.get("raw") and not str(fields["out"]).endswith(".nrrd"):
                fields["raw"] = False
            return {"id": self.name, **fields}
        finally:
            with self.lock:
                self.writing = False
                self._clean()

    def end(self) -> None:
        """The job is over; its folder goes, once nothing is written into it any more."""
        with self.lock:
            self.over = True
            self._clean()

    def _clean(self) -> None:
        if self.over and not self.writing:
            shutil.rmtree(self.folder, ignore_errors=True)


class WorkerRunner:
    """Runs jobs in a worker process that stays alive between them.

    ``python`` is the interpreter (Slicer's own, unless given) and ``folder`` where the private folders are made
    (the system's place for temporary files). A job may hold :class:`PETSuperResLib.volume.Volume` objects as
    ``pet`` and ``ct``, or what has a method ``volume()`` that makes one; they go by uncompressed files. The events
    are the worker's messages, a ``preview`` with its ``volume`` and a ``result`` with its ``volumes`` (``sr`` and,
    with several samples, ``std``; of a phantom ``pet``, ``ct`` and ``labels``); each job ends with exactly one of
    ``result``, ``error`` (with ``log``, lines, where nobody expected it) and ``cancelled``.
    """

    def __init__(self, python: str | None = None, folder: str | os.PathLike[str] | None = None) -> None:
        self.python, self.folder = python, None if folder is None else str(folder)
        self.command: list[str] | None = None  # in place of the worker's, for tests
        self._backend: Backend | None = None
        self._job: _Job | None = None
        self._asked: dict[str, OnEvent] = {}
        self._inbox: queue.Queue[tuple[Backend | None, dict[str, Any] | None]] = queue.Queue()
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._delivering = False
        atexit.register(_closeIfAlive, weakref.ref(self))

    @property
    def running(self) -> bool:
        """Whether a job has not ended yet."""
        return self._job is not None

    @property
    def log(self) -> list[str]:
        """The last lines of the worker's standard error."""
        return list(self._backend.log) if self._backend else []

    def start(self, job: dict[str, Any], onEvent: OnEvent) -> None:
        """Begin a job; returns at once. Raises RuntimeError while another one runs, OSError without a folder."""
        if self._job is not None:
            raise RuntimeError("A job is running already: cancel it or wait for it.")
        self._job = current = _Job(f"job-{next(self._numbers)}", dict(job), onEvent, self.folder)
        current.writing = True
        self._post(current, "progress", fraction=0.0, stage="starting", message="starting", remaining_s=None)
        threading.Thread(target=self._launch, args=(current,), daemon=True).start()

    def ping(self, onEvent: OnEvent) -> None:
        """Ask the worker (started if need be) for versions and devices; ``pong`` or ``error`` comes by poll()."""
        name = f"ping-{next(self._numbers)}"
        self._asked[name] = onEvent

        def ask() -> None:
            try:
                with atWork():
                    backend = self._worker(lambda: name in self._asked)
                    if backend is not None:
                        backend.send({"type": "ping", "id": name})
            except (OSError, RuntimeError) as error:
                self._inbox.put((None, {"version": VERSION, "id": name, "type": "error", "message": str(error)}))

        threading.Thread(target=ask, daemon=True).start()

    def cancel(self) -> None:
        """Ask the job to stop; without an answer the worker is ended."""
        job, backend = self._job, self._backend
        if job is None or job.cancelled is not None:
            return
        job.cancelled = time.monotonic()
        if backend is not None:
            backend.send({"type": "cancel", "id": job.name})

    def poll(self) -> None:
        """Deliver what has come; a call from within a callback does nothing."""
        if self._delivering:
            return
        self._delivering = True
        try:
            while True:
                try:
                    source, message = self._inbox.get_nowait()
                except queue.Empty:
                    break
                if source is None or source is self._backend:
                    self._take(message)
            self._watch()
        finally:
            self._delivering = False

    def close(self) -> None:
        """End the worker and remove the private folder; no event comes afterwards."""
        job, self._job = self._job, None
        self._asked.clear()
        if job is not None:
            job.over = True
        self._drop()
        if job is not None:
            job.end()

    def _launch(self, job: _Job) -> None:
        """On a thread of its own: write the volumes and send the job."""
        try:
            with atWork():
                message = job.write()
                backend = self._worker(lambda: not job.over) if message is not None else None
                if backend is not None:
                    backend.send(message)
                    if job.cancelled is not None:
                        backend.send({"type": "cancel", "id": job.name})
        except Exception as error:
            from PETSuperResLib.errors import PETSuperResError
            from PETSuperResLib.worker.raw_arrays import without_private_folder

            told = without_private_folder(error, job.folder)
            expected = isinstance(told, PETSuperResError)
            details = [] if expected else "".join(traceback.format_exception(error)).splitlines()
            self._post(job, "error", message=str(told), details=details)

    def _worker(self, wanted: Callable[[], bool]) -> Backend | None:
        """The living worker or a new one; None when, in the meantime, nobody wants it any more."""
        with self._lock:
            backend = self._backend
            if not wanted():
                return None
            if backend is None or backend.process.poll() is not None:
                if backend is not None:
                    backend.end()
                command = [self.python or findPython(), "-u", "-m", "PETSuperResLib.worker", "--with-client"]
                backend = Backend(self.command or command, lambda source, m: self._inbox.put((source, m)))
                self._backend = backend
            return backend

    def _drop(self) -> None:
        with self._lock:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.end()

    def _post(self, job: _Job, kind: str, **content: Any) -> None:
        self._inbox.put((None, {"version": VERSION, "id": job.name, "type": kind, **content}))

    def _take(self, message: dict[str, Any] | None) -> None:
        if message is None:
            self._lost(self._backend.epitaph())
        elif message["type"] == "rubbish":
            self._lost("The backend process said something that is not understood: reinstall the extension.")
        elif message["type"] == "foreign":
            self._lost(
                f"The backend process speaks version {message['version']} of the messages and this module version "
                f"{VERSION}: restart Slicer, or reinstall the extension."
            )
        elif message.get("id") in self._asked:
            self._asked.pop(message["id"])(message)
        elif self._job is not None and message.get("id") == self._job.name:
            self._deliver(message)
        elif self._job is not None and message["type"] == "error" and message.get("id") is None:
            self._lost(f"The backend process did not understand the job ({message.get('message')}): restart Slicer.")

    def _deliver(self, message: dict[str, Any]) -> None:
        job = self._job
        assert job is not None
        if job.cancelled is not None and message["type"] not in FINAL:
            return
        if message["type"] not in FINAL:
            job.onEvent(message)
            return
        if job.cancelled is not None:  # it may have ended by itself just before: what was asked for holds
            message = {**message, "type": "cancelled", "message": "Cancelled at your request; nothing was written."}
        if message.get("details"):
            said, details = self.log, message["details"]  # which said holds already, unless it is still under way
            message = {**message, "log": (said if details[-1] in said else said + details)[-TAIL:]}
        self._job = None
        job.end()
        job.onEvent(message)

    def _watch(self) -> None:
        """What time tells: a cancel without an answer, a worker that never spoke."""
        job, backend = self._job, self._backend
        now = time.monotonic()
        if job is not None and job.cancelled is not None and now - job.cancelled > PATIENCE_S:
            job.over = True  # before the worker goes, so that the launching thread sends nothing more
            self._lost("")
        elif backend is not None and not backend.heard and now - backend.born > STARTUP_S and (job or self._asked):
            self._lost("The backend process did not answer: restart Slicer, or restart the computer.")

    def _lost(self, reason: str) -> None:
        """The worker is of no use any more: end it, and tell whoever waits."""
        backend = self._backend
        self._drop()
        content = {"message": reason, "log": list(backend.log)[-TAIL:] if backend is not None else []}
        asked, self._asked = self._asked, {}
        for name, onEvent in asked.items():
            onEvent({"version": VERSION, "id": name, "type": "error", **content})
        if self._job is not None:
            self._deliver({"version": VERSION, "id": self._job.name, "type": "error", **content})


def _closeIfAlive(reference: weakref.ref[WorkerRunner]) -> None:
    runner = reference()
    if runner is not None:
        runner.close()
