"""What the tests of training share: a run of a few steps on the tiny network, and what such a run wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny import CONFIG
from tiny import table as table

from PETSuperResLib.studies.training.config import TrainingConfig

SETTINGS = TrainingConfig(
    steps=6,
    batch=2,
    size=32,
    pixel_mm=4.0,
    warmup=2,
    phantom_slices=6,
    log_every=1,
    checkpoint_every=2,
    validate_every=0,
    network=CONFIG,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a run's state."""
    return load_file(folder / "state.safetensors")


def same(one: Path, other: Path) -> bool:
    """Whether two runs are in the same state, to the bit."""
    expected, got = weights(one), weights(other)
    return expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in expected)
