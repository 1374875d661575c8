"""Clinical protocols: how a hospital makes its image from a scan, and what it writes into the header.

The bundled ones are in ``Resources/protocols.json``, each with its source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..scanner import Scanner
from ..widths import FWHM_PER_SIGMA

PROTOCOL_FILE = Path(__file__).parents[1] / "Resources" / "protocols.json"
RECONSTRUCTIONS = ("osem", "psf-osem", "penalised")
LIGHT_MM_PER_PS = 0.299792458
TOMITANI = math.sqrt(2 * math.log(2) / math.pi)


@dataclass(frozen=True)
class Protocol:
    """One hospital's acquisition and reconstruction.

    Parameters
    ----------
    scanner : name of the preset: its physical FWHM and geometry.
    manufacturer, model : as the vendor writes them into DICOM.
    reconstruction : ``osem``; ``psf-osem``, with the PSF in the model; ``penalised``, with the PSF and the relative
        difference (gamma 2) as penalty, the objective of Q.Clear.
    iterations, subsets : their product is the number of EM updates; of ``penalised`` the updates after its start,
        whatever the timing, as it converges.
    beta : weight of the penalty, 1/SUV, in this library's scale (:class:`~.relative_difference.RelativeDifference`),
        not the vendor's.
    voxel_mm, slice_mm : size of the voxels in the slice, and distance of the slices.
    filter_fwhm_mm : Gaussian post-filter, (transaxial, axial).
    tof_ps : timing resolution where the reconstruction uses time of flight, else None.
    kernel, method : ConvolutionKernel and ReconstructionMethod of the header, as the vendor writes them.
    anonymised : the header has lost its private attributes, in which GE has the filter.
    source : where all this comes from.
    """

    name: str
    scanner: str
    manufacturer: str
    model: str
    reconstruction: str
    iterations: int
    subsets: int
    voxel_mm: float
    slice_mm: float
    filter_fwhm_mm: tuple[float, float] = (0.0, 0.0)
    beta: float = 0.0
    tof_ps: float | None = None
    kernel: str = ""
    method: str = ""
    anonymised: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if self.reconstruction not in RECONSTRUCTIONS:
            raise InputError(
                f"Protocol '{self.name}': reconstruction must be {', '.join(RECONSTRUCTIONS[:-1])} or "
                f"{RECONSTRUCTIONS[-1]}, not '{self.reconstruction}'."
            )
        for name in ("iterations", "subsets"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"Protocol '{self.name}': {name} must be a whole number from 1, not {value}.")
        for name in ("voxel_mm", "slice_mm"):
            if not _within(getattr(self, name), 0.5, 20):
                raise InputError(f"Protocol '{self.name}': {name} must be 0.5 to 20 mm, not {getattr(self, name)}.")
        widths = self.filter_fwhm_mm
        if not isinstance(widths, (list, tuple)) or len(widths) != 2 or not all(_within(v, 0, 20) for v in widths):
            raise InputError(f"Protocol '{self.name}': filter_fwhm_mm must be two lengths of 0 to 20 mm.")
        object.__setattr__(self, "filter_fwhm_mm", (float(widths[0]), float(widths[1])))
        if self.tof_ps is not None and not _within(self.tof_ps, 10, 2000):
            raise InputError(f"Protocol '{self.name}': tof_ps must be 10 to 2000 ps or null, not {self.tof_ps}.")
        if not _within(self.beta, 0, 1e6):
            raise InputError(f"Protocol '{self.name}': beta must be a number from 0, not {self.beta}.")
        if (self.reconstruction == "penalised") != (self.beta > 0):
            raise InputError(f"Protocol '{self.name}': beta belongs to the penalised reconstruction, and only there.")

    def tof_gain(self, diameter_mm: float) -> float:
        """What time of flight is worth in a body of a diameter, at least 1: ``sqrt(2 ln 2 / pi) D / (c dt / 2)``.

        For the centre of a uniform disc (Tomitani, IEEE TNS 1981, 28:4582). A Gaussian of timing spreads an event over
        ``sqrt(pi / (2 ln 2)) c dt / 2`` of its line in place of all D. The ratio is that of the variances, so one
        count with time of flight is worth so many without; and that of the high frequencies' eigenvalues in an EM
        update, so one update with time of flight is worth so many without.
        """
        return 1.0 if self.tof_ps is None else max(1.0, TOMITANI * diameter_mm / (LIGHT_MM_PER_PS * self.tof_ps / 2))

    def updates(self, diameter_mm: float) -> int:
        """EM updates without time of flight that stand for the iterations and subsets in a body of a diameter."""
        return round(self.iterations * self.subsets * self.tof_gain(diameter_mm))

    @property
    def header(self) -> dict[str, str | float]:
        """What the image's header says, under the names that :func:`~PETSuperResLib.dicom.read.read_series` uses.

        GE's private attributes have the width of the filter in the slice and r of the weights 1:r:1 over three slices,
        here from the variance 2 d^2 / (r + 2) of these weights at slices of distance d.
        """
        said: dict[str, str | float] = {
            "manufacturer": self.manufacturer,
            "model": self.model,
            "reconstruction_method": self.method,
            "convolution_kernel": self.kernel,
        }
        across, along = self.filter_fwhm_mm
        if self.manufacturer.startswith("GE") and across > 0 and not self.anonymised:
            said["post_filter_mm"] = across
            if along > 0:
                said["axial_filter_ratio"] = round(2 * (FWHM_PER_SIGMA * self.slice_mm / along) ** 2 - 2, 1)
        return {name: value for name, value in said.items() if value != ""}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and reports."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Protocol:
        """A protocol from plain values; raises :class:`InputError` naming any unknown, wrong or missing field."""
        if not isinstance(values, dict) or "name" not in values:
            raise InputError("A protocol must be a JSON object with name, scanner, reconstruction and so on.")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise InputError(f"Protocol '{values['name']}': unknown field {unknown[0]}.", "protocol")
        try:
            protocol = cls(**values)
        except TypeError as error:
            raise InputError(f"Protocol '{values['name']}': {error}.", "protocol") from error
        Scanner.get(protocol.scanner)
        return protocol

    @classmethod
    def get(cls, protocol: Protocol | str) -> Protocol:
        """A protocol by name (case does not matter), from a JSON file of one, or as given."""
        if isinstance(protocol, Protocol):
            return protocol
        if protocol.lower().endswith(".json"):
            found = load_protocols(protocol)
            if len(found) != 1:
                raise InputError(f"{protocol} holds {len(found)} protocols: keep one in a file of its own.", "protocol")
            return next(iter(found.values()))
        known = {name.lower(): p for name, p in protocols().items()}
        if protocol.lower() not in known:
            near = get_close_matches(protocol.lower(), known, 1, 0.4)
            advice = f"did you mean '{known[near[0]].name}'?" if near else f"use one of {', '.join(protocols())}."
            raise InputError(f"Unknown protocol '{protocol}': {advice}", "protocol")
        return known[protocol.lower()]


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and low <= value <= high


def load_protocols(path: str | Path = PROTOCOL_FILE) -> dict[str, Protocol]:
    """Protocols of a JSON file (a list of objects, or one object) by name, in the file's order."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Protocol file {path} cannot be read: {error.strerror}.", "protocol") from error
    except ValueError as error:
        raise InputError(f"Protocol file {path} is not valid JSON: {error}.", "protocol") from error
    found = [Protocol.from_dict(v) for v in (content if isinstance(content, list) else [content])]
    return {p.name: p for p in found}


def several(chosen: Iterable[Protocol | str]) -> tuple[Protocol, ...]:
    """Protocols as :meth:`Protocol.get` takes them, each once; raises :class:`InputError` for two of one name."""
    found: dict[str, Protocol] = {}
    for protocol in map(Protocol.get, chosen):
        if found.setdefault(protocol.name, protocol) != protocol:
            raise InputError(
                f"Two protocols have the name '{protocol.name}': give one of them another, by which their rows differ.",
                "protocol",
            )
    return tuple(found.values())


@cache
def protocols() -> dict[str, Protocol]:
    """The bundled protocols by name."""
    return load_protocols()
