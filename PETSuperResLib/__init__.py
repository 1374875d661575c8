"""PETSuperRes: PET super-resolution by posterior sampling under the scanner's physics, guided by CT.

>>> from PETSuperResLib import Volume, reconstruct
>>> result = reconstruct(Volume.read("pet.nii.gz"), Volume.read("ct.nii.gz"),
...                      scanner="Siemens Biograph mCT")                       # doctest: +SKIP

The names below are loaded on first use, so importing the package is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

# How long torch's threads wait actively before they sleep (GNU OpenMP reads it when torch is loaded). By default they
# wait actively without end, which takes many times as long if another program uses one of the cores.
if "OMP_WAIT_POLICY" not in os.environ:  # a setting of the user
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_HOME = {
    "Volume": "volume",
    "Scanner": "scanner",
    "Prior": "prior",
    "Sampler": "sampling",
    "reconstruct": "reconstruction",
    "simulate": "physics.simulation",
    "measure_lesions": "lesions.measures",
    "suv_volume": "dicom.read",
}
__all__ = ["__version__", *_HOME]  # noqa: PLE0604

if TYPE_CHECKING:
    from .dicom.read import suv_volume as suv_volume
    from .lesions.measures import measure_lesions as measure_lesions
    from .physics.simulation import simulate as simulate
    from .prior import Prior as Prior
    from .reconstruction import reconstruct as reconstruct
    from .sampling import Sampler as Sampler
    from .scanner import Scanner as Scanner
    from .volume import Volume as Volume


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
