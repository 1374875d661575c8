"""Whether the voxels of a PET node are SUVbw: ranked evidence, conversion where possible, and the user's statement.

In order: the quantity stored with the node, the DICOM header it was loaded from, and the values
themselves, which can rule SUV out but never prove it. Nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from PETSuperResLib.errors import InputError, PETSuperResError, UnitsError
from PETSuperResLib.suv.activity import check_activity
from PETSuperResLib.suv.volumes import check_suv
from PETSuperResLib.volume import Volume
from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.inputs import dicom_file, dicom_values

if TYPE_CHECKING:
    from PETSuperResLib.suv.stated import Stated

# Actions for a PET node, by the evidence
SUV = "suv"  # use it
HEADER = "header"  # SUVbw by the DICOM header: use it, and mark it
CONVERT = "convert"  # a DICOM series: converted, or its missing data named
STATE = "state"  # an activity concentration without header: dose, weight and times must be stated
UNSURE = "unsure"  # the values could be SUV, without evidence
REFUSED = "refused"  # not a PET


@dataclass(frozen=True)
class Recognition:
    """The unit of a node's voxels (``kind``, one of the above), and the evidence (``text``)."""

    kind: str
    text: str

    @property
    def usable(self) -> bool:
        """Whether a job can start with the node."""
        return self.kind in (SUV, HEADER)

    def refusal(self, name: str) -> str:
        """Why the volume of this name cannot be used, and what to do; empty where it can."""
        if self.usable:
            return ""
        if self.kind == REFUSED:
            return f"'{name}' cannot be used: {self.text.rstrip('.')}"
        remedy = {
            CONVERT: "press 'To SUV' under the PET",
            STATE: "fill in the form under the PET and press 'To SUV'",
            UNSURE: "press 'They are SUV' under the PET if that is so",
        }[self.kind]
        return f"'{name}' cannot be used as it is ({self.text}): {remedy}"


def recognise(node: Any) -> Recognition:
    """The unit of a PET node's voxels; never raises for an unknown one."""
    unit = mrml.unit_of_node(node)
    made = provenance.kind_of(node)
    if made:
        return Recognition(REFUSED, f"made by this module ({made}): choose the PET volume")
    modality, units, kind, corrected = dicom_values(node, "0008,0060", "0054,1001", "0054,1006", "0028,0051")
    if corrected and "ATTN" not in corrected.upper():
        return Recognition(REFUSED, "not attenuation-corrected (DICOM): choose the corrected series")
    if unit == "SUVbw":
        return Recognition(SUV, "SUVbw (stored with the volume)")
    if unit == "HU":
        return Recognition(REFUSED, "in HU, so a CT: choose the PET volume")
    if dicom_file(node):
        if modality and modality != "PT":
            return Recognition(REFUSED, f"DICOM modality {modality}: choose the PET volume")
        if units == "GML" and kind in ("", "BW"):
            return Recognition(HEADER, "SUVbw (DICOM Units GML)")
        return Recognition(CONVERT, f"{'Bq/mL' if units == 'BQML' else units or 'no Units'} (DICOM): convert to SUV")
    return _by_values(node, unit)


def _by_values(node: Any, unit: str) -> Recognition:

    if unit == "Bq/mL":
        return Recognition(STATE, "Bq/mL: state weight, dose and times")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        return Recognition(REFUSED, "no voxels: load the image again")
    array = slicer.util.arrayFromVolume(node)
    step = max(1, round((array.size / 2e6) ** (1 / 3)))  # a sample of two million voxels suffices
    sample = np.ascontiguousarray(array[::step, ::step, ::step], np.float32)
    try:
        check_suv(Volume(sample, metadata={"file": node.GetName()}))
    except UnitsError as error:
        if "looks like a CT" in str(error):
            return Recognition(REFUSED, "looks like a CT: choose the PET volume")
        return Recognition(STATE, "values as in Bq/mL: state weight, dose and times")
    except PETSuperResError as error:
        return Recognition(REFUSED, str(error))
    high = float(np.percentile(sample[sample > 0], 95))
    return Recognition(UNSURE, f"units unknown; 95 % of the values are below {high:.3g}: are they SUV?")


def require_suv(node: Any) -> None:
    """Raise :class:`UnitsError` unless the node is SUVbw; mark a node that is SUVbw by its header."""
    found = recognise(node)
    if not found.usable:
        console = " (in the console: PETSuperResSlicer.mrml.units.confirm(node))" if found.kind == UNSURE else ""
        raise UnitsError(f"{found.refusal(node.GetName())}{console}.")
    if found.kind == HEADER:
        confirm(node)


def confirm(node: Any) -> None:
    """Mark a node as SUVbw: by its header, or by the user's statement."""
    mrml.mark_unit(node, "SUVbw")


def suv_job(node: Any, stated: Stated) -> tuple[dict[str, Any], Callable[[dict[str, Any], dict[str, Any]], Any]]:
    """The worker's job that reads the DICOM series of a node as SUVbw, and what makes the volume of its answer.

    The answer's volume has its evidence as metadata ``suv``. Raises :class:`InputError` when the series no longer has
    the node's shape.
    """
    shape, name = node.GetImageData().GetDimensions()[::-1], node.GetName()
    given = {"weight_kg": stated.weight_kg, "dose_bq": stated.dose_bq, "injected": stated.injected or None}

    def finish(volumes: dict[str, Any], report: dict[str, Any]) -> Any:
        if volumes["pet"].shape != shape:
            raise InputError(f"'{name}' is not its whole DICOM series (cropped or resampled): load the series again.")
        return replace(volumes["pet"], metadata={"suv": report["evidence"]})

    return {"type": "suv", "source": dicom_file(node), **given}, finish


def add_suv_node(source: Any, volume: Any, evidence: dict[str, Any]) -> Any:
    """The SUV volume of a PET node as a new node beside it, with its evidence; the PET is not changed."""
    scene = source.GetScene()
    node = mrml.node_from_volume(volume, scene.GenerateUniqueName(f"{source.GetName()} SUV"), scene)
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    provenance.set_suv_evidence(node, evidence)
    for name in ("DICOM.instanceUIDs", "DICOM.Manufacturer", "DICOM.ManufacturerModelName"):
        if source.GetAttribute(name):
            node.SetAttribute(name, source.GetAttribute(name))
    mrml.place_beside(node, source, scene)
    mrml.show_as_pet(node)
    return node


def stated_suv(node: Any, stated: Stated) -> tuple[Any, dict[str, Any]]:
    """The SUV volume of a concentration by what the user states, and its evidence with warnings.

    Raises :class:`UnitsError` for a value that is missing, and for more activity than was injected.
    """
    factor, evidence = stated.factor()
    volume = scaled_volume(node, factor)
    warnings = check_activity(volume.array.clip(0), volume.voxel_ml, stated.weight_kg)
    return volume, evidence | {"warnings": warnings}


def scaled_volume(node: Any, factor: float) -> Any:
    """The node's own grid (its transform not applied) with every value times ``factor``, as SUVbw."""
    volume = mrml.volume_from_node(node, "", transformed=False)
    return volume.with_array(volume.array * np.float32(factor), "SUVbw")
