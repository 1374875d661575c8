"""A visit: one PET/CT study of a patient with its lesions, as it is compared with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import read_image
from ..lesions.measures import INTERVALS, RECOVERED
from ..lesions.read import read_segmentation
from ..lesions.segments import Segment
from ..results import lesions_of, report_of, target
from ..suv.volumes import check_suv, told
from ..vendor_strings import TRACER
from ..volume import Volume
from .body import UNKNOWN, Body

SAME_VOLUME = 0.02  # of a mask, up to which its volume differs by rounding


@dataclass(frozen=True)
class Visit:
    """One study.

    ``images``: by name the PETs in SUVbw that are measured: ``pet``, and ``sr`` where it was super-resolved.
    ``segments`` are the lesions; none is a visit whose lesions have all vanished. ``ct`` in HU serves registration and
    reference regions. ``recovered``: by the segment's name, what was recovered from its measurement, with intervals,
    their note and the evidence; where it is empty, a comparison recovers it from the PET and ``sr``.
    ``file``: where the PET was read; ``report``: of the reconstruction of ``sr``.
    """

    name: str
    images: Mapping[str, Volume]
    segments: tuple[Segment, ...]
    ct: Volume | None = None
    body: Body = UNKNOWN
    notes: tuple[str, ...] = ()
    recovered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pet(self) -> Volume:
        """The PET as the scanner gave it."""
        return self.images["pet"]

    @property
    def tracer(self) -> str:
        """As of :func:`~PETSuperResLib.suv.tracer.tracer_of`; empty where the PET's header names none."""
        return str(self.pet.metadata.get(TRACER) or "")

    @classmethod
    def read(
        cls,
        name: str,
        pet: Volume | str | Path,
        ct: Volume | str | Path | None = None,
        segmentation: Volume | str | Path | None = None,
        results: str | Path | None = None,
        body: Body = UNKNOWN,
    ) -> Visit:
        """Read the files of a study; ``results`` is a folder that ``reconstruct`` wrote of it.

        Raises the library's errors for what cannot be read or is no PET in SUV.
        """
        volume = read_image(pet, "PT")
        notes = check_suv(volume)
        images, recovered, report = {"pet": volume}, {}, {}
        measured: Sequence[Mapping[str, Any]] = ()
        if results is not None:
            result = target(results, "sr")
            report = report_of(result)
            images["sr"] = Volume.read(result, "SUVbw")
            if report.get("measurement") != "image":  # else a comparison recovers it with its own contours
                measured = lesions_of(result, report)
                recovered = recovered_by_lesion(measured)
        anatomy = None if ct is None else read_image(ct, "CT")
        notes += told(anatomy) if anatomy else []
        segments: tuple[Segment, ...] = ()
        if segmentation is not None and not _empty(segmentation):
            found = read_segmentation(segmentation, volume, anatomy)
            segments, notes = found.segments, [*notes, *found.notes]
        lost = _of_other_masks(measured, segments, images["sr"]) if recovered else []
        recovered = {lesion: values for lesion, values in recovered.items() if lesion not in lost}
        if lost:
            notes.append(
                f"What was recovered of {', '.join(lost)} is of another mask than the one given, and is left out: "
                "reconstruct with the segmentation that is compared."
            )
        file = None if isinstance(pet, Volume) else Path(pet)
        of_body, of_header = Body.of(volume, body)
        notes += of_header
        return cls(name, images, segments, anatomy, of_body, tuple(notes), recovered, file, report)


def recovered_by_lesion(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What rows of a table of lesions have of recovered SUVs, by the lesion's name."""
    return {row["lesion"]: found for row in rows if (found := recovered_of(row))}


def recovered_of(lesion: Mapping[str, Any]) -> dict[str, Any]:
    """What was recovered of a lesion, with intervals, their note and the evidence, by a table's row or its fields."""
    names = (*RECOVERED, *INTERVALS, "evidence_sigma")
    known = {name: lesion[name] for name in names if lesion.get(name) not in (None, "")}
    return {name: value if name.endswith("_note") else float(value) for name, value in known.items()}


def _of_other_masks(rows: Sequence[Mapping[str, Any]], segments: Sequence[Segment], result: Volume) -> list[str]:
    """The names of lesions whose volume in a table (rows of a ``result``) is not that of the segments."""
    recorded = {row["lesion"]: float(row["volume_ml"]) for row in rows if row.get("volume_ml")}
    lost = []
    for segment in segments:
        volume = float(segment.weights(result)[0].sum(dtype=np.float64)) * result.voxel_ml
        known = recorded.get(segment.name, volume)
        if abs(volume - known) > SAME_VOLUME * known:
            lost.append(segment.name)
    return lost


def _empty(segmentation: Volume | str | Path) -> bool:
    """Whether a segmentation is a label map without a label: no lesion is left."""
    if not isinstance(segmentation, Volume):
        path = Path(segmentation)
        if not path.is_file() or not path.name.lower().endswith((".nii", ".nii.gz", ".mha", ".nrrd")):
            return False
        try:
            segmentation = Volume.read(path, "label")
        except InputError:
            return False  # of several layers: reading it as a segmentation tells more
    return not segmentation.array.any()


def facts(visit: Visit) -> dict[str, Any]:
    """The visit in the report: name, body, and how SUL follows from SUVbw."""
    about = visit.body
    return {
        "name": visit.name,
        "date": visit.pet.metadata.get("series_date", ""),
        "lesions": len(visit.segments),
        "weight_kg": about.weight_kg,
        "suv_weight_kg": about.suv_kg,
        "height_cm": about.height_cm,
        "sex": about.sex,
        "tracer": visit.tracer,
        "sul_factor": about.sul_factor,
        "images": list(visit.images),
        "notes": list(visit.notes),
    }
