"""The sample case: a generated PET/CT torso with lesions, scanned at low resolution by simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import check_folder, write_together
from ..progress import Callback, Event, Reporter
from ..volume import Volume
from ..worker.jobs import checked_fields
from ..worker.raw_arrays import write_raw

if TYPE_CHECKING:
    from ..physics.simulation import Simulation
    from .torso import Phantom

SEED, SHAPE, SPACING, LESIONS = 101, (24, 112, 160), (2.0, 2.0, 2.0), 6
SETTING = "Paper standard"  # the preset that the scan is simulated with
SITES = {"node_bed": "Node", "fat": "Fat", "other": "Soft tissue"}
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("out", "private"), (str,)),
    **dict.fromkeys(("seed", "lesions"), (int,)),
    "shape": (list, tuple),
}


@dataclass(frozen=True)
class SampleCase:
    """A generated case: the phantom, its scan, and the lesions' names by label."""

    phantom: Phantom
    simulation: Simulation
    names: dict[int, str]


def sample_case(
    seed: int = SEED,
    shape: Sequence[int] = SHAPE,
    lesions: int = LESIONS,
    progress: Callback | None = None,
) -> SampleCase:
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
    return SampleCase(phantom, scan, names)


@dataclass(frozen=True)
class SampleJob:
    """What the worker is asked for a sample case; the volumes go into the folder ``out`` without compression."""

    out: str
    seed: int = SEED
    shape: Sequence[int] = SHAPE
    lesions: int = LESIONS
    private: str | None = None  # the client's folder, removed by a worker whose client has died

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> SampleJob:
        """The job of a message; raises :class:`InputError` naming a missing, unknown or wrong field."""
        return cls(**checked_fields(cls, KINDS, message))

    def run(
        self, _load: object, progress: Callable[[Event], None], _show: object
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Generate and write ``pet``, ``ct`` and ``labels``; (files by name, ``lesions``: names by label)."""
        case = sample_case(self.seed, self.shape, self.lesions, progress)
        folder = check_folder(self.out)
        volumes = {"pet": case.simulation.lr, "ct": case.phantom.ct, "labels": case.phantom.labels}
        files = {key: folder / f"{key}.nrrd" for key in volumes}
        write_together({files[key]: _writer(volume) for key, volume in volumes.items()})
        return files, {"lesions": case.names}


def _writer(volume: Volume) -> Callable[[Path], object]:
    return lambda path: write_raw(volume, path)
