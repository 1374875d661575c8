"""The resolution of a reconstructed image: from its header, from what the user states, and from its noise.

Lengths are FWHM in mm, as pairs (transaxial, axial).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import InputError
from .image_resolution import FILTER_SHARE, NOISE_PARTS, REMAINS, ImageResolution, Pair, one_digit
from .scanner import SETTINGS, Scanner
from .vendor_strings import header_words, read_header
from .widths import BOX_FWHM

# factor between the widths of the noise, measured and expected, from which a user is told, and the least that shows
UNLIKE, LEAST_NOISE_MM = 1.25, 4.0
HELD = 1.1  # times the filter that the noise shows, or its inverse, that a stated FWHM may leave for it
LEAST_MM, WIDEST_MM = 1.0, 18.0  # FWHM of a PET image: the widest is of a scanner of 10 mm with a filter of 15 mm
USUAL_MM = (2.5, 12.0)  # FWHM of whole-body images, from those with PSF and no filter to old scanners with a wide one
USUAL_FILTER_MM = 8.0  # the widest one that a header may leave out
NO_FILTER_MM = 0.1  # from the width that voxels have by themselves: a stated FWHM is of an image without a filter
APART = 1.5  # factor by which a stated FWHM may differ from that by scanner, header and voxels; protocols differ by 1.2


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
    """``6.1 x 4.2 mm``, ``6.1 mm in the slice and none axially`` or ``none``."""
    transaxial, axial = pair
    if transaxial and axial:
        return f"{one_digit(transaxial)} x {one_digit(axial)} mm"
    if transaxial:
        return f"{one_digit(transaxial)} mm in the slice and none axially"
    return f"{one_digit(axial)} mm axially and none in the slice" if axial else "none"


def _with_filter_of_fwhm(resolution: ImageResolution) -> ImageResolution:
    """With the filter that a stated FWHM leaves, where scanner and PSF are known and the filter is not.

    So the noise and the axial FWHM are those of the same image by its scanner and filter.
    """
    stated, scanner = resolution.stated_mm, resolution.scanner_fwhm_mm
    if stated is None or scanner is None or resolution.guessed("psf_modelled") or not resolution.guessed("filter"):
        return resolution
    post = _filter_of_fwhm(resolution)
    return replace(resolution, filter_fwhm_mm=(post, post), origins={**(resolution.origins or {}), "filter": "fwhm"})


def _held_to_noise(resolution: ImageResolution) -> tuple[ImageResolution, list[str]]:
    """With a FWHM or filter that the user states as far as the noise bears it out, and what to tell of it.

    Without the PSF in the reconstruction: a filter correlates the noise by its own width, and little else does, so that
    scanner and noise bound the FWHM from both sides. A filter that is stated as narrower counts: the image may have
    been smoothed after that one. With the PSF, how much of it is left of the image's width depends on the iterations.
    """
    noise, scanner, origins = resolution.noise_mm, resolution.scanner_fwhm_mm, resolution.origins or {}
    if noise is None or scanner is None or resolution.psf_modelled or resolution.guessed("psf_modelled"):
        return resolution, []
    least, post, stated = _least_noise(resolution), resolution.filter_fwhm_mm, resolution.stated_mm
    shown = FILTER_SHARE * max(noise[0], least)
    most = HELD * shown
    as_narrow = f"more than the image's noise bears out, which is as narrow as behind a filter of {one_digit(shown)} mm"
    if stated is None:
        if origins.get("filter") != "stated" or post[0] <= most:
            return resolution, []
        told = (
            f"The stated filter of {post[0]:.3g} mm is {as_narrow}: {one_digit(most)} mm is taken, {HELD:g} times that."
        )
        return replace(resolution, filter_fwhm_mm=(most, min(post[1], most))), [told]
    narrowest = shown / HELD if noise[0] >= least else 0.0  # a filter that does not show may be none
    taken = min(max(stated, math.hypot(scanner[0], narrowest)), math.hypot(scanner[0], most))
    if taken == stated:
        return resolution, []
    own = f"a scanner of {one_digit(scanner[0])} mm"
    if taken < stated:
        why, by = as_narrow, f"what {own} and {HELD:g} times that filter give"
    elif narrowest:
        why = f"less than the image's noise bears out, which is as wide as behind a filter of {one_digit(shown)} mm"
        by = f"what {own} and that filter over {HELD:g} give"
    else:
        why, by = "less than the scanner's own, which is left without the PSF", "the scanner's"
    told = f"The stated FWHM of {stated:.3g} mm is {why}: {one_digit(taken)} mm is taken, {by}."
    return replace(resolution, stated_mm=taken), [f"{told} If the scanner's own FWHM is another, state that."]


def _filter_of_fwhm(resolution: ImageResolution) -> float:
    """FWHM in the slice of the filter that scanner and PSF leave of a stated FWHM; 0 for the voxels' extent alone."""
    left = (resolution.stated_mm or 0.0) ** 2 - (REMAINS[resolution.kind][0] * resolution.own_mm[0]) ** 2
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
    narrow = replace(given, psf_modelled=True) if resolution.guessed("psf_modelled") else given
    wide = replace(given, filter_fwhm_mm=(USUAL_FILTER_MM,) * 2) if resolution.guessed("filter") else given
    low, high = narrow.fwhm_mm[0], wide.fwhm_mm[0]
    if low / APART <= stated <= high * APART:
        return []
    expected = f"{one_digit(low)} mm" if high - low < 0.1 else f"{one_digit(low)} to {one_digit(high)} mm"
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
    expected = math.hypot(NOISE_PARTS[resolution.kind] * resolution.own_mm[0], post) / FILTER_SHARE
    least = _least_noise(resolution)
    shown, expected = max(resolution.noise_mm[0], least), max(expected, least)
    if 1 / UNLIKE <= shown / expected <= UNLIKE:
        return []
    known = f"the stated FWHM of {resolution.stated_mm:.3g} mm" if resolution.stated else _parts(resolution)
    less = "less sharp, as if it had been smoothed or resampled later" if shown > expected else "sharper"
    return [
        f"The image's noise has a width of {one_digit(shown)} mm, where {known} would give it {one_digit(expected)} "
        f"mm: the image may be {less}. That decides how much is sharpened: check it."
    ]


