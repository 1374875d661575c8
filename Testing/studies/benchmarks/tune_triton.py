"""Time the Triton projector's tiles on a GPU, for both of the benchmark's geometries.

    python Testing/studies/benchmarks/tune_triton.py

The fastest of each direction belong into ``TritonBackend.FORWARD`` and ``ADJOINT``.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from PETSuperResLib.physics.backends import SparseBackend
from PETSuperResLib.physics.backends.triton_kernel import Tiles, TritonBackend
from PETSuperResLib.physics.projector import ParallelProjector
from PETSuperResLib.studies.benchmarks.benchmark import GEOMETRIES
from PETSuperResLib.studies.benchmarks.timing import timed

CANDIDATES = [  # outputs, terms, slices, warps
    *(Tiles(16, 8, 32, warps) for warps in (4, 8)),
    *(Tiles(8, 8, 32, warps) for warps in (2, 4)),
    *(Tiles(4, 8, 32, warps) for warps in (1, 2)),
    *(Tiles(32, 8, 32, warps) for warps in (8, 16)),
    *(Tiles(16, 4, 32, warps) for warps in (2, 4, 8)),
    *(Tiles(16, 8, 64, warps) for warps in (8, 16)),
    Tiles(8, 8, 64, 4),
    Tiles(4, 16, 32, 2),
]


def main() -> None:
    device = torch.device("cuda")
    print(torch.cuda.get_device_name(device))
    for geometry in GEOMETRIES:
        g = geometry
        z = torch.rand(g.size, g.size, g.slices, device=device).permute(2, 0, 1)
        y = torch.rand(g.views, g.bins, g.slices, device=device).permute(2, 0, 1)
        print(f"\n{geometry}, ms forward and back")
        wanted = None
        for tiles in (None, *CANDIDATES):
            backend = SparseBackend
            if tiles is not None:
                backend = type("Candidate", (TritonBackend,), {"FORWARD": tiles, "ADJOINT": tiles})
            try:
                projector = ParallelProjector(
                    (g.size, g.size), g.pixel_mm, g.views, g.bins, g.pixel_mm, 1, device, backend
                )
                found = projector.forward(z), projector.adjoint(y)
                wanted = wanted or found
                error = max(float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True))
                forward = timed(partial(projector.forward, z), 0.1, device)["median_s"]
                adjoint = timed(partial(projector.adjoint, y), 0.1, device)["median_s"]
            except Exception as failure:
                print(f"{tiles}: {failure}")
                continue
            print(f"{1e3 * forward:8.3f} {1e3 * adjoint:8.3f}  difference {error:.0e}  {tiles or 'torch CSR'}")


if __name__ == "__main__":
    main()
