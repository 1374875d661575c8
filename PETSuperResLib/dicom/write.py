"""Writing a super-resolved PET as a new DICOM series, derived from its source PET series.

The series is a PET (PS3.3 A.21) with ImageType DERIVED\\PRIMARY, in the source's study and frame of reference,
with the source's patient, tracer and timing, so that any viewer computes the SUV by its usual rules. Values are
Bq/mL if the source's header allows SUV to be computed from them, otherwise SUVbw (Units GML). The
processing and its source images are in DerivationDescription, SourceImageSequence and ContributingEquipmentSequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ..errors import GeometryError, InputError, OutputError, UnitsError
from ..files import write_together
from ..headers.attributes import text, vector
from ..outputs import check_folder
from ..progress import Callback, Reporter
from ..volume import Volume
from .derived import derived_headers, set_pixels
from .files import find_series, quiet_pydicom, read_dataset, save_dataset
from .patient import one_patient
from .slices import sort_slices

Beside = Callable[..., Mapping[str, Dataset]]  # (volume, derived, source) to data sets by file name


def write_derived(
    volume: Volume,
    source: str | Path | Sequence[str | Path],
    folder: str | Path,
    report: Mapping[str, Any] | None = None,
    description: str = "PETSuperRes",
    progress: Callback | None = None,
    series: str | None = None,
    beside: Beside | None = None,
) -> list[Path]:
    """Write ``volume`` (SUVbw, on any grid with the slices of the PET) as a series in ``folder``; returns the files.

    ``source`` is the PET series that it was made from: a folder, one of its files, or all of its files; ``series``
    (UID or description) names one of several in a folder. ``folder``
    is new or empty; it is written completely or not at all. A summary of the reconstruction's ``report`` is part
    of the description, and ``progress`` may raise to stop. ``beside`` makes further data sets of the same study for
    the folder from the volume, its slices and the source's headers. Raises :class:`UnitsError` when the volume
    is not SUVbw, :class:`GeometryError` when it does not lie in the source's slices, :class:`InputError` for a
    source that cannot be read and :class:`OutputError` when nothing can be written.
    """
    if volume.unit not in ("", "SUVbw"):
        raise UnitsError(f"The volume is in {volume.unit}, not SUVbw: give the super-resolved PET.")
    if not np.isfinite(volume.array).all():
        raise InputError("The volume has voxels that are not finite numbers: make it again.")
    target = check_target(folder)
    with quiet_pydicom():
        headers, geometry = source_slices(source, series)
        volume = right_handed(volume)
        nearest = _nearest(volume, headers, geometry)
        slices = derived_headers(volume, headers, nearest, dict(report or {}), description)
        return write_slices(slices, volume, target, progress, partial(beside, source=headers) if beside else None)


def write_slices(
    slices: Sequence[Dataset],
    volume: Volume,
    target: Path,
    progress: Callback | None = None,
    beside: Beside | None = None,
) -> list[Path]:
    """Write headers with the slices of ``volume`` (SUV) as their pixels into the folder ``target``; all files or none.

    ``RescaleSlope`` of each is the stored value of 1 SUV. ``beside`` makes further data sets from the volume and its
    slices (``derived``).
    """
    for dataset, values in zip(slices, volume.array, strict=True):
        set_pixels(dataset, values)
    named = {f"PT{k + 1:04d}.dcm": dataset for k, dataset in enumerate(slices)}
    named |= beside(volume=volume, derived=slices) if beside else {}
    step = Reporter(progress)

    def write(k: int, dataset: Dataset, path: Path) -> None:
        step("writing", k / len(named), f"file {k + 1} of {len(named)}")
        _save(dataset, path)

    files = {target / name: partial(write, k, dataset) for k, (name, dataset) in enumerate(named.items())}
    write_together(files)
    return list(files)


def source_slices(
    source: str | Path | Sequence[str | Path], wanted: str | None
) -> tuple[list[Dataset], dict[str, Any]]:
    """Headers of the source's slices, in order along their normal, and their grid.

    Raises :class:`InputError` for a source of which no series can be derived, as :func:`write_derived` does.
    """
    if isinstance(source, (str, Path)):
        series = find_series(Path(source), wanted, "PT")
        files, name = list(series.files), f"The PET series in {source}"
    else:
        files, name = [Path(f) for f in source], "The PET's DICOM series"
    if not files:
        raise InputError("The PET has no DICOM files: give the folder of the PET series.")
    with quiet_pydicom():
        headers = [read_dataset(file, pixels=False) for file in files]
        kinds = {(text(d, "Modality"), text(d, "SeriesInstanceUID")) for d in headers}
        if len(kinds) > 1 or next(iter(kinds))[0] != "PT":
            raise InputError(f"{name} is not one PET series: give the folder of the PET it was made from.")
        one_patient(headers, name)
        return sort_slices(headers, name)


def right_handed(volume: Volume) -> Volume:
    """The same voxels with slices in the direction rows x columns, the order of DICOM readers."""
    if np.linalg.det(np.reshape(volume.direction, (3, 3))) > 0:
        return volume
    matrix = volume.ijk_to_lps
    origin = (matrix @ np.array([0, 0, volume.shape[0] - 1, 1.0]))[:3]
    direction = np.reshape(volume.direction, (3, 3)) * [1, 1, -1]
    x, y, z = (float(v) for v in origin)
    return Volume(volume.array[::-1], volume.spacing, (x, y, z), tuple(direction.ravel()), volume.unit)


def _nearest(volume: Volume, headers: Sequence[Dataset], geometry: Mapping[str, Any]) -> list[int]:
    """For every slice of the volume the source slice that contains its centre."""
    normal = np.reshape(geometry["direction"], (3, 3))[:, 2]
    places = np.array([vector(d, "ImagePositionPatient", 3) for d in headers]) @ normal
    own = np.reshape(volume.direction, (3, 3))[:, 2]
    if abs(own @ normal) < 0.999:
        raise GeometryError(
            "The volume is not in the slice direction of the PET series: give the PET it was made from."
        )
    middle = [(n - 1) / 2 for n in volume.shape[:0:-1]]
    centres = np.array([volume.ijk_to_lps[:3] @ [*middle, k, 1.0] for k in range(volume.shape[0])]) @ normal
    apart = np.abs(centres[:, None] - places[None])
    if apart.min(axis=1).max() > 1.01 * geometry["spacing"][2]:
        raise GeometryError("The volume lies outside the slices of the PET series: give the PET it was made from.")
    return [int(n) for n in apart.argmin(axis=1)]


def check_target(folder: str | Path) -> Path:
    """The folder to write; raises :class:`OutputError` if it is a file or not empty."""
    target = check_folder(Path(folder).absolute())
    if target.is_dir() and any(target.iterdir()):
        raise OutputError(f"{target} is not empty: choose a new folder for the DICOM series.")
    return target


def _save(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    save_dataset(dataset, meta, path)
