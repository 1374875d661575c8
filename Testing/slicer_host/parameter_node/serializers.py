"""How parameters of each type lie in a vtkMRMLScriptedModuleNode: names and texts as in Slicer.

A value is a text parameter of its name; a node a node reference of that role beside an empty parameter;
the members of a list, tuple or pack are ``name.0``, ``name.member``; a union is ``name.index`` of its type.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from typing import Any

import slicer

from .validators import IsInstance, IsNone, NotNone, Validator, plain, split

_PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath)
_PATHS += (pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)  # type: ignore[assignment]


class Serializer:
    """One type: write, read, remove, and whether it may be cached."""

    cached = True
    implied: tuple[Validator, ...] = ()

    def accepts(self, value: Any) -> bool:
        """Whether a value belongs to this type: what a union chooses by."""
        try:
            for validator in self.implied:
                validator.validate(value)
        except (TypeError, ValueError):
            return False
        return True

    def default(self) -> Any:
        raise NotImplementedError

    def isIn(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, str(value))

    def read(self, node: Any, name: str) -> Any:
        return node.GetParameter(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class Validated(Serializer):
    """A serializer with the limits that its parameter was given."""

    def __init__(self, inner: Serializer, validators: list[Any]) -> None:
        self.inner = inner
        self.validators = [*inner.implied, *(v() if isinstance(v, type) else v for v in validators)]
        self.cached = inner.cached
        self.default, self.isIn, self.read, self.remove = inner.default, inner.isIn, inner.read, inner.remove  # type: ignore[method-assign]
        self.accepts = inner.accepts  # type: ignore[method-assign]

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        self.inner.write(node, name, value)


class _Number(Serializer):
    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.implied = (NotNone(), IsInstance((int, float) if kind is float else int))

    def default(self) -> Any:
        return 0

    def read(self, node: Any, name: str) -> Any:
        return self.kind(node.GetParameter(name))


class _Text(Serializer):
    implied = (NotNone(), IsInstance(str))

    def default(self) -> str:
        return ""


class _Path(Serializer):
    def __init__(self, kind: type) -> None:
        self.kind, self.implied = kind, (NotNone(), IsInstance(kind))

    def default(self) -> Any:
        return self.kind()

    def read(self, node: Any, name: str) -> Any:
        return self.kind(node.GetParameter(name))


class _Bool(Serializer):
    implied: tuple[Validator, ...] = (NotNone(), IsInstance(bool))

    def default(self) -> bool:
        return False

    def read(self, node: Any, name: str) -> bool:
        return node.GetParameter(name) == "True"


class _Enum(Serializer):
    def __init__(self, kind: Any) -> None:
        self.kind, self.implied = kind, (IsInstance(kind),)

    def default(self) -> Any:
        return next(iter(self.kind))

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, value.name)

    def read(self, node: Any, name: str) -> Any:
        text = node.GetParameter(name)
        if text not in self.kind.__members__:
            raise ValueError(f"The parameter node holds {text!r}, which is not a name in {self.kind!r}")
        return self.kind[text]


class _Node(Serializer):
    def __init__(self, kind: type) -> None:
        self.implied = (IsInstance(kind),)

    def default(self) -> None:
        return None

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class _None(_Bool):
    implied: tuple[Validator, ...] = (IsNone(),)

    def write(self, node: Any, name: str, value: Any) -> None:
        super().write(node, name, True)

    def read(self, node: Any, name: str) -> Any:
        return None


class ObservedList(list):
    """A list that is written back when it changes."""

    _save: Any = None


class ObservedDict(dict):
    """A dictionary that is written back when it changes."""

    _save: Any = None


def _writing(base: type, name: str) -> Any:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        result = getattr(base, name)(self, *arguments, **options)
        self._save(self)
        return result

    return method


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"):
    setattr(ObservedList, _name, _writing(list, _name))
for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__"):
    setattr(ObservedList, _name, _writing(list, _name))
for _name in ("__setitem__", "__delitem__", "pop", "popitem", "clear", "update", "setdefault"):
    setattr(ObservedDict, _name, _writing(dict, _name))


class _List(Serializer):
    def __init__(self, element: Serializer) -> None:
        self.element, self.cached = element, element.cached

    def accepts(self, value: Any) -> bool:
        return isinstance(value, list)

    def default(self) -> list:
        return []

    def isIn(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            old = self._length(node, name)
            for index, item in enumerate(value):
                self.element.write(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(value)))
            for index in range(len(value), old):
                self.element.remove(node, f"{name}.{index}")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.isIn(node, name) else 0

    def read(self, node: Any, name: str) -> Any:
        found = ObservedList(self.element.read(node, f"{name}.{n}") for n in range(self._length(node, name)))
        found._save = lambda value: self.write(node, name, value)
        return found

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index in range(self._length(node, name)):
                self.element.remove(node, f"{name}.{index}")
            node.UnsetParameter(f"{name}.len")


class _Tuple(Serializer):
    def __init__(self, elements: list[Serializer]) -> None:
        self.elements, self.cached = elements, all(e.cached for e in elements)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, tuple)

    def default(self) -> tuple:
        return tuple(e.default() for e in self.elements)

    def isIn(self, node: Any, name: str) -> bool:
        return self.elements[0].isIn(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            for index, (element, item) in enumerate(zip(self.elements, tuple(value), strict=True)):
                element.write(node, f"{name}.{index}", item)

    def read(self, node: Any, name: str) -> tuple:
        return tuple(e.read(node, f"{name}.{n}") for n, e in enumerate(self.elements))

    def remove(self, node: Any, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index, element in enumerate(self.elements):
                element.remove(node, f"{name}.{index}")


class _Dict(_List):
    def __init__(self, key: Serializer, value: Serializer) -> None:
        super().__init__(_Tuple([key, value]))

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict)

    def default(self) -> Any:
        return {}

    def write(self, node: Any, name: str, value: Any) -> None:
        super().write(node, name, list(value.items()) if hasattr(value, "items") else value)

    def read(self, node: Any, name: str) -> Any:
        found = ObservedDict(super().read(node, name))
        found._save = lambda value: self.write(node, name, value)
        return found


class _Union(Serializer):
    def __init__(self, choices: list[Validated]) -> None:
        self.choices, self.cached = choices, all(c.cached for c in choices)

    def accepts(self, value: Any) -> bool:
        return any(c.accepts(value) for c in self.choices)

    def default(self) -> Any:
        optional = len(self.choices) == 2 and isinstance(self.choices[1].inner, _None)
        return None if optional else self.choices[0].default()

    def isIn(self, node: Any, name: str) -> bool:
        return any(c.isIn(node, f"{name}.{n}") for n, c in enumerate(self.choices))

    def write(self, node: Any, name: str, value: Any) -> None:
        fitting = [n for n, c in enumerate(self.choices) if type(value) is type(None) or not isinstance(c.inner, _None)]
        fitting = [n for n in fitting if self.choices[n].accepts(value)]
        if not fitting:
            raise TypeError(f"The value {value!r} of type {type(value)} fits none of the union's types")
        best = next((n for n in fitting if value is None and isinstance(self.choices[n].inner, _None)), fitting[0])
        self.choices[best].validate(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self.choices[best].write(node, f"{name}.{best}", value)

    def read(self, node: Any, name: str) -> Any:
        for index, choice in enumerate(self.choices):
            if choice.isIn(node, f"{name}.{index}"):
                return choice.read(node, f"{name}.{index}")
        raise KeyError(f"No value for the name {name}")

    def remove(self, node: Any, name: str) -> None:
        for index, choice in enumerate(self.choices):
            choice.remove(node, f"{name}.{index}")


def make(annotated: Any) -> tuple[Validated, list[Any]]:
    """The serializer of a possibly annotated type, and the annotations that are not limits."""
    kind, notes = split(annotated)
    limits = [n for n in notes if isinstance(n, Validator) or (isinstance(n, type) and issubclass(n, Validator))]
    return Validated(_choose(kind), limits), [n for n in notes if n not in limits]


def _choose(kind: Any) -> Serializer:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (int, float):
        return _Number(kind)
    if kind is bool:
        return _Bool()
    if kind is str:
        return _Text()
    if kind in _PATHS:
        return _Path(kind)
    if kind is type(None):
        return _None()
    if origin is list:
        return _List(make(arguments[0])[0])
    if origin is tuple:
        return _Tuple([make(a)[0] for a in arguments])
    if origin is dict:
        return _Dict(make(arguments[0])[0], make(arguments[1])[0])
    if origin is typing.Union:
        return _Union([make(a)[0] for a in arguments])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _Enum(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _Node(kind)
    if getattr(kind, "_is_parameterPack", False):
        from .packs import PackSerializer

        return PackSerializer(kind)
    raise TypeError(f"A parameter node cannot hold the type {kind} (an 'X | None' must be Optional[X] in Slicer)")


def nodeTypes(annotated: Any) -> list[str] | None:
    """Class names of a node type or a union of node types; None for anything else."""
    kind = plain(annotated)
    kinds = [plain(a) for a in typing.get_args(kind)] if typing.get_origin(kind) is typing.Union else [kind]
    nodes = [k for k in kinds if isinstance(k, type) and issubclass(k, slicer.vtkMRMLNode)]
    if not nodes or any(k not in nodes and k is not type(None) for k in kinds):
        return None
    return [k().GetClassName() for k in nodes]
