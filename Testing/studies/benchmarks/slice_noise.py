"""How much the noise of real PETs differs from slice to slice, and what it gains to measure it slice by slice.

    python Testing/studies/benchmarks/slice_noise.py DIR [--limit N] [--protocols NAME ...]

``DIR`` holds the case folders and ``split.json`` with its ``validation`` patients; the package must be installed. The
first table has, of the PETs of all cases, how many times the variance of most slices the noisiest slice has at either
end (three slices) and between the ends, as quantiles of 10, 50 and 90 % and the greatest. For the second a sharp
reference (uptake painted into a validation patient's CT, a torso) is scanned by protocols, and once more with a
quarter of the counts, of which the last third of the slices is taken, as where beds meet. Printed are the PSNR in dB
(peak of the whole truth) of ``standard`` in these slices and in the others, with one ratio of variance and mean for
all slices, the median over all, and with one for each.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from PETSuperResLib.inputs import Inputs, pet_measurement
from PETSuperResLib.physics.image_noise import NORMAL_MAD, ImageNoise, image_noise
from PETSuperResLib.physics.noise_width import noise_widths
from PETSuperResLib.physics.simulation import COUNT_LEVELS, simulate
from PETSuperResLib.prior import Prior
from PETSuperResLib.reconstruction import solve
from PETSuperResLib.request import Request
from PETSuperResLib.sampling import Sampler
from PETSuperResLib.sampling.slabs import Slabs
from PETSuperResLib.studies.subjects import Cohort, Subject
from PETSuperResLib.volume import Volume

SLICES, NOISY, FEWER = 24, 8, 4.0  # of a subject, of these with fewer counts, and how many times fewer
END = 3  # slices
QUANTILES = (0.1, 0.5, 0.9, 1.0)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DIR", help="case folders and split.json")
    parser.add_argument("--limit", type=int, default=1, metavar="N", help="only the first N validation patients")
    parser.add_argument("--protocols", nargs="+", default=("mct-osem", "vision"), metavar="NAME")
    options = parser.parse_args()
    found = [shares(Volume.read(file, "SUVbw")) for file in sorted(options.data.glob("*/PET_SUV.nii.gz"))]
    for where, part in (("ends", lambda s: (*s[:END], *s[-END:])), ("between", lambda s: s[END:-END])):
        most = np.quantile([max(part(one), default=1.0) for one in found], QUANTILES)
        print(f"noisiest slice, {where:8s}", *(f"{value:6.2f}" for value in most), f"({len(found)} PETs)")
    print(f"\n{'PSNR dB':34s} {'noisy: one':>11s} {'each':>6s} {'others: one':>12s} {'each':>6s}")
    prior = Prior.load()
    for subject in Cohort(options.data, references=["sharp"], limit=options.limit, slices=SLICES).subjects():
        for name in options.protocols:
            (one, quiet), (each, still) = gain(subject, name, prior)
            print(f"{subject.name:16s} {name:17s} {one:11.2f} {each:6.2f} {quiet:12.2f} {still:6.2f}", flush=True)


def shares(pet: Volume) -> tuple[float, ...]:
    """Of a PET's slices, the variance over that of most."""
    widths = noise_widths(pet)
    return image_noise(pet, widths[0] if widths else 0.0).shares or (1.0,) * pet.shape[0]


def gain(subject: Subject, protocol: str, prior: Prior) -> list[tuple[float, float]]:
    """PSNR in the noisy slices and in the others, with one ratio for all slices, and with one for each."""
    pet, ct, _ = subject.load()
    full, less = (
        simulate(pet, ct, counts=level, protocol=protocol, seed=seed)
        for seed, level in enumerate((COUNT_LEVELS["realistic"], COUNT_LEVELS["realistic"] / FEWER))
    )
    image, first = full.lr.array.copy(), len(full.lr.array) - NOISY
    image[first:] = less.lr.array[first:]
    inputs = Inputs.of(Request(full.lr.with_array(image), ct))
    problem = inputs.problem(full.truth.spacing[0], torch.device("cpu"))
    known, resolution = problem.measurement.noise, inputs.resolution
    truth, found = full.truth.array, []
    for noise in (one_for_all(known), known):
        measurement = pet_measurement(inputs.pet, None, resolution, noise)
        result, _ = solve(Slabs(replace(problem, measurement=measurement), prior), Sampler.IMAGE_PROFILES["standard"])
        on_grid = problem.grid.with_array(result, "SUVbw").resample_to(full.truth, "cubic").array
        squares = ((on_grid - truth) ** 2).mean((1, 2))
        parts = squares[first:].mean(), squares[:first].mean()
        found.append(tuple(20 * math.log10(truth.max()) - 10 * math.log10(part) for part in parts))
    return found


def one_for_all(noise: ImageNoise) -> ImageNoise:
    """With the variance that the median absolute deviation of all slices together would give."""
    drawn = np.random.default_rng(0).standard_normal((len(noise.shares), 10_000)) * np.sqrt(noise.shares)[:, None]
    ratio = noise.variance_ratio * (NORMAL_MAD * np.median(np.abs(drawn))) ** 2
    return replace(noise, variance_ratio=ratio, shares=())


if __name__ == "__main__":
    main()
