"""The image that a hospital makes of a measurement, by its protocol."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..device import pick_device
from ..volume import Volume
from ..widths import without_box
from .measurement import Measurement
from .model import ForwardModel, osem
from .penalised import penalised
from .protocols import Protocol
from .psf import GaussianPSF
from .relative_difference import RelativeDifference

GAMMA = 2.0  # of Q.Clear's relative difference penalty (Ross, GE white paper 2014)


def clinical_image(measurement: Measurement, protocol: Protocol, diameter_mm: float, device: str = "auto") -> Volume:
    """The image of ``protocol``, SUVbw, on its own voxels, with its header as metadata.

    ``diameter_mm`` is the body's, on which the gain of time of flight depends. The measurement has none: its counts
    are multiplied by the gain already, and the updates are here.

    Subsets accelerate; they are replaced by as many updates with all data, which gives the same image but for the
    small limit cycle of subsets. The reconstruction's PSF, where it has one, is the physical FWHM, as vendors measure
    theirs, and overshoots at edges as theirs do. The projector is the inversion's: another discretisation than the
    simulation's.
    """
    scanner = replace(measurement.scanner, kernel_scale=1.0)
    grid = measurement.grid.grid((protocol.voxel_mm, protocol.voxel_mm, measurement.grid.spacing[2]))
    model = replace(measurement, scanner=scanner).model(grid, pick_device(device))
    image = _reconstruct(model, measurement.counts.to(model.projector.device), protocol, diameter_mm)
    image = post_filter(image, grid.spacing, protocol.filter_fwhm_mm)
    return replace(grid.with_array(image.cpu().numpy(), "SUVbw"), metadata=dict(protocol.header))


def post_filter(image: Tensor, spacing: tuple[float, float, float], fwhm_mm: tuple[float, float]) -> Tensor:
    """An image ``(S, J, I)`` after a Gaussian filter of FWHM (transaxial, axial), to the exact variance.

    :class:`GaussianPSF` takes the Gaussian's mass over voxels, whose own extent w adds w^2 / 12 to the variance; that
    is taken off the filter's.
    """
    across, along = without_box(fwhm_mm[0], spacing[0]), without_box(fwhm_mm[1], spacing[2])
    shape = (image.shape[0], image.shape[1], image.shape[2])
    return GaussianPSF(shape, spacing, (across, along), image.device)(image)


def _reconstruct(model: ForwardModel, counts: Tensor, protocol: Protocol, diameter_mm: float) -> Tensor:
    if protocol.reconstruction == "penalised":
        penalty = RelativeDifference(model.spacing, GAMMA)
        return penalised(model, counts, penalty, protocol.beta, protocol.iterations * protocol.subsets)
    return osem(model, counts, protocol.updates(diameter_mm), psf=protocol.reconstruction == "psf-osem")
