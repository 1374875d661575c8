"""Study of the clinical protocols: a table of their images' resolution and noise, and a picture of a torso by each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_csv, write_text
from ...phantoms.torso import torso_phantom
from ...physics.protocols import Protocol, protocols, several
from ...physics.simulation import simulate
from ...progress import Callback, Reporter
from ...volume import Volume
from ..plotting import save_figure
from .protocol_images import BODY_MM, MEASURED, SPOT, measure_protocol, variants
from .summary import heading

COLUMNS = (
    *("protocol", "reconstruction", "updates", "tof_gain", "voxel_mm", "slice_mm"),
    *("scanner_mm", "scanner_axial_mm", "filter_mm", "filter_axial_mm", *MEASURED),
)
VARIED = ("mct-osem", "mct-lesions")  # also measured without filter at other numbers of iterations
TORSO_SEED, TORSO_SHAPE, TORSO_MM = 90_001, (32, 128, 176), (2.0, 2.0, 3.0)
TOP_SUV = 8.0
ACROSS = 4  # protocols in a row of the picture


def protocols_study(
    out: str | Path,
    names: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    progress: Callback | None = None,
    command: str = "",
) -> list[dict[str, Any]]:
    """Measure the images of protocols (default: all); writes protocols.csv, protocols.md, protocols.png.

    Returns the rows of the table.
    """
    report, out = Reporter(progress), Path(out)
    chosen = several(names or protocols())
    varied = [] if names else [one for name in VARIED for one in variants(Protocol.get(name))]
    rows: list[dict[str, Any]] = []
    images: dict[str, Volume] = {}
    torso = torso_phantom(TORSO_SEED, TORSO_SHAPE, TORSO_MM)
    count = 2 * len(chosen) + len(varied)
    for protocol in (*chosen, *varied):
        report(f"image of {protocol.name}", (len(rows) + len(images)) / count)
        rows.append(measure_protocol(protocol, seed, device))
        write_csv(out / "protocols.csv", rows, COLUMNS)
    for protocol in chosen:
        report(f"torso by {protocol.name}", (len(rows) + len(images)) / count)
        images[protocol.name] = simulate(torso.pet, None, protocol=protocol, seed=seed, device=device).lr
    _document(out / "protocols.md", rows, command)
    _picture(out / "protocols.png", torso.pet, images)
    report("done", 1.0)
    return rows


def _document(path: Path, rows: Sequence[dict[str, Any]], command: str) -> None:
    lines = heading("Images of the clinical protocols", command)
    lines += [
        f"A warm elliptic cylinder of {BODY_MM[0]:g} x {BODY_MM[1]:g} mm (1 SUV) is scanned without noise, with and "
        f"without spots of 4 x 4 mm in one slice: *faint* ones of {SPOT['faint']:g} SUV and *hot* ones of "
        f"{SPOT['hot']:g}. FWHM, transaxial and axial in mm: of the Gaussian that fits a spot's image, without the "
        "spot's own extent, the mean over four places. *Spread*: between the places, at most. *Over scanner*: what "
        "remains of it without the filter (in quadrature), over the scanner's transaxial FWHM. *Misfit*: RMS "
        "difference from the Gaussian, *overshoot*: depth of the deepest value below 0, both in per cent of the spot's "
        "maximum and at most. Noise: standard deviation about the axis, and correlation of neighbouring voxels in the "
        "slice / across slices.",
        "",
    ]
    columns = ["Protocol", "updates", "TOF gain", "voxel mm", "scanner mm", "filter mm", "FWHM faint", "FWHM hot"]
    columns += ["over scanner faint / hot", "spread mm", "misfit %", "overshoot %", "noise %", "correlation"]
    lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        remains = [_remains(row, kind) for kind in SPOT]
        cells = [
            *(
                row["protocol"],
                row["updates"],
                f"{row['tof_gain']:.2f}",
                f"{row['voxel_mm']:.2f} x {row['slice_mm']:g}",
            ),
            f"{row['scanner_mm']:.2f} / {row['scanner_axial_mm']:.2f}",
            f"{row['filter_mm']:g} / {row['filter_axial_mm']:g}",
            *(f"{row[f'fwhm_{kind}_mm']:.2f} / {row[f'axial_{kind}_mm']:.2f}" for kind in SPOT),
            " / ".join(f"{r:.2f}" for r in remains),
            *(f"{row['spread_mm']:.2f}", f"{100 * row['misfit']:.1f}", f"{100 * row['overshoot']:.1f}"),
            f"{row['noise_percent']:.1f}",
            f"{row['noise_correlation']:.2f} / {row['noise_correlation_axial']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    write_text(path, "\n".join([*lines, ""]))


def _remains(row: dict[str, Any], kind: str) -> float:
    return math.sqrt(max(0.0, row[f"fwhm_{kind}_mm"] ** 2 - row["filter_mm"] ** 2)) / float(row["scanner_mm"])


def _picture(path: Path, truth: Volume, images: dict[str, Volume]) -> None:
    """An axial and a coronal slice, through the hottest voxel of the truth, of the truth and of every image."""
    from matplotlib.figure import Figure

    shown = {"truth": truth, **images}
    lines = math.ceil(len(shown) / ACROSS)
    k, j, i = np.unravel_index(int(truth.array.argmax()), truth.shape)
    centre = (truth.ijk_to_lps @ np.array([i, j, k, 1.0]))[:3]
    figure = Figure((3.2 * ACROSS, 3.6 * lines), layout="tight")
    axes = figure.subplots(2 * lines, ACROSS, squeeze=False, height_ratios=[2.6, 1.3] * lines)
    for axis in axes.ravel():
        axis.set_axis_off()
    for n, (name, volume) in enumerate(shown.items()):
        at = np.rint(np.linalg.inv(volume.ijk_to_lps) @ np.array([*centre, 1.0])).astype(int)
        row, column = 2 * (n // ACROSS), n % ACROSS
        for axis, plane, aspect in (
            (axes[row, column], volume.array[at[2]], volume.spacing[1] / volume.spacing[0]),
            (axes[row + 1, column], volume.array[::-1, at[1]], volume.spacing[2] / volume.spacing[0]),
        ):
            axis.imshow(plane, cmap="gray_r", vmin=0, vmax=TOP_SUV, aspect=aspect, interpolation="nearest")
        axes[row, column].set_title(name, fontsize=9)
    figure.suptitle(f"Simulated torso, axial and coronal, 0 to {TOP_SUV:g} SUV. Research use only.", fontsize=9)
    save_figure(figure, path)
