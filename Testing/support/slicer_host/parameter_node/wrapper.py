"""``@parameterNodeWrapper``: typed attributes over a vtkMRMLScriptedModuleNode, bound to widgets."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .connectors import GuiConnector, createGuiConnector
from .packs import Member, dotted, isParameterPack, members
from .validators import Default, plain

PROPERTY = "SlicerParameterName"
RETURNS_TAG = True  # some releases of Slicer return None from connectGui, and disconnectGui then does nothing


class _Value:
    """One parameter of one node, cached where its type allows."""

    def __init__(self, member: Member, node: Any, prefix: str) -> None:
        self.member, self.node, self.name = member, node, f"{prefix}{member.basename}"
        self.writing = False
        serializer = member.serializer
        if not serializer.isIn(node, self.name):
            serializer.write(node, self.name, member.default)
        self.cached = serializer.cached
        if self.cached:
            self.value = self._read()
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._modified)

    def _read(self) -> Any:
        if not self.member.serializer.isIn(self.node, self.name):
            self.member.serializer.write(self.node, self.name, self.member.default)
        return self.member.serializer.read(self.node, self.name)

    def _modified(self, *_unused: Any) -> None:
        if not self.writing:
            self.value = self._read()

    def read(self) -> Any:
        return self.value if self.cached else self._read()

    def write(self, value: Any) -> None:
        if not self.cached:
            self.member.serializer.write(self.node, self.name, value)
            return
        self.writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.member.serializer.write(self.node, self.name, value)
                self.value = self._read()
        finally:
            self.writing = False


class _Wrapper:
    """What the decorator adds to a class."""

    allParameters: dict[str, Member]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._bound: dict[int, dict[str, GuiConnector]] = {}
        self._next, self._showing = 0, False
        self._values = {n: _Value(m, parameterNode, prefix or "") for n, m in self.allParameters.items()}

    def default(self, name: str) -> Any:
        _check(type(self), name)
        return Default(self.allParameters[name].default)

    def isCached(self, name: str) -> bool:
        _check(type(self), name)
        return self._values[name].cached

    @classmethod
    def dataType(cls, name: str) -> Any:
        _check(cls, name)
        top, rest = dotted(name)
        annotated = cls.allParameters[top].unalteredType
        return plain(annotated).dataType(rest) if rest else annotated

    def getValue(self, name: str) -> Any:
        _check(type(self), name)
        top, rest = dotted(name)
        value = self._values[top].read()
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: Any) -> None:
        _check(type(self), name)
        top, rest = dotted(name)
        if rest:
            self._values[top].read().setValue(rest, value)
        else:
            self._values[top].write(value)

    def connectGui(self, gui: Any) -> int | None:
        """Bind every widget that carries the dynamic property SlicerParameterName."""
        widgets = gui.findChildren(_qt().QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        tag = self.connectParametersToGui({w.property(PROPERTY): w for w in widgets if w.property(PROPERTY)})
        return tag if RETURNS_TAG else None

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets by name; returns the tag to disconnect them with."""
        for name in mapping:
            _check(type(self), name)
        found = {
            name: value if isinstance(value, GuiConnector) else createGuiConnector(value, self.dataType(name))
            for name, value in mapping.items()
        }
        tag, self._next = self._next, self._next + 1
        self._bound[tag] = found
        for name, connector in found.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._edited(name, connector))  # type: ignore[misc]
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        return tag

    def disconnectGui(self, tag: Any) -> None:
        """Undo a binding."""
        for connector in self._bound.pop(tag, {}).values():
            connector.onChanged(None)

    def _edited(self, name: str, connector: GuiConnector) -> None:
        with slicer.util.NodeModify(self):
            if not self._showing:
                self.setValue(name, connector.read())

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for bound in self._bound.values():
                    for name, connector in bound.items():
                        connector.write(self.getValue(name))
        finally:
            self._showing = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: Any) -> Any:
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _qt() -> Any:
    import qt

    return qt


def _check(cls: Any, name: str) -> None:
    top, rest = dotted(name)
    if top not in cls.allParameters:
        raise ValueError(f"There is no parameter '{top}'; the parameters are {sorted(cls.allParameters)}")
    if rest:
        kind = plain(cls.allParameters[top].unalteredType)
        if not isParameterPack(kind):
            raise ValueError(f"'{top}' is no parameter pack, so it has no '{rest}'")
        kind.dataType(rest)


def parameterNodeWrapper(cls: Any = None) -> Any:
    """Class decorator: the annotated members become parameters of the node given to the constructor."""
    if cls is None:
        return parameterNodeWrapper
    found = members(cls)
    for name in found:
        setattr(cls, name, _property(name))
    for name, method in vars(_Wrapper).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name != "__init__" and name in vars(cls):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, method)
    cls.allParameters, cls._is_parameter_node_wrapper = found, True
    return cls


def _property(name: str) -> property:
    return property(lambda self: self._values[name].read(), lambda self, value: self._values[name].write(value))


def isParameterNodeWrapper(obj: Any) -> bool:
    """Whether a class or object is a parameter node wrapper."""
    return bool(getattr(obj, "_is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget: Any, name: str) -> Any:
    """The child widget that is bound to a parameter, or None."""
    children = widget.findChildren(_qt().QWidget)
    return next((child for child in children if child.property(PROPERTY) == name), None)
