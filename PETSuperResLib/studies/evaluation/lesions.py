"""Recovered lesion uptake and its intervals against painted lesions; and the calibration of the intervals.

Uptake is recovered with a result, from sinograms and from images, and from the images alone (:mod:`...pet_alone`);
from images also as if their headers named the scanner alone.
The lesions of ``validation`` anatomies calibrate, those of ``test`` anatomies check (:mod:`.lesion_scenes`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ...files import hash_of, to_json, write_csv, write_text
from ...inputs import resolution_of_pet
from ...lesions.intervals import (
    FIGURES,
    MEASURES,
    PET_ALONE,
    STRATA_ML,
    Calibration,
    Conditions,
    Stratum,
    calibration,
    measures_of,
    scales,
    score,
)
from ...lesions.measures import measure_lesions
from ...lesions.recovery import Recovered, recover
from ...lesions.segments import Segment, segments_of
from ...pet_alone import UPDATES, parts
from ...physics.protocols import protocols as bundled
from ...physics.protocols import several
from ...prior import Prior
from ...progress import Callback, Reporter
from ...vendor_strings import FDG
from ...version import __version__
from ...volume import Volume
from .lesion_report import faint_lines, lesions_figure, lesions_lines
from .lesion_scenes import LEAST_ML, Scan, scans, without_header
from .summary import heading

MASKS = {"true": 0, "one voxel smaller": -1, "one voxel larger": 1}
# of the calibration, the part of the lesions whose truth is below and above the interval, for each mask; one that is
# too small gives too much uptake and asks for a lower end, which leaves few lesions with true masks below it
TAILS = {"true": (0.02, 0.08), "one voxel smaller": (0.1, 0.1), "one voxel larger": (0.1, 0.1)}
UNSEEN = ("discovery-690-vpfx", "signa-sharpir")  # protocols that the calibration leaves out
LEAST_CONTRAST = 1.5  # of recovered SUVmean to background, from which a segment counts as a lesion
LEAST_LESIONS = 20  # of a stratum of its own
CALIBRATION = "lesions.json"  # to be Resources/lesion_calibration.json
QUALITY = "draft"  # what is recovered hardly depends on the image's quality
CONDITIONS = ("input", "fwhm_mm", "noise", "described")
FITTED = ("volume_ml", *MEASURES, "low", "high", "background", "wider")
COLUMNS = (
    *("patient", "subject", "input", "condition", "header", "seed", "mask", "label", *FITTED),
    *(f"{kind}_{name}" for kind in ("true", "image", "pet") for name in MEASURES[:3]),
    *("true_tlg", "lesion_suvmean", "fwhm_mm", "noise", "described"),
    *(f"{name}_{end}" for name in MEASURES for end in ("low", "high")),
)
Row = dict[str, Any]
Found = tuple[Sequence[Recovered], Conditions]


def lesions_study(
    out: str | Path,
    data: str | Path,
    cts: str | Path | None = None,
    calibrate: bool = False,
    quality: str = QUALITY,
    limit: int | None = None,
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    command: str = "",
    protocols: Sequence[str] = (),
) -> Path:
    """Recover the painted lesions of the test anatomies: lesions.csv, lesions.md, lesions.png; returns the second.

    ``protocols``: names of bundled ones; every anatomy is then scanned by each, and neither by others nor for its
    sinogram, and all images have their headers. ``calibrate``: of the validation anatomies, and lesions.json with the
    quantiles of their intervals is made; its path is returned. ``limit``: only so many scans. ``seed`` decides the
    noise of the scans. What each scan gave is kept in ``out`` for a run that goes on.
    """
    report, loaded, out = Reporter(progress), Prior.load(prior), Path(out)
    names = [protocol.name for protocol in several(protocols)]
    if own := set(names) - bundled().keys():
        raise InputError(f"The protocol '{own.pop()}' is none of those of this version: use {', '.join(bundled())}.")
    chosen = scans("validation" if calibrate else "test", data, cts, names, seed)[:limit]
    if calibrate:
        chosen = [scan for scan in chosen if scan.condition not in UNSEEN]
    chosen += [] if protocols else without_header(chosen)
    rows: list[Row] = []
    faint: list[Row] = []
    for number, scan in enumerate(chosen):
        report(f"{scan.subject.name}, {scan.condition}", number / len(chosen))
        found = scan_rows(scan, loaded, quality, out / "kept", device)
        rows += [row for row in found if is_lesion(row)]
        faint += [row for row in found if row["volume_ml"] >= LEAST_ML and row["header"] and not is_lesion(row)]
        write_csv(out / "lesions.csv", rows, COLUMNS)
    report("done", 1.0)
    if calibrate:
        made: dict[str, Any] = {"command": command, "version": __version__, "quality": quality}
        made |= {"tails": TAILS, "left_out": UNSEEN, "seeds": sorted({s.seed for s in chosen})}
        return write_text(out / CALIBRATION, to_json(calibrated(rows, made).to_dict()))
    rows, faint = ([row | calibrated_row(row, calibration()) for row in some] for some in (rows, faint))
    write_csv(out / "lesions.csv", rows, COLUMNS)
    lesions_figure(out / "lesions.png", rows)
    lines = [*lesions_lines(rows), *faint_lines(faint, LEAST_CONTRAST)]
    return write_text(out / "lesions.md", "\n".join([*heading("Lesions", command, loaded), *lines]))


def scan_rows(scan: Scan, prior: Prior, quality: str, folder: Path, device: str) -> list[Row]:
    """Truth, image and recovered values within every mask of every lesion of a scan; kept in ``folder``.

    Of a scan whose image is reconstructed, also those of the image by itself, without a result.
    """
    decides = scan.decides(prior, quality) | {"pet_alone": UPDATES, "columns": COLUMNS}
    file = folder / f"{hash_of(decides)}.json"
    if file.is_file():
        try:
            kept: list[Row] = json.loads(file.read_text(encoding="utf-8"))
            return kept
        except ValueError:
            pass  # cut short: made again
    pet, ct, labels = scan.subject.load()
    rows: list[Row] = []
    if labels is not None:
        simulation = scan.simulate(pet, ct, device)
        problem = scan.problem(simulation, ct, device)
        image = scan.restored(problem, ct, prior, quality, folder)
        data = problem.data_of(image.array)
        known = {"true": simulation.truth, "pet": simulation.lr}

        def of_result(segments: list[Segment]) -> Iterator[Found]:
            yield recover(data, image, segments), Conditions.of(data)

        def of_pet(segments: list[Segment]) -> Iterator[Found]:
            for part in parts(simulation.lr, segments, resolution_of_pet(simulation.lr)[1]):
                yield part.recovered(), part.conditions

        place: Row = {"patient": scan.patient, "subject": scan.subject.name, "seed": scan.seed}
        place |= {"condition": scan.condition, "header": scan.header}
        rows = _rows(place, labels, known | {"image": image}, of_result)
        if scan.input == "image":
            rows += _rows(place, labels, known, of_pet)
    write_text(file, to_json(rows))
    return rows


def _rows(
    place: Row, labels: Volume, known: Mapping[str, Volume], fit: Callable[[list[Segment]], Iterable[Found]]
) -> list[Row]:
    """The rows of a scan, of what ``fit`` recovers of the segments of every mask.

    The truth is that within the mask as it is drawn; ``lesion_suvmean`` is that of the true mask.
    """
    rows: list[Row] = []
    lesion: dict[int, float] = {}
    for mask, voxels in MASKS.items():
        moved = moved_labels(labels, voxels)
        own = segments_of(moved) if moved.array.any() else []
        measured = {
            kind: {one.label: one for one in measure_lesions(volume, own, skip_outside=True)}
            for kind, volume in known.items()
        }
        lesion = lesion or {label: one.suvmean for label, one in measured["true"].items()}
        for recovered_lesions, conditions in fit(own):
            for found in recovered_lesions:
                row = place | {name: getattr(conditions, name) for name in CONDITIONS}
                row |= {"mask": mask, "label": found.label, "lesion_suvmean": lesion[found.label]}
                row |= {name: getattr(found, name) for name in FITTED}
                for kind, lesions in measured.items():
                    row |= {f"{kind}_{name}": getattr(lesions[found.label], name) for name in MEASURES[:3]}
                row["true_tlg"] = row["true_suvmean"] * found.volume_ml
                rows.append(row)
    return rows


def moved_labels(labels: Volume, voxels: int) -> Volume:
    """Labels with the border of each moved by one voxel in the slice, outwards (1) or inwards (-1)."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    if voxels == 0:
        return labels
    if voxels > 0:
        grown = ndimage.grey_dilation(labels.array, footprint=cross)
        return labels.with_array(np.where(labels.array > 0, labels.array, grown))
    least = ndimage.grey_erosion(labels.array, footprint=cross)
    return labels.with_array(np.where(least == labels.array, labels.array, 0))


