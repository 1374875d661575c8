"""What the figures of the studies share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTICE = "Research use only: not for diagnosis or treatment."


def save_figure(figure: Figure, path: str | Path, tight: bool = False) -> Path:
    """Write a figure as PNG, whole or not at all; returns the path. ``tight`` cuts it to what is drawn."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", bbox_inches="tight" if tight else None)
    return Path(path)
