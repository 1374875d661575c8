"""What supports the hot blobs of a result: the data, and the CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .lesions.blobs import Blob, find_blobs, smooth_inside
from .lesions.evidence import SUPPORTED, blob_evidence
from .lesions.measures import Lesion
from .lesions.segments import Block, Segment
from .problem import UNKNOWN_HU, Problem
from .residual import residual_sigma
from .volume import Volume

LEAST_SUV = 0.01  # of a lesion above its surroundings, in the mean, of which a share is told
REMAINS = 0.5  # of a blob's uptake above its surroundings: with less of it in another image it is not in that image


@dataclass(frozen=True)
class Finding:
    """A hot blob of the result.

    Parameters
    ----------
    place_mm : its hottest voxel, LPS.
    suvmax, surroundings : SUV there, and of the smooth continuation of its surroundings.
    volume_ml : of the blob.
    evidence_sigma : of the data for it (:mod:`.lesions.evidence`); ``supported`` from 3 on.
    without_ct : share of its uptake above the surroundings that a result without the CT has.
    """

    place_mm: tuple[float, float, float]
    suvmax: float
    surroundings: float
    volume_ml: float
    evidence_sigma: float
    supported: bool
    without_ct: float


@dataclass(frozen=True)
class Support:
    """The findings of a result, ``only_without_ct`` those of the result without the CT that it lacks, and maps.

    ``maps`` ``(K, J, I)``: ``evidence``, the sigma of every blob in its voxels and 0 elsewhere; ``residual``, the sigma
    of what the data demand and the result lacks (:mod:`.residual`); ``ct_effect``, the SUV that the result has more
    than the one without the CT.
    """

    findings: tuple[Finding, ...]
    only_without_ct: tuple[tuple[float, float, float], ...]
    maps: dict[str, np.ndarray]

    def report(self) -> dict[str, Any]:
        """For the report."""
        return {
            "blobs": [asdict(finding) for finding in self.findings],
            "not_supported": sum(not finding.supported for finding in self.findings),
            "vanish_without_ct": sum(finding.without_ct < REMAINS for finding in self.findings),
            "appear_without_ct_mm": list(self.only_without_ct),
        }

    def warnings(self) -> list[str]:
        """For the user."""
        report, found = self.report(), []
        if report["not_supported"]:
            found.append(
                f"{report['not_supported']} of {len(self.findings)} hot blobs of the result are not supported by the "
                f"data (below {SUPPORTED:g} sigma): see evidence.nii.gz and the report."
            )
        if report["vanish_without_ct"]:
            found.append(
                f"{report['vanish_without_ct']} of {len(self.findings)} hot blobs vanish when the CT is withheld: the "
                "CT made them, or sharpened them much."
            )
        return found


def without_ct(problem: Problem) -> Problem:
    """The same problem with the CT withheld."""
    return replace(problem, ct=torch.full_like(problem.ct, UNKNOWN_HU))


def support_of(problem: Problem, estimate: np.ndarray, expected: Tensor, other: np.ndarray) -> Support:
    """Of an estimate ``(K, J, I)`` in SUV, whose data are ``expected``, and of the one without the CT (``other``)."""
    grid = problem.grid
    blobs = find_blobs(estimate, grid.spacing)
    data = problem.data(expected)
    sigmas = blob_evidence(data, estimate, blobs)
    evidence = np.zeros(grid.shape, np.float32)
    for blob, sigma in reversed([*zip(blobs, sigmas, strict=True)]):  # where two overlap, the hotter one's
        evidence[blob.block][blob.inside] = sigma
    findings = [_finding(blob, sigma, other, grid) for blob, sigma in zip(blobs, sigmas, strict=True)]
    appeared = [b for b in find_blobs(other, grid.spacing) if _blob_share(b, estimate, grid) < REMAINS]
    maps = {"evidence": evidence, "residual": residual_sigma(problem, expected), "ct_effect": estimate - other}
    return Support(tuple(findings), tuple(_place(blob, grid) for blob in appeared), maps)


def _finding(blob: Blob, sigma: float, other: np.ndarray, grid: Volume) -> Finding:
    volume = float(blob.inside.sum() * grid.voxel_ml)
    share = _blob_share(blob, other, grid)
    rounded = (round(float(x), 3) for x in (blob.suvmax, blob.surroundings, volume, sigma))
    suvmax, surroundings, volume, shown = rounded
    return Finding(_place(blob, grid), suvmax, surroundings, volume, shown, sigma >= SUPPORTED, round(share, 3))


def with_ct_test(
    lesions: Sequence[Lesion], volume: Volume, segments: Sequence[Segment], other: np.ndarray
) -> list[Lesion]:
    """Lesions of a result with the share of their uptake above the surroundings that the one without the CT has.

    None where the result has no uptake above the surroundings to speak of. ``other`` ``(K, J, I)`` is the result
    without the CT.
    """
    by_label = {segment.label: segment for segment in segments}
    found = []
    for lesion in lesions:
        weights, block = by_label[lesion.label].weights(volume)
        with_ct, without = (_excess(image, block, weights > 0, volume) for image in (volume.array, other))
        held = with_ct > LEAST_SUV * (weights > 0).sum()
        found.append(replace(lesion, without_ct=round(without / with_ct, 3) if held else None))
    return found


def _blob_share(blob: Blob, image: np.ndarray, grid: Volume) -> float:
    """The uptake that an image has above its surroundings in a blob, over the blob's own."""
    return _excess(image, blob.block, blob.inside, grid) / float(blob.excess[blob.inside].sum())


def _excess(image: np.ndarray, block: Block, inside: np.ndarray, grid: Volume) -> float:
    """Sum over the voxels ``inside`` a block of what an image has above its surroundings, in SUV."""
    values = image[block]
    return float((values - smooth_inside(values, inside, grid.spacing))[inside].sum())


def _place(blob: Blob, grid: Volume) -> tuple[float, float, float]:
    x, y, z = (grid.ijk_to_lps @ [*blob.peak[::-1], 1.0])[:3]
    return round(float(x), 1), round(float(y), 1), round(float(z), 1)
