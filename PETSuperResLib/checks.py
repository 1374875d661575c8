"""Whether PET, CT and measurement can belong together: refusals in one sentence, and warnings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from .alignment import fits_better
from .errors import GeometryError, InputError
from .volume import Volume

if TYPE_CHECKING:
    from .physics.measurement import Measurement
    from .physics.model import Lines

MIN_COVERAGE = 0.5  # of the PET's activity that the CT must cover (its field of view is often the smaller one)
MIN_INSIDE = 0.85  # of the PET's activity that must lie inside the CT's body (0.98 or more in 31 matched cases)
MIN_OUTLINE = 0.7  # Dice of the bodies in PET and CT below which the user is warned (0.79 or more in them)
# PET against measurement, in trues per slice: 0.02 or less in 8 matched cases, 0.16 or more between patients
MAX_DIFFERENCE, NOTED_DIFFERENCE = 0.3, 0.1
AIR_BELOW_HU = -200.0  # a CT has air below it, and water or tissue above it; a phantom's has no bone
NOWHERE_HU, COVERED_HU = -3000.0, -2500.0  # values of resampling outside the CT, and the limit to those inside
CROSS = ndimage.generate_binary_structure(2, 1)[None]


def check_ct(ct: Volume) -> None:
    """Raise unless the values can be HU."""
    name = _name(ct, "CT")
    if not np.isfinite(ct.array).all():
        raise InputError(f"{name} has voxels that are not finite numbers: export the CT again.")
    if ct.array.max() == ct.array.min():
        raise InputError(f"{name} is empty (every voxel has the same value): choose the CT volume.")
    if ct.unit not in ("", "HU") or ct.array.min() > AIR_BELOW_HU or ct.array.max() < AIR_BELOW_HU:
        raise InputError(
            f"{name} is not a CT in HU (values {ct.array.min():.4g} to {ct.array.max():.4g}): give the CT of this PET, "
            "or export it again with its rescale slope and intercept, in HU."
        )


def check_whole(volume: Volume, kind: str) -> None:
    """Raise where the ``kind`` (``"PET"``, ``"CT"``) is a single slice."""
    if min(volume.shape) < 2:
        raise InputError(f"{_name(volume, kind)} is a single slice: give the whole {kind} volume.")


def _name(volume: Volume, kind: str) -> str:
    return str(volume.metadata.get("file", f"The {kind}"))


def check_pair(pet: Volume, ct: Volume) -> list[str]:
    """Raise unless the CT covers the PET and its body the activity; returns warnings."""
    warnings = _same_patient(pet, ct)
    frames = [v.metadata.get("frame_of_reference") for v in (pet, ct)]
    if all(frames) and frames[0] != frames[1]:
        warnings.append("PET and CT have different DICOM frames of reference: check that they are registered.")
    suv, active = _activity(pet)
    hu = ct.resample_to(suv, "linear", NOWHERE_HU).array
    covered = hu > COVERED_HU
    coverage = float(active[covered].sum() / active.sum())
    _require(
        coverage,
        MIN_COVERAGE,
        "The CT covers only {} of the PET's activity",
        "choose the CT of this PET, registered to it",
    )
    if coverage < 0.95:
        warnings.append(f"The CT covers {100 * coverage:.1f} % of the PET's activity; the rest is taken as air in it.")
    body = ndimage.binary_dilation(_body(hu, -500), CROSS, 2)
    inside = float(active[covered & body].sum() / active[covered].sum())
    remedy = "choose the CT of this patient, registered to this PET"
    _require(inside, MIN_INSIDE, "Only {} of the PET's activity lies inside the body of the CT", remedy)
    tissue = _body(hu, -300)
    values = suv.array
    warm = tissue
    if (values[covered] > 0.1).any():
        warm = covered & (values > 0.3 * np.median(values[covered & (values > 0.1)]))
    outline = 2 * (warm & tissue).sum() / max(warm.sum() + tissue.sum(), 1)
    if outline < MIN_OUTLINE:
        warnings.append(
            f"The bodies in PET and CT overlap by {100 * outline:.0f} % only (Dice): "
            "check that the CT is of this patient and registered."
        )
    if place := fits_better(pet, ct, NOWHERE_HU):
        warnings.append(
            f"The CT would fit the PET better {place}, as a displaced or another patient's CT does: "
            "check that the CT is of this patient and registered."
        )
    return warnings


def _same_patient(pet: Volume, ct: Volume) -> list[str]:
    """Raise where two PatientIDs differ; without one of them the study must do, and that is told."""
    patients = [v.metadata.get("patient") for v in (pet, ct)]
    if not all(patients) or patients[0] == patients[1]:
        return []
    if all(v.metadata.get("patient_from", "PatientID") == "PatientID" for v in (pet, ct)):
        raise GeometryError("PET and CT are of different patients (DICOM PatientID): choose the CT of this PET.")
    studies = [v.metadata.get("study_uid") for v in (pet, ct)]
    known = "they are of one study" if studies[0] == studies[1] else "they are not of one study either"
    return [f"PET or CT has no DICOM PatientID ({known}): check that they are of one patient."]


def check_measurement(measurement: Measurement, pet: Volume, ct: Volume, grid: Volume, projector: Lines) -> list[str]:
    """Raise unless a sinogram covers PET and CT and has the PET's activity; returns warnings.

    ``grid`` is an image grid of the measurement and ``projector`` its projector. By the rule for PET and CT, half
    of the PET's activity must lie within the measurement, and half of the measured trues in slices that the CT
    reaches, and in slices that the PET reaches. In these, the trues per slice that the PET would give are compared
    with the measured ones (sum of differences over sum).
    """
    import torch

    remedy = "give the measurement that was made with this PET"
    suv, active = _activity(pet)
    box = measurement.grid.with_array(np.ones(measurement.grid.shape, np.float32))
    coverage = float(active[box.resample_to(suv, "nearest").array > 0].sum() / active.sum())
    _require(coverage, MIN_COVERAGE, "The measurement covers only {} of the PET's activity", remedy)
    trues = (measurement.counts - measurement.background).double()
    slices = trues.sum((1, 2)).clamp_min(0).numpy()
    if not slices.sum() > 0:
        raise InputError("The measurement has no counts above its background: make it again.")
    hu = ct.resample_to(grid, "linear", NOWHERE_HU).array
    image = pet.resample_to(grid, "linear", -1.0).array
    seen = (image > -1.0).any((1, 2))
    for reached, kind in (((hu > COVERED_HU).any((1, 2)), "CT"), (seen, "PET")):
        coverage = float(slices[reached].sum() / slices.sum())
        _require(coverage, MIN_COVERAGE, f"The {kind} covers only {{}} of the measured counts", remedy)
    lines = projector.forward(torch.from_numpy(image.clip(0)).to(projector.device)).cpu() * measurement.scale
    if measurement.attenuation is not None:
        lines = lines * measurement.attenuation
    expected = lines.double().sum((1, 2)).numpy()
    difference = float(np.abs(expected - slices)[seen].sum() / slices[seen].sum())
    message = (
        f"The PET's activity in the slices differs from the measured one by {math.ceil(1000 * difference) / 10:.1f} %"
    )
    if difference > MAX_DIFFERENCE:
        raise GeometryError(f"{message}; at most {100 * MAX_DIFFERENCE:.0f} % is accepted: {remedy}.")
    return [f"{message}: check that the measurement was made with this PET."] if difference > NOTED_DIFFERENCE else []


def _activity(pet: Volume) -> tuple[Volume, np.ndarray]:
    """The PET on a grid of 4 mm or more, and on it the SUVs above a tenth of the high ones (0 elsewhere)."""
    suv = pet.resample_to(pet.grid([max(s, 4.0) for s in pet.spacing]), "linear")
    suv = suv.with_array(suv.array.clip(0))
    return suv, suv.array * (suv.array > 0.1 * np.percentile(suv.array[suv.array > 0], 99))


def _body(hu: np.ndarray, level: float) -> np.ndarray:
    """Voxels above ``level``, small gaps and what they enclose (lungs) filled slice by slice: a stack may be thin."""
    closed = ndimage.binary_closing(hu > level, CROSS, 2)
    return np.stack([ndimage.binary_fill_holes(part) for part in closed])


def _require(share: float, least: float, text: str, remedy: str) -> None:
    """Raise where a share is below the least; in ``text`` it stands for ``{}``."""
    if share < least:
        percent = math.floor(1000 * share) / 10  # rounded down, so that a refused share never reads as its limit
        raise GeometryError(f"{text.format(f'{percent:.1f} %')}; at least {100 * least:.0f} % is needed: {remedy}.")
