"""What ITK's reader of NIfTI does not report: cut-off files, NaN, sheared axes, contradictory voxel sizes."""

from __future__ import annotations

import gzip
import shutil
import struct
import tempfile
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
import SimpleITK as sitk

DAMAGED = "cannot be read as an image (damaged or incomplete): export it again"
SAME_SIZE = 0.01  # by which the voxel sizes of a header may differ
STRAIGHT = 2e-3  # cosine between two axes; ITK takes less as rounding


def nifti_fault(path: Path) -> str:
    """What is wrong with a NIfTI file, in words that follow its name; empty where nothing is.

    ITK's reader fills a truncated file with zeros, turns NaN into zeros, and takes a rotation in place of sheared
    axes, and the voxel size of pixdim in place of the affine transform's.
    """
    finite = True
    try:
        with _opened(path) as stream:
            head = stream.read(348)
            order = "<" if head[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
            if struct.unpack(order + "i", head[:4])[0] == 540:  # NIfTI-2
                head += stream.read(192)
                shape = struct.unpack_from(order + "8q", head, 16)
                code, depth = struct.unpack_from(order + "2h", head, 12)
                start = struct.unpack_from(order + "q", head, 168)[0]
                stated = struct.unpack_from(order + "i", head, 348)[0]
                sizes, rows = struct.unpack_from(order + "3d", head, 112), struct.unpack_from(order + "12d", head, 400)
            else:
                shape = struct.unpack_from(order + "8h", head, 40)
                code, depth = struct.unpack_from(order + "2h", head, 70)
                start = int(struct.unpack_from(order + "f", head, 108)[0])
                stated = struct.unpack_from(order + "h", head, 254)[0]
                sizes, rows = struct.unpack_from(order + "3f", head, 80), struct.unpack_from(order + "12f", head, 280)
            kind = {16: "f4", 64: "f8"}.get(code)
            stream.read(max(0, start - len(head)))
            missing = int(np.prod([max(1, n) for n in shape[1 : shape[0] + 1]])) * depth // 8
            while missing > 0 and (block := stream.read(min(missing, 1 << 22))):
                missing -= len(block)
                if kind and len(block) * 8 % depth == 0:
                    finite &= bool(np.isfinite(np.frombuffer(block, order + kind)).all())
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, struct.error):
        return DAMAGED
    if missing > 0:
        return DAMAGED
    if not finite:
        return "has voxels that are not finite numbers: export it again"
    return _axes_fault(np.reshape(rows, (3, 4))[:, :3], np.abs(sizes)) if stated > 0 else ""


def read_nifti(path: Path) -> sitk.Image:
    """A NIfTI file by ITK, also a compressed one whose name does not say so."""
    if not _zipped(path):
        return sitk.ReadImage(str(path))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "image.nii"
        with _opened(path) as stream, plain.open("wb") as file:
            shutil.copyfileobj(stream, file)
        return sitk.ReadImage(str(plain))


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file's content, decompressed where it is compressed, whatever its name says."""
    return gzip.open(path) if _zipped(path) else path.open("rb")


def _zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _axes_fault(axes: np.ndarray, sizes: np.ndarray) -> str:
    """What is wrong with the columns of the affine transform, whose lengths are the voxel's, beside pixdim."""
    norms = np.linalg.norm(axes, axis=0)
    if not np.isfinite(norms).all() or norms.min() == 0:
        return ""  # ITK takes the other transform
    cosines = (axes / norms).T @ (axes / norms)
    if np.abs(cosines - np.eye(3)).max() >= STRAIGHT:
        return "has axes that are not at right angles (sheared): resample it to a straight grid"
    if np.abs(norms - sizes).max() > SAME_SIZE * norms.max():
        both = (" x ".join(f"{v:.4g}" for v in values) for values in (norms, sizes))
        return f"has two voxel sizes, {' and '.join(both)} (srow and pixdim): export it again"
    return ""
