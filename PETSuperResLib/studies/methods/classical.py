"""The reconstructions of the clinic: the LR image, OSEM, PSF-OSEM (fixed, and with an oracle's tuning)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...physics.model import osem
from ...volume import Volume
from .interface import INPUTS, Method, MethodCase
from .oracle import FILTERS_MM, Oracle

#: EM updates of the fixed reconstructions: the best mean PSNR over the four validation patients at the
#: standard setting among 6 to 45 updates - see docs/validation.md
PSF_OSEM_UPDATES = 24
OSEM_UPDATES = 12
#: the oracle's choices
ORACLE_UPDATES = (4, 6, 8, 10, 12, 14, 16, 18, 20, 23, 26, 30, 34, 39, 45, 52, 60, 80, 110, 150, 200, 260)


def _lr(case: MethodCase) -> Volume:
    """The LR image, interpolated linearly to the SR grid."""
    return case.simulation.lr.resample_to(case.simulation.truth, "linear")


def _osem(updates: int, psf: bool) -> Callable[[MethodCase], Volume]:
    def run(case: MethodCase) -> Volume:
        model, counts = case.model()
        return case.volume(osem(model, counts, updates, psf))

    return run


def _oracle_psf_osem(case: MethodCase) -> Volume:
    """PSF-OSEM at the iteration and Gaussian post-filter of least squared error against the truth itself.

    It needs the truth: a bound of any tuning of PSF-OSEM on this patient.
    """
    model, counts = case.model()
    truth = torch.from_numpy(case.simulation.truth.array).to(counts.device)
    oracle = Oracle(truth, model.spacing, FILTERS_MM)

    def look(number: int, image: Tensor) -> None:
        if number in ORACLE_UPDATES:
            oracle.look(image)

    osem(model, counts, max(ORACLE_UPDATES), callback=look)
    return case.volume(oracle.best)


CLASSICAL = (
    Method(
        "lr",
        _lr,
        "The image a clinic would have: OSEM without PSF at the setting's target spacing, interpolated.",
        "linear interpolation, 42 updates.",
        inputs=INPUTS,
    ),
    Method(
        "osem",
        _osem(OSEM_UPDATES, psf=False),
        "Hudson and Larkin, IEEE TMI 1994, 13:601, as ML-EM updates (Shepp and Vardi, IEEE TMI 1982, 1:113).",
        f"{OSEM_UPDATES} updates (validation patients), on the SR grid, no filter.",
    ),
    Method(
        "psf-osem",
        _osem(PSF_OSEM_UPDATES, psf=True),
        "OSEM with the PSF in the projector (Panin et al., IEEE TMI 2006, 25:907).",
        f"{PSF_OSEM_UPDATES} updates (validation patients), no filter, Gaussian PSF of the scanner preset.",
    ),
    Method(
        "psf-osem-oracle",
        _oracle_psf_osem,
        "PSF-OSEM with the updates and Gaussian filter of least squared error against the truth: a bound.",
        f"chooses among {len(ORACLE_UPDATES)} numbers of updates and {len(FILTERS_MM)} filters, or none.",
    ),
)
