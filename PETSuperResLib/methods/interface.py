"""What a compared method is: what it may see, what it needs, how it is trained, what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..physics.simulation import Simulation
from ..prior import Prior
from ..volume import Volume


@dataclass(frozen=True)
class MethodCase:
    """What a method may see: the simulated acquisition (its truth is for the metrics only), the CT, the prior."""

    simulation: Simulation
    ct: Volume
    prior: Prior
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Method:
    """A compared method under the name that tables and the command line use.

    Parameters
    ----------
    run : the method itself, a case in, activity (SUVbw) on the grid of ``case.simulation.truth`` out.
    source : the publication or practice it follows, in one line.
    filled_in : what the source leaves open and this project chose; empty if nothing.
    needs_ct : the result depends on ``case.ct``.
    needs_pairs : it learns from pairs of LR and true images and restores nothing before :attr:`fit`.
    fit : for methods that learn: training cases (their truths may be seen) and a folder for what is
        worth keeping in, the trained method out; None for the others.
    """

    name: str
    run: Callable[[MethodCase], Volume] = field(repr=False)
    source: str
    filled_in: str = ""
    needs_ct: bool = False
    needs_pairs: bool = False
    fit: Callable[[Iterable[MethodCase], Path], Method] | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """Source, and what was filled in, for reports."""
        return self.source + (f" Filled in here: {self.filled_in}" if self.filled_in else "")

    def restore(self, case: MethodCase) -> Volume:
        """Run on one case; raises :class:`InputError` if the method has to be trained first."""
        if self.needs_pairs and self.fit is not None:
            raise InputError(f"Method '{self.name}' is not trained: restore with the method that its fit() returns.")
        return self.run(case)
