"""The line under Apply and the log: what is said where, and for how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

ERROR_STYLE = "color: #B3261E; font-weight: bold;"
LOG_LINES = 40  # of a traceback or of the worker's output, at most


class Status:
    """A message stays until the next one, an error until a choice changes, a hint until nothing is missing any more."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._passing = ""  # what goes by itself: "error", "hint" or nothing

    def say(self, text: str, error: bool = False, status: bool = True, log: Sequence[str] = ()) -> None:
        """Write to the log and, unless told not to, to the line; the lines of ``log`` only to the log."""
        lines = [f"    {line}" for line in log[-LOG_LINES:]]
        self.ui.logText.appendPlainText("\n".join([f"{time.strftime('%H:%M:%S')}  {text}", *lines]))
        if status:
            self.show(text, ERROR_STYLE if error else "", "error" if error else "")

    def show(self, text: str, style: str = "", passing: str = "") -> None:
        """Write to the line only."""
        self._passing = passing
        self.ui.statusLabel.setText(text)
        self.ui.statusLabel.setStyleSheet(style)

    def hint(self, text: str) -> None:
        """Say what is missing before a job can start; an empty text ends the hint."""
        if text:
            self.show(text, passing="hint")
        elif self._passing == "hint":
            self.show("")

    def choice_changed(self) -> None:
        """A choice has changed: an error may be cured."""
        if self._passing == "error":
            self.show("")
