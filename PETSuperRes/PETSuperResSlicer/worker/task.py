"""A job that was started in the background: what the logic hands to whoever asked for it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from PETSuperResSlicer.worker.turns import pollWhile


class Task:
    """One job of a runner; its callbacks come from :meth:`poll`, on the thread that calls it.

    ``finish(volumes, report)`` makes of the worker's result what ``onDone`` gets. Exactly one of ``onDone``
    (with that) and ``onError`` (an exception; ``Cancelled`` when it was cancelled) is called. In Slicer a timer
    polls; elsewhere call :meth:`poll` now and then, or :meth:`wait`.
    """

    def __init__(
        self,
        runner: Any,
        finish: Callable[[dict[str, Any], dict[str, Any]], Any],
        progress: Callable[[Any], None] | None = None,
        onDone: Callable[[Any], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
        onPreview: Callable[[Any], None] | None = None,
    ) -> None:
        self.runner, self.finish = runner, finish
        self.progress, self.onDone, self.onError, self.onPreview = progress, onDone, onError, onPreview
        self.running = True
        self.cancelled = self.quiet = False
        self.result: Any = None
        self.error: Exception | None = None

    def start(self, job: dict[str, Any]) -> Task:
        """Begin; raises the library's errors where the job cannot even be handed over."""
        from PETSuperResLib.worker.raw_arrays import no_temporary_files

        try:
            self.runner.start(job, self._take)
        except OSError as error:
            self.running = False
            raise no_temporary_files(error.filename or "the folder for them", error) from error
        pollWhile(lambda: self.running, self.poll)
        return self

    def poll(self) -> None:
        """Deliver what has come since the last call."""
        if self.running:
            self.runner.poll()

    def cancel(self) -> None:
        """Ask the job to stop; ``onError(Cancelled)`` follows within a second."""
        if self.running:
            self.cancelled = True
            self.runner.cancel()

    def close(self) -> None:
        """Stop the job and call nobody any more."""
        self.quiet = True
        self.cancel()

    def wait(self) -> Any:
        """Poll until the job has ended; returns its result or raises its error."""
        while self.running:
            self.poll()
            time.sleep(0.02)
        if self.error is not None:
            raise self.error
        return self.result

    def _take(self, message: dict[str, Any]) -> None:
        from PETSuperResLib.errors import Cancelled

        kind = message["type"]
        if kind == "result":
            try:
                self._end(self.finish(message.get("volumes") or {}, message.get("report") or {}), None)
            except Exception as error:
                self._end(None, error)
        elif kind == "cancelled":
            self._end(None, Cancelled())
        elif kind == "error":
            from PETSuperResLib.worker.protocol import error_of

            self._end(None, error_of(message))
        elif self.quiet or self.cancelled:
            return
        elif kind == "progress" and self.progress is not None:
            from PETSuperResLib.worker.protocol import event_of

            try:
                self.progress(event_of(message))
            except Cancelled:
                self.cancel()
        elif kind == "preview" and self.onPreview is not None:
            self.onPreview(message["volume"])

    def _end(self, result: Any, error: Exception | None) -> None:
        if not self.running:
            raise error if error is not None else RuntimeError("The job has ended already.")
        self.running, self.result, self.error = False, result, error
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


def sendable(preset: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a worker process takes them: text and numbers, and objects that write themselves to a file."""
    from PETSuperResLib.errors import InputError

    given = {name: value for name, value in settings.items() if value is not None}
    if not isinstance(given["quality"], str):
        raise InputError("A sampler of your own runs with waitForCompletion=True only: name a quality instead.")
    for name in ("prior", "measurement"):
        if isinstance(given.get(name), os.PathLike):
            given[name] = os.fspath(given[name])
    if not isinstance(given.get("prior", ""), str):
        raise InputError("A loaded prior runs with waitForCompletion=True only: give its file instead.")
    if "region" in given:
        given["region"] = [float(v) for v in given["region"]]
    given["samples"], given["seed"] = int(given["samples"]), int(given["seed"])
    return {**given, "scanner": preset.to_dict() if hasattr(preset, "to_dict") else preset and str(preset)}
