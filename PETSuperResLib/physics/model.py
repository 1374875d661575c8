"""The measurement model A z + b and its Poisson likelihood: equations (1) and (4) to (6) of the paper.

``A = diag(scale x attenuation) G H`` with H the PSF and G the parallel-beam projector. The gradient
is analytic: one forward projection and one matched back-projection, no autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Protocol

import scipy.sparse
import torch
from torch import Tensor

from ..scanner import Scanner
from .layout import as_rows, parts, slices_last
from .projector import ParallelProjector, covering_bins
from .psf import GaussianPSF

EPSILON = 1e-6  # the paper's small constant of (5), in expected counts


class Resolution(Protocol):
    """What gives the width of H: a scanner, or a measurement."""

    @property
    def model_fwhm_mm(self) -> tuple[float, float]:
        """FWHM (transaxial, axial) in mm of the kernel in the model."""


class Lines(Protocol):
    """A matched pair of linear operators on slices: a projector, or the voxels of an image."""

    views: int
    bins: int
    device: torch.device

    def forward(self, image: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, views, bins)``."""

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose."""

    def matrix(self, rows: slice, columns: slice) -> scipy.sparse.csr_array:
        """The operator on a window of a slice's pixels, ``(views * bins, rows * columns)``."""


class ForwardModel:
    """The forward model of a scanner, or of its image, on one grid of slices.

    Parameters
    ----------
    resolution : a :class:`Scanner` or whatever else has the FWHM of H; without ``projector`` a scanner, whose geometry
        is taken.
    shape : (S, J, I) of the activity.
    spacing : (i, j, k) voxel size in mm; pixels must be square.
    scale : expected trues per unit of line integral (counts per activity x mm).
    attenuation : ``(S, views, bins)`` survival probabilities, or None.
    background : ``(S, views, bins)`` or a number: expected scatter and randoms b, in counts.
    projector : one made earlier for the same slices (they take a while to build).

    ``updated`` may be set to a function that is called after each :meth:`gradient` and :meth:`compare`, for progress.
    """

    def __init__(
        self,
        resolution: Scanner | Resolution,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        scale: float = 1.0,
        attenuation: Tensor | None = None,
        background: Tensor | float = 0.0,
        device: torch.device | str = "cpu",
        projector: Lines | None = None,
    ):
        self.shape, self.spacing = shape, spacing
        if projector is None:
            assert isinstance(resolution, Scanner)
            projector = scanner_projector(resolution, shape[1:], spacing[0], device)
        self.projector = projector
        self.fwhm_mm = resolution.model_fwhm_mm
        self.psf = GaussianPSF(shape, spacing, self.fwhm_mm, device)
        self.scale = float(scale)
        self.factors = self.scale if attenuation is None else self.scale * attenuation
        self.background = background
        self.updated: Callable[[], object] = lambda: None

    def forward(self, z: Tensor, psf: bool = True) -> Tensor:
        """A z, ``(S, J, I)`` -> ``(S, views, bins)`` expected trues; ``psf=False`` leaves H out (PPCR's H_t)."""
        blurred = self.psf(z) if psf else z
        return self.projector.forward(blurred) * self.factors

    def adjoint(self, y: Tensor, psf: bool = True) -> Tensor:
        """A^T y, the transpose of :meth:`forward`."""
        image = self.projector.adjoint(y * self.factors)
        return self.psf.adjoint(image) if psf else image

    def mean(self, z: Tensor, psf: bool = True) -> Tensor:
        """A z + b, the expected counts (4)."""
        return self.forward(z, psf) + self.background

    @cached_property
    def sensitivity(self) -> Tensor:
        """A^T 1 with the PSF, ``(S, J, I)``."""
        return self.adjoint(self._ones())

    @cached_property
    def sensitivity_no_psf(self) -> Tensor:
        """A^T 1 without the PSF, ``(S, J, I)``."""
        return self.adjoint(self._ones(), psf=False)

    def excess(self, z: Tensor) -> Tensor | float:
        """Expected counts of an estimate beyond A z + b: 0 where the measurement is linear, as here."""
        return 0.0

    def expected(self, z: Tensor) -> Tensor:
        """The expected counts of an estimate by all that is known of the measurement."""
        return self.mean(z) + self.excess(z)

    def loss(self, z: Tensor, y: Tensor, psf: bool = True) -> Tensor:
        """The Poisson negative log-likelihood (5), up to constants, summed in float64."""
        mean = self.mean(z, psf)
        return (mean - y * torch.log(mean + EPSILON)).double().sum()

    def gradient(self, z: Tensor, y: Tensor, psf: bool = True) -> Tensor:
        """The gradient (6): A^T (1 - y / (A z + b + eps)), ``(S, J, I)``."""
        gradient = self.adjoint(1.0 - y / (self.mean(z, psf) + EPSILON), psf)
        self.updated()
        return gradient

    def compare(self, z: Tensor, y: Tensor, psf: bool = True) -> tuple[Tensor, Tensor]:
        """A^T (y / (A z + b)), ``(S, J, I)``, and how far A z + b is from ``y``, ``(S,)`` in float64.

        What an EM update needs, with the sinogram passed over once. The distance of each slice is Kullback and
        Leibler's: the loss (5) without terms of ``y`` alone, which makes small changes of it exact in float32.
        Fastest with ``z`` and ``y`` by :func:`~.layout.slices_last`, as the result is.
        """
        z, y = slices_last(z), slices_last(y)
        lines = self.projector.forward(self.psf(z) if psf else z)
        rows, counts = as_rows(lines), as_rows(y)
        distance = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        for part in parts(rows):
            factors, background = (x[part] if len(x) > 1 else x for x in self._rows)
            mean = rows[part].mul_(factors).add_(background)
            ratio = counts[part] / mean
            terms = (ratio + 1e-30).log_().mul_(counts[part]).add_(mean).sub_(counts[part])
            distance += terms.sum(0)
            torch.mul(ratio, factors, out=rows[part])
        image = self.projector.adjoint(lines)
        image = self.psf.adjoint(image) if psf else image
        self.updated()
        return image, distance

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        """Factors and background (with epsilon) as rows of all slices, one row where all lines share it."""
        shape = (self.shape[0], self.projector.views, self.projector.bins)
        found = []
        for value in (self.factors, self.background):
            x = torch.as_tensor(value, device=self.projector.device).expand(shape)
            shared = x.stride(1) == x.stride(2) == 0
            found.append(as_rows(slices_last(x[:, :1, :1] if shared else x)))
        return found[0], found[1] + EPSILON

    def _ones(self) -> Tensor:
        device = self.projector.device
        return torch.ones(self.shape[0], self.projector.views, self.projector.bins, device=device)


