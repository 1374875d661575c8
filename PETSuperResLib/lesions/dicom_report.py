"""The lesions of a super-resolved PET as DICOM objects beside its series: a SEG and a structured report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ..dicom.derived import settings_of, stable_uid
from ..dicom.write_report import Group, Value, report_of_groups
from ..dicom.write_seg import Drawn, seg_of
from ..errors import InputError
from ..headers.attributes import text, whole
from ..volume import Volume
from .codes import INPUT_PET, SUPER_RESOLVED, codes_of
from .measures import COLUMNS, INPUT, MTV, ON_GRID, lesion_rows, measure_lesions
from .segments import HALF, Segment

SEG_FILE, REPORT_FILE = "SEG.dcm", "SR.dcm"


def beside(
    segments: Sequence[Segment], rows: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> Callable[..., dict[str, Dataset]] | None:
    """:func:`lesion_objects` for :func:`~PETSuperResLib.dicom.write.write_derived`; None without segments."""
    return partial(lesion_objects, segments, rows, report) if segments else None


def lesion_objects(
    segments: Sequence[Segment],
    rows: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    volume: Volume,
    derived: Sequence[Dataset],
    source: Sequence[Dataset],
) -> dict[str, Dataset]:
    """SEG and structured report of ``segments``, by file name.

    ``rows`` are of :func:`~.measures.lesion_rows` or a table of them: each segment's in the input PET (method ``lr``)
    and in the super-resolved one; other rows of the PET are left out. ``report`` is the reconstruction's. ``derived``
    are the slices of ``volume``, ``source`` those of the PET it was made from. The SEG lies on the derived series'
    grid, so that a segment outside it is left out of both. Raises :class:`InputError` for a segment without a row.
    """
    study = text(derived[0], "StudyInstanceUID")
    drawn: list[Drawn] = []
    groups: list[Group] = []
    left = [row for row in rows if row["method"] != ON_GRID]
    for segment in segments:
        own = _take(left, segment.name)
        weights, block = segment.weights(volume)
        if weights.sum() <= 0:
            continue
        inside = weights >= min(HALF, float(weights.max()))
        region = Drawn(segment.name, _tracking_uid(segment, study, drawn), inside, block)
        drawn.append(region)
        k = block[0]
        slices = {INPUT: _sources(derived[k], source), "": derived[k]}
        for row in own:
            kind = INPUT if row["method"] == INPUT else ""
            series = INPUT_PET if kind else SUPER_RESOLVED
            groups.append(Group(region, len(drawn), series, slices[kind], _values(row)))
    if not drawn:
        return {}
    number = whole(derived[0], "SeriesNumber") or 0
    settings = [f"MTV and measured TLG from {_edge(report['threshold'])}"] if "threshold" in report else []
    if any(row.get("tlg_recovered") for row in rows):
        settings.append("Fitted TLG of the whole segment, without a threshold")
    seg = seg_of(drawn, derived, number + 1000)
    parameters = [*settings, *settings_of(report)]
    description = "Lesion SUVs before and after PETSuperRes (research use)"
    told = report_of_groups(groups, seg, [*derived, *source], parameters, number + 2000, description)
    return {SEG_FILE: seg, REPORT_FILE: told}


def measured_rows(
    segments: Sequence[Segment], pet: Volume, result: Volume, report: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of segments measured in both images, with the report's threshold, if it has one."""
    threshold = report.get("threshold", MTV)
    before = measure_lesions(pet, segments, threshold=threshold)
    after = measure_lesions(result, segments, threshold=threshold, skip_outside=True)
    return [*lesion_rows(before, method=INPUT), *lesion_rows(after, method="sr")]


def _edge(threshold: float | str) -> str:
    """A threshold in words."""
    return f"{threshold} of SUVmax" if str(threshold).endswith("%") else f"SUV {threshold}"


def _take(rows: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Remove and return a segment's rows: of each method the first one of its name."""
    own: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["lesion"] == name:
            own.setdefault(row["method"], row)
    if not own:
        raise InputError(f"The lesion table has no row of '{name}': give the segmentation that it was made with.")
    rows[:] = [row for row in rows if not any(row is taken for taken in own.values())]
    return list(own.values())


def _tracking_uid(segment: Segment, study: str, others: Sequence[Drawn]) -> str:
    """The one of the SEG that the segment was read from, else one that study and name decide."""
    stated = str(segment.mask.metadata.get("tracking_uid") or "")
    if stated and all(stated != other.tracking_uid for other in others):
        return stated
    same = sum(other.name == segment.name for other in others)
    return stable_uid(study, segment.name, *([str(same)] if same else []))


def _sources(derived: Sequence[Dataset], source: Sequence[Dataset]) -> list[Dataset]:
    """The source's slices that derived ones were made from."""
    used = {slice_.SourceImageSequence[0].ReferencedSOPInstanceUID for slice_ in derived}
    return [one for one in source if one.SOPInstanceUID in used]


def _values(row: Mapping[str, Any]) -> list[Value]:
    """A row's measures; the interval of a recovered one is in the columns ``suvmean_low`` and so on."""
    found = []
    for name in COLUMNS:
        codes = codes_of(name)
        value = None if codes is None else _number(row.get(name))
        if codes is not None and value is not None:
            measure, recovered, _ = name.partition("_recovered")
            ends = (_number(row.get(f"{measure}_{end}")) if recovered else None for end in ("low", "high"))
            found.append(Value(codes.concept, value, codes.unit, codes.derivation, codes.method, *ends))
    return found


def _number(value: Any) -> float | None:
    return None if value in (None, "") or not np.isfinite(float(value)) else float(value)
