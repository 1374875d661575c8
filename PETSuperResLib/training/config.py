"""What decides a training run: one frozen object, kept beside its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from ..prior import NetworkConfig


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a run; written beside its checkpoint as ``config.json``."""

    steps: int = 6000
    batch: int = 16
    size: int = 96  # patch side in pixels
    pixel_mm: float = 2.0
    learning_rate: float = 4e-4
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    ct_dropout: float = 0.1  # share of patches trained without CT
    log_sigma_mean: float = -1.2  # of the noise ratio drawn for most patches (Karras et al. 2022)
    log_sigma_std: float = 1.2
    uniform_share: float = 0.25  # the others draw t uniformly
    painted_share: float = 0.35  # patches of sharp uptake painted into the patients' CTs
    paintings: int = 6  # of every patient
    phantom_share: float = 0.2
    phantom_slices: int = 3000
    start_from: str = ""  # a prior whose weights the run starts from ("bundled" or a file); empty: random
    seed: int = 0
    checkpoint_every: int = 250
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @classmethod
    def read(cls, path: str | Path | None) -> TrainingConfig:
        """From a JSON file with any of the fields; unknown ones are an :class:`InputError`."""
        if path is None:
            return cls()
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            network = NetworkConfig(**values.pop("network", {}))
            return cls(network=network, **values)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a training configuration: {error}.") from error


def with_conditioning(config: TrainingConfig, conditioning: str) -> TrainingConfig:
    """The same run with another conditioning, for the ablations."""
    return replace(config, network=replace(config.network, conditioning=conditioning))
