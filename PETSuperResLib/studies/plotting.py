"""Shared parts of the studies' figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path

MADE_BY = "PETSuperRes studies"  # in the header of each figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | Path, tight: bool = False) -> Path:
    """Write a figure as PNG, completely or not at all; returns the path. ``tight`` crops the margins."""
    with atomic_path(path) as temporary:
        box = "tight" if tight else None
        figure.savefig(temporary, dpi=110, format="png", bbox_inches=box, metadata={"Software": MADE_BY})
    return Path(path)
