"""Volume in, volume out: the one call that the shell, Python and Slicer use."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checks import check_ct, check_measurement, check_pair
from .device import pick_device
from .errors import CheckpointError, InputError
from .grid import crop_to_region, image_grid
from .physics.image_model import effective_counts, pseudo_measurement
from .physics.measurement import Measurement
from .physics.model import scanner_projector
from .physics.projector import ParallelProjector
from .prior import Prior
from .problem import Problem
from .progress import Callback, Reporter
from .sampling import Sampler
from .sampling.slabs import SLAB, Slabs
from .scanner import Scanner, scanner_of
from .suv.volumes import check_suv
from .version import __version__
from .volume import Volume

NOTICE = "Research use only: not for diagnosis or treatment."


@dataclass(frozen=True)
class Result:
    """What a reconstruction gives.

    ``volume``: the estimate (SUVbw). ``samples``: posterior samples, if more than one was asked for, and
    ``std`` their voxel-wise standard deviation. ``report``: provenance and checks, JSON-ready.
    """

    volume: Volume
    samples: tuple[Volume, ...] = ()
    std: Volume | None = None
    report: dict[str, Any] = field(default_factory=dict)


def reconstruct(
    pet: Volume,
    ct: Volume,
    scanner: Scanner | str | Path | None = None,
    quality: Sampler | str = "standard",
    samples: int = 1,
    seed: int = 0,
    device: str = "auto",
    region: Sequence[float] | None = None,
    progress: Callback | None = None,
    prior: Prior | str | Path | None = None,
    measurement: Measurement | None = None,
    spacing: float | None = None,
    trues_per_slice: float | None = None,
) -> Result:
    """Super-resolve a PET (SUVbw) with its CT (HU).

    Parameters
    ----------
    scanner : preset name, JSON file or :class:`Scanner`: the PSF and geometry of the LR image. It may be left out
        with a measurement, which holds its own, and for a PET whose DICOM header names a scanner with a preset;
        otherwise it must be named.
    quality : ``draft``, ``standard``, ``paper`` or a :class:`Sampler`.
    samples : above 1, that many posterior samples are drawn besides the estimate.
    region : (x0, x1, y0, y1, z0, z1) in LPS mm; only this box (with a margin) is reconstructed.
    progress : called with events; may raise :class:`Cancelled`.
    measurement : a sinogram to reconstruct from; without one, a pseudo-measurement is made from the PET.
    spacing : in-plane voxel size of the result in mm (the prior's, 2 mm, unless given).
    trues_per_slice : effective counts of the PET image; unless given, the geometric mean of the scanner's nominal
        counts and an estimate from the image's noise, which the scanner's FWHM enters.

    Raises the library's errors for anything that cannot be reconstructed.
    """
    began = time.monotonic()
    report = Reporter(progress)
    if samples < 1:
        raise InputError(f"samples must be 1 or more, not {samples}.")
    for name, value in (("spacing", spacing), ("trues_per_slice", trues_per_slice)):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, not {value:g}.")
    if region is not None and measurement is not None:
        raise InputError("A sinogram holds whole slices, so a region cannot be taken from it: leave one of them out.")
    sampler, chosen = Sampler.get(quality), pick_device(device)
    chosen_scanner = None if scanner is None else Scanner.get(scanner)
    scanner = measurement.scanner if measurement is not None else scanner_of(chosen_scanner, pet.metadata)
    warnings = check_suv(pet)
    check_ct(ct)
    for volume, kind in ((pet, "PET"), (ct, "CT")):
        if min(volume.shape) < 2:
            raise InputError(
                f"{volume.metadata.get('file', f'The {kind}')} is a single slice: give the whole {kind} volume."
            )
    warnings += check_pair(pet, ct)
    report("loading the prior", 0.0)
    if not isinstance(prior, Prior):
        prior = Prior.load(prior, chosen)
    prior.to(chosen)
    if not all(torch.isfinite(p).all() for p in prior.network.parameters()):
        raise CheckpointError("The prior is damaged (weights that are not finite numbers): give another copy of it.")
    spacing = spacing or prior.pixel_mm
    if abs(spacing - prior.pixel_mm) > 0.25 * prior.pixel_mm:
        warnings.append(f"The prior was trained at {prior.pixel_mm:g} mm; at {spacing:g} mm it sees other sizes.")
    counts: dict[str, Any]
    if measurement is None:
        effective = effective_counts(pet, scanner, trues_per_slice)
        warnings += effective.warnings
        counts = {"trues_per_slice": round(effective.used), **effective.to_dict()}
        if "fwhm_transaxial_mm" in scanner.unverified:
            warnings.append(
                f"No source was found for the FWHM of {scanner.name}: {scanner.fwhm_transaxial_mm:g} mm is a working "
                "value, and it decides how much is sharpened."
            )
        source = crop_to_region(pet, region) if region is not None else pet
        grid = image_grid(source, spacing)
        image = source.resample_to(grid, "cubic")
        image = image.with_array(image.array.clip(0), "SUVbw")
        projector = scanner_projector(scanner, grid.shape[1:], grid.spacing[0], chosen)
        share = _activity_per_slice(source) / _activity_per_slice(pet)  # below 1 in a region
        measurement = pseudo_measurement(image, scanner, share * effective.used, chosen, projector)
    else:
        counts = {"trues_per_slice": round(measurement.trues_per_slice), "trues_per_slice_from": "the measurement"}
        grid = image_grid(measurement.grid, spacing)
        projector = measurement.model(grid, chosen).projector
        warnings += check_measurement(measurement, pet, ct, grid, projector)
    slabs = Slabs(Problem.make(measurement, grid, ct, chosen), prior)
    runs = 1 + (samples if samples > 1 else 0)
    report.start_clock(0.02)
    estimate = slabs.run(sampler, seed, report.part(0.02, 1 / runs))
    estimate, factor = conserve(estimate, measurement, grid, projector)
    drawn = []
    for n in range(runs - 1):
        noisy = replace(sampler, noise=1.0)
        drawn.append(factor * slabs.run(noisy, seed + 1 + n, report.part((1 + n) / runs, (2 + n) / runs)))
    if sampler.noise and drawn:  # the mean of samples of a profile that samples
        estimate = np.mean(drawn, axis=0)
    report("done", 1.0)
    volume = grid.with_array(estimate, "SUVbw")
    std = grid.with_array(np.std(drawn, axis=0, ddof=1), "SUVbw") if len(drawn) > 1 else None
    facts = {
        "notice": NOTICE,
        "version": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "scanner": scanner.to_dict(),
        "sampler": sampler.to_dict(),
        "prior": {"sha256": prior.sha256, **prior.info},
        "samples": samples,
        "seed": seed,
        "device": str(chosen),
        "torch": torch.__version__,
        "measurement": measurement.kind,
        **counts,
        "conservation_factor": factor,
        "residual": _residual(slabs.problem, estimate) if measurement.kind == "sinogram" else None,
        "grid": {"shape": list(grid.shape), "spacing_mm": list(grid.spacing)},
        "region": None if region is None else [float(v) for v in region],
        "warnings": warnings,
        "seconds": round(time.monotonic() - began, 2),
    }
    return Result(volume, tuple(grid.with_array(d, "SUVbw") for d in drawn), std, facts)


def sample_measurement(
    measurement: Measurement,
    grid: Volume,
    ct: Volume,
    prior: Prior,
    quality: Sampler | str = "standard",
    seed: int = 0,
    device: str = "auto",
) -> Volume:
    """The estimate of :func:`reconstruct` from a measurement, without its checks: for studies of what goes wrong.

    ``grid`` is the SR grid, ``ct`` any CT in HU; returns SUVbw on the grid, its trues conserved.
    """
    sampler, chosen = Sampler.get(quality), pick_device(device)
    problem = Problem.make(measurement, grid, ct, chosen)
    estimate, _ = conserve(Slabs(problem, prior).run(sampler, seed), measurement, grid, problem.projector)
    return grid.with_array(estimate, "SUVbw")


def _residual(problem: Problem, estimate: np.ndarray) -> dict[str, float]:
    """Chi-square per bin of the counts under the estimate: 1 when the fit is as good as Poisson noise allows."""
    model, y, _ = problem.part(0, len(estimate))
    mean = model.mean(torch.from_numpy(estimate).to(problem.device))
    return {"chi_square_per_bin": float(((y - mean) ** 2 / mean.clamp_min(1e-3)).mean())}


def _activity_per_slice(pet: Volume) -> float:
    return float(pet.array.clip(0).sum(dtype=np.float64)) / len(pet.array)


def conserve(
    estimate: np.ndarray, measurement: Measurement, grid: Volume, projector: ParallelProjector
) -> tuple[np.ndarray, float]:
    """Scale an estimate so that its expected trues are the measured ones; (scaled, factor)."""
    expected = measured = 0.0
    for first in range(0, len(estimate), SLAB):
        part = measurement.part(first, min(first + SLAB, len(estimate)))
        lines = projector.forward(torch.from_numpy(estimate[first : first + SLAB]).to(projector.device)).cpu()
        if part.attenuation is not None:
            lines *= part.attenuation
        expected += float(lines.sum(dtype=torch.float64)) * measurement.scale
        measured += float((part.counts - part.background).sum(dtype=torch.float64))
    factor = measured / expected if expected > 0 and measured > 0 else 1.0
    return (estimate * np.float32(factor)).astype(np.float32, copy=False), factor
