"""Bias against noise of every number of updates, penalty and step, from many scans of one phantom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor

from ...device import pick_device
from ...errors import InputError
from ...files import write_csv
from ...lesions.segments import segments_of
from ...phantoms.codes import CODE
from ...phantoms.torso import Phantom, torso_phantom
from ...physics.model import ForwardModel, osem
from ...physics.penalised import START_UPDATES, penalised
from ...physics.simulation import Simulation, simulate
from ...prior import Prior
from ...progress import Callback, Reporter
from ...reconstruction import sample_measurement
from ...sampling import PROFILES, Sampler
from ...volume import Volume
from ..methods.classical import OSEM_UPDATES, PSF_OSEM_UPDATES
from ..methods.map import MAP_RDP, map_penalty
from ..plotting import save_figure
from ..subjects import MIN_LESION_ML, PIXEL_MM, SHARP_SEED
from .metrics import body_mask

TORSO_SEED = SHARP_SEED + 104  # neither trained on nor used to choose a profile; six lesions and much liver
TORSO_SHAPE, SLICE_MM, LESIONS = (24, 128, 176), 3.0, 8
SLICES = 8
CLEAR_MM = 10.0  # from the border of the liver and from lesions to where noise is measured
LEAST_UNIFORM = 100  # voxels
UPDATES = (2, 4, 8, 12, 16, 24, 42, 80)
BETAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
STEPS = (2, 4, 16)
COLUMNS = (
    *("setting", "counts", "realisations", "method", "parameter", "value", "in_evaluate"),
    *("lesion_bias_percent", "lesion_bias_error_percent", "body_rms_bias_percent", "noise_percent"),
)


@dataclass(frozen=True)
class Scene:
    """The scanned object: PET (SUVbw, the truth), CT (HU), lesion labels, and the mask of the noise, ``(K, J, I)``."""

    pet: Volume
    ct: Volume
    labels: Volume
    uniform: np.ndarray


@dataclass(frozen=True)
class Point:
    """One point of a curve: a method and the value of its parameter; ``in_evaluate`` if ``evaluate`` uses it."""

    method: str
    parameter: str
    value: float
    in_evaluate: bool


def torso_scene(slices: int = SLICES) -> Scene:
    """The slices of one torso that hold the most lesions (then the most of them); see :func:`scene_of`."""
    return scene_of(torso_phantom(TORSO_SEED, TORSO_SHAPE, (PIXEL_MM, PIXEL_MM, SLICE_MM), LESIONS), slices)


def scene_of(phantom: Phantom, slices: int) -> Scene:
    """The ``slices`` of a phantom that hold the most lesions, without those below 0.5 mL there.

    Noise is measured in the liver, where the clinic measures it: in voxels at least 1 cm from its border and
    from every lesion (the first and last slice are no border). Raises :class:`InputError` without lesion or liver.
    """
    least, depth = MIN_LESION_ML / phantom.pet.voxel_ml, phantom.labels.array
    slices = min(slices, len(depth))
    sizes = np.stack(
        [(depth == label).sum((1, 2)) for label in range(1, int(depth.max()) + 1)] or [np.zeros(len(depth))]
    )
    firsts = range(len(depth) - slices + 1)
    held = [sizes[:, first : first + slices].sum(1) for first in firsts]
    first = max(firsts, key=lambda n: ((held[n] >= least).sum(), held[n].sum()))
    if not (held[first] >= least).any():
        raise InputError(f"No lesion of {MIN_LESION_ML:g} mL lies in {slices} slices: use more slices.")
    volumes = (phantom.pet, phantom.ct, phantom.labels, phantom.organs)
    pet, ct, labels, organs = (v.slices(first, first + slices) for v in volumes)
    liver = (organs.array == CODE["liver"]) & (labels.array == 0)
    uniform = ndimage.distance_transform_edt(liver, pet.spacing[::-1]) >= CLEAR_MM
    if uniform.sum() < LEAST_UNIFORM:
        raise InputError(f"Only {uniform.sum()} voxels of liver lie 1 cm from its border: use more slices.")
    kept = [n + 1 for n, size in enumerate(held[first]) if size >= least]
    return Scene(pet, ct, labels.with_array(np.where(np.isin(labels.array, kept), labels.array, 0), "label"), uniform)


class BiasNoise:
    """Bias and noise of one estimator of ``scene``; :meth:`add` its images one realisation after the other."""

    def __init__(self, scene: Scene):
        self.truth = scene.pet.array.astype(np.float64)
        self.body, self.uniform = body_mask(scene.ct), scene.uniform
        self.segments = [segment.weights(scene.pet) for segment in segments_of(scene.labels)]
        self.true = self._suvmeans(self.truth)
        self.lesions: list[np.ndarray] = []
        self.mean, self.squares = np.zeros_like(self.truth), np.zeros_like(self.truth)

    def add(self, image: np.ndarray) -> None:
        """One more image, ``(K, J, I)`` in SUV, of counts independent of the others'."""
        self.lesions.append(100 * (self._suvmeans(image) - self.true) / self.true)
        change = image - self.mean
        self.mean += change / len(self.lesions)
        self.squares += change * (image - self.mean)  # Welford's sum of squares about the mean

    def measures(self) -> dict[str, float]:
        """The measures, in per cent, of two images or more.

        ``lesion_bias``: the mean over lesions of the mean error of SUVmean, signed; ``lesion_bias_error``: its
        standard error. ``body_rms_bias``: root mean square over the body of the mean image's error, less the
        part that is the noise of a mean of so few, over the body's mean activity. ``noise``: root mean over
        the uniform region of the variance (ddof 1) over realisations, over the region's mean in the images.
        """
        count, errors = len(self.lesions), np.array(self.lesions)
        variance = self.squares / (count - 1)
        bias = (self.mean - self.truth)[self.body]
        squared = (bias**2).mean() - variance[self.body].mean() / count
        return {
            "lesion_bias_percent": float(errors.mean()),
            "lesion_bias_error_percent": float(errors.mean(1).std(ddof=1) / np.sqrt(count)),
            "body_rms_bias_percent": float(100 * np.sqrt(max(0.0, squared)) / self.truth[self.body].mean()),
            "noise_percent": float(100 * np.sqrt(variance[self.uniform].mean()) / self.mean[self.uniform].mean()),
        }

    def _suvmeans(self, image: np.ndarray) -> np.ndarray:
        """SUVmean of every lesion, as :func:`~PETSuperResLib.lesions.measures.measure_lesions` takes it."""
        return np.array([np.average(image[block], weights=weights) for weights, block in self.segments])


