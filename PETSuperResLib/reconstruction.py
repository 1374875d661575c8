"""Volume in, volume out: the one call that the shell, Python and Slicer use."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from .device import pick_device
from .errors import CheckpointError, GeometryError, InputError
from .physics.measurement import Measurement
from .physics.model import scanner_projector
from .physics.projector import ParallelProjector
from .physics.pseudo import effective_trues, pseudo_measurement
from .physics.simulation import image_grid
from .prior import Prior
from .progress import Callback, Reporter
from .sampling import UNKNOWN_HU, Sampler, sample
from .scanner import Scanner
from .suv import check_suv
from .volume import Volume

SLAB = 64  # slices reconstructed together
MIN_COVERAGE = 0.5  # of the PET's activity that the CT must cover (its field of view is often the smaller one)
MIN_INSIDE = 0.85  # of the PET's activity that must lie inside the CT's body (0.98 or more in 31 matched cases)
MIN_OUTLINE = 0.7  # Dice of the bodies in PET and CT below which the user is warned (0.79 or more in them)
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
    scanner: Scanner | str | Path = "Siemens Biograph mCT",
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
    scanner : preset name, JSON file or :class:`Scanner`: the PSF and geometry of the LR image.
    quality : ``draft``, ``standard``, ``paper`` or a :class:`Sampler`.
    samples : above 1, that many posterior samples are drawn besides the estimate.
    region : (x0, x1, y0, y1, z0, z1) in LPS mm; only this box (with a margin) is reconstructed.
    progress : called with events; may raise :class:`Cancelled`.
    measurement : a sinogram to reconstruct from; without one, a pseudo-measurement is made from the PET.
    spacing : in-plane voxel size of the result in mm (the prior's, 2 mm, unless given).
    trues_per_slice : effective counts of the PET image (estimated from its noise unless given).

    Raises the library's errors for anything that cannot be reconstructed.
    """
    began = time.monotonic()
    report = Reporter(progress)
    if samples < 1:
        raise InputError(f"samples must be 1 or more, not {samples}.")
    for name, value in (("spacing", spacing), ("trues_per_slice", trues_per_slice)):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0, not {value:g}.")
    sampler, chosen = Sampler.get(quality), pick_device(device)
    scanner = measurement.scanner if measurement is not None else Scanner.get(scanner)
    warnings = check_suv(pet)
    check_ct(ct)
    for volume, kind in ((pet, "PET"), (ct, "CT")):
        if min(volume.shape) < 2:
            raise InputError(f"{_name(volume, kind)} is a single slice: give the whole {kind} volume.")
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
    counts_from = "the measurement"
    if measurement is None:
        if trues_per_slice is None:
            trues_per_slice, counts_from = effective_trues(pet, scanner)
        else:
            counts_from = "the caller"
        source = crop_to_region(pet, region) if region is not None else pet
        grid = image_grid(source, spacing)
        image = source.resample_to(grid, "cubic")
        image = image.with_array(image.array.clip(0), "SUVbw")
        projector = scanner_projector(scanner, grid.shape[1:], grid.spacing[0], chosen)
        measurement = pseudo_measurement(image, scanner, trues_per_slice, chosen, projector)
    else:
        grid = image_grid(measurement.grid, spacing)
        first = measurement.model(grid.crop((0, 0, 0), (*grid.shape[:0:-1], grid.shape[0])), chosen)
        projector = first.projector
    job = _Job(sampler, prior, measurement, grid, ct, projector, chosen)
    runs = 1 + (samples if samples > 1 else 0)
    estimate = job.run(sampler, seed, report.part(0.02, 1 / runs))
    estimate, factor = conserve(estimate, measurement, grid, projector)
    drawn = []
    for n in range(runs - 1):
        noisy = replace(sampler, noise=1.0)
        drawn.append(factor * job.run(noisy, seed + 1 + n, report.part((1 + n) / runs, (2 + n) / runs)))
    if sampler.noise and drawn:  # the mean of samples of a profile that samples
        estimate = np.mean(drawn, axis=0)
    report("done", 1.0)
    volume = grid.with_array(estimate, "SUVbw")
    std = grid.with_array(np.std(drawn, axis=0, ddof=1), "SUVbw") if len(drawn) > 1 else None
    facts = {
        "notice": NOTICE,
        "scanner": scanner.to_dict(),
        "sampler": sampler.to_dict(),
        "prior": {"sha256": prior.sha256, **prior.info},
        "samples": samples,
        "seed": seed,
        "device": str(chosen),
        "torch": torch.__version__,
        "measurement": measurement.kind,
        "trues_per_slice": round(measurement.trues_per_slice),
        "trues_per_slice_from": counts_from,
        "conservation_factor": factor,
        "residual": job.residual(estimate) if measurement.kind == "sinogram" else None,
        "grid": {"shape": list(grid.shape), "spacing_mm": list(grid.spacing)},
        "region": None if region is None else [float(v) for v in region],
        "warnings": warnings,
        "seconds": round(time.monotonic() - began, 2),
    }
    return Result(volume, tuple(grid.with_array(d, "SUVbw") for d in drawn), std, facts)


