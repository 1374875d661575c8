"""The backend as a process: which Python runs it, what it says, and how it ends with everything it started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from PETSuperResLib.worker.protocol import VERSION
from PETSuperResSlicer.worker.turns import atWork

LIBRARY = Path(__file__).resolve().parents[2]  # installed: beside this file; source tree: one folder up
LIBRARY = LIBRARY if (LIBRARY / "PETSuperResLib").is_dir() else LIBRARY.parent


def findPython() -> str:
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
        raise RuntimeError("Slicer's Python (PythonSlicer) was not found: reinstall Slicer.")
    return found


def killTree(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group of its own, with all its children, and wait for it."""
    if os.name == "nt":
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        if process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, check=False, timeout=5, creationflags=0x08000000, **quiet)
            process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the group's number stays taken while a child lives
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


class Backend:
    """One worker process; what it says goes to ``put``, the end of its output as ``None``."""

    def __init__(self, command: list[str], put: Callable[[Backend, dict[str, Any] | None], None]) -> None:
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        paths = [str(LIBRARY), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        own: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            # no console window, a process group of its own, a priority below the GUI's
            own = {"creationflags": 0x08000000 | 0x00000200 | 0x00004000}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, cwd=str(LIBRARY), **pipes, **own)
        self.put, self.born, self.heard = put, time.monotonic(), False
        self.log: deque[str] = deque(maxlen=50)
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._listen, self._keepLog)]
        for thread in self.threads:
            thread.start()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message; a process that has gone is told by the end of its output, not here."""
        with suppress(OSError, ValueError), self.lock:
            self.process.stdin.write(json.dumps({"version": VERSION, **message}).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Kill the process and its children and close the pipes."""
        killTree(self.process)
        pipes = (self.process.stdout, self.process.stderr)
        for thread, pipe in zip(self.threads, pipes, strict=True):
            thread.join(timeout=1)
            if not thread.is_alive():  # closing a pipe that somebody reads would wait for the reader
                pipe.close()
        with suppress(OSError, ValueError):
            self.process.stdin.close()

    def epitaph(self) -> str:
        """One sentence on why the process is gone; ends what is left of it."""
        self.end()  # what it wrote last is in the log then
        code = self.process.returncode
        last = next((line for line in reversed(self.log) if line.strip()), "")
        how = f"exit code {code}" + (f", {last}" if last else "")
        if code is not None and code < 0:
            how = f"killed by signal {-code}, perhaps for lack of memory"
        return f"The backend process ended unexpectedly ({how}): press Apply to try again, or use a smaller region."

    def _listen(self) -> None:
        with suppress(OSError, ValueError):
            for line in self.process.stdout:
                if line.strip():
                    with atWork():
                        self.put(self, self._understand(line))
        self.put(self, None)

    def _understand(self, line: bytes) -> dict[str, Any]:
        """The message of a line, its volumes read; a message of type ``rubbish`` for anything else."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            self.log.append(line.decode("utf-8", "replace").strip()[:200])
            # what a start script prints before the worker takes over its output does no harm
            return {"type": "rubbish"} if self.heard else {"type": "noise"}
        self.heard = True
        if message.get("version") != VERSION:
            return {"type": "foreign", "version": message.get("version")}
        try:
            return {**message, **_volumes(message)}
        except Exception as error:
            if message["type"] == "preview":
                return {"type": "noise"}
            return {"version": VERSION, "id": message.get("id"), "type": "error", "message": str(error)}

    def _keepLog(self) -> None:
        with suppress(OSError, ValueError):
            for line in self.process.stderr:
                self.log.append(line.decode("utf-8", "replace").rstrip()[:500])


def _volumes(message: dict[str, Any]) -> dict[str, Any]:
    """``volume`` of a preview and ``volumes`` of a result, read here so that the GUI's thread needn't."""
    from PETSuperResLib.worker.raw_arrays import read_raw

    if message["type"] == "preview" and message.get("file"):
        return {"volume": read_raw(message["file"])}
    if message["type"] == "result":
        files = message.get("files") or {}
        return {"volumes": {key: read_raw(file) for key, file in files.items() if key != "report"}}
    return {}
