"""summary.md: mean and standard deviation over patients, best and second best, paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from ..prior import Prior
from ..volume import atomic_path

COLUMNS = (("psnr", "PSNR dB", 2, True), ("ssim", "SSIM", 3, True), ("nmse", "NMSE", 4, False))
BODY = (("psnr_body", "PSNR body", 2, True), ("ssim_body", "SSIM body", 3, True), ("nmse_body", "NMSE body", 4, False))


def write_summary(
    path: str | Path, metrics: Sequence[dict[str, Any]], lesions: Sequence[dict[str, Any]], prior: Prior
) -> Path:
    """Write the tables of all settings and count levels; returns the path."""
    lines = ["# Evaluation", "", "Research use only. Mean +- standard deviation over patients; **best**, _second_;"]
    lines += ["\\* differs from the best (paired Wilcoxon, p < 0.05).", ""]
    lines += [f"Prior: SHA-256 {prior.sha256[:12]}, trained on {prior.info.get('trained_on', 'unknown data')}.", ""]
    for key in dict.fromkeys(_key(r) for r in metrics):
        reference, setting, counts = key
        rows = [r for r in metrics if _key(r) == key]
        patients = len({r["patient"] for r in rows})
        lines += [f"## {reference.capitalize()} references, setting {setting}, {counts} counts, {patients} cases", ""]
        lines += _table(rows) + [""]
        lines += _lesion_table([r for r in lesions if _key(r) == key]) + [""]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return Path(path)


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["reference"], row["setting"], row["counts"]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    methods = list(dict.fromkeys(r["method"] for r in rows))
    columns = COLUMNS + BODY
    values = {m: {c: np.array([r[c] for r in rows if r["method"] == m]) for c, *_ in columns} for m in methods}
    lines = ["| Method | " + " | ".join(title for _, title, *_ in columns) + " | seconds |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for method in methods:
        cells = [_cell(values, method, *column) for column in columns]
        seconds = np.mean([r["seconds"] for r in rows if r["method"] == method])
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {seconds:.1f} |")
    return lines


def _cell(values: dict[str, dict[str, np.ndarray]], method: str, key: str, _: str, digits: int, higher: bool) -> str:
    order = sorted(values, key=lambda m: float(values[m][key].mean()), reverse=higher)
    mine, best = values[method][key], values[order[0]][key]
    text = f"{mine.mean():.{digits}f} +- {mine.std(ddof=1) if len(mine) > 1 else 0:.{digits}f}"
    if method == order[0]:
        return f"**{text}**"
    star = "*" if len(mine) > 5 and (mine != best).any() and wilcoxon(mine, best).pvalue < 0.05 else ""
    return f"_{text}_{star}" if len(order) > 1 and method == order[1] else text + star


def _lesion_table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["No lesion contours."]
    lines = [
        f"Lesions ({len({(r['patient'], r['lesion']) for r in rows})}), against the reference in the same mask:",
        "",
    ]
    lines += ["| Method | median abs delta SUVmax % | median abs delta SUVmean % | mean delta SUVmax % | lesion NMSE |"]
    lines.append("|---|---|---|---|---|")
    for method in dict.fromkeys(r["method"] for r in rows):
        mine = [r for r in rows if r["method"] == method]
        top, mean, error = (
            np.array([r[k] for r in mine], float) for k in ("delta_suvmax_percent", "delta_suvmean_percent", "nmse")
        )
        lines.append(
            f"| {method} | {np.nanmedian(abs(top)):.1f} | {np.nanmedian(abs(mean)):.1f} | {np.nanmean(top):+.1f} "
            f"| {np.nanmean(error):.4f} |"
        )
    return lines
