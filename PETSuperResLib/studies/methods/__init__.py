"""The compared methods behind one interface: a measurement (and the CT) in, a volume on the SR grid out.

A :class:`Method` states its source and needs, and restores a :class:`MethodCase`; :data:`METHODS` names
them as tables and command line do. One that learns has a ``fit`` that takes :class:`Subject` and
:class:`FitOptions` and returns the method that restores.
"""

from .interface import INPUTS, FitOptions, Method, MethodCase
from .registry import GROUPS, METHODS, named, restore

__all__ = ["GROUPS", "INPUTS", "METHODS", "FitOptions", "Method", "MethodCase", "named", "restore"]
