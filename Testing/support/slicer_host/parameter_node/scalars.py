"""Single values in a parameter node, and the base of every serializer."""

from __future__ import annotations

import pathlib
from typing import Any

from .validators import IsInstance, IsNone, NotNone, Validator

PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath)
PATHS += (pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)  # type: ignore[assignment]


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


class Number(Serializer):
    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.implied = (NotNone(), IsInstance((int, float) if kind is float else int))

    def default(self) -> Any:
        return 0

    def read(self, node: Any, name: str) -> Any:
        return self.kind(node.GetParameter(name))


class Text(Serializer):
    implied = (NotNone(), IsInstance(str))

    def default(self) -> str:
        return ""


class PathValue(Serializer):
    def __init__(self, kind: type) -> None:
        self.kind, self.implied = kind, (NotNone(), IsInstance(kind))

    def default(self) -> Any:
        return self.kind()

    def read(self, node: Any, name: str) -> Any:
        return self.kind(node.GetParameter(name))


class Bool(Serializer):
    implied: tuple[Validator, ...] = (NotNone(), IsInstance(bool))

    def default(self) -> bool:
        return False

    def read(self, node: Any, name: str) -> bool:
        return node.GetParameter(name) == "True"


class EnumValue(Serializer):
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


class NodeValue(Serializer):
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


class NoValue(Bool):
    implied: tuple[Validator, ...] = (IsNone(),)

    def write(self, node: Any, name: str, value: Any) -> None:
        super().write(node, name, True)

    def read(self, node: Any, name: str) -> Any:
        return None
