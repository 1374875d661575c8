"""The jobs of the worker: a reconstruction, the demo case, a DICOM series, SUV, a follow-up, lesions of a result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..files import write_together
from ..inputs import Inputs
from ..lesions.segments import Segment
from ..outputs import check_folder, marked
from ..phantoms.demo_case import LESIONS, SEED, SHAPE, demo_case
from ..progress import Event
from ..request import Request, from_plain, option, options
from ..results import check_results, state, target
from ..volume import Volume
from .followup import FollowUpJob
from .job import Answer, Job, Tools
from .lesions import LesionsJob
from .raw_arrays import MARK, read_raw, write_raw

PREVIEW_SECONDS = 2.0  # at least so much time between two previews


@dataclass(frozen=True, kw_only=True)
class ReconstructJob(Job):
    """A reconstruction; its message has the fields of the :class:`Request` beside these.

    ``out`` is a folder, or the volume file to write, by its suffix. ``preview``: show estimates meanwhile.
    ``raw``: read and write .nrrd without compression, for a client that reads it at once.
    """

    request: Request
    out: str = option("text")
    preview: bool = option("flag", False)
    raw: bool = option("flag", False)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> ReconstructJob:
        """As :meth:`Job.from_message`."""
        own = {name: message[name] for name in options(cls) if name in message}
        rest = {k: v for k, v in message.items() if k not in {*own, "version", "id", "type"}}
        return from_plain(cls, own, request=Request.from_dict(rest))

    def run(self, tools: Tools) -> Answer:
        """Reconstruct and write."""
        out = target(self.out, "sr")
        if self.raw and not out.name.endswith(".nrrd"):
            raise InputError("Field 'raw' needs an 'out' that ends with .nrrd.")
        check_results(self.out, self.request)
        before = state(self.out)
        tools.progress(Event("reading", 0.0, "reading the images"))
        inputs = Inputs.of(self._without_private_files(), tools.progress)
        from ..reconstruction import run

        preview, shown = target(self.out, "preview"), -math.inf  # the first preview comes as soon as there is one
        preview = preview.with_name(f".{preview.name}")
        save: Callable[[Volume, Path], object] = write_raw if self.raw else Volume.write

        def watch(event: Event) -> None:
            nonlocal shown
            tools.progress(event)
            if self.preview and event.preview is not None and time.monotonic() - shown > PREVIEW_SECONDS:
                with suppress(OutputError):  # a disk that is full, a file that is still being read: no preview
                    save(event.preview, preview)
                    tools.show(preview)
                shown = time.monotonic()

        try:
            result = run(inputs, watch, tools.load(self.request.prior))
        finally:
            preview.unlink(missing_ok=True)
        files = result.write(self.out, str(inputs.pet.metadata.get("patient", "")), save, before=before)
        return files, dict(result.report)

    def _without_private_files(self) -> Request:
        """The request with the files in the client's folder read, so that the report names no removed file."""
        from ..physics.measurement import Measurement

        found: dict[str, Any] = {}
        for name, file in self.request.files().items():
            if file and self.private and Path(self.private) in Path(file).parents and name != "prior":
                found[name] = Measurement.read(file) if name == "measurement" else read_raw(file)
        return replace(self.request, **found)


@dataclass(frozen=True, kw_only=True)
class PhantomJob(Job):
    """The demo case: ``pet``, ``ct`` and ``labels`` in the folder ``out``, without compression."""

    out: str = option("text")
    seed: int = option("whole", SEED)
    shape: tuple[int, ...] = option("list", SHAPE)
    lesions: int = option("whole", LESIONS)

    def run(self, tools: Tools) -> Answer:
        """Generate and write; the report has ``lesions``, their names by label."""
        files = {key: Path(self.out) / f"{key}.nrrd" for key in ("pet", "ct", "labels")}
        check_folder(self.out, {file.name: marked(MARK) for file in files.values()})
        case = demo_case(self.seed, self.shape, self.lesions, tools.progress)
        volumes = {"pet": case.simulation.lr, "ct": case.phantom.ct, "labels": case.phantom.labels}
        write_together({files[key]: partial(write_raw, volume) for key, volume in volumes.items()})
        return files, {"lesions": case.names}


@dataclass(frozen=True, kw_only=True)
class DicomJob(Job):
    """A derived DICOM series. ``source`` is the PET series the volume was made from: its folder, or all its files.

    ``masks`` are files of the lesions, ``names`` theirs, and ``rows`` their measures, as of ``lesion_rows``.
    """

    volume: str = option("file")
    source: str | list[str] = option("files")
    out: str = option("text")
    report: dict[str, Any] | None = option("object", None)
    masks: list[str] = option("list", ())
    names: list[str] = option("list", ())
    rows: list[dict[str, Any]] = option("list", ())

    def run(self, tools: Tools) -> Answer:
        """Write the series, with SEG and structured report of the lesions; the report has ``files``, the paths."""
        from ..dicom.write import write_derived
        from ..lesions.dicom_report import beside

        named = enumerate(zip(self.names, self.masks, strict=True), 1)
        objects = beside([Segment(n, name, read_raw(mask)) for n, (name, mask) in named], self.rows, self.report or {})
        given = (read_raw(self.volume), self.source, self.out, self.report)
        files = write_derived(*given, progress=tools.progress, beside=objects)
        return {}, {"files": [str(file) for file in files]}


@dataclass(frozen=True, kw_only=True)
class SuvJob(Job):
    """A DICOM PET series as SUVbw: ``pet`` in the folder ``out``, without compression.

    ``source`` is a file of the series or its folder. Weight in kg, dose in Bq and time of injection, where they are
    given, replace the header's.
    """

    source: str = option("file")
    out: str = option("text")
    weight_kg: float | None = option("number", None)
    dose_bq: float | None = option("number", None)
    injected: str | None = option("text", None)

    def run(self, tools: Tools) -> Answer:
        """Read and write; the report has the ``evidence`` of the SUVs, with all that reading found to tell."""
        from ..dicom.read import read_series
        from ..suv.evidence import Overrides
        from ..suv.volumes import told

        folder = check_folder(self.out, {"pet.nrrd": marked(MARK)}, [self.source])
        tools.progress(Event("reading", 0.0, "reading the DICOM series"))
        overrides = Overrides(self.weight_kg, self.dose_bq, self.injected)
        volume = read_series(self.source, modality="PT", overrides=overrides)
        evidence = volume.metadata["suv"] | {"warnings": told(volume)}
        return {"pet": write_raw(volume, folder / "pet.nrrd")}, {"evidence": evidence}


JOBS: dict[str, type[Job]] = {
    "reconstruct": ReconstructJob,
    "phantom": PhantomJob,
    "dicom": DicomJob,
    "suv": SuvJob,
    "followup": FollowUpJob,
    "lesions": LesionsJob,
}
