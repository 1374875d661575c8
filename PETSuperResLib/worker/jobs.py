"""The jobs of the worker, from files to files: a reconstruction, the demo case, a DICOM series, lesions.

A job is made of a message (``from_message``: its options, checked) and runs with what the worker gives it:
:class:`Tools`. It answers with files by name and a report.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError
from ..files import check_folder, file_hashes, to_json, write_together
from ..phantoms.demo_case import LESIONS, SEED, SHAPE, demo_case
from ..progress import Callback, Event
from ..request import Request, from_plain, option, options
from ..scanner import scanner_of
from ..volume import WRITABLE, Volume
from .raw_arrays import read_raw, write_raw

if TYPE_CHECKING:
    from ..prior import Prior

PREVIEW_SECONDS = 2.0  # at least so much time between two previews
Answer = tuple[dict[str, Path], dict[str, Any]]


@dataclass(frozen=True)
class Tools:
    """What a running job uses: ``load`` gives the prior of a path (None: the bundled one), ``progress`` takes events
    and may raise to stop the job, ``show`` takes the file of a preview, which is gone when the job ends."""

    load: Callable[[Any], Prior]
    progress: Callback
    show: Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every job may have: ``private``, the client's folder, which a worker removes whose client has died."""

    private: str | None = option("text", None)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Job:
        """The job of a message; raises :class:`InputError` naming a missing, unknown or wrong field."""
        return from_plain(cls, {k: v for k, v in message.items() if k not in ("version", "id", "type")})

    def run(self, tools: Tools) -> Answer:
        """Do it; (files by name, report). All files appear, or none. Raises the library's errors."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ReconstructJob(Job):
    """A reconstruction; its message has the fields of the :class:`Request` beside these.

    ``out`` is a folder, or the volume file to write (its suffix says so). ``preview``: show estimates meanwhile.
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

    def targets(self) -> dict[str, Path]:
        """The files to write: fixed names in a folder, or names beside the volume file."""
        path = Path(self.out)
        suffix = next((s for s in WRITABLE if path.name.lower().endswith(s)), None)
        if suffix is None:
            names = {"sr": "sr.nii.gz", "std": "std.nii.gz", "report": "report.json", "preview": ".preview.nii.gz"}
            return {key: path / name for key, name in names.items()}
        stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
        names = {"std": f"{stem}_std{suffix}", "report": f"{stem}.json", "preview": f".{stem}.preview{suffix}"}
        return {"sr": path} | {key: path.with_name(name) for key, name in names.items()}

    def run(self, tools: Tools) -> Answer:
        """Reconstruct and write."""
        paths, request = self.targets(), self.request
        if self.raw and not paths["sr"].name.endswith(".nrrd"):
            raise InputError("Field 'raw' needs an 'out' that ends with .nrrd.")
        check_folder(paths["sr"].parent)
        tools.progress(Event("reading", 0.0, "reading the images"))
        read = read_raw if self.raw else Volume.read
        pet, ct = (read(file, modality=kind) for file, kind in ((str(request.pet), "PT"), (str(request.ct), "CT")))
        from ..physics.measurement import Measurement
        from ..reconstruction import reconstruct

        measurement = Measurement.read(str(request.measurement)) if request.measurement else None
        scanner = measurement.scanner if measurement else scanner_of(request.scanner, pet.metadata)
        files = request.files()
        if self.private:  # copies that are gone after the job
            files = {k: v for k, v in files.items() if Path(self.private) not in Path(v).parents}
        hashes = file_hashes(files)
        prior, shown = tools.load(request.prior), -math.inf  # the first preview comes as soon as there is one
        save: Callable[[Volume, Path], object] = write_raw if self.raw else Volume.write

        def watch(event: Event) -> None:
            nonlocal shown
            tools.progress(event)
            if self.preview and event.preview is not None and time.monotonic() - shown > PREVIEW_SECONDS:
                with suppress(OutputError):  # a disk that is full, a file that is still being read: no preview
                    save(event.preview, paths["preview"])
                    tools.show(paths["preview"])
                shown = time.monotonic()

        names = ("quality", "samples", "seed", "device", "region", "spacing", "trues_per_slice")
        chosen: dict[str, Any] = {name: getattr(request, name) for name in names}
        try:
            result = reconstruct(pet, ct, scanner, progress=watch, prior=prior, measurement=measurement, **chosen)
        finally:
            paths["preview"].unlink(missing_ok=True)
        report = {**result.report, "files": files, "files_sha256": hashes}
        writers: dict[str, Callable[[Path], object]] = {"sr": partial(save, result.volume)}
        if result.std is not None:
            writers["std"] = partial(save, result.std)
        writers["report"] = lambda path: path.write_text(to_json(report), encoding="utf-8")
        write_together({paths[key]: write for key, write in writers.items()})
        return {key: paths[key] for key in writers}, report


