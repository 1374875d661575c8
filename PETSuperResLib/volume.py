"""Images with geometry: reading, writing and resampling through physical coordinates.

Arrays are ``(K, J, I)`` = (slice, row, column), float32 and contiguous; geometry is ITK's (LPS, mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import GeometryError, InputError, OutputError, UnitsError
from .files import atomic_path, quiet
from .headers.mark import looks_like_dicom
from .nifti import nifti_fault, read_nifti

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
UNITS = ("", "SUVbw", "Bq/mL", "HU", "label")
INTERPOLATORS = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline3}
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Volume:
    """A scalar volume with its position in the patient.

    Parameters
    ----------
    array : ``(K, J, I)`` float32.
    spacing : voxel size along (i, j, k) in mm.
    origin : centre of voxel (0, 0, 0) in LPS mm.
    direction : the 3 x 3 direction cosines, row by row, as ITK gives them.
    unit : ``"SUVbw"``, ``"Bq/mL"``, ``"HU"``, ``"label"`` or ``""`` (unknown).
    metadata : data of the acquisition (strings and numbers only).
    """

    array: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY
    unit: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.ndim != 3:
            raise InputError(f"A volume needs 3 dimensions, this array has {array.ndim}: give (slices, rows, columns).")
        if self.unit not in UNITS:
            raise UnitsError(f"'{self.unit}' is no unit of a volume: use {', '.join(UNITS[1:])}, or '' if unknown.")
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))
        object.__setattr__(self, "origin", tuple(float(v) for v in self.origin))
        object.__setattr__(self, "direction", tuple(float(v) for v in self.direction))
        if len(self.spacing) != 3 or min(self.spacing) <= 0:
            raise GeometryError(f"Voxel spacing must be three positive lengths in mm, not {self.spacing}.")
        if len(self.direction) != 9 or abs(np.linalg.det(np.reshape(self.direction, (3, 3)))) < 1e-6:
            raise GeometryError("The direction cosines must be an invertible 3 x 3 matrix.")

    # -- geometry ---------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I)."""
        k, j, i = self.array.shape
        return k, j, i

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """4 x 4 matrix from voxel index (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) @ np.diag(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    def corners(self) -> np.ndarray:
        """(8, 3) LPS positions in mm of the outer corners of the grid (voxel edges, not centres)."""
        ends = [(-0.5, n - 0.5) for n in self.shape[::-1]]
        ijk = np.array([(i, j, k, 1.0) for i in ends[0] for j in ends[1] for k in ends[2]])
        return (ijk @ self.ijk_to_lps.T)[:, :3]

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """Whether every voxel of both has the same position within ``tolerance_mm``."""
        return self.shape == other.shape and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)

    def with_array(self, array: np.ndarray, unit: str | None = None) -> Volume:
        """The same grid with other values (and, if given, another unit)."""
        if array.shape != self.shape:
            raise GeometryError(f"An array of shape {array.shape} does not fit a grid of {self.shape}.")
        return replace(self, array=array, unit=self.unit if unit is None else unit)

    # -- SimpleITK --------------------------------------------------------------------------------
    def to_sitk(self) -> sitk.Image:
        """As a SimpleITK image."""
        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, unit: str = "", metadata: dict[str, Any] | None = None) -> Volume:
        """From a 3D scalar SimpleITK image."""
        return cls(
            sitk.GetArrayFromImage(image).astype(np.float32),
            image.GetSpacing(),
            image.GetOrigin(),
            image.GetDirection(),
            unit,
            metadata or {},
        )

    def grid(self, spacing: Sequence[float]) -> Volume:
        """An empty grid over the same box with ``spacing`` (i, j, k) in mm; the box's centre is kept.

        The number of voxels is rounded up, so the new box holds the old one.
        """
        size = [int(np.ceil(n * s / t - 1e-6)) for n, s, t in zip(self.shape[::-1], self.spacing, spacing, strict=True)]
        centre = self.ijk_to_lps @ np.array([*((np.array(self.shape[::-1]) - 1) / 2), 1.0])
        matrix = np.reshape(self.direction, (3, 3)) @ np.diag(spacing)
        origin = centre[:3] - matrix @ ((np.array(size) - 1) / 2)
        x, y, z = spacing
        return replace(self, array=np.zeros(size[::-1], np.float32), spacing=(x, y, z), origin=tuple(origin))

    def resample_to(self, reference: Volume, interpolation: str = "linear", outside: float = 0.0) -> Volume:
        """This volume's values on ``reference``'s grid, through physical coordinates.

        ``interpolation`` is ``nearest``, ``linear`` or ``cubic`` (B-spline); points outside this
        volume get ``outside``.
        """
        if self.same_grid(reference, 1e-4):
            return self
        source = self.to_sitk()
        if min(source.GetSize()) < 2 or (interpolation == "cubic" and min(source.GetSize()) < 4):
            interpolation = "nearest" if interpolation == "nearest" else "linear"
        image = sitk.Resample(
            source, reference.to_sitk(), sitk.Transform(), INTERPOLATORS[interpolation], outside, sitk.sitkFloat32
        )
        return Volume.from_sitk(image, self.unit, dict(self.metadata))

    def crop(self, lower: Sequence[int], upper: Sequence[int]) -> Volume:
        """Voxels ``lower`` (i, j, k) up to but not including ``upper``, geometry kept."""
        (i0, j0, k0), (i1, j1, k1) = lower, upper
        origin = (self.ijk_to_lps @ np.array([i0, j0, k0, 1.0]))[:3]
        return replace(self, array=self.array[k0:k1, j0:j1, i0:i1], origin=tuple(origin))

    def slices(self, first: int, last: int) -> Volume:
        """Slices ``first`` up to but not including ``last``, geometry kept."""
        return self.crop((0, 0, first), (self.shape[2], self.shape[1], last))

    # -- files ------------------------------------------------------------------------------------
    @classmethod
    def read(cls, path: str | Path, unit: str = "", modality: str | None = None, series: str | None = None) -> Volume:
        """Read NIfTI, NRRD or MetaImage, or a folder (or one file) of a DICOM series.

        A PET series is read as SUVbw if its header allows it (see :mod:`PETSuperResLib.suv.suvbw`), a CT
        as HU; ``modality`` (``"PT"``, ``"CT"``) and ``series`` (UID or description) choose among several of DICOM.
        Raises :class:`InputError` for a missing, unreadable, empty or not 3D file.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"No file or folder {path}: check the path.")
        try:
            next(path.iterdir(), None) if path.is_dir() else path.open("rb").close()
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from error
        if path.is_dir() or path.suffix.lower() in (".dcm", ".ima") or looks_like_dicom(path):
            from .dicom.series import series_image

            return cls(**series_image(path, series, modality))
        if series:
            raise InputError(f"{path} is not DICOM, so it has no series '{series}': leave the series out.", "series")
        if not path.name.lower().endswith(SUFFIXES):
            raise InputError(f"{path} is not an image format this tool reads: use NIfTI, NRRD, MHA or a DICOM folder.")
        damaged = f"{path} cannot be read as an image (damaged or incomplete): export it again."
        if path.name.lower().endswith((".nii", ".nii.gz")):
            fault = nifti_fault(path)
            if fault:
                raise InputError(f"{path} {fault}.")
        try:
            with quiet():
                image = read_nifti(path) if path.name.lower().endswith(".nii") else sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise InputError(damaged) from error
        if image.GetDimension() == 4 and image.GetSize()[3] == 1:
            image = image[:, :, :, 0]
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(f"{path} is not a single 3D scalar volume: give one frame of it.")
        return cls.from_sitk(image, unit, {"file": path.name})

    def write(self, path: str | Path, note: str = "") -> Path:
        """Write NIfTI, NRRD or MHA, completely or not at all; label volumes as integers. Returns the path.

        ``note`` is kept in the file's header (NIfTI: ``descrip``, at most 79 characters).
        """
        path = Path(path)
        suffix = next((s for s in WRITABLE if path.name.lower().endswith(s)), None)
        if suffix is None:
            raise OutputError(f"{path} has no known image suffix: use one of {', '.join(WRITABLE)}.")
        image = self.to_sitk()
        if self.unit == "label":
            image = sitk.Cast(image, sitk.sitkInt16)
        if note:
            image.SetMetaData("ITK_FileNotes", note)
        with atomic_path(path) as temporary:
            try:
                with quiet():
                    sitk.WriteImage(image, str(temporary), useCompression=True)
                    if suffix.startswith(".nii"):  # ITK's writer does not report a full disk
                        whole = nifti_fault(temporary) == "" or not np.isfinite(self.array).all()
                    else:
                        whole = sitk.ReadImage(str(temporary)).GetSize() == image.GetSize()
            except RuntimeError:
                whole = False
            if not whole:
                raise OutputError(f"{path} could not be written: check free space and permissions.")
        return path
