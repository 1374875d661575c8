"""What decides a training run: frozen objects, kept beside the checkpoint; and the recipes that come along."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...prior import STRIDE, NetworkConfig
from .loop import LoopConfig

FOLDER = Path(__file__).parent / "recipes"
RECIPES = ("bundled", "torso", "large", "huge")  # that come along, as JSON files


@dataclass(frozen=True)
class TrainingConfig(LoopConfig):
    """Everything that decides one stage of a run; written beside its checkpoint as ``config.json``."""

    size: int = 96  # patch side in pixels
    pixel_mm: float = 2.0
    ct_dropout: float = 0.1  # share of patches trained without CT
    log_sigma_mean: float = -1.2  # of the noise ratio drawn for most patches (Karras et al. 2022)
    log_sigma_std: float = 1.2
    uniform_share: float = 0.25  # the others draw t uniformly
    painted_share: float = 0.35  # patches of sharp uptake painted into the patients' CTs
    paintings: int = 6  # of every patient
    torso_share: float = 0.0  # patches of uptake painted into torso CTs, where there are any
    ct_paintings: int = 12  # of every torso CT
    phantom_share: float = 0.2
    phantom_slices: int = 3000
    stated_share: float = 0.0  # patches whose resolution the network receives; 0: it has no such input
    blurred_share: float = 0.0  # painted and generated patches blurred at random, where resolutions are stated
    patient_mm: float = 6.0  # resolution (FWHM) of the patients' PET
    resolution_mm: float = 2.0  # for which the prior is exported
    start_from: str = ""  # a prior whose weights the run starts from ("bundled" or a file); empty: random
    mixed_precision: bool = True  # bfloat16 where the device computes it well
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "paintings", "ct_paintings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        if self.size % STRIDE:
            raise ValueError(f"size must be a multiple of {STRIDE}")
        if not (self.pixel_mm > 0 and self.patient_mm > 0 and self.resolution_mm > 0):
            raise ValueError("pixel_mm, patient_mm and resolution_mm must be above 0")


Stages = tuple[TrainingConfig, ...]


def read_recipe(path: str | Path | None) -> Stages:
    """The stages of a JSON file, or of a recipe that comes along by its name; None: one stage of defaults.

    The file holds any fields of :class:`TrainingConfig`. With ``"stages"``, a list of such objects, each stage takes
    the fields of the file and its own, and starts from the weights of the stage before. Unknown or impossible fields
    are an :class:`InputError`.
    """
    if path is None:
        return (TrainingConfig(),)
    if str(path) in RECIPES:
        path = FOLDER / f"{path}.json"
    elif not Path(path).is_file():
        raise InputError(f"No training configuration {path}: give a JSON file or {', '.join(RECIPES)}.")
    try:
        common = json.loads(Path(path).read_text(encoding="utf-8"))
        own = common.pop("stages", [{}])
        if not own:
            raise ValueError("it has no stages")
        return tuple(_stage(common, changes) for changes in own)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a training configuration: {error}.") from error


def _stage(common: dict[str, Any], own: dict[str, Any]) -> TrainingConfig:
    network = NetworkConfig(**{**common.get("network", {}), **own.get("network", {})})
    return TrainingConfig(**{**common, **own, "network": network})


def recipe_json(stages: Sequence[TrainingConfig]) -> str:
    """What :func:`read_recipe` reads: all fields, those that the stages share once."""
    rows = [asdict(stage) for stage in stages]
    shared = {f.name for f in fields(TrainingConfig) if all(row[f.name] == rows[0][f.name] for row in rows)}
    content = {name: value for name, value in rows[0].items() if name in shared}
    if len(rows) > 1:
        content["stages"] = [{name: value for name, value in row.items() if name not in shared} for row in rows]
    return json.dumps(content, indent=1)


def with_conditioning(stages: Stages, conditioning: str) -> Stages:
    """The same run whose last stage has another conditioning, for the ablations."""
    last = stages[-1]
    return *stages[:-1], replace(last, network=replace(last.network, conditioning=conditioning))
