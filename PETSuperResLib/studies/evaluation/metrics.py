"""Image quality against a reference: PSNR, SSIM and NMSE in both conventions of the evaluation.

(a) *Whole field of view*: air included, the reference's maximum as data range, as the paper's
Table 2. (b) *Body*: within a body mask, with a fixed SUV range, so that one hot voxel does not set
the scale. PSNR and NMSE are taken over the whole volume of a patient; SSIM is 3D (7 x 7 x 7 voxel
uniform window) or, for fewer than 7 slices, the mean over slices of the 2D index.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

from ...errors import GeometryError, InputError
from ...volume import Volume

SUV_RANGE = 10.0  # data range of the body convention, in SUV
UNIFORM_MM = 15.0  # side of the box in which noise is measured
UNIFORM_SHARE = 0.25  # of the body's active voxels: those about which the reference varies least
ACTIVE_SUV = 0.3
WINDOW = 7  # voxels, of the SSIM

Image = Volume | np.ndarray


def psnr(reference: Image, estimate: Image, data_range: float | None = None, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio 10 log10(range^2 / MSE) in dB; infinite for equal volumes.

    ``data_range`` is the reference's maximum unless given; ``mask`` ``(K, J, I)`` restricts the mean
    squared error to its voxels. Raises :class:`InputError` for shapes that differ or an empty mask.
    """
    x, y, inside = _checked(reference, estimate, mask)
    error = np.mean((x[inside].astype(np.float64) - y[inside]) ** 2)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(_range(x, data_range) ** 2 / error))


def nmse(reference: Image, estimate: Image, mask: np.ndarray | None = None) -> float:
    """Normalised squared error ||estimate - reference||^2 / ||reference||^2, within ``mask`` if given."""
    x, y, inside = _checked(reference, estimate, mask)
    true = x[inside].astype(np.float64)
    power = np.sum(true**2)
    if power <= 0:
        raise InputError("The reference is zero everywhere, so an error relative to it has no meaning: check the file.")
    return float(np.sum((true - y[inside]) ** 2) / power)


def ssim(reference: Image, estimate: Image, data_range: float | None = None, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang 2004), the mean of its map over all voxels or over ``mask``.

    Raises :class:`InputError` for slices smaller than the window.
    """
    x, y, inside = _checked(reference, estimate, mask)
    if min(x.shape[1:]) < WINDOW:
        raise InputError(f"SSIM needs slices of at least {WINDOW} x {WINDOW} voxels, these are {x.shape[1:]}.")
    span = _range(x, data_range)

    def index(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return structural_similarity(a, b, win_size=WINDOW, data_range=span, full=True)[1]

    if x.shape[0] >= WINDOW:
        similarity = index(x, y)
    else:
        similarity = np.stack([index(a, b) for a, b in zip(x, y, strict=True)])
    return float(np.mean(similarity[inside], dtype=np.float64))


def whole_field(reference: Image, estimate: Image) -> dict[str, float]:
    """Convention (a): ``psnr``, ``ssim``, ``nmse`` over all voxels, with the reference's maximum as range."""
    return {
        "psnr": psnr(reference, estimate),
        "ssim": ssim(reference, estimate),
        "nmse": nmse(reference, estimate),
    }


def within_body(reference: Image, estimate: Image, body: np.ndarray, suv_range: float = SUV_RANGE) -> dict[str, float]:
    """Convention (b): ``psnr_body``, ``ssim_body``, ``nmse_body`` within ``body``, range 0 to ``suv_range``.

    The range is only the scale: values above it are not clipped, so errors in hot lesions count.
    """
    return {
        "psnr_body": psnr(reference, estimate, suv_range, body),
        "ssim_body": ssim(reference, estimate, suv_range, body),
        "nmse_body": nmse(reference, estimate, body),
    }


