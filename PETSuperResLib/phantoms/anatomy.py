"""A CT's anatomy, to be painted with uptake: its tissues by CT number and depth, and basins of its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from skimage.segmentation import watershed

from ..volume import Volume
from .codes import CODE


@dataclass(frozen=True)
class Torso:
    """What painting needs of a torso with organs (in ``Anatomy.tissue``), all ``(K, J, I)`` float32.

    ``depth`` is the depth in mm under the border of the organ that a voxel belongs to, ``breathing`` the share (0 to 1)
    of the diaphragm's motion that a voxel takes part in.
    """

    depth: np.ndarray
    breathing: np.ndarray


@dataclass(frozen=True)
class Anatomy:
    """A CT's anatomy without uptake: computed once per patient, painted many times.

    ``ct`` is the patient's CT (HU) on the target grid, ``smooth`` its edge-preserving average, ``grain``
    the rest (noise and finest detail), ``tissue`` the code (:data:`~.codes.CODE`) of every voxel,
    ``compartments`` basins of the CT's gradient (muscles, organs), numbered from 1, and ``tumour`` the
    covered fraction (0 to 1) of the contoured tumour, or None. ``torso`` belongs to a CT with found organs.
    """

    ct: Volume
    smooth: np.ndarray
    grain: np.ndarray
    tissue: np.ndarray
    compartments: np.ndarray
    tumour: np.ndarray | None = None
    torso: Torso | None = None


def anatomy_of(ct: Volume, tumour: Volume | None = None, seed: int = 0) -> Anatomy:
    """Tissues and compartments of a CT (HU, on the grid to be painted) and a tumour contour on any grid."""
    smooth = _edge_preserving(ct)
    tissue = _tissues(smooth, ct.spacing)
    cover = None
    if tumour is not None:
        wide = tumour.with_array((tumour.array > 0).astype(np.float32), "")
        near = wide.resample_to(ct, "linear").array
        # round off the contour's stairs, then make its border one voxel wide again
        sigma = [0.6 * old / new for old, new in zip(tumour.spacing[::-1], ct.spacing[::-1], strict=True)]
        rounded = ndimage.gaussian_filter(near, sigma)
        cover = np.clip((rounded - 0.5) * 4 * max(sigma) + 0.5, 0, 1).astype(np.float32)
        cover *= tissue != CODE["air"]
        cover = cover if (cover > 0.5).any() else None
    compartments = _compartments(smooth, tissue, ct.spacing, seed)
    return Anatomy(ct, smooth, ct.array - smooth, tissue, compartments, cover)


def _edge_preserving(ct: Volume) -> np.ndarray:
    """The CT without its noise: anisotropic diffusion, with bone and air clipped to limit their weight."""
    clipped = ct.array.clip(-1000, 1500)
    middle = sitk.GetImageFromArray(clipped.clip(-250, 350))
    middle.SetSpacing((1.0, 1.0, max(1.0, ct.spacing[2] / ct.spacing[0])))
    kept = sitk.GradientAnisotropicDiffusion(middle, timeStep=0.06, conductanceParameter=1.4, numberOfIterations=8)
    smooth = sitk.GetArrayFromImage(kept)
    beyond = (clipped < -250) | (clipped > 350)
    return np.where(beyond, clipped, smooth).astype(np.float32)


def _tissues(smooth: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Tissue codes by HU, depth under the skin and the width of soft-tissue islands in fat."""
    across = max(1, round(3 / spacing[0]))
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), across)
    filled = np.stack([ndimage.binary_fill_holes(layer) for layer in smooth > -300])
    thick = np.stack([ndimage.binary_opening(layer, disc, iterations=3) for layer in filled])
    parts, _ = ndimage.label(thick)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    core = np.isin(parts, np.flatnonzero(sizes > 0.1 * sizes.max())) & thick  # both legs, without table and sheets
    body = np.stack([ndimage.binary_dilation(layer, disc) for layer in core]) & filled
    depth = np.stack([ndimage.distance_transform_edt(layer, spacing[:2][::-1]) for layer in body])
    tissue = np.full(smooth.shape, CODE["muscle"], np.int8)
    tissue[smooth < -30] = CODE["fat"]
    tissue[smooth < -350] = CODE["lung"]
    soft = (smooth >= -30) & (smooth < 150) & body
    wide = np.stack([ndimage.binary_opening(layer, disc, iterations=2) for layer in soft])
    wide = np.stack([ndimage.binary_dilation(layer, disc) for layer in wide])
    tissue[soft & ~wide & (depth > 8)] = CODE["blood"]
    bone = (smooth > 180) & body
    hollow = np.stack([ndimage.binary_fill_holes(layer) for layer in bone])
    tissue[hollow & (smooth < 350)] = CODE["marrow"]
    tissue[bone & (smooth >= 350)] = CODE["bone"]
    tissue[soft & (depth <= 4)] = CODE["skin"]
    tissue[~body] = CODE["air"]
    return tissue


def _compartments(smooth: np.ndarray, tissue: np.ndarray, spacing: tuple[float, float, float], seed: int) -> np.ndarray:
    """Basins of the CT's gradient around random seeds, about one per 12 mL: muscles, organs, lobes."""
    rng = np.random.default_rng([seed, 8])
    body = tissue != CODE["air"]
    slope = ndimage.gaussian_gradient_magnitude(smooth.clip(-200, 300), [0.7, 1.0, 1.0])
    inside = np.flatnonzero(body)
    markers = np.zeros(smooth.shape, np.int32)
    count = int(len(inside) * np.prod(spacing) / 12e3) + 1
    if len(inside):
        places = rng.choice(inside, min(count, len(inside)), replace=False)
        markers.ravel()[places] = np.arange(1, len(places) + 1)
    return np.asarray(watershed(slope + 2 * rng.random(smooth.shape), markers, mask=body), np.int32)
