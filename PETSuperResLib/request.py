"""The options of one reconstruction, the same object for Python, the command line, the worker and Slicer.

A field of :class:`Request` carries its help text and its limits, from which the front ends derive their options. So a
new option is written here, and read where it has its effect. Nothing here imports torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import InputError
from .resolution import LEAST_MM, WIDEST_MM, check_fwhm
from .scanner import Scanner

if TYPE_CHECKING:
    from .lesions.read import Segmentation
    from .physics.measurement import Measurement
    from .prior import Prior
    from .sampling import Sampler
    from .volume import Volume

QUALITIES = ("draft", "standard", "paper")
SEGMENTS = "segments"  # the region around the segmentation
MARGIN_MM = 20.0  # around the segments, unless stated
FORMS: dict[str, tuple[tuple[type, ...], str]] = {  # of a field: its types in JSON, and they in words
    "file": ((str,), "a path"),
    "text": ((str,), "text"),
    "whole": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "flag": ((bool,), "true or false"),
    "threshold": ((int, float, str), "an SUV, or a share of the SUVmax such as 41%"),
    "box": ((list, tuple, str), "six numbers: x0, x1, y0, y1, z0, z1 in LPS mm"),
    "scanner": ((str, dict), "a preset, a JSON file or a description"),
    "list": ((list, tuple), "a list"),
    "files": ((str, list, tuple), "a folder or a list of files"),
    "object": ((dict,), "an object"),
}


@dataclass(frozen=True)
class Option:
    """How a field is offered to a user: its form (a key of :data:`FORMS`), help text, limits and placeholder.

    ``check`` raises the field's own error for a number beyond the limits, with their reason.
    """

    form: str
    help: str = ""
    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # the lower limit itself is excluded
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    default_text: str | None = None  # in place of the default, where that is None
    shared: bool = True  # may be one value for many cases, unlike a file of one patient
    check: Callable[[float], None] | None = None

    def limits(self) -> str:
        """The limits in words, empty where there are none."""
        least = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        parts = [least if self.low > -math.inf else "", f"to {self.high:g}" if self.high < math.inf else ""]
        return " ".join(part for part in parts if part)


def option(form: str, default: Any = MISSING, **about: Any) -> Any:
    """A dataclass field with an :class:`Option`."""
    return field(default=default, metadata={"option": Option(form, **about)})


def options(cls: type) -> dict[str, Option]:
    """The options of a dataclass by field, in order."""
    return {f.name: f.metadata["option"] for f in fields(cls) if "option" in f.metadata}


T = TypeVar("T")


def from_plain(cls: type[T], values: Mapping[str, Any], **others: Any) -> T:
    """An object of a dataclass whose fields carry options, from plain (JSON) values; None means the default.

    ``others`` are its fields without an option. Raises :class:`InputError` naming a missing, unknown or wrong field.
    """
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls) if "option" in f.metadata}  # type: ignore[arg-type]
    given = {name: value for name, value in values.items() if value is not None}
    for name, one in known.items():
        if one.default is MISSING and name not in given:
            raise InputError(f"There is no '{name}': give {FORMS[one.metadata['option'].form][1]}.", name)
    for name, value in given.items():
        if name not in known:
            raise InputError(f"Unknown field '{name}': use {', '.join(known)}.")
        types, words = FORMS[known[name].metadata["option"].form]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InputError(f"Field '{name}' cannot be {value!r}: give {words}.", name)
    return cls(**given, **others)


def check_number(name: str, value: Any, about: Option) -> None:
    """Raise :class:`InputError` unless a number is of its option's form and within its limits."""
    words = " ".join(part for part in (FORMS[about.form][1], about.limits()) if part)
    if isinstance(value, bool) or not isinstance(value, Integral if about.form == "whole" else Real):
        raise InputError(f"{name} must be {words}, not {value!r}.", name)
    number = float(value)
    if about.check is not None:
        about.check(number)
    if not about.low <= number <= about.high or not math.isfinite(number) or (about.above and number == about.low):
        raise InputError(f"{name} must be {words}, not {value:g}.", name)


