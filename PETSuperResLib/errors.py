"""The library's own exceptions: each message names the fault, the input and the remedy.

The command line and the Slicer module print the message unchanged, so it is one sentence a
physicist can act on, without a traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable


class PETSuperResError(Exception):
    """Base of every error a user can cause and cure.

    ``option`` names the option that cures it, as a field of :class:`~PETSuperResLib.request.Request` or a parameter;
    empty where there is none. A front end adds how that option is set there.
    """

    def __init__(self, message: str = "", option: str = ""):
        super().__init__(message)
        self.option = option


class InputError(PETSuperResError):
    """A file, folder or array that cannot be used."""


class UnitsError(PETSuperResError):
    """Voxel values whose quantity (SUVbw, Bq/mL, HU) is missing, wrong or contradictory."""


class GeometryError(PETSuperResError):
    """Volumes that do not overlap, or grids that cannot be used together."""


class ScannerError(PETSuperResError):
    """An unknown preset, or a scanner description with impossible values."""


class CheckpointError(PETSuperResError):
    """A prior that is damaged, of another kind, or does not match the request."""


class OutputError(PETSuperResError):
    """A result that cannot be written (no space, no permission, not a folder)."""


class WorkerError(PETSuperResError):
    """A job that failed in a process of its own; ``log`` has the last lines of its output."""

    def __init__(self, message: str, log: Iterable[str] = (), option: str = ""):
        super().__init__(message, option)
        self.log = list(log)


class Cancelled(PETSuperResError):  # noqa: N818 - it is an answer to a request, not a failure
    """Raised from a progress callback to stop a running job; nothing is written."""

    def __init__(self, message: str = "Cancelled at your request; nothing was written."):
        super().__init__(message)


class Note(str):
    """A warning for the user; ``option`` names the option that cures it, as that of an error does."""

    option: str

    def __new__(cls, text: str, option: str = "") -> Note:
        note = super().__new__(cls, text)
        note.option = option
        return note


def in_words(error: BaseException) -> PETSuperResError | None:
    """An error as one of the library's, for the user; None for an error without a known cause."""
    if isinstance(error, PETSuperResError):
        return error
    if isinstance(error, MemoryError):
        told = "Not enough memory for this volume: reconstruct a region of it, or use a machine with more."
        return InputError(told, "region")
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("PETSuperRes"):
        return InputError(f"The Python package '{error.name}' is missing: install it and try again.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return OutputError("No space left on the disk: free some and try again.", "out")
    if isinstance(error, OSError):
        return OutputError(f"{error.filename or 'A file'} could not be used: {error.strerror or error}.")
    return None
