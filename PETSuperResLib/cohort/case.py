"""A case: one PET/CT study of one patient, in NIfTI files or DICOM series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..dicom.read import read_series
from ..errors import PETSuperResError
from ..lesions.read import Segmentation, read_contours, read_segmentation
from ..lesions.segments import union
from ..volume import Volume


@dataclass(frozen=True)
class Case:
    """One PET/CT study: its files, or for DICOM the folders and UIDs of its series.

    ``kind`` is ``"nifti"``, ``"nnunet"`` or ``"dicom"``; studies with the same ``patient`` are of one patient.
    ``notes`` tell why these series were chosen.
    """

    name: str
    pet_file: Path
    ct_file: Path
    lesion_files: tuple[Path, ...]
    kind: str = "nifti"
    patient: str = ""
    pet_series: str | None = None
    ct_series: str | None = None
    notes: tuple[str, ...] = ()

    def pet(self) -> Volume:
        """The PET in SUVbw, on its own axes; of a DICOM study by its header (:mod:`PETSuperResLib.suv.suvbw`)."""
        pet = self._read(self.pet_file, self.pet_series, "PT", "SUVbw")
        return replace(pet, metadata={**pet.metadata, "notes": [*self.notes, *pet.metadata.get("notes", ())]})

    def ct(self) -> Volume:
        """The CT in HU."""
        return self._read(self.ct_file, self.ct_series, "CT", "HU")

    def _read(self, file: Path, series: str | None, modality: str, unit: str) -> Volume:
        return read_series(file, series, modality) if self.kind == "dicom" else Volume.read(file, unit)

    def segmentation(self, pet: Volume, ct: Volume | None = None) -> Segmentation:
        """The lesions, each by itself; none, with the reason in its notes, where none is drawn or can be read.

        Of a DICOM study these are the regions of its SEG and RTSTRUCT files that are lesions by name or type.
        """
        if not self.lesion_files:
            return Segmentation()
        try:
            if self.kind == "dicom":
                return read_contours(self.lesion_files, pet, ct, chosen=False)
            mask = Volume.read(self.lesion_files[0], "label")
            if not mask.array.any():
                return Segmentation(notes=(f"No lesion is drawn in {self.lesion_files[0].name}.",))
            return read_segmentation(mask, pet)
        except PETSuperResError as error:
            return Segmentation(notes=(f"The lesions are left out: {error}",))

    def lesions(self) -> Volume | None:
        """A mask of all lesions, if the case has any: a label map as it is, contours on the PET's grid."""
        if not self.lesion_files:
            return None
        if self.kind != "dicom":
            return Volume.read(self.lesion_files[0], "label")
        pet = self.pet()
        segments = self.segmentation(pet, self.ct()).segments
        return union(segments, pet) if segments else None

    def files(self, lesions: bool = True) -> list[Path]:
        """The case's files; of a DICOM study also folders of its series."""
        return [self.pet_file, self.ct_file, *(self.lesion_files if lesions else ())]

    def sources(self, lesions: bool = True) -> list[Path]:
        """Every file of the case, to detect changes."""
        return [
            file for place in self.files(lesions) for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
        ]
