"""Which widgets a parameter can be bound to: exactly those of Slicer, told apart by their exact class.

So a ``ctkComboBox`` for an Enum, or a ``ctkDoubleSpinBox`` for a float, is refused here as it is there.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable
from typing import Any

from .scalars import PATHS
from .serializers import nodeTypes
from .validators import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, first, plain, split


class GuiConnector(abc.ABC):
    """A widget as a value; modules derive their own from it and bind it by connectParametersToGui."""

    def __init__(self) -> None:
        super().__init__()
        self._callback: Callable[[], None] | None = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        """Whether the class fits a widget and a type."""

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> Any:
        """A connector of a widget and a type."""

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Set what is called on a change; None disconnects."""
        self._callback = callback
        self._disconnect() if callback is None else self._connect()

    def changed(self) -> None:
        """Tell the parameter node that the widget has changed."""
        if self._callback is not None:
            self._callback()

    @abc.abstractmethod
    def _connect(self) -> None:
        """Connect to the widget's signal."""

    @abc.abstractmethod
    def _disconnect(self) -> None:
        """Undo it."""

    @abc.abstractmethod
    def widget(self) -> Any:
        """The bound widget."""

    @abc.abstractmethod
    def read(self) -> Any:
        """The widget's value."""

    @abc.abstractmethod
    def write(self, value: Any) -> None:
        """Show a value in the widget."""


_registered: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(cls: Any = None) -> Any:
    """Class decorator: createGuiConnector considers the class."""
    if cls is None:
        return parameterNodeGuiConnector
    _registered.append(cls)
    return cls


class _Bound(GuiConnector):
    """One of Slicer's own connectors: a widget and the signal of its changes."""

    signal = ""

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__()
        self._widget, self._datatype = widget, plain(datatype)
        self._notes: list[Any] = split(datatype)[1]
        self.prepare()

    @staticmethod
    def canRepresent(widget: Any, datatype: Any) -> bool:
        return _class(widget, datatype) is not None

    @staticmethod
    def create(widget: Any, datatype: Any) -> Any:
        return createGuiConnector(widget, datatype)

    def prepare(self) -> None:
        """Shape the widget by the parameter's annotations."""

    def widget(self) -> Any:
        return self._widget

    def _connect(self) -> None:
        getattr(self._widget, self.signal).connect(self.changed)

    def _disconnect(self) -> None:
        getattr(self._widget, self.signal).disconnect(self.changed)


class _Checked(_Bound):
    signal = "toggled"

    def prepare(self) -> None:
        if not self._widget.checkable:
            self._widget.checkable = True

    def read(self) -> bool:
        return self._widget.checked

    def write(self, value: bool) -> None:
        self._widget.checked = value


class _Number(_Bound):
    signal = "valueChanged"

    def prepare(self) -> None:
        decimals, step = first(self._notes, Decimals), first(self._notes, SingleStep)
        if decimals is not None:
            self._widget.decimals = decimals.value
        if step is not None:
            self._widget.singleStep = step.value
        span = first(self._notes, WithinRange)
        low = span or first(self._notes, Minimum)
        high = span or first(self._notes, Maximum)
        if type(self._widget).__name__ in ("QSlider", "ctkSliderWidget") and (low is None or high is None):
            raise RuntimeError("A slider needs a parameter with limits on both sides")
        whole = self._datatype is int
        self._widget.minimum = low.minimum if low else (-(2**31) if whole else float("-inf"))
        self._widget.maximum = high.maximum if high else (2**31 - 1 if whole else float("inf"))

    def read(self) -> Any:
        return self._widget.value

    def write(self, value: Any) -> None:
        self._widget.value = value


class _Choices(_Bound):
    signal = "currentIndexChanged"

    def prepare(self) -> None:
        if isinstance(self._datatype, type) and issubclass(self._datatype, enum.Enum):
            label = getattr(self._datatype, "label", lambda member: member.name)
            self._choices = [(label(member), member) for member in self._datatype]
        else:
            choice = first(self._notes, Choice)
            if choice is None:
                raise RuntimeError("A combo box needs a parameter with a Choice")
            self._choices = [(str(value), value) for value in choice.choices]
        self._widget.clear()
        for text, _ in self._choices:
            self._widget.addItem(text)

    def read(self) -> Any:
        return self._choices[self._widget.currentIndex][1]

    def write(self, value: Any) -> None:
        self._widget.currentIndex = [choice for _, choice in self._choices].index(value)


class _Line(_Bound):
    signal = "textChanged"

    def read(self) -> str:
        return self._widget.text

    def write(self, value: str) -> None:
        self._widget.text = value


class _Text(_Bound):
    signal = "textChanged"

    def read(self) -> str:
        return self._widget.toPlainText()

    def write(self, value: str) -> None:
        self._widget.setPlainText(value)


class _Path(_Bound):
    signal = "currentPathChanged"

    def read(self) -> Any:
        return self._datatype(self._widget.currentPath)

    def write(self, value: Any) -> None:
        self._widget.currentPath = str(value)


class _Node(_Bound):
    signal = "currentNodeChanged"

    def prepare(self) -> None:
        self._widget.nodeTypes = nodeTypes(self._datatype)

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def _class(widget: Any, datatype: Any) -> type[_Bound] | None:
    kind, name = plain(datatype), type(widget).__name__
    if kind is bool:
        return _Checked if name in ("QCheckBox", "QPushButton") else None
    if kind is int and name in ("QSlider", "QSpinBox"):
        return _Number
    if kind is float and name in ("QDoubleSpinBox", "ctkSliderWidget"):
        return _Number
    if name == "QComboBox":
        listed = kind in (int, float, str) or (isinstance(kind, type) and issubclass(kind, enum.Enum))
        return _Choices if listed else None
    if kind is str:
        return {"QLineEdit": _Line, "QTextEdit": _Text}.get(name)
    if kind in PATHS:
        return _Path if name == "ctkPathLineEdit" else None
    return _Node if name == "qMRMLNodeComboBox" and nodeTypes(datatype) else None


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """The connector of a widget and a type; RuntimeError where Slicer has none."""
    chosen = _class(widget, datatype)
    if chosen is not None:
        return chosen(widget, datatype)
    for registered in _registered:
        if registered.canRepresent(widget, datatype):
            return registered.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")
