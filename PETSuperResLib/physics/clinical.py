"""The image that a hospital makes of a measurement, by its protocol."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..device import pick_device
from ..volume import Volume
from .measurement import Measurement
from .model import ForwardModel, osem
from .penalised import penalised
from .protocols import Protocol
from .psf import GaussianPSF
from .relative_difference import RelativeDifference

GAMMA = 2.0  # of Q.Clear's relative difference penalty (Ross, GE white paper 2014)


def clinical_image(measurement: Measurement, protocol: Protocol, device: str = "auto") -> Volume:
    """The image of ``protocol``, SUVbw, on its own voxels, with its header as metadata.

    Subsets accelerate; they are replaced by as many updates with all data, which gives the same image but for the
    small limit cycle of subsets. The reconstruction's kernel, where it has one, is the scanner's in the model
    (FWHM x kernel scale), and its projector is the inversion's: another discretisation than the simulation's.
    """
    grid = measurement.grid.grid((protocol.voxel_mm, protocol.voxel_mm, measurement.grid.spacing[2]))
    model = measurement.model(grid, pick_device(device))
    image = _reconstruct(model, measurement.counts.to(model.projector.device), protocol)
    image = GaussianPSF(grid.shape, grid.spacing, protocol.filter_fwhm_mm, image.device)(image)
    return replace(grid.with_array(image.cpu().numpy(), "SUVbw"), metadata=dict(protocol.header))


def _reconstruct(model: ForwardModel, counts: Tensor, protocol: Protocol) -> Tensor:
    if protocol.reconstruction == "penalised":
        penalty = RelativeDifference(model.spacing, GAMMA)
        return penalised(model, counts, penalty, protocol.beta, protocol.updates)
    return osem(model, counts, protocol.updates, psf=protocol.reconstruction == "psf-osem")
