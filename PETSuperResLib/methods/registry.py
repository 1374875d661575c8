"""Methods by name: classical reconstructions, ours, and ours with one part taken away (Table 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..device import pick_device
from ..errors import InputError
from ..physics.model import osem
from ..physics.psf import GaussianPSF
from ..physics.simulation import Simulation
from ..prior import Prior
from ..reconstruction import reconstruct
from ..sampling import Sampler
from ..volume import Volume

#: EM updates of the fixed reconstructions: the best mean PSNR over the four validation patients at the
#: standard setting among 6 to 45 updates - see docs/validation.md
PSF_OSEM_UPDATES = 24
OSEM_UPDATES = 12
#: what the oracle may choose from; a filter is Gaussian in all three directions (FWHM)
ORACLE_UPDATES = (4, 6, 9, 12, 16, 20, 26, 34, 45, 60, 80, 110, 150)
ORACLE_FILTERS_MM = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)


@dataclass(frozen=True)
class MethodCase:
    """What a method may see: the simulated acquisition (its truth is for the metrics only), the CT, the prior."""

    simulation: Simulation
    ct: Volume
    prior: Prior
    seed: int = 0
    device: str = "auto"


def _lr(case: MethodCase) -> Volume:
    """The LR image, interpolated linearly to the SR grid."""
    return case.simulation.lr.resample_to(case.simulation.truth, "linear")


def _osem(updates: int, psf: bool) -> Callable[[MethodCase], Volume]:
    def run(case: MethodCase) -> Volume:
        measurement, grid = case.simulation.measurement, case.simulation.truth
        model = measurement.model(grid, pick_device(case.device))
        image = osem(model, measurement.counts.to(model.projector.device), updates, psf)
        return grid.with_array(image.cpu().numpy(), "SUVbw")

    return run


def _oracle_psf_osem(case: MethodCase) -> Volume:
    """PSF-OSEM at the iteration and Gaussian post-filter of least squared error against the truth itself.

    No clinic knows them: it bounds what any tuning of PSF-OSEM could reach on this patient.
    """
    measurement, truth = case.simulation.measurement, case.simulation.truth
    model = measurement.model(truth, pick_device(case.device))
    target = torch.from_numpy(truth.array).to(model.projector.device)
    filters = [GaussianPSF(model.shape, model.spacing, (f, f), target.device) for f in ORACLE_FILTERS_MM]
    best, least = target, float("inf")

    def look(number: int, image: Tensor) -> None:
        nonlocal best, least
        if number not in ORACLE_UPDATES:
            return
        for blur in (None, *filters):
            candidate = image if blur is None else blur(image)
            error = float((candidate - target).square().sum())
            if error < least:
                best, least = candidate.clone(), error

    osem(model, measurement.counts.to(target.device), max(ORACLE_UPDATES), callback=look)
    return truth.with_array(best.cpu().numpy(), "SUVbw")


def _ours(quality: str, change: Callable[[Sampler], Sampler] = lambda s: s) -> Callable[[MethodCase], Volume]:
    def run(case: MethodCase) -> Volume:
        return reconstruct(
            case.simulation.lr,
            case.ct,
            quality=change(Sampler.get(quality)),
            seed=case.seed,
            device=case.device,
            prior=case.prior,
            measurement=case.simulation.measurement,
            spacing=case.simulation.truth.spacing[0],
        ).volume

    return run


METHODS: dict[str, Callable[[MethodCase], Volume]] = {
    "lr": _lr,
    "osem": _osem(OSEM_UPDATES, psf=False),
    "psf-osem": _osem(PSF_OSEM_UPDATES, psf=True),
    "psf-osem-oracle": _oracle_psf_osem,
    "ours-draft": _ours("draft"),
    "ours-standard": _ours("standard"),
    "ours-paper": _ours("paper"),
    "no-dc": _ours("paper", lambda s: replace(s, consistency="none")),
    "no-psf": _ours("paper", lambda s: replace(s, psf_from=1.0)),
    "no-ppcr": _ours("paper", lambda s: replace(s, psf_from=0.0, inner_first=11, inner_last=11)),
}


def restore(name: str, case: MethodCase) -> Volume:
    """Run a method by name; raises :class:`InputError` for one that this version does not have."""
    if name not in METHODS:
        raise InputError(f"Method '{name}' is not in this version: use {', '.join(METHODS)}.")
    return METHODS[name](case)
