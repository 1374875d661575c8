"""A patient's methods side by side: slice through the hottest lesion, and error maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..volume import Volume, atomic_path


def case_figure(path: str | Path, volumes: dict[str, Volume]) -> Path:
    """Write a PNG: CT, truth and every method on the truth's hottest slice, with differences below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truth = volumes["truth"].array
    k = int(np.argmax(truth.max((1, 2))))
    top = float(np.percentile(truth[k], 99.7)) or 1.0
    names = list(volumes)
    figure, axes = plt.subplots(2, len(names), figsize=(2.3 * len(names), 5.0), squeeze=False)
    pet = error = None
    for column, name in enumerate(names):
        upper, lower = axes[:, column]
        for axis in (upper, lower):
            axis.set_xticks([])
            axis.set_yticks([])
        image = volumes[name].array[k]
        upper.set_title(name, fontsize=10)
        if name == "CT":
            upper.imshow(image, cmap="gray", vmin=-200, vmax=300)
            lower.axis("off")
            continue
        pet = upper.imshow(image, cmap="gray_r", vmin=0, vmax=top)
        if name == "truth":
            lower.axis("off")
            continue
        error = lower.imshow(image - truth[k], cmap="RdBu_r", vmin=-top / 3, vmax=top / 3)
        rms = float(np.sqrt(np.mean((image - truth[k]) ** 2)))
        lower.set_xlabel(f"rms error {rms:.2f} SUV", fontsize=8)
    if pet is not None and error is not None:
        figure.colorbar(pet, ax=axes[0, :].tolist(), fraction=0.015, label="SUV")
        figure.colorbar(error, ax=axes[1, :].tolist(), fraction=0.015, label="difference, SUV")
    figure.suptitle("Research use only", fontsize=8, x=0.99, ha="right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight", format="png")
    plt.close(figure)
    return Path(path)
