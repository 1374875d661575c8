"""The response of images whose reconstruction models the PSF: the model's Gaussians, or what EM's convergence gives.

    python Testing/studies/benchmarks/psf_response.py DIR --cts CTS [--protocols NAME ...] [--anatomies N] [--levels N]

About an image, EM updates are linear: a frequency f of activity z has converged by R(f) = 1 - exp(-k H(f)^2 / f) after
n updates, with H the PSF's transfer function and k = n z <1 / p> / pi, where <1 / p> is the mean over all directions of
one over the expected line integrals through the place, background included. (The part of an update that reaches f is
z / A^T 1 A^T A / p, and A^T A is H^2 / f.) The expected image is the mean over voxels of sum_l F R_l (w_l z): F is the
filter's transfer function, with the voxel's own extent taken off as the reconstruction's voxels have it as well, and
w_l are weights of ``--levels`` values of k, as k differs from place to place. k is taken from the image itself.

Printed for each protocol: how far the expectation of the true activity is from the image without noise, in standard
deviations of the image's noise (root mean square in the body, and in its hottest 3 %), and the errors of recovered
SUVmean (PET alone, true masks; median, signed and without sign, below and from 1 mL). Rows: the model as it is; k by
this formula with the protocol's updates; with 100 updates, whatever the protocol; and k = 0.2 z, without lines. Twenty
seconds for each anatomy and protocol on one CPU core.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from PETSuperResLib import pet_alone
from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.inputs import resolution_of_pet
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.physics.image_model import SURROUNDINGS_MM, ImageModel, image_measurement
from PETSuperResLib.physics.image_noise import image_noise
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.physics.simulation import Simulation, body_diameter, simulate
from PETSuperResLib.resolution import ImageResolution
from PETSuperResLib.studies.evaluation.lesion_scenes import lesion_subjects
from PETSuperResLib.studies.evaluation.lesions import is_lesion
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import BOX_FWHM, FWHM_PER_SIGMA

TRUES = 0.6  # of all expected counts, which the updates compare with
PER_SUV = 0.2  # k over z, in 1/mm
USUAL_UPDATES = 100.0
LEAST, MOST = 0.03, 6.0  # levels of k, 1/mm
LEAST_LINE = 20.0  # SUV mm
COARSE_MM, ANGLES = 8.0, 12  # of the line integrals
LEAST_BOX = 0.3  # of the voxel's transfer function, which is divided by
HOT = 0.97  # quantile

Rates = Callable[[Volume, Protocol, float], np.ndarray]  # of an image, its protocol and the body's diameter: k / z


def gaussian(f: Tensor, fwhm_mm: float) -> Tensor:
    """The transfer function of a Gaussian at frequencies in 1/mm."""
    return torch.exp(-2 * (math.pi * fwhm_mm / FWHM_PER_SIGMA * f) ** 2)


def inverse_lines(image: Volume) -> np.ndarray:
    """The mean over directions in the slice of one over the line integral through each voxel, in 1/(SUV mm)."""
    step = max(1, round(COARSE_MM / image.spacing[0]))
    coarse = ndimage.uniform_filter(image.array.clip(0), [0, step, step])[:, ::step, ::step]
    side = math.ceil(math.hypot(*coarse.shape[1:]))
    pads = [((side - n) // 2, side - n - (side - n) // 2) for n in coarse.shape[1:]]
    square = np.pad(coarse, ((0, 0), *pads))
    total = np.zeros_like(square)
    for angle in np.arange(ANGLES) * 180 / ANGLES:
        turned = ndimage.rotate(square, angle, axes=(1, 2), reshape=False, order=1)
        lines = np.maximum(turned.sum(1, keepdims=True) * step * image.spacing[0], LEAST_LINE)
        spread = np.broadcast_to(1 / lines, square.shape)
        total += ndimage.rotate(spread, -angle, axes=(1, 2), reshape=False, order=1, mode="nearest") / ANGLES
    (top, _), (left, _) = pads
    return zoomed(total[:, top : top + coarse.shape[1], left : left + coarse.shape[2]], image.shape)


def zoomed(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Slices interpolated to ``shape`` over the same extent."""
    factors = [1, *(new / old for new, old in zip(shape[1:], values.shape[1:], strict=True))]
    return np.asarray(ndimage.zoom(values, factors, order=1, mode="nearest", grid_mode=True))


ROWS: dict[str, Rates | None] = {
    "as it is": None,
    "by updates": lambda image, p, body: TRUES * updates(p, body) / math.pi * inverse_lines(image),
    "by 100 updates": lambda image, p, body: TRUES * USUAL_UPDATES / math.pi * inverse_lines(image),
    "k = 0.2 z": lambda image, p, body: np.full(image.shape, PER_SUV),
}


def updates(protocol: Protocol, body_mm: float) -> float:
    """EM updates; of a penalised image, which converges, the usual number."""
    return USUAL_UPDATES if protocol.reconstruction == "penalised" else protocol.updates(body_mm)


