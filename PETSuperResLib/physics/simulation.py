"""Low-resolution measurements from a high-resolution PET (section 3.1.2), without inverse crime.

The truth is interpolated to pixels half as large, blurred there by the full FWHM and projected by a distance-driven
projector for every view of the acquisition before rebinning; views are then averaged. The inversion uses another
discretisation: exact strip integrals on the image grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from ..device import pick_device
from ..errors import GeometryError, InputError
from ..files import to_json, write_together
from ..grid import axial, image_grid
from ..outputs import marked
from ..progress import Callback, Reporter
from ..scanner import Scanner
from ..scanner import setting as paper_setting
from ..volume import Volume
from .attenuation import hu_to_mu
from .clinical import clinical_image
from .gaussian import gaussian_matrix
from .measurement import FORMAT, Measurement
from .model import osem
from .projector import covering_bins
from .protocols import Protocol
from .psf import Blur, GaussianPSF

COUNT_LEVELS = {"realistic": 1.0, "high": 10.0}
CLINICAL_ITERATIONS = 42  # 2 iterations x 21 subsets
SCATTER_FWHM_MM = 120.0
BODY_SUV = 0.1
COUNTED_SLICE_MM = 3.27  # thickness to which the presets' trues per slice belong: 47 slices of a Discovery 690's bed


NOTE = "PETSuperRes simulation"  # in the headers of its images
FILES = {  # of a simulation, with how an earlier one is recognised
    "truth.nii.gz": marked(NOTE),
    "lr.nii.gz": marked(NOTE),
    "measurement.safetensors": marked(FORMAT),
    "protocol.json": marked('"trues_per_slice"'),
}


@dataclass(frozen=True)
class Simulation:
    """A simulated acquisition: the truth on the image grid, the LR image a clinic would see, the counts."""

    truth: Volume
    lr: Volume
    measurement: Measurement
    protocol: Protocol | None = None  # of the LR image

    def write(self, folder: str | Path) -> list[str]:
        """Write ``truth.nii.gz``, ``lr.nii.gz`` and ``measurement.safetensors`` into ``folder``; their names.

        With a protocol, ``protocol.json`` has it and its scanner.
        """
        images = {"truth.nii.gz": self.truth, "lr.nii.gz": self.lr}
        writers: dict[str, Callable[[Path], object]] = {n: partial(v.write, note=NOTE) for n, v in images.items()}
        writers["measurement.safetensors"] = self.measurement.write
        if self.protocol is not None:
            text = to_json({"protocol": self.protocol.to_dict(), **self.facts})
            writers["protocol.json"] = lambda path: path.write_text(text, encoding="utf-8")
        stale = [Path(folder) / name for name, own in FILES.items() if own(Path(folder) / name)]
        write_together({Path(folder) / name: write for name, write in writers.items()}, stale)
        return list(writers)

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured, for a report."""
        return {
            "trues_per_slice": round(self.measurement.trues_per_slice),
            "tof_gain": round(self.protocol.tof_gain(body_diameter(self.truth)), 2) if self.protocol else 1.0,
            "attenuation": self.measurement.attenuation is not None,
            "lr": {"shape": self.lr.shape, "spacing_mm": self.lr.spacing, "header": self.lr.metadata},
            "scanner": self.measurement.scanner.to_dict(),
        }


