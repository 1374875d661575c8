"""Segmentations of every form a clinic has: label maps, Slicer's .seg.nrrd, DICOM SEG and RTSTRUCT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..dicom import rtstruct, seg
from ..dicom.files import quiet_pydicom, read_dataset
from ..dicom.regions import LESION, UNKNOWN, Region
from ..errors import InputError, PETSuperResError
from ..headers.attributes import text
from ..headers.mark import looks_like_dicom
from ..volume import Volume
from .nrrd import nrrd_segments
from .segments import Segment, segments_of, union, within

CONTOURS = ("RTSTRUCT", "SEG")
FRAMES = "frames_of_reference"  # of a reconstruction's report: those of the images that it was made from
SAME = 0.9  # two regions of one name that overlap by this (Dice) are one lesion in two files


@dataclass(frozen=True)
class Segmentation:
    """What was read of a patient's lesions: the segments, and notes on what was left out or is not as drawn."""

    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()


def read_segmentation(
    source: Segmentation | Volume | str | Path, pet: Volume, ct: Volume | None = None
) -> Segmentation:
    """The segments of a label map, ``.seg.nrrd``, DICOM SEG or RTSTRUCT (a file, or a folder of them) in a PET.

    Every segment of a label map or ``.seg.nrrd`` is taken. Of DICOM files, the regions that are lesions by name,
    type or category are, or all where none is. Raises :class:`InputError` for what cannot be read or is drawn in
    another frame of reference than the PET or its ``ct``, and :class:`GeometryError` for what lies outside it.
    """
    if isinstance(source, Segmentation):
        return source
    if not isinstance(source, Volume):
        path = Path(source)
        contours = contour_files(path)
        if contours:
            return read_contours(contours, pet, ct)
        if path.is_dir():
            raise InputError(f"{path} holds no RTSTRUCT or SEG: give a file or folder of contours, or a label map.")
        layered = path.name.lower().endswith(".nrrd") and path.is_file()
        drawn = nrrd_segments(path) if layered else segments_of(Volume.read(path, unit="label"))
    else:
        drawn = segments_of(source)
    segments, notes = within(drawn, pet)
    return Segmentation(tuple(segments), tuple(notes))


def read_contours(files: Sequence[Path], pet: Volume, ct: Volume | None = None, chosen: bool = True) -> Segmentation:
    """The lesions of DICOM SEG and RTSTRUCT files, drawn on the PET's grid (RTSTRUCT) or their own (SEG).

    ``chosen``: the user named the files, so that regions of other names are taken where none is a lesion; otherwise
    only a single region that is no organ by its name. What is left out is told. Raises :class:`InputError` where
    nothing is left.
    """
    regions: Found = []
    faults: list[str] = []
    for file in files:
        try:
            regions += [(file, region) for region in _regions(file, pet)]
        except InputError as error:
            faults.append(str(error))
    if not regions:
        raise InputError(" ".join(faults))
    taken, notes = _lesions(regions, chosen)
    taken, notes = _in_the_pets_frame(taken, pet, ct, notes)
    drawn: list[Segment] = []
    for file, region in taken:
        try:
            with _readable(file):
                mask, told = region.draw()
        except InputError as error:
            faults.append(f"{file.name}: {error}")
            continue
        notes += [note for note in told if note not in notes]
        segment = Segment(len(drawn) + 1, region.name, replace(mask, metadata={**mask.metadata, "file": file.name}))
        if any(_same(segment, other, pet) for other in drawn):
            notes.append(f"'{region.name}' of {file.name} is in another file as well and is measured once.")
        else:
            drawn.append(segment)
    if not drawn:
        raise InputError(" ".join(faults))
    names = [segment.name for segment in drawn]
    repeats = [names[:n].count(name) for n, name in enumerate(names)]
    named = [replace(s, name=f"{s.name} ({n + 1})" if n else s.name) for s, n in zip(drawn, repeats, strict=True)]
    segments, outside = within(named, pet)
    return Segmentation(tuple(segments), (*notes, *outside, *(f"Left out: {fault}" for fault in faults)))


