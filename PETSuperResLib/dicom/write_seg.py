"""Regions on the grid of an image series as a DICOM SEG (binary), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ..version import NOTICE, __version__
from .derived import MAKER

UNICODE = "ISO_IR 192"
LONG = 64  # characters of a long string (LO)


@dataclass(frozen=True)
class Drawn:
    """One region: ``inside`` (k, j, i) marks the voxels within it of ``block`` of the images' grid (K, J, I).

    ``tracking_uid`` is the same in every series and report of this region.
    """

    name: str
    tracking_uid: str
    inside: np.ndarray
    block: tuple[slice, slice, slice]


def seg_of(regions: Sequence[Drawn], images: Sequence[Dataset], series_number: int) -> Dataset:
    """A SEG of lesions that were drawn, numbered from 1 in the order of ``regions``, which may overlap.

    ``images`` are the slices of one series in the order of the grid's K; study, patient and frame of reference are
    theirs. A slice without a region has no frame.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    first = min(region.block[0].start for region in regions)
    last = max(region.block[0].stop for region in regions)
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=region.name[:LONG],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            tracking_uid=region.tracking_uid,
            tracking_id=region.name,
        )
        for number, region in enumerate(regions, 1)
    ]
    seg = hd.seg.Segmentation(
        source_images=list(images[first:last]),
        pixel_array=_covered(regions, (last - first, images[0].Rows, images[0].Columns), first),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        content_label="LESIONS",
        content_description=NOTICE[:LONG],
        **own_series(series_number, f"Lesions {MAKER} (research use)"),
    )
    seg.SpecificCharacterSet = UNICODE
    return seg


def own_series(number: int, description: str) -> dict[str, Any]:
    """What highdicom is told of a new series with one object of this software."""
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": number,
        "series_description": description,
        "sop_instance_uid": generate_uid(prefix=None),
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": __version__,
        "device_serial_number": __version__,
    }


def _covered(regions: Sequence[Drawn], shape: tuple[int, int, int], first: int) -> np.ndarray:
    """The regions' numbers by voxel or, where some overlap, a mask (K, J, I, number) of each."""
    numbers, overlap = np.zeros(shape, np.uint16), False
    places = [(slice(k.start - first, k.stop - first), j, i) for k, j, i in (region.block for region in regions)]
    for number, (region, place) in enumerate(zip(regions, places, strict=True), 1):
        overlap = overlap or bool(numbers[place][region.inside].any())
        numbers[place][region.inside] = number
    if not overlap:
        return numbers
    masks = np.zeros((*shape, len(regions)), np.uint8)
    for number, (region, place) in enumerate(zip(regions, places, strict=True)):
        masks[..., number][place] = region.inside
    return masks
