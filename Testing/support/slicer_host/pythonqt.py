"""The module ``qt`` as Slicer's PythonQt shows it, made of PySide6.

Qt properties are read and set as attributes (``button.text``, ``button.enabled = False``), so a call such
as ``button.text()`` fails here as it does in Slicer. Signals are connected by signature
(``button.connect("clicked(bool)", f)``, an unknown one raises) or by attribute (``button.clicked.connect(f)``);
a receiver gets as many arguments as it takes, and is kept alive by the connection. A new attribute on an
object of a C++ class is an error, as in PythonQt.
"""

from __future__ import annotations

import inspect
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from shiboken6 import getCppPointer

MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
errors: list[BaseException] = []  # what receivers raised; a test that provokes none finds it empty

_originals: dict[type, Any] = {}  # what each class of PySide6 does with attributes itself
_property_index: dict[tuple[type, str], int] = {}
_plain: set[tuple[type, str]] = set()  # what a class has that is as PySide6 has it: most that is looked up
_connections: dict[tuple[int, str], list[tuple[Any, Any]]] = {}
_stand_ins: set[type] = set()
# While Qt computes a property by a virtual method, PySide6 looks that method up on the Python object.
_reading: set[tuple[int, str]] = set()
_METHODS = ("metaObject", "property", "setProperty", "sizeHint", "minimumSizeHint")  # the last two: only methods here


def stand_in(cls: type) -> type:
    """Decorator: treat a Python class as one of C++ (no new attributes)."""
    _stand_ins.add(cls)
    return cls


def make_module() -> types.ModuleType:
    """The module to be imported as ``qt``; PySide6's own classes behave so from then on."""
    module = types.ModuleType("qt")
    for source in MODULES:
        for name in dir(source):
            if name.startswith("Q"):
                setattr(module, name, getattr(source, name))
    if not _originals:
        classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, QtCore.QObject)]
        _originals.update({cls: cls.__getattribute__ for cls in classes})
        for cls in classes:
            cls.__getattribute__ = _get
            cls.__setattr__ = _set
        shot = QtCore.QTimer.singleShot
        QtCore.QTimer.singleShot = staticmethod(lambda ms, *rest: _single_shot(shot, ms, *rest))
    module.Signal, module.Slot, module.Property = QtCore.Signal, QtCore.Slot, QtCore.Property
    return module


def raw(obj: Any, name: str) -> Any:
    """An attribute as PySide6 has it: the method behind a property, the signal instance behind a signal."""
    return _raw_get(obj, name)


def _raw_get(obj: Any, name: str) -> Any:
    cls = type(obj)
    if cls not in _originals:
        _originals[cls] = next(_originals[base] for base in cls.__mro__ if base in _originals)
    return _originals[cls](obj, name)


def _index(obj: Any, name: str) -> int:
    key = (type(obj), name)
    if key not in _property_index:
        _property_index[key] = _raw_get(obj, "metaObject")().indexOfProperty(name)
    return _property_index[key]


def _get(self: Any, name: str) -> Any:
    key = (type(self), name)
    if key in _plain:
        return _originals[key[0]](self, name)
    if name.startswith("_") or name in _METHODS:
        value = _raw_get(self, name)
        _plain.add(key)
        return value
    if name == "name":
        name = "objectName"
    index = _index(self, name)
    if index >= 0 and (id(self), name) not in _reading:
        _reading.add((id(self), name))
        try:
            return _raw_get(self, "property")(name)
        finally:
            _reading.discard((id(self), name))
    special = _SPECIAL.get(name)
    if special is not None:
        return types.MethodType(special, self)
    value = _raw_get(self, name)
    if isinstance(value, QtCore.SignalInstance):
        return BoundSignal(self, name, value)
    if index < 0:
        _plain.add(key)
    return value


