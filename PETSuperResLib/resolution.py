"""The resolution of a reconstructed image: the scanner's, the PSF in the reconstruction, and the post-filter.

Lengths are FWHM in mm, as pairs (transaxial, axial). Widths of Gaussians that follow one another add in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import InputError
from .scanner import SETTINGS, Scanner
from .vendor_strings import header_words, read_header
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
# factor between the widths of the noise, measured and expected, from which a user is told, and the least that shows
UNLIKE, LEAST_NOISE_MM = 1.25, 4.0
HELD = 1.1  # times the filter that the noise shows, that a stated FWHM may leave for it
LEAST_MM, WIDEST_MM = 1.0, 18.0  # FWHM of a PET image: the widest is of a scanner of 10 mm with a filter of 15 mm
USUAL_MM = (2.5, 12.0)  # FWHM of whole-body images, from those with PSF and no filter to old scanners with a wide one
USUAL_FILTER_MM = 8.0  # the widest one that a header may leave out
NO_FILTER_MM = 0.1  # from the width that voxels have by themselves: a stated FWHM is of an image without a filter
APART = 1.5  # factor by which a stated FWHM may differ from that by scanner, header and voxels; protocols differ by 1.2


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
            for part, scanner, post in zip(parts, self._scanner(), self.filter_fwhm_mm, strict=True)
        )
        return across, along

    @property
    def noise_fwhm_mm(self) -> float:
        """FWHM in the slice of the Gaussian that correlates the image's noise.

        That of the filter and, with the PSF in the reconstruction, of the back-projected PSF (:data:`NOISE_PARTS`):
        the updates of such a reconstruction are blurred by it, and so is their noise. Where scanner or filter are not
        known it is the measured one, and :data:`NOISE_SHARE` of the image's where none could be measured.
        """
        if self.scanner_fwhm_mm is None or self._guessed("filter"):
            if self.noise_mm is not None:
                return FILTER_SHARE * self.noise_mm[0]
            return math.hypot(NOISE_SHARE * self.fwhm_mm[0], BOX_FWHM * self.voxel_mm[0])
        return math.hypot(NOISE_PARTS[self.kind] * self._scanner()[0], self.filter_fwhm_mm[0])

    @property
    def described(self) -> bool:
        """Whether scanner, PSF and filter are known, and none of them a guess or read from the noise.

        A preset is known, also one of the few whose FWHM has no source.
        """
        return self.scanner_fwhm_mm is not None and not (self._guessed("filter") or self._guessed("psf_modelled"))

    @property
    def noise_known(self) -> bool:
        """Whether :attr:`noise_fwhm_mm` is no guess: known with scanner, PSF and filter, or measured."""
        return self.described or self.noise_mm is not None

    @property
    def noise_exponent(self) -> float:
        """Power of the mean with which the variance of the noise grows in hot regions.

        Where nothing is known of the reconstruction, as with the PSF.
        """
        return NOISE_EXPONENT if self.psf_modelled or self._guessed("psf_modelled") else 1.0

    @property
    def hot_part(self) -> float:
        """FWHM of the response to hot regions over that to the others."""
        if not self.psf_modelled:
            return 1.0
        return math.sqrt(max(1 - (RESTORED * self._scanner()[0] / self.fwhm_mm[0]) ** 2, LEAST_HOT_PART**2))

    @property
    def converging(self) -> tuple[float, float, float] | None:
        """Of updates that model the PSF, how the response converges (:mod:`.physics.convergence`).

        FWHM in the slice of the PSF and of the filter, mm, and k over the local SUV, 1/mm. The filter is what the
        image's FWHM leaves beside the scanner's. None with a penalty: it holds back what is faint more than k says.
        """
        if self.kind != "PSF" or self.scanner_fwhm_mm is None:
            return None
        psf, across = self._scanner()[0], self.fwhm_mm[0]
        voxels = 0.0 if self.filter_fwhm_mm[0] > 0 else BOX_FWHM * self.voxel_mm[0]
        rest = across**2 - (REMAINS[self.kind][0] * psf) ** 2 - voxels**2
        return psf, math.sqrt(max(rest, 0.0)), PER_SUV

    def _leaves_no_filter(self) -> bool:
        """Whether the filter was to follow from a stated FWHM, which is less than scanner and PSF allow without one."""
        stated = self.stated_mm or 0.0
        return (self.origins or {}).get("filter") == "fwhm" and stated < REMAINS[self.kind][0] * self._scanner()[0]

    def _guessed(self, what: str) -> bool:
        """Whether neither header nor user says it."""
        return (self.origins or {}).get(what) in ("assumed", "noise")

    @property
    def kind(self) -> str:
        """Of the reconstruction: ``no PSF``, ``PSF`` or ``penalised``."""
        return "penalised" if self.penalised else "PSF" if self.psf_modelled else "no PSF"

    def _scanner(self) -> Pair:
        return self.scanner_fwhm_mm or (0.0, 0.0)

    def words(self) -> str:
        """``4.3 mm scanner, PSF modelled, 5 mm filter: 5.8 mm``, and the axial value if 0.3 mm from it."""
        across, along = self.fwhm_mm
        axial = f" (axial {_mm(along)} mm)" if abs(across - along) >= 0.3 else ""
        if self.stated_mm is not None:
            return f"{_mm(across)} mm{axial}, stated"
        filters = [f for f in self.filter_fwhm_mm if f > 0]
        post = "no filter"
        if filters:
            same = len(filters) == 2 and filters[0] == filters[1]
            measured = (self.origins or {}).get("filter") == "noise"
            number = ".1f" if measured else ".3g"
            post = f"{' x '.join(f'{f:{number}}' for f in (filters[:1] if same else self.filter_fwhm_mm))} mm filter"
            post += " by its noise" if measured else ""
        psf = "PSF modelled" if self.psf_modelled else "PSF not modelled"
        psf += ", penalised" if self.penalised else ""
        voxels = f", {self.voxel_mm[0]:.2g} mm voxels" if self.voxel_mm[0] and not all(self.filter_fwhm_mm) else ""
        return f"{_mm(self._scanner()[0])} mm scanner, {psf}, {post}{voxels}: {_mm(across)} mm{axial}"

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


def check_fwhm(fwhm: float) -> None:
    """Raise :class:`InputError` for a stated FWHM in mm that no clinical PET image has."""
    if LEAST_MM <= fwhm <= WIDEST_MM:
        return
    beyond = f"less than {LEAST_MM:g} mm"
    if not fwhm < LEAST_MM:
        beyond = f"more than {WIDEST_MM:g} mm (an old scanner's with the widest filter)"
    usual = f"{USUAL_MM[0]:g} to {USUAL_MM[1]:g} mm"
    raise InputError(
        f"A FWHM of {fwhm:g} mm is that of no clinical PET image, of which most have {usual} and none {beyond}: state "
        "the image's FWHM in mm, not in pixels, filter included.",
        "fwhm",
    )


def resolution_of(
    scanner: Scanner | None,
    metadata: Mapping[str, Any],
    voxel_mm: Pair = (0.0, 0.0),
    fwhm: float | None = None,
    post_filter: float | None = None,
    psf_modelled: bool | None = None,
    noise_mm: Pair | None = None,
) -> ImageResolution:
    """The resolution of a scanner's image from its header, and from what the user states in place of the header.

    ``metadata`` is the volume's (:mod:`.vendor_strings`); ``voxel_mm`` its voxels (in the slice, across slices).
    ``fwhm`` is the effective FWHM of the image in the slice, ``post_filter`` the filter's FWHM, both in mm; what else
    is known serves the noise and hot regions besides a stated FWHM: from scanner and PSF the filter follows. Where
    neither says the filter, the width of the image's noise does, ``noise_mm`` (:func:`.noise_width.noise_widths`);
    where it contradicts them, a warning says so, and a stated FWHM counts as far as it bears that out. What none of
    these says is assumed as no PSF and no filter, with a warning: a FWHM below the true one sharpens too little, one
    above it overshoots at edges. The noise is not assumed so (:attr:`ImageResolution.noise_fwhm_mm`,
    :attr:`~ImageResolution.noise_exponent`): it is taken as larger. A stated FWHM far from what scanner, header and
    voxels give has a warning, too. Raises :class:`InputError` where there is neither a scanner nor a FWHM, and for a
    stated FWHM that no image has (:func:`check_fwhm`) or of less than half a voxel.
    """
    physical = None if scanner is None else (scanner.fwhm_transaxial_mm, scanner.fwhm_axial_mm)
    if fwhm is not None:
        check_fwhm(fwhm)
        if fwhm < max(voxel_mm) / 2:
            raise InputError(
                f"A FWHM of {fwhm:g} mm is less than half of the PET's voxels ({_voxels(voxel_mm)}): state the FWHM of "
                "the image, filter included.",
                "fwhm",
            )
    elif physical is None:
        raise InputError("The PET's resolution is not known: name the scanner, or state the image's FWHM.", "fwhm")
    found = read_header(metadata, voxel_mm[1])
    origins = {"psf_modelled": "header", "filter": "header"}
    modelled, post, unknown = found.psf_modelled, found.filter_fwhm_mm, []
    penalised = found.penalised and psf_modelled is not False  # a penalty belongs to updates that model the PSF
    if scanner is not None and scanner.name in SETTINGS.values() and (modelled, post) == (None, None):
        modelled, post = False, (0.0, 0.0)  # images of the paper's settings are simulated so
        origins = {"psf_modelled": "setting", "filter": "setting"}
    if psf_modelled is not None:
        modelled, origins["psf_modelled"] = psf_modelled, "stated"
    elif modelled is None:
        modelled, origins["psf_modelled"] = False, "assumed"
        unknown.append("whether the reconstruction modelled the PSF (taken as not)")
    if post_filter is not None:
        post, origins["filter"] = (float(post_filter), float(post_filter)), "stated"
    elif post is None and physical is not None and noise_mm is not None and fwhm is None:
        sure = origins["psf_modelled"] != "assumed"
        post, origins["filter"] = filter_of_noise(physical, noise_mm, voxel_mm, modelled if sure else None), "noise"
        unknown.append(f"the post-filter (taken as {_widths(post)} by the image's noise)")
    elif post is None:
        post, origins["filter"] = (0.0, 0.0), "assumed"
        unknown.append("the post-filter (taken as none)")
    warnings = []
    if unknown and fwhm is None:
        strings = "".join(f"The header's '{text}' is not known. " for text in found.unknown)
        larger = "the noise of hot regions is taken as larger, in case it did, and "
        if origins["filter"] == "assumed":
            larger = "the noise is taken as larger, in case there was a filter, and "
        elif origins["psf_modelled"] != "assumed":
            larger = ""
        warnings.append(
            f"{strings}{header_words(metadata)} does not say {' and '.join(unknown)}: state what is known, or the FWHM "
            f"of the image. Until then {larger}intervals are wider."
        )
    stated = None if fwhm is None else float(fwhm)
    origins |= {} if fwhm is None else {"fwhm": "stated"}
    known = (physical, modelled, penalised, post or (0.0, 0.0), voxel_mm, stated, origins)
    resolution = ImageResolution(*known, noise_mm=noise_mm)
    resolution, held = _held_to_noise(resolution)
    warnings += [*held, *_unlikely(resolution), *_coarse(resolution)]
    resolution = _with_filter_of_fwhm(resolution)
    return replace(resolution, warnings=(*warnings, *_unlike_its_noise(resolution)))


def filter_of_noise(scanner: Pair, noise_mm: Pair, voxel_mm: Pair, psf_modelled: bool | None) -> Pair:
    """FWHM (transaxial, axial) of the filter after the reconstruction that correlates the noise as it was measured.

    With the PSF in the reconstruction the noise is correlated by that, too (:data:`NOISE_PARTS`). Where nothing is
    known of it (None), the filter is that by which an image without the PSF has the width of one with it, which is the
    narrower of both: as little is sharpened as either asks for. One narrower than the voxels' own extent is none.
    """
    widths = []
    for own, noise, voxel, remains in zip(scanner, noise_mm, voxel_mm, REMAINS["PSF"], strict=True):
        square = (FILTER_SHARE * noise) ** 2
        if psf_modelled is not False:
            square -= (NOISE_PARTS["PSF"] * own) ** 2
        if psf_modelled is None:
            square = max(square, 0.0) - (1 - remains**2) * own**2
        width = math.sqrt(max(square, 0.0))
        widths.append(width if width > BOX_FWHM * voxel else 0.0)
    return widths[0], widths[1]


def _widths(pair: Pair) -> str:
    """``6.1 x 4.2 mm``, or ``none``."""
    return f"{pair[0]:.1f} x {pair[1]:.1f} mm" if any(pair) else "none"


def _with_filter_of_fwhm(resolution: ImageResolution) -> ImageResolution:
    """With the filter that a stated FWHM leaves, where scanner and PSF are known and the filter is not.

    So the noise and the axial FWHM are those of the same image by its scanner and filter.
    """
    stated, scanner = resolution.stated_mm, resolution.scanner_fwhm_mm
    if stated is None or scanner is None or resolution._guessed("psf_modelled") or not resolution._guessed("filter"):
        return resolution
    post = _filter_of_fwhm(resolution)
    return replace(resolution, filter_fwhm_mm=(post, post), origins={**(resolution.origins or {}), "filter": "fwhm"})


def _held_to_noise(resolution: ImageResolution) -> tuple[ImageResolution, list[str]]:
    """With a FWHM or filter that the user states no wider than the noise bears out, and what to tell of it.

    Without the PSF in the reconstruction: a filter correlates the noise at least by its own width, so scanner and noise
    bound the FWHM. With the PSF, how much of it is left of the image's width depends on the iterations.
    """
    noise, scanner, origins = resolution.noise_mm, resolution.scanner_fwhm_mm, resolution.origins or {}
    if noise is None or scanner is None or resolution.psf_modelled or resolution._guessed("psf_modelled"):
        return resolution, []
    shown = FILTER_SHARE * max(noise[0], _least_noise(resolution))
    most, post, stated = HELD * shown, resolution.filter_fwhm_mm, resolution.stated_mm
    widest = math.hypot(scanner[0], most)
    bears = f"more than the image's noise bears out, which is as narrow as behind a filter of {_mm(shown)} mm"
    if stated is not None and stated > widest:
        return replace(resolution, stated_mm=widest), [
            f"The stated FWHM of {stated:.3g} mm is {bears}: {_mm(widest)} mm is taken, what a scanner of "
            f"{_mm(scanner[0])} mm and {HELD:g} times that filter give. If the scanner's own FWHM is another, state "
            "that."
        ]
    if stated is None and origins.get("filter") == "stated" and post[0] > most:
        told = f"The stated filter of {post[0]:.3g} mm is {bears}: {_mm(most)} mm is taken, {HELD:g} times that."
        return replace(resolution, filter_fwhm_mm=(most, min(post[1], most))), [told]
    return resolution, []


def _filter_of_fwhm(resolution: ImageResolution) -> float:
    """FWHM in the slice of the filter that scanner and PSF leave of a stated FWHM; 0 for the voxels' extent alone."""
    left = (resolution.stated_mm or 0.0) ** 2 - (REMAINS[resolution.kind][0] * resolution._scanner()[0]) ** 2
    post = math.sqrt(max(left, 0.0))
    return 0.0 if abs(post - BOX_FWHM * resolution.voxel_mm[0]) < NO_FILTER_MM else post


