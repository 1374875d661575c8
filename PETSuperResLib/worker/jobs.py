"""A reconstruction as one object, from files to files: what the worker is sent and runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError
from ..files import check_folder, file_hashes, to_json, write_together
from ..progress import Callback, Event
from ..scanner import Scanner, guess_preset
from ..volume import WRITABLE, Volume
from .raw_arrays import read_raw, write_raw

if TYPE_CHECKING:
    from ..prior import Prior

PREVIEW_SECONDS = 2.0  # at least so much time between two previews
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("pet", "ct", "out", "quality", "device", "prior", "measurement"), (str,)),
    **dict.fromkeys(("samples", "seed"), (int,)),
    "scanner": (str, dict),
    "region": (list, tuple),
    **dict.fromkeys(("spacing", "trues_per_slice"), (int, float)),
    **dict.fromkeys(("preview", "raw"), (bool,)),
    "private": (str,),
}


def checked_fields(job: type, kinds: Mapping[str, tuple[type, ...]], message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message for a job's dataclass; :class:`InputError` names a missing, unknown or wrong one."""
    values = {k: v for k, v in message.items() if k not in ("version", "id", "type") and v is not None}
    known = {f.name: f.default is MISSING for f in fields(job)}
    for name, needed in known.items():
        if needed and name not in values:
            raise InputError(f"The job has no '{name}': give its path.")
    for name, value in values.items():
        if name not in known:
            raise InputError(f"Unknown field '{name}' in the job: use {', '.join(known)}.")
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
            raise InputError(f"Field '{name}' of the job cannot be {value!r}: see the worker's description.")
    return values


@dataclass(frozen=True)
class Job:
    """One reconstruction. ``out`` is a folder, or the volume file to write (its suffix says so)."""

    pet: str
    ct: str
    out: str
    scanner: str | dict[str, Any] | None = None  # preset, JSON file or description; None: what the DICOM says
    quality: str = "standard"
    samples: int = 1
    seed: int = 0
    device: str = "auto"
    region: Sequence[float] | None = None  # x0, x1, y0, y1, z0, z1 in LPS mm
    spacing: float | None = None
    prior: str | None = None
    measurement: str | None = None
    trues_per_slice: float | None = None  # effective counts of the PET, instead of an estimate
    preview: bool = False
    raw: bool = False  # write .nrrd without compression, for a client that reads it at once
    private: str | None = None  # the client's folder, removed by a worker whose client has died

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Job:
        """The job of a message; raises :class:`InputError` naming a missing, unknown or wrong field."""
        values = checked_fields(cls, KINDS, message)
        if not all(isinstance(v, (int, float)) for v in values.get("region", ())):
            raise InputError("Field 'region' of the job must be six numbers: x0, x1, y0, y1, z0, z1 in LPS mm.")
        return cls(**values)

    def targets(self) -> dict[str, Path]:
        """The files to write: fixed names in a folder, or names beside the volume file asked for."""
        path = Path(self.out)
        suffix = next((s for s in WRITABLE if path.name.lower().endswith(s)), None)
        if suffix is None:
            names = {"sr": "sr.nii.gz", "std": "std.nii.gz", "report": "report.json", "preview": ".preview.nii.gz"}
            return {key: path / name for key, name in names.items()}
        stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
        names = {"std": f"{stem}_std{suffix}", "report": f"{stem}.json", "preview": f".{stem}.preview{suffix}"}
        return {"sr": path} | {key: path.with_name(name) for key, name in names.items()}

    def run(
        self, load: Callable[[str | None], Prior], progress: Callback, show: Callable[[Path], None]
    ) -> tuple[dict[str, Path], dict[str, Any]]:
        """Reconstruct and write; (files by name, report). All files appear, or none.

        ``load`` gives the prior of a path, ``progress`` takes events and may raise to stop, and ``show``
        is told of each preview file, which is gone when the job ends. Raises the library's errors.
        """
        paths = self.targets()
        if self.raw and not paths["sr"].name.endswith(".nrrd"):
            raise InputError("Field 'raw' of the job needs an 'out' that ends with .nrrd.")
        check_folder(paths["sr"].parent)
        scanner = Scanner.from_dict(self.scanner) if isinstance(self.scanner, dict) else self.scanner
        if scanner is not None:
            scanner = Scanner.get(scanner)
        progress(Event("reading", 0.0, "reading the images"))
        read = read_raw if self.raw else Volume.read
        pet, ct = read(self.pet, modality="PT"), read(self.ct, modality="CT")
        from ..grid import crop_to_region, image_grid
        from ..physics.measurement import Measurement
        from ..reconstruction import reconstruct

        measurement = Measurement.read(self.measurement) if self.measurement else None
        if measurement is not None:
            scanner = measurement.scanner
        if scanner is None:
            known = guess_preset(pet.metadata.get("manufacturer"), pet.metadata.get("model"))
            if known is None:
                raise InputError("Which scanner made the PET? Name one; 'petsuperres presets' lists them.")
            scanner = Scanner.get(known)
        files = {"pet": self.pet, "ct": self.ct, "measurement": self.measurement, "prior": self.prior}
        if self.private:  # copies that nobody will find again
            files = {k: v for k, v in files.items() if v and Path(self.private) not in Path(v).parents}
        hashes = file_hashes(files)
        prior, shown = load(self.prior), -math.inf  # the first preview comes as soon as there is one
        save: Callable[[Volume, Path], object] = write_raw if self.raw else Volume.write

        def watch(event: Event) -> None:
            nonlocal shown
            progress(event)
            if self.preview and event.preview is not None and time.monotonic() - shown > PREVIEW_SECONDS:
                source = crop_to_region(pet, self.region) if self.region else pet
                grid = image_grid(measurement.grid if measurement else source, self.spacing or prior.pixel_mm)
                with suppress(OutputError):  # a disk that is full, a file that is still being read: no preview
                    save(grid.with_array(event.preview, "SUVbw"), paths["preview"])
                    show(paths["preview"])
                shown = time.monotonic()

        names = ("quality", "samples", "seed", "device", "region", "spacing", "trues_per_slice")
        options = {name: getattr(self, name) for name in names}
        try:
            result = reconstruct(pet, ct, scanner, progress=watch, prior=prior, measurement=measurement, **options)
        finally:
            paths["preview"].unlink(missing_ok=True)
        report = {**result.report, "files": files, "files_sha256": hashes}
        writers: dict[str, Callable[[Path], object]] = {"sr": partial(save, result.volume)}
        if result.std is not None:
            writers["std"] = partial(save, result.std)
        writers["report"] = lambda path: path.write_text(to_json(report), encoding="utf-8")
        write_together({paths[key]: write for key, write in writers.items()})
        return {key: paths[key] for key in writers}, report
