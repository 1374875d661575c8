"""DDIM with data consistency and the coarse-to-fine schedule PPCR (section 2.4)."""

from ..problem import UNKNOWN_HU
from .ddim import Seam, sample
from .profiles import PROFILES, Sampler

__all__ = ["PROFILES", "UNKNOWN_HU", "Sampler", "Seam", "sample"]
