"""A process that runs jobs: JSON lines on standard input, answers as JSON lines on standard output.

The messages are described in :mod:`~PETSuperResLib.worker.protocol`, the jobs and their fields in
:mod:`~PETSuperResLib.worker.jobs`. Jobs run one after another; other messages are answered at once:

- ``cancel``: the job with this id stops before its next step, or never starts.
- ``ping``: ``pong`` with versions and devices, also while a job runs.
- ``quit``: stops the running job and ends; the end of the input lets the jobs already sent finish.

With ``--with-client`` the end of the input, where the client is gone, ends the process soon and
removes the folders that its jobs named as ``private``; the process then has a lower priority than the client.

Needs nothing but the backend, so that it runs under Slicer's Python: ``python -m PETSuperResLib.worker``.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError
from ..progress import Event
from ..version import __version__
from .jobs import JOBS, Tools
from .protocol import VersionMismatchError, decode, encode, failure_of, step_of
from .raw_arrays import without_private_folder

LEAVE_S = 2.0  # for a running job to remove its files when the client has ended
PRIVATE = "petsuperres-"  # first part of the names of clients' private folders


class Worker:
    """Runs jobs one after another; ``send`` takes each answer, a line. The last prior stays loaded."""

    def __init__(self, send: Callable[[bytes], None], with_client: bool = False):
        self.send, self.with_client = send, with_client
        self.jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.waiting: set[Any] = set()  # the ids of jobs sent and not yet answered
        self.private: set[Path] = set()  # clients' folders, which the clients remove as long as they live
        self.cancelled: set[Any] = set()
        self.stopping = False
        self.done = threading.Event()  # no job runs or will run
        self._prior: tuple[Any, Any] = (None, None)

    def listen(self, lines: Iterator[bytes]) -> None:
        """Take requests until the input ends or ``quit`` comes; jobs are queued, the rest is answered at once."""
        for line in lines:
            if not line.strip():
                continue
            name = None
            try:
                message = decode(line)
                name = message.get("id")
                if self._act(name, message):
                    self.jobs.put(None)
                    return
            except VersionMismatchError as error:
                self._answer(error.name, "error", message=str(error))
            except Exception as error:  # after any error the next request must be read
                self._answer(name, "error", **failure_of(error))
        self.stopping = self.with_client
        self.jobs.put(None)
        if self.with_client:
            self.leave()

    def leave(self) -> None:
        """End the process within :data:`LEAVE_S`; there is no client for an answer any more."""
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
                    error = without_private_folder(error, message["private"])
                kind, content = "error", failure_of(error)
                if "details" in content:
                    print(*content["details"], sep="\n", file=sys.stderr, flush=True)
            self.waiting.discard(name)  # before the answer, so that its receiver may use the id again
            self.cancelled.discard(name)
            self._answer(name, kind, **content)

    def _act(self, name: Any, message: dict[str, Any]) -> bool:
        """Act on one request; True for ``quit``."""
        kind = message["type"]
        if kind in JOBS:
            if name in self.waiting:
                raise InputError(f"A job with the id {name!r} is not done yet: give each job an id of its own.")
            self.waiting.add(name)
            folder = message.get("private")
            if isinstance(folder, str) and Path(folder).name.startswith(PRIVATE):
                self.private = {known for known in self.private if known.exists()} | {Path(folder)}
            self.jobs.put(message)
        elif kind == "cancel":
            self.cancelled |= self.waiting & {name}  # a finished job has had its answer
        elif kind == "ping":
            self._answer(name, "pong", **facts())
        elif kind == "quit":
            self.stopping = True
            return True
        else:
            raise InputError(f"Unknown type of message '{kind}': use {', '.join(JOBS)}, cancel, ping or quit.")
        return False

    def _answer(self, name: Any, kind: str, **content: Any) -> None:
        self.send(encode(kind, name, **content))

    def _run(self, name: Any, message: dict[str, Any]) -> dict[str, Any]:
        def progress(event: Event) -> None:
            if self.stopping or name in self.cancelled:
                raise Cancelled()
            self._answer(name, "progress", **step_of(event))

        def show(file: Path) -> None:
            self._answer(name, "preview", file=str(file))

        files, report = JOBS[message["type"]].from_message(message).run(Tools(self._load, progress, show))
        return {"files": {key: str(path) for key, path in files.items()}, "report": report}

    def _load(self, path: str | None) -> Any:
        """The prior of a job, read again only for another file, or where the file has changed."""
        from ..prior.checkpoint import BUNDLED, Prior

        file = Path(path or BUNDLED)
        key = (str(file), file.stat().st_mtime_ns if file.is_file() else None)
        if self._prior[0] != key:
            self._prior = (key, Prior.load(path))
        return self._prior[1]


def facts() -> dict[str, Any]:
    """Versions and devices of this process; without torch only those known."""
    versions = {"PETSuperRes": __version__, "python": sys.version.split()[0]}
    try:
        import torch
    except ImportError:
        return {"versions": versions, "devices": ["cpu"]}

    devices = ["cpu"] + [f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps Apple GPU")
    return {"versions": versions | {"torch": torch.__version__}, "devices": devices}


def stand_apart() -> None:
    """Lead a process group, which can be killed with all children, at a lower priority."""
    if os.name == "nt":
        import ctypes

        ctypes.windll.kernel32.SetPriorityClass(-1, 0x4000)  # type: ignore[attr-defined,unused-ignore]
    else:
        if os.getpgrp() != os.getpid():
            os.setsid()
        os.nice(5)


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
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries goes to standard error: standard output is for JSON only
    lock = threading.Lock()

    def send(line: bytes) -> None:
        with lock:
            answers.write(line)
            answers.flush()

    worker = Worker(send, "--with-client" in sys.argv[1:])
    if worker.with_client:
        stand_apart()
        send(encode("ready", pid=os.getpid()))
    listener = threading.Thread(target=worker.listen, args=(_lines(0),), daemon=True)
    listener.start()
    try:
        worker.work()
    except BrokenPipeError:  # the client is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    if worker.with_client:
        listener.join(2 * LEAVE_S)  # which may be removing folders
    return 0


if __name__ == "__main__":
    sys.exit(main())
