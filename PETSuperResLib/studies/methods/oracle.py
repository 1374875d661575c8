"""The oracle of a tuned method: of many candidates, the one of least squared error against the truth itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from torch import Tensor

from ...physics.psf import GaussianPSF

#: post-filters to choose from, Gaussian in all three directions (FWHM)
FILTERS_MM = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)


class Oracle:
    """Keeps the best of the images that it looks at, each as it is and filtered.

    It needs the truth ``(S, J, I)``: its choice bounds any tuning of a method on this patient.
    """

    def __init__(self, truth: Tensor, spacing: tuple[float, float, float], filters_mm: Sequence[float] = ()):
        shape = (truth.shape[0], truth.shape[1], truth.shape[2])
        self.truth, self.best, self.least = truth, truth, float("inf")
        self.filters = [GaussianPSF(shape, spacing, (f, f), truth.device) for f in filters_mm]

    def look(self, image: Tensor) -> None:
        """Consider an image ``(S, J, I)``."""
        for candidate in (image, *(blur(image) for blur in self.filters)):
            error = float((candidate - self.truth).double().square().sum())
            if error < self.least:
                self.best, self.least = candidate.clone(), error

    def look_along(self, iterates: Iterator[Tensor], numbers: Sequence[int]) -> None:
        """Consider the iterates of these numbers, from 1 on."""
        for number, image in enumerate(islice(iterates, max(numbers)), 1):
            if number in numbers:
                self.look(image)
