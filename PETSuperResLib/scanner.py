"""The scanner's model: resolution, projection geometry, counts, and the source of each figure.

Presets are in ``Resources/scanners.json``; a site's own in a JSON file of the same form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn

from .errors import InputError, ScannerError
from .vendor_strings import header_words

PRESET_FILE = Path(__file__).parent / "Resources" / "scanners.json"
SETTINGS = {"standard": "Paper standard", "ood": "Paper OOD"}  # Table 1 of the paper
MAKERS = {  # words in DICOM Manufacturer that mean a preset's manufacturer
    "Siemens": ("siemens", "cti", "cps"),
    "GE": ("ge", "general"),
    "Philips": ("philips", "adac"),
    "United Imaging": ("united", "uih"),
    "Canon": ("canon", "toshiba"),
}
KERNEL_SCALE = 0.73  # of a clinical scanner: the kernel that serves in the model is about 27 % narrower (Watson)
NARROWEST_MM = 100.0  # that the bins must cover
LIMITS: dict[str, tuple[float, float]] = {  # of the numbers in a description; beyond them no PET scanner is
    "fwhm_transaxial_mm": (1, 30),
    "fwhm_axial_mm": (0, 30),
    "kernel_scale": (0.1, 1.5),
    "views": (1, 10000),
    "radial_bins": (0, 10000),
    "bin_size_mm": (0.2, 20),
    "ring_spacing_mm": (0.2, 50),
    "background_fraction": (0, 20),
    "sensitivity_cps_per_kbq": (0.01, 1000),
    "trues_per_slice": (100, 1e9),
    "dose_fraction": (1e-4, 100),
    "angular_rebinning": (1, 100),
    "radial_rebinning": (1, 100),
    "target_spacing_mm": (0.2, 50),
}
MATTERS = ("fwhm_axial_mm", "kernel_scale", "views", "bin_size_mm", "background_fraction", "trues_per_slice")
TEXTS = ("manufacturer", "source")
LISTS = ("models", "unverified", "left_out")
WHOLE = ("views", "radial_bins", "angular_rebinning", "radial_rebinning")
CLOSE = 0.86  # likeness of names from which one is suggested; of two scanners of one series it is below


@dataclass(frozen=True)
class Scanner:
    """A scanner and acquisition setting.

    Lengths are mm. Radial bins and views are those of the measurement before rebinning; the model
    works on ``views / angular_rebinning`` views and ``radial_bins / radial_rebinning`` bins.
    """

    name: str
    fwhm_transaxial_mm: float  # Gaussian PSF in the slice
    fwhm_axial_mm: float = 0.0  # Gaussian PSF across slices; 0 models each slice alone
    kernel_scale: float = KERNEL_SCALE  # FWHM of a sinogram's model / physical FWHM; below 1 avoids edge overshoot
    views: int = 180  # over 180 degrees
    radial_bins: int = 0  # 0: as many as cover the image
    bin_size_mm: float = 2.0
    ring_spacing_mm: float | None = None
    background_fraction: float = 0.3  # scatter and randoms over trues
    sensitivity_cps_per_kbq: float | None = None
    trues_per_slice: float = 7e5  # mean over slices, at full dose
    dose_fraction: float = 1.0
    angular_rebinning: int = 1
    radial_rebinning: int = 1
    target_spacing_mm: float | None = None  # voxel size of the LR image
    manufacturer: str = ""
    models: tuple[str, ...] = ()  # DICOM ManufacturerModelName values that mean this scanner
    source: str = ""
    unverified: tuple[str, ...] = ()  # names of the fields without a source
    left_out: tuple[str, ...] = ()  # names of the fields that a description left to their defaults

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ScannerError(f"The name of a scanner must be a text, not {_as_json(self.name)}.", "scanner")
        for name in TEXTS:
            if not isinstance(getattr(self, name), str):
                self._refuse(name, "a text")
        for name in LISTS:
            texts = getattr(self, name)
            if not isinstance(texts, (list, tuple)) or not all(isinstance(one, str) for one in texts):
                self._refuse(name, "a list of texts")
            object.__setattr__(self, name, tuple(texts))
        if not set(self.left_out) <= set(MATTERS):
            self._refuse("left_out", f"a list of some of {', '.join(MATTERS)}")
        for name, (low, high) in LIMITS.items():
            value, whole = getattr(self, name), name in WHOLE
            if value is None and name in ("ring_spacing_mm", "sensitivity_cps_per_kbq", "target_spacing_mm"):
                continue
            number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
            if number and low <= float(value) <= high:
                continue
            kind, hint = "a whole number" if whole else "a number", ""
            if isinstance(value, str):
                hint = " (write it without quotes, with a decimal point)"
            self._refuse(name, f"{kind} from {low:g} to {high:g}", hint)
        if 0 < self.radial_bins * self.bin_size_mm < NARROWEST_MM:
            raise ScannerError(
                f"Scanner '{self.name}': radial_bins {self.radial_bins} of {self.bin_size_mm:g} mm cover "
                f"{self.radial_bins * self.bin_size_mm:g} mm, no body: give more, or leave it out.",
                "scanner",
            )
        if self.views % self.angular_rebinning:
            raise ScannerError(
                f"Scanner '{self.name}': {self.views} views cannot be summed in groups of {self.angular_rebinning}.",
                "scanner",
            )

    def _refuse(self, name: str, needed: str, hint: str = "") -> NoReturn:
        value = _as_json(getattr(self, name))
        raise ScannerError(f"Scanner '{self.name}': {name} must be {needed}, not {value}{hint}.", "scanner")

    @property
    def model_fwhm_mm(self) -> tuple[float, float]:
        """(transaxial, axial) FWHM in mm of the kernel in the model: physical FWHM x kernel scale."""
        return self.fwhm_transaxial_mm * self.kernel_scale, self.fwhm_axial_mm * self.kernel_scale

    @property
    def notes(self) -> list[str]:
        """For the user: the defaults that stand for what a description left out."""
        used = ", ".join(f"{name} {getattr(self, name):g}" for name in self.left_out)
        return [f"The description of scanner '{self.name}' leaves values out; used are: {used}."] if used else []

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and provenance."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scanner:
        """Inverse of :meth:`to_dict`; raises :class:`ScannerError` naming any unknown or wrong field.

        Fields may be left out: the axial FWHM is then the transaxial one, the others have their defaults, and
        ``left_out`` names those that a result depends on.
        """
        if not isinstance(values, dict) or not {"name", "fwhm_transaxial_mm"} <= set(values):
            told = "A scanner description must be a JSON object with at least name and fwhm_transaxial_mm."
            raise ScannerError(told, "scanner")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ScannerError(
                f"Scanner '{values['name']}': unknown field {unknown[0]}: a preset shows the fields.", "scanner"
            )
        if "left_out" not in values:
            missing = [name for name in MATTERS if name not in values]
            values = {"fwhm_axial_mm": values["fwhm_transaxial_mm"], **values, "left_out": missing}
        return cls(**values)

    @classmethod
    def get(cls, scanner: Scanner | str | Path | dict[str, Any], **changes: Any) -> Scanner:
        """A scanner by preset name (case does not matter), JSON file, description or as given, with fields changed."""
        if isinstance(scanner, dict):
            scanner = cls.from_dict(scanner)
        if not isinstance(scanner, Scanner):
            scanner = _find(str(scanner))
        return replace(scanner, **changes) if changes else scanner


def load_presets(path: str | Path = PRESET_FILE) -> dict[str, Scanner]:
    """Presets of a JSON file (a list of objects, or one object) by name, in the file's order."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScannerError(f"Scanner file {path} cannot be read: {error.strerror}.", "scanner") from error
    except ValueError as error:
        told = f"Scanner file {path} is not valid JSON (numbers have a decimal point, texts are in quotes): {error}."
        raise ScannerError(told, "scanner") from error
    try:
        scanners = [Scanner.from_dict(v) for v in (content if isinstance(content, list) else [content])]
    except ScannerError as error:
        raise ScannerError(f"{path.name}: {error}", "scanner") from error
    return {s.name: s for s in scanners}