def bias_noise_study(
    out: str | Path,
    setting: str = "standard",
    counts: str = "realistic",
    realisations: int = 5,
    slices: int = SLICES,
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
) -> list[dict[str, Any]]:
    """Scan a torso ``realisations`` times and follow every method along its parameter.

    Writes bias_noise.csv (after every realisation from the second) and bias_noise.png; returns the rows. The
    scans differ only in their counts; realisation n has the seed ``seed`` + n. OSEM and PSF-OSEM by updates
    (snapshots of one run), MAP with the relative-difference prior by beta, ours by steps. Raises
    :class:`InputError` for fewer than 2 realisations.
    """
    if realisations < 2:
        raise InputError(f"Noise needs 2 realisations or more, not {realisations}.")
    report, loaded, scene, out = Reporter(progress), Prior.load(prior), torso_scene(slices), Path(out)
    estimators: dict[Point, BiasNoise] = {}
    rows: list[dict[str, Any]] = []
    for n in range(realisations):
        part = report.part(n / realisations, (n + 1) / realisations)
        part(f"scan {n + 1} of {realisations}", 0.0)
        scan = simulate(scene.pet, scene.ct, setting, counts, False, scene.pet.spacing[0], seed + n, device)
        for point, image in restorations(scan, scene.ct, loaded, seed + n, device, part):
            estimators.setdefault(point, BiasNoise(scene)).add(image)
        if n == 0:
            continue
        facts = {"setting": setting, "counts": counts, "realisations": n + 1}
        rows = [facts | vars(point) | estimator.measures() for point, estimator in estimators.items()]
        write_csv(out / "bias_noise.csv", rows, COLUMNS)
    _plot(out / "bias_noise.png", rows, lesions=len(np.unique(scene.labels.array)) - 1)
    report("done", 1.0)
    return rows


