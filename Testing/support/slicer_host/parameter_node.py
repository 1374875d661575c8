"""A stand-in for ``slicer.parameterNodeWrapper``: its interface and the same content in the node.

It covers what the module uses: numbers, texts, an Enum, a node, a Union of nodes and None, the limits
WithinRange and Choice, and the widgets of these types. Anything else is refused. A value is a text
parameter of its name, an Enum by its member's name; a node is a node reference of that name beside an empty
parameter; a Union has ``name.0``, ``name.1`` by the place of the type.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import slicer
import vtk


@dataclass(frozen=True)
class WithinRange:
    """From minimum to maximum, both included."""

    minimum: Any
    maximum: Any


@dataclass(frozen=True)
class Choice:
    """One of a list."""

    choices: Any


class _Parameter:
    """One annotated attribute of a wrapped class: its type, limit, default, and its place in a node."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name = name
        self.kind, *notes = typing.get_args(Annotated[annotated, None])[:-1]
        self.range = next((note for note in notes if isinstance(note, WithinRange)), None)
        self.choices = next((note.choices for note in notes if isinstance(note, Choice)), None)
        union = typing.get_origin(self.kind) is typing.Union
        members = typing.get_args(self.kind) if union else (self.kind,)
        self.nodes = [m for m in members if isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode)]
        # None needs a None among a Union's types: node classes alone cannot hold it, not even at first
        self.places = {m: f"{name}.{n}" if union else name for n, m in enumerate(members)}
        self.enum = isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)
        if not (self.nodes or self.enum or self.kind in (int, float, str, bool)) or (
            union and set(members) - set(self.nodes) - {type(None)}
        ):
            raise TypeError(f"The host's parameter node cannot hold the type {self.kind}")
        first = None if self.nodes else next(iter(self.kind)) if self.enum else self.kind()
        self.default = vars(owner).get(name, first)

    def check(self, value: Any) -> None:
        """ValueError for a value that is not allowed, TypeError for one of another type."""
        if value is None and (len(self.places) == 1 or type(None) in self.places) and self.nodes:
            return
        if value is None and not self.nodes:
            raise ValueError(f"{self.name} must not be None")
        allowed = tuple(self.nodes) or ((int, float) if self.kind is float else self.kind)
        if not isinstance(value, allowed):
            raise TypeError(f"{self.name}: {value!r} fits none of the types {allowed}")
        if self.range is not None and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} must lie in [{self.range.minimum}, {self.range.maximum}], not {value}")
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"{self.name} must be one of {self.choices}, not {value!r}")

    def write(self, node: Any, value: Any) -> None:
        """Put a value into a node."""
        self.check(value)
        with slicer.util.NodeModify(node):
            if not self.nodes:
                node.SetParameter(self.name, value.name if self.enum else str(value))
                return
            for place in self.places.values():
                node.UnsetParameter(place)
                node.RemoveNodeReferenceIDs(place)
            fitting = (p for kind, p in self.places.items() if value is not None and isinstance(value, kind))
            place = next(fitting, self.places.get(type(None), self.name))
            node.SetParameter(place, "")
            if value is not None:
                node.SetNodeReferenceID(place, value.GetID())

    def read(self, node: Any) -> Any:
        """The value in a node; its default is put there where it has none."""
        if not any(node.HasParameter(place) for place in self.places.values()):
            self.write(node, self.default)
        if self.nodes:
            return next(filter(None, map(node.GetNodeReference, self.places.values())), None)
        text = node.GetParameter(self.name)
        if self.enum:
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


class _Wrapper:
    """What the decorator adds to a class: values are kept, and read anew when the node changes."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._bound: dict[int, dict[str, _Connector]] = {}
        self._next, self._showing = 0, False
        self._read()
        parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._read)

    def _read(self, *_unused: Any) -> None:
        self._values = {name: p.read(self.parameterNode) for name, p in self.allParameters.items()}

    def setValue(self, name: str, value: Any) -> None:
        """Put a value into the node."""
        with slicer.util.NodeModify(self.parameterNode):
            self.allParameters[name].write(self.parameterNode, value)
            self._values[name] = self.allParameters[name].read(self.parameterNode)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets by name; returns the tag to disconnect them with."""
        found = {name: _connector(widget, self.allParameters[name]) for name, widget in mapping.items()}
        tag, self._next = self._next, self._next + 1
        self._bound[tag] = found
        for name, connector in found.items():
            connector.write(self._values[name])
            connector.onChanged(lambda name=name, connector=connector: self._edited(name, connector))
        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        return tag

    def disconnectGui(self, tag: Any) -> None:
        """Undo a binding."""
        for connector in self._bound.pop(tag, {}).values():
            connector.onChanged(None)

    def _edited(self, name: str, connector: _Connector) -> None:
        if not self._showing:
            self.setValue(name, connector.read())

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for bound in self._bound.values():
                    for name, connector in bound.items():
                        connector.write(self._values[name])
        finally:
            self._showing = False


def parameterNodeWrapper(cls: Any) -> Any:
    """Class decorator: the annotated members become parameters of the node given to the constructor."""
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.allParameters = {name: _Parameter(cls, name, hint) for name, hint in hints.items()}
    for name in cls.allParameters:
        setattr(cls, name, _property(name))
    for name, method in vars(_Wrapper).items():
        if name == "__init__" or not name.startswith("__"):
            setattr(cls, name, method)
    return cls


def _property(name: str) -> property:
    return property(lambda self: self._values[name], lambda self, value: self.setValue(name, value))


class _Connector:
    """A widget, the signal of its changes, and how its value is read and written."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        self.signal, self.read, self.write = getattr(widget, signal), read, write
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Set what is called on a change; None disconnects."""
        self._callback = callback
        self.signal.disconnect(self._changed) if callback is None else self.signal.connect(self._changed)

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


def _connector(widget: Any, parameter: _Parameter) -> _Connector:
    """The connector of a widget, chosen by its exact class as Slicer does; RuntimeError where Slicer has none."""
    name = type(widget).__name__
    if name == "qMRMLNodeComboBox" and parameter.nodes:
        widget.nodeTypes = [node().GetClassName() for node in parameter.nodes]
        return _Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    if name == "QComboBox" and (parameter.enum or parameter.choices is not None):
        values = list(parameter.kind if parameter.enum else parameter.choices)
        label = getattr(parameter.kind, "label", lambda member: member.name) if parameter.enum else str
        widget.clear()
        widget.addItems([label(value) for value in values])
        show = widget.setCurrentIndex
        return _Connector(
            widget, "currentIndexChanged", lambda: values[widget.currentIndex], lambda v: show(values.index(v))
        )
    if (name, parameter.kind) in (("QSpinBox", int), ("QDoubleSpinBox", float), ("ctkSliderWidget", float)):
        low, high = (-(2**31), 2**31 - 1) if parameter.kind is int else (float("-inf"), float("inf"))
        widget.minimum = parameter.range.minimum if parameter.range else low
        widget.maximum = parameter.range.maximum if parameter.range else high
        return _Connector(widget, "valueChanged", lambda: widget.value, widget.setValue)
    if (name, parameter.kind) == ("QLineEdit", str):
        return _Connector(widget, "textChanged", lambda: widget.text, widget.setText)
    if (name, parameter.kind) == ("QCheckBox", bool):
        return _Connector(widget, "toggled", lambda: widget.checked, widget.setChecked)
    raise RuntimeError(
        f"Unable to create GUI connector from datatype '{parameter.kind}' to widget type '{type(widget)}'"
    )


NAMES = ("Choice", "WithinRange", "parameterNodeWrapper")
