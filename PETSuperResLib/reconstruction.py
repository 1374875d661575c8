"""Volume in, volume out: the one call that the shell, Python and Slicer use.

A :class:`~.request.Request` becomes :class:`~.inputs.Inputs` (read and checked), these a :class:`~.problem.Problem`
(counts, CT and model on one grid), which a sampler solves slab by slab; the outcome is a
:class:`~.results.Result`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .device import pick_device
from .grid import CONTEXT_MM, box_of
from .inputs import Inputs
from .lesions.measures import INPUT, ON_GRID, measure_on_grid
from .lesions.segments import cut_by
from .lesions.tables import wide_rows
from .physics.measurement import Measurement
from .prior import Prior
from .problem import Problem
from .progress import Callback, Reporter
from .remeasure import lesions_of_result
from .request import Request
from .results import Result as Result
from .sampling import Sampler
from .sampling.slabs import Slabs
from .scanner import Scanner
from .spread import Calibration, spread_of
from .support import support_of, with_ct_test, without_ct
from .version import NOTICE, __version__
from .volume import Volume

UNCALIBRATED = (
    "The spread of the samples (std) is calibrated for quality standard and the bundled prior alone: here it may be "
    "much narrower than the error."
)
UNITS = {"std": "SUVbw", "ct_effect": "SUVbw"}  # of the maps that are no sigma
LESIONS = 0.1  # of the work is what is recovered of lesions, as the time left is estimated
UNEXPLAINED = 4.0  # chi_square_hot from which the user is told: twice the noise, as chi-square is a mean square


def reconstruct(
    pet: Volume | str | Path,
    ct: Volume | str | Path,
    scanner: Scanner | str | Path | None = None,
    quality: Sampler | str = "standard",
    samples: int = 1,
    seed: int = 0,
    device: str = "auto",
    region: Sequence[float] | str | None = None,
    progress: Callback | None = None,
    **options: Any,
) -> Result:
    """Super-resolve a PET (SUVbw) with its CT (HU).

    Parameters
    ----------
    scanner : preset name, JSON file or :class:`Scanner`: the PSF and geometry of the LR image. It may be left out
        with a measurement, which holds its own, for a PET whose DICOM header names a scanner with a preset, and where
        ``fwhm`` states the image's resolution.
    quality : ``draft``, ``standard``, ``paper`` or a :class:`Sampler`.
    samples : above 1, that many posterior samples are drawn besides the estimate.
    region : (x0, x1, y0, y1, z0, z1) in LPS mm; only this box (with a margin) is reconstructed. ``"segments"`` is the
        box around the segmentation.
    progress : called with events, the first of which have the warnings that the inputs alone give, as soon as each is
        known; may raise :class:`Cancelled`.
    options : the other fields of a :class:`Request`. ``prior``: a file or :class:`Prior` in place of the bundled one.
        ``measurement``: a sinogram to reconstruct from; without one, the PET itself is the measurement.
        ``fwhm``: the PET image's FWHM in mm, or ``post_filter``, its filter's FWHM in mm, and ``psf_modelled``, in
        place of what the DICOM header says of them.
        ``spacing``: in-plane voxel size of the result in mm (the prior's, 2 mm, unless given). ``noise``: of the PET
        in per cent, measured in the image unless given. ``segmentation``: the lesions, to measure. ``evidence``: also
        what supports the hot blobs of the result (:mod:`.support`), which takes a second run.

    Raises the library's errors for anything that cannot be reconstructed.
    """
    request = Request(pet, ct, scanner, quality, samples, seed, device, region, **options)  # type: ignore[arg-type]
    return run(Inputs.of(request, progress), progress)


def run(inputs: Inputs, progress: Callback | None = None, prior: Prior | None = None) -> Result:
    """Reconstruct what was read; ``prior`` is the request's, where it is loaded already.

    The warnings of ``inputs`` are in the report; they were told while these were read (:meth:`.Inputs.of`).
    """
    began, report, request = time.monotonic(), Reporter(progress), inputs.request
    sampler = Sampler.get(request.quality, "image" if inputs.measurement is None else "sinogram")
    device = pick_device(request.device)
    report("loading the prior", 0.0)
    if prior is None:
        prior = request.prior if isinstance(request.prior, Prior) else Prior.load(request.prior, device)
    spacing = inputs.spacing(prior.pixel_mm)
    problem = inputs.problem(spacing, device)
    slabs = Slabs(problem, prior)
    drawn = request.samples if request.samples > 1 else 0
    runs = 1 + drawn + request.evidence
    quality = request.quality if isinstance(request.quality, str) else ""  # changed values are not calibrated
    scale = Calibration.bundled().factor(problem.measurement.kind, quality, prior.sha256) if drawn else None
    covered = None if inputs.region is None else [round(edge, 2) for edge in box_of(problem.grid)]
    known = [*about_region(inputs.region, covered), *cut_by(problem.grid, inputs.segments, inputs.pet)]
    known += [*problem.warnings, *prior.warnings()]
    known += _about_grid(inputs, spacing, prior)
    known += [UNCALIBRATED] if drawn and scale is None else []
    report("preparing", 0.02, warnings=known)
    report.start_clock(0.02)
    work = report.part(0.0, 1 - LESIONS if inputs.segments else 1.0)
    estimate, factor = solve(slabs, sampler, request.seed, work.part(0.02, 1 / runs))
    expected = slabs.problem.expected(estimate)
    samples = []
    for n in range(1, 1 + drawn):
        part = work.part(n / runs, (n + 1) / runs)
        samples.append(factor * draw(slabs, sampler, expected, request.seed + n, part))
    if samples and sampler.drawing == sampler:  # the mean of samples of a profile that samples
        estimate = np.mean(samples, axis=0)
        expected = slabs.problem.expected(estimate)
    grid, problem = problem.grid, slabs.problem
    support, blind = None, None
    if request.evidence:
        other, before = Slabs(without_ct(problem), slabs.prior), time.monotonic()
        blind, _ = solve(other, sampler, request.seed, work.part((runs - 1) / runs, 1))
        support = support_of(problem, estimate, expected, blind)
        support_seconds = round(time.monotonic() - before, 2)
    volume = grid.with_array(estimate, "SUVbw")
    lesions: dict[str, Sequence[Any]] = {}
    if inputs.segments:
        measured = inputs.segments, request.threshold
        after = lesions_of_result(problem.data_of(estimate), volume, *measured, report.part(1 - LESIONS, 1.0))
        if blind is not None:
            after = with_ct_test(after, volume, inputs.segments, blind)
        on_grid = measure_on_grid(inputs.pet, volume, *measured)
        lesions = {INPUT: inputs.lesions, ON_GRID: on_grid, f"ours-{sampler.name}": after}
    report("done", 1.0)
    warnings = [*inputs.warnings, *known]
    stored = inputs.as_given(volume)
    residual = problem.residual(expected)
    if (square := residual.get("chi_square_hot", 0.0)) > UNEXPLAINED:
        warnings.append(
            f"In hot regions (from SUV {residual['hot_from_suv']:.2g} on) the PET differs from what the result gives "
            f"by {math.sqrt(square):.1f} times its noise (root mean square): its FWHM is probably smaller, or its "
            "noise higher, than taken. State a smaller filter or FWHM, or more noise."
        )
    warnings += support.warnings() if support else []
    facts = {
        "notice": NOTICE,
        "version": __version__,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "scanner": inputs.scanner.to_dict() if inputs.scanner else None,
        "scanner_from": inputs.scanner_from,
        "resolution": inputs.resolution.to_dict() if inputs.resolution else None,
        "sampler": sampler.to_dict(),
        "prior": {"sha256": prior.sha256, **prior.info},
        "samples": request.samples,
        "seed": request.seed,
        "device": str(device),
        "torch": torch.__version__,
        "measurement": problem.measurement.kind,
        **problem.facts,
        "conservation_factor": factor,
        "residual": residual,
        **({"evidence": support.report() | {"seconds": support_seconds}} if support else {}),
        **({"std_factor": scale} if samples else {}),
        "grid": {"shape": list(stored.shape), "spacing_mm": list(stored.spacing)},
        "region": None if inputs.region is None else list(inputs.region),
        "region_covered": covered,
        "warnings": warnings,
        "threshold": request.threshold,
        "lesions": wide_rows(pet=inputs.lesions, pet_on_grid=on_grid, sr=after) if inputs.segments else [],
        "seconds": round(time.monotonic() - began, 2),
        **inputs.provenance,
    }
    arrays = {"std": (scale or 1.0) * spread_of(samples, estimate, grid.spacing)} if samples else {}
    arrays |= support.maps if support else {}
    maps = {name: inputs.as_given(grid.with_array(x, UNITS.get(name, ""))) for name, x in arrays.items()}
    drawn_volumes = tuple(inputs.as_given(grid.with_array(s, "SUVbw")) for s in samples)
    return Result(stored, drawn_volumes, maps, lesions, facts)


def about_region(region: Sequence[float] | None, covered: Sequence[float] | None) -> list[str]:
    """The note that a result ``covered`` more than the ``region``, both boxes in LPS mm; none without a region."""
    if region is None or covered is None:
        return []
    given, asked = (" x ".join(f"{box[n + 1] - box[n]:.4g}" for n in (0, 2, 4)) for box in (covered, region))
    return [
        f"The result covers {given} mm for a region of {asked} mm: {CONTEXT_MM:g} mm around it belong to it, in whole "
        "voxels and as far as the PET reaches, as the values in the region depend on what surrounds it."
    ]


def _about_grid(inputs: Inputs, spacing: float, prior: Prior) -> list[str]:
    """Warnings about the pixels of the result."""
    warnings = []
    if abs(spacing - prior.pixel_mm) > 0.25 * prior.pixel_mm:
        warnings.append(f"The prior was trained at {prior.pixel_mm:g} mm; {spacing:.3g} mm is another scale.")
    if spacing > (finest := min(inputs.pet.spacing[:2])) + 1e-3:
        warnings.append(f"The result's pixels of {spacing:.3g} mm are coarser than the PET's of {finest:.3g} mm.")
    return warnings


def solve(slabs: Slabs, sampler: Sampler, seed: int = 0, report: Reporter | None = None) -> tuple[np.ndarray, float]:
    """An estimate ``(K, J, I)`` in SUV whose expected trues are the measured ones, and the factor that made them so."""
    estimate = slabs.run(sampler, seed, report)
    factor = slabs.problem.conservation(estimate)
    return (estimate * np.float32(factor)).astype(np.float32, copy=False), factor


def draw(slabs: Slabs, sampler: Sampler, expected: Tensor, seed: int, report: Reporter | None = None) -> np.ndarray:
    """One posterior sample ``(K, J, I)`` in SUV, its trues not conserved.

    Where the estimate is none itself, the sample is of data drawn anew about those ``expected`` of the estimate, so
    that samples differ by the noise of the measurement and by that of the prior.
    """
    if sampler.drawing != sampler:
        slabs = Slabs(slabs.problem.resampled(expected, seed), slabs.prior)
    return slabs.run(sampler.drawing, seed, report)


def sample_measurement(
    measurement: Measurement,
    grid: Volume,
    ct: Volume,
    prior: Prior,
    quality: Sampler | str = "standard",
    seed: int = 0,
    device: str = "auto",
) -> Volume:
    """The estimate of :func:`reconstruct` from a measurement, without its checks, for studies of wrong models.

    ``grid`` is the SR grid, ``ct`` any CT in HU; returns SUVbw on the grid, its trues conserved.
    """
    problem = Problem.make(measurement, grid, ct, pick_device(device))
    estimate, _ = solve(Slabs(problem, prior), Sampler.get(quality), seed)
    return grid.with_array(estimate, "SUVbw")
