"""Dialogs without a click: their text is kept, the answer comes from the test.

``messages`` holds every box that was shown. ``answers`` and ``files`` are what the next message boxes and
file dialogs return; without one a box takes its default and a file dialog is cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6 import QtWidgets

_Box = QtWidgets.QMessageBox
_AFFIRMATIVE = ("Ok", "Yes", "Save", "Open", "Close", "Retry", "Cancel", "No")


@dataclass(frozen=True)
class Message:
    """One message box: its kind (information, warning, critical, question), title, text and details."""

    kind: str
    title: str
    text: str
    details: str = ""


messages: list[Message] = []
answers: list[Any] = []
files: list[Any] = []


def _answer(buttons: Any) -> Any:
    if answers:
        return answers.pop(0)
    return next((b for b in (getattr(_Box, n) for n in _AFFIRMATIVE) if buttons & b), _Box.Ok)


class QMessageBox(QtWidgets.QMessageBox):
    """A message box that answers itself."""

    def exec(self) -> Any:
        kind = self.icon.name if hasattr(self.icon, "name") else str(self.icon)
        messages.append(Message(kind.lower(), self.windowTitle, self.text, self.detailedText))
        return _answer(self.standardButtons)

    exec_ = exec


def _static(kind: str, usual: Any) -> Any:
    def show(_parent: Any, title: str, text: str, buttons: Any = usual, _default: Any = None) -> Any:
        messages.append(Message(kind, title, text))
        return _answer(buttons)

    return staticmethod(show)


for _kind in ("information", "warning", "critical", "question"):
    setattr(QMessageBox, _kind, _static(_kind, _Box.Yes | _Box.No if _kind == "question" else _Box.Ok))


class QFileDialog(QtWidgets.QFileDialog):
    """A file dialog that returns the planned path; a plain string, as in PythonQt."""

    @staticmethod
    def getOpenFileName(*_arguments: Any, **_options: Any) -> str:
        return files.pop(0) if files else ""

    getSaveFileName = getExistingDirectory = getOpenFileName