class _Job:
    """The slabs of one reconstruction."""

    def __init__(
        self,
        sampler: Sampler,
        prior: Prior,
        measurement: Measurement,
        grid: Volume,
        ct: Volume,
        projector: ParallelProjector,
        device: torch.device,
    ):
        self.prior, self.measurement, self.grid = prior, measurement, grid
        self.projector, self.device = projector, device
        self.ct = torch.from_numpy(ct.resample_to(grid, "linear", UNKNOWN_HU).array)
        axial = measurement.scanner.model_fwhm_mm[1]
        self.halo = math.ceil(1.5 * axial / grid.spacing[2])  # slices that the axial PSF reaches
        self.batch = 16

    def run(self, sampler: Sampler, seed: int, report: Reporter) -> np.ndarray:
        """The whole volume, slab by slab; on a full GPU, with smaller batches and then on the CPU."""
        count = self.grid.shape[0]
        out = np.zeros(self.grid.shape, np.float32)
        slabs = range(0, count, SLAB)
        for index, first in enumerate(slabs):
            last = min(first + SLAB, count)
            part = report.part(index / len(slabs), (index + 1) / len(slabs))
            while True:
                try:
                    out[first:last] = self._slab(sampler, seed, first, last, out, part)
                    break
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    if self.batch > 1:
                        self.batch //= 2
                    else:
                        self._move_to_cpu()
        return out

    def _slab(
        self, sampler: Sampler, seed: int, first: int, last: int, out: np.ndarray, report: Reporter
    ) -> np.ndarray:
        low, high = max(0, first - self.halo), min(self.grid.shape[0], last + self.halo)
        j, i = self.grid.shape[1:]
        grid = self.grid.crop((0, 0, low), (i, j, high))
        part = self.measurement.part(low, high)
        model = part.model(grid, self.device, self.projector)

        def show(step: int, steps: int, z: torch.Tensor) -> None:
            if report.callback is None:
                return
            preview = out.copy()
            preview[first:last] = z[first - low : last - low].cpu().numpy()
            report(f"slices {first + 1}-{last} of {len(out)}", step / steps, f"step {step} of {steps}", preview)

        counts, ct = part.counts.to(self.device), self.ct[low:high].to(self.device)
        z = sample(sampler, self.prior, model, counts, ct, seed + first, self.batch, show)
        return z[first - low : last - low].cpu().numpy()

    def _move_to_cpu(self) -> None:
        self.device, self.batch = torch.device("cpu"), 16
        self.prior.to("cpu")
        m = self.measurement
        self.projector = scanner_projector(
            m.scanner, self.grid.shape[1:], self.grid.spacing[0], "cpu", m.counts.shape[2]
        )

    def residual(self, estimate: np.ndarray) -> dict[str, float]:
        """Chi-square per bin of the counts under the estimate: 1 when the fit is as good as Poisson noise allows."""
        model = self.measurement.model(self.grid, self.device, self.projector)
        mean = model.mean(torch.from_numpy(estimate).to(self.device))
        y = self.measurement.counts.to(self.device)
        return {"chi_square_per_bin": float(((y - mean) ** 2 / mean.clamp_min(1e-3)).mean())}


def conserve(
    estimate: np.ndarray, measurement: Measurement, grid: Volume, projector: ParallelProjector
) -> tuple[np.ndarray, float]:
    """Scale an estimate so that its expected trues are the measured ones; (scaled, factor)."""
    z = torch.from_numpy(estimate).to(projector.device)
    factors = measurement.scale
    lines = projector.forward(z).cpu()
    if measurement.attenuation is not None:
        lines = lines * measurement.attenuation
    expected = float(lines.double().sum()) * factors
    measured = float((measurement.counts - measurement.background).double().sum())
    factor = measured / expected if expected > 0 and measured > 0 else 1.0
    return (estimate * factor).astype(np.float32), factor


