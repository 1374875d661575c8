"""How parameters of each type lie in a vtkMRMLScriptedModuleNode: names and texts as in Slicer.

A value is a text parameter of its name; a node a node reference of that role beside an empty parameter;
the members of a list, tuple or pack are ``name.0``, ``name.member``; a union is ``name.index`` of its type.
"""

from __future__ import annotations

import enum
import typing
from typing import Any

import slicer

from .containers import DictValue, ListValue, TupleValue, UnionValue
from .scalars import PATHS, Bool, EnumValue, NodeValue, NoValue, Number, PathValue, Serializer, Text, Validated
from .validators import Validator, plain, split


def make(annotated: Any) -> tuple[Validated, list[Any]]:
    """The serializer of a possibly annotated type, and the annotations that are not limits."""
    kind, notes = split(annotated)
    limits = [n for n in notes if isinstance(n, Validator) or (isinstance(n, type) and issubclass(n, Validator))]
    return Validated(_choose(kind), limits), [n for n in notes if n not in limits]


def _choose(kind: Any) -> Serializer:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (int, float):
        return Number(kind)
    if kind is bool:
        return Bool()
    if kind is str:
        return Text()
    if kind in PATHS:
        return PathValue(kind)
    if kind is type(None):
        return NoValue()
    if origin is list:
        return ListValue(make(arguments[0])[0])
    if origin is tuple:
        return TupleValue([make(a)[0] for a in arguments])
    if origin is dict:
        return DictValue(make(arguments[0])[0], make(arguments[1])[0])
    if origin is typing.Union:
        return UnionValue([make(a)[0] for a in arguments])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return EnumValue(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeValue(kind)
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
