"""The messages in the line under Apply and in the log, and how long they stay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from PETSuperResSlicer.panel.widgets import ERROR, style

LOG_LINES = 40  # of a traceback or of the worker's output, at most


class Status:
    """A message stays until the next one, an error until a choice changes, a hint until nothing is missing any more."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._notes = list[str]()  # of the running or last job
        self._passing = ""  # the kind of message that is removed later: "error", "hint" or none

    def say(self, text: str, error: bool = False, status: bool = True, log: Sequence[str] = ()) -> None:
        """Write to the log and, with ``status``, to the line; the lines of ``log`` only to the log."""
        lines = [f"    {line}" for line in log[-LOG_LINES:]]
        self.ui.logText.appendPlainText("\n".join([f"{time.strftime('%H:%M:%S')}  {text}", *lines]))
        if status:
            self.show(text, "error" if error else "")

    def begin(self) -> None:
        """A job begins, whose notes are yet to be told."""
        self._notes = []

    def note(self, text: str) -> None:
        """Write a note on a job to the log, once."""
        if text not in self._notes:
            self._notes.append(text)
            self.say(_("Note: {note}").format(note=text), status=False)

    def show(self, text: str, passing: str = "") -> None:
        """Write to the line only."""
        self._passing, label = passing, self.ui.statusLabel
        label.setText(text)
        label.setStyleSheet(style(ERROR, label, bold=True) if passing == "error" else "")

    def withdraw(self, text: str) -> None:
        """Remove a message that is no longer true, where it is still shown."""
        if text and self.ui.statusLabel.text == text:
            self.show("")

    def hint(self, text: str) -> None:
        """Show what is missing before a job can start; an empty text ends the hint."""
        if text:
            self.show(text, passing="hint")
        elif self._passing == "hint":
            self.show("")

    def choice_changed(self) -> None:
        """A choice has changed: an error may be cured."""
        if self._passing == "error":
            self.show("")
