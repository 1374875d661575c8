"""The profiles by name: what ``quality`` chooses from."""

from __future__ import annotations

from .paper import Paper
from .sampler import Sampler
from .standard import Standard

PROFILES = Sampler.PROFILES
PROFILES["draft"] = Standard("draft", steps=2, start_sigma=1.8, end_sigma=0.25, prior_width=4.0, tissue_beta=0.2)
PROFILES["standard"] = Standard("standard")
PROFILES["paper"] = Paper("paper")
