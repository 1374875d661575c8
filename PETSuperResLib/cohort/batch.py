"""Reconstruct many cases: a folder of results for each, a table of all lesions, and a table of the cases' outcomes."""

from __future__ import annotations

import csv
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from ..dicom.write import check_target, write_derived
from ..errors import Cancelled, OutputError, PETSuperResError, in_words
from ..files import fingerprint, hash_of, to_json, write_csv, write_text, write_together
from ..inputs import Inputs
from ..interrupt import interrupted
from ..lesions.dicom_report import beside
from ..lesions.measures import COLUMNS
from ..lesions.read import Segmentation
from ..lesions.segments import Segment
from ..outputs import begins, check_folder, marked, next_to
from ..prior import Prior
from ..progress import Callback, Event, Reporter
from ..reconstruction import about_region, run
from ..request import SEGMENTS, Request
from ..request import options as request_options
from ..results import (
    check_results,
    earlier_results,
    lesions_of,
    state,
    target,
    whole_report,
    write_results,
    written_since,
)
from ..scanner import Scanner
from ..volume import Volume
from .cases import Case
from .distributed import team_on
from .overview import MARK, WIDE_COLUMNS, case_picture, wide_rows, write_index

CASE_COLUMNS = ("case", "result", "scanner", "seconds", "message", "warnings", "made")
NO_DICOM = "No DICOM series was written, as the PET is no DICOM series whose patient and study it could take."
_CASES = begins(CASE_COLUMNS)
TABLES = {"cases.csv": _CASES, "lesions.csv": next_to("cases.csv", _CASES, begins(COLUMNS))}
TABLES |= {"lesions_wide.csv": next_to("cases.csv", _CASES, begins(WIDE_COLUMNS)), "index.html": marked(MARK)}