def uniform_part(reference: Volume, body: np.ndarray) -> np.ndarray:
    """``(K, J, I)`` booleans: where the reference is active and varies least, relative to its mean, within a box.

    The box is of :data:`UNIFORM_MM`; :data:`UNIFORM_SHARE` of the body's voxels with a box mean above
    :data:`ACTIVE_SUV` are taken. Raises :class:`InputError` where there is no such voxel.
    """
    mean, variance = _box_moments(reference)
    active = body & (mean > ACTIVE_SUV)
    if not active.any():
        raise InputError(f"The reference has no voxel above {ACTIVE_SUV:g} SUV in the body: check its units.")
    variation = np.sqrt(variance) / np.maximum(mean, ACTIVE_SUV)
    return active & (variation <= np.quantile(variation[active], UNIFORM_SHARE))


def noise_percent(reference: Volume, estimate: Volume, uniform: np.ndarray) -> float:
    """Local standard deviation of the error in the reference's :func:`uniform_part`, in per cent of its mean there.

    That is the root of the error's mean variance within a box of :data:`UNIFORM_MM`. The noise of a reference that has
    some counts too.
    """
    variance = _box_moments(reference.with_array(estimate.array - reference.array))[1]
    return 100.0 * float(np.sqrt(variance[uniform].mean()) / reference.array[uniform].mean(dtype=np.float64))


def _box_moments(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance within a box of :data:`UNIFORM_MM` about every voxel, in float64."""
    size = [max(1, 2 * round(UNIFORM_MM / s / 2 - 0.5) + 1) for s in volume.spacing[::-1]]
    array = volume.array.astype(np.float64)
    mean = ndimage.uniform_filter(array, size, mode="nearest")
    return mean, np.maximum(ndimage.uniform_filter(array**2, size, mode="nearest") - mean**2, 0.0)


def body_mask(volume: Volume, threshold: float | None = None) -> np.ndarray:
    """``(K, J, I)`` booleans: the patient in a CT (unit ``"HU"``, above -400 HU) or in a PET (above 0.1 SUV).

    Thin parts such as the table are opened away, the largest connected part is kept and holes in
    each slice (lungs, bowel gas) are filled. Raises :class:`InputError` when nothing remains.
    """
    is_ct = volume.unit == "HU" or (not volume.unit and float(volume.array.min()) < -100)
    level = threshold if threshold is not None else (-400.0 if is_ct else 0.1)
    body = ndimage.gaussian_filter(volume.array, [2.0 / s for s in volume.spacing[::-1]]) > level
    reach = [max(1, round(4.0 / s)) for s in volume.spacing[1::-1]]
    disc = np.ones((1, 2 * reach[0] + 1, 2 * reach[1] + 1), bool)
    opened = ndimage.binary_opening(body, disc)
    parts, count = ndimage.label(opened if opened.any() else body)
    if not count:
        raise InputError(f"No body found in the {'CT' if is_ct else 'PET'} (nothing above {level:g}): check its units.")
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.stack([ndimage.binary_fill_holes(s) for s in largest])


def _checked(reference: Image, estimate: Image, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(reference, Volume) and isinstance(estimate, Volume) and reference.shape == estimate.shape:
        if not reference.same_grid(estimate, 0.1):
            raise GeometryError("Reference and estimate lie at different places: resample one to the other's grid.")
    x, y = (np.asarray(v.array if isinstance(v, Volume) else v, np.float32) for v in (reference, estimate))
    if x.shape != y.shape:
        raise InputError(f"The estimate has shape {y.shape}, the reference {x.shape}: resample it to that grid first.")
    if x.ndim != 3:
        raise InputError(f"Metrics need (slices, rows, columns), these arrays have {x.ndim} dimensions.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("Reference or estimate holds values that are not numbers: check the files.")
    if mask is None:
        return x, y, np.ones(x.shape, bool)
    inside = np.asarray(mask) > 0
    if inside.shape != x.shape:
        raise InputError(f"The mask has shape {inside.shape}, the reference {x.shape}: resample it to that grid first.")
    if not inside.any():
        raise InputError("The mask is empty: no voxel to compare.")
    return x, y, inside


def _range(reference: np.ndarray, data_range: float | None) -> float:
    value = float(reference.max()) if data_range is None else float(data_range)
    if value <= 0:
        raise InputError("The reference has no value above 0, so the metrics have no scale: check the file.")
    return value