def crop_to_region(pet: Volume, region: Sequence[float], margin_mm: float = 24.0) -> Volume:
    """The part of a PET within ``margin_mm`` of a box (x0, x1, y0, y1, z0, z1) in LPS mm."""
    if len(region) != 6 or not all(np.isfinite(region)):
        raise InputError("A region is six numbers: x0, x1, y0, y1, z0, z1 in LPS mm.")
    low, high = (np.minimum(region[0::2], region[1::2]), np.maximum(region[0::2], region[1::2]))
    points = np.array([(x, y, z, 1.0) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    ijk = (points @ np.linalg.inv(pet.ijk_to_lps).T)[:, :3]
    margin = margin_mm / np.array(pet.spacing)
    first = np.floor(ijk.min(0) - margin).astype(int).clip(0)
    last = np.minimum(np.ceil(ijk.max(0) + margin).astype(int) + 1, pet.shape[::-1])
    if (last <= first).any() or (ijk.max(0) < -0.5).any() or (ijk.min(0) > np.array(pet.shape[::-1]) - 0.5).any():
        raise GeometryError("The region lies outside the PET: give a box within it, in LPS mm.")
    return pet.crop(first, last)


def check_ct(ct: Volume) -> None:
    """Raise unless the values can be HU."""
    name = _name(ct, "CT")
    if not np.isfinite(ct.array).all():
        raise InputError(f"{name} has voxels that are not finite numbers: export the CT again.")
    if ct.array.max() == ct.array.min():
        raise InputError(f"{name} is empty (every voxel has the same value): choose the CT volume.")
    if ct.unit not in ("", "HU") or ct.array.min() > -200 or ct.array.max() < 100:
        raise InputError(
            f"{name} is not a CT in HU (values {ct.array.min():.4g} to {ct.array.max():.4g}): give the CT of this PET."
        )


def _name(volume: Volume, kind: str) -> str:
    return str(volume.metadata.get("file", f"The {kind}"))


def check_pair(pet: Volume, ct: Volume) -> list[str]:
    """Raise unless the CT covers the PET and the activity lies in its body; returns warnings."""
    ids = [v.metadata.get("patient") for v in (pet, ct)]
    if all(ids) and ids[0] != ids[1]:
        raise GeometryError("PET and CT are of different patients (DICOM PatientID): choose the CT of this PET.")
    warnings, frames = [], [v.metadata.get("frame_of_reference") for v in (pet, ct)]
    if all(frames) and frames[0] != frames[1]:
        warnings.append("PET and CT have different DICOM frames of reference: check that they are registered.")
    grid = pet.grid([max(s, 4.0) for s in pet.spacing])
    hu = ct.resample_to(grid, "linear", -3000.0).array
    covered = hu > -2500
    suv = pet.resample_to(grid, "linear").array.clip(0)
    active = suv * (suv > 0.1 * np.percentile(suv[suv > 0], 99))
    coverage = float(active[covered].sum() / active.sum())
    if coverage < MIN_COVERAGE:
        raise GeometryError(
            f"The CT covers only {100 * coverage:.0f} % of the PET's activity: choose the CT of this PET, "
            "registered to it."
        )
    if coverage < 0.95:
        warnings.append(f"The CT covers {100 * coverage:.0f} % of the PET's activity; the rest is taken as air in it.")
    cross = ndimage.generate_binary_structure(2, 1)[None]  # slice by slice: a thin stack has no room above and below
    body = ndimage.binary_dilation(ndimage.binary_closing(hu > -500, cross, 2), cross, 2)
    inside = float(active[covered & body].sum() / active[covered].sum())
    if inside < MIN_INSIDE:
        raise GeometryError(
            f"Only {100 * inside:.0f} % of the PET's activity lies inside the body of the CT: choose the CT of this "
            "patient, registered to this PET."
        )
    tissue = ndimage.binary_closing(hu > -300, cross, 2)
    warm = covered & (suv > 0.3 * np.median(suv[covered & (suv > 0.1)])) if (suv[covered] > 0.1).any() else tissue
    outline = 2 * (warm & tissue).sum() / max(warm.sum() + tissue.sum(), 1)
    if outline < MIN_OUTLINE:
        warnings.append(
            f"The bodies in PET and CT overlap by {100 * outline:.0f} % only (Dice): "
            "check that the CT is of this patient and registered."
        )
    return warnings
