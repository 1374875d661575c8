"""Choice of the device and of its arithmetic."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

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


def autocast(device: torch.device) -> Any:
    """bfloat16 where the device computes it well: CUDA, and CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and fast_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (an emulation would be slower than float32)."""
    capabilities = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((capabilities and capabilities()) or (amx and amx()))
