"""What is known of a reconstructed image's resolution, and what follows for its blur and its noise.

Lengths are FWHM in mm, as pairs (transaxial, axial). Widths of Gaussians that follow one another add in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .widths import BOX_FWHM

Pair = tuple[float, float]
# FWHM (transaxial, axial) of an image over the scanner's, its filter and voxels taken off: of the Gaussians that bring
# a sharp truth nearest to its image by the simulated protocols (physics/protocols.py), which
# Testing/studies/benchmarks/image_widths.py prints. Without the PSF in the reconstruction it is about the scanner's
# own. With it about 0.7 in the slice (more after a narrow filter), and axially little is left. A penalty leaves faint
# detail at the scanner's own width and hot detail much sharper: results are best with the part for a PSF. Of a Biograph
# Vision with its voxels 0.78 (4.9 mm after a filter of 4 mm; bio-protocol r8756285).
REMAINS = {"no PSF": (1.0, 1.0), "PSF": (0.7, 0.0), "penalised": (0.7, 0.3)}
# With the PSF in the reconstruction, of which more has converged in hot regions than in cool ones: the power of the
# mean with which the variance of the noise grows there, and the share of the scanner's FWHM that is taken off the
# image's, in quadrature, for the response to them (physics/image_model.py). By the PSNR of validation subjects.
NOISE_EXPONENT, RESTORED, LEAST_HOT_PART = 1.3, 0.8, 0.3
# k over the local SUV, 1/mm, by which the response of such updates converges (physics/convergence.py): of the least
# errors of recovered SUVmean over the protocols (Testing/studies/benchmarks/psf_response.py).
PER_SUV = 0.2
# FWHM of the noise's correlation over the scanner's, the filter taken off, by second differences of the noise of the
# simulated protocols over one and two voxels.
NOISE_PARTS = {"no PSF": 0.0, "PSF": 1.0, "penalised": 1.35}
FILTER_SHARE = 0.95  # FWHM of a filter, and of what the PSF adds to it, over that of the noise measured in an image
NOISE_SHARE = 0.75  # FWHM of a usual filter over that of its image


@dataclass(frozen=True)
class ImageResolution:
    """What is known of an image's resolution.

    Parameters
    ----------
    scanner_fwhm_mm : physical FWHM of the scanner, as NEMA NU 2 measures it; None where only the image's is known.
    psf_modelled : whether the reconstruction models the PSF.
    penalised : whether a penalty limits its noise (Q.Clear), which blurs what the PSF would sharpen.
    filter_fwhm_mm : of the Gaussian filter after the reconstruction; 0 for none.
    voxel_mm : voxel size of the image.
    stated_mm : effective FWHM of the image as the user states it, in place of the one from the other values.
    origins : where ``scanner``, ``psf_modelled`` and ``filter`` come from: ``header``, ``stated``, ``setting`` (the
        paper's, simulated without PSF and filter), ``fwhm`` (what the stated FWHM leaves to the filter), ``noise``
        (the filter that the correlation of the noise shows) or ``assumed``.
    warnings : for the user.
    noise_mm : FWHM (transaxial, axial) of the Gaussian that correlates the noise, as measured in the image
        (:func:`.noise_width.noise_widths`); None where it was not.
    """

    scanner_fwhm_mm: Pair | None
    psf_modelled: bool = False
    penalised: bool = False
    filter_fwhm_mm: Pair = (0.0, 0.0)
    voxel_mm: Pair = (0.0, 0.0)
    stated_mm: float | None = None
    origins: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()
    noise_mm: Pair | None = None

    @property
    def stated(self) -> bool:
        """Whether the user stated the effective FWHM."""
        return self.stated_mm is not None

    @property
    def fwhm_mm(self) -> Pair:
        """Effective FWHM (transaxial, axial): ``sqrt((part x scanner)^2 + filter^2)``, or as stated.

        ``part`` is of :data:`REMAINS`. Without a filter the extent of the voxels, ``0.68 voxel``, takes its place. A
        stated FWHM is that in the slice; axially it is in proportion to what the scanner's would be, if known, but
        never less than the extent of a slice, which is there however sharp the reconstruction is.
        """
        across, along = (
            math.hypot(optics, 0.0 if post > 0 else BOX_FWHM * voxel)
            for optics, voxel, post in zip(self.without_voxels_mm, self.voxel_mm, self.filter_fwhm_mm, strict=True)
        )
        if self.stated_mm is None:
            return across, along
        if self.scanner_fwhm_mm is None:
            return self.stated_mm, self.stated_mm
        if self._leaves_no_filter():  # the limit of ever narrower filters, whose widths include the voxels'
            across, along = self.without_voxels_mm
        return self.stated_mm, max(self.stated_mm * along / across, BOX_FWHM * self.voxel_mm[1])

    @property
    def without_voxels_mm(self) -> Pair:
        """(transaxial, axial) FWHM of scanner, reconstruction and filter together."""
        parts = REMAINS[self.kind]
        across, along = (
            math.hypot(part * scanner, post)
            for part, scanner, post in zip(parts, self.own_mm, self.filter_fwhm_mm, strict=True)
        )
        return across, along

    @property
    def noise_fwhm_mm(self) -> float:
        """FWHM in the slice of the Gaussian that correlates the image's noise.

        That of the filter and, with the PSF in the reconstruction, of the back-projected PSF (:data:`NOISE_PARTS`):
        the updates of such a reconstruction are blurred by it, and so is their noise. Where scanner or filter are not
        known it is the measured one, and :data:`NOISE_SHARE` of the image's where none could be measured.
        """
        if self.scanner_fwhm_mm is None or self.guessed("filter"):
            if self.noise_mm is not None:
                return FILTER_SHARE * self.noise_mm[0]
            return math.hypot(NOISE_SHARE * self.fwhm_mm[0], BOX_FWHM * self.voxel_mm[0])
        return math.hypot(NOISE_PARTS[self.kind] * self.own_mm[0], self.filter_fwhm_mm[0])

    @property
    def described(self) -> bool:
        """Whether scanner, PSF and filter are known, and none of them a guess or read from the noise.

        A preset is known, also one of the few whose FWHM has no source.
        """
        return self.scanner_fwhm_mm is not None and not (self.guessed("filter") or self.guessed("psf_modelled"))

    @property
    def noise_known(self) -> bool:
        """Whether :attr:`noise_fwhm_mm` is no guess: known with scanner, PSF and filter, or measured."""
        return self.described or self.noise_mm is not None

    @property
    def noise_exponent(self) -> float:
        """Power of the mean with which the variance of the noise grows in hot regions.

        Where nothing is known of the reconstruction, as with the PSF.
        """
        return NOISE_EXPONENT if self.psf_modelled or self.guessed("psf_modelled") else 1.0

    @property
    def hot_part(self) -> float:
        """FWHM of the response to hot regions over that to the others."""
        if not self.psf_modelled:
            return 1.0
        return math.sqrt(max(1 - (RESTORED * self.own_mm[0] / self.fwhm_mm[0]) ** 2, LEAST_HOT_PART**2))

    @property
    def converging(self) -> tuple[float, float, float] | None:
        """Of updates that model the PSF, how the response converges (:mod:`.physics.convergence`).

        FWHM in the slice of the PSF and of the filter, mm, and k over the local SUV, 1/mm. The filter is what the
        image's FWHM leaves beside the scanner's. None with a penalty: it holds back what is faint more than k says.
        """
        if self.kind != "PSF" or self.scanner_fwhm_mm is None:
            return None
        psf, across = self.own_mm[0], self.fwhm_mm[0]
        voxels = 0.0 if self.filter_fwhm_mm[0] > 0 else BOX_FWHM * self.voxel_mm[0]
        rest = across**2 - (REMAINS[self.kind][0] * psf) ** 2 - voxels**2
        return psf, math.sqrt(max(rest, 0.0)), PER_SUV

    def _leaves_no_filter(self) -> bool:
        """Whether the filter was to follow from a stated FWHM, which is less than scanner and PSF allow without one."""
        stated = self.stated_mm or 0.0
        return (self.origins or {}).get("filter") == "fwhm" and stated < REMAINS[self.kind][0] * self.own_mm[0]

    def guessed(self, what: str) -> bool:
        """Whether neither header nor user says it."""
        return (self.origins or {}).get(what) in ("assumed", "noise")

    @property
    def kind(self) -> str:
        """Of the reconstruction: ``no PSF``, ``PSF`` or ``penalised``."""
        return "penalised" if self.penalised else "PSF" if self.psf_modelled else "no PSF"

    @property
    def own_mm(self) -> Pair:
        """The scanner's FWHM; zeros where it is not known."""
        return self.scanner_fwhm_mm or (0.0, 0.0)

    def words(self) -> str:
        """``4.3 mm scanner, PSF modelled, 5 mm filter: 5.8 mm``, and the axial value if 0.3 mm from it."""
        across, along = self.fwhm_mm
        axial = f" (axial {one_digit(along)} mm)" if abs(across - along) >= 0.3 else ""
        if self.stated_mm is not None:
            return f"{one_digit(across)} mm{axial}, stated"
        psf = "PSF modelled" if self.psf_modelled else "PSF not modelled"
        psf += ", penalised" if self.penalised else ""
        voxels = ""
        if self.voxel_mm[0] and not self.filter_fwhm_mm[0]:
            voxels = f", {self.voxel_mm[0]:.2g} mm voxels"
        elif self.voxel_mm[1] and not self.filter_fwhm_mm[1]:
            voxels = f", {self.voxel_mm[1]:.2g} mm slices"
        parts = f"{one_digit(self.own_mm[0])} mm scanner, {psf}, {self._filter_words()}{voxels}"
        return f"{parts}: {one_digit(across)} mm{axial}"

    def _filter_words(self) -> str:
        """``5 mm filter``, ``6.8 x 5.7 mm filter by its noise``, ``6.1 mm axial filter`` or ``no filter``."""
        transaxial, axial = self.filter_fwhm_mm
        if not (transaxial or axial):
            return "no filter"
        measured = (self.origins or {}).get("filter") == "noise"
        widths = dict.fromkeys(width for width in (transaxial, axial) if width)
        lengths = " x ".join(f"{width:{'.1f' if measured else '.3g'}}" for width in widths)
        direction = "" if transaxial and axial else "transaxial " if transaxial else "axial "
        return f"{lengths} mm {direction}filter{' by its noise' if measured else ''}"

    def to_dict(self) -> dict[str, Any]:
        """For the report: the fields but the warnings, the effective FWHM, and all in words."""
        plain = {name: value for name, value in asdict(self).items() if name != "warnings"}
        return plain | {"fwhm_mm": self.fwhm_mm, "words": self.words()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageResolution:
        """Inverse of :meth:`to_dict`; raises KeyError or TypeError for anything else."""
        told = {"noise_mm": None, **values}  # which reports of former versions lack
        plain: dict[str, Any] = {f.name: told[f.name] for f in fields(cls) if f.name != "warnings"}
        plain |= {name: tuple(value) for name, value in plain.items() if isinstance(value, list)}
        return cls(**plain)


def one_digit(length: float) -> str:
    """A length in mm for a message."""
    return f"{length:.1f}"