@cache
def presets() -> dict[str, Scanner]:
    """The bundled presets by name; their sources say what is left open."""
    return {name: replace(scanner, left_out=()) for name, scanner in load_presets().items()}


def _find(name: str) -> Scanner:
    if name.lower().endswith(".json"):
        own = load_presets(name)
        if len(own) != 1:
            told = f"{name} holds {len(own)} scanners: keep the one to use in a file of its own."
            raise ScannerError(told, "scanner")
        return next(iter(own.values()))
    known = {n.lower(): s for n, s in presets().items()}
    if name.lower() not in known:
        near = _suggestion(name, presets()) or (
            "there is no such preset. State the FWHM of the image, or describe the scanner in a JSON file."
        )
        raise ScannerError(f"Unknown scanner '{name}': {near}", "scanner")
    return known[name.lower()]


def _suggestion(name: str, names: Iterable[str]) -> str:
    """``did you mean ...?`` with the names that contain this one or its words; one that it may misspell; else empty."""
    known, letters, words = {_letters(n): n for n in names}, _letters(name), _words(name)
    near = [n for other, n in known.items() if letters in other] if letters else []
    near = (near or [n for n in known.values() if words and words <= _words(n)])[:4]
    alike = [other for other in known if _digits(other) == _digits(letters)]  # 610 is no misspelt 600
    near = near or [known[other] for other in get_close_matches(letters, alike, 1, CLOSE)]
    return f"did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+|[0-9]+", text.lower()))


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def setting(name: Scanner | str) -> Scanner:
    """The paper's degradation setting ``standard`` or ``ood`` (Table 1), or any scanner :meth:`Scanner.get` takes."""
    if isinstance(name, str) and name.lower() in SETTINGS:
        return Scanner.get(SETTINGS[name.lower()])
    if isinstance(name, str) and not name.lower().endswith(".json") and name.lower() not in map(str.lower, presets()):
        near = _suggestion(name, [*SETTINGS, *presets()])
        choice = f"use standard or ood, or a scanner preset{f'; {near}' if near else '.'}"
        raise ScannerError(f"Unknown setting '{name}': {choice}", "setting")
    return Scanner.get(name)


