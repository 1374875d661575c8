"""DDIM with data consistency and the coarse-to-fine schedule PPCR (section 2.4)."""

from .config import PROFILES, Sampler
from .ddim import UNKNOWN_HU, Seam, sample

__all__ = ["PROFILES", "UNKNOWN_HU", "Sampler", "Seam", "sample"]
