"""Choice of the device."""

from __future__ import annotations

import torch

from .errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA if there is one, else the CPU; ``cpu``, ``cuda``, ``cuda:1`` and ``mps`` name a device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Unknown device '{name}': use auto, cpu, cuda or mps.") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"Device '{name}' is not available on this machine: use auto or cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"Device '{name}' is not available on this machine: use auto or cpu.")
    return device
