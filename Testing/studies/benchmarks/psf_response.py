"""The response of images whose reconstruction models the PSF: the samplers' Gaussians, or what EM's convergence gives.

    python Testing/studies/benchmarks/psf_response.py DIR --cts CTS [--protocols NAME ...] [--anatomies N]

Printed for each protocol: how far the expectation of the true activity is from the image without noise, in standard
deviations of the image's noise (root mean square in the body, and in its hottest 3 %), and the errors of recovered
SUVmean (PET alone, true masks; median, signed and without sign, below and from 1 mL). Rows: the Gaussians; the response
of ``physics/convergence.py`` as it is; the same with the k of its formula, from the image's line integrals and the
protocol's updates; and with 100 updates, whatever the protocol. Twenty seconds for each anatomy and protocol on one
CPU core.
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
from PETSuperResLib.inputs import pet_measurement, resolution_of_pet
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.physics.convergence import SURROUNDINGS_MM
from PETSuperResLib.physics.image_model import ImageModel
from PETSuperResLib.physics.image_noise import image_noise
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.physics.simulation import Simulation, body_diameter, simulate
from PETSuperResLib.studies.evaluation.lesion_scenes import lesion_subjects
from PETSuperResLib.studies.evaluation.lesions import is_lesion
from PETSuperResLib.volume import Volume
from PETSuperResLib.widths import FWHM_PER_SIGMA

TRUES = 0.6  # of all expected counts, which the updates compare with
USUAL_UPDATES = 100.0
LEAST_LINE = 20.0  # SUV mm
COARSE_MM, ANGLES = 8.0, 12  # of the line integrals
HOT = 0.97  # quantile

Expected = Callable[[ImageModel, Tensor], Tensor]


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


def gaussians(model: ImageModel, z: Tensor) -> Tensor:
    """As the samplers have it."""
    return model.mean(z) + model.excess(z)


def by_updates(image: Volume, updates: float) -> Expected:
    """With k from the image's own lines."""
    sigma = SURROUNDINGS_MM / FWHM_PER_SIGMA / image.spacing[0]
    local = ndimage.gaussian_filter(image.array.clip(0), [0, sigma, sigma])
    k = TRUES * updates / math.pi * inverse_lines(image) * local

    def expected(model: ImageModel, z: Tensor) -> Tensor:
        assert model.exact is not None
        shown = model.exact.shown(z, torch.from_numpy(zoomed(k, model.shape)).float())
        return model.projector.forward(shown) * model.factors + model.background

    return expected


def rows(scan: Simulation, protocol: Protocol) -> dict[str, Expected]:
    """The responses by name; a penalised image, which converges, has the usual updates."""
    updates = protocol.updates(body_diameter(scan.truth))
    updates = updates if protocol.reconstruction != "penalised" else round(USUAL_UPDATES)
    return {
        "Gaussians": gaussians,
        "as it is": ImageModel.expected,
        "by updates": by_updates(scan.lr, updates),
        "by 100 updates": by_updates(scan.lr, USUAL_UPDATES),
    }


@contextmanager
def responding(expected: Expected) -> Iterator[None]:
    """With that response in the place of the model's."""
    kept = ImageModel.expected
    ImageModel.expected = expected  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ImageModel.expected = kept  # type: ignore[method-assign]


def misfit(scan: Simulation, clean: Volume, response: Expected) -> tuple[float, float]:
    """Of the truth's expectation, in standard deviations of the noise: in the body, and in its hottest part."""
    resolution = resolution_of_pet(scan.lr)[1]
    noise = image_noise(scan.lr, resolution.noise_fwhm_mm, resolution.noise_exponent)
    model = pet_measurement(scan.lr, None, resolution, noise).model(scan.truth)
    expected = ((response(model, torch.from_numpy(scan.truth.array)) - model.background) / model.factors).numpy()
    body = clean.array > 0.2
    hot = body & (clean.array > np.quantile(clean.array[body], HOT))
    squares = (expected - clean.array) ** 2 / noise.variance(np.maximum(clean.array, 0.2))
    return math.sqrt(float(squares[body].mean())), math.sqrt(float(squares[hot].mean()))


def recovered(scan: Simulation, labels: Volume, response: Expected) -> Iterator[tuple[float, float]]:
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
                for row, response in rows(scan, protocol).items():
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
