"""What every sampler has: a profile of values that its function reads, and one signature of that function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from ..errors import InputError

#: callback(step, steps, estimate): the current estimate in SUV, ``(S, J, I)``; step 0 is the start. May raise to stop
StepCallback = Callable[[int, int, Tensor], object]

NETWORK_COST = 50  # a network evaluation takes about as long as so many EM updates (on a CPU, 128 x 128)


def unwatched(step: int, steps: int, estimate: Tensor) -> None:
    """The callback of a run without one."""


@dataclass(frozen=True)
class Sampler(ABC):
    """The values that decide a sampler's run; a subclass has those of one sampler and names its function.

    The function is ``sample(denoiser, model, counts, profile, seed=0, callback=..., state=None)``: with a
    :class:`~PETSuperResLib.prior.Denoiser` of the slices, their model, their counts ``(S, views, bins)`` and the
    profile it gives the activity ``(S, J, I)`` in SUV. ``state`` is the :class:`~.slabs.SlabState` of a part of a
    longer volume.
    """

    name: str = "custom"
    steps: int = 1

    PROFILES: ClassVar[dict[str, Sampler]] = {}  # by name, of profiles.py
    IMAGE_PROFILES: ClassVar[dict[str, Sampler]] = {}  # in their place where the measurement is an image

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError("A sampler needs at least 1 step.")

    @property
    @abstractmethod
    def sample(self) -> Callable[..., Tensor]:
        """The sampler's function."""

    @property
    def drawing(self) -> Sampler:
        """The profile whose runs are posterior samples: itself, where they are."""
        return self

    @property
    def evaluations(self) -> int:
        """Of the network, in every step."""
        return 1

    @property
    def updates(self) -> list[int]:
        """Updates by the forward model, at the start and in every step."""
        return [0] * (self.steps + 1)

    @property
    def costs(self) -> list[float]:
        """Cost of the start and of every step in EM updates, for the progress."""
        return [updates + NETWORK_COST * self.evaluations * (step > 0) for step, updates in enumerate(self.updates)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and provenance."""
        return asdict(self)

    @classmethod
    def get(cls, quality: Sampler | str, kind: str = "sinogram", **changes: Any) -> Sampler:
        """A profile by name for a kind of measurement (``sinogram`` or ``image``), or as given, with fields changed."""
        if isinstance(quality, str):
            known = cls.PROFILES | (cls.IMAGE_PROFILES if kind == "image" else {})
            if quality not in known:
                raise InputError(f"Unknown quality '{quality}': use {', '.join(known)}.")
            quality = known[quality]
        return replace(quality, **changes) if changes else quality


@dataclass(frozen=True)
class ProgressiveSampler(Sampler):
    """Data consistency from coarse to fine, PPCR: more inner iterations, then the PSF (section 2.4)."""

    inner_first: int = 16  # inner iterations m_t at the first step ...
    inner_last: int = 24  # ... ramped linearly to this at the last
    psf_from: float = 0.0  # share of the steps done before H_t turns from identity to the PSF

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_first < 0 or self.inner_last < 0:
            raise InputError("A sampler needs inner iterations of 0 or more.")

    def inner(self, step: int) -> int:
        """Inner iterations m_t of a step (0-based)."""
        share = step / max(1, self.steps - 1)
        return round(self.inner_first + share * (self.inner_last - self.inner_first))

    def full_psf(self, step: int) -> bool:
        """Whether H_t is the full PSF at a step (0-based) or the identity."""
        return step >= round(self.psf_from * self.steps)

    @property
    def updates(self) -> list[int]:
        return [0, *(self.inner(step) for step in range(self.steps))]
