"""Lists, tuples, dictionaries and unions in a parameter node."""

from __future__ import annotations

from typing import Any

import slicer

from .scalars import NoValue, Serializer, Validated


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


class ListValue(Serializer):
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


class TupleValue(Serializer):
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


class DictValue(ListValue):
    def __init__(self, key: Serializer, value: Serializer) -> None:
        super().__init__(TupleValue([key, value]))

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


class UnionValue(Serializer):
    def __init__(self, choices: list[Validated]) -> None:
        self.choices, self.cached = choices, all(c.cached for c in choices)

    def accepts(self, value: Any) -> bool:
        return any(c.accepts(value) for c in self.choices)

    def default(self) -> Any:
        optional = len(self.choices) == 2 and isinstance(self.choices[1].inner, NoValue)
        return None if optional else self.choices[0].default()

    def isIn(self, node: Any, name: str) -> bool:
        return any(c.isIn(node, f"{name}.{n}") for n, c in enumerate(self.choices))

    def write(self, node: Any, name: str, value: Any) -> None:
        # None needs a None among the types: a union of node classes alone cannot hold it, not even at first
        fitting = [c for c in self.choices if isinstance(c.inner, NoValue) == (value is None) and c.accepts(value)]
        if not fitting:
            raise TypeError(f"The value {value!r} of type {type(value)} fits none of the union's types")
        best = self.choices.index(fitting[0])
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
