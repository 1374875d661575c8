"""``@parameterPack``: several values under one parameter, ``name.member`` in the node."""

from __future__ import annotations

import typing
from typing import Any

import slicer

from .scalars import Serializer, Validated
from .serializers import make
from .validators import Default, IsInstance, NotNone, first, plain


class Member:
    """A parameter of a pack or a node: its name, type, serializer and first value."""

    def __init__(self, owner: Any, name: str, annotated: Any) -> None:
        self.basename, self.unalteredType = name, annotated
        self.serializer: Validated
        self.serializer, notes = make(annotated)
        given = first(notes, Default)
        if name in vars(owner):
            self.default = vars(owner)[name]
        else:
            self.default = self.serializer.default() if given is None else given.value


def members(owner: Any) -> dict[str, Member]:
    """The annotated members of a class in their order."""
    return {name: Member(owner, name, hint) for name, hint in typing.get_type_hints(owner, include_extras=True).items()}


def dotted(name: str) -> tuple[str, str]:
    """The first part of a dotted name and the rest."""
    top, _, rest = name.partition(".")
    return top, rest


def isParameterPack(obj: Any) -> bool:
    """Whether a class or object is a parameter pack."""
    return bool(getattr(obj, "_is_parameterPack", False))


def parameterPack(cls: Any = None) -> Any:
    """Class decorator: a value made of typed, checked members."""
    if cls is None:
        return parameterPack
    found = members(cls)
    if not found:
        raise ValueError("A parameterPack needs members")
    for name, member in found.items():
        member.serializer.validate(member.default)
        setattr(cls, name, _member_property(name))
    own_init = cls.__dict__.get("__init__")

    def fill(self: Any, *values: Any, **named: Any) -> None:
        given = dict(zip(found, values, strict=False))
        if len(values) > len(found) or set(given) & set(named) or set(named) - set(found):
            raise TypeError(f"{cls.__name__}: unknown or repeated arguments {sorted(named)}")
        for name, member in found.items():
            setattr(self, name, {**given, **named}.get(name, member.default))

    def init(self: Any, *values: Any, **named: Any) -> None:
        if own_init is None:
            fill(self, *values, **named)
        else:
            fill(self)
            own_init(self, *values, **named)

    def text(self: Any) -> str:
        return f"{cls.__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in found)})"

    def same(self: Any, other: Any) -> bool:
        return isinstance(other, cls) and all(getattr(self, n) == getattr(other, n) for n in found)

    cls.allParameters, cls._is_parameterPack, cls.__init__, cls._fill = found, True, init, fill
    for name, method in {"__eq__": same, "__repr__": text, "__str__": text}.items():
        if name not in cls.__dict__ or (name == "__eq__" and cls.__eq__ is object.__eq__):
            setattr(cls, name, method)
    cls.getValue, cls.setValue, cls.dataType = _get, _set, classmethod(_type)
    cls._observed = None
    return cls


def _member_property(name: str) -> property:
    def put(self: Any, value: Any) -> None:
        self.allParameters[name].serializer.validate(value)
        self.__dict__[f"_pack_{name}"] = value
        if self._observed is not None:
            self._observed(self)

    return property(lambda self: self.__dict__[f"_pack_{name}"], put)


def _check(owner: Any, name: str) -> None:
    if name not in owner.allParameters:
        raise ValueError(f"{owner} has no member '{name}'")


def _get(self: Any, name: str) -> Any:
    top, rest = dotted(name)
    _check(self, top)
    return getattr(self, top).getValue(rest) if rest else getattr(self, top)


def _set(self: Any, name: str, value: Any) -> None:
    top, rest = dotted(name)
    _check(self, top)
    if rest:
        inner = getattr(self, top)
        inner.setValue(rest, value)
        setattr(self, top, inner)
    else:
        setattr(self, top, value)


def _type(cls: Any, name: str) -> Any:
    top, rest = dotted(name)
    _check(cls, top)
    annotated = cls.allParameters[top].unalteredType
    return plain(annotated).dataType(rest) if rest else annotated


class PackSerializer(Serializer):
    """A pack in a node; what is read writes itself back when a member is set."""

    def __init__(self, kind: Any) -> None:
        self.kind, self.implied = kind, (NotNone(), IsInstance(kind))
        self.cached = all(m.serializer.cached for m in kind.allParameters.values())

    def default(self) -> Any:
        return self.kind()

    def _each(self, name: str) -> list[tuple[str, str, Validated]]:
        return [(n, f"{name}.{n}", m.serializer) for n, m in self.kind.allParameters.items()]

    def isIn(self, node: Any, name: str) -> bool:
        _, path, serializer = self._each(name)[0]
        return serializer.isIn(node, path)

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            for member, path, serializer in self._each(name):
                serializer.write(node, path, getattr(value, member))

    def read(self, node: Any, name: str) -> Any:
        found = self.kind.__new__(self.kind)
        found._fill(**{member: serializer.read(node, path) for member, path, serializer in self._each(name)})
        found.__dict__["_observed"] = lambda value: self.write(node, name, value)
        for member in self.kind.allParameters:
            inner = getattr(found, member)
            if isParameterPack(inner):
                inner.__dict__["_observed"] = lambda value, member=member: setattr(found, member, value)
        return found

    def remove(self, node: Any, name: str) -> None:
        for _, path, serializer in self._each(name):
            serializer.remove(node, path)
