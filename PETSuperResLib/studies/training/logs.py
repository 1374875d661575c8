"""The record of a run: CSV tables, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import write_csv


class Table:
    """A CSV file with a row for a step; rows after the step at which a run continues are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if (row["step"] or "").isdigit()]
            self.rows = [row for row in rows if int(row["step"]) <= step]

    @property
    def last(self) -> int:
        """The step of the last row; -1 without any."""
        return int(self.rows[-1]["step"]) if self.rows else -1

    def add(self, step: int, values: Mapping[str, str]) -> None:
        """Add a row; new columns are added to the file."""
        self.rows.append({"step": str(step), **values})
        write_csv(self.path, self.rows, list(dict.fromkeys(name for row in self.rows for name in row)))


class Log:
    """``log.csv``, ``validation.csv`` and, if TensorBoard can be imported, ``tensorboard/``."""

    def __init__(self, out: Path, step: int):
        self.training = Table(out / "log.csv", step)
        self.validation = Table(out / "validation.csv", step)
        self.board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def trained(self, step: int, loss: float, rate: float, learning_rate: float) -> None:
        """A row of ``log.csv``: mean loss since the last row and images per second."""
        self.training.add(
            step, {"loss": f"{loss:.6f}", "images_per_s": f"{rate:.1f}", "learning_rate": f"{learning_rate:.3e}"}
        )
        self._show(step, "training", {"loss": loss, "images_per_s": rate, "learning_rate": learning_rate})

    def validated(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        """A row of ``validation.csv``."""
        self.validation.add(step, {**{k: f"{v:.6f}" for k, v in figures.items()}, "seconds": f"{seconds:.1f}"})
        self._show(step, "validation", figures)

    def _show(self, step: int, group: str, figures: Mapping[str, float]) -> None:
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Flush TensorBoard."""
        if self.board is not None:
            self.board.close()
