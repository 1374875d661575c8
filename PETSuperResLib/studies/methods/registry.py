"""Methods by name: classical, supervised and other diffusion ones, ours, and ours with one part taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ...prior.denoiser import AIR_HU
from ...reconstruction import reconstruct, sample_measurement
from ...sampling import Sampler
from ...volume import Volume
from .any_scanner import SUPERVISED_ANY
from .classical import CLASSICAL
from .conditioning import conditioned
from .image_peers import IMAGE_PEERS
from .interface import INPUTS, Method, MethodCase
from .map import MAP_METHODS
from .petdm import PETDM
from .posterior import POSTERIOR
from .projected import PROJECTED
from .srdpm import SRDPM
from .supervised import SUPERVISED

PAPER = "Yang et al., CT-conditioned diffusion prior with physics-constrained sampling for PET super-resolution"


def _ours(name: str, quality: str, what: str, filled_in: str = "", **changes: Any) -> Method:
    """Our reconstruction from the case's input by a profile, with ``changes`` of its fields, as a user runs it.

    From an image it gets what the image's header says and what is stated.
    """

    def run(case: MethodCase) -> Volume:
        result = reconstruct(
            case.simulation.lr,
            case.ct,
            quality=Sampler.get(quality, case.input, **changes),
            seed=case.seed,
            device=case.device,
            prior=case.prior,
            spacing=case.simulation.truth.spacing[0],
            **_source(case),
        )
        return case.on_grid(result.volume)

    return Method(name, run, f"{PAPER}; {what}.", filled_in, needs_ct=True, inputs=INPUTS)


def _source(case: MethodCase) -> dict[str, Any]:
    """The options of :func:`reconstruct` that hold a case's measurement, or describe its image."""
    if case.input == "sinogram":
        return {"measurement": case.simulation.measurement}
    return {**case.stated, "scanner": case.scanner}


def _without_ct(name: str, quality: str, what: str, filled_in: str = "") -> Method:
    def run(case: MethodCase) -> Volume:
        measurement, grid = case.simulation.measurement, case.simulation.truth
        air = grid.with_array(np.full(grid.shape, AIR_HU, np.float32), "HU")
        return sample_measurement(measurement, grid, air, case.prior, quality, case.seed, case.device)

    return Method(name, run, f"{PAPER}; {what}.", filled_in)


_SAMPLER, _START = "the sampler: see docs/method.md.", "its start, PSF-OSEM, stays."
DRAFT = _ours("ours-draft", "draft", "profile draft", _SAMPLER)
STANDARD = _ours("ours-standard", "standard", "profile standard", _SAMPLER)
PUBLISHED = _ours("ours-paper", "paper", "its published schedule", "the network's sizes.")
OURS = (
    DRAFT,
    STANDARD,
    PUBLISHED,
    _ours("no-dc", "paper", "Table 3 without data consistency", inner_first=0, inner_last=0, warm_start=0.0),
    _ours("no-psf", "paper", "Table 3 without the PSF in the model", psf_from=1.0),
    _ours(
        "no-ppcr",
        "paper",
        "Table 3 without the progressive schedule",
        "full PSF and the schedule's mean of 11 inner iterations in every step.",
        psf_from=0.0,
        inner_first=11,
        inner_last=11,
    ),
    conditioned("ct-concat", "concat", "paper", PUBLISHED.run),
    _without_ct("no-ct", "paper", "the published schedule, with air where the CT would be"),
    _ours(
        "standard-no-dc",
        "standard",
        "profile standard without data consistency",
        _START,
        inner_first=0,
        inner_last=0,
        tissue_beta=0.0,
    ),
    _ours("standard-no-psf", "standard", "profile standard without the PSF in the model", _START, psf_from=1.0),
    _ours(
        "standard-no-ties",
        "standard",
        "profile standard without ties in a tissue",
        "the anchor and the updates that suit their absence: with its own the noise comes in.",
        tissue_beta=0.0,
        prior_width=1.8,
        inner_last=4,
    ),
    _without_ct(
        "standard-no-ct",
        "standard",
        "profile standard with air where the CT would be",
        "the ties lose their CT with it.",
    ),
    conditioned("standard-ct-concat", "concat", "standard", STANDARD.run),
    conditioned("standard-unconditional", "none", "standard", STANDARD.run),
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *CLASSICAL,
        *MAP_METHODS,
        *IMAGE_PEERS,
        PROJECTED,
        *SUPERVISED,
        SUPERVISED_ANY,
        SRDPM,
        PETDM,
        *POSTERIOR,
        *OURS,
    )
}

ABLATIONS = tuple(name for name in METHODS if any(part in name for part in ("no-", "ct-concat", "unconditional")))
FROM_COUNTS = tuple(name for name, method in METHODS.items() if "sinogram" in method.inputs)
GROUPS = {  # methods of each table
    "table2": tuple(name for name in FROM_COUNTS if name not in ABLATIONS),
    "table3": (*(name for name in ABLATIONS if not name.startswith("standard-")), "ours-paper"),
    "table3-standard": (*(name for name in ABLATIONS if name.startswith("standard-")), "ours-standard"),
    "images": (*(method.name for method in IMAGE_PEERS), PROJECTED.name, "ours-draft", "ours-standard"),
    "all": FROM_COUNTS,
}


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Names of methods and of :data:`GROUPS` -> names of methods, each once, in the given order.

    Raises :class:`InputError` for a name that is neither.
    """
    for name in names:
        if name not in METHODS and name not in GROUPS:
            known = ", ".join((*METHODS, *GROUPS))
            raise InputError(f"The method '{name}' is not in this version: use {known}.")
    return tuple(dict.fromkeys(method for name in names for method in GROUPS.get(name, (name,))))


def restore(name: str, case: MethodCase) -> Volume:
    """Run a method by name; raises :class:`InputError` for one that this version does not have."""
    if name not in METHODS:
        raise InputError(f"Method '{name}' is not in this version: use {', '.join(METHODS)}.")
    return METHODS[name].restore(case)
