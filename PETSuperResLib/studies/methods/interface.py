"""Interface of a compared method: its inputs, needs, training and result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ...device import pick_device
from ...errors import InputError
from ...grid import image_grid
from ...image_resolution import ImageResolution
from ...inputs import resolution_of_pet
from ...physics.model import ForwardModel
from ...physics.simulation import Simulation
from ...prior import Prior
from ...progress import Callback
from ...scanner import Scanner, scanner_of
from ...volume import Volume
from ..subjects import Subject

INPUTS = ("sinogram", "image")


@dataclass(frozen=True)
class MethodCase:
    """The inputs of a method.

    Parameters
    ----------
    simulation : the acquisition; its truth is for the metrics and for methods that are tuned by it (oracles).
    input : ``"sinogram"``: the measured counts; ``"image"``: only the clinic's image, ``simulation.lr``.
    lesions : label map of the lesions on any grid, for methods that take regions; None without contours.
    stated : what is said of the image besides its header, as fields of a :class:`~PETSuperResLib.request.Request`:
        scanner, fwhm, post_filter, psf_modelled, noise.
    """

    simulation: Simulation
    ct: Volume
    prior: Prior
    seed: int = 0
    device: str = "auto"
    input: str = "sinogram"
    lesions: Volume | None = None
    stated: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.input not in INPUTS:
            raise InputError(f"The input '{self.input}' is not in this version: use {' or '.join(INPUTS)}.")

    @classmethod
    def of_image(cls, pet: Volume, ct: Volume, prior: Prior, **others: Any) -> MethodCase:
        """A real image (SUVbw), of which neither measurement nor truth is known; ``others`` are the further fields."""
        simulation = Simulation(image_grid(pet, prior.pixel_mm), pet, None)  # type: ignore[arg-type]
        return cls(simulation, ct, prior, input="image", **others)

    @property
    def scanner(self) -> Scanner | None:
        """The stated one, else the preset that the image's header names, else that of the simulation."""
        found = scanner_of(self.stated.get("scanner"), self.simulation.lr.metadata, needed=False)
        return found or (self.simulation.measurement.scanner if self.simulation.measurement else None)

    @cached_property
    def resolution(self) -> ImageResolution:
        """Of the image, from its header and what is stated."""
        image = self.simulation.lr
        stated = (self.stated.get(name) for name in ("fwhm", "post_filter", "psf_modelled"))
        return resolution_of_pet(image, self.scanner, *stated)[1]

    def model(self) -> tuple[ForwardModel, Tensor]:
        """The measurement's model on the SR grid, and the counts ``(S, views, bins)`` on its device."""
        measurement = self.simulation.measurement
        model = measurement.model(self.simulation.truth, pick_device(self.device))
        return model, measurement.counts.to(model.projector.device)

    def volume(self, image: Tensor) -> Volume:
        """An image ``(S, J, I)`` in SUV on the SR grid."""
        return self.simulation.truth.with_array(image.cpu().numpy(), "SUVbw")

    def on_grid(self, volume: Volume) -> Volume:
        """A volume on any grid (SUVbw), cubically interpolated to the SR grid."""
        return volume.resample_to(self.simulation.truth, "cubic")


@dataclass(frozen=True)
class FitOptions:
    """How methods are trained.

    Parameters
    ----------
    folder : keeps the simulated pairs and the trained networks, each under a hash of all that decides it.
    counts : count level of the simulated pairs, which are always of the standard setting (section 3.2).
    limit_minutes : anneal a method's learning rate to the end within this time; None: all its steps.
    steps : instead of the method's own number of them.
    """

    folder: Path
    counts: str = "realistic"
    seed: int = 0
    device: str = "auto"
    limit_minutes: float | None = None
    steps: int | None = None
    progress: Callback | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.limit_minutes is not None and not self.limit_minutes > 0:
            raise InputError(f"The time to train a method must be above 0 minutes, not {self.limit_minutes:g}.")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"A method needs 1 training step or more, not {self.steps}.")

    @property
    def limit_s(self) -> float:
        """``limit_minutes`` in seconds; infinite without one."""
        return math.inf if self.limit_minutes is None else 60 * self.limit_minutes


@dataclass(frozen=True)
class Method:
    """A compared method under the name that tables and the command line use.

    Parameters
    ----------
    run : the method itself, a case in, activity (SUVbw) on the grid of ``case.simulation.truth`` out.
    source : the publication or practice it follows, in one line.
    filled_in : what the source leaves open and this project chose; empty if nothing.
    needs_ct : the result depends on ``case.ct``.
    needs_pairs : it learns from pairs of LR and true images; other methods that learn see true images only.
    fit : for methods that learn, which restore nothing before it: training subjects in, the trained method out.
    inputs : what it restores from, of :data:`INPUTS`.
    """

    name: str
    run: Callable[[MethodCase], Volume] = field(repr=False)
    source: str
    filled_in: str = ""
    needs_ct: bool = False
    needs_pairs: bool = False
    fit: Callable[[Sequence[Subject], FitOptions], Method] | None = field(default=None, repr=False)
    inputs: tuple[str, ...] = ("sinogram",)

    @property
    def description(self) -> str:
        """Source, and what was filled in, for reports."""
        return self.source + (f" Filled in here: {self.filled_in}" if self.filled_in else "")

    def restore(self, case: MethodCase) -> Volume:
        """Run on one case; raises :class:`InputError` for an input it does not take and before its training."""
        if case.input not in self.inputs:
            raise InputError(
                f"Method '{self.name}' does not take the input '{case.input}': it takes {' or '.join(self.inputs)}."
            )
        if self.fit is not None:
            raise InputError(
                f"Method '{self.name}' is not trained: restore with the method that its fit() returns, "
                "or run 'petsuperres evaluate', which trains it."
            )
        return self.run(case)


def untrained(case: MethodCase) -> Volume:
    """``run`` of a method that learns, before its ``fit``."""
    raise InputError("The method is not trained.")
