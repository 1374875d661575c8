"""Columns of table nodes: texts, or numbers with NaN where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import vtk


def add_column(table: Any, name: str, values: Iterable[Any], text: bool = False) -> None:
    """Add a column of numbers, or with ``text`` of texts; None is NaN, or an empty text."""
    column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        if text:
            column.InsertNextValue("" if value is None else str(value))
        else:
            column.InsertNextValue(np.nan if value is None else float(value))
    table.AddColumn(column)


def fill_columns(table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A column for every key that has a value: numbers, with NaN where there is none, or text."""
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        if all(value in (None, "") for value in values):
            continue
        add_column(table, name, values, text=any(isinstance(value, str) for value in values))
    table.Modified()
