"""The backend's process: which Python runs it, its messages as Qt's signals, and how it ends with its children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt

import PETSuperResLib
from PETSuperResLib.errors import WorkerError
from PETSuperResLib.worker.protocol import MalformedMessageError, VersionMismatchError, decode, encode

LIBRARY = Path(PETSuperResLib.__file__).parents[1]  # where "python -m" finds the library
WAIT_MS = 5000  # for the process to begin or to end, at most
LOG_MS = 20  # for the log of an error to arrive
LOG_BYTES, LOG_LINES = 50_000, 50  # of the log that are kept


def find_python() -> str:
    """The Python of this application: ``PythonSlicer`` in Slicer, whose own executable may be its launcher."""
    own, suffix = Path(sys.executable or ""), ".exe" if os.name == "nt" else ""
    folders = [own.parent, own.parent / "bin", own.parent.parent / "bin"]
    home = os.environ.get("SLICER_HOME")
    folders += [Path(home) / "bin"] if home else []
    for folder in folders:
        if (folder / f"PythonSlicer{suffix}").is_file():
            return str(folder / f"PythonSlicer{suffix}")
    if own.name.lower().startswith("python") and own.is_file():
        return str(own)
    found = shutil.which("PythonSlicer") or shutil.which("python3")
    if found is None:
        raise WorkerError("Slicer's Python (PythonSlicer) was not found: reinstall Slicer.")
    return found


def kill_group(leader: int) -> None:
    """End a worker, which leads a process group, and all its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Process:
    """One worker process.

    From the event loop are called ``on_message(message)`` for each message, the first of which is ``ready``, and once
    ``on_end(reason)`` when the process has ended by itself or writes a malformed message. Raises :class:`WorkerError`
    where the process cannot be started.
    """

    def __init__(
        self, command: list[str], on_message: Callable[[dict[str, Any]], None], on_end: Callable[[str], None]
    ) -> None:
        self.on_message, self.on_end = on_message, on_end
        self.ready = self.ended = False
        self._errors = b""  # the end of its standard error
        self._lines: deque[bytes] = deque()
        self._part = b""  # of a line
        self._kill_group: Callable[[], Any] = lambda: None  # known when the worker is ready
        self.process = qt.QProcess()
        self.process.setWorkingDirectory(str(LIBRARY))
        self.process.connect("readyReadStandardOutput()", self._read)
        self.process.connect("readyReadStandardError()", self._read_log)
        self.process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self.process.start(command[0], command[1:])
        if not self.process.waitForStarted(WAIT_MS):
            raise WorkerError(f"The backend process cannot be started ({command[0]}): reinstall Slicer.")

    @property
    def pid(self) -> int:
        """The number of the process; in Slicer of the launcher that started the worker."""
        return int(self.process.processId())

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return bool(self.process.state() != qt.QProcess.NotRunning)

    def send(self, kind: str, name: str, **content: Any) -> None:
        """Write one message; if the process has ended, ``on_end`` reports it."""
        self.process.write(encode(kind, name, **content))

    def end(self, grace_s: float = 0.0) -> None:
        """End the process and its children and wait for it; nothing is called any more.

        It is killed, unless it ends within ``grace_s`` by itself at the end of its input.
        """
        self.ended = True
        if grace_s:
            self.process.closeWriteChannel()
            self.process.waitForFinished(round(1000 * grace_s))
        self._kill_group()
        if not self.running:
            return
        if os.name == "nt":
            command = ["taskkill", "/F", "/T", "/PID", str(self.pid)]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, check=False, timeout=5, creationflags=0x08000000, capture_output=True)
        self.process.kill()
        self.process.waitForFinished(WAIT_MS)

    def exit_reason(self) -> str:
        """One sentence on why the process has ended."""
        code = self.process.exitCode()
        last = next((line for line in reversed(self.log) if line.strip()), "")
        how = f"exit code {code}" + (f", {last}" if last else "")
        if os.name == "posix" and self.process.exitStatus() == qt.QProcess.CrashExit:
            how = f"killed by signal {code}, perhaps for lack of memory"
        return f"The backend process ended unexpectedly ({how}): try again, or use a smaller region."

    def _finished(self, *_unused: Any) -> None:
        self._take_lines()
        self._read_log()
        self._stop(self.exit_reason())

    def _stop(self, reason: str) -> None:
        if not self.ended:
            self.end()
            self.on_end(reason)

    def _collect(self) -> None:
        *lines, self._part = (self._part + self.process.readAllStandardOutput().data()).split(b"\n")
        self._lines.extend(line for line in lines if line.strip())

    def _read(self) -> None:
        self._take_lines()
        if not self.running:  # it ended while its signals were blocked
            self._finished()

    def _take_lines(self) -> None:
        self._collect()
        while self._lines and not self.ended:
            self._take(self._lines.popleft())

    def _take(self, line: bytes) -> None:
        try:
            message = decode(line)
        except VersionMismatchError:
            self._stop("The backend process is of another version than this module: restart Slicer, or reinstall it.")
            return
        except MalformedMessageError:
            self._errors += b"\n" + line.strip()[:200] + b"\n"
            if self.ready:  # before, a start script may print something
                self._stop("The backend process wrote something that is no message: reinstall the extension.")
            return
        if message["type"] == "ready":
            self.ready = True
            if os.name == "posix":  # also at the end of Slicer, without this object
                self._kill_group = weakref.finalize(self, kill_group, int(message["pid"]))
        if message["type"] == "error":
            self._wait_for_log()
        self.on_message(message)

    def _wait_for_log(self) -> None:
        """Read the output that the process wrote to the other pipe before its message."""
        self.process.blockSignals(True)
        self.process.waitForReadyRead(LOG_MS)
        self.process.blockSignals(False)
        self._read_log()
        self._collect()

    def _read_log(self) -> None:
        self._errors = (self._errors + self.process.readAllStandardError().data())[-LOG_BYTES:]

    @property
    def log(self) -> list[str]:
        """The last lines of its standard error."""
        lines = self._errors.decode("utf-8", "replace").splitlines()[-LOG_LINES:]
        return [line.rstrip()[:500] for line in lines]
