"""The compared methods behind one interface: a measurement (and the CT) in, a volume on the SR grid out.

A method is a function ``restore(case) -> Volume``; :data:`METHODS` names them as tables and command line
do. Supervised and other published methods join here as they are built.
"""

from .registry import METHODS, MethodCase, restore

__all__ = ["METHODS", "MethodCase", "restore"]