@dataclass(frozen=True, kw_only=True)
class PhantomJob(Job):
    """The demo case: ``pet``, ``ct`` and ``labels`` in the folder ``out``, without compression."""

    out: str = option("text")
    seed: int = option("whole", SEED)
    shape: tuple[int, ...] = option("list", SHAPE)
    lesions: int = option("whole", LESIONS)

    def run(self, tools: Tools) -> Answer:
        """Generate and write; the report has ``lesions``, their names by label."""
        case = demo_case(self.seed, self.shape, self.lesions, tools.progress)
        folder = check_folder(self.out)
        volumes = {"pet": case.simulation.lr, "ct": case.phantom.ct, "labels": case.phantom.labels}
        files = {key: folder / f"{key}.nrrd" for key in volumes}
        write_together({files[key]: partial(write_raw, volume) for key, volume in volumes.items()})
        return files, {"lesions": case.names}


@dataclass(frozen=True, kw_only=True)
class DicomJob(Job):
    """A derived DICOM series. ``source`` is the PET series the volume was made from: its folder, or all its files."""

    volume: str = option("file")
    source: str | list[str] = option("files")
    out: str = option("text")
    report: dict[str, Any] | None = option("object", None)

    def run(self, tools: Tools) -> Answer:
        """Write the series; the report has ``files``, the paths."""
        from ..dicom.write import write_derived

        files = write_derived(read_raw(self.volume), self.source, self.out, self.report, progress=tools.progress)
        return {}, {"files": [str(file) for file in files]}


@dataclass(frozen=True, kw_only=True)
class LesionsJob(Job):
    """Segments measured in several images.

    ``volumes``: SUV volumes by title, the first one the input; a segment outside a later one is left out there.
    ``segments``: objects with ``name``, ``file`` (a label map) and ``label`` (its value there, 1 unless given), in
    the order of the answer; several may share a file.
    """

    volumes: dict[str, str] = option("object")
    segments: list[dict[str, Any]] = option("list")
    threshold: str = option("text", "2.5")

    def run(self, tools: Tools) -> Answer:
        """Measure; the report has ``columns``, (title, lesions) of each volume, a lesion being the fields of
        :class:`~PETSuperResLib.lesions.measures.Lesion`, and ``centres`` of the segments in LPS mm."""
        from ..lesions.measures import Segment, measure_lesions

        masks = {file: read_raw(file) for file in {one["file"] for one in self.segments}}
        segments = [
            Segment.of(masks[one["file"]], int(one.get("label", 1)), one["name"], number)
            for number, one in enumerate(self.segments, 1)
        ]
        columns = []
        for number, (title, file) in enumerate(self.volumes.items()):
            tools.progress(Event("measuring", number / len(self.volumes), title))
            found = measure_lesions(read_raw(file), segments, threshold=self.threshold, skip_outside=number > 0)
            columns.append((title, [asdict(lesion) for lesion in found]))
        return {}, {"columns": columns, "centres": [segment.centre() for segment in segments]}


JOBS: dict[str, type[Job]] = {
    "reconstruct": ReconstructJob,
    "phantom": PhantomJob,
    "dicom": DicomJob,
    "lesions": LesionsJob,
}
