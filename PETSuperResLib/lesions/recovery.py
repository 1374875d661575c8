"""Recovered uptake: SUVs of segments fitted to the measurement, not read off the super-resolved image.

Around the segments of a neighbourhood the image is replaced by a linear model of few templates, and their amplitudes
are fitted to the counts. The image gives what lies beyond, so there is no second reconstruction. This is a correction
of the partial-volume effect by regions (Rousset et al., J Nucl Med 1998, 39:904; Labbe et al. 1998 on the counts
themselves), with Gaussian priors on how far border, texture and surroundings may depart from their expectation: a
scanning linear estimator (Whitaker et al., Opt Express 2008, 16:8150).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from ..physics.amplitudes import Data
from ..physics.psf import GaussianPSF
from ..physics.window import Window
from ..volume import Volume
from ..widths import FWHM_PER_SIGMA
from .measures import measure_lesions
from .segments import Segment

BAND_MM, BANDS = 2.0, 5  # width and number of the bands around the segments in which the image is replaced
REACH_MM = BAND_MM * BANDS
HOLE_BANDS = 3  # where the image holds the segments' spill-out: what lies beyond is continued into them
SURROUNDINGS_MM = 12.0  # FWHM of the weights with which they are continued
BORDER_MM, SOFT_MM = 2.0, 5.0  # FWHM of the expected border, and of a soft one
NEAR_BANDS = 2  # that an infiltrating lesion may reach into
WIDER = 1.1  # times the FWHM, to see what its uncertainty does
ITERATIONS = 3  # of the contrast that the priors are relative to
# standard deviations of the priors: of border and bands in units of the contrast, of the rest relative to itself
CONTRAST, SOFT, NEAR, TEXTURE, SURROUNDINGS = 10.0, 0.6, 0.15, 0.3, 0.3
TEXTURE_MEAN = 0.5  # of the image's own texture that is expected to be true
LEAST_CONTRAST, LEAST_SUV = 0.2, 0.05  # of the uptake, to which the priors are relative; and of the SUVmean
LEAST_WEIGHT = 0.01  # of a voxel that belongs to a segment
ROUNDING = 0.05


@dataclass(frozen=True)
class Recovered:
    """SUVs of a segment fitted to the measurement.

    Parameters
    ----------
    volume_ml : of the segment within the image.
    suvmean, suvpeak, suvmax : of the fitted image within the segment; ``suvmean`` is the mean over all of it.
    error : standard deviation of ``suvmean`` by counts and priors, relative to it.
    inward, outward : ``suvmean`` with the border of all segments moved by one voxel in the slice; ``inward`` is None
        where nothing would be left.
    wider : ``suvmean`` with the FWHM in the model :data:`WIDER` times as wide.
    background : SUV of the surroundings, continued to the segment.
    """

    label: int
    name: str
    volume_ml: float
    suvmean: float
    suvpeak: float
    suvmax: float
    error: float
    background: float
    inward: float | None = None
    outward: float | None = None
    wider: float | None = None

    @property
    def tlg(self) -> float:
        """``suvmean`` x ``volume_ml``."""
        return self.suvmean * self.volume_ml


@dataclass(frozen=True)
class _Template:
    """Values ``(K, J, I)`` in a box, and the prior of their amplitude; with ``lesion`` in units of its contrast.

    ``around``: the values are those of the surroundings, also in voxels that a segment fills in part.
    """

    values: np.ndarray
    mean: float
    spread: float
    lesion: int | None = None
    around: bool = False


def recover(data: Data, image: Volume, segments: Sequence[Segment], vary: bool = True) -> list[Recovered]:
    """The recovered SUVs of every segment that the image (SUVbw) holds, in their order; ``data`` is that of the image.

    ``vary``: also ``inward``, ``outward`` and ``wider``, which takes four times as long.
    """
    masks = [mask for segment in segments if (mask := _Mask(segment, *segment.weights(image))).weights.sum() > 0]
    found: dict[int, Recovered] = {}
    for group in _groups(masks, image):
        near = _Neighbourhood(data, image, group)
        recovered = near.recover()
        if vary:
            inward, outward = map(near.suvmeans, _moved(near.weights))
            varied = zip(recovered, inward, outward, near.suvmeans(near.weights, WIDER), strict=True)
            recovered = [replace(one, inward=a, outward=b, wider=c) for one, a, b, c in varied]
        found |= {one.label: one for one in recovered}
    return [found[mask.segment.label] for mask in masks]


@dataclass(frozen=True)
class _Mask:
    """A segment, and the part (0 to 1) of each voxel of a block of the image within it."""

    segment: Segment
    weights: np.ndarray
    block: tuple[slice, slice, slice]


def _groups(masks: Sequence[_Mask], image: Volume) -> Iterator[list[_Mask]]:
    """Segments whose boxes lie so close that their surroundings meet."""
    if not masks:
        return
    low, high = (np.array([[getattr(s, end) for s in mask.block] for mask in masks]) for end in ("start", "stop"))
    gaps = (np.maximum(low[:, None] - high, low - high[:, None]) * image.spacing[::-1]).max(-1)
    count, number = connected_components(gaps < 2 * REACH_MM, directed=False)
    for group in range(count):
        yield [mask for mask, of in zip(masks, number, strict=True) if of == group]


def _moved(weights: np.ndarray) -> Iterator[np.ndarray]:
    """Masks ``(n, K, J, I)`` with their borders moved by one voxel in the slice, first inwards, then outwards."""
    cross = ndimage.generate_binary_structure(2, 1)[None, None]
    yield ndimage.grey_erosion(weights, footprint=cross)
    yield ndimage.grey_dilation(weights, footprint=cross)


class _Neighbourhood:
    """The fit of the segments of one neighbourhood, in a box of the image that holds them and their surroundings."""

    def __init__(self, data: Data, image: Volume, masks: Sequence[_Mask]):
        self.masks = masks
        size = np.array(image.spacing[::-1])
        margin = np.ceil((REACH_MM + 1.5 * SURROUNDINGS_MM) / size).astype(int)
        low = np.maximum(np.min([[s.start for s in mask.block] for mask in masks], 0) - margin, 0)
        high = np.minimum(np.max([[s.stop for s in mask.block] for mask in masks], 0) + margin, image.shape)
        self.box = image.crop(low[::-1], high[::-1])
        k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        self.window = Window(data, (k, j, i))
        self.weights = np.zeros((len(masks), *self.box.shape), np.float32)
        for weights, mask in zip(self.weights, masks, strict=True):
            weights[tuple(slice(s.start - a, s.stop - a) for s, a in zip(mask.block, low, strict=True))] = mask.weights

    def recover(self) -> list[Recovered]:
        """The SUVs of the segments."""
        fitted, means, errors, backgrounds = self._fit(self.weights)
        lesions = measure_lesions(self.box.with_array(fitted), [mask.segment for mask in self.masks])
        found = []
        for n, (mask, lesion) in enumerate(zip(self.masks, lesions, strict=True)):
            volume = float(self.weights[n].sum(dtype=np.float64)) * self.box.voxel_ml
            figures = (volume, means[n], lesion.suvpeak, lesion.suvmax, errors[n] / means[n], backgrounds[n])
            found.append(Recovered(mask.segment.label, mask.segment.name, *map(float, figures)))
        return found

    def suvmeans(self, weights: np.ndarray, wider: float = 1.0) -> list[float | None]:
        """SUVmean within masks ``(n, K, J, I)``, None in empty ones; the FWHM ``wider`` times as wide."""
        kept = [n for n, one in enumerate(weights) if one.sum() > 0]
        means = dict(zip(kept, self._fit(weights[kept], wider)[1].tolist(), strict=True)) if kept else {}
        return [means.get(n) for n in range(len(weights))]

    def _fit(self, weights: np.ndarray, wider: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The fitted image ``(K, J, I)``; SUVmeans, their standard deviations and backgrounds ``(n,)``.

        Maximum of the Gaussian approximation to the Poisson likelihood about the image, times the priors. The spread
        of those in units of a lesion's contrast follows it in a few iterations.
        """
        image, near = self.box.array, self._bands(weights.max(0))
        continued = self._continued(near <= HOLE_BANDS)
        own_bands = [self._bands(own) for own in weights]
        backgrounds = np.array(
            [continued[(bands <= NEAR_BANDS) & (own < 1)].mean() for own, bands in zip(weights, own_bands, strict=True)]
        )
        templates = [*self._of_lesions(weights, own_bands), *self._around(weights, near, backgrounds, continued)]
        values = np.stack([t.values for t in templates])
        replaced = image * (near <= BANDS)
        projected = self.window.project(np.stack([*values, replaced]), wider)
        weighted = projected * self.window.precision
        information = (weighted @ projected.T).astype(np.float64)
        score = weighted @ self.window.residual + information[:, -1]
        information, score = information[:-1, :-1], score[:-1]  # of the templates, without what they replace
        # a voxel that is half within the segment holds half of its uptake: so the mean over the segment's own part
        inside = np.tensordot(weights, values, ([1, 2, 3], [1, 2, 3])) / (weights**2).sum((1, 2, 3))[:, None]
        inside[:, [t.around for t in templates]] = 0
        means = (weights * image).sum((1, 2, 3)) / weights.sum((1, 2, 3))
        expected, spread = (np.array([getattr(t, name) for t in templates]) for name in ("mean", "spread"))
        for _ in range(ITERATIONS):
            contrast = np.maximum.reduce([means - backgrounds, LEAST_CONTRAST * means, 0 * means + LEAST_SUV])
            unit = np.array([1.0 if t.lesion is None else contrast[t.lesion] for t in templates])
            scaled = information * np.outer(unit, unit) + np.diag(spread**-2.0)
            covariance = np.linalg.inv(scaled)
            amplitudes = unit * (covariance @ (unit * score + expected * spread**-2.0))
            means = np.maximum(inside @ amplitudes, LEAST_SUV)
        covariance = covariance * np.outer(unit, unit)
        fitted = image - replaced + np.tensordot(amplitudes, values, 1)
        return fitted.clip(0), means, np.sqrt(np.einsum("ni,ij,nj->n", inside, covariance, inside)), backgrounds

    def _bands(self, mask: np.ndarray) -> np.ndarray:
        """Number of the band around a mask that each voxel belongs to, ``(K, J, I)``; 0 within it."""
        distance = ndimage.distance_transform_edt(mask <= LEAST_WEIGHT, self.box.spacing[::-1])
        return np.ceil(distance / BAND_MM - ROUNDING)

    def _continued(self, hole: np.ndarray) -> np.ndarray:
        """The image with a hole that is filled by means of its surroundings, weighted by distance."""
        sigma = [SURROUNDINGS_MM / FWHM_PER_SIGMA / mm for mm in self.box.spacing[::-1]]
        known = (~hole).astype(np.float32)
        values, weights = (ndimage.gaussian_filter(x, sigma, truncate=6) for x in (self.box.array * known, known))
        return np.where(hole, values / np.maximum(weights, 1e-6), self.box.array)

    def _of_lesions(self, weights: np.ndarray, bands: Sequence[np.ndarray]) -> Iterator[_Template]:
        """Of every segment: its contrast, how soft its border is, the image's texture, and what infiltrates."""
        outside = 1 - weights.max(0)
        for n, own in enumerate(weights):
            yield _Template(self._blurred(own, BORDER_MM), 1.0, CONTRAST, n)
            yield _Template(self._blurred(own, SOFT_MM) - own, 0.0, SOFT, n)
            mean = float((own * self.box.array).sum() / own.sum())
            yield _Template(own * (self.box.array - mean), TEXTURE_MEAN, TEXTURE)
            for ring in _rings(bands[n], NEAR_BANDS):
                yield _Template(ring * outside, 0.0, NEAR, n, around=True)

    def _around(
        self, weights: np.ndarray, near: np.ndarray, backgrounds: np.ndarray, continued: np.ndarray
    ) -> Iterator[_Template]:
        """The background that the segments' contrasts are added to, and that of the bands around them."""
        yield _Template(np.tensordot(backgrounds, weights, 1), 1.0, SURROUNDINGS)
        for ring in _rings(near, BANDS):
            yield _Template(ring * (1 - weights.max(0)) * continued, 1.0, SURROUNDINGS, around=True)

    def _blurred(self, mask: np.ndarray, fwhm_mm: float) -> np.ndarray:
        psf = GaussianPSF(self.box.shape, self.box.spacing, (fwhm_mm, fwhm_mm))
        return psf(torch.from_numpy(mask)).numpy()


def _rings(bands: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The bands 1 to ``count``; the first with the voxels that lie within the mask in part."""
    for band in range(1, count + 1):
        yield (bands <= 1) if band == 1 else (bands == band)