def simulate(
    pet: Volume,
    ct: Volume | None = None,
    setting: str | Scanner = "standard",
    counts: str | float = "realistic",
    attenuation: bool = False,
    spacing_mm: float = 2.0,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    protocol: Protocol | str | None = None,
    noise: bool = True,
) -> Simulation:
    """Simulate a low-resolution acquisition of ``pet`` (SUV), taken as the truth.

    Parameters
    ----------
    setting : ``standard`` or ``ood`` (Table 1), or any :class:`Scanner`.
    counts : ``realistic`` (the scanner's trues per slice at full dose, times its dose fraction),
        ``high`` (10 times), or a factor.
    attenuation : model the attenuation of ``ct`` (HU) in both the measurement and the inversion.
    spacing_mm : pixel size of the truth's grid.
    protocol : of a hospital (:class:`~.protocols.Protocol`), which takes the place of ``setting``: the truth has its
        slices, the counts are multiplied by its gain of time of flight and, as the presets' belong to slices of
        :data:`COUNTED_SLICE_MM`, by its slice thickness over that; the LR image is its image, with its header.
    noise : Poisson noise; without it the measurement is the expected counts.

    Returns a :class:`Simulation`; without a protocol the LR image is OSEM on the setting's target spacing.
    """
    report = Reporter(progress)
    protocol = None if protocol is None else Protocol.get(protocol)
    scanner = paper_setting(setting) if isinstance(setting, str) else setting
    scanner = scanner if protocol is None else Scanner.get(protocol.scanner)
    if isinstance(counts, str) and counts not in COUNT_LEVELS:
        raise InputError(f"Unknown count level '{counts}': use {' or '.join(COUNT_LEVELS)}.")
    level = COUNT_LEVELS[counts] if isinstance(counts, str) else float(counts)
    if not np.isfinite(pet.array).all():
        raise InputError("The PET has voxels that are not numbers (NaN or infinite): export it again.")
    target = pick_device(device)
    pet = axial(pet)
    truth = _truth(pet, spacing_mm, pet.spacing[2] if protocol is None else protocol.slice_mm)
    truth = truth.with_array(truth.array.clip(0), "SUVbw")
    if not truth.array.max() > 0:
        raise InputError("The PET has no positive voxel: give a PET in SUV.")
    if protocol is not None:
        level *= protocol.tof_gain(body_diameter(truth)) * protocol.slice_mm / COUNTED_SLICE_MM
    image, grid = torch.from_numpy(truth.array).to(target), truth.with_array(np.zeros_like(truth.array))
    survival = None
    if attenuation:
        if ct is None:
            raise InputError("Attenuation needs the CT: give one, or simulate without attenuation.")
        mu = torch.from_numpy(hu_to_mu(ct.resample_to(grid, "linear", -1000.0).array)).to(target)
        survival = torch.exp(-line_integrals(mu, grid, scanner, False, report.part(0, 0.3)))
    lines = line_integrals(image, grid, scanner, True, report.part(0.3 if attenuation else 0, 0.8))
    trues = lines if survival is None else lines * survival
    scale = scanner.trues_per_slice * scanner.dose_fraction * level * len(trues) / float(trues.double().sum())
    trues = trues * scale
    background = _background(trues, scanner)
    measured = (trues + background).cpu()
    if noise:
        measured = torch.poisson(measured, torch.Generator().manual_seed(seed))
    measurement = Measurement(
        scanner, measured, background.cpu(), scale, grid, None if survival is None else survival.cpu()
    )
    report("reconstructing the LR image", 0.85)
    if protocol is None:
        lr = low_resolution_image(measurement, device)
    else:
        lr = clinical_image(measurement, protocol, body_diameter(truth), device)
    report("simulated", 1.0)
    return Simulation(truth, lr, measurement, protocol)


def body_diameter(truth: Volume) -> float:
    """Diameter in mm of a disc with the area of the body (above 0.1 SUV), the mean over the slices that have some."""
    area = (truth.array > BODY_SUV).sum((1, 2)) * truth.spacing[0] * truth.spacing[1]
    return 2 * math.sqrt(float(area[area > 0].mean()) / math.pi) if area.any() else 0.0


def _truth(pet: Volume, spacing_mm: float, slice_mm: float) -> Volume:
    """The PET on the SR grid with the slices of ``slice_mm`` that lie in it; thinner ones are averaged over these."""
    thinner = math.ceil(slice_mm / pet.spacing[2] - 1e-3)
    box = pet.grid((*pet.spacing[:2], slice_mm))
    count = max(1, math.floor(pet.shape[0] * pet.spacing[2] / slice_mm + 1e-3))
    first = (box.ijk_to_lps @ np.array([0, 0, (box.shape[0] - count) / 2, 1.0]))[:3]  # the centre is kept
    grid = image_grid(replace(box, array=box.array[:count], origin=tuple(first)), spacing_mm)
    fine = grid.grid((*grid.spacing[:2], slice_mm / thinner))
    values = pet.resample_to(fine, "cubic").array
    return replace(grid, array=values.reshape(grid.shape[0], thinner, *grid.shape[1:]).mean(1), unit=pet.unit)


def low_resolution_image(measurement: Measurement, device: str = "auto") -> Volume:
    """OSEM without PSF on the scanner's target spacing: the image a clinic would have."""
    scanner, grid = measurement.scanner, measurement.grid
    spacing = scanner.target_spacing_mm or grid.spacing[0]
    coarse = grid.grid((spacing, spacing, grid.spacing[2]))
    model = measurement.model(coarse, pick_device(device))
    image = osem(model, measurement.counts.to(model.projector.device), CLINICAL_ITERATIONS, psf=False)
    return coarse.with_array(image.cpu().numpy(), "SUVbw")


