"""Our projector beside ASTRA's CPU projectors on the same geometry: exactness and speed, as a table.

    python Testing/benchmarks/astra_projector.py [SIZE SLICES VIEWS]

Needs ``pip install astra-toolbox`` (the extra ``bench``). The error is the relative L2 distance from the
exact sinogram of an off-centre disc, averaged over bins; times are the median of several runs per slice.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PETSuperResLib.evaluation.benchmark import PROJECTOR_COLUMNS, as_table, machine, timed  # noqa: E402
from PETSuperResLib.evaluation.projector_peers import Geometry, astra_peer, check, peers  # noqa: E402


def compare(g: Geometry) -> list[dict[str, object]]:
    """A row per projector."""
    rows: list[dict[str, object]] = []
    for peer in (
        next(peers(g)),
        *(astra_peer(g, kind) for kind in ("strip", "linear", "line")),
    ):
        image = torch.rand(peer.slices, g.size, g.size)
        sinogram = torch.rand(peer.slices, g.views, g.bins)
        row: dict[str, object] = {
            "name": peer.name,
            "slices": peer.slices,
            "megabytes": peer.megabytes,
            **check(peer, g),
        }
        total = 0.0
        for direction, seconds in (
            ("forward", timed(lambda peer=peer, image=image: peer.forward(image))),  # type: ignore[misc]
            ("adjoint", timed(lambda peer=peer, sinogram=sinogram: peer.adjoint(sinogram))),  # type: ignore[misc]
        ):
            row[f"{direction}_ms_per_slice"] = 1e3 * seconds["median_s"] / peer.slices
            row[f"{direction}_fastest_ms_per_slice"] = 1e3 * seconds["fastest_s"] / peer.slices
            total += 1e3 * seconds["median_s"] / peer.slices
        row["total"] = total
        row["times_ours"] = total / (rows[0]["total"] if rows else total)  # type: ignore[operator]
        rows.append(row)
    return rows


def main() -> None:
    """Print the table."""
    if importlib.util.find_spec("astra") is None:
        sys.exit("ASTRA is not installed: pip install astra-toolbox.")
    numbers = [int(n) for n in sys.argv[1:4]]
    geometries = [Geometry(*numbers)] if len(numbers) == 3 else [Geometry(128, 64, 90), Geometry(400, 32, 168)]
    print(", ".join(f"{k} {v}" for k, v in machine().items()))
    for geometry in geometries:
        print(as_table(f"{geometry}, ms per slice", compare(geometry), PROJECTOR_COLUMNS), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
