"""Known changes between two simulated visits: pairing, and how many lie in the intervals of what is recovered.

The visits are painted anatomies (:mod:`.lesion_scenes`), scanned twice. In turn a lesion has lost 30 % of its uptake
above the surroundings at the second visit, is as it was, has gained 15 %, has vanished, or is new. The anatomies that
calibrate recovered SUVs calibrate their changes as well, the others check them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ...files import to_json, write_csv, write_text
from ...followup.common_errors import ChangeCalibration
from ...followup.compare import FollowUp, compare
from ...followup.visit import Visit, recovered_of
from ...inputs import resolution_of_pet
from ...lesions.blobs import smooth_inside
from ...lesions.intervals import LEVEL
from ...lesions.measures import MEASURES as SHOWN
from ...lesions.measures import measure_lesions
from ...lesions.segments import Segment, segments_of
from ...physics.image_model import ImageMeasurement
from ...prior import Prior
from ...problem import Problem
from ...progress import Callback, Reporter
from ...remeasure import lesions_of_result
from ...sampling import Sampler
from ...version import __version__
from ...volume import Volume
from ..plotting import save_figure
from .lesion_scenes import Scan, scans
from .lesions import MASKS, QUALITY, UNSEEN, Row, factor_holding, moved_labels, reach
from .summary import heading, markdown
from .tables import Cell, Table

CALIBRATION = "changes.json"  # to be Resources/change_calibration.json
FACTORS = (0.7, 1.0, 1.15, 0.0, np.inf)  # of the contrast at the second visit to that at the first
TITLES = {0.7: "-30 %", 1.0: "none", 1.15: "+15 %"}
ANOTHER_SEED = 500  # of the second visit's noise, and of each further draw
MEASURES = ("suvmean", "suvpeak", "suvmax", "tlg")
IMAGES = ("pet", "sr", "recovered")  # that a change is read from
COLUMNS = (
    *("patient", "subject", "input", "condition", "seed", "mask", "lesion", "factor", "status", "paired", "volume_ml"),
    *("true_suvmean_percent", *(f"{image}_suvmean_percent" for image in IMAGES)),
    *(f"pet_suvmean_{end}" for end in ("low", "high", "real")),
    *(f"true_{name}_ratio" for name in MEASURES),
    *(f"{name}_recovered_{part}" for name in MEASURES for part in ("percent", "low", "high", "real")),
)


def changes_study(
    out: str | Path,
    data: str | Path,
    cts: str | Path | None = None,
    draws: int = 1,
    calibrate: bool = False,
    quality: str = QUALITY,
    limit: int | None = None,
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    command: str = "",
) -> Path:
    """Compare two visits of every test anatomy: changes.csv, changes.md, changes.png; returns the second.

    ``draws`` of noise of each, which ``seed`` decides. ``calibrate``: of the validation anatomies, and changes.json
    with the shares of the intervals is made; its path is returned. ``limit``: only so many scans. The images are kept
    in ``out`` for a run that goes on.
    """
    report, loaded, out = Reporter(progress), Prior.load(prior), Path(out)
    first = scans("validation" if calibrate else "test", data, cts, (), seed)[:limit]
    if calibrate:
        first = [scan for scan in first if scan.condition not in UNSEEN]
    chosen = [replace(scan, seed=scan.seed + 2 * ANOTHER_SEED * n) for n in range(draws) for scan in first]
    rows: list[Row] = []
    for number, scan in enumerate(chosen):
        report(f"{scan.subject.name}, {scan.condition}", number / len(chosen))
        rows += pair_rows(scan, loaded, quality, out / "kept", device, shared=not calibrate)
        write_csv(out / "changes.csv", rows, COLUMNS)
    report("done", 1.0)
    if calibrate:
        made: dict[str, Any] = {"level": LEVEL, "command": command, "version": __version__, "quality": quality}
        made |= {"masks": list(MASKS), "left_out": UNSEEN, "seeds": sorted({s.seed for s in chosen})}
        return write_text(out / CALIBRATION, to_json(calibrated(rows, made).to_dict()))
    changes_figure(out / "changes.png", rows)
    return write_text(out / "changes.md", "\n".join([*heading("Changes", command, loaded), *changes_lines(rows)]))


def calibrated(rows: Sequence[Row], made: dict[str, Any]) -> ChangeCalibration:
    """By input and measure, the share of the combined intervals that holds :data:`~.intervals.LEVEL` of the changes.

    By whichever mask of the second visit asks for most, every anatomy with the same weight. ``rows`` are of intervals
    that no share has scaled.
    """
    shares: dict[str, dict[str, float]] = {}
    lesions: dict[str, int] = {}
    for kind in dict.fromkeys(row["input"] for row in rows):
        shares[kind] = {}
        for name in MEASURES:
            known = [r for r in rows if r["input"] == kind and r.get(f"{name}_recovered_low") is not None]
            by_mask = [[row for row in known if row["mask"] == mask] for mask in MASKS]
            shares[kind][name] = max(_share(mine, name) for mine in by_mask if mine)
            lesions[kind] = max(lesions.get(kind, 0), *map(len, by_mask))
    return ChangeCalibration(shares, made | {"lesions": lesions})


def _share(rows: Sequence[Row], name: str) -> float:
    return factor_holding(LEVEL, [_reach(row, name) for row in rows], [row["patient"] for row in rows])


def _reach(row: Row, name: str) -> float:
    """That of the true change, on the logarithms."""
    parts = (row[f"{name}_recovered_{part}"] for part in ("percent", "low", "high"))
    found, low, high = (math.log1p(part / 100) for part in parts)
    return reach(math.log(row[f"true_{name}_ratio"]) - found, low - found, high - found)


def pair_rows(scan: Scan, prior: Prior, quality: str, folder: Path, device: str, shared: bool = True) -> list[Row]:
    """A row for every lesion of a subject and mask: its true change, and what a comparison of the visits says of it.

    ``shared``: errors that both visits have in common cancel in the intervals (:mod:`~.followup.common_errors`).
    """
    pet, ct, labels = scan.subject.load()
    if labels is None:
        return []
    surroundings = _without(pet, labels)
    visits: list[dict[str, Visit]] = []
    truths, factors = [], dict[str, float]()
    for number in (0, 1):
        seen = replace(scan.subject, decides=scan.subject.decides | {"visit": number})
        own = replace(scan, subject=seen, seed=scan.seed + ANOTHER_SEED * number)
        images, factors = _painted(pet, surroundings, labels, number)
        masks = list(MASKS) if number else ["true"]
        found, truth = _visit(own, images, ct, prior, quality, folder, device, masks)
        visits.append(found if shared else {mask: replace(visit, report={}) for mask, visit in found.items()})
        truths.append(truth)
    compared = {mask: compare([visits[0]["true"], visits[1][mask]], aligned=True) for mask in MASKS}
    drawn = {mask: {segment.name for segment in visits[1][mask].segments} for mask in MASKS}
    return [
        {**row, "mask": mask}
        for mask, done in compared.items()
        for row in _rows(scan, done, truths, factors)
        if row["lesion"] in drawn[mask] or row["lesion"] not in drawn["true"]  # not those that a smaller mask loses
    ]


def _without(pet: Volume, labels: Volume) -> Volume:
    """A PET whose lesions are replaced by a smooth continuation of their surroundings."""
    inside = ndimage.binary_dilation(labels.array > 0)
    return pet.with_array(smooth_inside(pet.array, inside, pet.spacing).astype(np.float32), "SUVbw")


def _painted(
    pet: Volume, without: Volume, labels: Volume, visit: int
) -> tuple[tuple[Volume, Volume], dict[str, float]]:
    """PET and labels of a visit (0 or 1), and the factor of every lesion by its name."""
    around = ndimage.grey_dilation(labels.array, footprint=ndimage.generate_binary_structure(3, 1))
    owner = np.where(labels.array > 0, labels.array, around)
    numbers = [int(n) for n in np.unique(labels.array) if n > 0]
    factors = {n: FACTORS[place % len(FACTORS)] for place, n in enumerate(numbers)}
    image, drawn = without.array.copy(), np.zeros_like(labels.array)
    for n, factor in factors.items():
        part = (0.0 if np.isinf(factor) else 1.0) if visit == 0 else 1.0 if np.isinf(factor) else factor
        inside = owner == n
        image[inside] += part * (pet.array - without.array)[inside]
        drawn[(labels.array == n) & (part > 0)] = n
    named = {f"Lesion {n}": factor for n, factor in factors.items()}
    return (pet.with_array(image.clip(0), "SUVbw"), labels.with_array(drawn, "label")), named


def _visit(
    scan: Scan,
    images: tuple[Volume, Volume],
    ct: Volume,
    prior: Prior,
    quality: str,
    folder: Path,
    device: str,
    masks: Sequence[str],
) -> tuple[dict[str, Visit], dict[str, dict[str, float]]]:
    """A scanned and reconstructed visit by mask, and the true figures of its lesions by name."""
    simulation = scan.simulate(images[0], ct, device)
    problem = scan.problem(simulation, ct, device)
    image = scan.restored(problem, ct, prior, quality, folder)
    data = problem.data_of(image.array)
    seen, visits = {"pet": simulation.lr, "sr": image}, {}
    report = _report(scan, problem, prior, quality)
    for mask in masks:
        labels = moved_labels(images[1], MASKS[mask])
        segments = segments_of(labels) if labels.array.any() else []
        recovered = {one.name: recovered_of(vars(one)) for one in lesions_of_result(data, image, segments)}
        visits[mask] = Visit(f"visit {scan.seed}", seen, tuple(segments), recovered=recovered, report=report)
    return visits, _truth(simulation.truth, visits["true"].segments)


def _report(scan: Scan, problem: Problem, prior: Prior, quality: str) -> dict[str, Any]:
    """What a reconstruction's report would tell of how the visit was measured."""
    measurement = problem.measurement
    known = {"sampler": {"name": Sampler.get(quality, scan.input).name}, "prior": {"sha256": prior.sha256}}
    if isinstance(measurement, ImageMeasurement):
        resolution = resolution_of_pet(measurement.image)[1].to_dict()
        return known | {"measurement": "image", "resolution": resolution, **problem.facts}
    facts = {"scanner": measurement.scanner.to_dict(), "trues_per_slice": measurement.trues_per_slice}
    return known | {"measurement": "sinogram", **facts}


