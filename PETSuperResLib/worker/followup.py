"""The job that compares the studies of a patient over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import file_hash, write_together
from ..lesions.measures import MTV
from ..lesions.segments import Segment
from ..outputs import check_folder, marked
from ..progress import Event
from ..request import option
from ..volume import Volume
from .job import Answer, Job, Tools
from .raw_arrays import MARK, read_raw, write_raw

if TYPE_CHECKING:
    from ..followup.registration import Registration
    from ..followup.visit import Visit

_registrations: dict[tuple[str, str], Registration] = {}  # of the last comparison, by the SHA-256 of both CTs


@dataclass(frozen=True, kw_only=True)
class FollowUpJob(Job):
    """A comparison of two or more studies in the order of time; the answer's report is that of a follow-up, with
    ``rows`` (the table of lesions) and ``links`` (the pairing, with ``place_mm``, a point in each segment).

    ``studies``: an object for each, with ``name``, ``about`` (what the PET's header says: ``patient``, ``series_date``,
    ``series_uid``, ``weight_kg``, ``height_m``, ``sex`` and ``tracer``, as of
    :func:`~PETSuperResLib.suv.tracer.tracer_of`, where it is known, and ``suv``, the evidence of its SUVs), ``masks``
    (the names of its lesions) and ``report`` (of the reconstruction, where it was super-resolved); by it the lesions'
    uptake is recovered.
    ``pets`` and, of all studies or none, ``cts``: their files. ``results``: those of the studies that have a report.
    ``masks``: of all studies' lesions, in their order. ``pairs``: the lesion of each, or none to pair them here.
    Registered CTs are written into ``out``, without compression: ``first`` and ``later2``, ``later3`` and so on.
    """

    studies: list[dict[str, Any]] = option("list")
    pets: list[str] = option("list")
    cts: list[str] = option("list", ())
    results: list[str] = option("list", ())
    masks: list[str] = option("list", ())
    pairs: list[int] = option("list", ())
    threshold: float | str = option("threshold", MTV)
    out: str = option("text")

    def run(self, tools: Tools) -> Answer:
        """Register, pair and measure; CTs that the comparison before has registered are not registered again."""
        from ..followup.compare import compare
        from ..followup.pairing import rows
        from ..followup.registration import laid_over

        folder = check_folder(self.out)
        tools.progress(Event("reading", 0.0, "reading the images"))
        visits = self._visits()
        keys = self._keys()
        known = {number: _registrations[key] for number, key in keys.items() if key in _registrations}
        pairs = None
        if self.pairs:
            drawn = [(n, s.label) for n, visit in enumerate(visits, 1) for s in visit.segments]
            pairs = dict(zip(drawn, self.pairs, strict=True))
        done = compare(visits, pairs, threshold=self.threshold, progress=tools.progress, known=known)
        _registrations.clear()
        _registrations.update({keys[number]: found for number, found in done.registrations.items()})
        shown: dict[str, Volume] = {}
        for number, found in done.registrations.items():
            first, later = visits[0].ct, visits[number - 1].ct
            assert first is not None and later is not None
            shown["first"], shown[f"later{number}"] = laid_over(first, later, found)
        files = {name: folder / f"{name}.nrrd" for name in shown}
        check_folder(folder, {file.name: marked(MARK) for file in files.values()})
        write_together({files[name]: partial(write_raw, volume) for name, volume in shown.items()})
        places = {(n, s.label): s.centre() for n, visit in enumerate(visits, 1) for s in visit.segments}
        links = [row | {"place_mm": places[row["visit"], row["label"]]} for row in rows(done.links)]
        notes = [f"{visit.name}: {note}" for visit in visits for note in visit.notes]
        warnings = {"warnings": [*done.warnings, *notes]}
        return files, {**done.report(), **warnings, "rows": done.rows, "links": links}

    def _keys(self) -> dict[int, tuple[str, str]]:
        """What names the registration of each later study."""
        hashes = [file_hash(Path(file)) for file in self.cts]
        return {number: (hashes[0], later) for number, later in enumerate(hashes[1:], 2)}

    def _visits(self) -> list[Visit]:
        from ..followup.body import Body
        from ..followup.visit import Visit

        cts: Sequence[str | None] = self.cts or [None] * len(self.pets)
        results, masks = iter(self.results), iter(self.masks)
        visits = []
        for study, pet, ct in zip(self.studies, self.pets, cts, strict=True):
            volume = read_raw(pet)
            volume = replace(volume, metadata={**volume.metadata, **_known(study.get("about"))})
            named = enumerate(study.get("masks", ()), 1)
            segments = tuple(Segment(label, name, read_raw(next(masks))) for label, name in named)
            images, report = {"pet": volume}, study.get("report")
            body, notes = Body.of(volume, Body())
            anatomy = None if ct is None else read_raw(ct)
            visit = Visit(study["name"], images, segments, anatomy, body, tuple(notes))
            if report is not None:
                visit = replace(visit, images={**images, "sr": read_raw(next(results))}, report=report)
            visits.append(visit)
        return visits


def _known(about: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (about or {}).items() if value not in (None, "")}
