"""Validation during training: loss by noise level, and reconstructions of simulated scans, always the same ones.

The scans are a few middle slices of validation patients, as measured and with sharp uptake painted
into their CTs, or of phantoms that no training draws, where a run has no patients at all. Every random number
is fixed, so that runs and steps compare.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...cohort.cases import Case
from ...cohort.cts import CT, split_cts
from ...cohort.manifest import read_split, split_cases
from ...errors import InputError
from ...phantoms.painting import paint
from ...phantoms.torso import torso_phantom
from ...physics.model import ForwardModel
from ...physics.simulation import simulate
from ...prior import Denoiser, Prior
from ...problem import Problem
from ...progress import Reporter
from ...sampling import Sampler
from ...volume import Volume
from ..evaluation.metrics import psnr
from ..subjects import CT_SLICE_MM, case_anatomy, ct_anatomy
from .config import TrainingConfig

SIGMAS = (0.1, 0.2, 0.4, 0.8, 1.6)  # noise over signal at which the loss is taken
SHOWN_SIGMAS = (0.2, 0.8)  # at which a sheet shows the one-step estimate
PATIENTS, SLICES, MARGIN = 4, 4, 8  # at most; MARGIN slices on either side are painted too, for the anatomy
SEED = 60_000  # of phantoms, paintings, counts and noise
BODY_HU = -900.0  # the loss is taken where the CT shows more than air


@dataclass(frozen=True)
class Scan:
    """One validation volume and its simulated acquisition at the standard setting.

    ``pet`` (SUV, the truth) and ``ct`` (HU) are ``(S, J, I)``, ``counts`` ``(S, views, bins)``; ``lr`` is the
    LR image on the truth's grid. ``kind``: ``real``, ``painted``, ``torso`` or ``phantom``.
    """

    name: str
    kind: str
    pet: Tensor
    ct: Tensor
    lr: np.ndarray
    model: ForwardModel
    counts: Tensor


@dataclass(frozen=True)
class SheetRow:
    """A scan's middle slice for the sheet: ``(J, I)`` images, PET in SUV and CT in HU, and PSNRs in dB."""

    name: str
    ct: np.ndarray
    truth: np.ndarray
    lr: np.ndarray
    draft: np.ndarray
    denoised: dict[float, np.ndarray]  # by noise level
    psnr_lr: float
    psnr_draft: float


@dataclass(frozen=True)
class Outcome:
    """``figures``: ``loss``, ``loss_0.1`` ... by noise level, ``psnr_real`` ... by kind; and the images of a sheet."""

    figures: dict[str, float]
    shown: list[SheetRow]

    @property
    def summary(self) -> str:
        """The figures that a progress line has room for."""
        quality = [f"{k[5:]} {v:.2f} dB" for k, v in self.figures.items() if k.startswith("psnr_")]
        return f"validation {', '.join([format(self.figures['loss'], '.4f'), *quality])}"


def validation_scans(
    data: str | Path | None,
    split: str | Path | None,
    config: TrainingConfig,
    device: torch.device,
    report: Reporter,
    until: float = math.inf,
    cts: str | Path | None = None,
) -> tuple[list[Scan], str]:
    """The scans that a run is validated on, and a note: which they are, or why there are none.

    ``cts`` is the folder of torso CTs, of which the ``validation`` ones are painted. At the time ``until``
    (:func:`time.monotonic`) no further scans are made.
    """
    make = partial(_scan, pixel_mm=config.pixel_mm, device=device)
    if time.monotonic() > until:
        return [], "no validation: the time does not suffice"
    if data is None:
        return [make(f"torso {n + 1}", "phantom", *_torso(SEED + n, config.pixel_mm)) for n in range(2)], "2 torsos"
    try:
        named = read_split(data, "validation", split)
    except InputError:
        named = []
    if not named:
        return [], "no validation: the split names no 'validation' patients"
    of_patient: dict[str, Case] = {}
    for case in split_cases(data, "validation", split):
        of_patient.setdefault(case.patient or case.name, case)
    scans = []
    cases = list(of_patient.values())[:PATIENTS]
    for n, case in enumerate(cases):
        if time.monotonic() > until:
            break
        report("validation patients", n / len(cases), case.name)
        pet, ct = case.pet(), case.ct()
        scans.append(make(case.name, "real", _middle(pet, SLICES), ct))
        scans.append(make(case.name, "painted", *_painted(case, pet, config.pixel_mm, SEED + n)))
    patients = len(scans) // 2
    for n, kept in enumerate([] if cts is None else split_cts(cts, "validation", split)):
        if time.monotonic() > until:
            break
        report("validation CTs", n, kept.name)
        scans.append(make(kept.name, "torso", *_painted_ct(kept, config.pixel_mm, SEED + 500 + n)))
    more = f" and {len(scans) - 2 * patients} torso CTs" if len(scans) > 2 * patients else ""
    return scans, f"{patients} validation patients{more}"