@dataclass(frozen=True)
class Outcome:
    """What a call found and did.

    ``rows``: of cases.csv, a case each: ``result`` is sr.nii.gz, failed or skipped, with the reason in ``message``
    and, as ``option``, what would cure it; ``made`` is now or earlier; ``warnings`` are those of the case, each by
    itself. ``tables``: the names of the tables that were written. ``left``: cases of an earlier call whose folders
    stay, though this one had not to do with them. ``replaced`` and ``removed``: cases with another result before, and
    with a new one now or none.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[str] = ()
    left: Sequence[str] = ()
    replaced: Sequence[str] = ()
    removed: Sequence[str] = ()

    def warnings(self) -> dict[str, list[str]]:
        """Every warning with the cases that have it."""
        cases: dict[str, list[str]] = {}
        for row in self.rows:
            for warning in row.get("warnings", ()):
                cases.setdefault(warning, []).append(row["case"])
        return cases

    def of(self, result: str, made: str | None = None) -> list[Mapping[str, Any]]:
        """The rows with a result."""
        return [row for row in self.rows if row["result"] == result and made in (None, row["made"])]


def reconstruct_cases(
    cases: Sequence[Case],
    out: str | Path,
    scanner: str | Scanner | None = None,
    quality: str = "standard",
    progress: Callback | None = None,
    skipped: Mapping[str, str] | None = None,
    dicom_out: str | Path | None = None,
    **options: Any,
) -> Outcome:
    """Super-resolve every case into ``out/<case>``: sr.nii.gz, report.json, lesions.csv, picture.png, std.nii.gz with
    samples.

    ``scanner`` None takes each DICOM study's own; ``options`` are further fields of a :class:`Request`, of all cases.
    What an equal call has done is not done again, and a case that fails does not stop the others, whatever the error; a
    picture that fails costs the picture alone. Under torchrun the processes share the cases; the first one then writes
    ``cases.csv``, ``lesions.csv``, ``lesions_wide.csv`` and ``index.html``. ``skipped`` are folders that are no case,
    with the reason, for the table. With ``dicom_out`` the result of each DICOM study is written to ``dicom_out/<case>``
    too, with SEG and structured report of its lesions; other cases have a warning. Raises :class:`OutputError` before
    the work where a file of another origin is in the way, and later where nothing can be written. A case to whose
    folder a run with other options has written meanwhile has failed, and that result stays.
    """
    # refused before anything is read; every case may have a segmentation
    common = Request("", "", scanner, quality, segmentation="", **options)
    out, prior = Path(out), Prior.load(common.prior)  # type: ignore[arg-type]
    check_folder(out, TABLES)
    shared = {name for name, about in request_options(Request).items() if about.shared}
    decides = {k: v for k, v in common.to_dict().items() if k in shared - {"device"}} | {"prior": prior.sha256}
    series = None if dicom_out is None else Path(dicom_out)
    jobs = [_Job(case, out / case.name, _key(case, decides), series and series / case.name) for case in cases]
    missing = [job for job in jobs if not job.is_kept()]
    for job in missing:
        job.check(common)
    states = {job.folder: state(job.folder) for job in missing}
    before = [job for job in missing if target(job.folder, "sr") in earlier_results(job.folder)]
    earlier = _earlier_cases(out)
    with team_on(common.device, 0) as team:
        report = Reporter(progress)
        own = jobs[team.rank :: team.size]
        for number, job in enumerate(own):
            part = report.part(number / len(own), (number + 1) / len(own))
            part(job.case.name, 0.0)
            job.run(replace(common, device=str(team.device)), prior, part, states.get(job.folder))
        team.agree(0)
        made = {job.case.name for job in missing}
        outcome = _tables(jobs, made, out, skipped or {}, earlier) if team.first else Outcome()
    done = {row["case"] for row in outcome.of("sr.nii.gz")}
    removed = [job.case.name for job in before if not target(job.folder, "sr").is_file()]
    outcome = replace(outcome, replaced=[job.case.name for job in before if job.case.name in done], removed=removed)
    report("done", 1.0)
    return outcome


@dataclass(frozen=True)
class _Job:
    """A case, its folder of results, the hash of all that decides them, and the folder ``asked`` for its series."""

    case: Case
    folder: Path
    key: str
    asked: Path | None

    @property
    def series(self) -> Path | None:
        """The folder of the case's DICOM series; None where none is asked for, or can be written."""
        return self.asked if self.case.kind == "dicom" else None

    def is_kept(self) -> bool:
        """Whether an equal call has made the results, and they are unchanged."""
        found = whole_report(self.folder)
        return found.get("key") == self.key and (self.folder / "sr.nii.gz").is_file()

    def check(self, common: Request) -> None:
        """Raise :class:`OutputError` where results cannot be written."""
        check_results(self.folder, common, self.case.sources())
        if self.series is not None:
            check_target(self.series)

    def run(self, common: Request, prior: Prior, report: Reporter, before: str | None = None) -> None:
        """Make what is missing; a case that cannot be reconstructed is noted in its report, with nothing else.

        ``before`` is what the folder's :func:`~..results.state` was when the batch began; what a run with other options
        has written since then stays, and :meth:`row` tells it.
        """
        if self.is_kept():
            self._complete()
            return
        try:
            self._try(common, prior, report, before)
        except OutputError:
            if before is None or not written_since(self.folder, before) or not self._is_of_another():
                raise

    def _try(self, common: Request, prior: Prior, report: Reporter, before: str | None) -> None:
        try:
            self._reconstruct(common, prior, report, before)
        except (Cancelled, OutputError):
            raise
        except Exception as error:
            known = _told(error)
            if isinstance(known, OutputError) and known.option:  # no space is left for any other case either
                raise known from error
            trace = {} if isinstance(error, PETSuperResError) else {"traceback": traceback.format_exc()}
            self._note(before, error=str(known), option=known.option, **trace)

    def _reconstruct(self, common: Request, prior: Prior, report: Reporter, before: str | None) -> None:
        name = self.case.name

        def show(event: Event) -> None:
            report(f"{name}: {event.stage}", event.fraction, event.message)

        pet, ct = self.case.pet(), self.case.ct()
        found = self.case.segmentation(pet, ct)
        if common.region == SEGMENTS and not found.segments:
            reasons = " ".join(found.notes) or "The case has no contours."
            self._note(before, skipped=f"There is no lesion to reconstruct a region around. {reasons}")
            return
        request = replace(common, pet=pet, ct=ct, segmentation=found)
        result = run(Inputs.of(request, show), show, prior)
        if self.is_kept():  # an equal batch was faster
            self._complete()
            return
        facts = {"key": self.key, "case": name, "date": pet.metadata.get("series_date", "")}
        pictures, why = _picture(name, pet, result.volume, found.segments)
        if why:
            facts["warnings"] = [*result.report.get("warnings", ()), why]
        write = partial(result.write, self.folder, name, further=pictures, **facts)
        write(before=self._now(before))
        if self.series is not None:
            try:
                self._write_series(result.volume, result.report, found, result.rows())
            except OutputError as error:
                write(no_series=str(error))

    def _complete(self) -> None:
        """Write the series of a result that is kept, where it is missing."""
        if self.series is not None and not self.series.is_dir():
            self._write_series_of_kept()

    def _write_series_of_kept(self) -> None:
        """Write the series of a result of an earlier call; that it cannot be is noted in the report."""
        sr, facts = target(self.folder, "sr"), whole_report(self.folder)
        now = {name: value for name, value in facts.items() if name != "no_series"}
        try:
            rows = lesions_of(sr, facts)
            drawn = self.case.segmentation(self.case.pet(), self.case.ct()) if rows else Segmentation()
            self._write_series(Volume.read(sr, "SUVbw"), facts, drawn, rows)
        except Cancelled:
            raise
        except Exception as error:
            now["no_series"] = str(_told(error))
        if now != facts:
            write_text(target(self.folder, "report"), to_json(now))

    def _write_series(
        self, volume: Volume, report: Mapping[str, Any], drawn: Segmentation, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        assert self.series is not None
        try:
            objects = beside(drawn.segments, rows, report)
            write_derived(volume, self.case.pet_file, self.series, report, series=self.case.pet_series, beside=objects)
        except Cancelled:
            raise
        except Exception as error:
            saved = target(self.folder, "sr")
            raise OutputError(
                f"{saved} is saved, but not the DICOM series of {self.case.name}: {_told(error)}"
            ) from error

    def _note(self, before: str | None, **why: str) -> None:
        if not self.is_kept():
            write_results(self.folder, {}, {"key": self.key, "case": self.case.name, **why}, before=self._now(before))

    def _now(self, before: str | None) -> str | None:
        """``before``, or the folder's state since an equal call has noted there why it has no result."""
        return before if self._is_of_another() else state(self.folder)

    def _is_of_another(self) -> bool:
        """Whether the folder's result or note is not of a call with equal options."""
        return bool(whole_report(self.folder).get("key") != self.key)

    def lesions(self) -> dict[str, Any]:
        """The case with its rows of lesions, for :func:`~.overview.wide_rows`."""
        patient = self.case.patient or self.case.name
        if self.case.kind == "dicom":
            patient = f"P{patient}"  # a hash may be digits alone, which readers of tables take for a number
        about = {"case": self.case.name, "patient": patient}
        rows = _rows(self.folder / "lesions.csv")
        return about | {"date": str(whole_report(self.folder).get("date", "")), "lesions": rows}

    def row(self, made: bool) -> dict[str, Any]:
        """The case's row of cases.csv."""
        found = whole_report(self.folder)
        if not found:
            found = {"error": "No result was kept."}
        elif found.get("key") != self.key:
            why = f"Another run has written its result to {self.folder} meanwhile, which stays: choose another place."
            found = {"error": why, "option": "out"}
        result = "skipped" if "skipped" in found else "failed" if "error" in found else "sr.nii.gz"
        usual = about_region(found.get("region"), found.get("region_covered"))  # of every case, and in its report
        warnings = [*self.case.notes, *(w for w in found.get("warnings", ()) if w not in usual)]
        scanner = found.get("scanner")
        if self.asked is not None and self.series is None and result == "sr.nii.gz":
            warnings.append(NO_DICOM)
        return {
            "case": self.case.name,
            "result": result,
            "scanner": scanner.get("name", "") if isinstance(scanner, dict) else scanner,
            "seconds": found.get("seconds", ""),
            "message": next((found[n] for n in ("error", "skipped", "no_series") if n in found), ""),
            "warnings": tuple(dict.fromkeys(warnings)),
            "made": "now" if made else "earlier",
            "option": found.get("option", ""),
        }


def _told(error: Exception) -> PETSuperResError:
    """An error in words, also one that nobody foresaw; raises :class:`Cancelled` where a library made it of an
    interrupt."""
    if interrupted:
        raise Cancelled("Cancelled; what was finished is kept.") from error
    unforeseen = f"An error of this software ({type(error).__name__}: {error}): report it, without patient data."
    return in_words(error) or PETSuperResError(unforeseen)


def _picture(
    name: str, pet: Volume, sr: Volume, segments: Sequence[Segment]
) -> tuple[dict[str, Callable[[Path], object]], str]:
    """What writes a case's picture, by its key; nothing, and why, where it cannot be made."""
    stream = BytesIO()
    try:
        case_picture(name, pet, sr, stream, segments)
    except Exception as error:
        return {}, f"There is no picture of this case. {_told(error)}"
    return {"picture": lambda path: path.write_bytes(stream.getvalue())}, ""


def _key(case: Case, decides: Mapping[str, Any]) -> str:
    files = case.sources()
    return hash_of({**decides, "files": fingerprint(files, files[0].parent.parent)})


def _earlier_cases(out: Path) -> set[str]:
    """The cases with results that an earlier call listed."""
    table = out / "cases.csv"
    return {row["case"] for row in _rows(table) if (out / row["case"] / "sr.nii.gz").is_file()}


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _tables(jobs: Sequence[_Job], made: set[str], out: Path, skipped: Mapping[str, str], earlier: set[str]) -> Outcome:
    """Write cases.csv, index.html, and the two tables of lesions of the reconstructed cases."""
    rows = [job.row(job.case.name in made) for job in jobs]
    done = [job.lesions() for job, row in zip(jobs, rows, strict=True) if row["result"] == "sr.nii.gz"]
    lesions, wide = [row for case in done for row in case["lesions"]], wide_rows(done)
    rows += [{"case": name or ".", "result": "skipped", "message": why, "made": ""} for name, why in skipped.items()]
    lines = [row | {"warnings": " ".join(row.get("warnings", ()))} for row in rows]
    writers: dict[Path, Any] = {out / "cases.csv": lambda path: write_csv(path, lines, CASE_COLUMNS)}
    writers[out / "index.html"] = lambda path: write_index(path, lines, wide)
    if lesions:
        writers[out / "lesions.csv"] = lambda path: write_csv(path, lesions, COLUMNS)
        writers[out / "lesions_wide.csv"] = lambda path: write_csv(path, wide, WIDE_COLUMNS)
    write_together(writers, [out / name for name in TABLES])
    left = sorted(earlier - {job.case.name for job in jobs})
    return Outcome(rows, [path.name for path in writers], left)
