"""Sampling: DDIM over falling noise levels, each Tweedie estimate refined by the measurement (section 2.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import centred_resize
from ..physics.model import ForwardModel, uniform_start
from ..physics.psf import GaussianPSF
from ..prior import STRIDE, Prior, with_neighbours
from ..problem import UNKNOWN_HU
from .consistency import map_em, refine
from .penalties import ct_guided
from .profiles import Sampler

SLICES_PER_BATCH = 16
SHIFTS = ((0, 0), (3, 5), (6, 2), (1, 7))  # pixels by which a step's image is moved over the network's grid
TISSUE_FWHM_MM, TISSUE_GAMMA = 2.0, 10.0  # of the CT before it chooses neighbours, and of the relative difference
AIR_BELOW_HU, BODY_MARGIN_MM, OUTSIDE_SHARE = -900.0, 8.0, 0.02  # lung is body, air is not
BEYOND_MM, ACTIVE_SHARE = 12.0, 0.3  # activity this far outside the CT's body, above this share of the body's: body

#: callback(step, steps, estimate): the current estimate in SUV, ``(S, J, I)``; step 0 is the start. May raise to stop
StepCallback = Callable[[int, int, Tensor], None]


class Seam:
    """Some slices of a slab at every stage of its run, which the next slab needs and need not compute again."""

    def __init__(self, slices: slice):
        self.slices = slices  # of the slab that leaves them
        self.stages: list[Tensor] = []


class Seams:
    """The two ends of a slab: at each stage the first slices become what the slab before had, the last are left."""

    def __init__(self, below: Seam | None, above: Seam | None):
        self.below, self.above = below, above
        self.stage = 0

    def meet(self, values: Tensor) -> None:
        """One stage: ``values`` ``(S, ...)``, changed in place."""
        if self.below is not None:
            met = self.below.stages[self.stage]
            values[: len(met)] = met.to(values.device)
        if self.above is not None:
            self.above.stages.append(values[self.above.slices].clone())
        self.stage += 1


def sample(
    sampler: Sampler,
    prior: Prior,
    model: ForwardModel,
    y: Tensor,
    ct_hu: Tensor,
    seed: int = 0,
    batch: int = SLICES_PER_BATCH,
    callback: StepCallback | None = None,
    below: Seam | None = None,
    above: Seam | None = None,
) -> Tensor:
    """One run: counts ``y`` ``(S, views, bins)`` and CT ``(S, J, I)`` in HU -> activity ``(S, J, I)`` in SUV.

    ``batch`` slices go through the network at a time. The result depends on the seed only when
    ``sampler.noise`` is above 0. Of a slab of a longer volume, the first slices are those that ``below`` has from the
    slab before, and ``above`` is left what the next one needs.
    """
    known = below.slices.stop - below.slices.start if below is not None else 0
    seams = Seams(below, above)
    random = torch.Generator().manual_seed(seed)
    schedule, transform = prior.schedule, prior.transform

    if sampler.start_iterations:
        free = torch.zeros_like(ct_hu)  # without an anchor: PSF-OSEM
        z = map_em(model, y, starting_image(model, y, ct_hu), free, free, sampler.start_iterations)
        del free
        ct_hu = completed_ct(ct_hu, z, model)
        if callback is not None:
            callback(0, sampler.steps, z)
    else:
        z = torch.full(ct_hu.shape, uniform_start(model, y), device=y.device)
    seams.meet(z)
    penalty = None
    if sampler.consistency == "map-em" and sampler.tissue_beta:
        penalty = ct_guided(ct_hu, model.spacing, sampler.tissue_neighbours, TISSUE_FWHM_MM, TISSUE_GAMMA)
    guide = _Guide(sampler, prior, ct_hu, batch, model.spacing[2])

    def noise() -> Tensor:
        return torch.randn(guide.shape, generator=random).to(y.device)

    eps = noise() if sampler.noise else torch.zeros(guide.shape, device=y.device)
    axial = _axial_mean(model, sampler.axial_fwhm_slices * model.spacing[2], y.device)
    steps = timesteps(sampler, prior)
    for index, t in enumerate(steps):
        signal, sigma = schedule.signal_noise(torch.tensor([t], device=y.device))
        x0 = guide.pad(transform.to_model(z))
        if index == 0 and sampler.start_sigma is None:
            x0 = torch.zeros_like(x0)  # pure noise
        x_t = signal * x0 + sampler.noise * sigma * eps
        seams.meet(x_t)
        eps = guide.epsilon(x_t, t, index if sampler.shifts else 0, known)
        x0_hat = schedule.tweedie(x_t, eps, torch.tensor([t], device=y.device))  # (7)
        seams.meet(x0_hat)
        tweedie = transform.to_activity(axial(guide.crop(x0_hat))).clamp_min(0)
        ratio = float(sigma / signal)
        spread = sampler.prior_width * ratio * transform.slope(tweedie)
        del x0, x_t, x0_hat  # memory for the refinement
        z = refine(sampler, model, y, tweedie, z, spread, index, penalty)  # (8), (9)
        seams.meet(z)
        if sampler.eta and index + 1 < len(steps):
            eps = math.sqrt(1 - sampler.eta**2) * eps + sampler.eta * noise()
        if callback is not None:
            callback(index + 1, len(steps), z)
    return z


def _axial_mean(model: ForwardModel, fwhm_mm: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Gaussian mean over neighbouring slices, ``(S, J, I)``; at the ends over those there are."""
    blur = GaussianPSF(model.shape, model.spacing, (0.0, fwhm_mm), device)
    weight = blur(torch.ones(model.shape[0], 1, 1, device=device))
    return lambda x: blur(x) / weight


