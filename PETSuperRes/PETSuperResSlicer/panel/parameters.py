"""The panel's choices as a typed parameter node, saved with the scene; bound in the .ui by SlicerParameterName."""

import enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

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
from PETSuperResLib.scanner import LIMITS, Scanner, presets
from PETSuperResSlicer.mrml.lesion_table import MEASURES
from PETSuperResSlicer.mrml.petct import CT_WINDOWS, OPACITY, SUV_TOP

NO_PRESET = ""
PRESETS = [NO_PRESET, *presets()]
PSF = {"PSF as in the header": None, "PSF modelled": True, "PSF not modelled": False}
CHOSEN = {  # in messages
    "preset": "The scanner",
    "psf_modelled": "The PSF",
    "quality": "The quality",
    "plotMeasure": "The measure",
    "ctWindow": "The CT window",
}
AS_IN_HEADER = -0.5  # of the post-filter
PHYSICS = {  # parameter: the scanner's field
    "scannerFwhm": "fwhm_transaxial_mm",
    "fwhmAxial": "fwhm_axial_mm",
}


def _request_limits(name: str, low: float | None = None, high: float | None = None) -> WithinRange:
    """The limits of a field of the :class:`Request`.

    ``low``: the value that stands for a field that is not stated, below the limit; ``high``: for a field that has no
    upper limit there.
    """
    about = options(Request)[name]
    number = int if about.form == "whole" else float
    return WithinRange(number(about.low if low is None else low), number(about.high if high is None else high))


def _scanner_limits(name: str) -> WithinRange:
    """The limits of the :class:`Scanner`'s field behind a parameter."""
    low, high = LIMITS[PHYSICS[name]]
    return WithinRange(float(low), float(high))


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
    post_filter: Annotated[float, _request_limits("post_filter", low=AS_IN_HEADER)] = AS_IN_HEADER
    quality: Quality = Quality.STANDARD
    fwhm: Annotated[float, _request_limits("fwhm", low=0)] = 0.0  # of the image; 0: from scanner, PSF and filter
    scannerFwhm: Annotated[float, _scanner_limits("scannerFwhm")] = 5.0
    fwhmAxial: Annotated[float, _scanner_limits("fwhmAxial")] = 5.0
    physicsOf: str = ""  # the preset whose values were put into the two fields above
    noise: Annotated[float, _request_limits("noise", low=0)] = 0.0  # of the PET in per cent; 0: measured
    samples: Annotated[int, _request_limits("samples", high=64)] = 1
    evidence: bool = False  # also what supports the hot blobs, by a second run
    seed: Annotated[int, _request_limits("seed", high=2**31 - 1)] = 0
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
    """The parameters of a node, and why saved settings of it are not used, each in a sentence.

    Slicer does not check what it reads, and its widgets refuse what they do not know. A setting that another version
    allowed and this one does not is replaced by the default.
    """
    reasons = _without_unknown(node)
    params, numbers = PETSuperResParameters(node), options(Request)  # type: ignore[call-arg]
    for name, (kind, _choices) in _kinds().items():
        if kind not in (int, float):
            continue
        value = getattr(params, name)
        try:
            setattr(params, name, value)
        except ValueError:
            reason = f"The setting {name} of {value:g} is outside its limits: look whether the default suits."
            if name in numbers:
                try:
                    check_number(name, value, numbers[name])
                except InputError as error:
                    reason = str(error)
            node.UnsetParameter(name)  # it is then read as the default
            reasons.append(reason)
    return params, reasons


def _kinds() -> dict[str, tuple[Any, Any]]:
    """The type of every parameter, and its choices where it has any."""
    found = {}
    for name, hint in get_type_hints(PETSuperResParameters, include_extras=True).items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        found[name] = kind, next((note.choices for note in notes if isinstance(note, Choice)), None)
    return found


def _without_unknown(node: Any) -> list[str]:
    """Take choices that there are not, and what is no number, out of a node; returns a sentence for each."""
    reasons = []
    for name, (kind, choices) in _kinds().items():
        text = node.GetParameter(name)
        if not node.HasParameter(name) or _readable(text, kind, choices):
            continue
        node.UnsetParameter(name)
        what = CHOSEN.get(name, f"The setting {name}")
        reasons.append(f"{what} '{text}' is not known to this version: choose another.")
    return reasons


def _readable(text: str, kind: Any, choices: Any) -> bool:
    if choices is not None:
        return text in choices
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return text in kind.__members__
    if kind in (int, float):
        try:
            kind(text)
        except ValueError:
            return False
    return True


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
