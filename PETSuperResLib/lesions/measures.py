"""Lesion SUVs: SUVmax, SUVmean, SUVpeak, metabolic tumour volume (MTV) and total lesion glycolysis (TLG).

A segment is one region of the patient, not of a grid: its mask keeps its own grid, and each volume
(LR, SR, reference) is measured on its own voxels, each weighted with the part of it that lies within
the segment. So the same mask is compared on LR and SR with any voxel sizes, and no volume is
interpolated before it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ..errors import GeometryError, InputError
from ..grid import crop_to_region
from ..volume import Volume
from .segments import HALF, Block, Region, Segment, segments_of

PEAK_RADIUS_MM = 6.2  # of a sphere of 1 cm^3
MTV = 2.5  # SUV from which a voxel counts towards MTV and TLG, unless another threshold is given
INPUT, ON_GRID = "lr", "lr-on-grid"  # methods in tables: the PET as it is, and interpolated on the result's grid
LEAST_SHARE = 0.01  # of SUVmax, as a threshold
UNIT = "g/mL"  # of SUVs; of TLG g, as a volume in mL times it


@dataclass(frozen=True)
class Measure:
    """How a figure of a lesion is named in tables: heading, unit, meaning, and heading of a narrow column."""

    title: str
    unit: str
    description: str
    short: str
    thresholded: bool = False  # whether it depends on the MTV threshold


def _figure(*about: Any) -> Any:
    return field(metadata={"measure": Measure(*about)})


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """SUVs of one segment in one volume.

    ``delta_*`` and ``nmse`` only where a reference was given; ``*_recovered`` and ``evidence_sigma`` where the volume
    is a result whose measurement is at hand, or a PET of known resolution (:mod:`.recovery`, :mod:`.evidence`).

    Tables, their columns and the comparison of two volumes follow the fields and their :class:`Measure`.
    """

    label: int
    name: str
    voxels: int  # voxels of the volume at least half within the segment
    suvmax: float = _figure("SUVmax", "g/mL", "Highest voxel of the segment", "SUVmax")
    # weighted with each voxel's part inside
    suvmean: float = _figure("SUVmean", "g/mL", "Mean over the segment", "mean")
    suvpeak: float = _figure("SUVpeak", "g/mL", "Highest mean over a sphere of 1 mL centred in the segment", "peak")
    mtv_ml: float = _figure("MTV", "mL", "Metabolic tumour volume", "MTV mL", True)
    tlg: float = _figure("TLG", "g", "Total lesion glycolysis, SUVmean x MTV", "TLG g", True)  # in SUV mL
    delta_suvmax_percent: float | None = None  # 100 (SUVmax - reference's) / reference's, signed
    delta_suvmean_percent: float | None = None
    nmse: float | None = None  # sum (value - reference)^2 / sum reference^2 within the segment
    suvmean_recovered: float | None = None  # fitted to the measurement, of the whole segment
    suvpeak_recovered: float | None = None
    suvmax_recovered: float | None = None
    tlg_recovered: float | None = None  # suvmean_recovered x volume of the segment, without a threshold
    evidence_sigma: float | None = None  # of the data for uptake above the surroundings (evidence.py)
    suvmean_low: float | None = None  # ends of the interval of what was recovered (:mod:`.intervals`)
    suvmean_high: float | None = None
    suvpeak_low: float | None = None
    suvpeak_high: float | None = None
    suvmax_low: float | None = None
    suvmax_high: float | None = None
    tlg_low: float | None = None
    tlg_high: float | None = None
    interval_note: str | None = None  # why an interval is wider than calibrated, or withheld
    volume_ml: float | None = None  # of the segment within the volume
    doubts: str | None = None  # what of a result is not to be trusted, in words (:mod:`.doubts`)
    threshold: str | None = None  # from which a voxel counts towards MTV and TLG: an SUV, or a share of SUVmax
    without_ct: float | None = None  # share of its uptake above the surroundings that a result without the CT has
    recovered_from: str | None = None  # whether from a result and its data, or a PET alone (intervals.FROM)


MEASURES: dict[str, Measure] = {f.name: f.metadata["measure"] for f in fields(Lesion) if f.metadata}
RECOVERED = tuple(f.name for f in fields(Lesion) if f.name.endswith("_recovered"))
INTERVALS = tuple(f.name for f in fields(Lesion) if f.name.endswith(("_low", "_high", "_note")))
OF_WHOLE = ("suvmean", "mtv_ml", "tlg")  # of a part of the segment they are not those of the whole
COLUMNS = ("patient", "setting", "method", "lesion", *(f.name for f in fields(Lesion)[3:]), "suv_unit")


def measure_lesions(
    volume: Volume,
    mask: Volume | Sequence[Region],
    reference: Volume | None = None,
    names: Mapping[int, str] | None = None,
    threshold: float | str = MTV,
    skip_outside: bool = False,
) -> list[Lesion]:
    """SUVs of every label of ``mask`` in ``volume``, in the order of the labels.

    ``mask`` is a label map (0 = background) on any grid that overlaps the volume's, or its segments. ``threshold`` is
    the SUV from which a voxel counts towards MTV and TLG: a number (2.5, 4.0) or a share of the
    lesion's SUVmax in this volume (``"41%"``). With ``reference`` the deltas and the lesion NMSE of the paper's
    Fig. 4 are filled; for the NMSE the volume is interpolated linearly on the reference's grid.

    Raises :class:`InputError` for an empty or fractional mask or non-finite SUVs, and
    :class:`GeometryError` for a segment without a voxel inside the volume (or leaves it out with
    ``skip_outside``, for a volume that is a region of the scan).
    """
    check_threshold(threshold)
    lesions = []
    for segment in segments_of(mask, names) if isinstance(mask, Volume) else mask:
        weights, block = segment.weights(volume)
        if skip_outside and weights.sum() <= 0:
            continue
        figures = _figures(volume, segment, weights, block, threshold)
        if reference is not None:
            figures |= _against(figures, volume, segment, reference, threshold)
        lesions.append(Lesion(label=segment.label, name=segment.name, **figures))
    return lesions


def measure_on_grid(
    pet: Volume, grid: Volume, segments: Sequence[Segment], threshold: float | str = MTV
) -> list[Lesion]:
    """SUVs of the segments in a PET interpolated linearly on another grid: what the voxels alone change.

    Segments without a voxel inside the grid are left out.
    """
    margin = np.ceil(PEAK_RADIUS_MM / np.array(grid.spacing)).astype(int)
    lesions = []
    for segment in segments:
        _, block = segment.weights(grid)
        low, high = (np.array([getattr(s, end) for s in block[::-1]]) for end in ("start", "stop"))
        if (high <= low).any():
            continue
        near = grid.crop(np.maximum(low - margin, 0), np.minimum(high + margin, grid.shape[::-1]))
        corners = near.corners()
        box = np.stack([corners.min(0), corners.max(0)], axis=1).ravel()
        around = crop_to_region(pet, box.tolist(), 2 * max(pet.spacing))
        lesions += measure_lesions(around.resample_to(near), [segment], threshold=threshold, skip_outside=True)
    return lesions


def peak_kernel(spacing: Sequence[float], radius_mm: float = PEAK_RADIUS_MM) -> np.ndarray:
    """(K, J, I) share of each voxel within a sphere centred on the middle voxel; ``spacing`` is (i, j, k) in mm."""
    parts = 9
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    squares = []
    for step in spacing:
        reach = int(np.ceil(radius_mm / step - 0.5))
        squares.append(((np.arange(-reach, reach + 1)[:, None] + offsets) * step) ** 2)
    x, y, z = squares
    distance = z[:, None, None, :, None, None] + y[None, :, None, None, :, None] + x[None, None, :, None, None, :]
    return (distance <= radius_mm**2).mean((3, 4, 5))


def lesion_rows(lesions: Iterable[Lesion], patient: str = "", setting: str = "", method: str = "") -> list[dict]:
    """Rows with the keys of :data:`COLUMNS` for :func:`write_csv`."""
    labels = {"patient": patient, "setting": setting, "method": method, "suv_unit": f"SUVbw {UNIT}"}
    return [{c: (labels | asdict(lesion) | {"lesion": lesion.name})[c] for c in COLUMNS} for lesion in lesions]


def _figures(
    volume: Volume, segment: Region, weights: np.ndarray, block: Block, threshold: float | str
) -> dict[str, Any]:
    """The fields of a :class:`Lesion` that need no reference; ``weights`` and ``block`` as of Segment.weights."""
    where = str(volume.metadata.get("file") or "the PET volume")
    if weights.sum() <= 0:
        raise GeometryError(
            f"Segment '{segment.name}' has no voxel inside {where}: check that the segmentation belongs to this scan."
        )
    values = volume.array[block]
    if not np.isfinite(values[weights > 0]).all():
        raise InputError(
            f"There are values that are not numbers in segment '{segment.name}' of {where}: load it again."
        )
    core = weights >= min(HALF, float(weights.max()))
    suvmax = float(values[core].max())
    edge, relative = check_threshold(threshold)
    hot = weights * (values >= (edge * suvmax if relative else edge))
    return {
        "voxels": int(core.sum()),
        "suvmax": suvmax,
        "suvmean": float((weights * values).sum(dtype=np.float64) / float(weights.sum(dtype=np.float64))),
        "suvpeak": _peak(volume, core, block),
        "mtv_ml": float(hot.sum(dtype=np.float64) * volume.voxel_ml),
        "tlg": float((hot * values).sum(dtype=np.float64) * volume.voxel_ml),
        "volume_ml": float(weights.sum(dtype=np.float64) * volume.voxel_ml),
        "threshold": str(threshold).replace(" ", ""),
    }


def _against(
    own: Mapping[str, Any], volume: Volume, segment: Region, reference: Volume, threshold: float | str
) -> dict[str, float | None]:
    """The fields of a :class:`Lesion` that compare it with a reference."""
    weights, block = segment.weights(reference)
    true = _figures(reference, segment, weights, block, threshold)
    k, j, i = block
    near = reference.crop((i.start, j.start, k.start), (i.stop, j.stop, k.stop))
    error = (weights * (volume.resample_to(near).array - near.array) ** 2).sum(dtype=np.float64)
    power = (weights * near.array**2).sum(dtype=np.float64)
    return {
        "delta_suvmax_percent": percent(own["suvmax"], true["suvmax"]),
        "delta_suvmean_percent": percent(own["suvmean"], true["suvmean"]),
        "nmse": float(error / power) if power > 0 else None,
    }


def _peak(volume: Volume, core: np.ndarray, block: Block) -> float:
    kernel = peak_kernel(volume.spacing)
    wide = tuple(
        slice(max(0, s.start - n // 2), min(size, s.stop + n // 2))
        for s, n, size in zip(block, kernel.shape, volume.shape, strict=True)
    )
    values = np.nan_to_num(volume.array[wide].astype(np.float64), posinf=0.0, neginf=0.0)
    inside = _smooth(np.ones_like(values), kernel)  # the sphere's part within the volume
    mean = _smooth(values, kernel) / inside
    shift = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(block, wide, strict=True))
    return float(mean[shift][core].max())


def _smooth(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution of a small, symmetric kernel with values that are 0 outside.

    By numpy's FFT: importing scipy.signal takes a second, too long for the GUI's event loop.
    """
    shape = [n + m - 1 for n, m in zip(values.shape, kernel.shape, strict=True)]
    padded = [n + -n % 8 for n in shape]  # no large prime
    product = np.fft.rfftn(values, padded, axes=(0, 1, 2)) * np.fft.rfftn(kernel, padded, axes=(0, 1, 2))
    middle = tuple(slice(m // 2, m // 2 + n) for n, m in zip(values.shape, kernel.shape, strict=True))
    return np.asarray(np.fft.irfftn(product, padded, axes=(0, 1, 2))[middle])


def check_threshold(threshold: float | str) -> tuple[float, bool]:
    """An MTV threshold as (SUV, False) or (share of SUVmax, True); raises :class:`InputError` for anything else."""
    text = str(threshold).strip()
    relative = text.endswith("%")
    try:
        value = float(text.rstrip("%")) / (100 if relative else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(
            f"MTV threshold '{threshold}' is neither an SUV nor a share of SUVmax: give 2.5, 4.0 or 41%.", "threshold"
        )
    if relative and value > 1:
        raise InputError(
            f"MTV threshold '{threshold}' is more than the SUVmax itself: give 41% or another below 100%.", "threshold"
        )
    if relative and 0 < value < LEAST_SHARE:
        raise InputError(f"MTV threshold '{threshold}' is less than 1 % of SUVmax: give 41% for 41 %.", "threshold")
    return value, relative


def about_threshold(threshold: float | str) -> list[str]:
    """A note on an MTV threshold that is an SUV below 1: a share of SUVmax may be meant; none on any other."""
    value, relative = check_threshold(threshold)
    if relative or not 0 < value < 1:
        return []
    share = f"{100 * value:g}%" if value >= LEAST_SHARE else "41%"
    return [
        f"The threshold of MTV and TLG is an SUV of {value:g}, which most tissue has: if a share of SUVmax was meant, "
        f"give {share}."
    ]


def percent(value: float, reference: float) -> float | None:
    """How far a value is from a reference, in per cent of it; None from 0."""
    return 100.0 * (value - reference) / reference if reference else None