def _unlikely(resolution: ImageResolution) -> list[str]:
    """A warning where a stated FWHM is far from what scanner, header and voxels give, or no usual image has it."""
    stated = resolution.stated_mm
    if stated is None:
        return []
    if resolution.scanner_fwhm_mm is None:
        if USUAL_MM[0] <= stated <= USUAL_MM[1]:
            return []
        return [
            f"The stated FWHM of {stated:g} mm is unusual, as whole-body PET images have {USUAL_MM[0]:g} mm (a sharp "
            f"scanner, the PSF modelled, no filter) to {USUAL_MM[1]:g} mm (an old scanner, a wide filter): check it, "
            "as it decides how much is sharpened."
        ]
    given = replace(resolution, stated_mm=None)
    narrow = replace(given, psf_modelled=True) if resolution._guessed("psf_modelled") else given
    wide = replace(given, filter_fwhm_mm=(USUAL_FILTER_MM,) * 2) if resolution._guessed("filter") else given
    low, high = narrow.fwhm_mm[0], wide.fwhm_mm[0]
    if low / APART <= stated <= high * APART:
        return []
    expected = f"{_mm(low)} mm" if high - low < 0.1 else f"{_mm(low)} to {_mm(high)} mm"
    return [
        f"The stated FWHM of {stated:g} mm is far from the {expected} that {_parts(resolution)} give: check them and "
        "the FWHM, as it decides how much is sharpened."
    ]


