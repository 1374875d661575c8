"""The demo case: a generated PET/CT torso with lesions, scanned at low resolution by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..progress import Callback, Reporter

if TYPE_CHECKING:
    from ..physics.simulation import Simulation
    from .torso import Phantom

SEED, SHAPE, SPACING, LESIONS = 101, (24, 112, 160), (2.0, 2.0, 2.0), 6
SETTING = "Paper standard"  # the preset that the scan is simulated with
SITES = {"node_bed": "Node", "fat": "Fat", "other": "Soft tissue"}


@dataclass(frozen=True)
class DemoCase:
    """A generated case: the phantom, its scan, and the lesions' names by label."""

    phantom: Phantom
    simulation: Simulation
    names: dict[int, str]


def demo_case(
    seed: int = SEED,
    shape: Sequence[int] = SHAPE,
    lesions: int = LESIONS,
    progress: Callback | None = None,
) -> DemoCase:
    """Generate a torso of ``shape`` (K, J, I) at 2 mm and simulate its scan: 8 mm PSF, tenth of the dose, 8 mm voxels.

    ``progress`` gets the simulation's events and may raise to stop.
    """
    from ..physics.simulation import simulate
    from .torso import torso_phantom

    report = Reporter(progress)
    report("phantom", 0.0, "drawing the torso")
    k, j, i = shape
    phantom = torso_phantom(seed, (k, j, i), SPACING, lesions)
    scan = simulate(phantom.pet, phantom.ct, setting=SETTING, counts="realistic", seed=0, progress=progress)
    names = {n: f"{n} {SITES.get(one.organ, one.organ.capitalize())}" for n, one in enumerate(phantom.lesions, 1)}
    return DemoCase(phantom, scan, names)