def starting_image(model: ForwardModel, y: Tensor, ct_hu: Tensor) -> Tensor:
    """Where EM starts: uniform in what the CT shows (with a margin), and little in the air around it.

    EM clears air slowly; from a uniform start some of the activity would stay there. Nothing is
    forbidden outside: what the counts put there (arms beyond the CT's field of view) grows back.
    """
    reach = max(1, round(BODY_MARGIN_MM / model.spacing[0]))
    body = (ct_hu > AIR_BELOW_HU) | (ct_hu <= UNKNOWN_HU)
    return uniform_start(model, y) * (OUTSIDE_SHARE + (1 - OUTSIDE_SHARE) * _dilated(body, reach))


def completed_ct(ct_hu: Tensor, z: Tensor, model: ForwardModel) -> Tensor:
    """The CT (HU) with water where it shows air but the activity ``z`` (SUV) shows body, all ``(S, J, I)``.

    A CT's field of view cuts off arms and wide patients, and arms move between the two scans; the prior
    would draw that border of the CT into the PET. What lies within :data:`BEYOND_MM` of the CT's body is blur,
    unless it belongs to activity further out.
    """
    pixel = model.spacing[0]
    body = ct_hu > AIR_BELOW_HU
    smooth = GaussianPSF(model.shape, model.spacing, (BEYOND_MM / 2, 0.0), z.device)(z)
    if not body.any():
        return ct_hu
    active = ~body & (smooth > ACTIVE_SHARE * smooth[body].median())
    reach = round(BEYOND_MM / pixel)
    beyond = active & ~_dilated(body, reach)
    for _ in range(2 * reach):
        beyond = _dilated(beyond, 1) & active
    return torch.where(beyond, torch.zeros_like(ct_hu), ct_hu)


def _dilated(mask: Tensor, pixels: int) -> Tensor:
    """A boolean ``(S, J, I)`` grown in the slice by a square."""
    return F.max_pool2d(mask.float()[:, None], 2 * pixels + 1, stride=1, padding=pixels)[:, 0] > 0


def timesteps(sampler: Sampler, prior: Prior) -> list[int]:
    """The integer t of each step, falling."""
    if sampler.start_sigma is None:
        return [int(t) for t in np.linspace(prior.schedule.steps - 1, 0, sampler.steps).round()]
    sigmas = np.geomspace(sampler.start_sigma, sampler.end_sigma, sampler.steps)
    return [prior.schedule.step_at(s) for s in sigmas]


class _Guide:
    """The prior with one CT: padding to the network's stride, batches of slices, mirrored averages."""

    def __init__(self, sampler: Sampler, prior: Prior, ct_hu: Tensor, batch: int, slice_mm: float):
        self.prior, self.batch, self.slice_mm = prior, batch, slice_mm
        self.size = tuple(ct_hu.shape[1:])
        slack = max(map(max, SHIFTS)) if sampler.shifts else 0  # so that an image's two ends never touch
        j, i = (-(-(n + slack) // STRIDE) * STRIDE for n in self.size)
        self.padded = (j, i)
        self.shape = (len(ct_hu), 1, j, i)
        air = -1000.0
        self.ct = centred_resize(ct_hu - air, self.padded) + air
        self.mirrors: list[tuple[int, ...]] = [(), (-1,), (-2,), (-2, -1)][: sampler.flips]

    def tokens(self, shift: tuple[int, int], mirror: tuple[int, ...], first: int) -> Iterator[tuple[Tensor, ...]]:
        """The CT's tokens of every batch, for an image that is moved and mirrored; the prior remembers them."""
        ct = self.ct[first:].roll(shift, (-2, -1))
        return map(self.prior.tokens, (ct.flip(mirror) if mirror else ct).split(self.batch))

    def pad(self, x: Tensor) -> Tensor:
        """``(S, J, I)`` -> ``(S, 1, H, W)``."""
        return centred_resize(x, self.padded)[:, None]

    def crop(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`pad`."""
        return centred_resize(x[:, 0], self.size)  # type: ignore[arg-type]

    def epsilon(self, x_t: Tensor, t: int, step: int = 0, first: int = 0) -> Tensor:
        """eps(x_t, t, c), averaged over the mirrored images; moved by ``SHIFTS`` from step to step.

        Slices before ``first`` are neighbours only; their own is 0.
        """
        shift = SHIFTS[step % len(SHIFTS)]
        total = torch.zeros_like(x_t)
        moved = x_t.roll(shift, (-2, -1))
        for mirror in self.mirrors:
            stack = with_neighbours(moved.flip(mirror) if mirror else moved, self.prior.neighbours)[first:]
            parts = []
            for part, tokens in zip(stack.split(self.batch), self.tokens(shift, mirror, first), strict=True):
                steps = torch.full((len(part),), t, device=part.device)
                parts.append(self.prior.epsilon(part, steps, tokens, self.slice_mm))
            joined = torch.cat(parts)
            total[first:] += joined.flip(mirror) if mirror else joined
        return total.roll((-shift[0], -shift[1]), (-2, -1)) / len(self.mirrors)