def guess_preset(manufacturer: str | None, model: str | None) -> str | None:
    """The preset for DICOM Manufacturer (0008,0070) and ManufacturerModelName (0008,1090), or None.

    Case, spaces and punctuation do not matter; an unlisted model is never matched by
    similarity, and a listed model under another manufacturer's name is not matched.
    """
    wanted = _letters(model)
    if not wanted:
        return None
    words = set(re.findall(r"[a-z]+", (manufacturer or "").lower()))
    for scanner in presets().values():
        if wanted in {_letters(m) for m in (*scanner.models, scanner.name)}:
            known = words & set(MAKERS.get(scanner.manufacturer, ()))
            return scanner.name if known or not words else None
    return None


def scanner_of(
    chosen: Scanner | str | Path | dict[str, Any] | None, header: Mapping[str, Any], needed: bool = True
) -> Scanner | None:
    """The chosen scanner, or the preset that a PET's header names (``manufacturer``, ``model`` of its metadata).

    Where neither is there: None, or :class:`InputError` if the scanner is ``needed``.
    """
    name = guess_preset(header.get("manufacturer"), header.get("model"))
    if chosen is None and name is None and not needed:
        return None
    if chosen is None and name is None:
        made_by = " ".join(str(header[key]) for key in ("manufacturer", "model") if header.get(key))
        raise InputError(
            f"No preset for {made_by}, which made the PET: state the FWHM of the image, or describe the scanner in a "
            "JSON file."
            if header.get("model")
            else f"Which scanner made the PET? {header_words(header)} names none: name the scanner, or state the FWHM "
            "of the image.",
            "scanner",
        )
    return Scanner.get(str(name) if chosen is None else chosen)


def contradiction(scanner: Scanner, header: Mapping[str, Any]) -> str:
    """A warning where a PET's header names another scanner or manufacturer than ``scanner``'s; else empty."""
    maker, model = (str(header.get(key) or "") for key in ("manufacturer", "model"))
    guess = guess_preset(maker, model)
    words = set(re.findall(r"[a-z]+", maker.lower()))
    makers = {name for name, known in MAKERS.items() if words & set(known)}
    if scanner.name == guess or (guess is None and (not makers or scanner.manufacturer in (*makers, ""))):
        return ""
    named = " ".join(filter(None, (maker, model)))
    return f"The PET's header names {named}, and the scanner chosen is {scanner.name}: check which one made the PET."


def _as_json(value: Any) -> str:
    """A value as its file has it; texts in single quotes."""
    return repr(value) if isinstance(value, str) else json.dumps(value, default=repr)


def _letters(text: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (text or "").lower())