def _truth(reference: Volume, segments: Sequence[Segment]) -> dict[str, dict[str, float]]:
    """The true figures of lesions by name; TLG is that of the whole segment, as recovered."""
    found = {}
    for one in measure_lesions(reference, segments, skip_outside=True):
        assert one.volume_ml is not None
        figures = {name: getattr(one, name) for name in MEASURES}
        found[one.name] = figures | {"volume_ml": one.volume_ml, "tlg": one.suvmean * one.volume_ml}
    return found


def _rows(
    scan: Scan, done: FollowUp, truths: Sequence[dict[str, dict[str, float]]], factors: dict[str, float]
) -> list[Row]:
    place = {"patient": scan.patient, "subject": scan.subject.name, "input": scan.input, "seed": scan.seed}
    lesions = [{link.name: link.lesion for link in done.links if link.visit == n} for n in (1, 2)]
    found = {(r["lesion"], r["visit"], r["image"]): r for r in done.rows}
    rows = []
    for name, factor in factors.items():
        at = [of.get(name) for of in lesions]
        number = at[0] or at[1]
        last = found.get((number, 2, "sr"), {})
        status = "vanished" if factor == 0 else "new" if np.isinf(factor) else "paired"
        right = last.get("status") == status and (status != "paired" or at[0] == at[1])
        row = place | {"condition": scan.condition, "lesion": name, "factor": factor, "status": status}
        row |= {"paired": "yes" if right else "no"}
        if status == "paired":
            first, second = (truth[name] for truth in truths)
            row |= {"volume_ml": first["volume_ml"], "true_suvmean_percent": _percent(first, second, "suvmean")}
            row |= {f"true_{m}_ratio": second[m] / first[m] for m in MEASURES}
            pet = found.get((number, 2, "pet"), {})
            row["pet_suvmean_percent"] = pet.get("suvmean_change_percent")
            row["sr_suvmean_percent"] = last.get("suvmean_change_percent")
            row |= {f"pet_suvmean_{end}": pet.get(f"suvmean_change_{end}") for end in ("low", "high", "real")}
            for m in MEASURES:
                parts = ("percent", "low", "high", "real")
                row |= {f"{m}_recovered_{part}": last.get(f"{m}_recovered_change_{part}") for part in parts}
            row["recovered_suvmean_percent"] = row["suvmean_recovered_percent"]
        rows.append(row)
    return rows


