"""Slicer's segmentations in NRRD files: names, label values and layers of segments that overlap."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from ..volume import Volume, quiet
from .segments import Segment, segments_of

DESCRIBES = re.compile(r"Segment(\d+)_(ID|Name|Layer|LabelValue)")


def nrrd_segments(path: str | Path) -> list[Segment]:
    """The segments of a ``.seg.nrrd`` under their names, or the labels of any other NRRD label map.

    Segments that overlap are stored in layers of a fourth axis, in each of which the label values begin anew.
    Segments without voxels are left out; raises :class:`InputError` if none has any.
    """
    described = _described(Path(path))
    layers = _layers(Path(path))
    if not described and len(layers) == 1:
        return segments_of(layers[0])
    found = []
    for number, layer in enumerate(layers):
        names = {value: name for at, value, name in described if at == number}
        if layer.array.any():
            found += segments_of(layer, names)
    if not found:
        raise InputError(f"{Path(path).name} is empty: draw at least one segment.")
    if len(layers) == 1:
        return found
    order = [name for _, _, name in described]
    found.sort(key=lambda s: order.index(s.name) if s.name in order else len(order))
    return [Segment(n, s.name, s.mask) for n, s in enumerate(found, 1)]


def _described(path: Path) -> list[tuple[int, int, str]]:
    """(layer, label value, name) of each segment in the header, in Slicer's order; empty for other files."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:
        return []
    several = reader.GetNumberOfComponents() > 1
    about: dict[int, dict[str, str]] = defaultdict(dict)
    for key in reader.GetMetaDataKeys():
        if match := DESCRIBES.fullmatch(key):
            about[int(match.group(1))][match.group(2)] = reader.GetMetaData(key).strip()
    found = []
    for number, values in sorted(about.items()):
        layer, value = values.get("Layer", number if several else 0), values.get("LabelValue", 1)
        found.append((int(layer), int(value), values.get("Name") or values.get("ID") or f"Segment {number + 1}"))
    return found


def _layers(path: Path) -> list[Volume]:
    """The layers of a segmentation as label maps on one grid."""
    try:
        with quiet():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image (damaged or incomplete): export it again.") from error
    count = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() != 3 or count == 1:
        return [Volume.read(path, unit="label")]
    metadata = {"file": path.name}
    return [Volume.from_sitk(sitk.VectorIndexSelectionCast(image, n), "label", metadata) for n in range(count)]
