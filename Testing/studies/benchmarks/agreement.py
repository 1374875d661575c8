"""How alike the errors of two methods are: by what ``petsuperres evaluate`` kept, without running either again.

    python Testing/studies/benchmarks/agreement.py ONE OTHER OUT [OUT ...]

``ONE`` and ``OTHER`` are names of methods, ``OUT`` folders of evaluations; cases of one name in several folders are
one case. For each condition a row gives, over the slices that were kept of its cases (one of each): the PSNR of
``ONE``, how much better ``OTHER`` is, how much better mixtures of both are (with 20, 35 and 50 % of ``OTHER``), and
the correlation of their errors. Two methods of different making that err alike, so that no mixture gains, leave what
the data do not hold; where a mixture gains, either lacks something that the other one knows.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PETSuperResLib.studies.evaluation.metrics import psnr
from PETSuperResLib.studies.evaluation.trials import Results

SHARES = (0.2, 0.35, 0.5)
SAME_TRUTH = 0.01  # of its maximum, by which the truths of one case may differ between folders


def kept_slices(folders: Sequence[Path]) -> dict[str, dict[str, np.ndarray]]:
    """By case the slices of all folders, with "truth"; a case whose truths differ is told and left out."""
    found: dict[str, dict[str, np.ndarray]] = {}
    apart: set[str] = set()
    for folder in folders:
        for file in sorted((folder / "cases").glob("*.safetensors")):
            slices = Results.read(file.parent, file.stem).slices
            known = found.setdefault(file.stem, dict(slices))
            truth, first = slices["truth"], known["truth"]
            if truth.shape != first.shape or np.abs(truth - first).max() > SAME_TRUTH * first.max():
                apart.add(file.stem)
            known.update({name: values for name, values in slices.items() if name not in known})
    for name in sorted(apart):
        print(f"{name}: the truths of the folders differ: left out")
    return {name: slices for name, slices in found.items() if name not in apart}


def row(slices: dict[str, np.ndarray], one: str, other: str) -> list[float]:
    """Of a case the figures of a row."""
    truth, first, second = (slices[name].astype(np.float64)[None] for name in ("truth", one, other))
    errors = first - truth, second - truth
    alike = (errors[0] * errors[1]).sum() / np.sqrt((errors[0] ** 2).sum() * (errors[1] ** 2).sum())
    best = psnr(truth, first)
    mixed = [psnr(truth, share * second + (1 - share) * first) - best for share in SHARES]
    return [best, psnr(truth, second) - best, *mixed, float(alike)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("out", nargs="+", type=Path)
    args = parser.parse_args()
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for name, slices in kept_slices(args.out).items():
        if args.one in slices and args.other in slices:
            condition = name[name.index("_real_" if "_real_" in name else "_sharp_") + 1 :]
            rows[condition].append(row(slices, args.one, args.other))
    mixtures = " | ".join(f"{100 * share:.0f} % mixed" for share in SHARES)
    print(f"| condition | cases | {args.one} dB | {args.other} | {mixtures} | correlation |")
    print("|---|" + "---|" * (len(SHARES) + 4))
    for condition, figures in rows.items():
        best, *gains, alike = np.mean(figures, 0)
        print(f"| {condition} | {len(figures)} | {best:.2f} | " + " | ".join(f"{g:+.2f}" for g in gains), end="")
        print(f" | {alike:.2f} |")


if __name__ == "__main__":
    main()
