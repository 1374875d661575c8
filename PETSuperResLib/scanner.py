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
from pathlib import Path
from typing import Any

from .errors import InputError, ScannerError

PRESET_FILE = Path(__file__).parent / "Resources" / "scanners.json"
SETTINGS = {"standard": "Paper standard", "ood": "Paper OOD"}  # Table 1 of the paper
MAKERS = {  # words in DICOM Manufacturer that mean a preset's manufacturer
    "Siemens": ("siemens", "cti", "cps"),
    "GE": ("ge", "general"),
    "Philips": ("philips", "adac"),
    "United Imaging": ("united", "uih"),
}


@dataclass(frozen=True)
class Scanner:
    """A scanner and acquisition setting.

    Lengths are mm. Radial bins and views are those of the measurement before rebinning; the model
    works on ``views / angular_rebinning`` views and ``radial_bins / radial_rebinning`` bins.
    """

    name: str
    fwhm_transaxial_mm: float  # Gaussian PSF in the slice
    fwhm_axial_mm: float = 0.0  # Gaussian PSF across slices; 0 models each slice alone
    kernel_scale: float = 1.0  # model FWHM / physical FWHM; below 1 avoids edge overshoot
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

    def __post_init__(self) -> None:
        for name in ("fwhm_transaxial_mm", "kernel_scale", "bin_size_mm", "dose_fraction", "trues_per_slice"):
            if not 0 < getattr(self, name) < 1e9:
                raise ScannerError(f"Scanner '{self.name}': {name} must be above 0, not {getattr(self, name)}.")
        for name in ("fwhm_axial_mm", "background_fraction", "radial_bins"):
            if not 0 <= getattr(self, name) < 1e6:
                raise ScannerError(f"Scanner '{self.name}': {name} must be 0 or more, not {getattr(self, name)}.")
        for name in ("views", "angular_rebinning", "radial_rebinning"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ScannerError(f"Scanner '{self.name}': {name} must be a whole number from 1, not {value}.")
        if self.views % self.angular_rebinning:
            raise ScannerError(
                f"Scanner '{self.name}': {self.views} views cannot be summed in groups of {self.angular_rebinning}."
            )
        object.__setattr__(self, "models", tuple(self.models))
        object.__setattr__(self, "unverified", tuple(self.unverified))

    @property
    def model_fwhm_mm(self) -> tuple[float, float]:
        """(transaxial, axial) FWHM in mm of the kernel in the model: physical FWHM x kernel scale."""
        return self.fwhm_transaxial_mm * self.kernel_scale, self.fwhm_axial_mm * self.kernel_scale

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and provenance."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scanner:
        """Inverse of :meth:`to_dict`; raises :class:`ScannerError` naming any unknown or wrong field."""
        if not isinstance(values, dict) or "name" not in values:
            raise ScannerError("A scanner description must be a JSON object with at least name and fwhm_transaxial_mm.")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ScannerError(
                f"Scanner '{values['name']}': unknown field {unknown[0]}: a preset shows the fields.", "scanner"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ScannerError(f"Scanner '{values['name']}': {error}: a preset shows the fields.", "scanner") from error

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
        raise ScannerError(f"Preset file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ScannerError(f"Preset file {path} is not valid JSON: {error}.") from error
    scanners = [Scanner.from_dict(v) for v in (content if isinstance(content, list) else [content])]
    return {s.name: s for s in scanners}


@cache
def presets() -> dict[str, Scanner]:
    """The bundled presets by name."""
    return load_presets()


def _find(name: str) -> Scanner:
    if name.lower().endswith(".json"):
        own = load_presets(name)
        if len(own) != 1:
            raise ScannerError(f"{name} holds {len(own)} scanners: keep the one to use in a file of its own.")
        return next(iter(own.values()))
    known = {n.lower(): s for n, s in presets().items()}
    if name.lower() not in known:
        near = _suggestion(name, presets()) or "give the name of a preset, or a JSON file."
        raise ScannerError(f"Unknown scanner '{name}': {near}", "scanner")
    return known[name.lower()]


def _suggestion(name: str, names: Iterable[str]) -> str:
    """``did you mean ...?`` with the names that contain this one, or the nearest by spelling; else empty."""
    known = {_letters(n): n for n in names}
    near = [n for letters, n in known.items() if _letters(name) in letters][:4] if _letters(name) else []
    near = near or [known[letters] for letters in get_close_matches(_letters(name), known, 1, 0.5)]
    return f"did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


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
            else "Which scanner made the PET? Its header names none: name the scanner, or state the FWHM of the image.",
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


def _letters(text: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (text or "").lower())
