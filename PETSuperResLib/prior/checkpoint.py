"""The prior as one object: network, transform and schedule, in and out of a safetensors file.

A checkpoint holds bfloat16 weights and, as metadata, everything needed to use them and to know where
they come from, with a SHA-256 of the weights, which is checked on reading. The file's SHA-256 is part of every
report; the bundled one's is also checked against the value the package was released with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import atomic_path
from .card import BUNDLED, FORMAT, read_metadata
from .memory import TokenMemory
from .network import NoiseNetwork, PriorNetwork
from .schedule import NoiseSchedule
from .transform import AsinhTransform

#: by the name in the checkpoint; one without a name holds the first
ARCHITECTURES: dict[str, type[PriorNetwork]] = {kind.architecture: kind for kind in (NoiseNetwork,)}
FEW_PATCHES = 20_000  # the bundled prior was trained on 550 000
BUNDLED_SHA256 = BUNDLED.with_suffix(".sha256")


@dataclass
class Prior:
    """p(x | CT) in the asinh space of (3); :class:`~.denoiser.Denoiser` applies it.

    ``info`` is the checkpoint's model-card line: pixel size in mm, training data, licence, steps.
    """

    network: PriorNetwork
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

    @property
    def patches(self) -> int | None:
        """The patches it was trained on, those of the priors that it started from included; None if not recorded."""
        recorded = self.info.get("patches")
        if recorded is None and {"steps", "batch"} <= self.info.keys():
            recorded = self.info["steps"] * self.info["batch"]
        return recorded

    def warnings(self) -> list[str]:
        """What a user of the prior should know."""
        if self.patches is None or self.patches >= FEW_PATCHES:
            return []
        return [
            f"The prior was trained on {self.patches} patches only (a useful one needs {FEW_PATCHES} or more): "
            "the result is hardly guided by it."
        ]

    def to(self, device: torch.device | str) -> Prior:
        """Move the weights; returns the prior itself."""
        self.network.to(device)
        return self

    @property
    def neighbours(self) -> int:
        """Slices on either side of the denoised one that are input of the network."""
        return int(self.network.config.neighbours)

    def save(self, path: str | Path, **info: Any) -> Path:
        """Write weights (bfloat16) and metadata; returns the path."""
        weights = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in self.network.state_dict().items()}
        metadata = {
            "format": FORMAT,
            "architecture": self.network.architecture,
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
        metadata = read_metadata(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if bundled and BUNDLED_SHA256.is_file() and BUNDLED_SHA256.read_text().split()[:1] != [sha256]:
            raise CheckpointError(f"The bundled prior {path.name} is damaged (SHA-256 differs): install again.")
        try:
            stored = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged (not a whole safetensors file): give another copy.") from error
        if metadata.get("tensors_sha256") not in (None, tensors_sha256(stored)):
            raise CheckpointError(f"{path} is damaged (SHA-256 of its weights differs): give another copy of it.")
        weights = {name: weight.float() for name, weight in stored.items()}
        try:
            kind = ARCHITECTURES[metadata.get("architecture", NoiseNetwork.architecture)]
            network = kind(kind.Config(**json.loads(metadata["network"])))
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
