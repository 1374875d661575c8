"""Reconstruct many cases: a folder of results for each, a table of all lesions, and a table of the cases' outcomes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Cancelled, OutputError, PETSuperResError
from ..files import fingerprint, hash_of, to_json, write_csv, write_together
from ..inputs import Inputs
from ..lesions.measures import COLUMNS
from ..prior import Prior
from ..progress import Callback, Event, Reporter
from ..reconstruction import run
from ..request import Request
from ..request import options as request_options
from ..results import target
from ..scanner import Scanner
from .cases import Case
from .distributed import team_on

CASE_COLUMNS = ("case", "result", "scanner", "seconds", "message")


def reconstruct_cases(
    cases: Sequence[Case],
    out: str | Path,
    scanner: str | Scanner | None = None,
    quality: str = "standard",
    progress: Callback | None = None,
    **options: Any,
) -> dict[str, str]:
    """Super-resolve every case into ``out/<case>``: sr.nii.gz, report.json, lesions.csv, std.nii.gz with samples.

    ``scanner`` None takes each DICOM study's own; ``options`` are further fields of a :class:`Request`, of all cases.
    What an equal call has done is not done again, and a case that fails does not stop the others. Under torchrun the
    processes share the cases; the first one then writes ``out/cases.csv`` and ``out/lesions.csv``. Returns the cases
    that failed with the reason.
    """
    common = Request("", "", scanner, quality, **options)  # refused before anything is read
    out, prior = Path(out), Prior.load(common.prior)  # type: ignore[arg-type]
    shared = {name for name, about in request_options(Request).items() if about.shared}
    decides = {k: v for k, v in common.to_dict().items() if k in shared - {"device"}} | {"prior": prior.sha256}
    with team_on(common.device, 0) as team:
        own = cases[team.rank :: team.size]
        report = Reporter(progress)
        for number, case in enumerate(own):
            part = report.part(number / len(own), (number + 1) / len(own))
            part(case.name, 0.0)
            files = case.sources()
            key = hash_of(decides | {"files": fingerprint(files, files[0].parent.parent)})
            if _kept(out / case.name).get("key") != key:
                _one(case, out / case.name, key, replace(common, device=str(team.device)), prior, part)
        team.agree(0)
        failed = _tables(cases, out) if team.first else {}
    report("done", 1.0)
    return failed


def _one(case: Case, folder: Path, key: str, common: Request, prior: Prior, report: Reporter) -> None:
    """Reconstruct a case and write its folder; a case that cannot be is noted in its report, with nothing else."""

    def show(event: Event) -> None:
        report(f"{case.name}: {event.stage}", event.fraction, f"{case.name}: {event.message or event.stage}")

    try:
        pet = case.pet()
        request = replace(common, pet=pet, ct=case.ct(), segmentation=case.segmentation(pet))
        result = run(Inputs.of(request), show, prior)
    except (Cancelled, OutputError):
        raise
    except PETSuperResError as error:
        note = to_json({"key": key, "case": case.name, "error": str(error)})
        for stale in ("sr", "std", "lesions"):  # of an earlier call with other settings
            target(folder, stale).unlink(missing_ok=True)
        write_together({folder / "report.json": lambda path: path.write_text(note, encoding="utf-8")})
        return
    result.write(folder, case.name, key=key, case=case.name)


def _kept(folder: Path) -> dict[str, Any]:
    """The report of an earlier call; None if there is none, or if it is unreadable."""
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = "error" not in found and (folder / "sr.nii.gz").is_file()
    return found if whole else {k: v for k, v in found.items() if k != "key"}


def _tables(cases: Sequence[Case], out: Path) -> dict[str, str]:
    """Write cases.csv, and lesions.csv of the reconstructed cases; returns the failed ones with the reason."""
    states, lesions = [], []
    for case in cases:
        found = _kept(out / case.name)
        failed = found.get("error") or ("" if "key" in found else "No result was kept.")
        scanner = found.get("scanner")
        state = {"case": case.name, "result": "failed" if failed else "sr.nii.gz", "message": failed}
        state["scanner"] = scanner.get("name", "") if isinstance(scanner, dict) else scanner
        states.append(state | {"seconds": found.get("seconds", "")})
        table = out / case.name / "lesions.csv"
        if not failed and table.is_file():
            with table.open(newline="", encoding="utf-8") as file:
                lesions += list(csv.DictReader(file))
    writers: dict[Path, Any] = {out / "cases.csv": lambda path: write_csv(path, states, CASE_COLUMNS)}
    if lesions:
        writers[out / "lesions.csv"] = lambda path: write_csv(path, lesions, COLUMNS)
    write_together(writers)
    return {state["case"]: str(state["message"]) for state in states if state["message"]}