def is_lesion(row: Row) -> bool:
    """Whether a row's segment is large and hot enough."""
    return bool(row["volume_ml"] >= LEAST_ML and row["suvmean"] >= LEAST_CONTRAST * row["background"])


def calibrated(rows: Sequence[Row], made: dict[str, Any]) -> Calibration:
    """The calibration by lesions of known uptake; a stratum of too few has those of the smaller one, too.

    Where scanner, PSF and filter are known; the others tell how much wider an interval must be when one is not. The
    range of FWHM and noise is that of both.
    """
    strata: list[Stratum] = []
    domain: dict[str, dict[str, tuple[float, float]]] = {}
    for kind in dict.fromkeys(row["input"] for row in rows):
        of_kind = [row for row in rows if row["input"] == kind]
        domain[kind] = {name: _range(row[name] for row in of_kind) for name in FIGURES}
        of_kind = [row for row in of_kind if row["described"]]
        if not of_kind:
            raise InputError(
                "No header of these protocols says scanner, PSF and filter, by which intervals are calibrated: name "
                "another protocol besides.",
                "protocols",
            )
        for first, last in zip(STRATA_ML[:-1], STRATA_ML[1:], strict=True):
            mine = [row for row in of_kind if first <= row["volume_ml"] < last]
            if _lesions(mine) < LEAST_LESIONS and strata and strata[-1].input == kind:
                below = strata[-1].volume_ml[0]
                mine = [row for row in of_kind if below <= row["volume_ml"] < last]
            strata.append(_stratum(kind, (first, last), mine))
    known = Calibration(tuple(strata), LEAST_ML, FDG, domain, {}, made)
    return replace(known, guessed=_guessed([row for row in rows if not row["described"]], known))


