"""The diffusion prior over sharp PET images, guided by CT (section 2.2).

The names below are loaded on first use: :mod:`.card` reads a checkpoint's header where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Prior as Prior
    from .denoiser import Denoiser as Denoiser
    from .network import STRIDE as STRIDE
    from .network import NetworkConfig as NetworkConfig
    from .network import NoiseNetwork as NoiseNetwork
    from .schedule import NoiseSchedule as NoiseSchedule
    from .transform import AsinhTransform as AsinhTransform

_HOME = {
    "Prior": "checkpoint",
    "Denoiser": "denoiser",
    "STRIDE": "network",
    "NetworkConfig": "network",
    "NoiseNetwork": "network",
    "NoiseSchedule": "schedule",
    "AsinhTransform": "transform",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
