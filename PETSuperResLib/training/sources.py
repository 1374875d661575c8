"""The slices a prior learns from: patients' own, painted into their CTs, and procedural phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..progress import Reporter
from .config import TrainingConfig
from .data import SliceBatches, Slices, find_cases, painted_slices, read_split, slices_of
from .phantoms import random_slices


def training_slices(
    data: str | Path | None, split: str | Path | None, config: TrainingConfig, report: Reporter
) -> tuple[SliceBatches, str]:
    """The slices of the training patients and of the phantoms, and a line that says what they are."""
    sources: list[Slices] = []
    shares, described = [], []
    if data is not None:
        cases = find_cases(data, read_split(data, "train", split))
        real: Slices = []
        painted: Slices = []
        for n, case in enumerate(cases):
            report("loading", n / len(cases), case.name)
            real.extend(zip(*slices_of(case, config.pixel_mm), strict=True))
            if config.painted_share > 0:
                painted.extend(painted_slices(case, config.pixel_mm, config.paintings, config.seed + 1000 * n))
        sources.append(real)
        shares.append(max(0.0, 1 - config.phantom_share - config.painted_share))
        described.append(f"{len(real)} slices of {len(cases)} patients in {Path(data).name}")
        if painted:
            sources.append(painted)
            shares.append(config.painted_share)
            described.append(f"{len(painted)} slices painted into their CTs")
    if config.phantom_share > 0 or data is None:
        report("phantoms", 0.0, f"{config.phantom_slices} slices")
        pet, ct = random_slices(config.seed + 1, config.phantom_slices, int(config.size * 4 / 3), config.pixel_mm)
        sources.append(list(zip(pet.astype(np.float16), ct.astype(np.float16), strict=True)))
        shares.append(config.phantom_share if data is not None else 1.0)
        described.append(f"{len(pet)} phantom slices")
    return SliceBatches(sources, shares, config.size, config.seed), " and ".join(described)