@dataclass(frozen=True)
class Request:
    """One reconstruction. Images, measurement and prior are files, or the objects read from them.

    Checked when it is made; raises :class:`InputError` and :class:`ScannerError` that name the field. ``scanner`` and
    ``region`` are normalised: a :class:`Scanner` or None, and six numbers, ``"segments"`` or None.
    """

    pet: Volume | str | Path = option(
        "file", metavar="FILE", shared=False, help="PET in SUVbw: NIfTI, NRRD, MHA or a DICOM folder."
    )
    ct: Volume | str | Path = option(
        "file", metavar="FILE", shared=False, help="CT of the same session, in HU, on any grid."
    )
    scanner: Scanner | str | Path | dict[str, Any] | None = option(
        "scanner", None, metavar="NAME", help="Scanner that made the PET: preset or JSON file; DICOM may name it."
    )
    quality: Sampler | str = option(
        "text",
        "standard",
        choices=QUALITIES,
        help="A quick look, recommended to measure on, or the paper's schedule (slow).",
    )
    samples: int = option("whole", 1, low=1, help="Above 1: so many posterior samples, and their spread (std).")
    seed: int = option("whole", 0, low=0, help="One seed decides every random number.")
    device: str = option("text", "auto", help="auto, cpu, cuda or cuda:1.")
    region: tuple[float, ...] | str | None = option(
        "box",
        None,
        metavar="BOX",
        help="Reconstruct a box only: x0,x1,y0,y1,z0,z1 in LPS mm, or 'segments'.",
    )
    margin: float | None = option(
        "number",
        None,
        low=0,
        help="Around the region 'segments', in mm.",
        default_text=f"{MARGIN_MM:g}",
    )
    prior: Prior | str | Path | None = option(
        "file", None, metavar="FILE", help="Another prior (safetensors) than the bundled one."
    )
    measurement: Measurement | str | Path | None = option(
        "file",
        None,
        metavar="FILE",
        shared=False,
        help="Sinogram of a simulation, whose counts are taken in place of the PET; sets the scanner.",
    )
    spacing: float | None = option(
        "number", None, low=0.5, high=10, help="In-plane voxel size of the result in mm.", default_text="the prior's"
    )
    fwhm: float | None = option(
        "number",
        None,
        low=LEAST_MM,
        high=WIDEST_MM,
        check=check_fwhm,
        help="FWHM of the PET image in mm, filter included; with it an image needs no scanner.",
        default_text="from scanner and header",
    )
    post_filter: float | None = option(
        "number",
        None,
        low=0,
        high=15,
        help="FWHM of the Gaussian filter after the PET's reconstruction in mm; 0 for none.",
        default_text="the header's",
    )
    psf_modelled: bool | None = option(
        "flag", None, help="Whether the PET's reconstruction modelled the PSF.", default_text="the header's"
    )
    noise: float | None = option(
        "number",
        None,
        low=0,
        high=200,
        above=True,
        metavar="PERCENT",
        help="Noise of the PET: standard deviation over mean of a voxel of SUV 1, as far as the PET bears it out; more "
        "noise smooths more.",
        default_text="measured in the PET",
    )
    series: str | None = option(
        "text", None, metavar="NAME", shared=False, help="UID or description of the PET's DICOM series among several."
    )
    ct_series: str | None = option("text", None, metavar="NAME", shared=False, help="The same of the CT.")
    segmentation: Segmentation | Volume | str | Path | None = option(
        "file",
        None,
        metavar="FILE",
        shared=False,
        help="Lesions: label map, .seg.nrrd, DICOM SEG or RTSTRUCT, on any grid.",
    )
    threshold: float | str = option(
        "threshold",
        2.5,
        metavar="SUV|%",
        help="For MTV and TLG: an SUV, or 41%, the share of the lesion's SUVmax in each volume.",
    )

    evidence: bool = option(
        "flag",
        False,
        help="Also what supports the hot blobs of the result: the data, in sigma, and the CT (a second run).",
    )

    def __post_init__(self) -> None:
        for name, about in options(Request).items():
            value = getattr(self, name)
            if value is None:
                continue
            if about.form in ("whole", "number"):
                check_number(name, value, about)
            elif about.form == "flag" and not isinstance(value, bool):
                raise InputError(f"{name} must be true or false, not {value!r}.", name)
            elif about.choices and isinstance(value, str) and value not in about.choices:
                raise InputError(f"Unknown {name} '{value}': use {', '.join(about.choices)}.", name)
        for name in ("pet", "ct"):
            if getattr(self, name) is None:
                raise InputError(f"There is no {name.upper()}: give one.", name)
        if self.scanner is not None:
            object.__setattr__(self, "scanner", Scanner.get(self.scanner))
        object.__setattr__(self, "region", _box(self.region))
        if self.region == SEGMENTS and self.segmentation is None:
            raise InputError("A region around the segments needs the segmentation: give it too.", "segmentation")
        if self.margin is not None and self.region != SEGMENTS:
            raise InputError("A margin is taken around the segments: set the region to 'segments' too.", "margin")
        from .lesions.measures import check_threshold

        check_threshold(self.threshold)
        if self.measurement is not None and self.region is not None:
            raise InputError("A measurement is reconstructed as a whole: leave the region out.", "region")
        if self.measurement is not None and self.noise is not None:
            raise InputError("A measurement holds its own counts: leave noise out.", "noise")
        for name in ("fwhm", "post_filter", "psf_modelled"):
            if self.measurement is not None and getattr(self, name) is not None:
                raise InputError(f"A measurement holds its own resolution: leave {name} out.", name)
        if self.fwhm is not None and self.post_filter is not None:
            raise InputError("The FWHM of the image includes the filter: leave post_filter or fwhm out.", "post_filter")

    def files(self) -> dict[str, str | None]:
        """The paths of the inputs, by field, for provenance; None for objects and for what is not given."""
        given = {name: getattr(self, name) for name, about in options(Request).items() if about.form == "file"}
        return {n: os.fspath(value) if isinstance(value, (str, Path)) else None for n, value in given.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, absolute paths for files; raises :class:`InputError` for an object without a file."""
        plain: dict[str, Any] = {}
        for name, about in options(Request).items():
            value = getattr(self, name)
            if about.form == "file" and isinstance(value, (str, Path)):
                value = os.path.abspath(value)
            elif isinstance(value, Scanner):
                value = value.to_dict()
            elif isinstance(value, tuple):
                value = list(value)
            elif value is not None and about.form in ("whole", "number"):
                value = int(value) if about.form == "whole" else float(value)
            if value is not None and not isinstance(value, FORMS[about.form][0]):
                raise InputError(f"{name} is an object of this process: give {FORMS[about.form][1]}.", name)
            plain[name] = value
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """Inverse of :meth:`to_dict`; fields may be left out. Raises the errors of a wrong field, by name."""
        return from_plain(cls, values)


def _box(region: Any) -> tuple[float, ...] | str | None:
    """A region as six numbers with x0 < x1 and so on, ``"segments"`` or None."""
    if region is None or (isinstance(region, str) and region.strip().lower() == SEGMENTS):
        return None if region is None else SEGMENTS
    values = region.replace(",", " ").split() if isinstance(region, str) else region
    try:
        box = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        box = ()
    if len(box) != 6 or not all(a < b and math.isfinite(b - a) for a, b in zip(box[::2], box[1::2], strict=True)):
        raise InputError(
            f"'{region}' is not a region: give six numbers, x0, x1, y0, y1, z0, z1 in LPS mm (x0 < x1).", "region"
        )
    return box
