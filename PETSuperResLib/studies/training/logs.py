"""The record of a run: CSV tables, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Table:
    """A CSV file with a row for a step; rows beyond the step that a run goes on from are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if _number(row.get("step")) <= step]
            self._rewrite()

    @property
    def last(self) -> int:
        """The step of the last row; -1 without any."""
        return int(_number(self.rows[-1]["step"])) if self.rows else -1

    def add(self, step: int, values: Mapping[str, str]) -> None:
        """Append a row; a new column is added to the file."""
        row = {"step": str(step), **values}
        fresh = not self.rows or any(name not in self.rows[0] for name in row)
        self.rows.append(row)
        if fresh:
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, list(self.rows[0])).writerow(row)

    def _rewrite(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row if name))
        self.rows = [{name: row.get(name) or "" for name in names} for row in self.rows]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            if names:
                writer.writeheader()
            writer.writerows(self.rows)


def _number(text: str | None) -> float:
    """A step; infinite for what is none, as in a line that an interruption cut."""
    try:
        return int(text or "")
    except ValueError:
        return float("inf")


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