def _unlike_its_noise(resolution: ImageResolution) -> list[str]:
    """A warning where the noise is wider or narrower than scanner, PSF and filter would make it.

    Not with a penalty, by which the width depends on the activity, nor for widths that the noise does not show.
    """
    if resolution.noise_mm is None or resolution.penalised or not resolution.described:
        return []
    post = _filter_of_fwhm(resolution) if resolution.stated else resolution.filter_fwhm_mm[0]
    expected = math.hypot(NOISE_PARTS[resolution.kind] * resolution._scanner()[0], post) / FILTER_SHARE
    least = _least_noise(resolution)
    shown, expected = max(resolution.noise_mm[0], least), max(expected, least)
    if 1 / UNLIKE <= shown / expected <= UNLIKE:
        return []
    known = f"the stated FWHM of {resolution.stated_mm:.3g} mm" if resolution.stated else _parts(resolution)
    less = "less sharp, as if it had been smoothed or resampled later" if shown > expected else "sharper"
    return [
        f"The image's noise has a width of {_mm(shown)} mm, where {known} would give it {_mm(expected)} mm: the image "
        f"may be {less}. Check them, as they decide how much is sharpened."
    ]


def _least_noise(resolution: ImageResolution) -> float:
    """The least width of the noise that shows on the image's voxels."""
    return max(LEAST_NOISE_MM, resolution.voxel_mm[0])


