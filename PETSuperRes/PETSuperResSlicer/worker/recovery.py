"""Recovers the lesions of a result in a process of its own, which keeps the result's data between two changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.lesions.measures import Lesion
from PETSuperResLib.lesions.segments import Segment
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.worker.task import Task

Done = Callable[[list[Lesion]], None]
Failed = Callable[[Exception], None]


class Recovery:
    """Answers the latest question; one that comes while another is computed waits, and replaces one that waits.

    A job in progress is not stopped, since a worker that is ended loses the data.
    """

    def __init__(self) -> None:
        self.client: Any = None
        self.task: Task | None = None
        self._waiting: tuple[Any, ...] | None = None
        self._sent: tuple[Any, str] | None = None  # the process that has the data, and of which result

    def start(
        self,
        result: Any,
        data: dict[str, Any],
        segments: Sequence[Segment],
        threshold: float | str,
        done: Done,
        failed: Failed,
    ) -> None:
        """Recover the segments of a result node; ``data`` is its ``pet`` (a node) or its ``measurement``.

        From the event loop ``done(lesions)`` or ``failed(exception)`` is called, unless a later question came.
        """
        question = (result, data, segments, threshold, done, failed)
        if self.task is not None and self.task.running:
            self.task.quiet, self._waiting = True, question
            return
        self._ask(*question)

    def drop(self) -> None:
        """Forget what was asked; nothing is called any more."""
        self._waiting = None
        if self.task is not None:
            self.task.quiet = True

    def close(self) -> None:
        """End the process."""
        self.drop()
        if self.client is not None:
            self.client.close()
        self.client = self._sent = None

    def _ask(
        self, result: Any, data: dict[str, Any], segments: Any, threshold: Any, done: Done, failed: Failed
    ) -> None:
        from PETSuperResSlicer.worker.client import WorkerClient

        if self.client is None:
            self.client = WorkerClient()
        images = {name: mrml.voxels_of_node(one) if hasattr(one, "GetID") else one for name, one in data.items()}
        volume = mrml.voxels_of_node(result, "SUVbw")
        name = _name(result, volume, *data.values(), *images.values())
        job = {"type": "lesions", "result": name, "threshold": threshold}
        job |= {"masks": [segment.mask for segment in segments], "names": [segment.name for segment in segments]}
        known = self._sent is not None and self._sent == (self.client.process, name)
        if not known:
            job |= {"volume": volume, "report": provenance.report_of(result), **images}
        labels = [segment.label for segment in segments]

        def finish(_volumes: Any, report: dict[str, Any]) -> list[Lesion]:
            self._sent = self.client.process, name
            return [Lesion(**{**values, "label": labels[values["label"] - 1]}) for values in report["lesions"]]

        def lost(error: Exception) -> None:
            self._sent = None
            if known:  # a process that has lost the data is asked once more, with them
                self._ask_or_fail(result, data, segments, threshold, done, failed)
            else:
                failed(error)

        self.task = Task(self.client, finish, onDone=done, onError=lost, ended=self._next).start(job)

    def _next(self) -> None:
        question, self._waiting = self._waiting, None
        if question is not None:
            self._ask_or_fail(*question)

    def _ask_or_fail(self, *question: Any) -> None:
        """Ask from the event loop, where nobody takes an error."""
        try:
            self._ask(*question)
        except PETSuperResError as error:
            question[-1](error)


def _name(*of: Any) -> str:
    """Another one when a node's voxels or place have changed."""
    parts = [f"{one.GetID()} {one.GetImageData().GetMTime()}" for one in of if hasattr(one, "GetImageData")]
    return " ".join([*parts, *(repr(one.geometry) for one in of if hasattr(one, "geometry"))])
