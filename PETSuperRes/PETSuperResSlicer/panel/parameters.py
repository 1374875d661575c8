"""The panel's choices as a typed parameter node, saved with the scene; bound in the .ui by SlicerParameterName."""

import enum
from typing import Annotated, Any, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from PETSuperResLib.errors import InputError
from PETSuperResLib.request import Request, check_number, options
from PETSuperResLib.resolution import WIDEST_MM
from PETSuperResLib.scanner import Scanner, presets
from PETSuperResSlicer.mrml.lesion_table import MEASURES
from PETSuperResSlicer.mrml.petct import CT_WINDOWS, OPACITY, SUV_TOP

NO_PRESET = ""
PRESETS = [NO_PRESET, *presets()]
PSF = {"PSF as in the header": None, "PSF modelled": True, "PSF not modelled": False}
AS_IN_HEADER = -0.5  # of the post-filter
PHYSICS = {  # parameter: the scanner's field
    "scannerFwhm": "fwhm_transaxial_mm",
    "fwhmAxial": "fwhm_axial_mm",
}


class Quality(enum.Enum):
    """The profile of the reconstruction; the value is its name in the backend."""

    DRAFT = "draft"
    STANDARD = "standard"
    PAPER = "paper"

    def label(self) -> str:
        """The text in the combo box."""
        return {
            "draft": "Draft (quick look)",
            "standard": "Standard (to measure on)",
            "paper": "Paper (published schedule, slow)",
        }[self.value]


@parameterNodeWrapper
class PETSuperResParameters:
    """Inputs, settings and results of the panel. Lengths are FWHM in mm."""

    pet: vtkMRMLScalarVolumeNode
    ct: vtkMRMLScalarVolumeNode
    segmentation: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 - as Slicer reads it
    region: vtkMRMLMarkupsROINode
    preset: Annotated[str, Choice(PRESETS)] = NO_PRESET
    psf_modelled: Annotated[str, Choice(list(PSF))] = next(iter(PSF))
    post_filter: Annotated[float, WithinRange(AS_IN_HEADER, 15.0)] = AS_IN_HEADER
    quality: Quality = Quality.STANDARD
    fwhm: Annotated[float, WithinRange(0.0, WIDEST_MM)] = 0.0  # of the image; 0: from scanner, PSF and filter
    scannerFwhm: Annotated[float, WithinRange(1.0, 30.0)] = 5.0
    fwhmAxial: Annotated[float, WithinRange(0.0, 30.0)] = 5.0
    physicsOf: str = ""  # the preset whose values were put into the two fields above
    noise: Annotated[float, WithinRange(0.0, 200.0)] = 0.0  # of the PET in per cent; 0: measured
    samples: Annotated[int, WithinRange(1, 64)] = 1
    evidence: bool = False  # also what supports the hot blobs, by a second run
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    device: str = "auto"  # torch's name; the worker lists the devices
    prior: str = ""  # a .safetensors file; empty: the bundled prior
    threshold: str = "2.5"  # SUV from which a voxel counts towards MTV, or a share of SUVmax ("41%")
    result: vtkMRMLScalarVolumeNode
    plotMeasure: Annotated[str, Choice(list(MEASURES))] = next(iter(MEASURES))  # of table and plot
    chart: vtkMRMLPlotChartNode
    ctWindow: Annotated[str, Choice(list(CT_WINDOWS))] = next(iter(CT_WINDOWS))  # of PET/CT, as the two below
    petTop: Annotated[float, WithinRange(0.5, 100.0)] = SUV_TOP
    petOpacity: Annotated[float, WithinRange(0.0, 1.0)] = OPACITY
    followUp: vtkMRMLTableNode
    spheres: vtkMRMLMarkupsFiducialNode


def parameters_of(node: Any) -> tuple[Any, list[str]]:
    """The parameters of a node, and why saved numbers of it are not used, each in a sentence.

    Slicer does not check what it reads. A number that an earlier version allowed and this one does not is replaced by
    the default.
    """
    params, reasons = PETSuperResParameters(node), []  # type: ignore[call-arg]
    for name, about in options(Request).items():
        if about.form not in ("whole", "number") or name not in params.allParameters:  # type: ignore[attr-defined]
            continue
        value = getattr(params, name)
        try:
            setattr(params, name, value)
        except ValueError as refused:
            reason = str(refused)
            try:
                check_number(name, value, about)
            except InputError as error:
                reason = str(error)
            node.UnsetParameter(name)  # it is then read as the default
            reasons.append(reason)
    return params, reasons


def options_of(params: Any) -> dict[str, Any]:
    """The options of the :class:`Request` that are parameters of the same name, without zero and empty values."""
    resolution = ("fwhm", "post_filter", "psf_modelled")
    names = [
        n for n, about in options(Request).items() if about.form in ("whole", "number", "text", "flag") or n == "prior"
    ]
    found = {name: getattr(params, name, None) for name in names if name not in resolution}
    found = {name: value.value if isinstance(value, Quality) else value for name, value in found.items() if value}
    return found | resolution_options(params)


def resolution_options(params: Any) -> dict[str, Any]:
    """What is stated of the image's resolution, in place of the header's: the PSF, and FWHM or post-filter."""
    width = {"fwhm": params.fwhm} if params.fwhm > 0 else {"post_filter": params.post_filter}
    stated = {"psf_modelled": PSF[params.psf_modelled], **width}
    return {name: value for name, value in stated.items() if value is not None and value != AS_IN_HEADER}


def fill_physics(params: Any) -> None:
    """Put the preset's own values into the editable fields, once after each change of the preset."""
    if params.preset in (NO_PRESET, params.physicsOf):
        return
    scanner = Scanner.get(params.preset)
    for name, field in PHYSICS.items():
        setattr(params, name, float(getattr(scanner, field)))
    params.physicsOf = params.preset


def scanner_of(params: Any) -> Any:
    """The preset by its name, or the same scanner with the fields that were edited; None where none is chosen."""
    if params.preset == NO_PRESET:
        return None
    scanner = Scanner.get(params.preset)
    changes = {
        field: getattr(params, name)
        for name, field in PHYSICS.items()
        if abs(getattr(params, name) - getattr(scanner, field)) > 0.0051
    }
    return Scanner.get(scanner, **changes) if changes else params.preset


def device_labels(facts: Any) -> list[tuple[str, str]]:
    """(value, text) of the devices to offer; ``facts`` is the worker's answer to a ping, None before it came."""
    if facts is None:
        return [("auto", "Automatic"), ("cpu", "CPU")]
    found = [str(entry).partition(" ")[::2] for entry in facts.get("devices", [])]
    gpus = [(value, f"{name or value} ({value})") for value, name in found if value != "cpu"]
    best = next((text.rsplit(" (", 1)[0] for value, text in gpus if value.startswith("cuda")), "CPU")
    return [("auto", f"Automatic: {best}"), ("cpu", "CPU"), *gpus]
