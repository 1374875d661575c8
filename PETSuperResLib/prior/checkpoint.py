"""The prior as one object: network, transform and schedule, in and out of a safetensors file.

A checkpoint holds bfloat16 weights and, as metadata, everything needed to use them and to know where
they come from, with a SHA-256 of the weights, which is checked on reading. The file's SHA-256 is part of every
report; the bundled one's is also checked against the value the package was released with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import atomic_path
from .memory import TokenMemory
from .network import STRIDE, NetworkConfig, NoiseNetwork
from .schedule import NoiseSchedule
from .transform import AsinhTransform, normalise_ct

FORMAT = "PETSuperRes prior 1"
BUNDLED = Path(__file__).parent.parent / "Resources" / "prior.safetensors"
BUNDLED_SHA256 = BUNDLED.with_suffix(".sha256")


@dataclass
class Prior:
    """p(x | CT): noise prediction eps(x_t, t, c) in the asinh space of (3).

    ``info`` is the checkpoint's model-card line: pixel size in mm, training data, licence, steps.
    """

    network: NoiseNetwork
    transform: AsinhTransform = field(default_factory=AsinhTransform)
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    info: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    memory: TokenMemory = field(default_factory=TokenMemory, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def pixel_mm(self) -> float:
        """The pixel size the network was trained at."""
        return float(self.info.get("pixel_mm", 2.0))

    def to(self, device: torch.device | str) -> Prior:
        """Move the weights; returns the prior itself."""
        self.network.to(device)
        return self

    def tokens(self, ct_hu: Tensor) -> tuple[Tensor, ...]:
        """What the network keeps of the CT ``(B, H, W)`` in HU: encoded once per case, remembered for the next time."""
        check_stride(ct_hu.shape[-2:])

        def encode() -> tuple[Tensor, ...]:
            ct = normalise_ct(ct_hu).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode(), autocast(ct.device):
                return self.network.tokens(ct)

        return self.memory.tokens(ct_hu, self.network, encode)

    def epsilon(self, x_t: Tensor, t: Tensor, tokens: tuple[Tensor, ...], slice_mm: float | None = None) -> Tensor:
        """The predicted noise eps(x_t, t, c), ``(B, 1, H, W)`` float32; t ``(B,)`` integers.

        ``x_t`` is ``(B, 1, H, W)``, or ``(B, 1 + 2 neighbours, H, W)`` for a prior that sees neighbours
        (:func:`with_neighbours` makes it), ``slice_mm`` apart.
        """
        signal, noise = self.schedule.signal_noise(t)
        log_ratio = torch.log(noise / signal).flatten()
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        gap = None if slice_mm is None else torch.full_like(log_ratio, slice_mm)
        with torch.inference_mode(), autocast(x_t.device):
            v = self.network(x_t, log_ratio, tokens, gap)
        middle = self.neighbours
        return signal * v + noise * x_t[:, middle : middle + 1]

    def denoise(self, x_t: Tensor, t: Tensor, tokens: tuple[Tensor, ...], slice_mm: float | None = None) -> Tensor:
        """Tweedie's estimate (7) of x_0, ``(B, 1, H, W)``."""
        middle = x_t[:, self.neighbours : self.neighbours + 1]
        return self.schedule.tweedie(middle, self.epsilon(x_t, t, tokens, slice_mm), t)

    @property
    def neighbours(self) -> int:
        """Slices the network sees on either side of the one that it denoises."""
        return self.network.config.neighbours

    def save(self, path: str | Path, **info: Any) -> Path:
        """Write weights (bfloat16) and metadata; returns the path."""
        weights = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in self.network.state_dict().items()}
        metadata = {
            "format": FORMAT,
            "network": json.dumps(asdict(self.network.config)),
            "transform": json.dumps(asdict(self.transform)),
            "schedule": json.dumps(asdict(self.schedule)),
            "info": json.dumps({**self.info, **info}),
            "tensors_sha256": tensors_sha256(weights),
        }
        with atomic_path(path) as temporary:
            save_file(weights, temporary, metadata)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path | None = None, device: torch.device | str = "cpu") -> Prior:
        """Read a checkpoint (the bundled one without a path).

        Raises :class:`CheckpointError` when it is missing, damaged, not a PETSuperRes prior, or (bundled)
        not the released file.
        """
        bundled = path is None
        path = Path(path or BUNDLED)
        if not path.is_file():
            raise CheckpointError(f"No prior at {path}: give a .safetensors file made by training.", "prior")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if bundled and BUNDLED_SHA256.is_file() and BUNDLED_SHA256.read_text().split()[:1] != [sha256]:
            raise CheckpointError(f"The bundled prior {path.name} is damaged (SHA-256 differs): install again.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a readable safetensors file: give one made by training.", "prior"
            ) from error
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path} is not a PETSuperRes prior: give one made by training.", "prior")
        if metadata.get("tensors_sha256") not in (None, tensors_sha256(stored)):
            raise CheckpointError(f"{path} is damaged (SHA-256 of its weights differs): give another copy of it.")
        weights = {name: weight.float() for name, weight in stored.items()}
        try:
            network = NoiseNetwork(NetworkConfig(**json.loads(metadata["network"])))
            network.load_state_dict(weights)
            if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
                raise ValueError("weights that are not finite")
            prior = cls(
                network,
                AsinhTransform(**json.loads(metadata["transform"])),
                NoiseSchedule(**json.loads(metadata["schedule"])),
                json.loads(metadata["info"]),
                sha256,
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this version's network: train it again or update.") from error
        prior.network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return prior.to(device)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_stride(size: tuple[int, ...] | torch.Size) -> None:
    """Raise if an image size is not a multiple of the network's stride."""
    if any(n % STRIDE for n in size):
        raise ValueError(f"image size {tuple(size)} must be a multiple of {STRIDE}: pad it")


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
