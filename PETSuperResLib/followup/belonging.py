"""Whether studies and results belong together: refusals in one sentence, and warnings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from ..errors import GeometryError, InputError
from ..files import file_hash
from ..suv.tracer import same_tracer
from ..volume import Volume
from .common_errors import differing
from .visit import Visit

RECONSTRUCTION = {  # of the report of a result from an image: part, field, and what they are called
    ("sampler", "name"): "quality",
    ("prior", "sha256"): "prior",
    ("resolution", "stated_mm"): "FWHM",
    ("resolution", "filter_fwhm_mm"): "filter",
    ("resolution", "psf_modelled"): "PSF",
}


def check_studies(visits: Sequence[Visit]) -> list[str]:
    """Raise where visits are of different patients or results of another PET; returns warnings.

    Warnings: one PET given twice, an order that is not that of time, different tracers, and results of different
    reconstructions. What the images do not tell (files without DICOM header or report) is not checked. Raises
    :class:`GeometryError` for two PatientIDs, and :class:`InputError` for results whose report names another PET.
    """
    _check_patients(visits)
    hashes = [file_hash(v.file) if v.file is not None and v.file.is_file() else "" for v in visits]
    for number in range(len(visits)):
        _check_results(number, visits, hashes)
    return [*_twice(visits, hashes), *_order(visits), *_tracers(visits), *_reconstructions(visits)]


def _check_patients(visits: Sequence[Visit]) -> None:
    """Raise where two images have different DICOM PatientIDs."""
    images = [(f"PET of {v.name}", v.pet) for v in visits]
    images += [(f"CT of {v.name}", v.ct) for v in visits if v.ct is not None]
    known = [(name, patient) for name, image in images if (patient := _patient(image))]
    for name, patient in known[1:]:
        if patient != known[0][1]:
            raise GeometryError(
                f"The {known[0][0]} and the {name} are of different patients (DICOM PatientID): give studies of one "
                "patient."
            )


def _patient(image: Volume) -> str:
    """The hash of the DICOM PatientID; empty where there is none."""
    about = image.metadata
    return str(about.get("patient", "")) if about.get("patient_from", "PatientID") == "PatientID" else ""


def _check_results(number: int, visits: Sequence[Visit], hashes: Sequence[str]) -> None:
    """Raise where the report of a visit's results names another PET: by series, SHA-256, or as another visit's PET."""
    visit, own = visits[number], hashes[number]
    file, recorded, uid = (_part(visit.report, n).get("pet") for n in ("files", "files_sha256", "series_uids"))
    series = visit.pet.metadata.get("series_uid")
    if uid and series:
        wrong = uid != series
    elif recorded and own and not series:
        wrong = recorded != own
    else:  # of a DICOM folder there is no hash
        wrong = not _same(file, visit.file) and any(_same(file, other.file) for other in visits)
    if wrong:
        raise InputError(
            f"The results of {visit.name} were made from another PET ({file or uid}): give those of its own PET.",
            "results",
        )


def _same(one: str | Path | None, other: Path | None) -> bool:
    """Whether two paths are of one file or folder that exists."""
    return one is not None and other is not None and Path(one).exists() and other.exists() and other.samefile(one)


def _twice(visits: Sequence[Visit], hashes: Sequence[str]) -> list[str]:
    """Visits with one PET, by the UID of its series or by its file."""
    series = [str(v.pet.metadata.get("series_uid", "")) for v in visits]
    return [
        f"{visits[n].name} and {visits[m].name} are the same PET: give each study once."
        for n, m in combinations(range(len(visits)), 2)
        if any(values[n] and values[n] == values[m] for values in (series, hashes))
    ]


def _order(visits: Sequence[Visit]) -> list[str]:
    """A warning where a visit's date is before that of the one before it."""
    dates = [(v.name, date) for v in visits if (date := _date(v))]
    if all(before <= after for (_, before), (_, after) in pairwise(dates)):
        return []
    given = ", ".join(f"{name} of {date[:4]}-{date[4:6]}-{date[6:]}" for name, date in dates)
    return [f"The studies are not in the order of time ({given}): changes are counted from the first to the last."]


def _date(visit: Visit) -> str:
    """YYYYMMDD of the PET's acquisition, else of its series; empty where neither is known."""
    about = visit.pet.metadata
    dates = (re.match(r"\d{8}(?!\S)", str(about.get(name, ""))) for name in ("acquisition_first", "series_date"))
    return next((found.group() for found in dates if found), "")


def _tracers(visits: Sequence[Visit]) -> list[str]:
    """A warning where the headers of the PETs name different tracers."""
    known = [(v.name, v.tracer) for v in visits if v.tracer]
    if all(same_tracer(one, other) for (_, one), (_, other) in combinations(known, 2)):
        return []
    named = ", ".join(f"{name} of {tracer.upper()}" for name, tracer in known)
    return [f"The studies are of different tracers ({named}): changes and their limits hold for one tracer only."]


def _reconstructions(visits: Sequence[Visit]) -> list[str]:
    """A warning where the results are not all of one quality, prior and resolution."""
    reports = [v.report for v in visits if v.report]
    apart = [words for report in reports[1:] for words in differing(reports[0], report) or []]
    different = [
        name
        for (part, field), name in RECONSTRUCTION.items()
        if any(_part(r, part).get(field) != _part(reports[0], part).get(field) for r in reports[1:])
    ]
    if len({report.get("measurement") for report in reports}) > 1:
        different = []  # a sinogram has no such resolution
    different = list(dict.fromkeys([*different, *apart]))
    if not different:
        return []
    wider = " Errors do not cancel in recovered changes, so their intervals are wider." if apart else ""
    return [f"The results differ in {', '.join(different)}: the limits hold for the same reconstruction only.{wider}"]


def _part(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of a report; empty where it has none."""
    found = report.get(name)
    return found if isinstance(found, Mapping) else {}