def _parts(resolution: ImageResolution) -> str:
    """What the expected FWHM is made of: scanner, PSF, filter and, where there may be no filter, voxels."""
    psf = f"the PSF {'' if resolution.psf_modelled else 'not '}modelled{', penalised' if resolution.penalised else ''}"
    post = resolution.filter_fwhm_mm[0]
    smoothed = f"a filter of {post:.3g} mm" if post else "no filter"
    if resolution._guessed("psf_modelled"):
        psf = "the PSF modelled or not"
    if resolution._guessed("filter"):
        smoothed = f"no filter or one of up to {USUAL_FILTER_MM:g} mm"
    voxel = resolution.voxel_mm[0]
    parts = [f"a scanner of {_mm(resolution._scanner()[0])} mm", psf, smoothed]
    parts += [f"voxels of {voxel:.3g} mm"] if voxel and not post else []
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _coarse(resolution: ImageResolution) -> list[str]:
    """A warning where the voxels are larger than scanner and filter together resolve, or than the stated FWHM."""
    across, along = (
        math.hypot(*widths) for widths in zip(resolution._scanner(), resolution.filter_fwhm_mm, strict=True)
    )
    if resolution.stated:
        across, along = resolution.fwhm_mm
    pixel, step = resolution.voxel_mm
    if pixel <= across and (step <= along or along == 0):
        return []
    fwhm = f"{_mm(across)} mm, axially {_mm(along)} mm" if along else f"{_mm(across)} mm"
    return [
        f"The PET's voxels ({_voxels(resolution.voxel_mm)}) are larger than its resolution ({fwhm}): they lose detail "
        "that cannot be restored. Check the FWHM."
    ]


def _voxels(voxel_mm: Pair) -> str:
    return f"{voxel_mm[0]:.3g} mm, slices {voxel_mm[1]:.3g} mm"


def _mm(length: float) -> str:
    return f"{length:.1f}"