def restorations(
    scan: Simulation, ct: Volume, prior: Prior, seed: int, device: str, report: Reporter
) -> Iterator[tuple[Point, np.ndarray]]:
    """Every point of every curve with its image of one scan, ``(K, J, I)`` in SUV."""
    measurement, grid = scan.measurement, scan.truth
    model = measurement.model(grid, pick_device(device))
    y = measurement.counts.to(model.projector.device)
    standard = Sampler.get("standard")
    steps = [replace(standard, steps=n) for n in sorted({*STEPS, standard.steps})]
    samplers = [("ours-draft", PROFILES["draft"]), *(("ours-standard", sampler) for sampler in steps)]
    betas = sorted({*BETAS, MAP_RDP.beta})
    jobs, done = 2 + len(betas) + len(samplers), 0
    start: Tensor | None = None
    for method, psf, used in (("osem", False, OSEM_UPDATES), ("psf-osem", True, PSF_OSEM_UPDATES)):
        report(method, done / jobs)
        images = snapshots(model, y, {*UPDATES, used, START_UPDATES}, psf)
        start = images[START_UPDATES]  # that of penalised(), which the last method makes
        for updates in sorted({*UPDATES, used}):
            yield Point(method, "updates", updates, updates == used), images[updates].cpu().numpy()
        done += 1
    penalty = map_penalty(MAP_RDP, model.spacing, None)
    for beta in betas:
        report(f"map-rdp, beta {beta:g}", done / jobs)
        image = penalised(model, y, penalty, beta, MAP_RDP.iterations, start)
        yield Point("map-rdp", "beta", beta, beta == MAP_RDP.beta), image.cpu().numpy()
        done += 1
    for method, sampler in samplers:
        report(f"{method}, {sampler.steps} steps", done / jobs)
        volume = sample_measurement(measurement, grid, ct, prior, sampler, seed, device)
        yield Point(method, "steps", sampler.steps, sampler in PROFILES.values()), volume.array
        done += 1


def snapshots(model: ForwardModel, y: Tensor, updates: set[int], psf: bool) -> dict[int, Tensor]:
    """The images of one run of :func:`~PETSuperResLib.physics.model.osem` after these numbers of updates."""
    kept: dict[int, Tensor] = {}

    def keep(number: int, image: Tensor) -> None:
        if number in updates:
            kept[number] = image.clone()

    osem(model, y, max(updates), psf, callback=keep)
    return kept


# colour, marker, and the labels' offsets from the markers in points: for rising and for falling curves
STYLES: dict[str, tuple[str, str, tuple[tuple[int, int], tuple[int, int]]]] = {
    "osem": ("0.5", "o", ((5, -4), (5, 4))),
    "psf-osem": ("tab:blue", "o", ((5, -4), (5, 4))),
    "map-rdp": ("tab:orange", "s", ((-5, 4), (5, 4))),
    "ours-draft": ("tab:red", "D", ((5, -5), (5, 5))),
    "ours-standard": ("tab:green", "D", ((0, 6), (0, -6))),
}
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def _plot(path: Path, rows: Sequence[dict[str, Any]], lesions: int) -> None:
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure((11.0, 5.0), layout="tight")
    axes = figure.subplots(1, 2, sharex=True)
    measures = (
        ("lesion_bias_percent", f"mean bias of SUVmean, {lesions} lesions, %"),
        ("body_rms_bias_percent", "RMS bias in the body, % of its mean"),
    )
    for number, (axis, (key, label)) in enumerate(zip(axes, measures, strict=True)):
        for method in dict.fromkeys(r["method"] for r in rows):
            mine = sorted((r for r in rows if r["method"] == method), key=lambda r: r["value"])
            color, marker, places = STYLES[method]
            right, up = places[number]
            x, height = [r["noise_percent"] for r in mine], [r[key] for r in mine]
            error = [r["lesion_bias_error_percent"] for r in mine] if number == 0 else None
            style: dict[str, Any] = {"color": color, "marker": marker, "label": f"{method} ({mine[0]['parameter']})"}
            axis.errorbar(x, height, error, lw=1.3, ms=4, mfc="white", capsize=2, elinewidth=0.8, **style)
            for r in mine:
                at = (r["noise_percent"], r[key])
                if r["in_evaluate"]:
                    axis.plot(*at, marker, color=color, ms=8, zorder=4)
                place: dict[str, Any] = {"ha": "center" if not right else "left" if right > 0 else "right"}
                place |= {"va": "bottom" if up > 0 else "top", "textcoords": "offset points"}
                axis.annotate(f"{r['value']:g}", at, (right, up), fontsize=7.5, color=color, **place)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticker.FixedLocator(TICKS))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set(xlabel="noise in the liver over realisations, %", ylabel=label)
        axis.grid(alpha=0.25)
    axes[0].axhline(0, color="0.4", lw=0.8)
    axes[0].legend(fontsize=8)
    first = rows[0]
    figure.suptitle(
        f"One torso, {first['realisations']} realisations, {first['setting']} setting, {first['counts']} counts. "
        "Large and filled: as in 'evaluate'. Bars: standard error. Research use only.",
        fontsize=9,
    )
    save_figure(figure, path)