def ct_of_report(report: Mapping[str, Any]) -> Volume | None:
    """What stands for the CT of a reconstruction in reading contours, by its report: its frame of reference alone."""
    frames = report.get(FRAMES) or {}
    return Volume(np.zeros((1, 1, 1)), metadata={"frame_of_reference": frames["ct"]}) if frames.get("ct") else None


def contour_files(path: Path) -> list[Path]:
    """The DICOM SEG and RTSTRUCT files that a path is or holds, and damaged DICOM files, by name."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [file for file in files if looks_like_dicom(file) and _may_be_contours(file)]


def _may_be_contours(file: Path) -> bool:
    try:
        return text(read_dataset(file, pixels=False, tags=["Modality"]), "Modality") in CONTOURS
    except InputError:
        return True  # reading it tells what is wrong


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Any error of a damaged file as an :class:`InputError`: pydicom and its decoders raise many kinds."""
    try:
        with quiet_pydicom():
            yield
    except PETSuperResError:
        raise
    except Exception as error:
        raise InputError(
            f"{file} cannot be read as a DICOM SEG or RTSTRUCT (damaged, or an unknown compression): export it again."
        ) from error


def _regions(file: Path, pet: Volume) -> list[Region]:
    dataset = read_dataset(file)
    with _readable(file):
        found = (
            rtstruct.regions_of(dataset, pet)
            if text(dataset, "Modality") == "RTSTRUCT"
            else seg.regions_of(dataset, file.name)
        )
    if not found:
        raise InputError(f"{file} holds no region: draw at least one.")
    return found


Found = list[tuple[Path, Region]]


def _lesions(regions: Found, chosen: bool) -> tuple[Found, list[str]]:
    """The regions that are lesions, and a note on the others."""
    taken = [(file, region) for file, region in regions if region.kind == LESION]
    names = ", ".join(f"'{region.name}'" for _, region in regions)
    if taken:
        others = [f"'{r.name}' of {file.name}" for file, r in regions if r.kind != LESION]
        return taken, [f"Left out, as no lesions by name or type: {', '.join(others)}."] if others else []
    if chosen:
        return regions, [f"No lesion by name or type, so that all are measured: {names}."] if len(regions) > 1 else []
    if len(regions) == 1 and regions[0][1].kind == UNKNOWN:
        return regions, [f"The only region drawn, {names}, is taken as a lesion."]
    raise InputError(f"None of {names} is a lesion by name or type: rename those that are.")


def _in_the_pets_frame(regions: Found, pet: Volume, ct: Volume | None, notes: list[str]) -> tuple[Found, list[str]]:
    """The regions in the frame of reference of the PET or its CT, where it is known, and notes on the others."""
    own, second = (str(v.metadata.get("frame_of_reference") or "") if v else "" for v in (pet, ct))
    foreign = [(file, r) for file, r in regions if own and r.frame and r.frame != own]
    if any(r.frame == second for _, r in foreign):
        notes = [*notes, "Contours in the CT's frame of reference are used, as far as PET and CT are registered."]
    aside = [(file, r) for file, r in foreign if r.frame != second]
    if not aside:
        return regions, notes
    told = "; ".join(f"'{r.name}' of {file.name} in {r.frame}" for file, r in aside)
    why = f"Drawn in another frame of reference than the PET's ({own}): {told}"
    if len(aside) == len(regions):
        raise InputError(f"{why}; export the contours in the PET's frame of reference.")
    return [pair for pair in regions if pair not in aside], [*notes, f"{why}; left out."]


def _same(one: Segment, other: Segment, pet: Volume) -> bool:
    if one.name.casefold() != other.name.casefold():
        return False
    a, b = union([one], pet).array, union([other], pet).array
    return float(2 * (a * b).sum()) >= SAME * float(a.sum() + b.sum())
