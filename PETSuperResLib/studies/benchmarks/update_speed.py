"""Time of one update of the data consistency, and of its parts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...physics.layout import slices_last
from ...physics.model import ForwardModel
from ...sampling.consistency import map_em
from ...sampling.penalties import ct_guided, quadratic_surrogate
from ...scanner import Scanner
from .scaling import SCANNER, case
from .timing import CPU, timed

UPDATES = 4  # timed together
UPDATE_COLUMNS = {
    "name": ("part", "{}"),
    "median_ms": ("ms", "{:.1f}"),
    "cpu_ms": ("CPU ms", "{:.1f}"),
}


def update_speed(slices: int = 64, size: int = 128, device: torch.device = CPU) -> list[dict[str, float | str]]:
    """Milliseconds of an update with the CT-guided penalty on a generated head, and of its parts."""
    pet, ct = case(slices, size)
    spacing = (2.0, 2.0, 3.0)
    model = ForwardModel(Scanner.get(SCANNER), (slices, size, size), spacing, background=1.0, device=device)
    z = slices_last(torch.from_numpy(pet.array).to(device).clamp_min(0.0))
    y = slices_last(model.mean(z))
    ties = quadratic_surrogate(ct_guided(torch.from_numpy(ct.array).to(device), spacing, 9, 2.0, 10.0), z, 0.2)
    weight, start = torch.full_like(z, 4.0), torch.ones_like(z)
    _ = model.sensitivity  # once per case
    work: dict[str, tuple[Callable[[], object], int]] = {
        "forward projection": (lambda: model.projector.forward(z), 1),
        "back-projection": (lambda: model.projector.adjoint(y), 1),
        "two blurs": (lambda: model.psf(model.psf(z)), 1),
        "these, ratio and likelihood": (lambda: model.compare(z, y), 1),
        "ties": (lambda: ties.pull(z), 1),
        "whole update": (lambda: map_em(model, y, start, z, weight, UPDATES, ties=ties), UPDATES),
    }
    rows: list[dict[str, float | str]] = []
    for name, (run, count) in work.items():
        seconds = timed(run, device=device)
        took = {k: 1e3 * seconds[key] / count for k, key in (("median_ms", "median_s"), ("cpu_ms", "fastest_cpu_s"))}
        rows.append({"name": name, **took})
    return rows
