"""The compared methods behind one interface: a measurement (and the CT) in, a volume on the SR grid out.

A :class:`Method` says what it follows and needs, and restores a :class:`MethodCase`; :data:`METHODS` names
them as tables and command line do. Supervised and other published methods join here as they are built.
"""

from .interface import Method, MethodCase
from .registry import METHODS, restore

__all__ = ["METHODS", "Method", "MethodCase", "restore"]