def _set(self: Any, name: str, value: Any) -> None:
    if isinstance(value, QtCore.QObject) and value.objectName == name:
        return  # PySide6's QUiLoader makes the children of a panel its attributes; PythonQt's does not
    if isinstance(value, QtCore.SignalInstance):  # PySide6 keeps the signals it has looked up
        _raw_get(self, "__dict__")[name] = value
        return
    index = -1 if name.startswith("_") else _index(self, name)
    if index >= 0:
        if not _raw_get(self, "metaObject")().property(index).isWritable():
            raise AttributeError(f"Property '{name}' of type '{type(self).__name__}' is not writable.")
        if not _raw_get(self, "setProperty")(name, value):
            raise ValueError(f"Property '{name}' of {type(self).__name__} cannot be set to {value!r}.")
    elif name.startswith("_") or not _is_cpp(type(self)):
        descriptor = next((vars(c)[name] for c in type(self).__mro__ if name in vars(c)), None)
        if hasattr(descriptor, "__set__"):
            descriptor.__set__(self, value)
        else:
            _raw_get(self, "__dict__")[name] = value
    else:
        raise AttributeError(
            f"'{name}' does not exist on {type(self).__name__}"
            " and creating new attributes on C++ objects is not allowed"
        )


def _is_cpp(cls: type) -> bool:
    return cls in _stand_ins or cls.__module__.startswith("PySide6")


class BoundSignal:
    """A signal of an object, as PythonQt has it: connect, disconnect, and a call to emit."""

    def __init__(self, owner: Any, name: str, instance: Any) -> None:
        self._owner, self._name, self._instance = owner, name, instance

    def connect(self, receiver: Callable[..., Any], arguments: int | None = None) -> bool:
        """Call ``receiver`` when the signal is emitted."""
        if not callable(receiver):
            raise TypeError(f"{self._name}: {receiver!r} cannot be called")
        handler = _Receiver(receiver, arguments)
        key = (_pointer(self._owner), self._name)
        if key not in _connections:
            _connections[key] = []
            if self._name != "destroyed":
                _raw_get(self._owner, "destroyed").connect(lambda *_: _connections.pop(key, None))
        call = handler.call
        self._instance.connect(call)
        _connections[key].append((receiver, call))
        return True

    def disconnect(self, receiver: Callable[..., Any]) -> bool:
        """Stop calling ``receiver``; false when it was not connected."""
        known = _connections.get((_pointer(self._owner), self._name), [])
        for entry in [e for e in known if e[0] == receiver]:
            known.remove(entry)
            self._instance.disconnect(entry[1])
            return True
        return False

    def __call__(self, *arguments: Any) -> None:
        self._instance.emit(*arguments)


class _Receiver:
    """Calls a Python function with as many arguments as it takes, and keeps what it raises."""

    def __init__(self, function: Callable[..., Any], arguments: int | None) -> None:
        self._function, self._count = function, arguments
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            self._count = 0 if arguments is None else arguments
            return
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            taken = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
            self._count = taken if arguments is None else min(taken, arguments)

    def call(self, *arguments: Any) -> None:
        try:
            self._function(*arguments[: self._count])
        except Exception as error:  # PythonQt prints it and goes on
            errors.append(error)
            traceback.print_exc(file=sys.stderr)


def _single_shot(original: Any, milliseconds: int, *rest: Any) -> None:
    if len(rest) == 1 and callable(rest[0]):
        receiver = _Receiver(rest[0], 0)
        rest = (lambda: receiver.call(),)  # a function keeps the receiver, a bound method would not
    original(milliseconds, *rest)


def _pointer(obj: Any) -> int:
    return getCppPointer(obj)[0]


def _signal(obj: Any, signature: str) -> tuple[BoundSignal, int]:
    signature = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    name, _, rest = signature.partition("(")
    known: dict[str, str] = getattr(type(obj), "_signatures", {})
    if signature in known:
        name = known[signature]
    elif _raw_get(obj, "metaObject")().indexOfSignal(signature) < 0:
        raise AttributeError(f"{type(obj).__name__} has no signal {signature}")
    inside = rest.rstrip(")")
    return BoundSignal(obj, name, _raw_get(obj, name)), len(inside.split(",")) if inside else 0


def _connect(self: Any, *arguments: Any) -> Any:
    if len(arguments) != 2 or not isinstance(arguments[0], str):
        return _raw_get(self, "connect")(*arguments)  # PySide6 calling itself
    signal, count = _signal(self, arguments[0])
    return signal.connect(arguments[1], count)


def _disconnect(self: Any, signature: str, receiver: Callable[..., Any]) -> bool:
    return _signal(self, signature)[0].disconnect(receiver)


_SPECIAL: dict[str, Callable[..., Any]] = {"connect": _connect, "disconnect": _disconnect}