def _percent(first: dict[str, float], second: dict[str, float], name: str) -> float:
    return 100 * (second[name] / first[name] - 1)


def changes_lines(rows: Sequence[Row]) -> list[str]:
    """Pairing, and errors and coverage by change, by volume and by mask."""
    kinds = list(dict.fromkeys(row["input"] for row in rows))
    right = {kind: [row["paired"] == "yes" for row in rows if row["input"] == kind] for kind in kinds}
    told = "; ".join(f"{kind}s {sum(of)} of {len(of)}" for kind, of in right.items())
    known = [row for row in rows if row["status"] == "paired" and row["suvpeak_recovered_low"] is not None]
    true = [row for row in known if row["mask"] == "true"]
    return [
        "Two visits of painted anatomies that nothing was tuned on, aligned. Errors are of the change of SUVmean in "
        "the PET, in the result and as recovered, and of the recovered SUVpeak, in per cent of the first visit: the "
        "median without sign. Coverage is the share of lesions whose true change lies in the interval that those of "
        f"both visits give ({100 * LEVEL:.0f} % are aimed at); width is the median of that interval in per cent of the "
        "first visit. *Real* is the share of which the interval leaves out 0. Of a few lesions SUVpeak is told alone.",
        "",
        f"Paired rightly, new and vanished ones and all masks included: {told}.",
        "",
        "## By change, with the true masks",
        "",
        *_table(true, "change", lambda row: TITLES[row["factor"]], list(TITLES.values())),
        "",
        "## By volume, with the true masks",
        "",
        *_table(true, "volume", _size, ["below 1 mL", "from 1 mL"]),
        "",
        "## By the mask of the second visit",
        "",
        *_table(known, "mask", lambda row: row["mask"], list(MASKS), whole=False),
        "",
    ]


