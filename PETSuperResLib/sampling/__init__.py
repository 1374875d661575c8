"""Samplers of the posterior: functions of one signature, each with the profile of values that it reads.

A new one is a file with its function and its subclass of :class:`Sampler`, as paper.py, and a line in profiles.py.
"""

from .paper import Paper
from .profiles import PROFILES
from .sampler import Sampler
from .slabs import Slabs, SlabState
from .standard import Standard

__all__ = ["PROFILES", "Paper", "Sampler", "SlabState", "Slabs", "Standard"]
