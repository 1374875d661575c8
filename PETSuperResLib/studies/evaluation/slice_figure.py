"""One slice by many methods, as the paper's Figure 3: the slice, a zoom, and the signed error, in bands of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...errors import InputError
from .labels import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CT_WINDOW = (-200.0, 300.0)  # HU
BODY_HU = -500.0
MARGIN_MM = 10.0  # around the patient
ZOOM_MM = 70.0  # or more, for a large lesion
BAR_MM = (5, 10, 20, 50, 100, 200)
BAR_SHARE = 0.35  # of a picture's width, for the length bar
COLUMNS = 8  # in a band, at most
CELL, GAP, TITLE, FOOT = 1.75, 0.05, 0.26, 0.34  # inches

Box = tuple[slice, slice]


@dataclass
class MethodFigure:
    """A figure's ``slices`` (CT in HU, truth and methods in SUV, each ``(H, W)``), ``spacing`` in mm, and mask."""

    slices: Mapping[str, np.ndarray]
    spacing: Sequence[float]
    lesion: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("CT", "truth"):
            if name not in self.slices:
                raise InputError(f"The figure has no slice '{name}': give CT, truth and the methods' slices.")
        shapes = {name: np.shape(image) for name, image in self.slices.items()}
        if self.lesion is not None:
            shapes["lesion"] = np.shape(self.lesion)
        if any(shape != shapes["truth"] or len(shape) != 2 for shape in shapes.values()):
            raise InputError(f"The slices of a figure must all have one shape (H, W), not {shapes}.")
        self.ct, self.truth = self.slices["CT"], self.slices["truth"]
        self.methods = [name for name in self.slices if name not in ("CT", "truth")]
        self.mask = None if self.lesion is None or not np.any(self.lesion) else np.asarray(self.lesion, bool)
        self.whole, self.zoom = self._patient(), self._zoom()
        self.top = float(np.percentile(self.truth[self.whole], 99.7)) or 1.0
        self.zoom_top = float(self.truth[self.zoom].max()) or 1.0
        errors = [abs(self.slices[m] - self.truth)[self.whole].ravel() for m in self.methods]
        self.error_top = (float(np.percentile(np.concatenate(errors), 99.9)) if errors else 0.0) or 1.0

    def bands(self) -> list[list[str]]:
        """Names of each band: CT and truth lead the first, truth every other, and the methods are shared out."""
        pictures = len(self.methods) + 1  # with the CT
        count = math.ceil(pictures / (COLUMNS - 1))
        width = math.ceil(pictures / count)
        names = ["CT", *self.methods]
        parts = [names[n : n + width] for n in range(0, pictures, width)]
        return [["CT", "truth", *parts[0][1:]], *(["truth", *part] for part in parts[1:])]

    def draw(self) -> Figure:
        """The figure, for the caller to save."""
        from matplotlib.figure import Figure

        bands = self.bands()
        rows, columns = ((part.stop - part.start) * step for part, step in zip(self.whole, self.spacing, strict=True))
        tall = CELL * min(1.4, max(0.4, rows / columns))
        heights = {"slice": tall, "zoom": CELL, "error": tall}
        band_height = TITLE + sum(heights.values()) + 2 * GAP + FOOT
        width, height = max(map(len, bands)) * (CELL + GAP), len(bands) * band_height
        figure = Figure((width, height))

        def place(left: float, top: float, wide: float, high: float) -> Any:
            return figure.add_axes((left / width, 1.0 - (top + high) / height, wide / width, high / height))

        for number, band in enumerate(bands):
            for column, name in enumerate(band):
                left, top = column * (CELL + GAP), number * band_height + TITLE
                for what, high in heights.items():
                    if what != "error" or name in self.methods:
                        self._picture(place(left, top, CELL, high), what, name)
                    elif name == "truth":
                        for step, kind in enumerate(heights):
                            bar = place(left + 0.15, top + 0.06 + 0.46 * step, CELL - 0.3, 0.09)
                            self._scale(figure, bar, kind)
                    top += high + GAP
        figure.text(1.0, 1.0, "Research use only", fontsize=9, ha="right", va="bottom")
        return figure

    def _picture(self, axis: Any, what: str, name: str) -> None:
        """One picture: ``what`` is "slice", "zoom" or "error"."""
        box = self.zoom if what == "zoom" else self.whole
        image = self.slices[name][box]
        if what == "error":
            image = image - self.truth[box]
        axis.imshow(image, extent=self._extent(box), interpolation="nearest", **self._colours(what, name))
        axis.set(xticks=[], yticks=[])
        if what == "slice":
            axis.set_title(label(name), fontsize=min(11.0, 165.0 / len(label(name))), pad=4)
        if what == "error":
            rms = float(np.sqrt(np.mean((self.slices[name] - self.truth) ** 2)))
            axis.set_xlabel(f"rms error {rms:#.3g}", fontsize=9, labelpad=2)
        if name in ("CT", "truth"):
            self._marks(axis, what, "w" if name == "CT" else "k")

    def _colours(self, what: str, name: str) -> dict[str, Any]:
        if what == "error":
            return {"cmap": "RdBu_r", "vmin": -self.error_top, "vmax": self.error_top}
        if name == "CT":
            return {"cmap": "gray", "vmin": CT_WINDOW[0], "vmax": CT_WINDOW[1]}
        return {"cmap": "gray_r", "vmin": 0.0, "vmax": self.zoom_top if what == "zoom" else self.top}

    def _marks(self, axis: Any, what: str, colour: str) -> None:
        """The length bar; the zoom's frame on a slice; the lesion's outline in a zoom."""
        from matplotlib.patches import Rectangle
        from matplotlib.patheffects import withStroke

        other = "k" if colour == "w" else "w"
        box = self.zoom if what == "zoom" else self.whole
        left, right, bottom, top = self._extent(box)
        length = max([mm for mm in BAR_MM if mm <= BAR_SHARE * (right - left)], default=BAR_MM[0])
        x, y = left + 0.05 * (right - left), bottom - 0.05 * (bottom - top)
        axis.plot((x, x + length), (y, y), color=colour, lw=2.5, solid_capstyle="butt")
        place = {
            "xytext": (0, 3),
            "textcoords": "offset points",
            "path_effects": [withStroke(linewidth=2, foreground=other)],
        }
        axis.annotate(f"{length} mm", (x, y), color=colour, fontsize=8, **place)
        if what == "slice":
            x, end, low, y = self._extent(self.zoom)
            axis.add_patch(Rectangle((x, y), end - x, low - y, fill=False, ec="tab:orange", lw=1.2))
        elif self.mask is not None:
            rows, columns = (
                (np.arange(part.start, part.stop) + 0.5) * step for part, step in zip(box, self.spacing, strict=True)
            )
            if self.mask[box].any() and min(self.mask[box].shape) > 1:
                axis.contour(
                    columns, rows, self.mask[box].astype(float), levels=[0.5], colors="tab:cyan", linewidths=1.2
                )

    def _scale(self, figure: Any, axis: Any, kind: str) -> None:
        """The colour bar of slices, zooms or errors."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        colours = self._colours(kind, "truth")
        norm = Normalize(colours["vmin"], colours["vmax"])
        bar = figure.colorbar(ScalarMappable(norm, colours["cmap"]), cax=axis, orientation="horizontal")
        bar.set_ticks(np.linspace(colours["vmin"], colours["vmax"], 3))
        bar.ax.set_xticklabels([f"{tick:.2g}" for tick in bar.get_ticks()])
        bar.ax.tick_params(labelsize=8, length=2, pad=1)
        bar.set_label(f"{kind}, SUV", fontsize=8, labelpad=0)

    def _extent(self, box: Box) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in mm from the slice's corner."""
        down, across = self.spacing
        return box[1].start * across, box[1].stop * across, box[0].stop * down, box[0].start * down

    def _patient(self) -> Box:
        """The patient in the CT with a margin, and the hottest point."""
        parts, count = ndimage.label(self.ct > BODY_HU)
        if not count:
            return slice(0, self.truth.shape[0]), slice(0, self.truth.shape[1])
        body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        body[np.unravel_index(np.argmax(self.truth), body.shape)] = True
        found = ndimage.find_objects(body.astype(int))[0]
        margins = [math.ceil(MARGIN_MM / step) for step in self.spacing]
        first, second = (
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, margin, size in zip(found, margins, body.shape, strict=True)
        )
        return first, second

    def _zoom(self) -> Box:
        """A square of :data:`ZOOM_MM` or more around the lesion's hottest part, or the hottest point."""
        within = self.truth if self.mask is None else np.where(self.mask, self.truth, -np.inf)
        hottest = np.unravel_index(int(np.argmax(within)), within.shape)
        part = tuple(slice(int(n), int(n) + 1) for n in hottest)
        if self.mask is not None:
            parts, _ = ndimage.label(self.mask)
            part = ndimage.find_objects((parts == parts[hottest]).astype(int))[0]
        extent = max((p.stop - p.start) * step for p, step in zip(part, self.spacing, strict=True))
        side = max(ZOOM_MM, 1.4 * extent)
        box = []
        for p, step, size in zip(part, self.spacing, self.truth.shape, strict=True):
            pixels = min(size, max(2, round(side / step)))
            start = min(max(0, (p.start + p.stop - pixels) // 2), size - pixels)
            box.append(slice(start, start + pixels))
        return box[0], box[1]