def scanner_projector(
    scanner: Scanner, shape: tuple[int, int], pixel_mm: float, device: torch.device | str = "cpu", bins: int = 0
) -> ParallelProjector:
    """G of a scanner on slices of ``shape``: its views and bins, rebinned.

    Bins that cannot see the slice are left out; ``bins`` is a measurement's own number, where there is one.
    """
    bin_mm = scanner.bin_size_mm * scanner.radial_rebinning
    bins = bins or min(
        -(-scanner.radial_bins // scanner.radial_rebinning) or 10**6, covering_bins(shape, pixel_mm, bin_mm)
    )
    views, sub = scanner.views // scanner.angular_rebinning, scanner.angular_rebinning
    return _projector(tuple(shape), pixel_mm, views, bins, bin_mm, sub, str(device))


@lru_cache(maxsize=2)
def _projector(*parameters: Any) -> ParallelProjector:
    """One of :class:`ParallelProjector`'s parameters; the last ones are kept for the next case."""
    return ParallelProjector(*parameters)


def osem(
    model: ForwardModel,
    y: Tensor,
    iterations: int,
    psf: bool = True,
    start: Tensor | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """``iterations`` equivalent EM updates z <- z / A^T 1 * A^T (y / (A z + b)), from ``start`` or a uniform image.

    ML-EM of Shepp and Vardi; without ``psf`` it is a clinic's OSEM, with it PSF-OSEM, at
    iterations x subsets = ``iterations``. ``callback(n, z)`` is called with every iterate.
    """
    sensitivity = model.sensitivity if psf else model.sensitivity_no_psf
    weight = slices_last(1.0 / sensitivity.clamp_min(1e-3 * sensitivity.max()))
    z = slices_last(start) if start is not None else torch.ones_like(weight) * uniform_start(model, y)
    y = slices_last(y)
    for n in range(iterations):
        z = z * weight * model.compare(z, y, psf)[0]
        if callback is not None:
            callback(n + 1, z)
    return z.contiguous()


def uniform_start(model: ForwardModel, y: Tensor) -> float:
    """The uniform activity whose expected trues are the measured ones (counts less background)."""
    background = torch.as_tensor(model.background, device=y.device).expand_as(y).sum()
    trues = (y.sum() - background).clamp_min(0.05 * y.sum())
    return float(trues / model.sensitivity_no_psf.sum().clamp_min(1e-12)) or 1e-6
