"""A PET measurement: counts, expected background, and the position of the scanner's axis."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import GeometryError, InputError
from ..files import atomic_path
from ..scanner import Scanner
from ..volume import Volume
from .likelihood import Fit, poisson_fit
from .model import ForwardModel, Lines, scanner_projector
from .projector import ParallelProjector

FORMAT = "PETSuperRes measurement 1"
REACHED = 1e-3  # of a template's highest expected counts: bins below it say nothing of its amplitude


@dataclass(frozen=True)
class Measurement:
    """Counts y of model (1), with all that A and b need.

    ``counts``, ``background`` (expected) and ``attenuation`` (survival, or None) are
    ``(S, views, bins)`` float32; ``scale`` is counts per SUV x mm of mean line integral. ``grid`` is the
    image grid (values unused): its slices are the measurement's, its in-plane centre the scanner's axis.
    """

    scanner: Scanner
    counts: Tensor
    background: Tensor
    scale: float
    grid: Volume
    attenuation: Tensor | None = None
    kind = "sinogram"
    described = True  # nothing of how it was made is a guess

    def __post_init__(self) -> None:
        shapes = {tuple(t.shape) for t in (self.counts, self.background, self.attenuation) if t is not None}
        if len(shapes) != 1 or self.counts.shape[0] != self.grid.shape[0]:
            raise GeometryError(
                "Counts, background, attenuation and grid of a measurement must have the same slices, views and bins."
            )

    @property
    def factors(self) -> Tensor | float:
        """Expected counts per line integral in SUV x mm, ``(S, views, bins)`` or one for all."""
        return self.scale if self.attenuation is None else self.scale * self.attenuation

    @property
    def trues(self) -> Tensor:
        """Counts less expected background, ``(S, views, bins)``."""
        return self.counts - self.background

    @property
    def trues_per_slice(self) -> float:
        """Mean number of measured trues per slice (counts less expected background)."""
        return float(self.trues.sum() / self.counts.shape[0])

    @property
    def fwhm_mm(self) -> tuple[float, float]:
        """FWHM (transaxial, axial) of the scanner, which is what a user knows of the resolution."""
        return self.scanner.fwhm_transaxial_mm, self.scanner.fwhm_axial_mm

    @property
    def model_fwhm_mm(self) -> tuple[float, float]:
        """FWHM (transaxial, axial) of the kernel in the model."""
        return self.scanner.model_fwhm_mm

    def projector(self, grid: Volume, device: torch.device | str = "cpu") -> ParallelProjector:
        """G on an image grid."""
        return scanner_projector(self.scanner, grid.shape[1:], grid.spacing[0], device, self.counts.shape[2])

    def part(self, first: int, last: int) -> Measurement:
        """Slices ``first`` up to but not including ``last``."""
        return replace(
            self,
            counts=self.counts[first:last],
            background=self.background[first:last],
            grid=self.grid.slices(first, last),
            attenuation=None if self.attenuation is None else self.attenuation[first:last],
        )

    def model(self, grid: Volume, device: torch.device | str = "cpu", projector: Lines | None = None) -> ForwardModel:
        """The forward model of this measurement on an image grid with the same slices and in-plane centre."""
        centre = grid.corners().mean(0) - self.grid.corners().mean(0)
        if grid.shape[0] != self.grid.shape[0] or np.abs(centre).max() > 0.01:
            raise GeometryError("The image grid must have the measurement's slices and be centred on its axis.")
        attenuation = None if self.attenuation is None else self.attenuation.to(device)
        background = self.background.to(device)
        views = self.counts.shape[1]
        if views * self.scanner.angular_rebinning != self.scanner.views:
            raise GeometryError(
                f"The measurement has {views} views, scanner '{self.scanner.name}' makes "
                f"{self.scanner.views // self.scanner.angular_rebinning}: give the right preset."
            )
        projector = projector or self.projector(grid, device)
        return ForwardModel(
            self.scanner, grid.shape, grid.spacing, self.scale, attenuation, background, device, projector
        )

    def expected_trues(self, lines: Tensor) -> Tensor:
        """Expected counts less background, of line integrals ``(S, views, bins)`` in SUV x mm."""
        trues = lines * self.scale
        return trues if self.attenuation is None else trues.mul_(self.attenuation)

    def chi_square(self, y: Tensor, mean: Tensor) -> dict[str, float]:
        """Per bin, of counts under their expectation: 1 when the fit is as good as Poisson noise allows."""
        squares = (y - mean).square_().div_(mean.clamp_min(1e-3))
        return {"chi_square_per_bin": float(squares.mean(dtype=torch.float64))}

    noise_fwhm_mm = 0.0  # counts are independent
    tracer = None  # not known

    @property
    def noise_level(self) -> float:
        """Standard deviation over mean of the unattenuated counts of 1 SUV along 100 mm, in 1 mm of a bin's width
        and in all views."""
        views, bin_mm = self.counts.shape[1], self.scanner.bin_size_mm * self.scanner.radial_rebinning
        return math.sqrt(bin_mm / (100 * views * self.scale))

    def score(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the log-likelihood by line integrals, and its Fisher information, ``(S, views, bins)``."""
        slope = self.factors / expected
        return slope * (self.counts - expected), slope * self.factors

    def resampled(self, expected: Tensor, seed: int) -> Measurement:
        """Counts drawn from their expectation ``(S, views, bins)``."""
        return replace(self, counts=torch.poisson(expected, torch.Generator().manual_seed(seed)))

    def fit(self, counts: np.ndarray, base: np.ndarray, lines: np.ndarray, start: np.ndarray) -> Fit:
        """Amplitudes, from ``start`` on, of expected counts ``lines`` ``(T, S, views, bins)`` added to ``base``."""
        reached = (np.abs(lines) > REACHED * np.abs(lines).max((1, 2, 3), keepdims=True)).any(0)
        return poisson_fit(counts[reached], base[reached], lines[:, reached], start)

    def write(self, path: str | Path) -> Path:
        """Write as safetensors with the scanner and the grid as metadata."""
        tensors = {"counts": self.counts.cpu(), "background": self.background.cpu()}
        if self.attenuation is not None:
            tensors["attenuation"] = self.attenuation.cpu()
        grid = {"shape": self.grid.shape, "spacing": self.grid.spacing, "origin": self.grid.origin}
        metadata = {
            "format": FORMAT,
            "scanner": json.dumps(self.scanner.to_dict()),
            "scale": repr(self.scale),
            "grid": json.dumps({**grid, "direction": self.grid.direction}),
        }
        with atomic_path(path) as temporary:
            save_file({k: v.float().contiguous().clone() for k, v in tensors.items()}, temporary, metadata)
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> Measurement:
        """Read what :meth:`write` wrote; raises :class:`InputError` for anything else."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"No measurement file {path}: give one of a simulation.", "measurement")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path} is not a measurement: give one of a simulation.", "measurement")
            grid = json.loads(metadata["grid"])
            return cls(
                Scanner.from_dict(json.loads(metadata["scanner"])),
                tensors["counts"],
                tensors["background"],
                float(metadata["scale"]),
                Volume(np.zeros(grid["shape"], np.float32), grid["spacing"], grid["origin"], grid["direction"]),
                tensors.get("attenuation"),
            )
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path} is not a readable measurement: simulate it again.", "measurement") from error