def _guessed(rows: Sequence[Row], known: Calibration) -> dict[str, dict[str, float]]:
    """By input and measure, the factor of the ``known`` intervals that holds as many of the ``rows``, never below 1.

    By whichever asks for more: images whose own headers leave something open, or those as if theirs named the scanner
    alone.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(row["input"] for row in rows):
        sorts = [[row for row in rows if row["input"] == kind and row["header"] is header] for header in (True, False)]
        found[kind] = {name: max(_factor(mine, name, known) for mine in sorts) for name in measures_of(kind)}
    return found


def _factor(rows: Sequence[Row], name: str, known: Calibration) -> float:
    """Of a measure, by whichever of the masks asks for most; of lesions that the known intervals are told of."""
    factors = [1.0]
    for mask, tails in TAILS.items():
        mine = [row | calibrated_row(row | {"described": True}, known) for row in rows if row["mask"] == mask]
        told = [row for row in mine if f"{name}_low" in row]
        reaches = []
        for row in told:
            parts = (row[f"true_{name}"], row[f"{name}_low"], row[f"{name}_high"])
            reaches.append(reach(*(math.log(part / row[name]) for part in parts)))
        if told:
            factors.append(factor_holding(1 - sum(tails), reaches, [row["patient"] for row in told]))
    return max(factors)


def reach(truth: float, low: float, high: float) -> float:
    """The distance of a truth from a value over that of the interval's end, which are given from the value on."""
    return truth / (high if truth > 0 else low)


