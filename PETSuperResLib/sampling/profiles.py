"""The sampler's configuration: one frozen object per profile and per ablation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Sampler:
    """How the posterior is explored: noise levels, data consistency and its schedule (section 2.4).

    ``noise`` 1 follows DDIM from a noisy start and gives a posterior sample; 0 feeds the estimate itself
    to the network at each noise level, a deterministic path that ends near the posterior mean.
    """

    name: str = "custom"
    steps: int = 6  # network evaluations
    start_sigma: float | None = 3.0  # noise over signal at the first step; None: pure noise, t = T
    end_sigma: float = 0.18  # at the last step; with pure noise the steps are equidistant in t instead
    noise: float = 0.0  # 0: mean path; 1: DDIM
    eta: float = 0.0  # share of fresh noise in every DDIM step
    start_iterations: int = 12  # accelerated PSF-OSEM updates that make the starting estimate
    consistency: str = "map-em"  # "map-em", "gradient" (8)-(9), or "none"
    inner_first: int = 16  # inner iterations m_t at the first step ...
    inner_last: int = 24  # ... ramped linearly to this at the last
    stop_below: float = 0.003  # map-em: fewer, once one gains less than this share of the loss' deviation by noise
    psf_from: float = 0.0  # PPCR: share of the steps done before H_t turns from identity to the PSF
    prior_width: float = 2.5  # map-em: standard deviation of the anchor, in units of the step's noise level
    tissue_beta: float = 0.07  # map-em: weight of the CT-guided penalty on differences in a tissue, per SUV; 0: none
    tissue_neighbours: int = 9  # of a voxel's 26, those whose CT is most like its own
    step_size: float = 0.05  # gradient: in SUV, of the gradient over its sensitivity
    momentum: float = 0.9  # gradient: Nesterov's mu
    warm_start: float = 0.3  # gradient: share of the previous step's refined estimate in the start
    axial_fwhm_slices: float = 0.8  # Gaussian across slices on every Tweedie estimate: ties slices together
    shifts: bool = True  # move the image by other pixels at every step, so that the network's grid leaves no pattern
    flips: int = 1  # network evaluations per step over mirrored images (1, 2 or 4), averaged

    def __post_init__(self) -> None:
        if self.consistency not in ("map-em", "gradient", "none"):
            raise InputError(f"Unknown data consistency '{self.consistency}': use map-em, gradient or none.")
        if self.steps < 1 or self.flips not in (1, 2, 4) or self.inner_first < 0 or self.inner_last < 0:
            raise InputError("A sampler needs at least 1 step, inner iterations of 0 or more, and 1, 2 or 4 flips.")
        if self.stop_below < 0:
            raise InputError("A sampler's stop_below must be 0 (never stop early) or more, such as 0.005.")
        if self.start_sigma is not None and not 0 < self.end_sigma <= self.start_sigma:
            raise InputError("A sampler's noise levels must fall: 0 < end_sigma <= start_sigma.")

    def inner(self, step: int) -> int:
        """Inner iterations m_t of a step (0-based)."""
        share = step / max(1, self.steps - 1)
        return round(self.inner_first + share * (self.inner_last - self.inner_first))

    def full_psf(self, step: int) -> bool:
        """Whether H_t is the full PSF at a step (0-based) or the identity."""
        return step >= round(self.psf_from * self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and provenance."""
        return asdict(self)

    @classmethod
    def get(cls, quality: Sampler | str, **changes: Any) -> Sampler:
        """A profile by name, or a sampler as given, with fields changed."""
        if isinstance(quality, str):
            if quality not in PROFILES:
                raise InputError(f"Unknown quality '{quality}': use {', '.join(PROFILES)}.")
            quality = PROFILES[quality]
        return replace(quality, **changes) if changes else quality


#: ``standard`` and ``draft`` were chosen on the validation patients, on their own PET and on sharp references
#: (docs/validation.md): a PSF-OSEM run past its best iteration, so that detail is there and the noise is the prior's
#: to remove; noise levels from far above the image's noise, where the prior goes by the CT, down to a level at which
#: it does not take the last texture away; an anchor wider than Bayes' rule asks for (1), as the network's estimates
#: are smoother than the truth; what noise that lets in is held by ties between voxels of one tissue, as in Bowsher's
#: MAP: the wider the anchor, the stronger they must be; and a slight mean along the slices.
#:
#: ``paper``: the published schedule, literally. The paper leaves two scales open. Its step of 0.05 has no
#: units: here it is 0.05 SUV times the gradient over its sensitivity A^T 1, which is dimensionless, so that
#: the step does not depend on counts or geometry. Its warm start of 0.3 is read as the share of the last
#: refined estimate in the start of the next refinement.
PROFILES = {
    "draft": Sampler("draft", steps=2, start_sigma=1.8, end_sigma=0.25, prior_width=4.0, tissue_beta=0.2),
    "standard": Sampler("standard"),
    "paper": Sampler(
        "paper",
        steps=50,
        start_sigma=None,
        noise=1.0,
        start_iterations=0,
        consistency="gradient",
        inner_first=2,
        inner_last=20,
        psf_from=0.7,
        axial_fwhm_slices=0.0,
        shifts=False,
    ),
}
