"""Recovered uptake: SUVs of segments fitted to the measurement, not read off the super-resolved image.

Around the segments of a neighbourhood the image is replaced by a linear model of few templates, and their amplitudes
are fitted to the counts. The image gives what lies beyond, so there is no second reconstruction. This is a correction
of the partial-volume effect by regions (Rousset et al., J Nucl Med 1998, 39:904; Labbe et al. 1998 on the counts
themselves), with Gaussian priors on how far texture and surroundings may depart from their expectation: a scanning
linear estimator (Whitaker et al., Opt Express 2008, 16:8150). Where a lesion's border truly lies is left to the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from ..physics.amplitudes import Data
from ..progress import Reporter
from ..volume import Volume
from .measures import measure_lesions
from .neighbourhood import MARGIN_MM, REACH_MM, Neighbourhood
from .segments import Block, Segment

TAIL = 0.05  # probability below ``low`` and above ``high``
TOGETHER = 8  # segments that are fitted together at most: time and memory grow with the square of their number
OVERLAP = 0.1  # of the smaller of two segments, from which on they are not fitted together
SAME = 0.9  # of the smaller one of segments that fill parts of voxels: in the same ones, they are drawings of one


@dataclass(frozen=True)
class Recovered:
    """SUVs of a segment fitted to the measurement.

    Parameters
    ----------
    volume_ml : of the segment within the image.
    suvmean, suvpeak, suvmax : of the fitted image within the segment; ``suvmean`` is the mean over all of it.
    low, high : between which ``suvmean`` lies with a probability of 90 % by counts and priors, border included.
    background : SUV of the surroundings, continued to the segment.
    wider : ``suvmean`` with the FWHM in the model :data:`~.neighbourhood.WIDER` times as wide.
    """

    label: int
    name: str
    volume_ml: float
    suvmean: float
    suvpeak: float
    suvmax: float
    low: float
    high: float
    background: float
    wider: float

    @property
    def tlg(self) -> float:
        """``suvmean`` x ``volume_ml``."""
        return self.suvmean * self.volume_ml


def recover(data: Data, image: Volume, segments: Sequence[Segment], report: Reporter | None = None) -> list[Recovered]:
    """The recovered SUVs of every segment that the image (SUVbw) holds, in their order; ``data`` are the image's.

    Segments whose surroundings meet are fitted together, at most :data:`TOGETHER`. Of two that overlap each is fitted
    as if the other were not drawn: they may be two drawings of one lesion. ``report`` is told of every fit.
    """
    masks = [mask for segment in segments if (mask := _Mask(segment, *segment.weights(image))).weights.sum() > 0]
    found: dict[int, Recovered] = {}
    fits, report = list(_fits(masks, image)), report or Reporter(None)
    for number, (members, told) in enumerate(fits, 1):
        report("recovering the uptake", (number - 1) / len(fits), f"lesions, fit {number} of {len(fits)}")
        fitted = _recovered(data, image, [masks[n] for n in members])
        found.update((n, one) for n, one in zip(members, fitted, strict=True) if n in told)
    return [found[n] for n in range(len(masks))]


@dataclass(frozen=True)
class _Mask:
    """A segment, and the part (0 to 1) of each voxel of a block of the image within it."""

    segment: Segment
    weights: np.ndarray
    block: Block


def groups_of_boxes(low: np.ndarray, high: np.ndarray, apart_mm: float) -> list[np.ndarray]:
    """The numbers of boxes in groups that lie ``apart_mm`` or more from each other; corners ``(n, 3)`` in mm."""
    count, number = connected_components(_gaps(low, high) < apart_mm, directed=False)
    return [np.flatnonzero(number == group) for group in range(count)]


def _gaps(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Between boxes, along the axis on which they are farthest apart, in mm ``(n, n)``."""
    return np.maximum(low[:, None] - high, low - high[:, None]).max(-1)


def _fits(masks: Sequence[_Mask], image: Volume) -> Iterator[tuple[list[int], list[int]]]:
    """The numbers of the masks of every fit, and of those whose SUVs it tells."""
    if not masks:
        return
    low, high = (
        np.array([[getattr(s, end) for s in mask.block] for mask in masks]) * image.spacing[::-1]
        for end in ("start", "stop")
    )
    gaps, apart = _gaps(low, high), np.ones((len(masks), len(masks)), bool)
    for n, m in zip(*np.nonzero(np.triu(gaps < 0, 1)), strict=True):
        apart[n, m] = apart[m, n] = not _overlap(masks[n].segment, masks[m].segment)
    for group in groups_of_boxes(low, high, 2 * REACH_MM):
        # of many only those that a segment's own bands may reach
        near = np.isfinite(gaps) if len(group) <= TOGETHER else gaps < REACH_MM
        told: dict[frozenset[int], list[int]] = {}
        for n in group:
            others = [m for m in group[np.argsort(gaps[n, group], kind="stable")] if m != n and near[n, m]]
            told.setdefault(frozenset(_members(n, others, apart)), []).append(int(n))
        for members, own in told.items():
            yield sorted(members), own


def _members(first: int, others: Iterable[int], apart: np.ndarray) -> list[int]:
    """The first mask and, of the others in their order, those ``apart`` from all before; :data:`TOGETHER` at most."""
    members = [int(first)]
    for n in others:
        if len(members) < TOGETHER and apart[n, members].all():
            members.append(int(n))
    return members


def _overlap(one: Segment, other: Segment) -> bool:
    """Whether two segments have :data:`OVERLAP` of the smaller in common or more.

    Parts of a voxel that together are less than one may lie beside each other.
    """
    weights, block = one.weights(other.mask)
    parts = other.mask.array[block]
    least = min(float(s.mask.array.sum(dtype=np.float64)) * s.mask.voxel_ml for s in (one, other))
    surely, at_most = (
        float(shared.sum(dtype=np.float64)) * other.mask.voxel_ml
        for shared in (np.maximum(weights + parts - 1, 0), np.minimum(weights, parts))
    )
    return surely >= OVERLAP * least or at_most >= SAME * least


def _recovered(data: Data, image: Volume, masks: Sequence[_Mask]) -> list[Recovered]:
    """The SUVs of the segments of a neighbourhood."""
    margin = np.ceil(MARGIN_MM / np.array(image.spacing[::-1])).astype(int)
    low = np.min([[s.start for s in mask.block] for mask in masks], 0) - margin
    high = np.max([[s.stop for s in mask.block] for mask in masks], 0) + margin
    k, j, i = (slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, image.shape, strict=True))
    near = Neighbourhood(data, image, (k, j, i), [mask.segment for mask in masks])
    fitted = near.fit()
    lesions = measure_lesions(near.box.with_array(fitted.image), near.segments)
    found = []
    for mask, mean, wider, background, lesion in zip(
        masks, fitted.means, fitted.wider, fitted.backgrounds, lesions, strict=True
    ):
        low, high = mean.quantile(TAIL), mean.quantile(1 - TAIL)
        figures = mean.mean, lesion.suvpeak, lesion.suvmax, low, high, background, wider * mean.mean
        volume = float(mask.weights.sum(dtype=np.float64)) * image.voxel_ml
        found.append(Recovered(mask.segment.label, mask.segment.name, volume, *map(float, figures)))
    return found
