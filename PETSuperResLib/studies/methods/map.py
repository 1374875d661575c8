"""MAP references: the relative-difference prior of the vendors, and Bowsher's prior guided by the CT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...physics.model import ForwardModel
from ...physics.penalised import penalised
from ...physics.relative_difference import RelativeDifference
from ...prior.denoiser import AIR_HU
from ...sampling.penalties import ct_guided
from ...volume import Volume
from .interface import Method, MethodCase


@dataclass(frozen=True)
class MapSettings:
    """The tuned values of a MAP reconstruction.

    Parameters
    ----------
    beta : weight of the penalty in 1/SUV. The penalty is a negative log-prior of SUV, so one value serves
        every dose: at higher counts the likelihood outweighs it by itself. It belongs to a voxel size (2 mm).
    gamma : of the relative difference; 0 never forgives an edge.
    iterations : updates after the start.
    neighbours : how many each voxel chooses by CT (Bowsher), 0 for all without CT.
    reach : half width of the neighbourhood in the slice, in voxels; one slice up and down.
    ct_fwhm_mm : Gaussian filter of the CT before it chooses, lest its noise does.
    """

    beta: float
    gamma: float
    iterations: int
    neighbours: int = 0
    reach: int = 1
    ct_fwhm_mm: float = 0.0


#: best mean PSNR over the four validation patients at the standard setting: Testing/studies/benchmarks/tune.py
MAP_RDP = MapSettings(beta=0.2, gamma=2.0, iterations=40)
MAP_BOWSHER = MapSettings(beta=0.15, gamma=2.0, iterations=80, neighbours=20, ct_fwhm_mm=8.0)
#: the same on sharp references made from the validation patients' CTs (``--reference sharp``): a flat optimum
MAP_BOWSHER_SHARP = MapSettings(beta=0.1, gamma=2.0, iterations=80, neighbours=13)


def map_penalty(settings: MapSettings, spacing: tuple[float, float, float], ct: Tensor | None) -> RelativeDifference:
    """The penalty of ``settings``; ``ct`` in HU on the image grid, ``(S, J, I)``, where neighbours are chosen."""
    if settings.neighbours and ct is not None:
        return ct_guided(ct, spacing, settings.neighbours, settings.ct_fwhm_mm, settings.gamma, settings.reach)
    return RelativeDifference(spacing, settings.gamma, reach=settings.reach)


def map_image(settings: MapSettings, model: ForwardModel, y: Tensor, ct: Tensor | None = None) -> Tensor:
    """The MAP image of counts ``y``, ``(S, J, I)`` in SUV, by :func:`~PETSuperResLib.physics.penalised.penalised`."""
    return penalised(model, y, map_penalty(settings, model.spacing, ct), settings.beta, settings.iterations)


def restore_map(settings: MapSettings, case: MethodCase) -> Volume:
    """The MAP image of a case on the SR grid, SUVbw."""
    model, counts = case.model()
    ct = None
    if settings.neighbours:
        hu = case.ct.resample_to(case.simulation.truth, "linear", AIR_HU)
        ct = torch.from_numpy(hu.array).to(counts.device)
    return case.volume(map_image(settings, model, counts, ct))


MAP_METHODS = (
    Method(
        "map-rdp",
        lambda case: restore_map(MAP_RDP, case),
        "MAP with the relative-difference prior (Nuyts et al., IEEE TNS 2002, 49:56), as in vendors' BSREM.",
        "convergent surrogate updates with line search for BSREM's relaxed subsets; pairs counted once, weighted by "
        f"inverse distance in 3D; beta {MAP_RDP.beta:g} per SUV, gamma {MAP_RDP.gamma:g}, {MAP_RDP.iterations} "
        "updates (validation patients).",
    ),
    Method(
        "map-bowsher",
        lambda case: restore_map(MAP_BOWSHER, case),
        "MAP with the CT-guided asymmetric prior of Bowsher et al. (IEEE NSS 2004, 4:2488).",
        "the relative difference for Bowsher's quadratic potential; the gradient keeps both ends of a chosen pair, so "
        "that there is an objective to descend (Vunckx and Nuyts, IEEE NSS 2010, drop one); "
        f"{MAP_BOWSHER.neighbours} of 26 neighbours by the CT filtered to {MAP_BOWSHER.ct_fwhm_mm:g} mm, "
        f"beta {MAP_BOWSHER.beta:g} per SUV, gamma {MAP_BOWSHER.gamma:g}, {MAP_BOWSHER.iterations} updates "
        "(validation patients).",
        needs_ct=True,
    ),
    Method(
        "map-bowsher-sharp",
        lambda case: restore_map(MAP_BOWSHER_SHARP, case),
        "MAP with the CT-guided prior of Bowsher et al. (IEEE NSS 2004, 4:2488), tuned on sharp references.",
        f"as map-bowsher, but {MAP_BOWSHER_SHARP.neighbours} of 26 neighbours by the CT unfiltered, "
        f"beta {MAP_BOWSHER_SHARP.beta:g} per SUV (validation patients' CTs).",
        needs_ct=True,
    ),
)
