"""summary.md: mean and standard deviation over patients, best and second best, paired tests, the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...files import write_text
from ...prior import Prior
from ...version import __version__
from .paper_tables import INTRODUCTION, beside_paper
from .tables import Cell, Table, groups

MADE = "PETSuperRes", "Research use only."  # in every document of tables and every report


def heading(title: str, command: str, prior: Prior | None = None) -> list[str]:
    """The first lines of a document of tables: the command that made it, the version, the day (UTC) and the prior."""
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    name, use = MADE
    made = f"{name} {__version__}, {day}. {use}"
    lines = [f"# {title}", "", *(["```", command, "```", ""] if command else []), made]
    if prior is not None:
        lines.append(f"Prior: SHA-256 {prior.sha256[:12]}, trained on {prior.info.get('trained_on', 'unknown data')}.")
    return [*lines, ""]


def write_summary(
    path: str | Path,
    metrics: Sequence[dict[str, Any]],
    lesions: Sequence[dict[str, Any]],
    prior: Prior,
    command: str = "",
    refused: Sequence[str] = (),
) -> Path:
    """Write the tables of all settings and count levels, then the paper's beside them; returns the path.

    ``refused`` are sentences on cases that a method did not take, which the means leave out.
    """
    lines = [*heading("Evaluation", command, prior), "Mean +- standard deviation over patients; **best**, _second_;"]
    lines += ["\\* differs from the best (paired Wilcoxon, p < 0.05).", ""]
    lines += [line for sentence in refused for line in (sentence, "")]
    for group in groups(metrics, lesions):
        lines += [f"## {group.title}", ""]
        for table in (*group.tables(), *group.lesion_tables()):
            lines += [*markdown(table), ""]
        lines += [] if group.lesions else ["No lesion contours.", ""]
    compared = beside_paper(metrics)
    if compared:
        lines += ["## Beside the paper", "", INTRODUCTION, ""]
        for title, table in compared:
            lines += [f"### {title}", "", *markdown(table), ""]
    return write_text(path, "\n".join(lines))


def markdown(table: Table) -> list[str]:
    """The lines of a table in Markdown, after those that introduce it."""
    lines = [line for text in table.lines for line in (text, "")]
    lines.append("| " + " | ".join(table.heading) + " |")
    lines.append("|---" * len(table.heading) + "|")
    lines += ["| " + " | ".join(_mark(cell) for cell in row) + " |" for row in table.rows]
    return lines


def _mark(cell: Cell) -> str:
    marks = {1: "**", 2: "_"}.get(cell.rank, "")
    return f"{marks}{cell.text}{marks}{'*' if cell.star else ''}"
