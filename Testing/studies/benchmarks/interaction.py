"""How long a user of the panel waits: requests to a warm worker, from the request to its first preview and its result.

``OMP_WAIT_POLICY=PASSIVE python Testing/studies/benchmarks/interaction.py`` writes a generated head of 64 slices of
128 x 128 into a temporary folder and sends the worker that the panel uses these jobs, one after another: a box of 16
slices around a lesion (with its margin of 24 mm: 32 slices are reconstructed) twice, the whole case as ``draft`` twice
and as ``standard``. Before them comes one small job, which loads the prior. Takes about a minute and a half on two
cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.studies.benchmarks.timing import as_table
from PETSuperResLib.volume import Volume

SHAPE, SPACING, BOX_SLICES = (64, 128, 128), (2.0, 2.0, 3.0), 16
COLUMNS = {
    "job": ("request", "{}"),
    "preview_s": ("first preview s", "{:.1f}"),
    "result_s": ("result s", "{:.1f}"),
    "slices": ("slices", "{}"),
}


class Client:
    """The panel's end of the worker's pipe."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "PETSuperResLib.worker", "--with-client"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, name: str, **job: object) -> dict[str, object]:
        """Send a job and wait for its end: seconds to the first preview and to the result."""
        assert self.process.stdin is not None and self.process.stdout is not None
        began, preview = time.perf_counter(), float("nan")
        message = {"version": 1, "id": name, "type": "reconstruct", "preview": True, "device": "cpu", **job}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer["type"] == "preview" and preview != preview:
                preview = time.perf_counter() - began
            if answer["type"] in ("result", "error"):
                break
        if answer["type"] == "error":
            raise SystemExit(answer["message"])
        shape = answer["report"]["grid"]["shape"]
        return {"job": name, "preview_s": preview, "result_s": time.perf_counter() - began, "slices": shape[0]}


def lesion_box(labels: Volume) -> list[float]:
    """Whole slices, :data:`BOX_SLICES` of them, about the first lesion: x0, x1, y0, y1, z0, z1 in LPS mm."""
    middle = round(float(np.argwhere(labels.array == labels.array[labels.array > 0].min())[:, 0].mean()))
    first = min(max(0, middle - BOX_SLICES // 2), len(labels.array) - BOX_SLICES)
    low = labels.ijk_to_lps @ [0, 0, first, 1]
    high = labels.ijk_to_lps @ [labels.shape[2] - 1, labels.shape[1] - 1, first + BOX_SLICES - 1, 1]
    return [float(v) for pair in zip(low[:3], high[:3], strict=True) for v in pair]


def main() -> None:
    """Print the table; with ``--out`` also write interaction.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    phantom = torso_phantom(0, SHAPE, SPACING, 2, "head")
    warm = torso_phantom(1, (8, 64, 64), (4.0, 4.0, 3.0), 1, "head")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = {"pet": str(phantom.pet.write(folder / "pet.nrrd")), "ct": str(phantom.ct.write(folder / "ct.nrrd"))}
        small = {"pet": str(warm.pet.write(folder / "p.nrrd")), "ct": str(warm.ct.write(folder / "c.nrrd"))}
        common = {"out": str(folder / "sr.nrrd"), "scanner": "Siemens Biograph mCT"}
        client = Client()
        client.run("warm up", **small, **common, quality="draft")
        region = {**case, **common, "region": lesion_box(phantom.labels), "quality": "draft"}
        rows = [client.run(f"region, draft{again}", **region) for again in ("", ", again")]
        rows += [client.run(f"whole, draft{again}", **case, **common, quality="draft") for again in ("", ", again")]
        rows += [client.run("whole, standard", **case, **common, quality="standard")]
        client.process.stdin.close()
        client.process.wait(60)
    print(as_table("Seconds from the request to a warm worker", rows, COLUMNS))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "interaction.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
