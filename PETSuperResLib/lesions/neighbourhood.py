"""The templates that stand for the activity about the segments of a neighbourhood, and their fit to the measurement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from scipy import ndimage

from ..physics.amplitudes import Data
from ..physics.psf import GaussianPSF
from ..physics.window import Window
from ..volume import Volume
from ..widths import FWHM_PER_SIGMA
from .averaging import CONTRAST, LinearModel, Posterior, Template
from .borders import Shape
from .segments import Block, Segment

BAND_MM, BANDS = 2.0, 5  # width and number of the bands around the segments in which the image is replaced
REACH_MM = BAND_MM * BANDS
SURROUNDINGS_MM = 12.0  # FWHM of the weights with which the image beyond is continued into them
MARGIN_MM = REACH_MM + 1.5 * SURROUNDINGS_MM
LEAST_WEIGHT = 1e-5  # of the image beyond in a voxel into which it is continued
NEAR_BANDS = 2  # that an infiltrating lesion may reach into
SHIFTS_MM = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # of the true border beyond the drawn one
SHIFT_MM = 1.5  # standard deviation of their prior
DOMES_MM = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0)  # FWHM with which the image may show a uniform lesion
DOME_MM, APART_MM = 8.0, 2.0  # around a segment in which that is found, but so far from all others
LEAST_ABOUT = 8  # voxels that this takes
SWEEPS = 2  # through the segments, as the evidence of a border depends on those of the others
# standard deviations of the priors: of the bands in units of the contrast, of the rest relative to itself
NEAR, TEXTURE, SURROUNDINGS = 0.1, 0.3, 0.3
TEXTURE_MEAN = 0.5  # of the image's own texture that is expected to be true
PRIOR = np.exp(-0.5 * np.square(SHIFTS_MM) / SHIFT_MM**2)
PRIOR /= PRIOR.sum()
WIDER = 1.1  # times the FWHM, to see what its uncertainty does


@dataclass(frozen=True)
class Fitted:
    """What the fit gives: the image ``(K, J, I)``, and of every segment its SUVmean, that with a wider FWHM and the
    SUV of its surroundings."""

    image: np.ndarray
    means: list[Posterior]
    wider: np.ndarray
    backgrounds: np.ndarray


class Neighbourhood:
    """Segments in a ``block`` of the image, to whose surroundings it extends; ``box`` is the image in it."""

    def __init__(self, data: Data, image: Volume, block: Block, segments: Sequence[Segment]):
        self.window, self.segments = Window(data, block), segments
        self.box = image.crop(*([getattr(s, end) for s in reversed(block)] for end in ("start", "stop")))
        self.shapes = [Shape(segment, self.box) for segment in segments]
        self.own = [shape.coarse(shape.inside) for shape in self.shapes]
        self.distances = [shape.coarse(shape.distance) for shape in self.shapes]
        self.union = np.minimum.reduce([shape.distance for shape in self.shapes])
        hole = self._coarse(self.union <= REACH_MM)
        self.replaced = hole * self.box.array
        self.continued = self._continued(hole > 0)
        self.means, self.backgrounds = (
            np.array([(own * values).sum() / own.sum() for own in self.own])
            for values in (self.box.array, self.continued)
        )

    def fit(self) -> Fitted:
        """Fit the templates to the data."""
        contrasts, others = [list(self._contrasts(n)) for n in range(len(self.shapes))], list(self._others())
        model = self._model([*chain.from_iterable(contrasts), *others], len(SHIFTS_MM))
        shapes = np.tile(PRIOR, (len(self.shapes), 1))
        for _ in range(SWEEPS):
            model.mix(shapes)
            found = [model.posterior(n, PRIOR) for n in range(len(shapes))]
            shapes = np.stack([shares for _, shares in found])
        likely = [
            Template(np.tensordot(row, [t.values for t in own], 1), row @ [t.inside for t in own], 1.0, CONTRAST, n)
            for n, (row, own) in enumerate(zip(shapes, contrasts, strict=True))
        ]
        templates = [*likely, *others]
        narrow, wide = (self._model(templates, 1, wider) for wider in (1.0, WIDER))
        for one in (narrow, wide):
            one.mix(np.ones((len(likely), 1)))
        values = np.tensordot(narrow.amplitudes(), [t.values for t in templates], 1)
        image = self.box.array - self.replaced + values
        return Fitted(image.clip(0), [posterior for posterior, _ in found], wide.means / narrow.means, self.backgrounds)

    def _model(self, templates: Sequence[Template], shapes: int, wider: float = 1.0) -> LinearModel:
        """Of templates in the place of what the image has there; with the FWHM of the data or a ``wider`` one."""
        lines = self.window.project(np.stack([t.values for t in templates]), wider)
        weighted = lines * self.window.precision
        score = weighted @ (self.window.residual + self.window.project(self.replaced[None])[0])
        information = (weighted @ lines.T).astype(np.float64)
        return LinearModel(templates, information, score.astype(np.float64), self.means, self.backgrounds, shapes)

    def _contrasts(self, n: int) -> Iterator[Template]:
        """Of a segment, the lesion with its border at each of :data:`SHIFTS_MM`."""
        for shift in SHIFTS_MM:
            cover = self.shapes[n].cover(shift)
            inside = np.array([one.mean(cover) for one in self.shapes])
            yield Template(self._coarse(cover), inside, 1.0, CONTRAST, n)

    def _others(self) -> Iterator[Template]:
        """Background under and around all segments; of each the image's texture, and what infiltrates beyond it."""
        none, outside = np.zeros(len(self.shapes)), self.union > 0
        total = np.maximum(np.sum(self.own, 0), 1)  # where segments touch or overlap a little
        yield Template(np.tensordot(self.backgrounds, self.own, 1) / total, self.backgrounds, 1.0, SURROUNDINGS)
        for ring in self._bands(self.union, BANDS):
            yield Template(ring * self.continued, none, 1.0, SURROUNDINGS)
        for n, shape in enumerate(self.shapes):
            yield Template(self._texture(n), none, TEXTURE_MEAN, TEXTURE)
            for band in self._bands(np.where(outside, shape.distance, 0), NEAR_BANDS):
                yield Template(band, none, 0.0, NEAR, n)

    def _bands(self, distance: np.ndarray, count: int) -> Iterator[np.ndarray]:
        for low in BAND_MM * np.arange(count):
            yield self._coarse((distance > low) & (distance <= low + BAND_MM))

    def _texture(self, n: int) -> np.ndarray:
        """What the image shows in a segment beyond a uniform lesion at the image's own resolution, of mean 0."""
        own, image = self.own[n], self.box.array
        others = np.minimum.reduce([*self.distances[:n], *self.distances[n + 1 :]], initial=np.inf)
        near = self.distances[n] <= DOME_MM
        about = near & (others > APART_MM)
        if about.sum() < LEAST_ABOUT:  # other segments enclose it
            about = near
        across, along = self.window.data.fwhm_mm
        found = []
        for fwhm in DOMES_MM:
            psf = GaussianPSF(self.box.shape, self.box.spacing, (fwhm, fwhm * along / across))
            dome = psf(torch.from_numpy(own)).numpy()
            beyond = image - np.polyval(np.polyfit(dome[about], image[about], 1), dome)
            found.append((float(np.square(beyond[about], dtype=np.float64).sum()), beyond))
        texture = own * min(found, key=lambda one: one[0])[1]
        return np.asarray(texture - own * texture.sum() / own.sum(), np.float32)

    def _coarse(self, fine: np.ndarray) -> np.ndarray:
        return self.shapes[0].coarse(fine)

    def _continued(self, hole: np.ndarray) -> np.ndarray:
        """The image with a hole that is filled by means of its surroundings, weighted by distance.

        Deeper than their weights reach it is as at the nearest voxel within their reach.
        """
        sigma = [SURROUNDINGS_MM / FWHM_PER_SIGMA / mm for mm in self.box.spacing[::-1]]
        known = (~hole).astype(np.float32)
        values, weights = (ndimage.gaussian_filter(x, sigma, truncate=6) for x in (self.box.array * known, known))
        filled = np.where(hole, values / np.maximum(weights, LEAST_WEIGHT), self.box.array)
        deep = weights < LEAST_WEIGHT
        if not deep.any() or deep.all():
            return filled
        nearest = ndimage.distance_transform_edt(deep, self.box.spacing[::-1], False, True)
        return np.asarray(filled[tuple(nearest)])