class Converged:
    """The response of an image to an activity ``(S, J, I)`` on the grid of its model, in SUV on the image's voxels."""

    def __init__(self, image: Volume, resolution: ImageResolution, rates: np.ndarray, levels: int):
        self.image, self.resolution = image, resolution
        sigma = SURROUNDINGS_MM / FWHM_PER_SIGMA / image.spacing[0]
        local = rates * ndimage.gaussian_filter(image.array.clip(0), [0, sigma, sigma])
        self.levels = np.geomspace(LEAST, MOST, levels)
        self.place = np.log(local.clip(LEAST, MOST) / LEAST) / math.log(self.levels[1] / LEAST)  # in levels

    def __call__(self, model: ImageModel, z: Tensor) -> Tensor:
        (_, rows, columns), mm = model.shape, model.spacing[0]
        f = torch.hypot(torch.fft.fftfreq(rows, mm)[:, None], torch.fft.rfftfreq(columns, mm)).clamp_min(1e-4)
        assert self.resolution.scanner_fwhm_mm is not None
        psf = gaussian(f, self.resolution.scanner_fwhm_mm[0])
        voxel = gaussian(f, BOX_FWHM * self.image.spacing[0]).clamp_min(LEAST_BOX)
        post = gaussian(f, self.resolution.filter_fwhm_mm[0]) / voxel
        place = torch.from_numpy(zoomed(self.place, model.shape)).float()
        blur = model.psf.blurs[0]
        spread = z if blur is None else blur(z.contiguous(), 0)
        total = torch.zeros(1)
        for n, k in enumerate(self.levels):
            part = torch.fft.rfft2(spread * (1 - (place - n).abs()).clamp_min(0))
            total = total + part * post * (1 - torch.exp(-float(k) * psf**2 / f))
        return model.projector.forward(torch.fft.irfft2(total, s=(rows, columns)).contiguous())


@contextmanager
def responding(response: Converged | None) -> Iterator[None]:
    """With the response as the model's, unless it is None."""
    kept = ImageModel.excess
    if response is not None:
        ImageModel.excess = lambda model, z: (  # type: ignore[method-assign]
            (response(model, z) - model.projector.forward(model.psf(z))) * model.factors
        )
    try:
        yield
    finally:
        ImageModel.excess = kept  # type: ignore[method-assign]


def misfit(scan: Simulation, clean: Volume, response: Converged | None) -> tuple[float, float]:
    """Of the truth's expectation, in standard deviations of the noise: in the body, and in its hottest part."""
    resolution = resolution_of_pet(scan.lr)[1]
    noise = image_noise(scan.lr, resolution.noise_fwhm_mm, None, resolution.noise_exponent)
    measurement = image_measurement(scan.lr, resolution.fwhm_mm, noise, resolution.hot_part)
    model = measurement.model(scan.truth)
    z = torch.from_numpy(scan.truth.array)
    with responding(response):
        expected = ((model.forward(z) + model.excess(z)) / model.factors).numpy()
    body = clean.array > 0.2
    hot = body & (clean.array > np.quantile(clean.array[body], HOT))
    squares = (expected - clean.array) ** 2 / noise.variance(np.maximum(clean.array, 0.2))
    return math.sqrt(float(squares[body].mean())), math.sqrt(float(squares[hot].mean()))


def recovered(scan: Simulation, labels: Volume, response: Converged | None) -> Iterator[tuple[float, float]]:
    """Volume in mL and error of SUVmean in per cent of every lesion that counts as one."""
    segments = segments_of(labels)
    truth = {one.label: one.suvmean for one in measure_lesions(scan.truth, segments, skip_outside=True)}
    with responding(response):
        for part in pet_alone.parts(scan.lr, segments, resolution_of_pet(scan.lr)[1]):
            for one in part.recovered():
                if is_lesion(vars(one)):
                    yield one.volume_ml, 100 * (one.suvmean / truth[one.label] - 1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DIR", help="case folders and split.json")
    parser.add_argument("--cts", metavar="CTS", help="folders with CT_HU.nii.gz")
    modelled = ["mct-lesions", "discovery-710-sharpir", "vision", "vereos"]
    parser.add_argument("--protocols", nargs="+", default=modelled, metavar="NAME")
    parser.add_argument("--anatomies", type=int, default=8, metavar="N", help="validation anatomies")
    parser.add_argument("--levels", type=int, default=6, metavar="N", help="values of k")
    options = parser.parse_args()
    pet_alone.MARGIN_MM = 1000.0  # the whole image, whose lines count
    try:
        subjects = lesion_subjects("validation", options.data, options.cts)
        subjects = subjects[:: max(1, len(subjects) // options.anatomies)][: options.anatomies]
        fits: dict[Any, list[Any]] = defaultdict(list)
        errors: dict[Any, list[Any]] = defaultdict(list)
        for subject in subjects:
            pet, ct, labels = subject.load()
            for name in options.protocols:
                protocol = Protocol.get(name)
                scan, quiet = (simulate(pet, ct, protocol=protocol, seed=5, noise=noise) for noise in (True, False))
                resolution = resolution_of_pet(scan.lr)[1]
                for row, rates in ROWS.items():
                    response = None
                    if rates is not None:
                        values = rates(scan.lr, protocol, body_diameter(scan.truth))
                        response = Converged(scan.lr, resolution, values, options.levels)
                    fits[name, row].append(misfit(scan, quiet.lr, response))
                    if labels is not None:
                        errors[name, row] += recovered(scan, labels, response)
    except PETSuperResError as error:
        parser.error(str(error))
    print(f"{'protocol':24s} {'response':16s}   body    hot |  below 1 mL: signed    abs   | from 1 mL: signed    abs")
    for (name, row), found in fits.items():
        body, hot = np.mean(found, axis=0)
        line = f"{name:24s} {row:16s} {body:6.2f} {hot:6.2f}"
        volumes, off = np.array(errors[name, row]).reshape(-1, 2).T
        for part in (volumes < 1, volumes >= 1):
            mine = off[part]
            signed, plain = (np.median(x) if len(x) else math.nan for x in (mine, np.abs(mine)))
            line += f" | {signed:+8.1f} {plain:8.1f} % of {len(mine):3d}"
        print(line)


if __name__ == "__main__":
    main()