def _size(row: Row) -> str:
    return "below 1 mL" if row["volume_ml"] < 1 else "from 1 mL"


def _table(rows: Sequence[Row], title: str, group: Any, names: Sequence[str], whole: bool = True) -> list[str]:
    covered = (f"{name} covered %" for name in ("SUVmean", "SUVpeak", "SUVmax", "TLG"))
    widths = ("SUVmean width %", "SUVpeak width %")
    real = ("SUVmean real %", "SUVpeak real %")
    heads = ("Input", title, "lesions", "anatomies", "PET", "result", "recovered", "SUVpeak", *widths, *covered, *real)
    body = []
    for kind in dict.fromkeys(row["input"] for row in rows):
        of_kind = [row for row in rows if row["input"] == kind]
        for name in [*names, *(["all"] if whole else [])]:
            mine = [row for row in of_kind if name in ("all", group(row))]
            if not mine:
                continue
            means = [row for row in mine if row["suvmean_recovered_low"] is not None]
            true = np.array([row["true_suvmean_percent"] for row in means])
            errors = [np.array([row[f"{image}_suvmean_percent"] for row in means]) - true for image in IMAGES]
            errors.append(
                np.array([r["suvpeak_recovered_percent"] - 100 * (r["true_suvpeak_ratio"] - 1) for r in mine])
            )
            cells = [kind, name, str(len(mine)), str(len({row["patient"] for row in mine}))]
            cells += [f"{np.median(np.abs(error)):.1f}" for error in errors]
            cells += [f"{_width(of, measure):.0f}" for of, measure in ((means, "suvmean"), (mine, "suvpeak"))]
            cells += [f"{coverage(mine, measure):.0f}" for measure in MEASURES]
            cells += [f"{_real(of, measure):.0f}" for of, measure in ((means, "suvmean"), (mine, "suvpeak"))]
            body.append(tuple(map(Cell, cells)))
    return markdown(Table(heads, tuple(body)))


