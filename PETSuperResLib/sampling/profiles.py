"""The profiles by name: what ``quality`` chooses from, for sinograms and for reconstructed images."""

from __future__ import annotations

from typing import Any

from .paper import Paper
from .sampler import Sampler
from .standard import Standard

PROFILES = Sampler.PROFILES
PROFILES["draft"] = Standard(
    "draft", steps=2, start_sigma=1.8, end_sigma=0.25, prior_width=4.0, tissue_beta=0.2, axial_fwhm_slices=0.8,
    inner_first=16, inner_last=24, stop_below=0.003, memory=0.0,
)  # fmt: skip
PROFILES["standard"] = Standard("standard")
PROFILES["paper"] = Paper("paper")
# An image's noise is smooth, so fewer effective counts hold it, and the ties hold the hot regions. Neighbouring slices
# of an image share noise and need no mean across them. Memory keeps what six steps would smooth away.
IMAGE: dict[str, Any] = {"axial_fwhm_slices": 0.0, "tissue_beta": 0.3, "width_power": 0.0}
Sampler.IMAGE_PROFILES["draft"] = Sampler.get("draft", **IMAGE)
Sampler.IMAGE_PROFILES["standard"] = Sampler.get(
    "standard", **IMAGE, prior_width=2.5, inner_first=16, inner_last=24, stop_below=0.003, memory=0.3
)
