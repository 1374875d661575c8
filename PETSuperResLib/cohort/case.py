"""A case: one PET/CT study of one patient, in NIfTI files or DICOM series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..dicom.read import read_series
from ..errors import PETSuperResError
from ..volume import Volume
from .contours import read_contours


@dataclass(frozen=True)
class Case:
    """One PET/CT study: its files, or for DICOM the folders and UIDs of its series.

    ``kind`` is ``"nifti"``, ``"nnunet"`` or ``"dicom"``; studies with the same ``patient`` are of one patient.
    ``notes`` tell why these series were chosen.
    """

    name: str
    pet_file: Path
    ct_file: Path
    lesion_file: Path | None
    kind: str = "nifti"
    patient: str = ""
    pet_series: str | None = None
    ct_series: str | None = None
    notes: tuple[str, ...] = ()

    def pet(self) -> Volume:
        """The PET in SUVbw; of a DICOM study by its header (:mod:`PETSuperResLib.suv.suvbw`)."""
        pet = self._read(self.pet_file, self.pet_series, "PT", "SUVbw")
        return replace(pet, metadata={**pet.metadata, "notes": [*self.notes, *pet.metadata.get("notes", ())]})

    def ct(self) -> Volume:
        """The CT in HU."""
        return self._read(self.ct_file, self.ct_series, "CT", "HU")

    def _read(self, file: Path, series: str | None, modality: str, unit: str) -> Volume:
        return read_series(file, series, modality) if self.kind == "dicom" else Volume.read(file, unit)

    def lesions(self) -> Volume | None:
        """The lesion label map, if the case has one; a DICOM study's SEG or RTSTRUCT only if it can be read."""
        if self.lesion_file is None:
            return None
        if self.kind == "dicom":
            try:
                return read_contours(self.lesion_file, self.pet())
            except PETSuperResError:
                return None
        return Volume.read(self.lesion_file, "label")

    def sources(self, lesions: bool = True) -> list[Path]:
        """Every file of the case, to detect changes."""
        places = [self.pet_file, self.ct_file, *([self.lesion_file] if self.lesion_file and lesions else [])]
        return [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
