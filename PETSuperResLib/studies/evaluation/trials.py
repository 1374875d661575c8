"""One simulated scan and the methods on it: scores, lesions and a slice of each, kept so that a run can go on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...errors import PETSuperResError
from ...files import atomic_path, hash_of
from ...lesions.measures import lesion_rows, measure_lesions
from ...physics.protocols import Protocol
from ...physics.simulation import Simulation, simulate
from ...prior import Prior
from ...prior.denoiser import AIR_HU
from ...volume import Volume
from ..methods import METHODS, Method, MethodCase
from ..subjects import Subject
from .image_input import effective_fwhm
from .metrics import body_mask, noise_percent, uniform_part, whole_field, within_body
from .tables import Condition


@dataclass(frozen=True)
class Trial:
    """A subject scanned at a setting or by a protocol; all methods get the same counts, or the same image of them."""

    subject: Subject
    condition: Condition
    seed: int = 0
    device: str = "auto"
    protocol: Protocol | None = None

    @property
    def name(self) -> str:
        """Of the files that are kept."""
        return self.condition.case(self.subject.name)

    def scan(self, pet: Volume, ct: Volume) -> Simulation:
        """The simulated scan."""
        condition = self.condition
        setting = "standard" if self.protocol else condition.setting
        return simulate(pet, ct, setting, condition.counts, seed=self.seed, device=self.device, protocol=self.protocol)

    def key(self, method: str, prior: Prior, fit: dict[str, Any]) -> str:
        """A hash of what decides a method's result on this scan; ``fit``: how those that learn were trained."""
        decides = {
            "subject": self.subject.decides,
            "scan": [*asdict(self.condition).values(), self.seed],
            "protocol": self.protocol.to_dict() if self.protocol else None,
            "method": method,
            "prior": prior.sha256,
            "fit": fit if METHODS[method].fit is not None else None,
        }
        return hash_of(decides)


@dataclass
class Results:
    """What methods gave on a trial, by name: a key, metrics, lesions and a slice, or why a method refused the case.

    ``slices`` are ``(J, I)`` float32 of the truth's hottest axial slice: "CT" in HU, "truth" and every method in
    SUVbw; ``lesion`` is where the contours lie in it and ``spacing`` its pixels' (row, column) in mm.
    """

    keys: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    lesions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    slices: dict[str, np.ndarray] = field(default_factory=dict)
    lesion: np.ndarray | None = None
    spacing: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def read(cls, folder: Path, name: str) -> Results:
        """What an earlier run kept; nothing if there is none, or if it is damaged."""
        try:
            with safe_open(folder / f"{name}.safetensors", framework="np") as file:
                slices = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                kept = json.loads(file.metadata()["results"])
            return cls(**kept, slices=slices, lesion=slices.pop("lesion"))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, folder: Path, name: str) -> None:
        """Keep it."""
        arrays = {"lesion": self.lesion, **self.slices}
        kept = {name: getattr(self, name) for name in ("keys", "metrics", "lesions", "refused", "spacing")}
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary, {"results": json.dumps(kept)})

    def of(self, methods: list[str]) -> dict[str, np.ndarray]:
        """The slices of a figure: CT, truth and these methods, as far as they are kept."""
        return {name: self.slices[name] for name in ("CT", "truth", *methods) if name in self.slices}


def run_trial(trial: Trial, methods: dict[str, Method], prior: Prior, fit: dict[str, Any], folder: Path) -> Results:
    """Run the methods that ``folder`` has no result of, one after the other, and keep each as it is done."""
    results = Results.read(folder, trial.name)
    keys = {name: trial.key(name, prior, fit) for name in methods}
    missing = [name for name in methods if results.keys.get(name) != keys[name]]
    if not missing:
        return results
    pet, ct, mask = trial.subject.load()
    simulation, condition = trial.scan(pet, ct), trial.condition
    case = MethodCase(simulation, ct, prior, trial.seed, trial.device, condition.input, mask)
    if condition.told == "truth":
        case = replace(case, stated={"fwhm": effective_fwhm(simulation)})
    hot = _surroundings(results, simulation, ct, mask)
    body = body_mask(ct.resample_to(simulation.truth, "linear", AIR_HU))
    uniform = uniform_part(simulation.truth, body)
    place = {name: getattr(condition, name) for name in ("counts", "reference", "input", "told")}
    for name in missing:
        began = time.monotonic()
        results.keys[name] = keys[name]
        for kept in (results.metrics, results.lesions, results.refused, results.slices):
            kept.pop(name, None)
        try:
            volume = methods[name].restore(case)
        except PETSuperResError as error:  # as a user would be refused
            results.refused[name] = str(error)
            results.write(folder, trial.name)
            continue
        seconds = time.monotonic() - began
        scores = whole_field(simulation.truth, volume) | within_body(simulation.truth, volume, body)
        scores |= {"seconds": round(seconds, 2), "noise_percent": noise_percent(simulation.truth, volume, uniform)}
        scores |= {"fwhm_mm": case.resolution.fwhm_mm[0]} if condition.input == "image" else {}
        facts = {"patient": trial.subject.name, "setting": condition.setting, "method": name}
        results.metrics[name] = facts | place | scores
        results.lesions[name] = []
        if mask is not None:
            found = measure_lesions(volume, mask, simulation.truth, skip_outside=True)
            rows = lesion_rows(found, trial.subject.name, condition.setting, name)
            results.lesions[name] = [row | place for row in rows]
        results.slices[name] = volume.array[hot].astype(np.float32)
        results.write(folder, trial.name)
    return results


def _surroundings(results: Results, simulation: Simulation, ct: Volume, mask: Volume | None) -> int:
    """Put CT, truth and contours of the hottest slice into the results; returns the slice's number."""
    truth = simulation.truth
    hot = int(np.argmax(truth.array.max((1, 2))))
    results.slices |= {"CT": ct.resample_to(truth, "linear", AIR_HU).array[hot], "truth": truth.array[hot]}
    inside = None if mask is None else mask.resample_to(truth, "nearest").array[hot] > 0
    results.lesion = np.zeros(truth.shape[1:], bool) if inside is None else inside
    results.spacing = (truth.spacing[1], truth.spacing[0])
    return hot
