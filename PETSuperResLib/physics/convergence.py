"""The response of a reconstruction that models the PSF, by how far its updates have converged.

About an image z, EM updates are linear: a frequency f has converged by R(f) = 1 - exp(-k H(f)^2 / f) after n updates,
where H is the transfer function of the PSF and k = n z <1 / p> / pi, with <1 / p> the mean over all directions of one
over the expected line integrals through the place (the part of an update that reaches f is z / A^T 1 A^T A / p, and A^T
A is H^2 / f). R is flat where it is near 1 and falls faster than a Gaussian, hence the overshoot at edges; and it
reaches farther the hotter a region is. Usual protocols and bodies have k of about
:data:`~PETSuperResLib.resolution.PER_SUV` z.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..widths import BOX_FWHM, FWHM_PER_SIGMA
from .psf import GaussianPSF

LEAST, MOST, LEVELS = 0.03, 6.0, 6  # values of k, 1/mm, between which places are interpolated
SURROUNDINGS_MM = 6.0  # FWHM, over which the local SUV is the mean
LEAST_BOX = 0.3  # of a voxel's transfer function, which is divided by
EDGE_MM = 30.0  # mirrored about the slices, as the response is computed by Fourier transforms


class ConvergingResponse:
    """What an image shows of an activity ``(S, J, I)`` on a grid, before the mean over its voxels.

    It is sum_l F R_l (w_l z): F is the filter's transfer function, less the extent of the voxels, which the
    reconstruction's own voxels have as well, and w_l are the weights of :data:`LEVELS` values of k.

    Parameters
    ----------
    shape, spacing : (S, J, I) and (i, j, k) voxel size in mm of the activity.
    psf_mm, filter_mm, voxel_mm : FWHM in the slice of PSF and filter, and the image's voxel size.
    axial_mm : FWHM across slices of a Gaussian.
    per_suv : k over the local SUV, 1/mm.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        psf_mm: float,
        filter_mm: float,
        voxel_mm: float,
        axial_mm: float,
        per_suv: float,
        device: torch.device | str = "cpu",
    ):
        self.per_suv = per_suv
        self.edges = tuple(min(math.ceil(EDGE_MM / spacing[0]), n - 1) for n in shape[1:])
        rows, columns = (n + 2 * edge for n, edge in zip(shape[1:], self.edges, strict=True))
        f = torch.hypot(torch.fft.fftfreq(rows, spacing[1])[:, None], torch.fft.rfftfreq(columns, spacing[0]))
        f = f.clamp_min(1e-4).to(device)
        post = _gaussian(f, filter_mm) / _gaussian(f, BOX_FWHM * voxel_mm).clamp_min(LEAST_BOX)
        levels = torch.from_numpy(np.geomspace(LEAST, MOST, LEVELS).astype(np.float32))
        self.transfer = [post * (1 - torch.exp(-float(k) * _gaussian(f, psf_mm) ** 2 / f)) for k in levels]
        self.axial = GaussianPSF(shape, spacing, (0.0, axial_mm), device)
        self.mean = GaussianPSF(shape, spacing, (SURROUNDINGS_MM, 0.0), device)

    def __call__(self, z: Tensor) -> Tensor:
        z = z.contiguous()
        return self.shown(z, self.per_suv * self.mean(z))

    def shown(self, z: Tensor, k: Tensor) -> Tensor:
        """The same with another k, ``(S, J, I)`` in 1/mm."""
        place = torch.log(k.clamp(LEAST, MOST) / LEAST) * ((LEVELS - 1) / math.log(MOST / LEAST))  # in levels
        (top, left), spread = self.edges, self.axial(z.contiguous())
        total = torch.zeros(1, device=z.device)
        for n, transfer in enumerate(self.transfer):
            part = spread * (1 - (place - n).abs()).clamp_min(0)
            mirrored = F.pad(part[:, None], (left, left, top, top), mode="reflect")[:, 0]
            total = total + torch.fft.rfft2(mirrored) * transfer
        rows, columns = z.shape[1:]
        shown = torch.fft.irfft2(total, s=(rows + 2 * top, columns + 2 * left))
        return shown[:, top : top + rows, left : left + columns].contiguous()


def _gaussian(f: Tensor, fwhm_mm: float) -> Tensor:
    """The transfer function of a Gaussian at frequencies in 1/mm."""
    return torch.exp(-2 * (math.pi * fwhm_mm / FWHM_PER_SIGMA * f) ** 2)
