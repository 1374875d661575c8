"""A process that reconstructs on request: JSON lines in on standard input, JSON lines out on standard output.

Every message carries ``version`` (1) and ``id``; answers repeat the request's id. Requests:

- ``reconstruct``: ``pet``, ``ct``, ``out`` and, optionally, the other fields of
  :class:`~PETSuperResLib.worker.jobs.Job`. Answered by ``progress`` (fraction, stage, message, remaining_s), with
  ``preview: true`` also by ``preview`` (file), and at last by one of ``result`` (files, report), ``error``
  (message; of an error that nobody expected also details, the lines of its traceback) and ``cancelled``.
- ``phantom`` and ``dicom``: the fields of :class:`~PETSuperResLib.phantoms.demo_case.SampleJob` and
  :class:`~PETSuperResLib.worker.dicom_job.DicomJob`; answered likewise.
- ``cancel``: the job with this id stops before its next step, or never starts.
- ``ping``: ``pong`` with versions and devices, also while a job runs.
- ``quit``: stops the running job and ends; the end of the input lets the jobs already sent finish.

With ``--with-client`` the end of the input, which tells that the client is gone, ends the process soon and
removes the folders that its jobs named as ``private``; the process then has a lower priority than the client.

Needs nothing but the backend, so that it runs under Slicer's Python: ``python -m PETSuperResLib.worker``.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import Cancelled, InputError, PETSuperResError
from ..files import strict
from ..phantoms.demo_case import SampleJob
from ..progress import Event
from .dicom_job import DicomJob
from .jobs import Job
from .raw_arrays import told_simply

VERSION = 1
JOBS: dict[str, Any] = {"reconstruct": Job, "phantom": SampleJob, "dicom": DicomJob}
LEAVE_S = 2.0  # for a running job to take back what it has written, when the client has gone
DETAILS = 40  # lines of a traceback, at most
PRIVATE = "petsuperres-"  # how the names of clients' private folders begin


class Worker:
    """Runs jobs one after another; ``send`` takes each answer. The last prior stays loaded."""

    def __init__(self, send: Callable[[dict[str, Any]], None], with_client: bool = False):
        self.send, self.with_client = send, with_client
        self.jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.waiting: set[Any] = set()  # the ids of jobs sent and not yet answered
        self.private: set[Path] = set()  # clients' folders, which the clients remove as long as they live
        self.cancelled: set[Any] = set()
        self.stopping = False
        self.done = threading.Event()  # no job runs any more, nor will one
        self._prior: tuple[Any, Any] = (None, None)

    def listen(self, lines: Iterator[bytes]) -> None:
        """Take requests until the input ends or ``quit`` comes; jobs are queued, the rest is answered at once."""
        for line in lines:
            if not line.strip():
                continue
            name = None
            try:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise InputError("A message must be a JSON object.")
                name = message.get("id")
                if isinstance(name, (dict, list)):
                    raise InputError("The id of a message must be a string or a number.")
                if message.get("version") != VERSION:
                    raise InputError(f"A message must carry version {VERSION}, which this worker speaks.")
                if self._request(name, message):
                    self.jobs.put(None)
                    return
            except (ValueError, RecursionError) as error:
                self._answer(name, "error", message=f"A line is not JSON ({error}): send one object per line.")
            except Exception as error:  # whatever it is, the next request must be heard
                self._answer(name, "error", **failure(error))
        self.stopping = self.with_client
        self.jobs.put(None)
        if self.with_client:
            self.leave()

    def leave(self) -> None:
        """End the process soon, whatever it does; nobody waits for an answer any more."""
        self.done.wait(LEAVE_S)
        for folder in self.private:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def work(self) -> None:
        """Run the queued jobs until there are no more to come."""
        try:
            self._serve()
        finally:
            self.done.set()

    def _serve(self) -> None:
        while (message := self.jobs.get()) is not None and not self.stopping:
            name = message.get("id")
            try:
                kind, content = "result", self._run(name, message)
            except Cancelled as error:
                kind, content = "cancelled", {"message": str(error)}
            except BrokenPipeError:
                raise
            except Exception as error:
                if message.get("private"):
                    error = told_simply(error, message["private"])
                kind, content = "error", failure(error)
            self.waiting.discard(name)  # before the answer, so that its receiver may use the id again
            self.cancelled.discard(name)
            self._answer(name, kind, **content)

    def _request(self, name: Any, message: dict[str, Any]) -> bool:
        """Act on one request; True for ``quit``."""
        kind = message.get("type")
        if isinstance(kind, str) and kind in JOBS:
            if name in self.waiting:
                raise InputError(f"A job with the id {name!r} is not done yet: give each job an id of its own.")
            self.waiting.add(name)
            folder = message.get("private")
            if isinstance(folder, str) and Path(folder).name.startswith(PRIVATE):
                self.private = {known for known in self.private if known.exists()} | {Path(folder)}
            self.jobs.put(message)
        elif kind == "cancel":
            self.cancelled |= self.waiting & {name}  # a job that is done already has had its answer
        elif kind == "ping":
            self._answer(name, "pong", **facts())
        elif kind == "quit":
            self.stopping = True
            return True
        else:
            raise InputError(f"Unknown type of message '{kind}': use {', '.join(JOBS)}, cancel, ping or quit.")
        return False

    def _answer(self, name: Any, kind: str, **content: Any) -> None:
        self.send({"version": VERSION, "id": name, "type": kind, **content})

    def _run(self, name: Any, message: dict[str, Any]) -> dict[str, Any]:
        def progress(event: Event) -> None:
            if self.stopping or name in self.cancelled:
                raise Cancelled()
            step = {"fraction": event.fraction, "stage": event.stage, "message": event.message}
            self._answer(name, "progress", **step, remaining_s=event.remaining_s)

        def show(file: Path) -> None:
            self._answer(name, "preview", file=str(file))

        files, report = JOBS[message["type"]].from_message(message).run(self._load, progress, show)
        return {"files": {key: str(path) for key, path in files.items()}, "report": report}

    def _load(self, path: str | None) -> Any:
        """The prior of a job, read again only when another file is asked for or the file has changed."""
        from ..prior.checkpoint import BUNDLED, Prior

        file = Path(path or BUNDLED)
        key = (str(file), file.stat().st_mtime_ns if file.is_file() else None)
        if self._prior[0] != key:
            self._prior = (key, Prior.load(path))
        return self._prior[1]


def failure(error: Exception) -> dict[str, Any]:
    """What is answered to an error: one sentence; what nobody expected also leaves a traceback, here and there."""
    sentence = explain(error)
    if sentence:
        return {"message": sentence}
    lines = "".join(traceback.format_exception(error)).splitlines()
    print(*lines, sep="\n", file=sys.stderr, flush=True)
    sentence = f"Unexpected {type(error).__name__} ({error}): please report it with the log."
    return {"message": sentence, "details": lines[-DETAILS:]}


def explain(error: Exception) -> str:
    """One sentence for the user; empty for what nobody expected."""
    if isinstance(error, PETSuperResError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Not enough memory for this volume: reconstruct a region of it, or use a machine with more."
    if isinstance(error, ModuleNotFoundError):
        return f"The Python package '{error.name}' is missing: install it (in Slicer, press Apply) and try again."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "No space left on the disk: free some and try again."
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} could not be used: {error.strerror or error}."
    return ""


def facts() -> dict[str, Any]:
    """Versions and devices of this process; without torch only what there is."""
    versions = {"PETSuperRes": __version__, "python": sys.version.split()[0]}
    try:
        import torch
    except ImportError:
        return {"versions": versions, "devices": ["cpu"]}

    devices = ["cpu"] + [f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps Apple GPU")
    return {"versions": versions | {"torch": torch.__version__}, "devices": devices}


def _lines(descriptor: int) -> Iterator[bytes]:
    """Lines of a file descriptor. Unbuffered: a buffered reader's lock would hold up the end of the process."""
    rest = b""
    while block := os.read(descriptor, 1 << 16):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def main() -> int:
    """Serve standard input and output until ``quit`` or the end of the input; returns the exit code 0."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to standard error: standard output holds nothing but JSON
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(strict(message), allow_nan=False) + "\n")
            answers.flush()

    worker = Worker(send, "--with-client" in sys.argv[1:])
    if worker.with_client and hasattr(os, "nice"):
        os.nice(5)  # the client's window comes first
    listener = threading.Thread(target=worker.listen, args=(_lines(0),), daemon=True)
    listener.start()
    try:
        worker.work()
    except BrokenPipeError:  # nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    if worker.with_client:
        listener.join(2 * LEAVE_S)  # it may be clearing up, or about to hear that the client has gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
