"""Values of one DICOM slice: decoded, rescaled, padding taken as air."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import InputError, UnitsError
from ..files import quiet
from ..headers.attributes import number, text, value_of, whole
from .files import quiet_pydicom, save_dataset

AIR_HU = -1000.0
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FORM = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData"),
)


def rescaled_pixels(dataset: Dataset, name: str) -> np.ndarray:
    """Values of one slice times RescaleSlope plus RescaleIntercept, (rows, columns) float64; CT padding becomes air.

    ``name`` is the series' for messages. Raises :class:`InputError` for pixels that cannot be decoded.
    """
    stored = stored_pixels(dataset, name)
    if stored.ndim != 2:
        raise InputError(f"{name} is not a series of single-channel slices: export it as grey-value slices.")
    slope = number(dataset, "RescaleSlope")
    slope = 1.0 if slope is None else slope
    if slope == 0 and stored.any():
        raise UnitsError(f"{name} has a slice with RescaleSlope 0, which loses its values: export it again.")
    values = stored.astype(np.float64) * slope + (number(dataset, "RescaleIntercept") or 0.0)
    if text(dataset, "Modality") == "CT":
        values[_padding(dataset, stored)] = AIR_HU
    return values


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Whether a pixel is padding: PixelPaddingValue, or from it to PixelPaddingRangeLimit.

    Compared modulo 2^16 where no range is given, as writers store a signed value with an unsigned VR and vice versa.
    """
    first, last = whole(dataset, "PixelPaddingValue"), whole(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(stored.shape, bool)
    if last is None:
        padding: np.ndarray = (stored.astype(np.int64) & 0xFFFF) == (first & 0xFFFF)
        return padding
    if stored.dtype.kind == "i":
        first, last = ((v + 0x8000) % 0x10000 - 0x8000 for v in (first, last))
    return (stored >= min(first, last)) & (stored <= max(first, last))


def stored_pixels(dataset: Dataset, name: str) -> np.ndarray:
    """Stored integers, decoded by pydicom or, for compressed ones, else by GDCM in SimpleITK."""
    meta = getattr(dataset, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:  # a file without DICOM's mark
        implicit = (getattr(dataset, "original_encoding", None) or (True,))[0]
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        with quiet_pydicom():
            return dataset.pixel_array
    except Exception as error:  # pydicom's decoders pass on any exception of their libraries
        try:
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax.is_compressed and syntax.is_encapsulated:
                return _by_gdcm(dataset)
        except Exception:  # an unknown syntax, or what GDCM cannot decode either
            pass
        raise InputError(
            f"{name} has pixel data that cannot be decoded (damaged, cut off or an unsupported compression): "
            "export it uncompressed."
        ) from error


def _by_gdcm(dataset: Dataset) -> np.ndarray:
    """The pixels alone, in a file without rescaling, so that GDCM returns what is stored."""
    bare = Dataset()
    for keyword in FORM:
        if value_of(dataset, keyword) is not None:
            bare[keyword] = dataset[keyword]
    bare.SOPClassUID, bare.SOPInstanceUID = SECONDARY_CAPTURE, text(dataset, "SOPInstanceUID") or "1.2.3"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = bare.SOPClassUID, bare.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder, quiet(), quiet_pydicom():
        path = Path(folder) / "slice.dcm"
        save_dataset(bare, meta, path)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        return sitk.GetArrayFromImage(reader.Execute())[0]
