"""The files of a follow-up: tables, pairs and report in one folder, by the law of :mod:`~PETSuperResLib.outputs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import write_csv
from ..outputs import check_folder, check_outputs
from ..results import earlier_results, target, write_results
from .compare import FollowUp
from .figures import references_figure, registration_figure, time_figure
from .lesions import COLUMNS
from .pairing import COLUMNS as PAIR_COLUMNS
from .pairing import rows

KEYS = ("followup", "pairs", "plot", "registration", "references")


def check_followup(out: str | Path, pairs: str | Path | None = None, inputs: Iterable[str | Path | None] = ()) -> Path:
    """The folder, if a follow-up can be written there; makes nothing. ``pairs``: the table of pairs that is read.

    Raises :class:`OutputError` where the folder holds results of another command, an input or a file of other origin
    in the way; an edited ``pairs.csv`` is neither, if it is what is read, and stays.
    """
    folder, report = check_folder(out), target(out, "report")
    if report.is_file() and earlier_results(folder) and "followup" not in json.loads(report.read_text("utf-8")):
        raise OutputError(f"{folder} holds the results of another command: choose another place.", "out")
    earlier = earlier_results(folder) - kept(folder, pairs)
    files = {*(target(folder, key) for key in (*KEYS, "report")), *earlier} - kept(folder, pairs)
    check_outputs(dict.fromkeys(sorted(files), earlier.__contains__), inputs)
    return folder


def write_followup(
    followup: FollowUp, out: str | Path, pairs: str | Path | None = None, before: str | None = None
) -> list[str]:
    """Write all files, or none, in place of an earlier follow-up; returns their names.

    Raises :class:`OutputError` where another run has written since the folder's :func:`~.results.state` was
    ``before``.
    """
    own = kept(Path(out), pairs)
    writers: dict[str, Callable[[Path], object]] = {
        "followup": partial(_table, followup.rows, COLUMNS),
        "pairs": partial(_table, rows(followup.links), PAIR_COLUMNS),
        "plot": partial(time_figure, followup.rows),
    }
    if followup.registrations:
        named = {followup.visits[n - 1].name: found for n, found in followup.registrations.items()}
        writers["registration"] = partial(registration_figure, named)
    placed = zip(followup.visits, followup.references, strict=True)
    shown = {v.name: (v.ct, v.pet, regions) for v, regions in placed if v.ct is not None and regions}
    if shown:
        writers["references"] = partial(references_figure, shown)
    writers = {key: write for key, write in writers.items() if target(out, key) not in own}
    write_results(out, writers, followup.report(), own, before)
    return [target(out, key).name for key in (*writers, "report")]


def kept(folder: Path, pairs: str | Path | None) -> set[Path]:
    """The folder's own ``pairs.csv``, where that is the table that is read."""
    own = target(folder, "pairs")
    return {own} if pairs is not None and own.exists() and own.samefile(pairs) else set()


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    write_csv(path, rows, columns)
