"""Small things the numerical tests share: a tiny untrained prior, a small phantom, random sizes."""

from __future__ import annotations

import copy
import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from PETSuperResLib.phantoms.torso import Phantom, torso_phantom
from PETSuperResLib.physics.model import ForwardModel
from PETSuperResLib.prior import NetworkConfig, NoiseNetwork, Prior
from PETSuperResLib.prior.network import PriorNetwork
from PETSuperResLib.scanner import Scanner

CONFIG = NetworkConfig(widths=(16, 16, 16), heads=2)


def tiny_network(
    conditioning: str = "cross-attention", seed: int = 0, size: float = 0.05, neighbours: int = 0
) -> NoiseNetwork:
    """An untrained network whose zero-initialised layers are random, so that every input matters."""
    torch.manual_seed(seed)
    network = NoiseNetwork(NetworkConfig(CONFIG.widths, CONFIG.blocks, CONFIG.heads, conditioning, neighbours))
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, size)
    return network.requires_grad_(False).eval()


def tiny_prior(folder: Path, conditioning: str = "cross-attention", neighbours: int = 0) -> Prior:
    """The tiny network as a checkpoint that was written and read."""
    path = folder / f"{conditioning}.safetensors"
    Prior(tiny_network(conditioning, neighbours=neighbours), info={"pixel_mm": 2.0, "trained_on": "nothing"}).save(path)
    return Prior.load(path)


@dataclass(frozen=True)
class GaussianConfig:
    """Mean and standard deviation in model space."""

    mean: float = 2.0
    std: float = 0.3
    neighbours: int = 0


class GaussianNetwork(PriorNetwork):
    """The exact denoiser of independent normal voxels, whose mean is 0 where the CT shows air."""

    architecture, Config, stride = "gaussian", GaussianConfig, 4

    def __init__(self, config: GaussianConfig = GaussianConfig()):
        super().__init__()
        self.config, self.weight = config, nn.Parameter(torch.ones(1))

    def tokens(self, ct: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (ct[:, :1] > -0.9,)

    def forward(self, x_t, log_ratio, tokens, slice_mm=None):
        ratio = log_ratio.exp()[:, None, None, None]
        signal = (1 + ratio**2).rsqrt()
        noise, variance = ratio * signal, self.config.std**2
        mean = self.weight * self.config.mean * tokens[0]
        x0 = mean + variance * signal * (x_t - signal * mean) / (signal**2 * variance + noise**2)
        return signal * (x_t - signal * x0) / noise - noise * x0


@cache
def small_phantom() -> Phantom:
    """Four slices of the middle of a torso at 4 mm with two lesions."""
    return torso_phantom(3, (4, 56, 64), (4.0, 4.0, 4.0), 2, "abdomen")


def write_phantom(folder: Path, shift: int = 0) -> Path:
    """The small phantom as a case folder with contour; ``shift`` rolls it by so many columns, to have another one."""
    phantom = small_phantom()
    for volume, name in ((phantom.pet, "PET_SUV"), (phantom.ct, "CT_HU"), (phantom.labels, "GTV")):
        volume.with_array(np.roll(volume.array, shift, 2)).write(folder / f"{name}.nii.gz")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_progress(said: str) -> str:
    """What a command said on standard error but for the lines of its progress, which a busy machine has."""
    return "".join(line for line in said.splitlines(keepends=True) if not re.match(r" *[\d.]+ %  ", line))


def random_model(
    seed: int, shape: tuple[int, int, int] = (2, 24, 28), attenuation: bool = True, **changes: object
) -> tuple[ForwardModel, torch.Tensor, torch.Tensor]:
    """A model with random attenuation and background, a random activity and counts drawn from it."""
    random = torch.Generator().manual_seed(seed)
    scanner = Scanner.get("Paper standard", **{"fwhm_axial_mm": 4.0, **changes})
    empty = ForwardModel(scanner, shape, (4.0, 4.0, 4.0))
    views, bins = empty.projector.views, empty.projector.bins
    survival = 0.1 + 0.9 * torch.rand(shape[0], views, bins, generator=random) if attenuation else None
    background = 0.5 + torch.rand(shape[0], views, bins, generator=random)
    model = ForwardModel(scanner, shape, (4.0, 4.0, 4.0), 0.2, survival, background, projector=empty.projector)
    z = torch.rand(shape, generator=random) * 3 + 0.1
    return model, z, torch.poisson(model.mean(z), random)


def relative(a: torch.Tensor | np.ndarray, b: torch.Tensor | np.ndarray) -> float:
    """L2 distance of a from b over the norm of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def mismatch(forward: torch.Tensor, y: torch.Tensor, z: torch.Tensor, adjoint: torch.Tensor) -> float:
    """|<A z, y> - <z, A* y>| / |<A z, y>|, summed in float64."""
    left = float((forward.double() * y.double()).sum())
    right = float((z.double() * adjoint.double()).sum())
    return abs(left - right) / abs(left)


def in_float64(thing: Any) -> Any:
    """A copy, say of a model, with the same weights that computes in float64."""
    if isinstance(thing, torch.Tensor):
        return thing.double() if thing.is_floating_point() else thing
    if isinstance(thing, (list, tuple)):
        return type(thing)(map(in_float64, thing))
    if not type(thing).__module__.startswith("PETSuperResLib.physics"):
        return thing
    new = copy.copy(thing)
    new.__dict__.update({name: in_float64(value) for name, value in thing.__dict__.items()})
    return new
