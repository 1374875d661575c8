"""The messages between a worker and its client: one JSON object a line, in both directions.

Every message carries ``version``, ``id`` and ``type``. Requests are of type ``cancel``, ``ping``, ``quit`` or that of
a job (see :mod:`~PETSuperResLib.worker.jobs`); answers repeat the request's id:

- ``progress``: fraction, stage, message, remaining_s, warnings (known before the work; the report repeats them);
  ``preview``: file, a volume.
- each job ends with one of ``result`` (files by name, report), ``error`` and ``cancelled``. An ``error`` has a
  message of one sentence, ``option`` where an option of the request cures it, and of an error that is not one of the
  library's also ``details``, the lines of its traceback.
- ``pong``: versions, devices.
"""

from __future__ import annotations

import json
import traceback
from typing import Any

from ..errors import InputError, WorkerError, in_words
from ..files import strict
from ..progress import Event

VERSION = 1
FINAL = ("result", "error", "cancelled")  # with one of these a job ends
DETAILS = 40  # lines of a traceback, at most
STEP = ("fraction", "stage", "message", "remaining_s", "warnings")


class MalformedMessageError(InputError):
    """A line that is not a message."""


class VersionMismatchError(InputError):
    """A message of another version of the protocol; ``name`` is its id."""

    def __init__(self, version: Any, name: Any):
        super().__init__(f"A message must carry version {VERSION}, not {version}: use one version on both sides.")
        self.name = name


def encode(kind: str, name: Any = None, **content: Any) -> bytes:
    """A message as a line; ``name`` is its id."""
    message = {"version": VERSION, "id": name, "type": kind, **content}
    return json.dumps(strict(message), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of a line; raises :class:`MalformedMessageError` and :class:`VersionMismatchError`."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"A line is not JSON ({error}): send one object per line.") from error
    if not isinstance(message, dict):
        raise MalformedMessageError("A message must be a JSON object.")
    name = message.get("id")
    if isinstance(name, (dict, list)):
        raise MalformedMessageError("The id of a message must be a string or a number.")
    if message.get("version") != VERSION:
        raise VersionMismatchError(message.get("version"), name)
    if not isinstance(message.get("type"), str):
        raise MalformedMessageError("A message must have a type.")
    return message


def step_of(event: Event) -> dict[str, Any]:
    """The content of a ``progress`` message."""
    return {name: getattr(event, name) for name in STEP}


def event_of(message: dict[str, Any]) -> Event:
    """The event of a ``progress`` message."""
    content = {name: message.get(name) for name in STEP}
    return Event(**content | {"warnings": tuple(content["warnings"] or ())})  # type: ignore[arg-type]


def failure_of(error: Exception) -> dict[str, Any]:
    """The content of an ``error`` message; an error that is not the library's has the lines of its traceback."""
    if known := in_words(error):
        return {"message": str(known), **({"option": known.option} if known.option else {})}
    lines = "".join(traceback.format_exception(error)).splitlines()
    sentence = f"Unexpected {type(error).__name__} ({error}): please report it with the log."
    return {"message": sentence, "details": lines[-DETAILS:]}


def error_of(message: dict[str, Any]) -> WorkerError:
    """The error of an ``error`` message; ``log``: lines that a client added, in place of ``details``."""
    log = message.get("log") or message.get("details") or ()
    sentence = message.get("message") or "The job failed: see the log."
    return WorkerError(sentence, log, message.get("option") or "")