def validate(prior: Prior, scans: list[Scan], show: Callable[[float], None] = lambda done: None) -> Outcome:
    """Loss and reconstructions of a prior on the scans; ``show`` receives the share done (0 to 1)."""
    losses: dict[float, list[float]] = {sigma: [] for sigma in SIGMAS}
    qualities: dict[str, list[float]] = {}
    shown: list[SheetRow] = []
    profile = Sampler.get("draft")
    for number, scan in enumerate(scans):
        show(number / len(scans))
        denoiser, estimates = Denoiser(prior, scan.ct, scan.model.spacing[2]), {}
        for sigma in SIGMAS:
            loss, estimates[sigma] = _denoise(denoiser, scan, sigma, SEED + number)
            losses[sigma].append(loss)
        draft = profile.sample(denoiser, scan.model, scan.counts, profile, SEED).cpu().numpy()
        truth = scan.pet.cpu().numpy()
        quality = psnr(truth, draft)
        qualities.setdefault(scan.kind, []).append(quality)
        k = len(truth) // 2
        denoised = {sigma: estimates[sigma][k] for sigma in SHOWN_SIGMAS}
        images = (scan.ct[k].cpu().numpy(), truth[k], scan.lr[k], draft[k])
        shown.append(SheetRow(f"{scan.name}, {scan.kind}", *images, denoised, psnr(truth, scan.lr), quality))
    by_level = {f"loss_{sigma:g}": float(np.mean(values)) for sigma, values in losses.items()}
    by_kind = {f"psnr_{kind}": float(np.mean(values)) for kind, values in qualities.items()}
    return Outcome({"loss": float(np.mean(list(by_level.values()))), **by_level, **by_kind}, shown)


def _denoise(denoiser: Denoiser, scan: Scan, sigma: float, seed: int) -> tuple[float, np.ndarray]:
    """The loss of v outside air, and the one-step estimate (7) in SUV, at one noise level."""
    schedule, transform = denoiser.prior.schedule, denoiser.prior.transform
    t = schedule.step_at(sigma)
    drawn = denoiser.noise(torch.Generator().manual_seed(seed))
    x_t = schedule.noisy(denoiser.pad(transform.to_model(scan.pet)), drawn, t)
    eps = denoiser.epsilon(x_t, t)
    error = ((eps - drawn) / schedule.signal_noise(t)[0]).square()[:, 0]  # of v, as eps = signal v + noise x_t
    activity = transform.to_activity(denoiser.crop(schedule.tweedie(x_t, eps, t))).clamp_min(0)
    return float(error[denoiser.padded_ct > BODY_HU].mean()), activity.cpu().numpy()


def _scan(name: str, kind: str, pet: Volume, ct: Volume, pixel_mm: float, device: torch.device) -> Scan:
    made = simulate(pet, None, "standard", spacing_mm=pixel_mm, seed=SEED, device=str(device))
    truth = made.truth
    model, counts, hu = Problem.make(made.measurement, truth, ct, device).part(0, len(truth.array))
    lr = made.lr.resample_to(truth, "linear").array
    return Scan(name, kind, torch.from_numpy(truth.array).to(device), hu, lr, model, counts)


def _torso(seed: int, pixel_mm: float) -> tuple[Volume, Volume]:
    size = [2 * round(mm / pixel_mm / 2) for mm in (256, 352)]
    made = torso_phantom(seed, (SLICES, *size), (pixel_mm, pixel_mm, 3.0))  # type: ignore[arg-type]
    return made.pet, made.ct


def _painted(case: Case, pet: Volume, pixel_mm: float, seed: int) -> tuple[Volume, Volume]:
    made = paint(case_anatomy(case, _middle(pet, SLICES + 2 * MARGIN), pixel_mm, seed), seed)
    return _middle(made.pet, SLICES), _middle(made.ct, SLICES)


def _painted_ct(ct: CT, pixel_mm: float, seed: int) -> tuple[Volume, Volume]:
    made = paint(ct_anatomy(ct.volume(), pixel_mm, CT_SLICE_MM, seed), seed)
    return _middle(made.pet, SLICES), _middle(made.ct, SLICES)


def _middle(volume: Volume, slices: int) -> Volume:
    first = max(0, (volume.shape[0] - slices) // 2)
    return volume.slices(first, first + slices)
