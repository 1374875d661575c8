"""A job that was started in the background: what the logic hands to its caller."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from PETSuperResLib.errors import Cancelled, InputError
from PETSuperResLib.request import Request, options
from PETSuperResLib.worker.protocol import error_of, event_of
from PETSuperResLib.worker.raw_arrays import no_temporary_files


@dataclass(eq=False)
class Task:
    """One job of a runner; its callbacks come from Slicer's event loop.

    ``finish(volumes, report)`` makes of the worker's result what ``onDone`` gets. Exactly one of ``onDone``
    (with that) and ``onError`` (an exception; ``Cancelled`` when it was cancelled) is called, after ``ended``.
    """

    runner: Any
    finish: Callable[[dict[str, Any], dict[str, Any]], Any]
    progress: Callable[[Any], None] | None = None
    onDone: Callable[[Any], None] | None = None
    onError: Callable[[Exception], None] | None = None
    onPreview: Callable[[Any], None] | None = None
    ended: Callable[[], None] = lambda: None
    running: bool = field(default=True, init=False)
    cancelled: bool = field(default=False, init=False)
    quiet: bool = field(default=False, init=False)  # nothing is called any more
    result: Any = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)

    def start(self, job: dict[str, Any]) -> Task:
        """Begin; raises the library's errors where the job cannot even be handed over."""
        try:
            self.runner.start(job, self._take)
        except OSError as error:
            raise no_temporary_files(error.filename or "the folder for them", error) from error
        return self

    def cancel(self) -> None:
        """Stop the job; ``onError(Cancelled)`` follows within a second."""
        if self.running:
            self.cancelled = True
            self.runner.cancel()

    def close(self) -> None:
        """Stop the job; no callback follows."""
        self.quiet = True
        self.cancel()

    def wait(self) -> Any:
        """Run the event loop until the job has ended; returns its result or raises its error. Ctrl-C cancels it."""
        import qt

        try:
            while self.running:
                qt.QApplication.processEvents()
                time.sleep(0.005)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        return self.result

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "result":
            try:
                result = self.finish(message.get("volumes") or {}, message.get("report") or {})
            except Exception as error:
                self._end(None, error)
            else:
                self._end(result, None)
        elif kind == "cancelled":
            self._end(None, Cancelled())
        elif kind == "error":
            self._end(None, error_of(message))
        elif self.quiet or self.cancelled:
            return
        elif kind == "progress" and self.progress is not None:
            try:
                self.progress(event_of(message))
            except Cancelled:
                self.cancel()
        elif kind == "preview" and self.onPreview is not None:
            self.onPreview(message["volume"])

    def _end(self, result: Any, error: Exception | None) -> None:
        self.running, self.result, self.error = False, result, error
        self.ended()
        onDone, onError = self.onDone, self.onError
        self.progress = self.onDone = self.onError = self.onPreview = None  # what they hold is free
        if self.quiet:
            return
        if error is None:
            if onDone is not None:
                onDone(result)
        elif onError is not None:
            onError(error)
        else:
            logging.error("PETSuperRes: %s", "\n".join([str(error), *getattr(error, "log", ())]))


def job_of(request: Request) -> dict[str, Any]:
    """The worker's job of a request whose images, and perhaps measurement, are objects of this process.

    Raises :class:`InputError` for what cannot be sent to another process: a loaded prior, a sampler.
    """
    objects = {}
    for name, about in options(Request).items():
        value = getattr(request, name)
        if about.form == "file" and value is not None and not isinstance(value, (str, os.PathLike)):
            if not hasattr(value, "volume") and not hasattr(value, "write"):
                raise InputError(f"A loaded {name} runs with waitForCompletion=True only: give its file instead.")
            objects[name] = value
    if not isinstance(request.quality, str):
        raise InputError("A sampler of your own runs with waitForCompletion=True only: name a quality instead.")
    plain = replace(request, **dict.fromkeys(objects, "written by the client")).to_dict()
    return {name: value for name, value in {**plain, **objects}.items() if value is not None}
