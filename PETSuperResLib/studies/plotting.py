"""Shared parts of the studies' figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | Path, tight: bool = False) -> Path:
    """Write a figure as PNG, completely or not at all; returns the path. ``tight`` crops the margins."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", bbox_inches="tight" if tight else None)
    return Path(path)