def line_integrals(image: Tensor, grid: Volume, scanner: Scanner, psf: bool, report: Reporter) -> Tensor:
    """Mean line integrals ``(S, views, bins)`` of an image ``(S, J, I)`` on ``grid``, by the fine discretisation.

    With ``psf`` the image is blurred by the scanner's physical FWHM. In image units x mm.
    """
    if abs(grid.spacing[0] - grid.spacing[1]) > 1e-3:
        raise GeometryError("The image's pixels must be square: resample it first.")
    fine = F.interpolate(image[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    step = grid.spacing[0] / 2
    if psf:
        shape = (fine.shape[0], fine.shape[1], fine.shape[2])
        fwhm = (scanner.fwhm_transaxial_mm, scanner.fwhm_axial_mm)
        fine = GaussianPSF(shape, (step, step, grid.spacing[2]), fwhm, image.device)(fine)
    bin_mm = scanner.bin_size_mm * scanner.radial_rebinning
    covering = covering_bins(grid.shape[1:], grid.spacing[0], bin_mm)
    bins = min(-(-scanner.radial_bins // scanner.radial_rebinning) or covering, covering)
    margin = (covering - bins) // 2 + 2  # bins computed at either end and left out: every pixel's shadow is in range
    pixels, mirrored = (f.flatten(1).T.cpu().numpy() for f in (fine, fine.flip(2)))  # (pixels, S)
    hot = (pixels != 0).any(1) | (mirrored != 0).any(1)  # the air around a body has no share in any sum
    pixels, mirrored = pixels[hot], mirrored[hot]
    size = step / bin_mm  # lengths are in bins from here on
    y, x = ((np.arange(n) - (n - 1) / 2) * size for n in fine.shape[1:])
    group = scanner.angular_rebinning
    out = np.zeros((scanner.views // group, bins + 2 * margin, len(fine)), np.float32)
    for view in range((scanner.views + 1) // 2):
        theta = (view + 0.5) * math.pi / scanner.views
        cos, sin = math.cos(theta), math.sin(theta)
        width = size * max(cos, sin)
        start = np.add.outer(y * sin, x * cos + (out.shape[1] - width) / 2, dtype=np.float32)
        shadows = _shadows(start.ravel()[hot], width, out.shape[1])
        for seen, volume in {view: pixels, scanner.views - 1 - view: mirrored}.items():  # 180 - theta: mirrored
            out[seen // group] += shadows @ volume
        if view % 10 == 0:
            report("projecting", 2 * view / scanner.views)
    lines = torch.from_numpy(out[:, margin : margin + bins] * (size * step / group))
    return lines.permute(2, 0, 1).contiguous().to(image.device)


def _shadows(start: np.ndarray, width: float, bins: int) -> scipy.sparse.csc_array:
    """Share of each pixel's mass in each bin of one view, ``(bins, pixels)``: a box from ``start`` on, in bins.

    The box's ``width`` is the longer of the pixel's sides, projected onto the view. So the boxes of a row (or a column)
    adjoin without gap or overlap, and a uniform image fills the bins evenly at every angle. Distance-driven
    projection: De Man and Basu, Phys Med Biol 2004.
    """
    first = np.floor(start)
    reach = np.arange(math.ceil(width) + 1, dtype=np.float32)
    covered = (first + 1 - start)[:, None] + reach
    covered = (covered * np.float32(1 / width)).clip(0, 1)  # share of the box below each bin's upper edge
    shares = covered.copy()
    shares[:, 1:] -= covered[:, :-1]
    rows = first.astype(np.int32)[:, None] + reach.astype(np.int32)
    ends = np.arange(0, rows.size + 1, len(reach), dtype=np.int32)
    return scipy.sparse.csc_array((shares.ravel(), rows.ravel(), ends), shape=(bins, len(start)))


def _background(trues: Tensor, scanner: Scanner) -> Tensor:
    """Expected scatter (a wide blur of the trues) and randoms (uniform), in equal parts, per slice."""
    bin_mm = scanner.bin_size_mm * scanner.radial_rebinning
    views, bins = trues.shape[1:]
    blur = Blur(gaussian_matrix(bins, bin_mm, SCATTER_FWHM_MM), trues.device)
    scatter = blur(trues.mean(1, keepdim=True), 2).expand_as(trues)
    total = trues.sum((1, 2), keepdim=True) * scanner.background_fraction
    shape = 0.5 * scatter / scatter.sum((1, 2), keepdim=True).clamp_min(1e-9) + 0.5 / (views * bins)
    return (total * shape).clamp_min(1e-3 * total.max() / (views * bins) + 1e-6)