def factor_holding(share: float, reaches: Sequence[float], patients: Sequence[str]) -> float:
    """The factor of intervals that holds this share of truths, by their :func:`reach`; each patient weighs the same."""
    return conformal_quantiles(np.array(reaches), _weights(patients), (1.0, 1 - share))[1]


def _stratum(kind: str, volume_ml: tuple[float, float], rows: Sequence[Row]) -> Stratum:
    """Centres by the true masks; quantiles by whichever of the masks asks for the farthest."""
    masks = [_Mask([row for row in rows if row["mask"] == name], TAILS[name]) for name in TAILS]
    masks = [mask for mask in masks if mask.rows]
    centres, quantiles = {}, {}
    for name in measures_of(kind):
        centres[name] = masks[0].centre(name)
        low, high = zip(*(mask.quantiles(name, centres[name]) for mask in masks), strict=True)
        quantiles[name] = min(low), max(high)
    contrast = _range(row["suvmean"] / row["background"] for row in rows)
    return Stratum(kind, volume_ml, _lesions(rows), len({row["patient"] for row in rows}), contrast, centres, quantiles)


class _Mask:
    """The lesions of a stratum with one kind of mask; every patient has the same weight."""

    def __init__(self, rows: Sequence[Row], tails: tuple[float, float]):
        self.rows, self.tails = rows, tails
        self.weights = _weights([row["patient"] for row in rows])
        self.sides = [scales(recovered(row)) for row in rows]

    def centre(self, name: str) -> float:
        """Of a measure, the median logarithm of truth over fitted value."""
        found = np.array([math.log(row[f"true_{name}"] / row[name]) for row in self.rows])
        return _quantile(found, self.weights, 0.5)

    def quantiles(self, name: str, centre: float) -> tuple[float, float]:
        """Of a measure's scores: lower and upper one."""
        pairs = zip(self.rows, self.sides, strict=True)
        scores = np.array([score(row[f"true_{name}"], row[name], centre, sides) for row, sides in pairs])
        return conformal_quantiles(scores, self.weights, self.tails)


def _weights(patients: Sequence[str]) -> np.ndarray:
    """The same in sum for every patient."""
    return np.array([1 / patients.count(patient) for patient in patients])


def _lesions(rows: Sequence[Row]) -> int:
    return len({(row["input"], row["condition"], row["seed"], row["label"]) for row in rows})


def _range(values: Iterable[float]) -> tuple[float, float]:
    every = list(values)
    return min(every), max(every)


def conformal_quantiles(scores: np.ndarray, weights: np.ndarray, tails: tuple[float, float]) -> tuple[float, float]:
    """The quantiles of new scores below and above which the ``tails`` lie.

    Split conformal prediction: of n scores, (n + 1) / n times the probability at each end.
    """
    below, above = (min(1.0, (1 - tail) * (1 + 1 / len(scores))) for tail in tails)
    return -_quantile(-scores, weights, below), _quantile(scores, weights, above)


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """The least value with the share ``level`` of the weights at or below it."""
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(shares, level - 1e-9)), len(values) - 1)])


def recovered(row: Row) -> Recovered:
    """What was recovered of a row's lesion."""
    names = ("volume_ml", "suvmean", "suvpeak", "suvmax", "low", "high", "background", "wider")
    return Recovered(row["label"], str(row["label"]), **{name: row[name] for name in names})


def calibrated_row(row: Row, table: Calibration) -> Row:
    """The recovered values in place of the fitted ones, and the ends of their intervals."""
    conditions = Conditions(tracer=FDG, **{name: row[name] for name in CONDITIONS})
    shown = row["pet_suvmean" if row["input"] == PET_ALONE else "image_suvmean"]
    found = table.intervals(recovered(row), conditions, shown)
    ends = {
        f"{name}_{end}": v for name, pair in found.ends.items() for end, v in zip(("low", "high"), pair, strict=True)
    }
    return {**found.values, **ends}
