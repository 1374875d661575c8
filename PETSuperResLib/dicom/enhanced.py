"""Multi-frame (enhanced) CT, and PET converted to this form, as single slices.

The functional groups of PS3.3 C.7.6.16 hold by frame what a single-slice file holds itself; a legacy converted file
(PS3.3 A.70, A.72) keeps the rest of the original attributes there too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..headers.attributes import items, number, text, whole
from .pixels import stored_pixels

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
OF_ALL_FRAMES = (*GROUPS, "NumberOfFrames", "PixelData", "AcquisitionDateTime")


def single_slices(dataset: Dataset, name: str) -> list[Dataset]:
    """A data set for every frame, with the file's attributes, the frame's and its pixels; a single slice as it is.

    ``name`` is the series' for messages. Raises :class:`InputError` for frames without functional groups, and for an
    enhanced PET, which has no Units of its own.
    """
    shared, frames = (items(dataset, group) for group in GROUPS)
    if not frames and (whole(dataset, "NumberOfFrames") or 1) == 1:
        return [dataset]
    planes = stored_pixels(dataset, name) if frames else np.zeros((0, 1, 1))
    planes = planes.reshape(-1, *planes.shape[-2:])
    own = Dataset()
    own.update({element.tag: element for element in dataset if element.keyword not in OF_ALL_FRAMES})
    slices = [_slice(own, (*shared, frame), plane) for frame, plane in zip(frames, planes, strict=False)]
    if not slices or len(planes) != len(frames) or (text(own, "Modality") == "PT" and not text(slices[0], "Units")):
        raise InputError(
            f"{name} is multi-frame DICOM of a form that is not supported: export single-slice DICOM or NIfTI."
        )
    return slices


def _slice(own: Dataset, groups: Iterable[Dataset], plane: np.ndarray) -> Dataset:
    single = Dataset()
    single.update(own)
    for group in groups:
        for element in group:
            for item in element.value[:1] if element.VR == "SQ" else ():
                single.update(item)
    single.AcquisitionDateTime = text(single, "FrameAcquisitionDateTime")
    duration = number(single, "FrameAcquisitionDuration")
    if duration is not None:
        single.ActualFrameDuration = round(duration)
    single.BitsAllocated = 8 * plane.dtype.itemsize
    single.PixelData = np.ascontiguousarray(plane).tobytes()
    return single
