"""Reconstruct many cases: a folder of results for each, a table of all lesions, and a table of the cases' outcomes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import Cancelled, OutputError, PETSuperResError
from ..files import fingerprint, hash_of, to_json, write_csv, write_together
from ..lesions import measures as ls
from ..prior import Prior
from ..progress import Callback, Reporter
from ..reconstruction import reconstruct
from ..sampling import Sampler
from ..scanner import Scanner, scanner_of
from .cases import Case
from .distributed import team_on

CASE_COLUMNS = ("case", "result", "scanner", "seconds", "message")


def reconstruct_cases(
    cases: Sequence[Case],
    out: str | Path,
    scanner: str | Scanner | None = None,
    quality: str = "standard",
    samples: int = 1,
    seed: int = 0,
    device: str = "auto",
    prior: str | Path | None = None,
    progress: Callback | None = None,
) -> dict[str, str]:
    """Super-resolve every case into ``out/<case>``: sr.nii.gz, report.json, lesions.csv, std.nii.gz with samples.

    ``scanner`` None takes each DICOM study's own. Results of an equal call are kept, and a case that fails does not
    stop the others. Under torchrun the processes share the cases; the first one then writes
    ``out/cases.csv`` and ``out/lesions.csv``. Returns the cases that failed with the reason.
    """
    Sampler.get(quality)  # refuse an unknown one before reading
    out, loaded = Path(out), Prior.load(prior)
    known = None if scanner is None else Scanner.get(scanner)
    decides = {
        "scanner": None if known is None else known.to_dict(),
        "quality": quality,
        "samples": samples,
        "seed": seed,
        "prior": loaded.sha256,
    }
    with team_on(device, 0) as team:
        own = cases[team.rank :: team.size]
        report = Reporter(progress)
        for number, case in enumerate(own):
            part = report.part(number / len(own), (number + 1) / len(own))
            part(case.name, 0.0)
            files = case.sources()
            key = hash_of(decides | {"files": fingerprint(files, files[0].parent.parent)})
            if _kept(out / case.name).get("key") != key:
                given = {"quality": quality, "samples": samples, "seed": seed, "device": str(team.device)}
                _one(case, out / case.name, key, known, given | {"prior": loaded, "progress": _within(part, case.name)})
        team.agree(0)
        failed = _tables(cases, out) if team.first else {}
    report("done", 1.0)
    return failed


def _within(report: Reporter, name: str) -> Callback:
    """The progress of one case as a part of the whole."""
    return lambda event: report(f"{name}: {event.stage}", event.fraction, f"{name}: {event.message or event.stage}")


def _one(case: Case, folder: Path, key: str, scanner: Scanner | None, given: dict[str, Any]) -> None:
    """Reconstruct a case and write its folder; for a failed case only its report, with the reason."""
    try:
        pet, ct, mask = case.pet(), case.ct(), case.lesions()
        known = scanner_of(scanner, pet.metadata)
        result = reconstruct(pet, ct, known, **given)
        before = ls.measure_lesions(pet, mask) if mask else []
        after = ls.measure_lesions(result.volume, mask) if mask else []
    except (Cancelled, OutputError):
        raise
    except PETSuperResError as error:
        note = to_json({"key": key, "case": case.name, "error": str(error)})
        for stale in ("sr.nii.gz", "std.nii.gz", "lesions.csv"):  # of an earlier call with other settings
            (folder / stale).unlink(missing_ok=True)
        write_together({folder / "report.json": lambda path: path.write_text(note, encoding="utf-8")})
        return
    report = {**result.report, "key": key, "case": case.name, "lesions": ls.compare(before, after)}
    writers: dict[Path, Any] = {folder / "sr.nii.gz": result.volume.write}
    if result.std is not None and given["samples"] > 1:
        writers[folder / "std.nii.gz"] = result.std.write
    if mask:
        rows = ls.lesion_rows(before, case.name, known.name, "lr")
        rows += ls.lesion_rows(after, case.name, known.name, f"ours-{given['quality']}")
        writers[folder / "lesions.csv"] = lambda path: write_csv(path, rows, ls.COLUMNS)
    writers[folder / "report.json"] = lambda path: path.write_text(to_json(report), encoding="utf-8")
    write_together(writers)


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
        writers[out / "lesions.csv"] = lambda path: write_csv(path, lesions, ls.COLUMNS)
    write_together(writers)
    return {state["case"]: str(state["message"]) for state in states if state["message"]}