def _width(rows: Sequence[Row], measure: str) -> float:
    return float(np.median([row[f"{measure}_recovered_high"] - row[f"{measure}_recovered_low"] for row in rows]))


def _real(rows: Sequence[Row], measure: str) -> float:
    return 100 * float(np.mean([row[f"{measure}_recovered_real"] == "yes" for row in rows]))


def coverage(rows: Sequence[Row], measure: str) -> float:
    """Per cent of the intervals of a recovered measure's change that hold the true one; NaN without intervals."""
    low, high = (f"{measure}_recovered_{end}" for end in ("low", "high"))
    known = [row for row in rows if row[low] is not None]
    held = [row[low] <= 100 * (row[f"true_{measure}_ratio"] - 1) <= row[high] for row in known]
    return 100 * float(np.mean(held)) if held else float("nan")


def changes_figure(path: Path, rows: Sequence[Row]) -> Path:
    """Draw recovered over true changes of SUVmean and SUVpeak with their intervals, and the change in the PET."""
    from matplotlib.figure import Figure

    paired = [row for row in rows if row["status"] == "paired" and row["mask"] == "true"]
    kinds = list(dict.fromkeys(row["input"] for row in paired))
    figure = Figure((5.5 * max(1, len(kinds)), 8.4), layout="tight")
    axes = figure.subplots(2, max(1, len(kinds)), squeeze=False, sharey=True)
    for line, name in zip(axes, ("suvmean", "suvpeak"), strict=True):
        for axis, kind in zip(line, kinds, strict=False):
            mine = [r for r in paired if r["input"] == kind and r[f"{name}_recovered_low"] is not None]
            true = np.array([100 * (row[f"true_{name}_ratio"] - 1) for row in mine])
            found, low, high = (
                np.array([row[f"{name}_recovered_{part}"] for row in mine]) for part in ("percent", "low", "high")
            )
            place, ends = true + np.linspace(-2, 2, len(mine)), np.abs([found - low, high - found])
            axis.errorbar(place, found, ends, fmt="o", color="tab:green", ms=3, lw=0.6, label="recovered")
            if name == "suvmean":
                axis.plot(place, [row["pet_suvmean_percent"] for row in mine], "x", color="0.5", ms=4, label="PET")
            axis.axline((0, 0), slope=1, color="0.3", lw=0.8)
            title = SHOWN[name].title
            axis.set(xlabel=f"true change of {title}, %", title=f"{title} from {kind}s", xlim=(-40, 25), ylim=(-80, 80))
            axis.grid(alpha=0.25)
            axis.legend(fontsize=8)
        line[0].set_ylabel("found, %")
    figure.suptitle(f"Two visits with {100 * LEVEL:.0f} % intervals. Research use only.", fontsize=9)
    return save_figure(figure, path)