def _least_noise(resolution: ImageResolution) -> float:
    """The least width of the noise that shows on the image's voxels."""
    return max(LEAST_NOISE_MM, resolution.voxel_mm[0])


def _parts(resolution: ImageResolution) -> str:
    """What the expected FWHM is made of: scanner, PSF, filter and, where there may be no filter, voxels."""
    psf = f"the PSF {'' if resolution.psf_modelled else 'not '}modelled{', penalised' if resolution.penalised else ''}"
    post = resolution.filter_fwhm_mm[0]
    smoothed = f"a filter of {post:.3g} mm" if post else "no filter"
    if resolution.guessed("psf_modelled"):
        psf = "the PSF modelled or not"
    if resolution.guessed("filter"):
        smoothed = f"no filter or one of up to {USUAL_FILTER_MM:g} mm"
    voxel = resolution.voxel_mm[0]
    parts = [f"a scanner of {one_digit(resolution.own_mm[0])} mm", psf, smoothed]
    parts += [f"voxels of {voxel:.3g} mm"] if voxel and not post else []
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _coarse(resolution: ImageResolution) -> list[str]:
    """A warning where the voxels are larger than scanner and filter together resolve, or than the stated FWHM."""
    across, along = (math.hypot(*widths) for widths in zip(resolution.own_mm, resolution.filter_fwhm_mm, strict=True))
    if resolution.stated:
        across, along = resolution.fwhm_mm
    pixel, step = resolution.voxel_mm
    if pixel <= across and (step <= along or along == 0):
        return []
    fwhm = f"{one_digit(across)} mm, axially {one_digit(along)} mm" if along else f"{one_digit(across)} mm"
    return [
        f"The PET's voxels ({_voxels(resolution.voxel_mm)}) are larger than its resolution ({fwhm}): they lose detail "
        "that cannot be restored. Check the FWHM."
    ]


def _voxels(voxel_mm: Pair) -> str:
    return f"{voxel_mm[0]:.3g} mm, slices {voxel_mm[1]:.3g} mm"
