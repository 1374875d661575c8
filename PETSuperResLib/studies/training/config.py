"""What decides a training run: one frozen object, kept beside its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import InputError
from ...prior import STRIDE, NetworkConfig

FOLDER = Path(__file__).parents[2] / "Resources" / "training"
CONFIGURATIONS = ("bundled", "large", "huge")  # that come with the package, as JSON files


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
    log_every: int = 25  # steps between rows of log.csv
    checkpoint_every: int = 250
    validate_every: int = 1000  # steps between validations, of which one is at the end; 0: none
    mixed_precision: bool = True  # bfloat16 where the device computes it well
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        for name in ("batch", "size", "warmup", "paintings", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        if self.size % STRIDE:
            raise ValueError(f"size must be a multiple of {STRIDE}")
        if self.steps < 0 or self.validate_every < 0:
            raise ValueError("steps and validate_every must not be negative")
        if not (self.pixel_mm > 0 and self.learning_rate > 0 and self.clip > 0):
            raise ValueError("pixel_mm, learning_rate and clip must be above 0")

    @classmethod
    def read(cls, path: str | Path | None) -> TrainingConfig:
        """From a JSON file with any of the fields, or by the name of a configuration that comes with the package.

        Unknown or impossible fields are an :class:`InputError`.
        """
        if path is None:
            return cls()
        if str(path) in CONFIGURATIONS:
            path = FOLDER / f"{path}.json"
        elif not Path(path).is_file():
            raise InputError(f"No training configuration {path}: give a JSON file or {', '.join(CONFIGURATIONS)}.")
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            network = NetworkConfig(**values.pop("network", {}))
            return cls(network=network, **values)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a training configuration: {error}.") from error


def with_conditioning(config: TrainingConfig, conditioning: str) -> TrainingConfig:
    """The same run with another conditioning, for the ablations."""
    return replace(config, network=replace(config.network, conditioning=conditioning))
