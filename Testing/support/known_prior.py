"""A prior whose estimate is known, and reconstructions of a small person with it: what they give can be predicted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ellipses import Ellipse
from torch import Tensor, nn

from PETSuperResLib.prior import NetworkConfig, Prior
from PETSuperResLib.reconstruction import Result, reconstruct
from PETSuperResLib.sampling import Sampler
from PETSuperResLib.volume import Volume

SHAPE = (40, 48)
BODY = Ellipse(0, 0, 70, 56)
PRIOR_ONLY = {"inner_first": 0, "inner_last": 0}  # no data consistency: the result is the prior's estimate
STILL = {**PRIOR_ONLY, "steps": 1, "axial_fwhm_slices": 0.0, "shifts": False}


class KnownNetwork(nn.Module):
    """Its Tweedie estimate of x_0 is ``estimate(noisy, hu)``.

    ``noisy`` is x_t over the signal, ``(B, 1 + 2 neighbours, H, W)`` in model space, and ``hu`` the CT ``(B, H, W)``
    within -1000 to 1000. ``seen`` lists (noise over signal, ``noisy``, slice spacing) of every evaluation.
    """

    architecture, stride = "known", 16

    def __init__(self, estimate: Callable[[Tensor, Tensor], Tensor], neighbours: int = 0):
        super().__init__()
        self.config, self.estimate = NetworkConfig(neighbours=neighbours), estimate
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)
        self.seen: list[tuple[float, Tensor, float]] = []

    def tokens(self, ct: Tensor) -> tuple[Tensor, ...]:
        return (1000 * ct[:, 0],)

    def forward(
        self, x_t: Tensor, log_ratio: Tensor, tokens: tuple[Tensor, ...], slice_mm: Tensor | None = None
    ) -> Tensor:
        ratio = log_ratio.exp()[:, None, None, None]
        signal = (1 + ratio**2).rsqrt()
        noisy = x_t / signal
        self.seen.append((float(ratio[0]), noisy.clone(), 0.0 if slice_mm is None else float(slice_mm[0])))
        middle = x_t.shape[1] // 2
        x0 = self.estimate(noisy, tokens[0])
        return (signal * x_t[:, middle : middle + 1] - x0) / (ratio * signal)  # v


def known_prior(estimate: Callable[[Tensor, Tensor], Tensor], neighbours: int = 0, pixel_mm: float = 4.0) -> Prior:
    """A prior with a :class:`KnownNetwork`."""
    return Prior(KnownNetwork(estimate, neighbours), info={"pixel_mm": pixel_mm})


def as_it_is(noisy: Tensor, hu: Tensor) -> Tensor:
    """The estimate of a prior that takes its input for the image."""
    middle = noisy.shape[1] // 2
    return noisy[:, middle : middle + 1]


def on(values: np.ndarray, unit: str, slices: int = 4) -> Volume:
    """Slices of 4 mm voxels, all alike or as given."""
    stack = values if values.ndim == 3 else np.repeat(values[None], slices, 0)
    return Volume(np.ascontiguousarray(stack, np.float32), (4.0, 4.0, 4.0), unit=unit)


def body(pixel: float = 4.0) -> np.ndarray:
    return BODY.image(SHAPE, pixel)


def person(slices: int = 4) -> tuple[Volume, Volume]:
    """A body of 1 SUV with a lesion of 5, and its CT: water with a spine."""
    spine = Ellipse(0, 36, 8, 8).image(SHAPE, 4.0)
    pet = body() + 4 * Ellipse(-28, -12, 10, 10).image(SHAPE, 4.0)
    return on(pet, "SUVbw", slices), on(1000 * body() - 1000 + 400 * spine, "HU", slices)


def run(estimate, quality="standard", changes=None, pet=None, ct=None, slices=4, **options) -> Result:
    """The reconstruction of :func:`person` by a profile with ``changes``; ``estimate`` may be a prior."""
    whole = person(slices)
    if "measurement" not in options:
        options = {"scanner": "Siemens Biograph mCT", "noise": 10.0, **options}
    prior = known_prior(estimate) if callable(estimate) else estimate
    return reconstruct(
        pet or whole[0],
        ct or whole[1],
        device="cpu",
        quality=Sampler.get(quality, **(changes or {})),
        prior=prior,
        **options,
    )


def unscaled(result) -> np.ndarray:
    """The estimate before the factor that conserves the counts."""
    return result.volume.array / result.report["conservation_factor"]
